/** How workload controllers make, take over, let go and remove the pods they own. */
import { isDeepStrictEqual } from 'node:util';
import type { KubeObject, ObjectMeta, OwnerReference } from '../api/meta.ts';
import { apiVersionOf, resources, type Resource } from '../api/resources.ts';
import type { Pod, PodTemplateSpec } from '../api/types.ts';
import type { EventRecorder } from '../client/events.ts';
import { messageOf } from '../lib/errors.ts';
import { create, mergePatch, type Context, type Removals } from './context.ts';

/** The reference that makes `owner` the controller of an object. */
export function controllerReference(resource: Resource, owner: KubeObject): OwnerReference {
  return {
    apiVersion: apiVersionOf(resource),
    kind: resource.kind,
    name: owner.metadata.name,
    uid: owner.metadata.uid ?? '',
    controller: true,
    blockOwnerDeletion: true,
  };
}

/** The uid of the object that controls this one. */
export function controllerUid(object: KubeObject): string | undefined {
  return object.metadata.ownerReferences?.find((reference) => reference.controller)?.uid;
}

/** A pod made from the template and owned by `owner`. */
export function podFromTemplate(
  template: PodTemplateSpec,
  owner: { resource: Resource; object: KubeObject },
  names: { name: string } | { generateName: string },
): Pod {
  const { namespace } = owner.object.metadata;
  const { labels, annotations, finalizers } = template.metadata ?? {};
  const metadata: ObjectMeta = {
    name: '',
    ...names,
    ...(namespace === undefined ? {} : { namespace }),
    ...(labels === undefined ? {} : { labels }),
    ...(annotations === undefined ? {} : { annotations }),
    ...(finalizers === undefined ? {} : { finalizers }),
    ownerReferences: [controllerReference(owner.resource, owner.object)],
  };
  return { apiVersion: 'v1', kind: 'Pod', metadata, spec: template.spec };
}

export type Owner = { readonly resource: Resource; readonly object: KubeObject };

/**
 * The objects the owner controls. Matching ones without a controller are adopted, own ones that no
 * longer match are released; each by a patch that fails when the object is not the one we saw.
 */
export async function claim<T extends KubeObject>(
  context: Context,
  owner: Owner,
  {
    resource,
    candidates,
    matches,
  }: {
    resource: Resource;
    candidates: readonly T[];
    matches: (object: T) => boolean;
  },
): Promise<T[]> {
  const uid = owner.object.metadata.uid;
  const leaving = owner.object.metadata.deletionTimestamp !== undefined;
  const claimed = await Promise.all(
    candidates.map(async (object) => {
      const controller = controllerUid(object);
      if (controller === uid) {
        if (matches(object)) return object;
        if (!leaving) await release(context, resource, { object, uid });
        return undefined;
      }
      if (controller !== undefined || leaving || !matches(object)) return undefined;
      if (object.metadata.deletionTimestamp !== undefined) return undefined;
      const ownerReferences = [
        ...(object.metadata.ownerReferences ?? []),
        controllerReference(owner.resource, owner.object),
      ];
      return await setOwners(context, resource, { object, ownerReferences });
    }),
  );
  return claimed.filter((object) => object !== undefined);
}

async function release(
  context: Context,
  resource: Resource,
  { object, uid }: { object: KubeObject; uid: string | undefined },
): Promise<void> {
  const ownerReferences = object.metadata.ownerReferences?.filter((r) => r.uid !== uid) ?? [];
  await setOwners(context, resource, { object, ownerReferences });
}

/** A merge patch replaces the whole list, hence only while nobody else has changed the object. */
async function setOwners<T extends KubeObject>(
  context: Context,
  resource: Resource,
  { object, ownerReferences }: { object: T; ownerReferences: OwnerReference[] },
): Promise<T> {
  const { resourceVersion } = object.metadata;
  return await mergePatch(context, resource, object, {
    metadata: { resourceVersion, ownerReferences },
  });
}

export type PodControl = {
  create(owner: Owner, pod: Pod): Promise<Pod>;
  /** Creates 1, 2, 4, … at a time: when the first is refused, so are the others (a quota, say). */
  createMany(owner: Owner, make: () => Pod, count: number): Promise<void>;
  remove(owner: Owner, pod: Pod): Promise<void>;
};

/** Writes pods and tells about it at their owner. */
export function createPodControl(
  context: Context,
  recorder: EventRecorder,
  removals: Removals,
): PodControl {
  const createOne = async ({ resource, object }: Owner, pod: Pod): Promise<Pod> => {
    try {
      const made = await create(context, resources.pods, pod);
      const message = `Created pod: ${made.metadata.name}`;
      recorder.record(resource, object, { type: 'Normal', reason: 'SuccessfulCreate', message });
      return made;
    } catch (error) {
      const message = `Error creating: ${messageOf(error)}`;
      recorder.record(resource, object, { type: 'Warning', reason: 'FailedCreate', message });
      throw error;
    }
  };
  return {
    create: createOne,
    async createMany(owner, make, count) {
      let left = count;
      for (let batch = 1; left > 0; batch *= 2) {
        const size = Math.min(batch, left);
        const all = Array.from({ length: size }, () => createOne(owner, make()));
        const failed = (await Promise.allSettled(all)).find((r) => r.status === 'rejected');
        if (failed !== undefined) throw failed.reason;
        left -= size;
      }
    },
    async remove({ resource, object }, pod) {
      await removals.remove(context, resources.pods, pod);
      const message = `Deleted pod: ${pod.metadata.name}`;
      recorder.record(resource, object, { type: 'Normal', reason: 'SuccessfulDelete', message });
    },
  };
}

/** Whether two statuses say the same: then nothing is written. */
export function sameStatus(a: unknown, b: unknown): boolean {
  return isDeepStrictEqual(a, b);
}
