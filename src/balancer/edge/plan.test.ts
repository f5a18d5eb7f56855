import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { EndpointSlice, Node, Service } from '../../api/types.ts';
import { cidrContains, parseCidr } from '../../lib/ip.ts';
import { balancedNode } from '../nodes.ts';
import { checkOf, fitNodes, outsideRanges, planEdge, type View } from './plan.ts';

const nodes = ['n1', 'n2', 'n3'].map((name, at) => ({
  name,
  ips: [`172.29.0.1${at + 1}`, `fd00::1${at + 1}`],
  podCidrs: [`10.244.${at}.0/24`],
  leaving: false,
}));

function service(spec: Partial<Service['spec']> = {}): Service {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'web', namespace: 'default', creationTimestamp: '2026-01-01T00:00:00Z' },
    spec: {
      type: 'LoadBalancer',
      ports: [{ port: 80, nodePort: 30_080 }],
      externalTrafficPolicy: 'Cluster',
      ...spec,
    },
  };
}

type Conditions = { ready?: boolean; serving?: boolean; terminating?: boolean };

function slice(
  endpoints: [node: string, address: string, conditions: Conditions][],
): EndpointSlice {
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name: 'web-1', namespace: 'default' },
    addressType: 'IPv4',
    ports: [{ name: '', port: 8080, protocol: 'TCP' }],
    endpoints: endpoints.map(([nodeName, address, conditions]) => ({
      nodeName,
      addresses: [address],
      conditions,
    })),
  };
}

/** `+` yes, `-` no, `?` not asked yet, `x` dead, `c` cordoned and yes; one letter per node. */
function view(states: string, slices: EndpointSlice[] = []): View {
  const stateOf = (name: string) => states[nodes.findIndex((node) => node.name === name)];
  const answers: Record<string, boolean> = { '+': true, '-': false, c: true };
  return {
    nodes: nodes.map((node) => ({ ...node, leaving: stateOf(node.name) === 'c' })),
    slices,
    isAlive: (name) => stateOf(name) !== 'x',
    answerOf: (name) => answers[stateOf(name) ?? ''],
  };
}

const local = { externalTrafficPolicy: 'Local', healthCheckNodePort: 32_000 } as const;
const draining = { ready: false, serving: true, terminating: true };
const onSecond = [slice([['n2', '10.244.1.2', {}]])];

const cases: { name: string; spec?: Partial<Service['spec']>; view: View; want: string }[] = [
  { name: 'Cluster: all are fit', view: view('+++'), want: 'n1 n2 n3' },
  { name: 'Cluster: not asked yet', view: view('???'), want: 'n1 n2 n3' },
  { name: 'Cluster: one refuses', view: view('+-+'), want: 'n1 n3' },
  { name: 'Cluster: one is cordoned', view: view('+c+'), want: 'n1 n3' },
  { name: 'Cluster: all that are willing are cordoned', view: view('cc-'), want: 'n1 n2' },
  { name: 'Local: cordoned, but its pods are here', spec: local, view: view('c--'), want: 'n1' },
  { name: 'Cluster: one is dead', view: view('x++'), want: 'n2 n3' },
  { name: 'Cluster: all refuse, so all that live', view: view('-x-'), want: 'n1 n3' },
  { name: 'Cluster: all are dead, so all', view: view('xxx'), want: 'n1 n2 n3' },
  { name: 'Local: who says yes', spec: local, view: view('-+-'), want: 'n2' },
  {
    name: 'Local: not asked yet, so who has pods',
    spec: local,
    view: view('???', onSecond),
    want: 'n2',
  },
  { name: 'Local: dead', spec: local, view: view('+x-', onSecond), want: 'n1' },
  {
    name: 'Local: all say no, but pods that end still answer',
    spec: local,
    view: view('---', [slice([['n3', '10.244.2.2', draining]])]),
    want: 'n3',
  },
  { name: 'Local: nobody has pods', spec: local, view: view('---'), want: '' },
];
for (const { name, spec, view: seen, want } of cases) {
  test(`edge, fit nodes: ${name}`, () => {
    const fit = fitNodes(service(spec), seen).map((node) => node.name);
    assert.equal(fit.join(' '), want);
  });
}

const checks: [string, Partial<Service['spec']>, ReturnType<typeof checkOf>][] = [
  ['Cluster: the node port', {}, { kind: 'tcp', port: 30_080 }],
  ['Local: the health-check port', local, { kind: 'http', port: 32_000 }],
  [
    'the first TCP port',
    {
      ports: [
        { port: 53, protocol: 'UDP', nodePort: 1 },
        { port: 53, nodePort: 2 },
      ],
    },
    { kind: 'tcp', port: 2 },
  ],
  [
    'UDP only: the machine alone',
    { ports: [{ port: 53, protocol: 'UDP', nodePort: 1 }] },
    undefined,
  ],
  ['no node ports: the machine alone', { ports: [{ port: 80 }] }, undefined],
];
for (const [name, spec, want] of checks) {
  test(`edge asks for ${name}`, () => assert.deepEqual(checkOf(service(spec)), want));
}

test('edge: each address and port is a frontend, the node ports of its family are the endpoints', () => {
  const plan = planEdge(service(), ['172.29.0.192', 'fd00::192'], view('+-+'));
  assert.deepEqual(
    plan.ports.map(({ frontends, cluster }) => [
      frontends.map((f) => `${f.address} ${f.port} ${f.masquerade}`),
      cluster.map((target) => `${target.address} ${target.port}`),
    ]),
    [
      [['172.29.0.192 80 always'], ['172.29.0.11 30080', '172.29.0.13 30080']],
      [['fd00::192 80 always'], ['fd00::11 30080', 'fd00::13 30080']],
    ],
  );
});

const sources: [string, Partial<Service['spec']>, string[] | undefined][] = [
  ['none', {}, undefined],
  ['of the family', { loadBalancerSourceRanges: ['10.0.0.0/8', 'fd00::/8'] }, ['10.0.0.0/8']],
  ['of the other family only', { loadBalancerSourceRanges: ['fd00::/8'] }, undefined],
  ['written carelessly', { loadBalancerSourceRanges: [' 010.1.2.3/08 '] }, ['10.0.0.0/8']],
];
for (const [name, spec, want] of sources) {
  test(`edge, source ranges: ${name}`, () => {
    const [port] = planEdge(service(spec), ['172.29.0.192'], view('+++')).ports;
    assert.deepEqual(port?.frontends[0]?.sources, want);
  });
}

const keeping: [string, Partial<Service['spec']>, string, number][] = [
  ['policy Cluster does not', {}, 'always', 0],
  ['policy Local does', local, 'outsiders', 0],
  [
    'affinity does, since nodes tie clients too',
    { sessionAffinity: 'ClientIP', sessionAffinityConfig: { clientIP: { timeoutSeconds: 60 } } },
    'outsiders',
    60,
  ],
];
for (const [name, spec, masquerade, seconds] of keeping) {
  test(`edge keeps the client's address: ${name}`, () => {
    const [port] = planEdge(service(spec), ['172.29.0.192'], view('+++')).ports;
    assert.deepEqual(
      [port?.frontends[0]?.masquerade, port?.affinitySeconds],
      [masquerade, seconds],
    );
  });
}

test('edge keeps the addresses of everybody outside the cluster', () => {
  const ranges = outsideRanges(nodes).map((text) => parseCidr(text)!);
  const isOutside = (address: string) => ranges.some((range) => cidrContains(range, address));
  const outside = [
    '172.29.0.1',
    '172.29.0.14',
    '10.243.255.255',
    '10.244.3.0',
    '0.0.0.0',
    '::',
    'fd00::10',
  ];
  const inside = ['172.29.0.11', '172.29.0.13', '10.244.0.0', '10.244.2.255', 'fd00::12'];
  assert.deepEqual(
    outside.filter((address) => !isOutside(address)),
    [],
  );
  assert.deepEqual(inside.filter(isOutside), []);
});

test('edge: without node ports the pods are the endpoints, but for those on dead nodes', () => {
  const slices = [
    slice([
      ['n1', '10.244.0.2', {}],
      ['n2', '10.244.1.2', {}],
      ['n3', '10.244.2.2', { ready: false }],
    ]),
  ];
  const bare = service({ ports: [{ port: 80 }], allocateLoadBalancerNodePorts: false });
  const targets = (states: string) =>
    planEdge(bare, ['172.29.0.192'], view(states, slices)).ports[0]?.cluster.map(
      ({ address, port }) => `${address}:${port}`,
    );
  assert.deepEqual(targets('???'), ['10.244.0.2:8080', '10.244.1.2:8080']);
  assert.deepEqual(targets('x??'), ['10.244.1.2:8080']);
});

const machines: [string, Partial<Node['metadata']>, Node['spec'], boolean][] = [
  ['a plain one', {}, {}, true],
  [
    'one labelled so',
    { labels: { 'node.kubernetes.io/exclude-from-external-load-balancers': '' } },
    {},
    false,
  ],
  ['one being deleted', { deletionTimestamp: '2026-01-01T00:00:00Z' }, {}, false],
  [
    'one the autoscaler removes',
    {},
    { taints: [{ key: 'ToBeDeletedByClusterAutoscaler', effect: 'NoSchedule' }] },
    false,
  ],
];
for (const [name, metadata, spec, want] of machines) {
  test(`edge ${want ? 'uses' : 'leaves out'} ${name}`, () => {
    const node = {
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name: 'n1', ...metadata },
      spec,
      status: { addresses: [{ type: 'InternalIP', address: '172.29.0.11' }] },
    } as Node;
    assert.equal(balancedNode(node) !== undefined, want);
  });
}
