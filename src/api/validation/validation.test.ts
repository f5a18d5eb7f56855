/** Metadata, pods, workloads, endpoints and the small kinds; texts are those of kube-apiserver. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { applyDefaults } from '../defaults.ts';
import type { KubeObject } from '../meta.ts';
import { resources, type Resource } from '../resources.ts';
import { bodyOf } from './errors.ts';
import { invalid, validateCreate, validateUpdate, type FieldError } from './index.ts';

function texts(errors: FieldError[]): string[] {
  return errors.map((error) => `${error.field}: ${bodyOf(error)}`);
}

function made(resource: Resource, body: object): KubeObject {
  const metadata = { name: 'x', ...(resource.namespaced && { namespace: 'default' }) };
  return applyDefaults(resource, structuredClone({ metadata, ...body }));
}

type Case = [name: string, resource: Resource, body: object, ...want: (string | RegExp)[]];

function check(id: string, cases: Case[]): void {
  for (const [name, resource, body, ...want] of cases) {
    test(`${id} ${resource.resource}: ${name}`, () => {
      const found = texts(validateCreate(resource, made(resource, body)));
      assert.equal(found.length, want.length, found.join('\n'));
      want.forEach((each, index) => {
        if (typeof each === 'string') assert.equal(found[index], each);
        else assert.match(found[index] ?? '', each);
      });
    });
  }
}

const { pods, deployments, statefulsets, configmaps, namespaces, endpoints, endpointslices } =
  resources;
const meta = (metadata: object) => ({ metadata: { name: 'x', namespace: 'default', ...metadata } });

check('[A48]', [
  ['a plain name', configmaps, meta({ name: 'a.b-c' })],
  [
    'no name',
    configmaps,
    meta({ name: '' }),
    'metadata.name: Required value: name or generateName is required',
  ],
  [
    'an upper-case name',
    configmaps,
    meta({ name: 'A' }),
    /^metadata.name: Invalid value: "A": a lowercase RFC 1123 subdomain must/,
  ],
  ['a long name', configmaps, meta({ name: 'a'.repeat(254) }), /must be no more than 253 bytes$/],
  [
    'a dot in a namespace',
    namespaces,
    { metadata: { name: 'a.b' } },
    /^metadata.name: Invalid value: "a.b": a lowercase RFC 1123 label/,
  ],
  ['no namespace', configmaps, { metadata: { name: 'x' } }, 'metadata.namespace: Required value'],
  [
    'a namespace where none belongs',
    namespaces,
    { metadata: { name: 'x', namespace: 'y' } },
    'metadata.namespace: Forbidden: not allowed on this type',
  ],
  [
    'a bad label key',
    configmaps,
    meta({ labels: { 'a b': 'c' } }),
    /^metadata.labels: Invalid value: "a b": name part must consist/,
  ],
  [
    'a bad label value',
    configmaps,
    meta({ labels: { a: '-' } }),
    /^metadata.labels: Invalid value: "-": a valid label must be an empty string/,
  ],
  [
    'two slashes',
    configmaps,
    meta({ labels: { 'a/b/c': '' } }),
    /^metadata.labels: Invalid value: "a\/b\/c": a qualified name must/,
  ],
  [
    'an empty prefix',
    configmaps,
    meta({ labels: { '/b': '' } }),
    'metadata.labels: Invalid value: "/b": prefix part must be non-empty',
  ],
  [
    'many annotations',
    configmaps,
    meta({ annotations: { a: 'x'.repeat(262_144) } }),
    'metadata.annotations: Too long: may not be more than 262144 bytes',
  ],
  [
    'an owner without uid',
    configmaps,
    meta({ ownerReferences: [{ apiVersion: 'v1', kind: 'Pod', name: 'p' }] }),
    'metadata.ownerReferences.uid: Invalid value: "": must not be empty',
  ],
  [
    'two controllers',
    configmaps,
    meta({
      ownerReferences: [
        { apiVersion: 'v1', kind: 'Pod', name: 'p', uid: '1', controller: true },
        { apiVersion: 'v1', kind: 'Pod', name: 'q', uid: '2', controller: true },
      ],
    }),
    /Only one reference can have Controller set to true\. Found "true" in references for Pod\/p and Pod\/q$/,
  ],
  [
    'a finalizer without a domain',
    configmaps,
    meta({ finalizers: ['mine'] }),
    'metadata.finalizers: Invalid value: "mine": name is neither a standard finalizer name nor is it fully qualified',
  ],
]);

test('[A48] what may not change', () => {
  const old = made(configmaps, meta({ uid: 'u', deletionTimestamp: 't', finalizers: ['a.io/b'] }));
  const changed = made(
    configmaps,
    meta({ uid: 'v', deletionTimestamp: 't', finalizers: ['a.io/b', 'a.io/c'] }),
  );
  assert.deepEqual(texts(validateUpdate(configmaps, changed, old)), [
    'metadata.uid: Invalid value: "v": field is immutable',
    'metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{"a.io/c"}',
  ]);
});

const container = (more: object) => ({
  spec: { containers: [{ name: 'c', image: 'i', ...more }] },
});
const spec = (more: object) => ({ spec: { containers: [{ name: 'c', image: 'i' }], ...more } });
const mustBePositive = 'must be greater than or equal to 0';

check('[A66]', [
  ['the smallest', pods, container({})],
  [
    'all sorts of things',
    pods,
    {
      spec: {
        containers: [
          {
            name: 'c',
            image: 'i:1',
            ports: [{ name: 'http', containerPort: 80 }],
            env: [{ name: 'A', valueFrom: { fieldRef: { fieldPath: "metadata.labels['a']" } } }],
            envFrom: [{ configMapRef: { name: 'm' } }],
            volumeMounts: [{ name: 'v', mountPath: '/v' }],
            readinessProbe: { httpGet: { port: 'http' } },
            lifecycle: { preStop: { sleep: { seconds: 1 } } },
            resources: { requests: { cpu: '1' }, limits: { cpu: '2' } },
          },
        ],
        initContainers: [
          {
            name: 'side',
            image: 'i',
            restartPolicy: 'Always',
            readinessProbe: { tcpSocket: { port: 1 } },
          },
        ],
        volumes: [{ name: 'v' }],
        tolerations: [{ operator: 'Exists' }],
        dnsConfig: {
          nameservers: ['10.0.0.1', 'fd00::1'],
          searches: ['a.b.', '_tcp.x'],
          options: [{ name: 'ndots', value: '5' }],
        },
      },
    },
  ],
  ['no spec', pods, {}, 'spec.containers: Required value'],
  ['no containers', pods, { spec: { containers: [] } }, 'spec.containers: Required value'],
  [
    'no image',
    pods,
    { spec: { containers: [{ name: 'c' }] } },
    'spec.containers[0].image: Required value',
  ],
  [
    'no name',
    pods,
    { spec: { containers: [{ image: 'i' }] } },
    'spec.containers[0].name: Required value',
  ],
  [
    'a bad name',
    pods,
    { spec: { containers: [{ name: 'A', image: 'i' }] } },
    /^spec.containers\[0\].name: Invalid value: "A": a lowercase RFC 1123 label/,
  ],
  [
    'a name twice',
    pods,
    {
      spec: {
        containers: [
          { name: 'c', image: 'i' },
          { name: 'c', image: 'i' },
        ],
      },
    },
    'spec.containers[1].name: Duplicate value: "c"',
  ],
  [
    'a space in the image',
    pods,
    container({ image: ' i' }),
    'spec.containers[0].image: Invalid value: " i": must not have leading or trailing whitespace',
  ],
  [
    'a pull policy',
    pods,
    container({ imagePullPolicy: 'Sometimes' }),
    'spec.containers[0].imagePullPolicy: Unsupported value: "Sometimes": supported values: "Always", "IfNotPresent", "Never"',
  ],
  [
    'a port of 0',
    pods,
    container({ ports: [{ containerPort: 0 }] }),
    'spec.containers[0].ports[0].containerPort: Required value',
  ],
  [
    'a port too high',
    pods,
    container({ ports: [{ containerPort: 65_536 }] }),
    'spec.containers[0].ports[0].containerPort: Invalid value: 65536: must be between 1 and 65535, inclusive',
  ],
  [
    'a port name twice',
    pods,
    container({
      ports: [
        { name: 'a', containerPort: 1 },
        { name: 'a', containerPort: 2 },
      ],
    }),
    'spec.containers[0].ports[1].name: Duplicate value: "a"',
  ],
  [
    'a variable without a name',
    pods,
    container({ env: [{ name: '' }] }),
    'spec.containers[0].env[0].name: Required value',
  ],
  [
    'a variable with two values',
    pods,
    container({
      env: [{ name: 'A', value: 'x', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } }],
    }),
    'spec.containers[0].env[0].valueFrom: Invalid value: "": may not be specified when `value` is not empty',
  ],
  [
    'a field nobody offers',
    pods,
    container({ env: [{ name: 'A', valueFrom: { fieldRef: { fieldPath: 'spec.x' } } }] }),
    /^spec.containers\[0\].env\[0\].valueFrom.fieldRef.fieldPath: Unsupported value: "spec.x": supported values: "metadata.name"/,
  ],
  [
    'a mount of no volume',
    pods,
    container({ volumeMounts: [{ name: 'v', mountPath: '/v' }] }),
    'spec.containers[0].volumeMounts[0].name: Not found: "v"',
  ],
  [
    'a probe without a handler',
    pods,
    container({ livenessProbe: {} }),
    'spec.containers[0].livenessProbe: Required value: must specify a handler type',
  ],
  [
    'a probe with two',
    pods,
    container({ readinessProbe: { tcpSocket: { port: 1 }, exec: { command: ['a'] } } }),
    'spec.containers[0].readinessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type',
  ],
  [
    'liveness twice',
    pods,
    container({ livenessProbe: { successThreshold: 2, exec: { command: ['a'] } } }),
    'spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1',
  ],
  [
    'a negative period',
    pods,
    container({ readinessProbe: { periodSeconds: -1, exec: { command: ['a'] } } }),
    `spec.containers[0].readinessProbe.periodSeconds: Invalid value: -1: ${mustBePositive}`,
  ],
  [
    'more than the limit',
    pods,
    container({ resources: { requests: { cpu: '2' }, limits: { cpu: '1' } } }),
    'spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1',
  ],
  [
    'less than nothing',
    pods,
    container({ resources: { requests: { memory: '-1' } } }),
    `spec.containers[0].resources.requests[memory]: Invalid value: "-1": ${mustBePositive}`,
  ],
  [
    'a restart policy',
    pods,
    spec({ restartPolicy: 'Sometimes' }),
    'spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "Never", "OnFailure"',
  ],
  [
    'a DNS policy',
    pods,
    spec({ dnsPolicy: 'Cluster' }),
    'spec.dnsPolicy: Unsupported value: "Cluster": supported values: "ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"',
  ],
  [
    'no DNS at all',
    pods,
    spec({ dnsPolicy: 'None' }),
    'spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None',
  ],
  [
    'four name servers',
    pods,
    spec({ dnsConfig: { nameservers: ['1.1.1.1', '1.1.1.2', '1.1.1.3', '1.1.1.4'] } }),
    /must not have more than 3 nameservers$/,
  ],
  [
    'a volume twice',
    pods,
    spec({ volumes: [{ name: 'v' }, { name: 'v' }] }),
    'spec.volumes[1].name: Duplicate value: "v"',
  ],
  [
    'a volume of two kinds',
    pods,
    spec({ volumes: [{ name: 'v', emptyDir: {}, hostPath: { path: '/' } }] }),
    'spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type',
  ],
  [
    'a path that leaves',
    pods,
    spec({
      volumes: [{ name: 'v', configMap: { name: 'm', items: [{ key: 'a', path: '../b' }] } }],
    }),
    'spec.volumes[0].configMap.items[0].path: Invalid value: "../b": must not contain \'..\'',
  ],
  [
    'a probe of an init container',
    pods,
    {
      spec: {
        containers: [{ name: 'c', image: 'i' }],
        initContainers: [{ name: 'd', image: 'i', livenessProbe: { exec: { command: ['a'] } } }],
      },
    },
    'spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always',
  ],
  [
    'a toleration',
    pods,
    spec({ tolerations: [{ key: 'a', operator: 'In' }] }),
    'spec.tolerations[0].operator: Unsupported value: "In": supported values: "Equal", "Exists"',
  ],
  [
    'a host name with a dot',
    pods,
    spec({ hostname: 'a.b' }),
    /^spec.hostname: Invalid value: "a.b": a lowercase RFC 1123 label/,
  ],
]);

test('[A66] a pod keeps its spec', () => {
  const old = made(pods, container({}));
  const image = made(pods, container({ image: 'j' }));
  assert.deepEqual(texts(validateUpdate(pods, image, old)), []);
  const [error] = texts(validateUpdate(pods, made(pods, spec({ hostname: 'h' })), old));
  assert.match(
    error ?? '',
    /^spec: Forbidden: pod updates may not change fields other than `spec.containers\[\*\].image`,/,
  );
  const two = made(pods, {
    spec: {
      containers: [
        { name: 'c', image: 'i' },
        { name: 'd', image: 'i' },
      ],
    },
  });
  assert.deepEqual(texts(validateUpdate(pods, two, old)), [
    'spec.containers: Forbidden: pod updates may not add or remove containers',
  ]);
});

const template = {
  metadata: { labels: { app: 'x' } },
  spec: { containers: [{ name: 'c', image: 'i' }] },
};
const workload = (more: object) => ({
  spec: { selector: { matchLabels: { app: 'x' } }, template, ...more },
});

check('[A66]', [
  ['a plain one', deployments, workload({})],
  ['no spec', deployments, {}, 'spec.selector: Required value', 'spec.template: Required value'],
  ['no selector', deployments, { spec: { template } }, 'spec.selector: Required value'],
  [
    'an empty selector',
    deployments,
    workload({ selector: {} }),
    'spec.selector: Invalid value: {}: empty selector is invalid for deployment',
  ],
  [
    'a selector that misses',
    deployments,
    workload({ selector: { matchLabels: { app: 'y' } } }),
    'spec.template.metadata.labels: Invalid value: {"app":"x"}: `selector` does not match template `labels`',
  ],
  [
    'a selector operator',
    deployments,
    workload({ selector: { matchExpressions: [{ key: 'a', operator: 'Is' }] } }),
    'spec.selector.matchExpressions[0].operator: Invalid value: "Is": not a valid selector operator',
  ],
  [
    'In without values',
    deployments,
    workload({ selector: { matchExpressions: [{ key: 'a', operator: 'In' }] } }),
    "spec.selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
  ],
  [
    'fewer than none',
    deployments,
    workload({ replicas: -1 }),
    `spec.replicas: Invalid value: -1: ${mustBePositive}`,
  ],
  [
    'restart never',
    deployments,
    workload({ template: { ...template, spec: { ...template.spec, restartPolicy: 'Never' } } }),
    'spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"',
  ],
  [
    'a fault in the template',
    deployments,
    workload({ template: { ...template, spec: { containers: [] } } }),
    'spec.template.spec.containers: Required value',
  ],
  [
    'a strategy',
    deployments,
    workload({ strategy: { type: 'Fast' } }),
    'spec.strategy.type: Unsupported value: "Fast": supported values: "Recreate", "RollingUpdate"',
  ],
  [
    'Recreate with settings',
    deployments,
    workload({ strategy: { type: 'Recreate', rollingUpdate: {} } }),
    "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'",
  ],
  [
    'no room to move',
    deployments,
    workload({ strategy: { rollingUpdate: { maxSurge: 0, maxUnavailable: 0 } } }),
    'spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0',
  ],
  [
    'more than all',
    deployments,
    workload({ strategy: { rollingUpdate: { maxUnavailable: '101%' } } }),
    'spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "101%": must not be greater than 100%',
  ],
  [
    'a deadline too near',
    deployments,
    workload({ minReadySeconds: 600 }),
    'spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds',
  ],
  [
    'a policy',
    statefulsets,
    workload({ podManagementPolicy: 'Any' }),
    "spec.podManagementPolicy: Invalid value: \"Any\": must be 'OrderedReady' or 'Parallel'",
  ],
]);

test('[A66] selectors are fixed', () => {
  const old = made(deployments, workload({}));
  const changed = made(
    deployments,
    workload({
      selector: { matchLabels: { app: 'x', b: 'c' } },
      template: { ...template, metadata: { labels: { app: 'x', b: 'c' } } },
    }),
  );
  assert.deepEqual(texts(validateUpdate(deployments, changed, old)), [
    'spec.selector: Invalid value: {"matchLabels":{"app":"x","b":"c"}}: field is immutable',
  ]);
  const set = made(statefulsets, workload({ serviceName: 'a' }));
  const moved = made(statefulsets, workload({ serviceName: 'b' }));
  assert.deepEqual(texts(validateUpdate(statefulsets, moved, set)), [
    "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
  ]);
});

const subset = (more: object) => ({
  subsets: [{ addresses: [{ ip: '10.0.0.1' }], ports: [{ port: 80 }], ...more }],
});
const addresses = (...list: string[]) => subset({ addresses: list.map((ip) => ({ ip })) });

check('[A132]', [
  ['v4', endpoints, subset({})],
  ['v6', endpoints, addresses('fd00::1')],
  ['none', endpoints, {}],
  [
    'an empty subset',
    endpoints,
    { subsets: [{ ports: [{ port: 80 }] }] },
    'subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`',
  ],
  [
    'no address',
    endpoints,
    addresses('x'),
    'subsets[0].addresses[0].ip: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)',
  ],
  [
    'loopback',
    endpoints,
    addresses('127.0.0.1'),
    'subsets[0].addresses[0].ip: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)',
  ],
  [
    'loopback v6',
    endpoints,
    addresses('::1'),
    'subsets[0].addresses[0].ip: Invalid value: "::1": may not be in the loopback range (127.0.0.0/8, ::1/128)',
  ],
  [
    'link-local multicast',
    endpoints,
    addresses('224.0.0.5'),
    'subsets[0].addresses[0].ip: Invalid value: "224.0.0.5": may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)',
  ],
  [
    'a port without a name',
    endpoints,
    subset({ ports: [{ name: 'a', port: 1 }, { port: 2 }] }),
    'subsets[0].ports[1].name: Required value',
  ],
]);

const slice = (more: object) => ({
  addressType: 'IPv4',
  endpoints: [{ addresses: ['10.0.0.1'] }],
  ports: [{ port: 80 }],
  ...more,
});

check('[A133]', [
  ['v4', endpointslices, slice({})],
  ['v6', endpointslices, slice({ addressType: 'IPv6', endpoints: [{ addresses: ['fd00::1'] }] })],
  [
    'FQDN',
    endpointslices,
    slice({ addressType: 'FQDN', endpoints: [{ addresses: ['a.example'] }] }),
  ],
  ['no endpoints', endpointslices, slice({ endpoints: undefined })],
  [
    'no type',
    endpointslices,
    slice({ addressType: undefined, endpoints: [] }),
    'addressType: Required value',
  ],
  [
    'another type',
    endpointslices,
    slice({ addressType: 'IP', endpoints: [] }),
    'addressType: Unsupported value: "IP": supported values: "FQDN", "IPv4", "IPv6"',
  ],
  [
    'the other family',
    endpointslices,
    slice({ addressType: 'IPv6' }),
    'endpoints[0].addresses[0]: Invalid value: "10.0.0.1": must be an IPv6 address',
  ],
  [
    'not canonical',
    endpointslices,
    slice({ addressType: 'IPv6', endpoints: [{ addresses: ['FD00:0::1'] }] }),
    'endpoints[0].addresses[0]: Invalid value: "FD00:0::1": must be in canonical form ("fd00::1")',
  ],
  [
    'no address',
    endpointslices,
    slice({ endpoints: [{}] }),
    'endpoints[0].addresses: Required value: must contain at least 1 address',
  ],
  [
    'too many',
    endpointslices,
    slice({ endpoints: Array.from({ length: 1001 }, () => ({ addresses: ['10.0.0.1'] })) }),
    'endpoints: Too many: 1001: must have at most 1000 items',
  ],
  [
    'two unnamed ports',
    endpointslices,
    slice({ ports: [{ port: 1 }, { port: 2 }] }),
    'ports[1].name: Duplicate value: ""',
  ],
]);

check('[A66]', [
  [
    'keys',
    configmaps,
    { data: { 'a b': '' } },
    /^data\[a b\]: Invalid value: "a b": a valid config key must consist/,
  ],
  [
    'TLS without a key',
    resources.secrets,
    { type: 'kubernetes.io/tls', data: { 'tls.crt': '' } },
    'data[tls.key]: Required value',
  ],
  [
    'elsewhere',
    resources.events,
    { involvedObject: { namespace: 'other' } },
    'involvedObject.namespace: Invalid value: "other": does not match event.namespace',
  ],
  [
    'no time',
    resources.leases,
    { spec: { leaseDurationSeconds: 0 } },
    'spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0',
  ],
]);

test('[A66] an immutable ConfigMap stays as it is', () => {
  const old = made(configmaps, { immutable: true, data: { a: '1' } });
  assert.deepEqual(texts(validateUpdate(configmaps, made(configmaps, { data: { a: '2' } }), old)), [
    'immutable: Forbidden: field is immutable when `immutable` is set',
    'data: Forbidden: field is immutable when `immutable` is set',
  ]);
});

test('[A64] [A66] [A67] [A68] the 422 names every fault', () => {
  const one = invalid(resources.services, 'web', [
    {
      type: 'Invalid',
      field: 'spec.ports[0].port',
      value: 0,
      detail: 'must be between 1 and 65535, inclusive',
    },
  ]);
  assert.deepEqual(one.status, {
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Failure',
    message:
      'Service "web" is invalid: spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive',
    reason: 'Invalid',
    details: {
      name: 'web',
      kind: 'Service',
      causes: [
        {
          reason: 'FieldValueInvalid',
          message: 'Invalid value: 0: must be between 1 and 65535, inclusive',
          field: 'spec.ports[0].port',
        },
      ],
    },
    code: 422,
  });
  const two = invalid(deployments, 'd', [
    { type: 'Required', field: 'spec.selector', detail: '' },
    { type: 'Duplicate', field: 'a', value: 'x', detail: '' },
  ]);
  assert.equal(
    two.message,
    'Deployment.apps "d" is invalid: [spec.selector: Required value, a: Duplicate value: "x"]',
  );
  assert.equal(two.status.details?.group, 'apps');
});
