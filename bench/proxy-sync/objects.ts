/** The objects of a simulated cluster, as a real API server shows them, managedFields and all. */
import type { EndpointSlice, Node, Service } from '../../src/api/types.ts';

/** So many Services, each with so many endpoints. */
export type Size = { readonly services: number; readonly endpoints: number };

export const NODE = 'node-1';
export const NODE_IP = '127.0.0.1';
export const POD_CIDR = '10.128.0.0/9';
export const SERVICE_CIDR = '10.0.0.0/12';
const NODES = 5000;
const TIME = '2026-01-01T00:00:00Z';

export function clusterNode(): Node {
  return {
    metadata: { name: NODE, uid: 'node-1', labels: { 'kubernetes.io/hostname': NODE } },
    spec: { podCIDR: POD_CIDR, podCIDRs: [POD_CIDR] },
    status: { addresses: [{ type: 'InternalIP', address: NODE_IP }] },
  };
}

/** Service number `index`, always at the same address. */
export function clusterService(index: number): Service {
  const name = `svc-${index}`;
  return {
    metadata: {
      name,
      namespace: 'load',
      uid: `00000000-0000-4000-8000-${hex(index, 12)}`,
      creationTimestamp: TIME,
      labels: { app: name },
      ...managed('f:spec', 'f:ports', 'f:selector', 'f:type', 'f:internalTrafficPolicy'),
    },
    spec: {
      type: 'ClusterIP',
      clusterIP: serviceAddress(index),
      clusterIPs: [serviceAddress(index)],
      ipFamilies: ['IPv4'],
      ipFamilyPolicy: 'SingleStack',
      internalTrafficPolicy: 'Cluster',
      sessionAffinity: 'None',
      selector: { app: name },
      ports: [{ name: 'http', protocol: 'TCP', port: 80, targetPort: 8080 }],
    },
    status: { loadBalancer: {} },
  } as Service;
}

/** The slice of Service `index`. Each generation has another last endpoint. */
export function clusterSlice(index: number, size: Size, generation = 0): EndpointSlice {
  const name = `svc-${index}`;
  const endpoints = Array.from({ length: size.endpoints }, (_, at) => {
    const last = at === size.endpoints - 1;
    const pod = index * size.endpoints + at;
    return endpointAt(last ? pod + generation * size.services * size.endpoints : pod, name);
  });
  return {
    addressType: 'IPv4',
    metadata: {
      name: `${name}-abcde`,
      generateName: `${name}-`,
      namespace: 'load',
      uid: `00000000-0000-4000-9000-${hex(index, 12)}`,
      generation: generation + 1,
      creationTimestamp: TIME,
      labels: {
        app: name,
        'endpointslice.kubernetes.io/managed-by': 'endpointslice-controller.k8s.io',
        'kubernetes.io/service-name': name,
      },
      annotations: { 'endpoints.kubernetes.io/last-change-trigger-time': TIME },
      ownerReferences: [
        {
          apiVersion: 'v1',
          kind: 'Service',
          name,
          uid: `00000000-0000-4000-8000-${hex(index, 12)}`,
          controller: true,
          blockOwnerDeletion: true,
        },
      ],
      ...managed('f:addressType', 'f:endpoints', 'f:ports', 'f:metadata', 'f:labels'),
    },
    endpoints,
    ports: [{ name: 'http', protocol: 'TCP', port: 8080 }],
  } as EndpointSlice;
}

export function serviceAddress(index: number): string {
  return `10.${(index >> 16) & 15}.${(index >> 8) & 255}.${index & 255}`;
}

function endpointAt(pod: number, service: string) {
  const address = `10.${128 + ((pod >> 16) & 127)}.${(pod >> 8) & 255}.${pod & 255}`;
  return {
    addresses: [address],
    conditions: { ready: true, serving: true, terminating: false },
    // One in 5,000 is on the node whose proxy is measured.
    nodeName: `node-${1 + (pod % NODES)}`,
    targetRef: {
      kind: 'Pod',
      namespace: 'load',
      name: `${service}-7d9c6b8f5d-${hex(pod, 6)}`,
      uid: `00000000-0000-4000-a000-${hex(pod, 12)}`,
    },
    zone: `zone-${1 + (pod % 3)}`,
  };
}

function managed(...fields: string[]) {
  const fieldsV1 = Object.fromEntries(fields.map((field) => [field, { '.': {}, 'f:x': {} }]));
  return {
    managedFields: [
      { manager: 'kube-controller-manager', operation: 'Update', time: TIME, fieldsV1 },
    ],
  };
}

function hex(value: number, digits: number): string {
  return value.toString(16).padStart(digits, '0');
}
