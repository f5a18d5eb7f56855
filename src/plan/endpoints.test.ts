import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { Endpoint, EndpointSlice } from '../api/types.ts';
import { selectEndpoints } from './endpoints.ts';
import { sampleContext, sampleSlice } from './samples.ts';
import { targetKey, type NodeFacts, type Target } from './types.ts';

/** `address condition… @node ~zone` as an endpoint. */
function endpoint(text: string): Endpoint {
  const [address = '', ...words] = text.split(' ');
  const one: Endpoint = { addresses: [address] };
  const conditions: NonNullable<Endpoint['conditions']> = {};
  const zones: { name: string }[] = [];
  const nodes: { name: string }[] = [];
  for (const word of words) {
    if (word.startsWith('@')) one.nodeName = word.slice(1);
    else if (word.startsWith('~')) zones.push({ name: word.slice(1) });
    else if (word.startsWith('^')) nodes.push({ name: word.slice(1) });
    else if (word === 'unready') conditions.ready = false;
    else if (word === 'unserving') conditions.serving = false;
    else if (word === 'terminating') conditions.terminating = true;
    else assert.fail(`unknown word "${word}"`);
  }
  one.conditions = conditions;
  if (zones.length + nodes.length > 0) one.hints = { forZones: zones, forNodes: nodes };
  return one;
}

const A = '10.244.1.1';
const B = '10.244.2.1';
const C = '10.244.3.1';
const here = '@node-1';
const there = '@node-2';

type Case = {
  name: string;
  endpoints?: string[];
  slices?: EndpointSlice[];
  node?: Partial<NodeFacts>;
  family?: 'ipv4' | 'ipv6';
  cluster: string[];
  local: string[];
  serving?: string[];
};

const cases: Case[] = [
  { name: '[P73] a ready endpoint is used', endpoints: [A], cluster: [A], local: [] },
  {
    name: '[P14] without a nodeName an endpoint is never local',
    endpoints: [A, `${B} ${here}`],
    cluster: [A, B],
    local: [B],
  },
  {
    name: '[P15] missing conditions mean ready and serving, not terminating',
    endpoints: [`${A} ${here}`],
    cluster: [A],
    local: [A],
    serving: [A],
  },
  {
    name: '[P75] neither ready nor draining is never used',
    endpoints: [`${A} unready ${here}`, `${B} unready unserving terminating ${here}`],
    cluster: [],
    local: [],
    serving: [A],
  },
  {
    name: '[P73] [P74] nobody ready: those that drain are used',
    endpoints: [`${A} unready terminating ${here}`, `${B} unready terminating ${there}`],
    cluster: [A, B],
    local: [A],
  },
  {
    name: '[P76] a ready remote endpoint ends draining for Cluster, not for Local',
    endpoints: [`${A} unready terminating ${here}`, `${B} ${there}`],
    cluster: [B],
    local: [A],
  },
  {
    name: '[P74] a ready local endpoint ends draining for Local',
    endpoints: [`${A} unready terminating ${here}`, `${B} ${here}`],
    cluster: [B],
    local: [B],
  },
  {
    name: '[P16] a pod that its slice calls ready is used, though it terminates',
    endpoints: [`${A} terminating ${here}`, `${B} ${there}`],
    cluster: [A, B],
    local: [A],
  },
  {
    name: '[P78] zone hints on all: only our zone',
    endpoints: [`${A} ~zone-a`, `${B} ~zone-b`, `${C} ~zone-a`],
    cluster: [A, C],
    local: [],
  },
  {
    name: '[P79] one hint missing: all',
    endpoints: [`${A} ~zone-a`, B],
    cluster: [A, B],
    local: [],
  },
  {
    name: '[P79] our zone is in no hint: all',
    endpoints: [`${A} ~zone-c`, `${B} ~zone-b`],
    cluster: [A, B],
    local: [],
  },
  {
    name: '[P79] our node has no zone: all',
    endpoints: [`${A} ~zone-a`, `${B} ~zone-b`],
    node: { zone: '' },
    cluster: [A, B],
    local: [],
  },
  {
    name: '[P78] node hints come before zone hints',
    endpoints: [`${A} ~zone-a ^node-1`, `${B} ~zone-a ^node-2`],
    cluster: [A],
    local: [],
  },
  {
    name: '[P78] node hints that miss our node: zone hints count',
    endpoints: [`${A} ~zone-a ^node-3`, `${B} ~zone-b ^node-2`],
    cluster: [A],
    local: [],
  },
  {
    name: '[P82] several hinted zones: any match counts',
    endpoints: [`${A} ~zone-b ~zone-a`, `${B} ~zone-b`],
    cluster: [A],
    local: [],
  },
  {
    name: '[P81] topology does not touch the Local set',
    endpoints: [`${A} ~zone-b ${here}`, `${B} ~zone-a ${there}`],
    cluster: [B],
    local: [A],
  },
  {
    name: '[P73] draining endpoints are used whatever the topology',
    endpoints: [`${A} unready terminating ~zone-b`],
    cluster: [A],
    local: [],
  },
  {
    name: '[P78] only ready endpoints decide on topology',
    endpoints: [`${A} ~zone-a`, `${B} unready`],
    cluster: [A],
    local: [],
  },
  {
    name: '[P10] only the first address counts',
    slices: [sampleSlice([{ addresses: [A, B] }])],
    cluster: [A],
    local: [],
  },
  {
    name: '[P11] an address of the other family is skipped',
    slices: [sampleSlice([A, 'fd00::1'], { addressType: 'IPv4' })],
    cluster: [A],
    local: [],
  },
  {
    name: '[P7] an FQDN slice is ignored',
    slices: [sampleSlice(['example.org'], { addressType: 'FQDN' })],
    cluster: [],
    local: [],
  },
  {
    name: '[P12] one endpoint in two slices counts once, its local copy wins',
    slices: [
      sampleSlice([`${A}@node-1`], { name: 'a' }),
      sampleSlice([`${A}@node-2`], { name: 'b' }),
    ],
    cluster: [A],
    local: [A],
  },
  {
    name: '[P9] a port without a name or number is skipped, the others work',
    slices: [
      sampleSlice([A], {
        name: 'a',
        ports: [{ port: 8080 }, { name: 'http' }, { name: 'http', port: 0 }],
      }),
      sampleSlice([B], { name: 'b' }),
    ],
    cluster: [B],
    local: [],
  },
  {
    name: '[P19] leading zeros in an endpoint are read as decimal',
    slices: [sampleSlice(['10.244.001.001'])],
    cluster: [A],
    local: [],
  },
  {
    name: '[P73] [P74] IPv6',
    slices: [sampleSlice(['fd00:10:244:1::1@node-1', 'fd00:10:244:2::1@node-2'])],
    family: 'ipv6',
    cluster: ['fd00:10:244:1::1', 'fd00:10:244:2::1'],
    local: ['fd00:10:244:1::1'],
  },
];

for (const { name, endpoints, slices, node, family, cluster, local, serving } of cases) {
  test(name, () => {
    const all = slices ?? [sampleSlice((endpoints ?? []).map(endpoint))];
    const sets = selectEndpoints(all, {
      portName: 'http',
      protocol: 'TCP',
      family: family ?? 'ipv4',
      node: sampleContext(node === undefined ? {} : { node }).node,
    });
    const addresses = (targets: readonly Target[]) => targets.map((target) => target.address);
    assert.deepEqual(addresses(sets.cluster), cluster);
    assert.deepEqual(addresses(sets.local), local);
    if (serving) assert.deepEqual(addresses(sets.serving), serving);
  });
}

test('[P13] two slices may map one port name to different numbers', () => {
  const slices = [
    sampleSlice([A], { name: 'a' }),
    sampleSlice([B], { name: 'b', ports: [{ name: 'http', protocol: 'TCP', port: 9090 }] }),
  ];
  const { node } = sampleContext();
  const sets = selectEndpoints(slices, {
    portName: 'http',
    protocol: 'TCP',
    family: 'ipv4',
    node,
  });
  assert.deepEqual(sets.cluster.map(targetKey), [`${A} 8080`, `${B} 9090`]);
});

test('[P6] a port of another protocol is another port', () => {
  const slices = [
    sampleSlice([A], {
      ports: [
        { name: 'http', protocol: 'TCP', port: 8080 },
        { name: 'http', protocol: 'UDP', port: 9090 },
      ],
    }),
  ];
  const { node } = sampleContext();
  const sets = selectEndpoints(slices, {
    portName: 'http',
    protocol: 'UDP',
    family: 'ipv4',
    node,
  });
  assert.deepEqual(sets.cluster.map(targetKey), [`${A} 9090`]);
});

test('[P119] only distinct local ready addresses count for the health check', () => {
  const slices = [
    sampleSlice(
      [`${A} ${here}`, `${B} unready terminating ${here}`, `${C} ${there}`].map(endpoint),
      {
        ports: [
          { name: 'http', protocol: 'TCP', port: 8080 },
          { name: 'http', protocol: 'TCP', port: 8081 },
        ],
      },
    ),
  ];
  const { node } = sampleContext();
  const sets = selectEndpoints(slices, {
    portName: 'http',
    protocol: 'TCP',
    family: 'ipv4',
    node,
  });
  assert.deepEqual(sets.localReady, [A]);
});
