import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { Endpoint, EndpointSlice, Service, ServiceSpec } from '../api/types.ts';
import { evaluate, type Outcome, type Packet } from './evaluate.ts';
import { planForwarding } from './forwarding.ts';
import { sampleContext, sampleService, sampleSlice } from './samples.ts';
import { trafficRows, type TrafficPolicy, type TrafficSetting } from './traffic.cases.ts';
import { targetKey, type NodeFacts, type PlanOptions } from './types.ts';

const POLICIES: Record<TrafficPolicy, Partial<ServiceSpec>> = {
  cluster: {},
  externalLocal: { externalTrafficPolicy: 'Local' },
  internalLocal: { internalTrafficPolicy: 'Local' },
};

const SETTINGS: Record<TrafficSetting, Partial<PlanOptions>> = {
  detector: {},
  noDetector: { podCidrs: [] },
  masqueradeAll: { masqueradeAll: true },
  masqueradeAllNoDetector: { masqueradeAll: true, podCidrs: [] },
};

const FAMILIES = {
  ipv4: {
    sources: { pod: '10.244.1.9', node: '172.29.0.11', outside: '198.51.100.1' },
    clusterIP: '10.96.0.20',
    outward: ['172.29.0.11 30007', '192.0.2.1 80', '192.0.2.2 80'],
    slice: sampleSlice(['10.244.1.5@node-1', '10.244.2.5@node-2'], { name: 'v4' }),
    targets: { local: '10.244.1.5 8080', remote: '10.244.2.5 8080' },
  },
  ipv6: {
    sources: { pod: 'fd00:10:244:1::9', node: 'fd00:172:29::11', outside: '2001:db8:1::1' },
    clusterIP: 'fd00:10:96::20',
    outward: ['fd00:172:29::11 30007', '2001:db8::1 80', '2001:db8::2 80'],
    slice: sampleSlice(['fd00:10:244:1::5@node-1', 'fd00:10:244:2::5@node-2'], { name: 'v6' }),
    targets: { local: 'fd00:10:244:1::5 8080', remote: 'fd00:10:244:2::5 8080' },
  },
};

const slices = [FAMILIES.ipv4.slice, FAMILIES.ipv6.slice];

function outward(spec: Partial<ServiceSpec>): Service {
  return sampleService(
    {
      type: 'LoadBalancer',
      ports: [{ name: 'http', protocol: 'TCP', port: 80, nodePort: 30007 }],
      externalIPs: ['192.0.2.2', '2001:db8::2'],
      ...spec,
    },
    { ingress: [{ ip: '192.0.2.1' }, { ip: '2001:db8::1' }] },
  );
}

function ask(
  services: Service[],
  given: EndpointSlice[],
  packet: Packet,
  more: Parameters<typeof sampleContext>[0] = {},
): Outcome {
  return evaluate(planForwarding({ services, slices: given, ...sampleContext(more) }), packet);
}

function toLocalhost(port: number): Packet {
  return { source: '127.0.0.1', destination: '127.0.0.1', protocol: 'TCP', port };
}

/** Not ready any more, and still answering. */
function draining(address: string, nodeName: string): Endpoint {
  const conditions = { ready: false, serving: true, terminating: true };
  return { addresses: [address], nodeName, conditions };
}

for (const row of trafficRows) {
  for (const [family, facts] of Object.entries(FAMILIES)) {
    const { id, setting, source, destination, policy } = row;
    test(`${id} ${setting}: ${source} to ${destination}, ${policy}, ${family}`, () => {
      const plan = planForwarding({
        services: [outward(POLICIES[policy])],
        slices,
        ...sampleContext({ options: SETTINGS[setting] }),
      });
      const goals = destination === 'clusterIP' ? [`${facts.clusterIP} 80`] : facts.outward;
      for (const goal of goals) {
        const [address = '', port] = goal.split(' ');
        const packet = { source: facts.sources[source], destination: address, port: Number(port) };
        const outcome = evaluate(plan, { ...packet, protocol: 'TCP' });
        assert(outcome.verdict === 'dnat', goal);
        const { local, remote } = facts.targets;
        const want = row.reaches === 'L' ? [local] : [local, remote];
        assert.deepEqual(outcome.endpoints.map(targetKey), want, goal);
        assert.deepEqual(
          outcome.endpoints.map((endpoint) => endpoint.masquerade),
          want.map(() => row.masquerade),
          goal,
        );
      }
    });
  }
}

const fromPod = { source: '10.244.1.9', protocol: 'TCP' } as const;
const fromOutside = { source: '198.51.100.1', protocol: 'TCP' } as const;
const clusterIP = { destination: '10.96.0.20', port: 80 };
const nodePort = { destination: '172.29.0.11', port: 30007 };
const balancer = { destination: '192.0.2.1', port: 80 };
const local = sampleSlice(['10.244.1.5@node-1']);
const remote = sampleSlice(['10.244.2.5@node-2']);

type Case = {
  name: string;
  service: Service;
  slices: EndpointSlice[];
  packet: Packet;
  options?: Partial<PlanOptions>;
  node?: Partial<NodeFacts>;
  want: string;
};

const cases: Case[] = [
  {
    name: '[P93] no endpoint: reject on a cluster IP',
    service: outward({}),
    slices: [],
    packet: { ...fromPod, ...clusterIP },
    want: 'reject no-endpoints',
  },
  {
    name: '[P93] no endpoint: reject on a node port, with policy Local as well',
    service: outward({ externalTrafficPolicy: 'Local' }),
    slices: [],
    packet: { ...fromOutside, ...nodePort },
    want: 'reject no-endpoints',
  },
  {
    name: '[P77] an endpoint that is out of reach counts: drop, not reject',
    service: outward({ internalTrafficPolicy: 'Local' }),
    slices: [sampleSlice([draining('10.244.2.5', 'node-2')])],
    packet: { ...fromPod, ...clusterIP },
    want: 'drop no-local-endpoints',
  },
  {
    name: '[P77] one that neither is ready nor drains does not count: reject',
    service: outward({ internalTrafficPolicy: 'Local' }),
    slices: [
      sampleSlice([
        { ...draining('10.244.2.5', 'node-2'), conditions: { ready: false, serving: false } },
      ]),
    ],
    packet: { ...fromPod, ...clusterIP },
    want: 'reject no-endpoints',
  },
  {
    name: '[P66] by interface: what comes in elsewhere is no pod, whatever its address',
    service: outward({}),
    slices: [local],
    options: { podCidrs: [], podInterface: { kind: 'prefix', text: 'veth' } },
    packet: { ...fromPod, ...clusterIP, inputInterface: 'eth0' },
    want: 'dnat 10.244.1.5 8080 m',
  },
  {
    name: '[P66] by interface: a pod',
    service: outward({}),
    slices: [local],
    options: { podCidrs: [], podInterface: { kind: 'prefix', text: 'veth' } },
    packet: { ...fromOutside, ...clusterIP, inputInterface: 'veth12' },
    want: 'dnat 10.244.1.5 8080',
  },
  {
    name: '[P66] by interface: a process of the node is no pod',
    service: outward({}),
    slices: [local],
    options: { podCidrs: [], podInterface: { kind: 'name', text: 'cni0' } },
    packet: { ...fromPod, source: '172.29.0.11', ...clusterIP },
    want: 'dnat 10.244.1.5 8080 m',
  },
  {
    name: '[P36] a node port on a loopback address: counted, not ours',
    service: outward({}),
    slices: [local],
    packet: toLocalhost(30_007),
    want: 'counted',
  },
  {
    name: '[P36] a node port on a loopback address that was asked for: forwarded',
    service: outward({}),
    slices: [local],
    node: { loopback: ['127.0.0.1'] },
    packet: toLocalhost(30_007),
    want: 'forwarded',
  },
  {
    name: '[P36] without endpoints nothing is forwarded',
    service: outward({}),
    slices: [],
    node: { loopback: ['127.0.0.1'] },
    packet: toLocalhost(30_007),
    want: 'counted',
  },
  {
    name: 'another port of a loopback address is none of ours',
    service: outward({}),
    slices: [local],
    packet: toLocalhost(22),
    want: 'pass',
  },
  {
    name: '[P69] [P94] eTP Local without a local endpoint: drop from outside',
    service: outward({ externalTrafficPolicy: 'Local' }),
    slices: [remote],
    packet: { ...fromOutside, ...nodePort },
    want: 'drop no-local-endpoints',
  },
  {
    name: '[P69] eTP Local without a local endpoint: pods reach the remote ones',
    service: outward({ externalTrafficPolicy: 'Local' }),
    slices: [remote],
    packet: { ...fromPod, ...nodePort },
    want: 'dnat 10.244.2.5 8080',
  },
  {
    name: '[P70] [P94] iTP Local without a local endpoint: drop on the cluster IP',
    service: outward({ internalTrafficPolicy: 'Local' }),
    slices: [remote],
    packet: { ...fromPod, ...clusterIP },
    want: 'drop no-local-endpoints',
  },
  {
    name: '[P70] iTP Local without a local endpoint: external destinations go on',
    service: outward({ internalTrafficPolicy: 'Local' }),
    slices: [remote],
    packet: { ...fromOutside, ...nodePort },
    want: 'dnat 10.244.2.5 8080 m',
  },
  {
    name: '[P26] a pod that reaches itself is masqueraded',
    service: outward({}),
    slices: [local],
    packet: { ...fromPod, source: '10.244.1.5', ...clusterIP },
    want: 'dnat 10.244.1.5 8080 m',
  },
  {
    name: '[P91] an undefined port of a cluster IP: reject',
    service: outward({}),
    slices: [local],
    packet: { ...fromPod, ...clusterIP, port: 81 },
    want: 'reject port-not-defined',
  },
  {
    name: '[P25] UDP to a TCP port is an undefined port',
    service: outward({}),
    slices: [local],
    packet: { ...fromPod, ...clusterIP, protocol: 'UDP' },
    want: 'reject port-not-defined',
  },
  {
    name: '[P92] an address nobody has in the Service range: drop',
    service: outward({}),
    slices: [local],
    packet: { ...fromPod, destination: '10.96.7.7', port: 80 },
    want: 'drop address-not-allocated',
  },
  {
    name: '[P33] another address of the node: not ours',
    service: outward({}),
    slices: [local],
    packet: { ...fromOutside, destination: '172.29.0.12', port: 30007 },
    want: 'pass',
  },
  {
    name: '[P51] a source outside the ranges: drop, even from a pod',
    service: outward({ loadBalancerSourceRanges: ['203.0.113.0/24'] }),
    slices: [local],
    packet: { ...fromPod, ...balancer },
    want: 'drop source-not-allowed',
  },
  {
    name: '[P51] a source inside the ranges',
    service: outward({ loadBalancerSourceRanges: [' 203.0.113.000/024'] }),
    slices: [local],
    packet: { ...fromOutside, source: '203.0.113.9', ...balancer },
    want: 'dnat 10.244.1.5 8080 m',
  },
  {
    name: '[P39] source ranges do not touch the node port',
    service: outward({ loadBalancerSourceRanges: ['203.0.113.0/24'] }),
    slices: [local],
    packet: { ...fromOutside, ...nodePort },
    want: 'dnat 10.244.1.5 8080 m',
  },
  {
    name: '[P53] ranges of the other family only: everybody may connect',
    service: outward({ loadBalancerSourceRanges: ['2001:db8::/32'] }),
    slices: [local],
    packet: { ...fromOutside, ...balancer },
    want: 'dnat 10.244.1.5 8080 m',
  },
  {
    name: '[P52] the node is allowed, so the VIP is allowed as source',
    service: outward({ loadBalancerSourceRanges: ['172.29.0.0/24'] }),
    slices: [local],
    packet: { ...fromOutside, source: '192.0.2.1', ...balancer },
    want: 'dnat 10.244.1.5 8080 m',
  },
  {
    name: '[P54] source ranges without endpoints: forbidden sources are dropped',
    service: outward({ loadBalancerSourceRanges: ['203.0.113.0/24'] }),
    slices: [],
    packet: { ...fromOutside, ...balancer },
    want: 'drop source-not-allowed',
  },
  {
    name: '[P54] source ranges without endpoints: allowed sources are rejected',
    service: outward({ loadBalancerSourceRanges: ['203.0.113.0/24'] }),
    slices: [],
    packet: { ...fromOutside, source: '203.0.113.9', ...balancer },
    want: 'reject no-endpoints',
  },
  {
    name: '[P84] affinity: the endpoint of last time',
    service: outward({ sessionAffinity: 'ClientIP' }),
    slices: [local, sampleSlice(['10.244.2.5@node-2'], { name: 'other' })],
    packet: { ...fromPod, ...clusterIP, pinned: { address: '10.244.2.5', port: 8080 } },
    want: 'dnat 10.244.2.5 8080',
  },
  {
    name: '[P89] affinity never pulls a client to an endpoint its path may not use',
    service: outward({ sessionAffinity: 'ClientIP', externalTrafficPolicy: 'Local' }),
    slices: [local, sampleSlice(['10.244.2.5@node-2'], { name: 'other' })],
    packet: { ...fromOutside, ...nodePort, pinned: { address: '10.244.2.5', port: 8080 } },
    want: 'dnat 10.244.1.5 8080',
  },
];

for (const { name, service, slices: given, packet, options = {}, node = {}, want } of cases) {
  test(name, () => {
    assert.equal(describe(ask([service], given, packet, { options, node })), want);
  });
}

function describe(outcome: Outcome): string {
  if (outcome.verdict === 'pass') {
    if (outcome.localhost === undefined) return 'pass';
    return outcome.localhost.forwarded ? 'forwarded' : 'counted';
  }
  if (outcome.verdict !== 'dnat') return `${outcome.verdict} ${outcome.reason}`;
  const ends = outcome.endpoints.map((one) => targetKey(one) + (one.masquerade ? ' m' : ''));
  return `dnat ${ends.join(', ')}`;
}
