/** What the API server fills in when a field is absent (A116, A123, A133; Kubernetes API reference). */
import { defaultPodSpec, defaultRequests } from './defaults-pod.ts';
import type { KubeObject } from './meta.ts';
import { setOwn } from './own.ts';
import type { Resource } from './resources.ts';
import type * as k from './types.ts';

/** Fills the defaults of its kind into the object, in place, and returns it. */
export function applyDefaults<T extends KubeObject>(resource: Resource, object: T): T {
  const key = resource.group === '' ? resource.kind : `${resource.group}/${resource.kind}`;
  defaulters[key]?.(object as never);
  return object;
}

/** The object passed `conform`, not yet validation: even its spec may be absent. */
type Unchecked<T extends { spec?: unknown }> = Omit<T, 'spec'> & { spec?: NonNullable<T['spec']> };

const defaulters: Record<string, (object: never) => void> = {
  Namespace: defaultNamespace,
  Pod: defaultPod,
  Service: defaultService,
  Endpoints: defaultEndpoints,
  Secret: defaultSecret,
  'discovery.k8s.io/EndpointSlice': defaultEndpointSlice,
  'apps/Deployment': defaultDeployment,
  'apps/ReplicaSet': defaultReplicaSet,
  'apps/StatefulSet': defaultStatefulSet,
};

function defaultNamespace(namespace: k.Namespace): void {
  namespace.metadata.labels = {
    ...namespace.metadata.labels,
    'kubernetes.io/metadata.name': namespace.metadata.name,
  };
  namespace.spec ??= {};
  namespace.status ??= {};
  namespace.status.phase ??= 'Active';
  // Finalizers leave a namespace only while it is being deleted.
  if (namespace.metadata.deletionTimestamp === undefined) {
    namespace.spec.finalizers ??= ['kubernetes'];
  }
}

function defaultPod({ spec }: Unchecked<k.Pod>): void {
  if (spec === undefined) return;
  defaultPodSpec(spec);
  defaultRequests(spec);
  spec.enableServiceLinks ??= true;
}

function defaultService(service: Unchecked<k.Service>): void {
  const spec = (service.spec ??= {});
  spec.type ||= 'ClusterIP';
  for (const port of spec.ports ?? []) {
    port.protocol ||= 'TCP';
    port.targetPort ||= port.port;
  }
  defaultAffinity(spec);
  const isLoadBalancer = spec.type === 'LoadBalancer';
  const isExternal =
    isLoadBalancer ||
    spec.type === 'NodePort' ||
    (spec.type === 'ClusterIP' && (spec.externalIPs?.length ?? 0) > 0);
  if (isExternal) spec.externalTrafficPolicy ||= 'Cluster';
  if (spec.type !== 'ExternalName') spec.internalTrafficPolicy ||= 'Cluster';
  if (isLoadBalancer) spec.allocateLoadBalancerNodePorts ??= true;
  for (const ingress of service.status?.loadBalancer?.ingress ?? []) {
    if (isLoadBalancer && ingress.ip) ingress.ipMode ??= 'VIP';
  }
}

function defaultAffinity(spec: k.ServiceSpec): void {
  spec.sessionAffinity ||= 'None';
  if (spec.sessionAffinity === 'None') delete spec.sessionAffinityConfig;
  if (spec.sessionAffinity !== 'ClientIP') return;
  spec.sessionAffinityConfig ??= {};
  spec.sessionAffinityConfig.clientIP ??= {};
  spec.sessionAffinityConfig.clientIP.timeoutSeconds ??= 10_800;
}

function defaultEndpoints(endpoints: k.Endpoints): void {
  for (const subset of endpoints.subsets ?? []) {
    for (const port of subset.ports ?? []) port.protocol ||= 'TCP';
  }
}

function defaultEndpointSlice(slice: Partial<k.EndpointSlice>): void {
  slice.endpoints ??= [];
  for (const port of slice.ports ?? []) {
    port.name ??= '';
    port.protocol ||= 'TCP';
  }
}

function defaultSecret(secret: k.Secret): void {
  secret.type ||= 'Opaque';
  if (secret.stringData === undefined) return;
  secret.data ??= {};
  for (const [key, text] of Object.entries(secret.stringData)) {
    setOwn(secret.data, key, Buffer.from(text, 'utf8').toString('base64'));
  }
  delete secret.stringData;
}

function defaultDeployment({ spec }: Unchecked<k.Deployment>): void {
  if (spec === undefined) return;
  spec.replicas ??= 1;
  const strategy = (spec.strategy ??= {});
  strategy.type ||= 'RollingUpdate';
  if (strategy.type === 'RollingUpdate') {
    strategy.rollingUpdate ??= {};
    strategy.rollingUpdate.maxUnavailable ??= '25%';
    strategy.rollingUpdate.maxSurge ??= '25%';
  }
  spec.revisionHistoryLimit ??= 10;
  spec.progressDeadlineSeconds ??= 600;
  defaultTemplate(spec.template);
}

function defaultReplicaSet({ spec }: Unchecked<k.ReplicaSet>): void {
  if (spec === undefined) return;
  spec.replicas ??= 1;
  defaultTemplate(spec.template);
}

function defaultStatefulSet({ spec }: Unchecked<k.StatefulSet>): void {
  if (spec === undefined) return;
  spec.podManagementPolicy ||= 'OrderedReady';
  const strategy = (spec.updateStrategy ??= {});
  strategy.type ||= 'RollingUpdate';
  if (strategy.type === 'RollingUpdate') {
    strategy.rollingUpdate ??= {};
    strategy.rollingUpdate.partition ??= 0;
  }
  spec.replicas ??= 1;
  spec.revisionHistoryLimit ??= 10;
  const claims = spec as { persistentVolumeClaimRetentionPolicy?: Record<string, string> };
  const policy = (claims.persistentVolumeClaimRetentionPolicy ??= {});
  policy.whenDeleted ||= 'Retain';
  policy.whenScaled ||= 'Retain';
  defaultTemplate(spec.template);
}

function defaultTemplate(template: k.PodTemplateSpec | undefined): void {
  if (template === undefined) return;
  template.metadata ??= {};
  if (template.spec !== undefined) defaultPodSpec(template.spec);
}
