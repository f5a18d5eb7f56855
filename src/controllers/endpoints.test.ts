import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Condition } from '../api/meta.ts';
import type { Pod, Service, ServicePort } from '../api/types.ts';
import { subsetsOf, wantEndpoints } from './endpoints.ts';
import { wantGroups } from './endpointslices.ts';

type PodLook = {
  ip?: string | string[];
  ready?: boolean;
  terminating?: boolean;
  phase?: 'Pending' | 'Running' | 'Succeeded' | 'Failed';
  hostname?: string;
  subdomain?: string;
  portName?: string;
  containerPort?: number;
};

function pod(name: string, look: PodLook = {}): Pod {
  const { ip = '10.244.1.5', ready = true, phase = 'Running' } = look;
  const ips = typeof ip === 'string' ? [ip] : ip;
  const conditions: Condition[] = [{ type: 'Ready', status: ready ? 'True' : 'False' }];
  return {
    metadata: {
      name,
      namespace: 'default',
      uid: `uid-${name}`,
      ...(look.terminating === true ? { deletionTimestamp: '2026-01-01T00:00:00Z' } : {}),
    },
    spec: {
      nodeName: 'node-1',
      ...(look.hostname === undefined ? {} : { hostname: look.hostname }),
      ...(look.subdomain === undefined ? {} : { subdomain: look.subdomain }),
      containers: [
        {
          name: 'web',
          ports: [
            {
              ...(look.portName === undefined ? {} : { name: look.portName }),
              containerPort: look.containerPort ?? 8080,
            },
          ],
        },
      ],
    },
    status: {
      phase,
      conditions,
      ...(ips.length === 0 || ips[0] === ''
        ? {}
        : { podIP: ips[0]!, podIPs: ips.map((a) => ({ ip: a })) }),
    },
  };
}

function service(spec: Partial<Service['spec']> = {}): Service {
  const ports: ServicePort[] = [{ port: 80, protocol: 'TCP', targetPort: 8080 }];
  return {
    metadata: { name: 'web', namespace: 'default', uid: 'uid-svc' },
    spec: {
      selector: { app: 'web' },
      clusterIP: '10.96.0.5',
      ipFamilies: ['IPv4'],
      ports,
      ...spec,
    },
  };
}

/** `10.244.1.5 ready` for each endpoint. */
function told(svc: Service, pods: Pod[]): string[] {
  return wantGroups(svc, pods, () => 'zone-1').flatMap((group) =>
    group.endpoints.map((endpoint) => {
      const { ready, serving, terminating } = endpoint.conditions ?? {};
      const words = [ready && 'ready', serving && 'serving', terminating && 'terminating'];
      const ports = group.ports.map((port) => port.port).join('+');
      return [endpoint.addresses.join(), ports, ...words.filter(Boolean)].join(' ');
    }),
  );
}

const sliceCases: {
  name: string;
  service?: Partial<Service['spec']>;
  pod: PodLook;
  want: string[];
}[] = [
  { name: 'a ready pod', pod: {}, want: ['10.244.1.5 8080 ready serving'] },
  { name: 'a pod that is not ready', pod: { ready: false }, want: ['10.244.1.5 8080'] },
  {
    name: 'a ready pod on its way out',
    pod: { terminating: true },
    want: ['10.244.1.5 8080 serving terminating'],
  },
  {
    name: 'an unready pod on its way out',
    pod: { terminating: true, ready: false },
    want: ['10.244.1.5 8080 terminating'],
  },
  {
    name: 'publishNotReadyAddresses',
    service: { publishNotReadyAddresses: true },
    pod: { ready: false },
    want: ['10.244.1.5 8080 ready'],
  },
  { name: 'a pod without an address', pod: { ip: '' }, want: [] },
  { name: 'a pod that ended', pod: { phase: 'Succeeded' }, want: [] },
  { name: 'a pod that failed', pod: { phase: 'Failed' }, want: [] },
  {
    name: 'a named port',
    service: { ports: [{ port: 80, targetPort: 'http' }] },
    pod: { portName: 'http' },
    want: ['10.244.1.5 8080 ready serving'],
  },
  {
    name: 'a named port the pod lacks',
    service: { ports: [{ port: 80, targetPort: 'nope' }] },
    pod: {},
    want: ['10.244.1.5  ready serving'],
  },
  {
    name: 'an IPv6 Service',
    service: { ipFamilies: ['IPv6'] },
    pod: { ip: ['10.244.1.5', 'fd00::5'] },
    want: ['fd00::5 8080 ready serving'],
  },
  {
    name: 'a dual-stack Service',
    service: { ipFamilies: ['IPv4', 'IPv6'] },
    pod: { ip: ['10.244.1.5', 'fd00::5'] },
    want: ['10.244.1.5 8080 ready serving', 'fd00::5 8080 ready serving'],
  },
  { name: 'an IPv6 Service and an IPv4 pod', service: { ipFamilies: ['IPv6'] }, pod: {}, want: [] },
];

for (const row of sliceCases) {
  test(`[K29] [K31] slices: ${row.name}`, () => {
    assert.deepEqual(told(service(row.service), [pod('a', row.pod)]), row.want);
  });
}

test('[K29] pods whose named port differs stand in different groups', () => {
  const svc = service({ ports: [{ port: 80, targetPort: 'http' }] });
  const pods = [
    pod('a', { portName: 'http', containerPort: 8080 }),
    pod('b', { ip: '10.244.1.6', portName: 'http', containerPort: 9090 }),
  ];
  assert.deepEqual(told(svc, pods), [
    '10.244.1.5 8080 ready serving',
    '10.244.1.6 9090 ready serving',
  ]);
});

const hostnameCases: { name: string; pod: PodLook; want: string | undefined }[] = [
  {
    name: 'hostname and the subdomain of the Service',
    pod: { hostname: 'web-0', subdomain: 'web' },
    want: 'web-0',
  },
  { name: 'another subdomain', pod: { hostname: 'web-0', subdomain: 'db' }, want: undefined },
  { name: 'no hostname', pod: { subdomain: 'web' }, want: undefined },
];

for (const row of hostnameCases) {
  test(`[K29] hostname: ${row.name}`, () => {
    const pods = [pod('a', row.pod)];
    const [group] = wantGroups(service(), pods, () => undefined);
    assert.equal(group?.endpoints[0]?.hostname, row.want);
    assert.equal(subsetsOf(service(), pods)[0]?.addresses?.[0]?.hostname, row.want);
  });
}

const hintCases: { wish: string | undefined; zone: string | undefined; want: unknown }[] = [
  { wish: undefined, zone: 'z', want: undefined },
  { wish: 'PreferClose', zone: 'z', want: { forZones: [{ name: 'z' }] } },
  { wish: 'PreferSameZone', zone: 'z', want: { forZones: [{ name: 'z' }] } },
  {
    wish: 'PreferSameNode',
    zone: 'z',
    want: { forZones: [{ name: 'z' }], forNodes: [{ name: 'node-1' }] },
  },
  { wish: 'PreferClose', zone: undefined, want: undefined },
];

for (const { wish, zone, want } of hintCases) {
  test(`[K34] trafficDistribution ${wish ?? 'unset'}, zone ${zone ?? 'unknown'}`, () => {
    const svc = service(wish === undefined ? {} : { trafficDistribution: wish });
    const [group] = wantGroups(svc, [pod('a')], () => zone);
    assert.deepEqual(group?.endpoints[0]?.hints, want);
  });
}

/** As `kubectl get endpoints` writes them, not ready ones in brackets. */
function listed(svc: Service, pods: Pod[]): string {
  return subsetsOf(svc, pods)
    .map(({ addresses = [], notReadyAddresses = [], ports = [] }) => {
      const numbers = ports.map((port) => port.port).join('+');
      const ready = addresses.map(({ ip }) => `${ip}:${numbers}`);
      return [...ready, ...notReadyAddresses.map(({ ip }) => `(${ip}:${numbers})`)].join(',');
    })
    .join(' ');
}

const subsetCases: {
  name: string;
  service?: Partial<Service['spec']>;
  pods: PodLook[];
  want: string;
}[] = [
  {
    name: 'two ready pods, by address',
    pods: [{ ip: '10.244.2.3' }, { ip: '10.244.1.5' }],
    want: '10.244.1.5:8080,10.244.2.3:8080',
  },
  {
    name: 'addresses sort as numbers',
    pods: [{ ip: '10.244.1.10' }, { ip: '10.244.1.9' }],
    want: '10.244.1.9:8080,10.244.1.10:8080',
  },
  {
    name: 'an unready pod apart',
    pods: [{ ip: '10.244.1.5' }, { ip: '10.244.1.6', ready: false }],
    want: '10.244.1.5:8080,(10.244.1.6:8080)',
  },
  { name: 'no pod on its way out', pods: [{ terminating: true }], want: '' },
  {
    name: 'unless all are published',
    service: { publishNotReadyAddresses: true },
    pods: [{ terminating: true, ready: false }],
    want: '10.244.1.5:8080',
  },
  {
    name: 'several ports in one subset',
    service: {
      ports: [
        { name: 'b', port: 81 },
        { name: 'a', port: 80 },
      ],
    },
    pods: [{}],
    want: '10.244.1.5:80+81',
  },
  {
    name: 'headless without ports',
    service: { clusterIP: 'None', ports: [] },
    pods: [{}],
    want: '10.244.1.5:',
  },
  {
    name: 'the primary family only',
    service: { ipFamilies: ['IPv6', 'IPv4'] },
    pods: [{ ip: ['10.244.1.5', 'fd00::5'] }],
    want: 'fd00::5:8080',
  },
  {
    name: 'a pod without the named port',
    service: { ports: [{ port: 80, targetPort: 'http' }] },
    pods: [{}],
    want: '',
  },
];

for (const row of subsetCases) {
  test(`[K30] endpoints: ${row.name}`, () => {
    const pods = row.pods.map((look, index) => pod(`p${index}`, look));
    assert.equal(listed(service(row.service), pods), row.want);
    assert.equal(listed(service(row.service), pods.toReversed()), row.want);
  });
}

test('[K30] past 1000 addresses ready ones come first, and the cut is told', () => {
  const pods = Array.from({ length: 1100 }, (_, index) =>
    pod(`p${index}`, { ip: `10.244.${index >> 8}.${index & 255}`, ready: index % 10 !== 0 }),
  );
  const want = wantEndpoints(service(), pods, undefined);
  const [subset] = want?.subsets ?? [];
  assert.equal(subset?.addresses?.length, 990);
  assert.equal(subset?.notReadyAddresses?.length, 10);
  assert.equal(want?.metadata.annotations?.['endpoints.kubernetes.io/over-capacity'], 'truncated');
});

test('[K30] endpoints that are right are not written', () => {
  const pods = [pod('a'), pod('b', { ip: '10.244.1.6' })];
  const held = wantEndpoints(service(), pods, undefined);
  assert.equal(wantEndpoints(service(), pods.toReversed(), held), undefined);
});
