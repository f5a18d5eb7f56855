/** The table of A131, row by row; texts are those of kube-apiserver. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { applyDefaults } from '../defaults.ts';
import { resources } from '../resources.ts';
import type { Service } from '../types.ts';
import { validateCreate, validateUpdate } from './index.ts';
import { bodyOf } from './errors.ts';

/** Wrong on purpose, so no ServiceSpec. */
type Spec = Record<string, unknown>;

const http = { name: 'http', port: 80 };

function service(spec: Spec, name = 'web'): Service {
  const object = {
    metadata: { name, namespace: 'default' },
    spec: { clusterIP: '10.96.0.5', clusterIPs: ['10.96.0.5'], ports: [http], ...spec },
  } as unknown as Service;
  return applyDefaults(resources.services, object);
}

const none = { clusterIP: undefined, clusterIPs: undefined };
const nodePort = { type: 'NodePort' } as const;
const balancer = { type: 'LoadBalancer' } as const;
const alias = {
  ...none,
  type: 'ExternalName',
  externalName: 'a.example',
  ports: undefined,
} as const;

/** Row of the contract's table, the spec, and the errors as `field: body`. */
const cases: [row: string, spec: Spec, ...want: string[]][] = [
  ['no fault', {}],
  ['no fault, v6', { clusterIP: 'fd00::5', clusterIPs: ['fd00::5'], ipFamilies: ['IPv6'] }],
  [
    'no fault, both families',
    {
      clusterIPs: ['10.96.0.5', 'fd00::5'],
      ipFamilies: ['IPv4', 'IPv6'],
      ipFamilyPolicy: 'RequireDualStack',
    },
  ],
  ['no fault, headless without ports', { clusterIP: 'None', clusterIPs: ['None'], ports: [] }],
  ['no fault, ExternalName', alias],
  ['no fault, ExternalName with a final dot', { ...alias, externalName: 'a.example.' }],
  [
    'no fault, same port twice with other protocols',
    {
      ports: [
        { name: 'a', port: 53 },
        { name: 'b', port: 53, protocol: 'UDP' },
      ],
    },
  ],
  ['1', { ports: [] }, 'spec.ports: Required value'],
  ['2', { ports: [http, { port: 81 }] }, 'spec.ports[1].name: Required value'],
  [
    '3',
    { ports: [http, { name: 'http', port: 81 }] },
    'spec.ports[1].name: Duplicate value: "http"',
  ],
  [
    '4',
    { ports: [{ name: 'HTTP', port: 80 }] },
    "spec.ports[0].name: Invalid value: \"HTTP\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
  ],
  [
    '5, 7',
    { ports: [{ port: 0 }] },
    'spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive',
    'spec.ports[0].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive',
  ],
  [
    '5',
    { ports: [{ port: 65_536, targetPort: 1 }] },
    'spec.ports[0].port: Invalid value: 65536: must be between 1 and 65535, inclusive',
  ],
  [
    '6',
    { ports: [{ port: 80, protocol: 'tcp' }] },
    'spec.ports[0].protocol: Unsupported value: "tcp": supported values: "SCTP", "TCP", "UDP"',
  ],
  [
    '7',
    { ports: [{ port: 80, targetPort: 70_000 }] },
    'spec.ports[0].targetPort: Invalid value: 70000: must be between 1 and 65535, inclusive',
  ],
  [
    '8',
    { ports: [{ port: 80, targetPort: 'a-name-that-is-too-long' }] },
    'spec.ports[0].targetPort: Invalid value: "a-name-that-is-too-long": must be no more than 15 bytes',
  ],
  [
    '8',
    { ports: [{ port: 80, targetPort: '80' }] },
    'spec.ports[0].targetPort: Invalid value: "80": must contain at least one letter (a-z)',
  ],
  [
    '9',
    { ports: [http, { name: 'b', port: 80 }] },
    'spec.ports[1]: Duplicate value: {"protocol":"TCP","port":80}',
  ],
  [
    '10',
    {
      ...nodePort,
      ports: [
        { name: 'a', port: 80, nodePort: 30_000 },
        { name: 'b', port: 81, nodePort: 30_000 },
      ],
    },
    'spec.ports[1].nodePort: Duplicate value: 30000',
  ],
  [
    '11',
    { ports: [{ port: 80, nodePort: 30_000 }] },
    "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
  ],
  [
    '14',
    { ports: [{ port: 80, appProtocol: 'a b' }] },
    "spec.ports[0].appProtocol: Invalid value: \"a b\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
  ],
  [
    '16',
    { type: 'Headless' },
    'spec.type: Unsupported value: "Headless": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"',
  ],
  [
    '17',
    { ...balancer, clusterIP: 'None', clusterIPs: ['None'] },
    'spec.clusterIPs[0]: Invalid value: "None": may not be set to \'None\' for LoadBalancer services',
  ],
  [
    '18',
    { ...nodePort, clusterIP: 'None', clusterIPs: ['None'] },
    'spec.clusterIPs[0]: Invalid value: "None": may not be set to \'None\' for NodePort services',
  ],
  ['19', { ...alias, externalName: '' }, 'spec.externalName: Required value'],
  [
    '20',
    { ...alias, externalName: '-x' },
    "spec.externalName: Invalid value: \"-x\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
  ],
  [
    '21',
    { ...alias, clusterIP: '10.96.0.5', ipFamilies: ['IPv4'], ipFamilyPolicy: 'SingleStack' },
    'spec.clusterIPs: Forbidden: may not be set for ExternalName services',
    'spec.ipFamilies: Forbidden: may not be set for ExternalName services',
    'spec.ipFamilyPolicy: Forbidden: may not be set for ExternalName services',
  ],
  [
    '22',
    { clusterIP: '10.96.0', clusterIPs: ['10.96.0'] },
    'spec.clusterIPs[0]: Invalid value: "10.96.0": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)',
  ],
  [
    '24',
    { clusterIPs: ['10.96.0.6'] },
    'spec.clusterIPs: Invalid value: ["10.96.0.6"]: first value must match `clusterIP`',
  ],
  [
    '25',
    { clusterIP: undefined },
    'spec.clusterIPs: Invalid value: ["10.96.0.5"]: must be empty when `clusterIP` is not specified',
  ],
  [
    '26',
    { clusterIPs: ['10.96.0.5', 'fd00::5', '10.96.0.6'] },
    'spec.clusterIPs: Invalid value: ["10.96.0.5","fd00::5","10.96.0.6"]: may only hold up to 2 values',
  ],
  [
    '27',
    { clusterIPs: ['10.96.0.5', '10.96.0.6'] },
    'spec.clusterIPs: Invalid value: ["10.96.0.5","10.96.0.6"]: may specify no more than one IP for each IP family',
  ],
  [
    '28',
    { clusterIP: 'None', clusterIPs: ['None', '10.96.0.5'] },
    'spec.clusterIPs: Invalid value: ["None","10.96.0.5"]: \'None\' must be the first and only value',
  ],
  [
    '29',
    { clusterIPs: ['10.96.0.5'], ipFamilies: ['IPv6'] },
    'spec.clusterIPs[0]: Invalid value: "10.96.0.5": expected an IPv6 value as indicated by `ipFamilies[0]`',
  ],
  [
    '30',
    { ipFamilies: ['ipv4'] },
    'spec.ipFamilies[0]: Unsupported value: "ipv4": supported values: "IPv4", "IPv6"',
    'spec.clusterIPs[0]: Invalid value: "10.96.0.5": expected an ipv4 value as indicated by `ipFamilies[0]`',
  ],
  ['30', { ipFamilies: ['IPv4', 'IPv4'] }, 'spec.ipFamilies[1]: Duplicate value: "IPv4"'],
  [
    '31',
    { ipFamilyPolicy: 'Dual' },
    'spec.ipFamilyPolicy: Unsupported value: "Dual": supported values: "PreferDualStack", "RequireDualStack", "SingleStack"',
  ],
  [
    '34',
    { ipFamilies: ['IPv4', 'IPv6'], ipFamilyPolicy: 'SingleStack' },
    "spec.ipFamilyPolicy: Invalid value: \"SingleStack\": must be 'RequireDualStack' or 'PreferDualStack' when multiple `ipFamilies` are specified",
  ],
  [
    '38',
    { externalIPs: ['127.0.0.1'] },
    'spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)',
  ],
  [
    '38',
    { externalIPs: ['fe80::1'] },
    'spec.externalIPs[0]: Invalid value: "fe80::1": may not be in the link-local range (169.254.0.0/16, fe80::/10)',
  ],
  [
    '38',
    { externalIPs: ['0.0.0.0'] },
    'spec.externalIPs[0]: Invalid value: "0.0.0.0": may not be unspecified (0.0.0.0)',
  ],
  [
    '38',
    { externalIPs: ['example'] },
    'spec.externalIPs[0]: Invalid value: "example": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)',
  ],
  [
    '39',
    { externalTrafficPolicy: 'Local' },
    'spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible services',
  ],
  [
    '40',
    { ...nodePort, externalTrafficPolicy: 'Node' },
    'spec.externalTrafficPolicy: Unsupported value: "Node": supported values: "Cluster", "Local"',
  ],
  [
    '40',
    { internalTrafficPolicy: 'Node' },
    'spec.internalTrafficPolicy: Unsupported value: "Node": supported values: "Cluster", "Local"',
  ],
  [
    '41',
    { ...nodePort, healthCheckNodePort: 30_001 },
    "spec.healthCheckNodePort: Invalid value: 30001: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
  ],
  [
    '43',
    { loadBalancerSourceRanges: ['10.0.0.0/8'] },
    "spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'",
  ],
  [
    '44',
    { ...balancer, loadBalancerSourceRanges: [' 10.0.0.0/8 ', '10.0.0.0'] },
    'spec.LoadBalancerSourceRanges[1]: Invalid value: "10.0.0.0": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)',
  ],
  [
    '45',
    { loadBalancerClass: 'a/b', allocateLoadBalancerNodePorts: true },
    "spec.allocateLoadBalancerNodePorts: Forbidden: may only be used when `type` is 'LoadBalancer'",
    "spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'",
  ],
  [
    '47',
    { sessionAffinity: 'Cookie' },
    'spec.sessionAffinity: Unsupported value: "Cookie": supported values: "ClientIP", "None"',
  ],
  [
    '48',
    {
      sessionAffinity: 'ClientIP',
      sessionAffinityConfig: { clientIP: { timeoutSeconds: 86_401 } },
    },
    'spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 86401: must be greater than 0 and less than 86400',
  ],
  [
    '49',
    { trafficDistribution: 'Near' },
    'spec.trafficDistribution: Unsupported value: "Near": supported values: "PreferClose", "PreferSameNode", "PreferSameZone"',
  ],
];

function texts(errors: ReturnType<typeof validateCreate>): string[] {
  return errors.map((error) => `${error.field}: ${bodyOf(error)}`);
}

for (const [row, spec, ...want] of cases) {
  test(`[A131] row ${row}: ${want[0]?.slice(0, 60) ?? 'accepted'}`, () => {
    assert.deepEqual(texts(validateCreate(resources.services, service(spec))), want);
  });
}

test('[A131] row 15: the name is a DNS-1035 label', () => {
  const [error] = texts(validateCreate(resources.services, service({}, '1st')));
  assert.match(error ?? '', /^metadata.name: Invalid value: "1st": a DNS-1035 label must consist/);
});

test('[A131] row 47: affinity settings without affinity', () => {
  const object = service({});
  object.spec.sessionAffinityConfig = { clientIP: { timeoutSeconds: 1 } };
  assert.deepEqual(texts(validateCreate(resources.services, object)), [
    'spec.sessionAffinityConfig: Forbidden: must not be set when session affinity is None',
  ]);
});

const dual: Spec = {
  clusterIPs: ['10.96.0.5', 'fd00::5'],
  ipFamilies: ['IPv4', 'IPv6'],
  ipFamilyPolicy: 'RequireDualStack',
};
const local: Spec = { ...balancer, externalTrafficPolicy: 'Local', healthCheckNodePort: 30_001 };

const changes: [row: string, old: Spec, changed: Spec, ...want: string[]][] = [
  ['no fault', {}, { selector: { a: 'b' } }],
  ['no fault, to ExternalName', {}, alias],
  ['no fault, dual to single', dual, { ipFamilies: ['IPv4'], ipFamilyPolicy: 'SingleStack' }],
  [
    '35',
    {},
    { clusterIP: '10.96.0.6', clusterIPs: ['10.96.0.6'] },
    'spec.clusterIPs[0]: Invalid value: ["10.96.0.6"]: may not change once set',
  ],
  [
    '35, family',
    { ipFamilies: ['IPv4'] },
    { clusterIP: 'fd00::5', clusterIPs: ['fd00::5'], ipFamilies: ['IPv6'] },
    'spec.clusterIPs[0]: Invalid value: ["fd00::5"]: may not change once set',
    'spec.ipFamilies[0]: Invalid value: "IPv6": may not change once set',
  ],
  ['36', {}, none, 'spec.clusterIPs[0]: Invalid value: "": primary clusterIP can not be unset'],
  [
    '37',
    dual,
    { ipFamilies: ['IPv4', 'IPv6'], ipFamilyPolicy: 'RequireDualStack' },
    'spec.ipFamilyPolicy: Invalid value: "RequireDualStack": must be \'SingleStack\' to release the secondary cluster IP',
  ],
  [
    '42',
    local,
    { ...local, healthCheckNodePort: 30_002 },
    'spec.healthCheckNodePort: Forbidden: field is immutable',
  ],
  [
    '46',
    balancer,
    { ...balancer, loadBalancerClass: 'x.io/a' },
    'spec.loadBalancerClass: Invalid value: "x.io/a": may not change once set',
  ],
];
for (const [row, old, changed, ...want] of changes) {
  test(`[A131] row ${row} on update`, () => {
    const errors = validateUpdate(resources.services, service(changed), service(old));
    assert.deepEqual(texts(errors), want);
  });
}
