import assert from 'node:assert/strict';
import { test } from 'node:test';

import { applyDefaults } from './defaults.ts';
import type { KubeObject } from './meta.ts';
import { resources, type Resource } from './resources.ts';

const probe = { timeoutSeconds: 1, periodSeconds: 10, successThreshold: 1, failureThreshold: 3 };
const podSpec = {
  restartPolicy: 'Always',
  dnsPolicy: 'ClusterFirst',
  terminationGracePeriodSeconds: 30,
  schedulerName: 'default-scheduler',
  securityContext: {},
};
const container = {
  terminationMessagePath: '/dev/termination-log',
  terminationMessagePolicy: 'File',
  resources: {},
};
const selector = { matchLabels: { a: 'b' } };
const template = {
  metadata: { labels: { a: 'b' } },
  spec: { containers: [{ name: 'c', image: 'i:1' }] },
};
const fullTemplate = {
  metadata: { labels: { a: 'b' } },
  spec: {
    ...podSpec,
    containers: [{ name: 'c', image: 'i:1', imagePullPolicy: 'IfNotPresent', ...container }],
  },
};

// What `kubectl get -o yaml` shows of such an object on a real cluster, and A116, A123, A133.
const cases: [name: string, resource: Resource, body: object, want: object][] = [
  [
    'service',
    resources.services,
    { spec: { ports: [{ port: 80 }] } },
    {
      spec: {
        type: 'ClusterIP',
        sessionAffinity: 'None',
        internalTrafficPolicy: 'Cluster',
        ports: [{ port: 80, protocol: 'TCP', targetPort: 80 }],
      },
    },
  ],
  [
    '[A123] NodePort',
    resources.services,
    { spec: { type: 'NodePort' } },
    {
      spec: {
        type: 'NodePort',
        sessionAffinity: 'None',
        internalTrafficPolicy: 'Cluster',
        externalTrafficPolicy: 'Cluster',
      },
    },
  ],
  [
    '[A123] LoadBalancer',
    resources.services,
    {
      spec: { type: 'LoadBalancer', sessionAffinity: 'ClientIP' },
      status: { loadBalancer: { ingress: [{ ip: '192.0.2.1' }, { hostname: 'h' }] } },
    },
    {
      spec: {
        type: 'LoadBalancer',
        sessionAffinity: 'ClientIP',
        sessionAffinityConfig: { clientIP: { timeoutSeconds: 10_800 } },
        internalTrafficPolicy: 'Cluster',
        externalTrafficPolicy: 'Cluster',
        allocateLoadBalancerNodePorts: true,
      },
      status: {
        loadBalancer: { ingress: [{ ip: '192.0.2.1', ipMode: 'VIP' }, { hostname: 'h' }] },
      },
    },
  ],
  [
    '[A123] external addresses',
    resources.services,
    {
      spec: {
        externalIPs: ['192.0.2.1'],
        sessionAffinity: 'None',
        sessionAffinityConfig: { clientIP: { timeoutSeconds: 1 } },
      },
    },
    {
      spec: {
        type: 'ClusterIP',
        externalIPs: ['192.0.2.1'],
        sessionAffinity: 'None',
        internalTrafficPolicy: 'Cluster',
        externalTrafficPolicy: 'Cluster',
      },
    },
  ],
  [
    '[A123] ExternalName',
    resources.services,
    { spec: { type: 'ExternalName', externalName: 'a.b' } },
    { spec: { type: 'ExternalName', externalName: 'a.b', sessionAffinity: 'None' } },
  ],
  [
    '[A123] a target port of 0 or empty',
    resources.services,
    {
      spec: {
        ports: [
          { port: 80, targetPort: 0 },
          { port: 81, targetPort: '' },
          { port: 82, targetPort: 'x' },
        ],
      },
    },
    {
      spec: {
        type: 'ClusterIP',
        sessionAffinity: 'None',
        internalTrafficPolicy: 'Cluster',
        ports: [
          { port: 80, targetPort: 80, protocol: 'TCP' },
          { port: 81, targetPort: 81, protocol: 'TCP' },
          { port: 82, targetPort: 'x', protocol: 'TCP' },
        ],
      },
    },
  ],
  [
    'endpoints',
    resources.endpoints,
    { subsets: [{ ports: [{ port: 1 }] }] },
    { subsets: [{ ports: [{ port: 1, protocol: 'TCP' }] }] },
  ],
  [
    '[A133] endpoint slice',
    resources.endpointslices,
    { ports: [{ port: 1 }] },
    { endpoints: [], ports: [{ port: 1, name: '', protocol: 'TCP' }] },
  ],
  [
    'secret',
    resources.secrets,
    { data: { a: 'eA==', b: 'eA==' }, stringData: { a: 'yö' } },
    { type: 'Opaque', data: { a: 'ecO2', b: 'eA==' } },
  ],
  [
    'secret with a key JavaScript knows',
    resources.secrets,
    { stringData: JSON.parse('{"__proto__":"x"}') as object },
    { type: 'Opaque', data: JSON.parse('{"__proto__":"eA=="}') as object },
  ],
  [
    'deployment',
    resources.deployments,
    { spec: { selector, template } },
    {
      spec: {
        selector,
        template: fullTemplate,
        replicas: 1,
        strategy: {
          type: 'RollingUpdate',
          rollingUpdate: { maxUnavailable: '25%', maxSurge: '25%' },
        },
        revisionHistoryLimit: 10,
        progressDeadlineSeconds: 600,
      },
    },
  ],
  [
    'deployment of no pods, recreated',
    resources.deployments,
    { spec: { replicas: 0, selector, template, strategy: { type: 'Recreate' } } },
    {
      spec: {
        selector,
        template: fullTemplate,
        replicas: 0,
        strategy: { type: 'Recreate' },
        revisionHistoryLimit: 10,
        progressDeadlineSeconds: 600,
      },
    },
  ],
  [
    'replica set',
    resources.replicasets,
    { spec: { selector, template } },
    { spec: { selector, template: fullTemplate, replicas: 1 } },
  ],
  [
    'stateful set',
    resources.statefulsets,
    { spec: { selector, template } },
    {
      spec: {
        selector,
        template: fullTemplate,
        replicas: 1,
        podManagementPolicy: 'OrderedReady',
        revisionHistoryLimit: 10,
        updateStrategy: { type: 'RollingUpdate', rollingUpdate: { partition: 0 } },
        persistentVolumeClaimRetentionPolicy: { whenDeleted: 'Retain', whenScaled: 'Retain' },
      },
    },
  ],
  [
    'pod',
    resources.pods,
    {
      spec: {
        serviceAccountName: 'sa',
        containers: [
          {
            name: 'c',
            image: 'i',
            ports: [{ containerPort: 80 }],
            env: [{ name: 'A', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } }],
            livenessProbe: { httpGet: { port: 80 } },
            readinessProbe: { grpc: { port: 1 }, periodSeconds: 2 },
            resources: { limits: { cpu: '1', memory: '1Gi' }, requests: { cpu: '500m' } },
          },
        ],
        volumes: [
          { name: 'a' },
          { name: 'b', configMap: { name: 'm' } },
          { name: 'c', secret: { secretName: 's', defaultMode: 256 } },
          {
            name: 'd',
            projected: {
              sources: [
                { serviceAccountToken: { path: 't' } },
                {
                  downwardAPI: { items: [{ path: 'x', fieldRef: { fieldPath: 'metadata.name' } }] },
                },
              ],
            },
          },
          { name: 'e', hostPath: { path: '/' } },
        ],
      },
    },
    {
      spec: {
        ...podSpec,
        enableServiceLinks: true,
        serviceAccountName: 'sa',
        serviceAccount: 'sa',
        containers: [
          {
            ...container,
            name: 'c',
            image: 'i',
            imagePullPolicy: 'Always',
            ports: [{ containerPort: 80, protocol: 'TCP' }],
            env: [
              {
                name: 'A',
                valueFrom: { fieldRef: { apiVersion: 'v1', fieldPath: 'metadata.name' } },
              },
            ],
            livenessProbe: { httpGet: { port: 80, path: '/', scheme: 'HTTP' }, ...probe },
            readinessProbe: { grpc: { port: 1, service: '' }, ...probe, periodSeconds: 2 },
            resources: {
              limits: { cpu: '1', memory: '1Gi' },
              requests: { cpu: '500m', memory: '1Gi' },
            },
          },
        ],
        volumes: [
          { name: 'a', emptyDir: {} },
          { name: 'b', configMap: { name: 'm', defaultMode: 420 } },
          { name: 'c', secret: { secretName: 's', defaultMode: 256 } },
          {
            name: 'd',
            projected: {
              defaultMode: 420,
              sources: [
                { serviceAccountToken: { path: 't', expirationSeconds: 3600 } },
                {
                  downwardAPI: {
                    items: [
                      { path: 'x', fieldRef: { apiVersion: 'v1', fieldPath: 'metadata.name' } },
                    ],
                  },
                },
              ],
            },
          },
          { name: 'e', hostPath: { path: '/', type: '' } },
        ],
      },
    },
  ],
  ['config map', resources.configmaps, { data: {} }, { data: {} }],
];
for (const [name, resource, body, want] of cases) {
  test(`defaults: ${name}`, () => {
    const metadata = { name: 'x', namespace: 'default' };
    const object = structuredClone({ metadata, ...body }) as KubeObject;
    const filled = applyDefaults(resource, object);
    assert.deepEqual(filled, { metadata, ...want });
    assert.deepEqual(applyDefaults(resource, structuredClone(filled)), filled, 'twice is once');
  });
}

const images: [image: string, want: string][] = [
  ['nginx', 'Always'],
  ['nginx:latest', 'Always'],
  ['nginx:1.2', 'IfNotPresent'],
  ['localhost:5000/nginx', 'Always'],
  ['localhost:5000/nginx:1', 'IfNotPresent'],
  [`nginx@sha256:${'a'.repeat(64)}`, 'IfNotPresent'],
];
for (const [image, want] of images) {
  test(`defaults: ${image.slice(0, 30)} is pulled ${want}`, () => {
    const pod = { metadata: { name: 'x' }, spec: { containers: [{ name: 'c', image }] } };
    const [found] = applyDefaults(resources.pods, pod as KubeObject & typeof pod).spec.containers;
    assert.equal((found as { imagePullPolicy?: string }).imagePullPolicy, want);
  });
}

test('[A116] a namespace carries its name as a label and a finalizer', () => {
  const namespace = applyDefaults(resources.namespaces, {
    metadata: { name: 'shop', labels: { a: 'b' } },
  });
  assert.deepEqual(namespace, {
    metadata: { name: 'shop', labels: { a: 'b', 'kubernetes.io/metadata.name': 'shop' } },
    spec: { finalizers: ['kubernetes'] },
    status: { phase: 'Active' },
  });
  const dying = {
    metadata: { name: 'shop', deletionTimestamp: 't' },
    spec: {},
    status: { phase: 'Terminating' },
  };
  assert.deepEqual(
    applyDefaults(resources.namespaces, dying).spec,
    {},
    'finalizers do not come back',
  );
});
