/** Deletion: at once, after a grace period, or when the last finalizer is gone (A40-A41, A112-A116). */
import type { Key } from '../api/meta.ts';
import { type Resource, resources } from '../api/resources.ts';
import type { Namespace, Pod } from '../api/types.ts';
import type { DeleteOptions } from '../client/client.ts';
import { formatTime } from '../lib/clock.ts';
import type { Decision, Stored } from '../store/store.ts';
import type { AnyObject, ApiContext, WriteOptions } from './context.ts';
import { hasGeneration } from './metadata.ts';
import { checkPreconditions, forbidden, notFound } from './refusals.ts';
import { releaseFor } from './strategies.ts';

/** What became of the object: `gone`, or lingering with the state in `stored`. */
export type Deleted = { readonly stored: Stored; readonly gone: boolean };

export async function deleteObject(
  context: ApiContext,
  resource: Resource,
  key: Key,
  options: DeleteOptions & WriteOptions = {},
): Promise<Deleted> {
  const { stored, change } = await context.store.write(
    resource,
    key,
    (current, transaction) => {
      if (current === undefined) throw notFound(resource, key.name);
      const object = current.object as AnyObject;
      refuseImmortal(resource, key);
      checkPreconditions(resource, object, options.preconditions ?? {});
      const decision = decideDelete(context, resource, object, options);
      if (decision.kind === 'delete') releaseFor(context, resource, object, transaction);
      return decision;
    },
    options,
  );
  return { stored: stored!, gone: change === 'DELETED' };
}

/** NamespaceLifecycle: what the cluster itself lives in stays. */
function refuseImmortal(resource: Resource, { name }: Key): void {
  if (resource !== resources.namespaces || !IMMORTAL_NAMESPACES.has(name)) return;
  throw forbidden(resource, name, 'this namespace may not be deleted');
}

const IMMORTAL_NAMESPACES = new Set(['default', 'kube-system', 'kube-public']);

function decideDelete(
  context: ApiContext,
  resource: Resource,
  current: AnyObject,
  options: DeleteOptions,
): Decision {
  const grace = graceSecondsOf(resource, current, options.gracePeriodSeconds);
  const finalizers = finalizersFor(current.metadata.finalizers ?? [], options.propagationPolicy);
  const marked = mark(context, resource, current, { grace, finalizers });
  return decideRemoval(resource, marked) ?? { kind: 'put', object: marked };
}

/** Removes an object marked for deletion that nothing holds any more; undefined: it stays. */
export function decideRemoval(resource: Resource, object: AnyObject): Decision | undefined {
  const { deletionTimestamp, deletionGracePeriodSeconds, finalizers } = object.metadata;
  if (deletionTimestamp === undefined) return undefined;
  if ((finalizers?.length ?? 0) > 0) return undefined;
  if (resource === resources.pods && deletionGracePeriodSeconds !== 0) return undefined;
  if (resource === resources.namespaces && (namespaceFinalizers(object)?.length ?? 0) > 0) {
    return undefined;
  }
  return { kind: 'delete', object };
}

function namespaceFinalizers(object: Namespace): string[] | undefined {
  return object.spec?.finalizers;
}

/** Sets the deletion marks; a second deletion may only shorten the grace period. */
function mark(
  context: ApiContext,
  resource: Resource,
  current: AnyObject,
  wanted: { readonly grace: number; readonly finalizers: string[] },
): AnyObject {
  const { finalizers: _, ...metadata } = current.metadata;
  const next: AnyObject = { ...current, metadata };
  if (wanted.finalizers.length > 0) next.metadata.finalizers = wanted.finalizers;
  const already = metadata.deletionTimestamp !== undefined;
  if (!already || wanted.grace < (metadata.deletionGracePeriodSeconds ?? 0)) {
    const at = context.clock.now() + wanted.grace * 1000;
    next.metadata.deletionTimestamp = formatTime(at);
    next.metadata.deletionGracePeriodSeconds = wanted.grace;
  }
  if (!already && hasGeneration(resource)) {
    next.metadata.generation = (metadata.generation ?? 1) + 1;
  }
  if (resource === resources.namespaces) next.status = { ...current.status, phase: 'Terminating' };
  return next;
}

const DEFAULT_GRACE_SECONDS = 30;
/** 68 years: the field is an int64, but the end of the period must be a date. */
const GRACE_SECONDS_MAX = 2 ** 31 - 1;

/** Only pods stop gracefully, and only where something runs (A113). */
function graceSecondsOf(resource: Resource, object: AnyObject, asked: number | undefined): number {
  if (resource !== resources.pods) return 0;
  const { spec, status } = object as unknown as Pod;
  if (!spec.nodeName || status?.phase === 'Succeeded' || status?.phase === 'Failed') return 0;
  const seconds = asked ?? spec.terminationGracePeriodSeconds ?? DEFAULT_GRACE_SECONDS;
  return seconds < 0 ? 1 : Math.min(seconds, GRACE_SECONDS_MAX);
}

/** A114: the policy stands in the finalizers, for the garbage collector to read. */
function finalizersFor(
  current: readonly string[],
  policy: DeleteOptions['propagationPolicy'],
): string[] {
  if (policy === undefined) return [...current];
  const others = current.filter((name) => name !== 'orphan' && name !== 'foregroundDeletion');
  if (policy === 'Orphan') return [...others, 'orphan'];
  return policy === 'Foreground' ? [...others, 'foregroundDeletion'] : others;
}
