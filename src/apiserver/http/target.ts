/** Which resource a path is about (A4). */
import { type Resource, resources, reviews } from '../../api/resources.ts';

export type Target = {
  readonly resource: Resource;
  readonly namespace: string | undefined;
  readonly name: string | undefined;
  readonly subresource: string | undefined;
  /** What follows the subresource, for proxies. */
  readonly rest: readonly string[];
};

const byPath = new Map<string, Resource>(
  [...Object.values(resources), ...Object.values(reviews)].map((resource: Resource) => [
    `${resource.group}/${resource.version}/${resource.resource}`,
    resource,
  ]),
);

// kubectl up to 1.27 asks `auth whoami` of the version before the first stable one.
const whoami = { ...reviews.selfsubjectreviews, version: 'v1beta1' };
byPath.set(`${whoami.group}/${whoami.version}/${whoami.resource}`, whoami);

/** `/api/v1/namespaces/x/pods/y/log` to its parts; undefined when nothing of that name is served. */
export function resolveTarget(segments: readonly string[]): Target | undefined {
  const core = segments[0] === 'api';
  if (!core && segments[0] !== 'apis') return undefined;
  const [group, version, ...rest] = core ? ['', ...segments.slice(1)] : segments.slice(1);
  if (group === undefined || version === undefined || rest.length === 0) return undefined;
  const prefix = `${group}/${version}/`;
  const inNamespace = rest[0] === 'namespaces' && rest.length > 2 && !NAMESPACE_PARTS.has(rest[2]!);
  const [plural, name, subresource, ...tail] = inNamespace ? rest.slice(2) : rest;
  const resource = byPath.get(prefix + plural);
  if (resource === undefined || (inNamespace && !resource.namespaced)) return undefined;
  // Without a namespace only whole collections of a namespaced kind can be named.
  if (resource.namespaced && !inNamespace && name !== undefined) return undefined;
  if (subresource !== undefined && !resource.subresources?.includes(subresource)) return undefined;
  return { resource, namespace: inNamespace ? rest[1] : undefined, name, subresource, rest: tail };
}

/** `/api/v1/namespaces/x/status` is about the namespace, not about a resource in it. */
const NAMESPACE_PARTS = new Set(['status', 'finalize']);
