/** Empties a namespace that is to go, says what holds it up, and lets it go (K37). */
import type { Condition, KubeObject } from '../api/meta.ts';
import { qualifiedName, resources, type Resource } from '../api/resources.ts';
import { isReason } from '../api/status.ts';
import type { Namespace } from '../api/types.ts';
import type { Again, Reconciler } from '../client/reconciler.ts';
import { formatTime } from '../lib/clock.ts';
import { messageOf } from '../lib/errors.ts';
import { createReconciler, remove, update, type Context } from './context.ts';
import { allInformers, namespacedKinds } from './kinds.ts';
import { sameStatus } from './pod-control.ts';

const finalizer = 'kubernetes';
/** Most objects end at once and tell by an event; these are for those nobody watches. */
const lookAgainMs = { min: 500, max: 30_000 };
const deletionsAtOnce = 100;

export type Remaining = { readonly resource: Resource; readonly objects: readonly KubeObject[] };

/** Starts the controller; runs are keyed by namespace. */
export function namespaceController(context: Context): Reconciler {
  const { client, informers, clock } = context;
  const namespaces = informers.of<Namespace>(resources.namespaces);

  const reconciler = createReconciler(context, 'namespaces', async (name) => {
    const namespace = namespaces.get(name);
    if (namespace?.metadata.deletionTimestamp === undefined) return;
    if (!(namespace.spec?.finalizers ?? []).includes(finalizer)) return;
    const failures = await empty(name);
    const remaining = await whatRemains(name);
    if (remaining.length === 0) return await letGo(namespace);
    await writeStatus(namespace, remaining, failures);
    const since = Date.parse(namespace.metadata.deletionTimestamp);
    return { afterMs: lookAfterMs(clock.now() - since) } satisfies Again;
  });

  /** Deletes everything; the texts say what could not be. */
  async function empty(namespace: string): Promise<string[]> {
    const failures: string[] = [];
    for (const { resource, objects } of await whatRemains(namespace)) {
      const living = objects.filter((object) => object.metadata.deletionTimestamp === undefined);
      for (let at = 0; at < living.length; at += deletionsAtOnce) {
        const part = living.slice(at, at + deletionsAtOnce);
        const options = { propagationPolicy: 'Background' } as const;
        const results = await Promise.allSettled(
          part.map((object) => remove(context, resource, object, options)),
        );
        for (const result of results) {
          if (result.status === 'rejected') failures.push(messageOf(result.reason));
        }
      }
    }
    return failures;
  }

  /** Asked from the server: what a cache does not show yet would be left behind. */
  async function whatRemains(namespace: string): Promise<Remaining[]> {
    const all = await Promise.all(
      namespacedKinds.map(async (resource) => {
        const { items } = await client.list(resource, { namespace });
        return { resource, objects: items };
      }),
    );
    return all.filter(({ objects }) => objects.length > 0);
  }

  async function letGo(namespace: Namespace): Promise<void> {
    const finalizers = (namespace.spec?.finalizers ?? []).filter((name) => name !== finalizer);
    const next: Namespace = { ...namespace, spec: { ...namespace.spec, finalizers } };
    try {
      await client.update(resources.namespaces, next, { subresource: 'finalize' });
    } catch (error) {
      if (!isReason(error, 'NotFound')) throw error;
    }
  }

  async function writeStatus(
    namespace: Namespace,
    remaining: Remaining[],
    failures: string[],
  ): Promise<void> {
    const held = namespace.status?.conditions ?? [];
    const conditions = conditionsOf({ remaining, failures, held, now: clock.now() });
    const status: Namespace['status'] = { ...namespace.status, phase: 'Terminating', conditions };
    if (sameStatus(status, namespace.status)) return;
    await update(
      context,
      resources.namespaces,
      { ...namespace, status },
      { subresource: 'status' },
    );
  }

  namespaces.onChange((_, current) => {
    if (current?.metadata.deletionTimestamp !== undefined) reconciler.add(current.metadata.name);
  });
  for (const informer of allInformers(informers).values()) {
    informer.onChange((old, current) => {
      if (current !== undefined || old?.metadata.namespace === undefined) return;
      const { namespace } = old.metadata;
      if (namespaces.get(namespace)?.metadata.deletionTimestamp !== undefined) {
        reconciler.add(namespace);
      }
    });
  }
  return reconciler;
}

/** The longer it has been on its way out, the more seldom it is looked at. */
export function lookAfterMs(leavingForMs: number): number {
  return Math.min(lookAgainMs.max, Math.max(lookAgainMs.min, leavingForMs / 4));
}

/** The five conditions of a namespace on its way out, in the words of kube-controller-manager. */
export function conditionsOf(input: {
  remaining: readonly Remaining[];
  failures: readonly string[];
  held: readonly Condition[];
  now: number;
}): Condition[] {
  const { remaining, failures, held, now } = input;
  const finalizers = finalizerCounts(remaining);
  const content = remaining.map(
    ({ resource, objects }) =>
      `${qualifiedName(resource)} has ${objects.length} resource instances`,
  );
  const wanted: [type: string, isTrue: boolean, reason: string, message: string][] = [
    [
      'NamespaceDeletionDiscoveryFailure',
      false,
      'ResourcesDiscovered',
      'All resources successfully discovered',
    ],
    [
      'NamespaceDeletionGroupVersionParsingFailure',
      false,
      'ParsedGroupVersions',
      'All legacy kube types successfully parsed',
    ],
    failures.length > 0
      ? [
          'NamespaceDeletionContentFailure',
          true,
          'ContentDeletionFailed',
          `Failed to delete all resource types, ${failures.length} remaining: ${failures[0]}`,
        ]
      : [
          'NamespaceDeletionContentFailure',
          false,
          'ContentDeleted',
          'All content successfully deleted, may be waiting on finalization',
        ],
    content.length > 0
      ? [
          'NamespaceContentRemaining',
          true,
          'SomeResourcesRemain',
          `Some resources are remaining: ${content.join(', ')}`,
        ]
      : ['NamespaceContentRemaining', false, 'ContentRemoved', 'All content successfully removed'],
    finalizers.length > 0
      ? [
          'NamespaceFinalizersRemaining',
          true,
          'SomeFinalizersRemain',
          `Some content in the namespace has finalizers remaining: ${finalizers.join(', ')}`,
        ]
      : [
          'NamespaceFinalizersRemaining',
          false,
          'ContentHasNoFinalizers',
          'All content-preserving finalizers finished',
        ],
  ];
  return wanted.map(([type, isTrue, reason, message]) => {
    const status = isTrue ? 'True' : 'False';
    const old = held.find((condition) => condition.type === type);
    const since = old?.status === status ? old.lastTransitionTime : undefined;
    return { type, status, reason, message, lastTransitionTime: since ?? formatTime(now) };
  });
}

function finalizerCounts(remaining: readonly Remaining[]): string[] {
  const names = remaining.flatMap(({ objects }) =>
    objects.flatMap((object) => object.metadata.finalizers ?? []),
  );
  const counts = Map.groupBy(names, (name) => name);
  return [...counts].map(([name, all]) => `${name} in ${all.length} resource instances`).sort();
}
