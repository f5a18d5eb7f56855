import assert from 'node:assert/strict';
import { test } from 'node:test';

import { resources } from '../../api/resources.ts';
import { ApiError } from '../../api/status.ts';
import type { Service, ServiceSpec } from '../../api/types.ts';
import { parseCidr } from '../../lib/ip.ts';
import { createMemoryStore } from '../../store/store.ts';
import { startApiServer } from '../server.ts';
import { IpAllocator } from './ip-allocator.ts';
import { PortAllocator } from './port-allocator.ts';

const first = () => 0;

// Bands: min(max(16, size/16), 256) addresses and min(max(16, size/32), 128) ports, none of a tiny
// range (kubernetes.io/docs/concepts/services-networking/cluster-ip-allocation and nodeport).
const ranges: { cidr: string; dynamic: string; last: string; outside: string }[] = [
  { cidr: '10.96.0.0/16', dynamic: '10.96.1.1', last: '10.96.255.254', outside: '10.96.255.255' },
  { cidr: '10.96.0.0/20', dynamic: '10.96.1.1', last: '10.96.15.254', outside: '10.96.16.1' },
  { cidr: '10.96.0.0/24', dynamic: '10.96.0.17', last: '10.96.0.254', outside: '10.96.0.0' },
  { cidr: '10.96.0.0/28', dynamic: '10.96.0.1', last: '10.96.0.14', outside: '10.96.0.15' },
  {
    cidr: 'fd00:10:96::/112',
    dynamic: 'fd00:10:96::101',
    last: 'fd00:10:96::ffff',
    outside: 'fd00:10:96::',
  },
  {
    cidr: 'fd00:10:96::/64',
    dynamic: 'fd00:10:96::101',
    last: 'fd00:10:96::1',
    outside: 'fd00:10:97::1',
  },
];
for (const { cidr, dynamic, last, outside } of ranges) {
  test(`[A124] ${cidr} keeps its first addresses for people`, () => {
    const range = new IpAllocator(parseCidr(cidr)!, first);
    assert.equal(range.takeNext(), dynamic);
    assert.equal(range.take(last), undefined);
    assert.equal(range.take(last), 'provided IP is already allocated');
    assert.match(range.take(outside) ?? '', /not in the valid range/);
    range.release(last);
    assert.equal(range.take(last), undefined);
  });
}

test('[A124] a full upper band falls back to the lower one, then the range is full', () => {
  const range = new IpAllocator(parseCidr('10.0.0.0/27')!, first);
  const taken = Array.from({ length: 30 }, () => range.takeNext());
  assert.equal(taken[0], '10.0.0.17');
  assert.equal(taken[14], '10.0.0.1');
  assert.equal(new Set(taken).size, 30);
  assert.equal(range.takeNext(), undefined);
});

test('[A126] automatic node ports start above the first 86', () => {
  const ports = new PortAllocator({ first: 30_000, last: 32_767 }, first);
  assert.equal(ports.takeNext(), 30_086);
  assert.equal(ports.take(30_086), 'provided port is already allocated');
  assert.match(ports.take(29_999) ?? '', /valid ports is 30000-32767/);
  ports.release(30_086);
  assert.equal(ports.takeNext(), 30_086);
});

// ---- whole Services

type Cluster = 'v4' | 'v6' | 'dual';
const cidrs: Record<Cluster, string[]> = {
  v4: ['10.96.0.0/16'],
  v6: ['fd00:10:96::/112'],
  dual: ['10.96.0.0/16', 'fd00:10:96::/112'],
};
const ports = [{ port: 80 }];

async function serve(cluster: Cluster) {
  const { client } = await startApiServer({
    store: createMemoryStore(),
    serviceCidrs: cidrs[cluster],
  });
  let count = 0;
  return {
    create: (spec: ServiceSpec) =>
      client.create<Service>(resources.services, {
        metadata: { name: `s${(count += 1)}`, namespace: 'default' },
        spec,
      }),
    update: (service: Service) => client.update<Service>(resources.services, service),
    remove: ({ metadata }: Service) =>
      client.delete(resources.services, { namespace: 'default', name: metadata.name }),
  };
}

const FOUR = /^10\.96\.\d+\.\d+$/;
const SIX = /^fd00:10:96::[\da-f]+$/;

const creations: {
  name: string;
  cluster: Cluster;
  spec: ServiceSpec;
  policy?: string | undefined;
  families?: string[] | undefined;
  ips: (RegExp | string)[];
}[] = [
  {
    name: 'nothing said',
    cluster: 'v4',
    spec: { ports },
    policy: 'SingleStack',
    families: ['IPv4'],
    ips: [FOUR],
  },
  {
    name: 'nothing said',
    cluster: 'v6',
    spec: { ports },
    policy: 'SingleStack',
    families: ['IPv6'],
    ips: [SIX],
  },
  {
    name: 'nothing said',
    cluster: 'dual',
    spec: { ports },
    policy: 'SingleStack',
    families: ['IPv4'],
    ips: [FOUR],
  },
  {
    name: 'the other family',
    cluster: 'dual',
    spec: { ports, ipFamilies: ['IPv6'] },
    policy: 'SingleStack',
    families: ['IPv6'],
    ips: [SIX],
  },
  {
    name: 'both if there are',
    cluster: 'v4',
    spec: { ports, ipFamilyPolicy: 'PreferDualStack' },
    policy: 'PreferDualStack',
    families: ['IPv4'],
    ips: [FOUR],
  },
  {
    name: 'both if there are',
    cluster: 'dual',
    spec: { ports, ipFamilyPolicy: 'PreferDualStack' },
    policy: 'PreferDualStack',
    families: ['IPv4', 'IPv6'],
    ips: [FOUR, SIX],
  },
  {
    name: 'both, six first',
    cluster: 'dual',
    spec: { ports, ipFamilyPolicy: 'RequireDualStack', ipFamilies: ['IPv6'] },
    policy: 'RequireDualStack',
    families: ['IPv6', 'IPv4'],
    ips: [SIX, FOUR],
  },
  {
    name: 'an address of the other family',
    cluster: 'dual',
    spec: { ports, clusterIP: 'fd00:10:96::5' },
    policy: 'SingleStack',
    families: ['IPv6'],
    ips: ['fd00:10:96::5'],
  },
  {
    name: 'an address',
    cluster: 'v4',
    spec: { ports, clusterIP: '10.96.0.10' },
    policy: 'SingleStack',
    families: ['IPv4'],
    ips: ['10.96.0.10'],
  },
  {
    name: 'headless',
    cluster: 'v4',
    spec: { ports, clusterIP: 'None', selector: { a: 'b' } },
    policy: 'SingleStack',
    families: ['IPv4'],
    ips: ['None'],
  },
  {
    name: 'headless without a selector',
    cluster: 'v4',
    spec: { ports, clusterIP: 'None' },
    policy: 'RequireDualStack',
    families: ['IPv4', 'IPv6'],
    ips: ['None'],
  },
  {
    name: 'an external name',
    cluster: 'dual',
    spec: { type: 'ExternalName', externalName: 'example.com' },
    policy: undefined,
    families: undefined,
    ips: [],
  },
];
for (const { name, cluster, spec, policy, families, ips } of creations) {
  test(`[A129] [A130] ${name}, ${cluster}`, async () => {
    const { create } = await serve(cluster);
    const made = (await create(spec)).spec;
    assert.equal(made.ipFamilyPolicy, policy);
    assert.deepEqual(made.ipFamilies, families);
    assert.equal(made.clusterIPs?.length ?? 0, ips.length);
    assert.equal(made.clusterIP, made.clusterIPs?.[0]);
    for (const [index, want] of ips.entries()) {
      if (typeof want === 'string') assert.equal(made.clusterIPs?.[index], want);
      else assert.match(made.clusterIPs?.[index] ?? '', want);
    }
  });
}

const refusals: { name: string; cluster: Cluster; spec: ServiceSpec; text: RegExp }[] = [
  {
    name: 'an address taken',
    cluster: 'v4',
    spec: { ports, clusterIP: '10.96.0.77' },
    text: /spec.clusterIPs: Invalid value: \["10.96.0.77"\]: failed to allocate IP 10.96.0.77: provided IP is already allocated/,
  },
  {
    name: 'an address outside',
    cluster: 'v4',
    spec: { ports, clusterIP: '10.97.0.1' },
    text: /failed to allocate IP 10.97.0.1: .*not in the valid range/,
  },
  {
    name: 'an address outside',
    cluster: 'v6',
    spec: { ports, clusterIP: 'fd00::1' },
    text: /failed to allocate IP fd00::1: .*not in the valid range/,
  },
  {
    name: 'a node port taken',
    cluster: 'v4',
    spec: { type: 'NodePort', ports: [{ port: 80, nodePort: 30_077 }] },
    text: /spec.ports\[0\].nodePort: Invalid value: 30077: provided port is already allocated/,
  },
  {
    name: 'a node port outside',
    cluster: 'v4',
    spec: { type: 'NodePort', ports: [{ port: 80, nodePort: 80 }] },
    text: /spec.ports\[0\].nodePort: Invalid value: 80: provided port is not in the valid range/,
  },
  {
    name: 'a family the cluster lacks',
    cluster: 'v4',
    spec: { ports, ipFamilies: ['IPv6'] },
    text: /spec.ipFamilies\[0\]: Invalid value: "?IPv6"?: not configured on this cluster/,
  },
  {
    name: 'two families where there is one',
    cluster: 'v6',
    spec: { ports, ipFamilyPolicy: 'RequireDualStack' },
    text: /this cluster is not configured for dual-stack services/,
  },
];
for (const { name, cluster, spec, text } of refusals) {
  test(`[A131] refuses ${name}, ${cluster}, and takes nothing`, async () => {
    const { create } = await serve(cluster);
    const held = cluster === 'v4' ? { clusterIP: '10.96.0.77' } : {};
    await create({ type: 'NodePort', ports: [{ port: 80, nodePort: 30_077 }], ...held });
    for (let round = 0; round < 2; round += 1) {
      await assert.rejects(
        create(spec),
        (error) => error instanceof ApiError && text.test(error.message),
      );
    }
  });
}

test('[A126] TCP and UDP of one port share a node port, other ports do not', async () => {
  const { create } = await serve('v4');
  const { spec } = await create({
    type: 'NodePort',
    ports: [
      { name: 'a', port: 53, protocol: 'UDP' },
      { name: 'b', port: 53, protocol: 'TCP' },
      { name: 'c', port: 80 },
    ],
  });
  const [a, b, c] = spec.ports!.map(({ nodePort }) => nodePort);
  assert.equal(a, b);
  assert.notEqual(a, c);
});

test('[A126] a load balancer has node ports unless told not to, and a health port when local', async () => {
  const { create } = await serve('v4');
  const plain = await create({ type: 'LoadBalancer', ports });
  assert.ok(plain.spec.ports?.[0]?.nodePort);
  assert.equal(plain.spec.healthCheckNodePort, undefined);
  const bare = await create({ type: 'LoadBalancer', ports, allocateLoadBalancerNodePorts: false });
  assert.equal(bare.spec.ports?.[0]?.nodePort, undefined);
  const local = await create({ type: 'LoadBalancer', ports, externalTrafficPolicy: 'Local' });
  assert.ok(local.spec.healthCheckNodePort! >= 30_000);
});

test('[A127] what a deleted Service held can be given out again', async () => {
  const { create, remove } = await serve('v4');
  const spec: ServiceSpec = {
    type: 'NodePort',
    clusterIP: '10.96.0.50',
    ports: [{ port: 80, nodePort: 30_050 }],
  };
  await remove(await create(spec));
  const again = await create(spec);
  assert.equal(again.spec.clusterIP, '10.96.0.50');
});

test('[A127] what stored Services hold is known after a restart', async () => {
  const store = createMemoryStore();
  const start = () => startApiServer({ store, serviceCidrs: cidrs.v4 });
  const service = (name: string): Service => ({
    metadata: { name, namespace: 'default' },
    spec: { type: 'NodePort', clusterIP: '10.96.0.50', ports: [{ port: 80, nodePort: 30_050 }] },
  });
  await (await start()).client.create(resources.services, service('a'));
  const { client } = await start();
  await assert.rejects(client.create(resources.services, service('b')), /already allocated/);
});

const changes: {
  name: string;
  cluster?: Cluster;
  from: ServiceSpec;
  change: (spec: ServiceSpec) => ServiceSpec;
  check: (now: ServiceSpec, was: ServiceSpec) => void;
}[] = [
  {
    name: '[A128] the YAML first applied can be applied again',
    from: { type: 'NodePort', ports },
    change: () => ({ type: 'NodePort', ports }),
    check(now, was) {
      assert.deepEqual(now.clusterIPs, was.clusterIPs);
      assert.equal(now.ports?.[0]?.nodePort, was.ports?.[0]?.nodePort);
    },
  },
  {
    name: '[A128] a NodePort that becomes a ClusterIP gives its port back',
    from: { type: 'NodePort', ports },
    change: (spec) => ({ ...spec, type: 'ClusterIP' }),
    check(now) {
      assert.equal(now.ports?.[0]?.nodePort, undefined);
      assert.equal(now.externalTrafficPolicy, undefined);
    },
  },
  {
    name: '[A128] an ExternalName has no address',
    from: { ports },
    change: (spec) => ({ ...spec, type: 'ExternalName', externalName: 'example.com' }),
    check(now) {
      assert.equal(now.clusterIP ?? '', '');
      assert.equal(now.clusterIPs, undefined);
      assert.equal(now.ipFamilies, undefined);
    },
  },
  {
    name: '[A130] an upgrade adds the second address',
    cluster: 'dual',
    from: { ports },
    change: (spec) => ({ ...spec, ipFamilyPolicy: 'PreferDualStack' }),
    check(now, was) {
      assert.equal(now.clusterIPs?.[0], was.clusterIP);
      assert.match(now.clusterIPs?.[1] ?? '', SIX);
      assert.deepEqual(now.ipFamilies, ['IPv4', 'IPv6']);
    },
  },
  {
    name: '[A130] a downgrade gives it back',
    cluster: 'dual',
    from: { ports, ipFamilyPolicy: 'PreferDualStack' },
    change: (spec) => ({ ...spec, ipFamilyPolicy: 'SingleStack' }),
    check(now, was) {
      assert.deepEqual(now.clusterIPs, was.clusterIPs?.slice(0, 1));
      assert.deepEqual(now.ipFamilies, ['IPv4']);
    },
  },
];
for (const { name, cluster = 'v4', from, change, check } of changes) {
  test(name, async () => {
    const { create, update } = await serve(cluster);
    const made = await create(from);
    const { resourceVersion: _, ...metadata } = made.metadata;
    const now = await update({ metadata, spec: change(made.spec) });
    check(now.spec, made.spec);
  });
}
