/** Discovery bodies, plain data ready for JSON (A1-A8). */
import { apiVersionOf, resources, reviews, type Resource } from './resources.ts';

type GroupVersionKind = { group: string; version: string; kind: string };

const all: readonly Resource[] = [...Object.values(resources), ...Object.values(reviews)];

const collectionVerbs = [
  'create',
  'delete',
  'deletecollection',
  'get',
  'list',
  'patch',
  'update',
  'watch',
];

/** Subresources whose body is not the resource's own kind, and what may be done with each (A4). */
const subresourceKinds: Record<string, GroupVersionKind> = {
  scale: { group: 'autoscaling', version: 'v1', kind: 'Scale' },
  eviction: { group: 'policy', version: 'v1', kind: 'Eviction' },
  token: { group: 'authentication.k8s.io', version: 'v1', kind: 'TokenRequest' },
  binding: { group: '', version: 'v1', kind: 'Binding' },
  exec: { group: '', version: 'v1', kind: 'PodExecOptions' },
  attach: { group: '', version: 'v1', kind: 'PodAttachOptions' },
  portforward: { group: '', version: 'v1', kind: 'PodPortForwardOptions' },
};

const subresourceVerbs: Record<string, readonly string[]> = {
  status: ['get', 'patch', 'update'],
  scale: ['get', 'patch', 'update'],
  finalize: ['update'],
  log: ['get'],
  exec: ['create', 'get'],
  attach: ['create', 'get'],
  portforward: ['create', 'get'],
  binding: ['create'],
  eviction: ['create'],
  token: ['create'],
};

/** What may be done with a resource itself; reviews are only posted. */
export function verbsOf(resource: Resource): readonly string[] {
  return resource.createOnly === true ? ['create'] : collectionVerbs;
}

/** What may be done with a subresource. */
export function subresourceVerbsOf(subresource: string): readonly string[] {
  return subresourceVerbs[subresource] ?? [];
}

/** The kind a subresource speaks: its own, or that of the resource. */
export function subresourceKindOf(resource: Resource, subresource: string): GroupVersionKind {
  const { group, version, kind } = resource;
  return subresourceKinds[subresource] ?? { group, version, kind };
}

// ---- one request per group version

/** `GET /api`. */
export function apiVersions(serverAddress: string): object {
  return {
    kind: 'APIVersions',
    versions: ['v1'],
    serverAddressByClientCIDRs: [{ clientCIDR: '0.0.0.0/0', serverAddress }],
  };
}

/** `GET /apis`. */
export function apiGroupList(): object {
  return { kind: 'APIGroupList', apiVersion: 'v1', groups: groupNames().map(groupOf) };
}

/** `GET /apis/<group>`; undefined for an unknown group. */
export function apiGroup(group: string): object | undefined {
  if (!groupNames().includes(group)) return undefined;
  return { kind: 'APIGroup', apiVersion: 'v1', ...groupOf(group) };
}

/** The named groups in their order, the core group not among them. */
function groupNames(): string[] {
  return [...new Set(all.map(({ group }) => group))].filter((group) => group !== '');
}

function versionsOf(group: string): string[] {
  return [...new Set(all.filter((each) => each.group === group).map(({ version }) => version))];
}

function groupOf(name: string): object {
  const versions = versionsOf(name).map((version) => ({
    groupVersion: `${name}/${version}`,
    version,
  }));
  return { name, versions, preferredVersion: versions[0] };
}

/** `GET /api/v1` (group '') or `/apis/<group>/<version>`; undefined when not served. */
export function apiResourceList(group: string, version: string): object | undefined {
  const found = all.filter((each) => each.group === group && each.version === version);
  if (found[0] === undefined) return undefined;
  return {
    kind: 'APIResourceList',
    apiVersion: 'v1',
    groupVersion: apiVersionOf(found[0]),
    resources: found.flatMap(apiResourcesOf),
  };
}

function apiResourcesOf(resource: Resource): object[] {
  const { namespaced, kind, singular, shortNames, categories } = resource;
  return [
    {
      name: resource.resource,
      singularName: singular,
      namespaced,
      kind,
      verbs: verbsOf(resource),
      ...(shortNames !== undefined && { shortNames }),
      ...(categories !== undefined && { categories }),
    },
    ...(resource.subresources ?? []).map((subresource) => ({
      name: `${resource.resource}/${subresource}`,
      singularName: '',
      namespaced,
      ...(foreignKind(resource, subresource) ?? { kind }),
      verbs: subresourceVerbsOf(subresource),
    })),
  ];
}

/** Set when the subresource's body is of another kind; an empty group is left out. */
function foreignKind(resource: Resource, subresource: string): object | undefined {
  const foreign = subresourceKinds[subresource];
  if (foreign === undefined) return undefined;
  const { group, version, kind } = foreign;
  return group === resource.group ? { kind } : { group, version, kind };
}

// ---- aggregated

/** Aggregated discovery for `/api` or `/apis` (A5, A6). */
export function aggregatedDiscovery(root: 'api' | 'apis', version: 'v2' | 'v2beta1'): object {
  const groups = root === 'api' ? [''] : groupNames();
  return {
    kind: 'APIGroupDiscoveryList',
    apiVersion: `apidiscovery.k8s.io/${version}`,
    metadata: {},
    items: groups.map((group) => ({
      metadata: { ...(group !== '' && { name: group }), creationTimestamp: null },
      versions: versionsOf(group).map((version) => ({
        version,
        resources: all
          .filter((each) => each.group === group && each.version === version)
          .map(discoveryOf),
        freshness: 'Current',
      })),
    })),
  };
}

function discoveryOf(resource: Resource): object {
  const { group, version, kind, shortNames, categories, subresources } = resource;
  return {
    resource: resource.resource,
    responseKind: { group, version, kind },
    scope: resource.namespaced ? 'Namespaced' : 'Cluster',
    singularResource: resource.singular,
    verbs: verbsOf(resource),
    ...(shortNames !== undefined && { shortNames }),
    ...(categories !== undefined && { categories }),
    ...(subresources !== undefined && {
      subresources: subresources.map((subresource) => ({
        subresource,
        responseKind: subresourceKindOf(resource, subresource),
        verbs: subresourceVerbsOf(subresource),
      })),
    }),
  };
}
