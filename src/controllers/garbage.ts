/** Removes objects whose owners are gone, and holds owners back that wait for them (K37). */
import { keyOf, keyText, parseKeyText, type KubeObject, type OwnerReference } from '../api/meta.ts';
import { apiVersionOf, type Resource } from '../api/resources.ts';
import { isReason } from '../api/status.ts';
import type { DeleteOptions } from '../client/client.ts';
import type { Informer } from '../client/informer.ts';
import type { Reconciler } from '../client/reconciler.ts';
import { limits } from '../lib/limits.ts';
import { createReconciler, mergePatch, remove, type Context } from './context.ts';
import { allInformers, ownedKinds, resourceOfKind } from './kinds.ts';

const foreground = 'foregroundDeletion';
const orphan = 'orphan';

/** Starts the controller; runs are keyed by `apiVersion kind key`. */
export function garbageController(context: Context): Reconciler {
  const { client } = context;
  const informers = allInformers(context.informers);
  /** Uids the server told are gone; they never come back. */
  const gone = new Set<string>();

  const reconciler = createReconciler(context, 'garbage', async (id) => {
    const { resource, key } = parseId(id);
    const object = informers.get(resource)?.get(key);
    if (object === undefined) return;
    if (object.metadata.deletionTimestamp !== undefined) await holdOrRelease(resource, object);
    else if ((object.metadata.ownerReferences ?? []).length > 0) await judge(resource, object);
  });

  /** An owner that is to go: its dependents go first, or are set free. */
  async function holdOrRelease(resource: Resource, owner: KubeObject): Promise<void> {
    const { finalizers = [], uid = '' } = owner.metadata;
    const dependents = dependentsOf(uid);
    if (finalizers.includes(orphan)) {
      await Promise.all(dependents.map((dependent) => forget(dependent, new Set([uid]))));
      await dropFinalizer(resource, owner, orphan);
    } else if (finalizers.includes(foreground)) {
      const blocking = dependents.filter(({ object }) =>
        object.metadata.ownerReferences?.some((r) => r.uid === uid && r.blockOwnerDeletion),
      );
      if (blocking.length === 0) await dropFinalizer(resource, owner, foreground);
      for (const dependent of dependents)
        reconciler.add(idOf(dependent.resource, dependent.object));
    }
  }

  type Dependent = { readonly resource: Resource; readonly object: KubeObject };

  function dependentsOf(uid: string): Dependent[] {
    return [...informers].flatMap(([resource, informer]) =>
      informer.byIndex('owners', uid).map((object) => ({ resource, object })),
    );
  }

  async function forget({ resource, object }: Dependent, uids: Set<string>): Promise<void> {
    const ownerReferences = object.metadata.ownerReferences?.filter((r) => !uids.has(r.uid)) ?? [];
    const { resourceVersion } = object.metadata;
    try {
      const metadata = { resourceVersion, ownerReferences };
      await mergePatch(context, resource, object, { metadata });
    } catch (error) {
      if (!isReason(error, 'NotFound')) throw error;
    }
  }

  async function dropFinalizer(
    resource: Resource,
    object: KubeObject,
    name: string,
  ): Promise<void> {
    const { finalizers = [], resourceVersion } = object.metadata;
    const metadata = { resourceVersion, finalizers: finalizers.filter((other) => other !== name) };
    try {
      await mergePatch(context, resource, object, { metadata });
    } catch (error) {
      if (!isReason(error, 'NotFound')) throw error;
    }
  }

  /** An object with owners stays while one of them does. */
  async function judge(resource: Resource, object: KubeObject): Promise<void> {
    const { ownerReferences = [], uid = '' } = object.metadata;
    const states = await Promise.all(
      ownerReferences.map((reference) => stateOf(reference, object.metadata.namespace)),
    );
    const lost = ownerReferences.filter((_, index) => states[index] !== 'there');
    if (lost.length === 0) return;
    if (lost.length < ownerReferences.length) {
      return await forget({ resource, object }, new Set(lost.map((reference) => reference.uid)));
    }
    const waits = states.includes('waiting') && dependentsOf(uid).length > 0;
    await remove(context, resource, object, {
      propagationPolicy: policyFor(object, waits),
      preconditions: { uid },
    }).catch((error: unknown) => {
      // A successor has the name, and is judged by itself.
      if (!isReason(error, 'Conflict')) throw error;
    });
  }

  async function stateOf(
    reference: OwnerReference,
    namespace: string | undefined,
  ): Promise<'there' | 'gone' | 'waiting'> {
    if (gone.has(reference.uid)) return 'gone';
    const resource = resourceOfKind(reference.apiVersion, reference.kind);
    // Of kinds nobody serves here nothing can be known; so nothing is deleted for them.
    if (resource === undefined) return 'there';
    const cached = informers.get(resource)?.byIndex('uid', reference.uid)[0];
    const owner = cached ?? (await fetchOwner(resource, reference, namespace));
    if (owner === undefined) return 'gone';
    const { deletionTimestamp, finalizers = [] } = owner.metadata;
    return deletionTimestamp !== undefined && finalizers.includes(foreground) ? 'waiting' : 'there';
  }

  /** The cache may lag behind; only the server's word ends an object. */
  async function fetchOwner(
    resource: Resource,
    reference: OwnerReference,
    namespace: string | undefined,
  ): Promise<KubeObject | undefined> {
    const { name, uid } = reference;
    const key = resource.namespaced && namespace !== undefined ? { namespace, name } : { name };
    try {
      const found = await client.get(resource, key);
      if (found.metadata.uid === uid) return found;
    } catch (error) {
      if (!isReason(error, 'NotFound')) throw error;
    }
    gone.add(uid);
    for (const oldest of gone) {
      if (gone.size <= limits.goneOwnersMax) break;
      gone.delete(oldest);
    }
    return undefined;
  }

  for (const [resource, informer] of informers) watch(resource, informer);

  function watch(resource: Resource, informer: Informer<KubeObject>): void {
    informer.onChange((old, current) => {
      if (current !== undefined && isInteresting(current)) reconciler.add(idOf(resource, current));
      if (current !== undefined) return;
      const dependents = dependentsOf(old?.metadata.uid ?? '');
      for (const { resource: kind, object } of dependents) reconciler.add(idOf(kind, object));
      noteOwners(old);
    });
  }

  /** The last dependent that goes frees an owner that waits for it. */
  function noteOwners(dependent: KubeObject | undefined): void {
    for (const { apiVersion, kind, uid } of dependent?.metadata.ownerReferences ?? []) {
      const resource = resourceOfKind(apiVersion, kind);
      if (resource === undefined) continue;
      const owner = informers.get(resource)?.byIndex('uid', uid)[0];
      if (owner?.metadata.deletionTimestamp !== undefined) reconciler.add(idOf(resource, owner));
    }
  }
  return reconciler;
}

function isInteresting({ metadata }: KubeObject): boolean {
  const { deletionTimestamp, finalizers = [], ownerReferences = [] } = metadata;
  if (deletionTimestamp === undefined) return ownerReferences.length > 0;
  return finalizers.includes(foreground) || finalizers.includes(orphan);
}

function policyFor(
  object: KubeObject,
  waits: boolean,
): DeleteOptions['propagationPolicy'] & string {
  const { finalizers = [] } = object.metadata;
  if (finalizers.includes(orphan)) return 'Orphan';
  return waits || finalizers.includes(foreground) ? 'Foreground' : 'Background';
}

function idOf(resource: Resource, object: KubeObject): string {
  return `${apiVersionOf(resource)} ${resource.kind} ${keyText(keyOf(object))}`;
}

function parseId(id: string): { resource: Resource; key: ReturnType<typeof parseKeyText> } {
  const [apiVersion = '', kind = '', key = ''] = id.split(' ');
  const resource = resourceOfKind(apiVersion, kind) ?? ownedKinds[0]!;
  return { resource, key: parseKeyText(key) };
}
