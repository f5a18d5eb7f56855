/** All kinds at once, for controllers to which every object is alike. */
import type { KubeObject } from '../api/meta.ts';
import { apiVersionOf, resources, type Resource } from '../api/resources.ts';
import type { Informer, Informers } from '../client/informer.ts';

/** Events come in great numbers, own nothing and are owned by nothing. */
export const ownedKinds: readonly Resource[] = Object.values(resources).filter(
  (resource) => resource !== resources.events,
);

export const namespacedKinds: readonly Resource[] = Object.values(resources).filter(
  (resource) => resource.namespaced,
);

/** The resource an owner reference speaks of. */
export function resourceOfKind(apiVersion: string, kind: string): Resource | undefined {
  return ownedKinds.find(
    (resource) => resource.kind === kind && apiVersionOf(resource) === apiVersion,
  );
}

/** One informer for each kind, indexed by `uid` and by the uids of the owners (`owners`). */
export function allInformers(informers: Informers): Map<Resource, Informer<KubeObject>> {
  return new Map(
    ownedKinds.map((resource) => [
      resource,
      informers
        .of<KubeObject>(resource)
        .addIndex('uid', (object) => [object.metadata.uid ?? ''])
        .addIndex('owners', (object) =>
          (object.metadata.ownerReferences ?? []).map((reference) => reference.uid),
        ),
    ]),
  );
}
