import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as fc from 'fast-check';

import type { EndpointSlice, Service, ServiceSpec } from '../api/types.ts';
import { planForwarding } from './forwarding.ts';
import { sampleContext, sampleService, sampleSlice } from './samples.ts';
import { planService } from './service.ts';

/** The keys of everything that answers. */
function answers(services: Service[], slices: EndpointSlice[] = []): string[] {
  return [...planForwarding({ services, slices, ...sampleContext() }).frontends.keys()].sort();
}

const v4 = '10.96.0.20 TCP 80';
const v6 = 'fd00:10:96::20 TCP 80';

type Case = { name: string; service: Service; others?: Service[]; want: string[] };

const cases: Case[] = [
  { name: '[P5] both families', service: sampleService(), want: [v4, v6] },
  {
    name: '[P5] a family without a cluster IP is left out',
    service: sampleService({ clusterIPs: ['10.96.0.20'] }),
    want: [v4],
  },
  {
    name: '[P1] a Service of another proxy is invisible, even with an empty label',
    service: sampleService({}, { labels: { 'service.kubernetes.io/service-proxy-name': '' } }),
    want: [],
  },
  {
    name: '[P3] headless',
    service: sampleService({ clusterIP: 'None', clusterIPs: ['None'] }),
    want: [],
  },
  {
    name: '[P3] no cluster IP yet',
    service: sampleService({ clusterIP: '', clusterIPs: [] }),
    want: [],
  },
  { name: '[P4] ExternalName', service: sampleService({ type: 'ExternalName' }), want: [] },
  {
    name: '[P6] one number in three protocols',
    service: sampleService({
      clusterIPs: ['10.96.0.20'],
      ports: [
        { name: 't', protocol: 'TCP', port: 53 },
        { name: 'u', protocol: 'UDP', port: 53 },
        { name: 's', protocol: 'SCTP', port: 53 },
      ],
    }),
    want: ['10.96.0.20 SCTP 53', '10.96.0.20 TCP 53', '10.96.0.20 UDP 53'],
  },
  {
    name: '[P29] a node port on every node port address',
    service: sampleService({
      type: 'NodePort',
      ports: [{ name: 'http', protocol: 'TCP', port: 80, nodePort: 30007 }],
    }),
    want: [v4, '172.29.0.11 TCP 30007', v6, 'fd00:172:29::11 TCP 30007'],
  },
  {
    name: '[P42] external IPs, by family, leading zeros forgiven [P19]',
    service: sampleService({ externalIPs: ['192.0.2.007', 'not an address', '2001:db8::7'] }),
    want: [v4, '192.0.2.7 TCP 80', '2001:db8::7 TCP 80', v6].sort(),
  },
  {
    name: '[P47] [P48] balancer addresses but names and mode Proxy',
    service: sampleService(
      { type: 'LoadBalancer', loadBalancerIP: '192.0.2.99' },
      {
        ingress: [
          { ip: '192.0.2.1' },
          { hostname: 'lb.example' },
          { ip: '192.0.2.2', ipMode: 'Proxy' },
          { ip: '2001:db8::1', ipMode: 'VIP' },
        ],
      },
    ),
    want: [v4, '192.0.2.1 TCP 80', '2001:db8::1 TCP 80', v6].sort(),
  },
  {
    name: '[P49] the class of a balancer is not looked at',
    service: sampleService(
      { type: 'LoadBalancer', loadBalancerClass: 'example.org/other', clusterIPs: ['10.96.0.20'] },
      { ingress: [{ ip: '192.0.2.1' }] },
    ),
    want: [v4, '192.0.2.1 TCP 80'],
  },
  {
    name: '[P38] the range of node ports is not ours to know',
    service: sampleService({
      type: 'NodePort',
      clusterIPs: ['10.96.0.20'],
      ports: [
        { name: 'low', protocol: 'TCP', port: 80, nodePort: 1 },
        { name: 'high', protocol: 'TCP', port: 81, nodePort: 65_535 },
      ],
    }),
    want: [v4, '10.96.0.20 TCP 81', '172.29.0.11 TCP 1', '172.29.0.11 TCP 65535'],
  },
  {
    name: '[P45] one address for two Services, on different ports',
    service: sampleService({ clusterIPs: ['10.96.0.20'], externalIPs: ['192.0.2.1'] }),
    others: [
      sampleService(
        {
          clusterIPs: ['10.96.0.21'],
          externalIPs: ['192.0.2.1'],
          ports: [
            { name: 'tls', port: 443 },
            { name: 'udp', protocol: 'UDP', port: 80 },
          ],
        },
        { name: 'other' },
      ),
    ],
    want: [
      v4,
      '10.96.0.21 TCP 443',
      '10.96.0.21 UDP 80',
      '192.0.2.1 TCP 443',
      '192.0.2.1 TCP 80',
      '192.0.2.1 UDP 80',
    ],
  },
  {
    name: '[P50] a balanced Service without a node port',
    service: sampleService(
      {
        type: 'LoadBalancer',
        clusterIPs: ['10.96.0.20'],
        allocateLoadBalancerNodePorts: false,
        ports: [{ name: 'http', port: 80, nodePort: 0 }],
      },
      { ingress: [{ ip: '192.0.2.1' }] },
    ),
    want: [v4, '192.0.2.1 TCP 80'],
  },
];

for (const { name, service, others = [], want } of cases) {
  test(name, () => assert.deepEqual(answers([service, ...others]), want.toSorted()));
}

test('[P8] a slice without its Service label is ignored', () => {
  const slice = sampleSlice(['10.244.1.1']);
  delete slice.metadata.labels;
  const plan = planForwarding({
    services: [sampleService()],
    slices: [slice],
    ...sampleContext(),
  });
  assert.deepEqual(
    [...plan.ports.values()].map((port) => port.cluster.length),
    [0, 0],
  );
});

test('[P1] a slice of another proxy is ignored', () => {
  const slice = sampleSlice(['10.244.1.1'], {
    labels: { 'service.kubernetes.io/service-proxy-name': 'other' },
  });
  const plan = planForwarding({ services: [sampleService()], slices: [slice], ...sampleContext() });
  assert.equal(plan.ports.get('shop/web:http/TCP/ipv4')?.cluster.length, 0);
});

test('[P84] the affinity timeout, with its default', () => {
  const planOf = (service: Service) => planService(service, [], sampleContext())?.ports[0];
  assert.equal(planOf(sampleService())?.affinitySeconds, 0);
  assert.equal(planOf(sampleService({ sessionAffinity: 'ClientIP' }))?.affinitySeconds, 10_800);
  const sessionAffinityConfig = { clientIP: { timeoutSeconds: 7 } };
  const short = sampleService({ sessionAffinity: 'ClientIP', sessionAffinityConfig });
  assert.equal(planOf(short)?.affinitySeconds, 7);
});

test('[P44] the older Service has an address that two claim, and the other takes over', () => {
  const externalIPs = ['192.0.2.1'];
  const first = sampleService(
    { externalIPs, clusterIP: '10.96.0.21', clusterIPs: ['10.96.0.21'] },
    { name: 'zebra', created: '2025-01-01T00:00:00Z' },
  );
  const second = sampleService({ externalIPs });
  const key = '192.0.2.1 TCP 80';
  const plan = (services: Service[]) =>
    planForwarding({ services, slices: [], ...sampleContext() });
  for (const services of [
    [first, second],
    [second, first],
  ]) {
    const { frontends, clashes } = plan(services);
    assert.equal(frontends.get(key)?.portId, 'shop/zebra:http/TCP/ipv4');
    assert.deepEqual(clashes, [{ frontend: key, winner: 'shop/zebra', loser: 'shop/web' }]);
  }
  assert.equal(plan([second]).frontends.get(key)?.portId, 'shop/web:http/TCP/ipv4');
  assert.deepEqual(plan([second]).clashes, []);
});

test('[P44, X5] who has an address does not depend on the order of events', () => {
  const externalIPs = ['192.0.2.1'];
  const services = ['a', 'b', 'c', 'd'].map((name, index) => {
    const clusterIPs = [`10.96.0.${30 + index}`];
    // The same age twice, so that names decide.
    const created = `2026-01-0${2 - (index % 2)}T00:00:00Z`;
    return sampleService({ externalIPs, clusterIP: clusterIPs[0]!, clusterIPs }, { name, created });
  });
  const owner = (present: Service[]) =>
    planForwarding({ services: present, slices: [], ...sampleContext() }).frontends.get(
      '192.0.2.1 TCP 80',
    )?.portId;
  fc.assert(
    fc.property(fc.shuffledSubarray(services, { minLength: 1 }), (present) => {
      const names = present.map((one) => one.metadata.name);
      const best = ['b', 'd', 'a', 'c'].find((name) => names.includes(name));
      assert.equal(owner(present), `shop/${best}:http/TCP/ipv4`);
    }),
  );
});

test('[P68] internalTrafficPolicy never decides on masquerading, nor eTP on cluster IPs', () => {
  const masquerades = (spec: Partial<ServiceSpec>) => {
    const all = sampleService(
      { type: 'LoadBalancer', externalIPs: ['192.0.2.1'], ...spec },
      { ingress: [{ ip: '192.0.2.2' }] },
    );
    const frontends = planService(all, [], sampleContext())!.ports[0]!.frontends;
    return frontends.map((one) => `${one.kind} ${one.masquerade}`);
  };
  for (const externalTrafficPolicy of ['Cluster', 'Local'] as const) {
    const [cluster, local] = (['Cluster', 'Local'] as const).map((internalTrafficPolicy) =>
      masquerades({ externalTrafficPolicy, internalTrafficPolicy }),
    );
    assert.deepEqual(cluster, local);
    assert.equal(cluster![0], 'clusterIP outsiders');
  }
});

test('[P80] only hints decide on topology, not what asks a controller for them', () => {
  const ends = ['10.244.1.1@node-1', '10.244.2.1@node-2'];
  const annotations = { 'service.kubernetes.io/topology-mode': 'Auto' };
  for (const trafficDistribution of ['PreferClose', 'PreferSameZone', 'PreferSameNode']) {
    const service = sampleService({ trafficDistribution }, { annotations });
    const cluster = (slice: EndpointSlice) =>
      planService(service, [slice], sampleContext())!.ports[0]!.cluster.map((end) => end.address);
    assert.deepEqual(cluster(sampleSlice(ends)), ['10.244.1.1', '10.244.2.1']);
    const hinted = sampleSlice(
      ['node-1', 'node-2'].map((name, index) => ({
        addresses: [`10.244.${index + 1}.1`],
        nodeName: name,
        hints: { forNodes: [{ name }] },
      })),
    );
    assert.deepEqual(cluster(hinted), ['10.244.1.1']);
  }
});

test('[P16] publishNotReadyAddresses is for the controller of slices', () => {
  const service = sampleService({ publishNotReadyAddresses: true });
  const slice = sampleSlice([{ addresses: ['10.244.1.1'], conditions: { ready: false } }]);
  assert.deepEqual(planService(service, [slice], sampleContext())!.ports[0]!.cluster, []);
});

test('[X9, P53] source ranges that leave a family open say so', () => {
  const noticesOf = (ranges: string[], nodePort = 0) => {
    const service = sampleService(
      {
        type: 'LoadBalancer',
        loadBalancerSourceRanges: ranges,
        ports: [{ name: 'http', port: 80, nodePort }],
      },
      { ingress: [{ ip: '192.0.2.1' }, { ip: '2001:db8::1' }] },
    );
    const notices = planService(service, [], sampleContext())?.notices ?? [];
    return notices.map(({ type, message }) => `${type} ${message}`);
  };
  assert.deepEqual(noticesOf([]), []);
  assert.deepEqual(noticesOf(['10.0.0.0/8', '2001:db8::/32']), []);
  assert.deepEqual(noticesOf(['10.0.0.0/8']), [
    'Warning loadBalancerSourceRanges has no ipv6 range: 2001:db8::1 is open to every source',
  ]);
  assert.deepEqual(noticesOf(['2001:db8::/32', '10.0.0.0/8'], 30_007), [
    'Normal loadBalancerSourceRanges does not apply to node ports: 30007',
  ]);
});

test('[P46] a cluster IP wins over an older external IP', () => {
  const thief = sampleService(
    { externalIPs: ['10.96.0.20'], clusterIP: '10.96.0.66', clusterIPs: ['10.96.0.66'] },
    { name: 'thief', created: '2020-01-01T00:00:00Z' },
  );
  const { frontends } = planForwarding({
    services: [thief, sampleService()],
    slices: [],
    ...sampleContext(),
  });
  assert.equal(frontends.get(v4)?.portId, 'shop/web:http/TCP/ipv4');
});

test('[P40] an external address wins over a node port with the same number', () => {
  const outward = sampleService({
    externalIPs: ['172.29.0.11'],
    ports: [{ name: 'http', port: 30007 }],
  });
  const nodePort = sampleService(
    {
      type: 'NodePort',
      clusterIP: '10.96.0.21',
      clusterIPs: ['10.96.0.21'],
      ports: [{ name: 'http', port: 80, nodePort: 30007 }],
    },
    { name: 'older', created: '2020-01-01T00:00:00Z' },
  );
  const { frontends } = planForwarding({
    services: [nodePort, outward],
    slices: [],
    ...sampleContext(),
  });
  assert.equal(frontends.get('172.29.0.11 TCP 30007')?.kind, 'externalIP');
});

test('[P118] [P119] the health check port of a local balancer Service', () => {
  const service = sampleService({
    type: 'LoadBalancer',
    externalTrafficPolicy: 'Local',
    healthCheckNodePort: 31000,
  });
  const plan = planService(service, [sampleSlice(['10.244.1.1@node-1'])], sampleContext());
  assert.deepEqual(plan?.healthCheck, { port: 31000, localEndpoints: 1 });
  service.spec.externalTrafficPolicy = 'Cluster';
  assert.equal(planService(service, [], sampleContext())?.healthCheck, undefined);
});

const serviceArbitrary = fc
  .record({
    name: fc.constantFrom('a', 'b', 'c', 'd'),
    created: fc.constantFrom('2025-01-01T00:00:00Z', '2026-01-01T00:00:00Z'),
    externalIPs: fc.subarray(['192.0.2.1', '192.0.2.2', '10.96.0.1']),
    address: fc.integer({ min: 1, max: 4 }),
  })
  .map(({ name, created, externalIPs, address }) =>
    sampleService(
      { externalIPs, clusterIP: `10.96.0.${address}`, clusterIPs: [`10.96.0.${address}`] },
      { name, created },
    ),
  );

const sliceArbitrary = fc
  .record({
    name: fc.constantFrom('s1', 's2', 's3', 's4', 's5'),
    service: fc.constantFrom('a', 'b', 'c'),
    ends: fc.array(fc.tuple(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 2 })), {
      maxLength: 5,
    }),
  })
  .map(({ name, service, ends }) =>
    sampleSlice(
      ends.map(([host, node]) => `10.244.${node}.${host}@node-${node}`),
      { name, service },
    ),
  );

test('[P17] the order of objects and of endpoints changes nothing', () => {
  const unique = <T>(items: fc.Arbitrary<T>, key: (item: T) => string) =>
    fc.uniqueArray(items, { selector: key, maxLength: 6 });
  fc.assert(
    fc.property(
      unique(serviceArbitrary, (one) => one.metadata.name),
      unique(sliceArbitrary, (one) => one.metadata.name),
      (services, slices) => {
        const turned = slices.map((slice) =>
          Object.assign({}, slice, { endpoints: slice.endpoints.toReversed() }),
        );
        const one = planForwarding({ services, slices, ...sampleContext() });
        const other = planForwarding({
          services: services.toReversed(),
          slices: turned.toReversed(),
          ...sampleContext(),
        });
        assert.deepEqual(one, other);
      },
    ),
  );
});
