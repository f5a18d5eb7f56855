import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Node, Pod, Taint } from '../../api/types.ts';
import { placePod, type Seat } from './placement.ts';

const hostnameKey = 'kubernetes.io/hostname';
const zoneKey = 'topology.kubernetes.io/zone';

function node(
  name: string,
  more: { spec?: Node['spec']; labels?: Record<string, string>; cpu?: string } = {},
): Node {
  return {
    metadata: { name, labels: { [hostnameKey]: name, [zoneKey]: 'z', ...more.labels } },
    ...(more.spec === undefined ? {} : { spec: more.spec }),
    status: { allocatable: { cpu: more.cpu ?? '2', memory: '4Gi', pods: '10' } },
  };
}

function pod(
  spec: Record<string, unknown> = {},
  more: { app?: string; owner?: string; nodeName?: string } = {},
): Pod {
  const ownerReferences = [
    {
      apiVersion: 'apps/v1',
      kind: 'ReplicaSet',
      name: 'r',
      uid: more.owner ?? '',
      controller: true,
    },
  ];
  return {
    metadata: {
      name: 'pod',
      namespace: 'default',
      labels: { app: more.app ?? 'web' },
      ...(more.owner === undefined ? {} : { ownerReferences }),
    },
    spec: { containers: [{ name: 'c' }], ...spec },
  };
}

const cpu = (amount: string) => ({
  containers: [{ name: 'c', resources: { requests: { cpu: amount } } }],
});
const hostPort = (port: number, more: object = {}) => ({
  containers: [{ name: 'c', ports: [{ containerPort: 80, hostPort: port, ...more }] }],
});
const taint: Taint = { key: 'k', value: 'v', effect: 'NoSchedule' };
const near = (app: string, topologyKey: string) => ({
  requiredDuringSchedulingIgnoredDuringExecution: [
    { labelSelector: { matchLabels: { app } }, topologyKey },
  ],
});
const required = (term: object) => ({
  nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [term] } },
});

type Row = { name: string; pod: Pod; seats: Seat[]; want: string };
const seat = (held: Node, pods: Pod[] = []): Seat => ({ node: held, pods });
const one = (message: string) => `0/1 nodes are available: 1 ${message}.`;

const rows: Row[] = [
  { name: 'no node at all', pod: pod(), seats: [], want: '0/0 nodes are available.' },
  { name: 'a free node', pod: pod(), seats: [seat(node('a'))], want: 'a' },
  {
    name: 'a cordoned node',
    pod: pod(),
    seats: [seat(node('a', { spec: { unschedulable: true } }))],
    want: one('node(s) were unschedulable'),
  },
  {
    name: 'a taint',
    pod: pod(),
    seats: [seat(node('a', { spec: { taints: [taint] } }))],
    want: one('node(s) had untolerated taint {k: v}'),
  },
  {
    name: 'a tolerated taint',
    pod: pod({ tolerations: [{ key: 'k', operator: 'Equal', value: 'v' }] }),
    seats: [seat(node('a', { spec: { taints: [taint] } }))],
    want: 'a',
  },
  {
    name: 'a soft taint is only avoided',
    pod: pod(),
    seats: [
      seat(node('a', { spec: { taints: [{ ...taint, effect: 'PreferNoSchedule' }] } })),
      seat(node('b')),
    ],
    want: 'b',
  },
  {
    name: 'nodeSelector',
    pod: pod({ nodeSelector: { disk: 'ssd' } }),
    seats: [seat(node('a')), seat(node('b', { labels: { disk: 'ssd' } }))],
    want: 'b',
  },
  {
    name: 'required node affinity, Gt',
    pod: pod({
      affinity: required({ matchExpressions: [{ key: 'n', operator: 'Gt', values: ['3'] }] }),
    }),
    seats: [seat(node('a', { labels: { n: '3' } })), seat(node('b', { labels: { n: '4' } }))],
    want: 'b',
  },
  {
    name: 'required node affinity by name',
    pod: pod({
      affinity: required({
        matchFields: [{ key: 'metadata.name', operator: 'In', values: ['b'] }],
      }),
    }),
    seats: [seat(node('a')), seat(node('b'))],
    want: 'b',
  },
  {
    name: 'an empty term matches no node',
    pod: pod({ affinity: required({}) }),
    seats: [seat(node('a'))],
    want: one("node(s) didn't match Pod's node affinity/selector"),
  },
  {
    name: 'preferred node affinity',
    pod: pod({
      affinity: {
        nodeAffinity: {
          preferredDuringSchedulingIgnoredDuringExecution: [
            {
              weight: 50,
              preference: {
                matchExpressions: [{ key: hostnameKey, operator: 'In', values: ['b'] }],
              },
            },
          ],
        },
      },
    }),
    seats: [seat(node('a')), seat(node('b'))],
    want: 'b',
  },
  {
    name: 'too little cpu',
    pod: pod(cpu('1500m')),
    seats: [seat(node('a'), [pod(cpu('1'))])],
    want: one('Insufficient cpu'),
  },
  {
    name: 'just enough cpu',
    pod: pod(cpu('1')),
    seats: [seat(node('a'), [pod(cpu('1'))])],
    want: 'a',
  },
  {
    name: 'too many pods',
    pod: pod(),
    seats: [
      seat(
        node('a'),
        Array.from({ length: 10 }, () => pod()),
      ),
    ],
    want: one('Too many pods'),
  },
  {
    name: 'a taken host port',
    pod: pod(hostPort(80)),
    seats: [seat(node('a'), [pod(hostPort(80))])],
    want: one("node(s) didn't have free ports for the requested pod ports"),
  },
  {
    name: 'the same host port over UDP',
    pod: pod(hostPort(80, { protocol: 'UDP' })),
    seats: [seat(node('a'), [pod(hostPort(80))])],
    want: 'a',
  },
  {
    name: 'the same host port on another address',
    pod: pod(hostPort(80, { hostIP: '10.0.0.1' })),
    seats: [seat(node('a'), [pod(hostPort(80, { hostIP: '10.0.0.2' }))])],
    want: 'a',
  },
  {
    name: 'the same host port on any IPv6 address',
    pod: pod(hostPort(80, { hostIP: '::' })),
    seats: [seat(node('a'), [pod(hostPort(80, { hostIP: 'fd00::1' }))])],
    want: one("node(s) didn't have free ports for the requested pod ports"),
  },
  {
    name: 'pod affinity',
    pod: pod({ affinity: { podAffinity: near('db', hostnameKey) } }),
    seats: [seat(node('a')), seat(node('b'), [pod({}, { app: 'db' })])],
    want: 'b',
  },
  {
    name: 'pod affinity to nobody',
    pod: pod({ affinity: { podAffinity: near('db', hostnameKey) } }),
    seats: [seat(node('a'))],
    want: one("node(s) didn't match pod affinity rules"),
  },
  {
    name: 'pod affinity to its own kind, first of all',
    pod: pod({ affinity: { podAffinity: near('web', hostnameKey) } }),
    seats: [seat(node('a'))],
    want: 'a',
  },
  {
    name: 'pod anti-affinity',
    pod: pod({ affinity: { podAntiAffinity: near('web', hostnameKey) } }),
    seats: [seat(node('a'), [pod()]), seat(node('b'))],
    want: 'b',
  },
  {
    name: 'pod anti-affinity over a zone',
    pod: pod({ affinity: { podAntiAffinity: near('web', zoneKey) } }),
    seats: [seat(node('a'), [pod()]), seat(node('b'))],
    want: "0/2 nodes are available: 2 node(s) didn't match pod anti-affinity rules.",
  },
  {
    name: 'anti-affinity of a pod already there',
    pod: pod(),
    seats: [
      seat(node('a'), [
        pod({ affinity: { podAntiAffinity: near('web', hostnameKey) } }, { app: 'x' }),
      ]),
    ],
    want: one("node(s) didn't satisfy existing pods anti-affinity rules"),
  },
  {
    name: 'topology spread',
    pod: pod({
      topologySpreadConstraints: [
        {
          maxSkew: 1,
          topologyKey: hostnameKey,
          whenUnsatisfiable: 'DoNotSchedule',
          labelSelector: { matchLabels: { app: 'web' } },
        },
      ],
    }),
    seats: [
      seat(node('a'), [pod()]),
      seat(node('b'), [pod({}, { app: 'x' }), pod({}, { app: 'x' })]),
    ],
    want: 'b',
  },
  {
    name: 'topology spread without the label',
    pod: pod({
      topologySpreadConstraints: [
        { maxSkew: 1, topologyKey: 'rack', whenUnsatisfiable: 'DoNotSchedule', labelSelector: {} },
      ],
    }),
    seats: [seat(node('a'))],
    want: one("node(s) didn't match pod topology spread constraints (missing required label)"),
  },
  {
    name: 'replicas are spread',
    pod: pod({}, { owner: 'r' }),
    seats: [seat(node('a'), [pod({}, { owner: 'r' })]), seat(node('b'), [pod(), pod()])],
    want: 'b',
  },
  {
    name: 'the emptier node',
    pod: pod(cpu('100m')),
    seats: [seat(node('a'), [pod(cpu('1'))]), seat(node('b'))],
    want: 'b',
  },
  {
    name: 'reasons are counted',
    pod: pod(cpu('3')),
    seats: [seat(node('a')), seat(node('b')), seat(node('c', { spec: { unschedulable: true } }))],
    want: '0/3 nodes are available: 1 node(s) were unschedulable, 2 Insufficient cpu.',
  },
];

for (const row of rows) {
  test(`[K26] ${row.name}`, () => {
    const told = (seats: Seat[]) => {
      const found = placePod(row.pod, { seats, namespaceLabels: () => ({}) }, () => 0);
      return found.kind === 'fits' ? found.nodeName : found.message;
    };
    assert.equal(told(row.seats), row.want);
    assert.equal(told(row.seats.toReversed()), row.want);
  });
}
