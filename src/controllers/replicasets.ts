/** Keeps as many pods as a ReplicaSet asks for (K36). */
import { keyOf, keyText } from '../api/meta.ts';
import { resources } from '../api/resources.ts';
import { selects } from '../api/selectors.ts';
import type { Condition } from '../api/meta.ts';
import type { Pod, ReplicaSet } from '../api/types.ts';
import type { Informer } from '../client/informer.ts';
import type { Again, Reconciler } from '../client/reconciler.ts';
import { formatTime } from '../lib/clock.ts';
import { messageOf } from '../lib/errors.ts';
import { limits } from '../lib/limits.ts';
import { createReconciler, Removals, update, type Context } from './context.ts';
import {
  claim,
  controllerUid,
  createPodControl,
  podFromTemplate,
  sameStatus,
  type Owner,
} from './pod-control.ts';
import {
  availableInMs,
  isActive,
  isReady,
  labelKeys,
  podInformer,
  podsWithLabels,
  readyCondition,
} from './pods.ts';

/** Starts the controller; runs are keyed by ReplicaSet. */
export function replicaSetController(context: Context): Reconciler {
  const { informers, clock } = context;
  const sets = replicaSetInformer(informers.of<ReplicaSet>(resources.replicasets));
  const pods = podInformer(informers);
  const removals = new Removals().follow(pods);
  const control = createPodControl(context, context.recorder('replicaset-controller'), removals);

  const reconciler = createReconciler(context, 'replicasets', async (key) => {
    const set = sets.get(key);
    if (set === undefined) return;
    const owner: Owner = { resource: resources.replicasets, object: set };
    const owned = await claim(context, owner, {
      resource: resources.pods,
      candidates: candidatesFor(set, pods),
      matches: (pod) => selects(set.spec.selector, pod.metadata.labels),
    });
    const active = owned.filter((pod) => isActive(pod) && !removals.has(pod));
    let failure: unknown;
    try {
      if (set.metadata.deletionTimestamp === undefined) await scale(set, active);
    } catch (error) {
      failure = error;
    }
    const again = await writeStatus(set, failure);
    if (failure !== undefined) throw failure;
    return again;
  });

  async function scale(set: ReplicaSet, active: Pod[]): Promise<void> {
    const owner: Owner = { resource: resources.replicasets, object: set };
    const missing = (set.spec.replicas ?? 1) - active.length;
    const template = set.spec.template;
    if (missing > 0 && template !== undefined) {
      const names = { generateName: `${set.metadata.name}-` };
      const make = () => podFromTemplate(template, owner, names);
      await control.createMany(owner, make, Math.min(missing, limits.podBurst));
    } else if (missing < 0) {
      const victims = podsToRemove(active, Math.min(-missing, limits.podBurst), clock.now());
      await Promise.all(victims.map((pod) => control.remove(owner, pod)));
    }
  }

  /** From what the cache shows after the writes above. */
  async function writeStatus(set: ReplicaSet, failure: unknown): Promise<Again | void> {
    const current = sets.get(keyText(keyOf(set)));
    if (current === undefined || current.metadata.uid !== set.metadata.uid) return;
    const owned = pods.byIndex('owner', set.metadata.uid ?? '').filter((pod) => !removals.has(pod));
    const { status: computed, again } = statusOf(current, owned, { now: clock.now(), failure });
    // What was observed is the spec this run worked on, not one that came meanwhile.
    const observedGeneration = set.metadata.generation ?? 0;
    const status = observedGeneration === 0 ? computed : { ...computed, observedGeneration };
    if (!sameStatus(status, current.status)) {
      await update(
        context,
        resources.replicasets,
        { ...current, status },
        { subresource: 'status' },
      );
    }
    return again;
  }

  sets.onChange((old, current) => {
    const set = current ?? old;
    if (set !== undefined) reconciler.add(keyText(keyOf(set)));
  });
  pods.onChange((old, current) => {
    for (const pod of [old, current]) {
      if (pod !== undefined) for (const key of keysFor(pod, sets)) reconciler.add(key);
    }
  });
  return reconciler;
}

/** The ReplicaSets, indexed by `uid`, `owner` and one label of their selector (`selector`). */
export function replicaSetInformer(sets: Informer<ReplicaSet>): Informer<ReplicaSet> {
  return sets
    .addIndex('uid', (set) => [set.metadata.uid ?? ''])
    .addIndex('owner', (set) => [controllerUid(set) ?? ''])
    .addIndex('selector', (set) => [selectorKey(set)]);
}

/** Where orphans that fit are looked up: the first label of the selector, or the whole namespace. */
function selectorKey(set: ReplicaSet): string {
  const namespace = set.metadata.namespace ?? '';
  return labelKeys(namespace, set.spec.selector.matchLabels).sort()[0] ?? namespace;
}

function keysFor(pod: Pod, sets: Informer<ReplicaSet>): string[] {
  const uid = controllerUid(pod);
  if (uid !== undefined) return sets.byIndex('uid', uid).map((set) => keyText(keyOf(set)));
  const namespace = pod.metadata.namespace ?? '';
  return [namespace, ...labelKeys(namespace, pod.metadata.labels)]
    .flatMap((key) => sets.byIndex('selector', key))
    .map((set) => keyText(keyOf(set)));
}

function candidatesFor(set: ReplicaSet, pods: Informer<Pod>): Pod[] {
  const namespace = set.metadata.namespace ?? '';
  const labels = set.spec.selector.matchLabels ?? {};
  const matching =
    Object.keys(labels).length > 0 ? podsWithLabels(pods, namespace, labels) : pods.list(namespace);
  return [...new Set([...pods.byIndex('owner', set.metadata.uid ?? ''), ...matching])];
}

const deletionCostAnnotation = 'controller.kubernetes.io/pod-deletion-cost';
const phaseRank: Record<string, number> = { Pending: 0, Unknown: 1, Running: 2 };

/**
 * Which pods go first: unassigned, then Pending, then not ready, then the cheapest by annotation,
 * then those on the fullest node, then the youngest. The order of the ReplicaSet documentation.
 */
export function podsToRemove(pods: readonly Pod[], count: number, now: number): Pod[] {
  const onNode = Map.groupBy(pods, (pod) => pod.spec.nodeName ?? '');
  const rank = (pod: Pod): number[] => [
    pod.spec.nodeName === undefined ? 0 : 1,
    phaseRank[pod.status?.phase ?? 'Pending'] ?? 1,
    isReady(pod) ? 1 : 0,
    Number(pod.metadata.annotations?.[deletionCostAnnotation] ?? 0) || 0,
    -(onNode.get(pod.spec.nodeName ?? '')?.length ?? 0),
    -(Date.parse(readyCondition(pod)?.lastTransitionTime ?? '') || now),
    -(pod.status?.containerStatuses ?? []).reduce((sum, c) => sum + c.restartCount, 0),
    -(Date.parse(pod.metadata.creationTimestamp ?? '') || now),
  ];
  return pods
    .map((pod) => ({ pod, rank: rank(pod) }))
    .sort(
      (a, b) =>
        compareRanks(a.rank, b.rank) || (a.pod.metadata.name < b.pod.metadata.name ? -1 : 1),
    )
    .slice(0, count)
    .map(({ pod }) => pod);
}

function compareRanks(a: number[], b: number[]): number {
  const at = a.findIndex((value, index) => value !== b[index]);
  return at < 0 ? 0 : a[at]! - b[at]!;
}

/** The status the ReplicaSet must have, and when time alone will change it. */
export function statusOf(
  set: ReplicaSet,
  owned: readonly Pod[],
  { now, failure }: { now: number; failure?: unknown },
): { status: NonNullable<ReplicaSet['status']>; again: Again | undefined } {
  const active = owned.filter(isActive);
  const waits = active.map((pod) => availableInMs(pod, set.spec.minReadySeconds ?? 0, now));
  const full = set.spec.template?.metadata?.labels ?? {};
  const labelled = active.filter((pod) =>
    Object.entries(full).every(([key, value]) => pod.metadata.labels?.[key] === value),
  );
  const conditions = conditionsOf(set, now, failure);
  const status: NonNullable<ReplicaSet['status']> = {
    replicas: active.length,
    ...count('fullyLabeledReplicas', labelled.length),
    ...count('readyReplicas', waits.filter((wait) => wait !== undefined).length),
    ...count('availableReplicas', waits.filter((wait) => wait === 0).length),
    ...count('observedGeneration', set.metadata.generation ?? 0),
    ...(conditions.length === 0 ? {} : { conditions }),
  };
  const later = waits.filter((wait) => wait !== undefined && wait > 0) as number[];
  return { status, again: later.length === 0 ? undefined : { afterMs: Math.min(...later) } };
}

/** Kubernetes omits counts of zero. */
function count<K extends string>(name: K, value: number): { [P in K]?: number } {
  return value === 0 ? {} : ({ [name]: value } as { [P in K]?: number });
}

function conditionsOf(set: ReplicaSet, now: number, failure: unknown): Condition[] {
  const type = 'ReplicaFailure';
  const old = set.status?.conditions ?? [];
  const others = old.filter((condition) => condition.type !== type);
  if (failure === undefined) return others;
  const held = old.find((condition) => condition.type === type);
  const made: Condition = {
    type,
    status: 'True',
    reason: 'FailedCreate',
    message: messageOf(failure),
    lastTransitionTime: held?.lastTransitionTime ?? formatTime(now),
  };
  return [...others, made];
}
