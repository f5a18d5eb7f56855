import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UserError } from '../lib/errors.ts';
import { parseCidr } from '../lib/ip.ts';
import { planLab, type HostFacts, type LabRequest } from './config.ts';

const emptyHost: HostFacts = { routes: [], links: [], labs: [] };
const plain: LabRequest = { name: 'lab', nodes: 3, ipFamily: 'ipv4' };

test('the defaults are those of the README', () => {
  const lab = planLab(plain, emptyHost, 6443);
  assert.deepEqual(lab.serviceCidrs, ['10.96.0.0/16']);
  assert.deepEqual(lab.podCidrs, ['10.244.0.0/16']);
  assert.deepEqual(lab.clusterDns, ['10.96.0.10']);
  assert.deepEqual(lab.nodes[2], {
    name: 'node-3',
    ips: ['172.29.0.13'],
    podCidrs: ['10.244.2.0/24'],
  });
});

test('a dual-stack lab has an address of each family everywhere', () => {
  const lab = planLab({ ...plain, ipFamily: 'dual' }, emptyHost, 6443);
  assert.deepEqual(lab.serviceCidrs, ['10.96.0.0/16', 'fd00:10:96::/112']);
  assert.deepEqual(lab.nodes[0]?.podCidrs, ['10.244.0.0/24', 'fd00:10:244::/64']);
  assert.deepEqual(lab.hostIPs, ['172.29.0.1', 'fd00:172:29::1']);
});

test('a second lab takes other ranges than the first', () => {
  const first = planLab(plain, emptyHost, 6443);
  const routes = [...first.serviceCidrs, ...first.podCidrs, ...first.nodeCidrs].map((text) => ({
    cidr: parseCidr(text)!,
    device: first.hostLink,
  }));
  const second = planLab({ ...plain, name: 'other' }, { routes, links: [], labs: [first] }, 6444);
  assert.deepEqual(
    [second.index, second.serviceCidrs, second.podCidrs],
    [1, ['10.97.0.0/16'], ['10.243.0.0/16']],
  );
});

test('LoadBalancer Services get addresses of the node network past the nodes', () => {
  const lab = planLab({ ...plain, ipFamily: 'dual' }, emptyHost, 6443);
  assert.deepEqual(lab.balancer, {
    kind: 'edge',
    cidrs: ['172.29.0.192/27', 'fd00:172:29::1:0/120'],
    ips: ['172.29.0.2', 'fd00:172:29::2'],
    mac: '02:fa:1e:ad:01:00',
  });
  assert.equal(planLab({ ...plain, loadBalancer: 'none' }, emptyHost, 6443).balancer, undefined);
});

test('LoadBalancer Services get the addresses asked for, in the node network or elsewhere', () => {
  for (const range of ['192.0.2.0/28', '172.29.0.128/25', '203.0.113.7/32']) {
    const lab = planLab({ ...plain, loadBalancerCidrs: [range] }, emptyHost, 6443);
    assert.deepEqual(lab.balancer?.cidrs, [range]);
  }
});

const refusals: {
  name: string;
  request: Partial<LabRequest>;
  host?: HostFacts;
  message: RegExp;
}[] = [
  { name: 'no node', request: { nodes: 0 }, message: /--nodes is 0/ },
  { name: 'half a node', request: { nodes: 1.5 }, message: /--nodes is 1.5/ },
  { name: 'a name with a slash', request: { name: 'a/b' }, message: /lab name "a\/b"/ },
  {
    name: 'no range',
    request: { serviceCidrs: ['10.96.0.0'] },
    message: /--service-cidr "10.96.0.0"/,
  },
  {
    name: 'a v4 service range in a v6 lab',
    request: { ipFamily: 'ipv6', serviceCidrs: ['10.0.0.0/16'] },
    message: /no ipv6 range/,
  },
  {
    name: 'one range in a dual lab',
    request: { ipFamily: 'dual', podCidrs: ['10.0.0.0/16'] },
    message: /no ipv6 range/,
  },
  {
    name: 'a service range too small for the DNS address',
    request: { serviceCidrs: ['10.96.0.0/28'] },
    message: /must be between \/8 and \/27/,
  },
  {
    name: 'a v6 service range too large',
    request: { ipFamily: 'ipv6', serviceCidrs: ['fd00:1::/64'] },
    message: /must be between \/108 and \/123/,
  },
  {
    name: 'a pod range too small for the nodes',
    request: { podCidrs: ['10.244.0.0/23'] },
    message: /3 nodes need a \/24 each/,
  },
  {
    name: 'pods over services',
    request: { podCidrs: ['10.96.0.0/20'] },
    message: /--service-cidr 10.96.0.0\/16 overlaps --pod-cidr 10.96.0.0\/20/,
  },
  {
    name: 'pods over the node network',
    request: { podCidrs: ['172.29.0.0/16'] },
    message: /overlaps the node network/,
  },
  {
    name: 'balanced addresses without a balancer',
    request: { loadBalancer: 'none', loadBalancerCidrs: ['192.0.2.0/28'] },
    message: /--load-balancer is none/,
  },
  {
    name: 'balanced addresses that are the nodes own',
    request: { loadBalancerCidrs: ['172.29.0.0/28'] },
    message: /the node network 172\.29\.0\.0\/24 overlaps --load-balancer-cidr 172\.29\.0\.0\/28/,
  },
  ...['127.0.0.0/28', '224.0.0.0/28', '0.0.0.0/0', '169.254.7.0/24'].map((range) => ({
    name: `balanced addresses of ${range}`,
    request: { loadBalancerCidrs: [range] },
    message: /--load-balancer-cidr ".*": no host can be reached at addresses of/,
  })),
  ...['::1/128', 'fe80::/64', 'ff05::/16'].map((range) => ({
    name: `balanced addresses of ${range}`,
    request: { ipFamily: 'ipv6' as const, loadBalancerCidrs: [range] },
    message: /--load-balancer-cidr ".*": no host can be reached at addresses of/,
  })),
  {
    name: 'balanced addresses among the pods',
    request: { loadBalancerCidrs: ['10.244.7.0/28'] },
    message: /--pod-cidr 10\.244\.0\.0\/16 overlaps --load-balancer-cidr 10\.244\.7\.0\/28/,
  },
  {
    name: 'balanced addresses of one family in a dual lab',
    request: { ipFamily: 'dual', loadBalancerCidrs: ['192.0.2.0/28'] },
    message: /--load-balancer-cidr "192\.0\.2\.0\/28": it has no ipv6 range/,
  },
  {
    name: 'balanced addresses that the host routes elsewhere',
    request: { loadBalancerCidrs: ['192.0.2.0/28'] },
    host: { routes: [{ cidr: parseCidr('192.0.2.0/24')!, device: 'vpn0' }], links: [], labs: [] },
    message:
      /--load-balancer-cidr 192\.0\.2\.0\/28 overlaps the host's route to 192\.0\.2\.0\/24 by vpn0/,
  },
  {
    name: 'a host route in the way',
    request: {},
    host: { routes: [{ cidr: parseCidr('10.96.4.0/24')!, device: 'vpn0' }], links: [], labs: [] },
    message: /--service-cidr 10.96.0.0\/16 overlaps the host's route to 10.96.4.0\/24 by vpn0/,
  },
  {
    name: 'a v6 host route in the way',
    request: { ipFamily: 'ipv6' },
    host: { routes: [{ cidr: parseCidr('fd00:10::/32')!, device: 'vpn0' }], links: [], labs: [] },
    message: /overlaps the host's route to fd00:10::\/32/,
  },
];

for (const { name, request, host, message } of refusals) {
  test(`refuses ${name}`, () => {
    assert.throws(
      () => planLab({ ...plain, ...request }, host ?? emptyHost, 6443),
      (error) => error instanceof UserError && message.test(error.message),
    );
  });
}
