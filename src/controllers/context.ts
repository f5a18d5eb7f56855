/** What every controller works with, and the ways it writes. */
import { keyOf, type KubeObject } from '../api/meta.ts';
import type { Resource } from '../api/resources.ts';
import { isReason } from '../api/status.ts';
import type { Client, DeleteOptions } from '../client/client.ts';
import type { EventRecorder } from '../client/events.ts';
import type { Informer, Informers } from '../client/informer.ts';
import { Reconciler, type Again } from '../client/reconciler.ts';
import type { Clock } from '../lib/clock.ts';
import type { Logger } from '../lib/log.ts';
import type { ControllerOptions } from './options.ts';

export type Context = {
  readonly client: Client;
  readonly informers: Informers;
  readonly clock: Clock;
  readonly log: Logger;
  readonly options: ControllerOptions;
  /** An event recorder that speaks as the named component. */
  recorder(component: string): EventRecorder;
};

/** A reconciler that waits until all informers have synced. */
export function createReconciler(
  context: Context,
  name: string,
  reconcile: (key: string) => Promise<Again | void>,
  concurrency = 8,
): Reconciler {
  const { clock, log } = context;
  const reconciler = new Reconciler({ name, reconcile, clock, log, concurrency });
  reconciler.pause();
  return reconciler;
}

/** Creates the object; the cache has it when this settles. */
export async function create<T extends KubeObject>(
  { client, informers }: Context,
  resource: Resource,
  object: T,
): Promise<T> {
  const made = await client.create(resource, object);
  informers.of<T>(resource).observe(made);
  return made;
}

/** Replaces the object or a subresource of it; the cache has the answer when this settles. */
export async function update<T extends KubeObject>(
  { client, informers }: Context,
  resource: Resource,
  object: T,
  options: { subresource?: string } = {},
): Promise<T> {
  const made = await client.update(resource, object, options);
  informers.of<T>(resource).observe(made);
  return made;
}

/** A merge patch that fails with a Conflict when the object is no longer the one we saw. */
export async function mergePatch<T extends KubeObject>(
  { client, informers }: Context,
  resource: Resource,
  object: T,
  patch: Record<string, unknown>,
): Promise<T> {
  const metadata = { ...(patch.metadata as object | undefined), uid: object.metadata.uid };
  const options = { type: 'merge' } as const;
  const made = await client.patch<T>(resource, keyOf(object), { ...patch, metadata }, options);
  informers.of<T>(resource).observe(made);
  return made;
}

/** Deletes this very object, not a successor of its name; nothing when it is gone already. */
export async function remove(
  { client }: Context,
  resource: Resource,
  object: KubeObject,
  options: DeleteOptions = {},
): Promise<void> {
  const { uid } = object.metadata;
  const preconditions = { ...(uid === undefined ? {} : { uid }), ...options.preconditions };
  try {
    await client.delete(resource, keyOf(object), { ...options, preconditions });
  } catch (error) {
    if (isReason(error, 'NotFound')) return;
    if (isReason(error, 'Conflict') && options.preconditions === undefined) return;
    throw error;
  }
}

/**
 * Objects whose deletion we asked for and the cache does not show yet. Without it a second run
 * would take them for living ones and delete others in their stead.
 */
export class Removals {
  readonly #uids = new Set<string>();

  /** Forgets an object once the cache shows its deletion. */
  follow<T extends KubeObject>(informer: Informer<T>): this {
    informer.onChange((old, current) => {
      if (current === undefined) this.#uids.delete(old?.metadata.uid ?? '');
      else if (current.metadata.deletionTimestamp !== undefined) {
        this.#uids.delete(current.metadata.uid ?? '');
      }
    });
    return this;
  }

  has(object: KubeObject): boolean {
    return this.#uids.has(object.metadata.uid ?? '');
  }

  /** Deletes, and remembers it; forgets it when the server refuses. */
  async remove(
    context: Context,
    resource: Resource,
    object: KubeObject,
    options: DeleteOptions = {},
  ): Promise<void> {
    const uid = object.metadata.uid ?? '';
    this.#uids.add(uid);
    try {
      await remove(context, resource, object, options);
    } catch (error) {
      this.#uids.delete(uid);
      throw error;
    }
    // The watch may have been faster than the answer.
    const held = context.informers.of(resource).get(keyOf(object));
    if (held?.metadata.uid !== uid || held.metadata.deletionTimestamp !== undefined) {
      this.#uids.delete(uid);
    }
  }
}
