/** What a StatefulSet does next: pure. Pods come one after the other, and go in reverse (K36). */
import type { Pod, StatefulSet } from '../api/types.ts';
import { availableInMs, isFinished, isReady, isTerminating } from './pods.ts';
import { revisionLabel } from './revisions.ts';

export const podNameLabel = 'statefulset.kubernetes.io/pod-name';
export const podIndexLabel = 'apps.kubernetes.io/pod-index';

export type StatefulSteps = {
  /** Pods to make, by number and name of the revision. */
  readonly create: { readonly ordinal: number; readonly revision: string }[];
  readonly remove: Pod[];
};

export type StatefulInput = {
  /** The pods of the set, none of them asked to go by us already. */
  readonly pods: readonly Pod[];
  readonly currentRevision: string;
  readonly updateRevision: string;
  readonly now: number;
};

/** The number at the end of the pod's name, or undefined when it is not of this set. */
export function ordinalOf(set: StatefulSet, pod: Pod): number | undefined {
  const match = /^(.*)-(\d+)$/.exec(pod.metadata.name);
  return match !== null && match[1] === set.metadata.name ? Number(match[2]) : undefined;
}

export function revisionOf(pod: Pod): string {
  return pod.metadata.labels?.[revisionLabel] ?? '';
}

/** The first number of the set, and the first past its end. */
export function ordinalRange(set: StatefulSet): { first: number; end: number } {
  const first = set.spec.ordinals?.start ?? 0;
  return { first, end: first + (set.spec.replicas ?? 1) };
}

/** The next steps; none when all is well or something must be waited for. */
export function planStatefulSet(set: StatefulSet, input: StatefulInput): StatefulSteps {
  const parallel = set.spec.podManagementPolicy === 'Parallel';
  const { first, end } = ordinalRange(set);
  const byOrdinal = new Map(input.pods.map((pod) => [ordinalOf(set, pod) ?? -1, pod]));
  const steps: StatefulSteps = { create: [], remove: [] };
  for (let ordinal = first; ordinal < end; ordinal += 1) {
    const pod = byOrdinal.get(ordinal);
    if (pod === undefined) {
      steps.create.push({ ordinal, revision: revisionFor(set, ordinal, input) });
    } else if (isFinished(pod) && !isTerminating(pod)) {
      steps.remove.push(pod);
    } else if (isTerminating(pod) || !isAvailable(set, pod, input.now)) {
      if (!parallel) return steps;
      continue;
    } else {
      continue;
    }
    if (!parallel) return steps;
  }
  const condemned = [...byOrdinal]
    .filter(([ordinal]) => ordinal < first || ordinal >= end)
    .sort(([a], [b]) => b - a)
    .map(([, pod]) => pod);
  if (condemned.length > 0) {
    steps.remove.push(...condemnedNow(set, condemned, { parallel }));
    // A set that shrinks is not updated at the same time.
    if (!parallel) return steps;
  }
  if (steps.create.length + steps.remove.length === 0) {
    steps.remove.push(...updateNow(set, byOrdinal, input));
  }
  return steps;
}

/** From the highest number down; ordered sets wait until the one before is gone. */
function condemnedNow(
  _set: StatefulSet,
  condemned: readonly Pod[],
  { parallel }: { parallel: boolean },
): Pod[] {
  if (parallel) return condemned.filter((pod) => !isTerminating(pod));
  const [highest] = condemned;
  return highest === undefined || isTerminating(highest) ? [] : [highest];
}

/** One pod that still has an old revision, from the highest number down to the partition. */
function updateNow(
  set: StatefulSet,
  byOrdinal: ReadonlyMap<number, Pod>,
  { updateRevision, now }: StatefulInput,
): Pod[] {
  if (set.spec.updateStrategy?.type === 'OnDelete') return [];
  const { first, end } = ordinalRange(set);
  const partition = first + (set.spec.updateStrategy?.rollingUpdate?.partition ?? 0);
  for (let ordinal = end - 1; ordinal >= partition; ordinal -= 1) {
    const pod = byOrdinal.get(ordinal);
    if (pod === undefined) return [];
    // A pod of the old kind that does not work is replaced; one of the new kind is waited for.
    if (revisionOf(pod) !== updateRevision) return isTerminating(pod) ? [] : [pod];
    if (isTerminating(pod) || !isAvailable(set, pod, now)) return [];
  }
  return [];
}

/** Below the partition, and while a rollout has not come down to it, a pod comes back as it was. */
function revisionFor(set: StatefulSet, ordinal: number, input: StatefulInput): string {
  const { type, rollingUpdate } = set.spec.updateStrategy ?? {};
  if (type === 'OnDelete') return input.updateRevision;
  const { first } = ordinalRange(set);
  const kept = rollingUpdate?.partition ?? set.status?.currentReplicas ?? 0;
  return ordinal < first + kept ? input.currentRevision : input.updateRevision;
}

export function isAvailable(set: StatefulSet, pod: Pod, now: number): boolean {
  return isReady(pod) && availableInMs(pod, set.spec.minReadySeconds ?? 0, now) === 0;
}

/** The status the StatefulSet must have. */
export function statefulSetStatus(
  set: StatefulSet,
  input: StatefulInput,
): NonNullable<StatefulSet['status']> {
  const { pods, updateRevision, now } = input;
  const living = pods.filter((pod) => !isFinished(pod));
  const ready = living.filter(isReady);
  const updated = living.filter((pod) => revisionOf(pod) === updateRevision && !isTerminating(pod));
  const { replicas: wanted = 1, updateStrategy } = set.spec;
  // A rollout is over when all pods are of the new revision and work: it is the current one then.
  const isOver =
    updateStrategy?.type !== 'OnDelete' &&
    updated.length === wanted &&
    ready.length === wanted &&
    living.length === wanted;
  const currentRevision = isOver ? updateRevision : input.currentRevision;
  const current = living.filter(
    (pod) => revisionOf(pod) === currentRevision && !isTerminating(pod),
  );
  return {
    observedGeneration: set.metadata.generation ?? 0,
    replicas: living.length,
    ...(ready.length === 0 ? {} : { readyReplicas: ready.length }),
    ...(current.length === 0 ? {} : { currentReplicas: current.length }),
    ...(updated.length === 0 ? {} : { updatedReplicas: updated.length }),
    currentRevision,
    updateRevision,
    collisionCount: set.status?.collisionCount ?? 0,
    availableReplicas: ready.filter((pod) => isAvailable(set, pod, now)).length,
  };
}
