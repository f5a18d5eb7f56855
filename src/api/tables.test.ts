import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { KubeObject } from './meta.ts';
import { resources, type Resource } from './resources.ts';
import { tableFor } from './tables.ts';

const now = Date.parse('2024-01-01T00:10:00Z');
const metadata = { name: 'x', namespace: 'default', creationTimestamp: '2024-01-01T00:04:57Z' };

function cells(resource: Resource, body: object): (string | number)[] {
  const object = { metadata, ...body } as KubeObject;
  return tableFor(resource, [object], { now }).rows[0]?.cells ?? [];
}

// The table of A119: title, `*` for priority 1, `#` for numbers.
const columns: Record<string, string> = {
  pods: 'Name,Ready,Status,Restarts,Age,IP*,Node*,Nominated Node*,Readiness Gates*',
  services: 'Name,Type,Cluster-IP,External-IP,Port(s),Age,Selector*',
  endpoints: 'Name,Endpoints,Age',
  endpointslices: 'Name,AddressType,Ports,Endpoints,Age',
  nodes:
    'Name,Status,Roles,Age,Version,Internal-IP*,External-IP*,OS-Image*,Kernel-Version*,Container-Runtime*',
  namespaces: 'Name,Status,Age',
  deployments: 'Name,Ready,Up-to-date,Available,Age,Containers*,Images*,Selector*',
  replicasets: 'Name,Desired#,Current#,Ready#,Age,Containers*,Images*,Selector*',
  statefulsets: 'Name,Ready,Age,Containers*,Images*',
  events: 'Last Seen,Type,Reason,Object,Subobject*,Source*,Message,First Seen*,Count*,Name*',
  configmaps: 'Name,Data,Age',
  secrets: 'Name,Type,Data,Age',
  serviceaccounts: 'Name,Secrets,Age',
  leases: 'Name,Holder,Age',
  controllerrevisions: 'Name,Controller,Revision,Age',
};
for (const [name, want] of Object.entries(columns)) {
  test(`[A119] columns of ${name}`, () => {
    const resource = resources[name as keyof typeof resources];
    const found = tableFor(resource, [], { now }).columnDefinitions.map(
      ({ name, priority, type }) =>
        `${name}${type === 'integer' ? '#' : ''}${priority === 1 ? '*' : ''}`,
    );
    assert.equal(found.join(','), want);
  });
}

test('[A25] a kind without columns has a name and a date', () => {
  const resource = { ...resources.leases, group: 'x', resource: 'y' };
  const { columnDefinitions, rows } = tableFor(resource, [{ metadata }], { now });
  assert.deepEqual(
    columnDefinitions.map(({ name, type }) => [name, type]),
    [
      ['Name', 'string'],
      ['Created At', 'date'],
    ],
  );
  assert.deepEqual(rows, [{ cells: ['x', metadata.creationTimestamp] }]);
});

// ---- pods

const container = (name: string) => ({ name, image: 'i' });
const running = (name: string, more: object = {}) => ({
  name,
  ready: true,
  restartCount: 0,
  state: { running: { startedAt: '' } },
  image: '',
  imageID: '',
  ...more,
});
const stopped = (name: string, state: object, more: object = {}) =>
  running(name, { ready: false, state, ...more });
const one = { containers: [container('a')] };
const two = { containers: [container('a'), container('b')] };
const inits = { ...one, initContainers: [container('i'), container('j')] };
const sidecar = { ...one, initContainers: [{ ...container('i'), restartPolicy: 'Always' }] };
const ready = [{ type: 'Ready', status: 'True' }];

type PodCase = [name: string, spec: object, status: object, want: string, more?: object];

const pods: PodCase[] = [
  ['pending', one, { phase: 'Pending' }, '0/1 Pending 0'],
  ['running', one, { phase: 'Running', containerStatuses: [running('a')] }, '1/1 Running 0'],
  ['evicted', one, { phase: 'Failed', reason: 'Evicted' }, '0/1 Evicted 0'],
  [
    'gated',
    one,
    {
      phase: 'Pending',
      conditions: [{ type: 'PodScheduled', status: 'False', reason: 'SchedulingGated' }],
    },
    '0/1 SchedulingGated 0',
  ],
  [
    'creating',
    one,
    {
      phase: 'Pending',
      containerStatuses: [stopped('a', { waiting: { reason: 'ContainerCreating' } })],
    },
    '0/1 ContainerCreating 0',
  ],
  [
    'crashing',
    one,
    {
      phase: 'Running',
      containerStatuses: [
        stopped(
          'a',
          { waiting: { reason: 'CrashLoopBackOff' } },
          {
            restartCount: 3,
            lastState: { terminated: { exitCode: 1, finishedAt: '2024-01-01T00:08:00Z' } },
          },
        ),
      ],
    },
    '0/1 CrashLoopBackOff 3 (2m ago)',
  ],
  [
    'an exit code',
    one,
    { phase: 'Failed', containerStatuses: [stopped('a', { terminated: { exitCode: 3 } })] },
    '0/1 ExitCode:3 0',
  ],
  [
    'a signal',
    one,
    {
      phase: 'Failed',
      containerStatuses: [stopped('a', { terminated: { exitCode: 137, signal: 9 } })],
    },
    '0/1 Signal:9 0',
  ],
  [
    'the first reason wins',
    two,
    {
      phase: 'Running',
      containerStatuses: [
        stopped('a', { waiting: { reason: 'A' } }),
        stopped('b', { waiting: { reason: 'B' } }),
      ],
    },
    '0/2 A 0',
  ],
  [
    'half completed, ready',
    two,
    {
      phase: 'Running',
      conditions: ready,
      containerStatuses: [
        stopped('a', { terminated: { exitCode: 0, reason: 'Completed' } }),
        running('b'),
      ],
    },
    '1/2 Running 0',
  ],
  [
    'half completed, not ready',
    two,
    {
      phase: 'Running',
      containerStatuses: [
        stopped('a', { terminated: { exitCode: 0, reason: 'Completed' } }),
        running('b'),
      ],
    },
    '1/2 NotReady 0',
  ],
  [
    'completed',
    one,
    {
      phase: 'Succeeded',
      containerStatuses: [stopped('a', { terminated: { exitCode: 0, reason: 'Completed' } })],
    },
    '0/1 Completed 0',
  ],
  [
    'the second init container',
    inits,
    {
      phase: 'Pending',
      initContainerStatuses: [
        stopped('i', { terminated: { exitCode: 0 } }),
        stopped('j', { waiting: { reason: 'PodInitializing' } }),
      ],
    },
    '0/1 Init:1/2 0',
  ],
  [
    'an init container that fails',
    inits,
    {
      phase: 'Pending',
      initContainerStatuses: [stopped('i', { terminated: { exitCode: 2 } }, { restartCount: 1 })],
    },
    '0/1 Init:ExitCode:2 1',
  ],
  [
    'an init container that crashes',
    inits,
    {
      phase: 'Pending',
      initContainerStatuses: [stopped('i', { waiting: { reason: 'CrashLoopBackOff' } })],
    },
    '0/1 Init:CrashLoopBackOff 0',
  ],
  [
    'a sidecar',
    sidecar,
    {
      phase: 'Running',
      initContainerStatuses: [running('i', { started: true })],
      containerStatuses: [running('a')],
    },
    '2/2 Running 0',
  ],
  [
    'deleted',
    one,
    { phase: 'Running', containerStatuses: [running('a')] },
    '1/1 Terminating 0',
    { deletionTimestamp: 't' },
  ],
  ['deleted when done', one, { phase: 'Succeeded' }, '0/1 Succeeded 0', { deletionTimestamp: 't' }],
  [
    'lost',
    one,
    { phase: 'Running', reason: 'NodeLost' },
    '0/1 Unknown 0',
    { deletionTimestamp: 't' },
  ],
];
for (const [name, spec, status, want, more = {}] of pods) {
  test(`[A120] pod ${name}: ${want}`, () => {
    const row = cells(resources.pods, { metadata: { ...metadata, ...more }, spec, status });
    assert.equal(row.slice(1, 4).join(' '), want);
  });
}

test('[A119] a pod shows where it is', () => {
  const spec = {
    ...one,
    nodeName: 'n1',
    readinessGates: [{ conditionType: 'g' }, { conditionType: 'h' }],
  };
  const status = {
    phase: 'Running',
    podIP: 'fd00::1',
    podIPs: [{ ip: 'fd00::1' }, { ip: '10.0.0.1' }],
    conditions: [{ type: 'g', status: 'True' }],
  };
  assert.deepEqual(cells(resources.pods, { spec, status }).slice(4), [
    '5m3s',
    'fd00::1',
    'n1',
    '<none>',
    '1/2',
  ]);
  assert.deepEqual(cells(resources.pods, { spec: one }).slice(4), [
    '5m3s',
    '<none>',
    '<none>',
    '<none>',
    '<none>',
  ]);
});

test('[A120] rows of finished pods carry a condition', () => {
  const pod = { metadata, spec: one, status: { phase: 'Succeeded' } };
  const [row] = tableFor(resources.pods, [pod], { now }).rows;
  assert.deepEqual(row?.conditions, [
    {
      type: 'Completed',
      status: 'True',
      reason: 'Succeeded',
      message: 'The pod has completed successfully.',
    },
  ]);
});

// ---- services and endpoints

const ports = [
  { port: 80, protocol: 'TCP' },
  { port: 53, protocol: 'UDP', nodePort: 30_053 },
];
const ip = { clusterIP: '10.96.0.5', clusterIPs: ['10.96.0.5', 'fd00::5'] };
const services: [name: string, body: object, want: string[]][] = [
  [
    'ClusterIP',
    { spec: { type: 'ClusterIP', ...ip, ports, selector: { b: '2', a: '1' } } },
    ['ClusterIP', '10.96.0.5', '<none>', '80/TCP,53:30053/UDP', '5m3s', 'a=1,b=2'],
  ],
  [
    'v6',
    {
      spec: { type: 'ClusterIP', clusterIP: 'fd00::5', clusterIPs: ['fd00::5'], ports: [ports[0]] },
    },
    ['ClusterIP', 'fd00::5', '<none>', '80/TCP', '5m3s', '<none>'],
  ],
  [
    'headless',
    { spec: { type: 'ClusterIP', clusterIP: 'None', clusterIPs: ['None'] } },
    ['ClusterIP', 'None', '<none>', '<none>', '5m3s', '<none>'],
  ],
  [
    'external addresses',
    { spec: { type: 'ClusterIP', ...ip, externalIPs: ['192.0.2.1', '192.0.2.2'] } },
    ['ClusterIP', '10.96.0.5', '192.0.2.1,192.0.2.2', '<none>', '5m3s', '<none>'],
  ],
  [
    'LoadBalancer without an address',
    { spec: { type: 'LoadBalancer', ...ip } },
    ['LoadBalancer', '10.96.0.5', '<pending>', '<none>', '5m3s', '<none>'],
  ],
  [
    'LoadBalancer',
    {
      spec: { type: 'LoadBalancer', ...ip, externalIPs: ['1.1.1.1'] },
      status: {
        loadBalancer: {
          ingress: [{ ip: '9.9.9.9' }, { hostname: 'a-very-long-name.example' }, { ip: '9.9.9.9' }],
        },
      },
    },
    [
      'LoadBalancer',
      '10.96.0.5',
      '9.9.9.9,a-very-long-name.example,1.1.1.1',
      '<none>',
      '5m3s',
      '<none>',
    ],
  ],
  [
    'ExternalName',
    { spec: { type: 'ExternalName', externalName: 'db.example' } },
    ['ExternalName', '<none>', 'db.example', '<none>', '5m3s', '<none>'],
  ],
];
for (const [name, body, want] of services) {
  test(`[A119] [A122] service ${name}`, () => {
    assert.deepEqual(cells(resources.services, body).slice(1), want);
  });
}

const at = (...list: string[]) => list.map((address) => ({ ip: address }));
const endpoints: [name: string, subsets: object[] | undefined, want: string][] = [
  ['none', undefined, '<none>'],
  [
    'two',
    [{ addresses: at('10.244.1.5', '10.244.2.3'), ports: [{ port: 80 }] }],
    '10.244.1.5:80,10.244.2.3:80',
  ],
  ['v6', [{ addresses: at('fd00::1'), ports: [{ port: 80 }] }], '[fd00::1]:80'],
  ['no ports', [{ addresses: at('10.0.0.1', 'fd00::1') }], '10.0.0.1,fd00::1'],
  [
    'port by port',
    [{ addresses: at('10.0.0.1', '10.0.0.2'), ports: [{ port: 80 }, { port: 81 }] }],
    '10.0.0.1:80,10.0.0.2:80,10.0.0.1:81 + 1 more...',
  ],
  [
    'three',
    [{ addresses: at('10.0.0.1', '10.0.0.2', '10.0.0.3'), ports: [{ port: 1 }] }],
    '10.0.0.1:1,10.0.0.2:1,10.0.0.3:1',
  ],
  ['none ready', [{ notReadyAddresses: at('10.0.0.1'), ports: [{ port: 80 }] }], ''],
];
for (const [name, subsets, want] of endpoints) {
  test(`[A119] endpoints: ${name}`, () => {
    assert.equal(cells(resources.endpoints, { subsets })[1], want);
  });
}

const slices: [name: string, body: object, want: string[]][] = [
  [
    'plain',
    { addressType: 'IPv4', ports: [{ port: 80 }], endpoints: [{ addresses: ['10.0.0.1'] }] },
    ['IPv4', '80', '10.0.0.1'],
  ],
  [
    'many',
    {
      addressType: 'IPv6',
      ports: [{ port: 1 }, { port: 2 }, { port: 3 }, { port: 4 }],
      endpoints: [1, 2, 3, 4, 5].map((n) => ({ addresses: [`fd00::${n}`] })),
    },
    ['IPv6', '1,2,3 + 1 more...', 'fd00::1,fd00::2,fd00::3 + 2 more...'],
  ],
  ['nothing', { addressType: 'IPv4', endpoints: [] }, ['IPv4', '<unset>', '<unset>']],
  [
    'unnumbered',
    { addressType: 'IPv4', ports: [{ name: '' }, { name: 'a' }], endpoints: [] },
    ['IPv4', '*,a', '<unset>'],
  ],
];
for (const [name, body, want] of slices) {
  test(`[A119] endpoint slice: ${name}`, () => {
    assert.deepEqual(cells(resources.endpointslices, body).slice(1, 4), want);
  });
}

// ---- the rest

const template = { spec: { containers: [container('a'), { name: 'b', image: 'j' }] } };
const selector = { matchLabels: { app: 'x' } };
const others: [resource: Resource, name: string, body: object, want: (string | number)[]][] = [
  [
    resources.deployments,
    'half there',
    {
      spec: { replicas: 2, template, selector },
      status: { readyReplicas: 1, updatedReplicas: 2, availableReplicas: 1 },
    },
    ['1/2', 2, 1, '5m3s', 'a,b', 'i,j', 'app=x'],
  ],
  [
    resources.deployments,
    'new',
    { spec: { replicas: 2, template, selector } },
    ['0/2', 0, 0, '5m3s', 'a,b', 'i,j', 'app=x'],
  ],
  [
    resources.replicasets,
    'half there',
    { spec: { replicas: 2, template, selector }, status: { replicas: 2, readyReplicas: 1 } },
    [2, 2, 1, '5m3s', 'a,b', 'i,j', 'app=x'],
  ],
  [
    resources.statefulsets,
    'half there',
    { spec: { replicas: 3, template, selector }, status: { readyReplicas: 1 } },
    ['1/3', '5m3s', 'a,b', 'i,j'],
  ],
  [
    resources.nodes,
    'ready',
    {
      metadata: {
        ...metadata,
        labels: {
          'node-role.kubernetes.io/worker': '',
          'node-role.kubernetes.io/control-plane': '',
        },
      },
      spec: { unschedulable: true },
      status: {
        conditions: ready,
        addresses: [{ type: 'InternalIP', address: '172.29.0.11' }],
        nodeInfo: {
          kubeletVersion: 'v1',
          osImage: 'Debian',
          kernelVersion: '6.1',
          containerRuntimeVersion: 'process://1',
        },
      },
    },
    [
      'Ready,SchedulingDisabled',
      'control-plane,worker',
      '5m3s',
      'v1',
      '172.29.0.11',
      '<none>',
      'Debian',
      '6.1',
      'process://1',
    ],
  ],
  [
    resources.nodes,
    'new',
    {},
    ['Unknown', '<none>', '5m3s', '', '<none>', '<none>', '<unknown>', '<unknown>', '<unknown>'],
  ],
  [
    resources.nodes,
    'silent',
    { status: { conditions: [{ type: 'Ready', status: 'Unknown' }] } },
    ['NotReady', '<none>', '5m3s', '', '<none>', '<none>', '<unknown>', '<unknown>', '<unknown>'],
  ],
  [resources.namespaces, 'active', { status: { phase: 'Active' } }, ['Active', '5m3s']],
  [resources.configmaps, 'two keys', { data: { a: '' }, binaryData: { b: '' } }, [2, '5m3s']],
  [resources.secrets, 'one key', { type: 'Opaque', data: { a: '' } }, ['Opaque', 1, '5m3s']],
  [resources.serviceaccounts, 'plain', {}, [0, '5m3s']],
  [resources.leases, 'held', { spec: { holderIdentity: 'h' } }, ['h', '5m3s']],
  [
    resources.controllerrevisions,
    'owned',
    {
      revision: 3,
      metadata: {
        ...metadata,
        ownerReferences: [
          { apiVersion: 'apps/v1', kind: 'StatefulSet', name: 'db', uid: 'u', controller: true },
        ],
      },
    },
    ['statefulset.apps/db', 3, '5m3s'],
  ],
];
for (const [resource, name, body, want] of others) {
  test(`[A119] ${resource.resource} ${name}`, () => {
    assert.deepEqual(cells(resource, body).slice(1), want);
  });
}

const about = { kind: 'Pod', name: 'p', fieldPath: 'spec.containers{a}' };
const events: [name: string, body: object, want: (string | number)[]][] = [
  [
    'old style',
    {
      involvedObject: about,
      type: 'Warning',
      reason: 'BackOff',
      message: 'Back-off\n',
      count: 3,
      firstTimestamp: '2024-01-01T00:08:00Z',
      lastTimestamp: '2024-01-01T00:09:30Z',
      source: { component: 'agent', host: 'n1' },
    },
    [
      '30s',
      'Warning',
      'BackOff',
      'pod/p',
      'spec.containers{a}',
      'agent, n1',
      'Back-off',
      '2m',
      3,
      'x',
    ],
  ],
  [
    'new style',
    {
      involvedObject: { kind: 'Pod', name: 'p' },
      type: 'Normal',
      reason: 'R',
      eventTime: '2024-01-01T00:09:00.000000Z',
      reportingComponent: 'c',
    },
    ['60s', 'Normal', 'R', 'pod/p', '', 'c', '', '60s', 1, 'x'],
  ],
  [
    'a series',
    {
      involvedObject: about,
      eventTime: '2024-01-01T00:09:00.000000Z',
      series: { count: 7, lastObservedTime: '2024-01-01T00:09:59.000000Z' },
    },
    ['1s', '', '', 'pod/p', 'spec.containers{a}', '', '', '60s', 7, 'x'],
  ],
];
for (const [name, body, want] of events) {
  test(`[A119] event ${name}`, () => assert.deepEqual(cells(resources.events, body), want));
}
