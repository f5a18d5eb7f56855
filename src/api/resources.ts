/** The resources served: where each lives in the URL space and what it is called (A4, A7, A8). */

export type Resource = {
  /** Empty for the core group. */
  readonly group: string;
  readonly version: string;
  /** Plural, as in URLs. */
  readonly resource: string;
  readonly kind: string;
  readonly namespaced: boolean;
  readonly singular: string;
  readonly shortNames?: readonly string[];
  readonly categories?: readonly string[];
  readonly subresources?: readonly string[];
  /** Answered at once and never stored, such as SelfSubjectAccessReview (A138). */
  readonly createOnly?: boolean;
};

function core(resource: string, kind: string, more: Partial<Resource> = {}): Resource {
  return {
    group: '',
    version: 'v1',
    resource,
    kind,
    namespaced: true,
    singular: kind.toLowerCase(),
    ...more,
  };
}

export const resources = {
  namespaces: core('namespaces', 'Namespace', {
    namespaced: false,
    shortNames: ['ns'],
    subresources: ['status', 'finalize'],
  }),
  nodes: core('nodes', 'Node', { namespaced: false, shortNames: ['no'], subresources: ['status'] }),
  pods: core('pods', 'Pod', {
    shortNames: ['po'],
    categories: ['all'],
    subresources: ['status', 'log', 'exec', 'attach', 'portforward', 'binding', 'eviction'],
  }),
  services: core('services', 'Service', {
    shortNames: ['svc'],
    categories: ['all'],
    subresources: ['status'],
  }),
  endpoints: core('endpoints', 'Endpoints', { shortNames: ['ep'], singular: 'endpoints' }),
  configmaps: core('configmaps', 'ConfigMap', { shortNames: ['cm'] }),
  secrets: core('secrets', 'Secret'),
  serviceaccounts: core('serviceaccounts', 'ServiceAccount', {
    shortNames: ['sa'],
    subresources: ['token'],
  }),
  events: core('events', 'Event', { shortNames: ['ev'] }),
  endpointslices: {
    group: 'discovery.k8s.io',
    version: 'v1',
    resource: 'endpointslices',
    kind: 'EndpointSlice',
    namespaced: true,
    singular: 'endpointslice',
  },
  deployments: {
    group: 'apps',
    version: 'v1',
    resource: 'deployments',
    kind: 'Deployment',
    namespaced: true,
    singular: 'deployment',
    shortNames: ['deploy'],
    categories: ['all'],
    subresources: ['status', 'scale'],
  },
  replicasets: {
    group: 'apps',
    version: 'v1',
    resource: 'replicasets',
    kind: 'ReplicaSet',
    namespaced: true,
    singular: 'replicaset',
    shortNames: ['rs'],
    categories: ['all'],
    subresources: ['status', 'scale'],
  },
  statefulsets: {
    group: 'apps',
    version: 'v1',
    resource: 'statefulsets',
    kind: 'StatefulSet',
    namespaced: true,
    singular: 'statefulset',
    shortNames: ['sts'],
    categories: ['all'],
    subresources: ['status', 'scale'],
  },
  controllerrevisions: {
    group: 'apps',
    version: 'v1',
    resource: 'controllerrevisions',
    kind: 'ControllerRevision',
    namespaced: true,
    singular: 'controllerrevision',
  },
  leases: {
    group: 'coordination.k8s.io',
    version: 'v1',
    resource: 'leases',
    kind: 'Lease',
    namespaced: true,
    singular: 'lease',
  },
} as const satisfies Record<string, Resource>;

function review(group: string, resource: string, kind: string, namespaced = false): Resource {
  const singular = kind.toLowerCase();
  return { group, version: 'v1', resource, kind, namespaced, singular, createOnly: true };
}

/** Questions one posts and that are answered, not stored (A136, A138). */
export const reviews = {
  tokenreviews: review('authentication.k8s.io', 'tokenreviews', 'TokenReview'),
  selfsubjectreviews: review('authentication.k8s.io', 'selfsubjectreviews', 'SelfSubjectReview'),
  selfsubjectaccessreviews: review(
    'authorization.k8s.io',
    'selfsubjectaccessreviews',
    'SelfSubjectAccessReview',
  ),
  selfsubjectrulesreviews: review(
    'authorization.k8s.io',
    'selfsubjectrulesreviews',
    'SelfSubjectRulesReview',
  ),
  subjectaccessreviews: review(
    'authorization.k8s.io',
    'subjectaccessreviews',
    'SubjectAccessReview',
  ),
} as const satisfies Record<string, Resource>;

/** `v1` or `apps/v1`. */
export function apiVersionOf(resource: Pick<Resource, 'group' | 'version'>): string {
  return resource.group === '' ? resource.version : `${resource.group}/${resource.version}`;
}

/** `pods` or `deployments.apps`, as error messages name a resource (A66). */
export function qualifiedName(resource: Resource): string {
  return resource.group === '' ? resource.resource : `${resource.resource}.${resource.group}`;
}
