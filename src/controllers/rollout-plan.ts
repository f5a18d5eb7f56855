/** How many pods each ReplicaSet of a Deployment gets: pure arithmetic on what is there (K36). */
import type { IntOrString } from '../api/meta.ts';
import type { Deployment, ReplicaSet } from '../api/types.ts';

export const desiredReplicasAnnotation = 'deployment.kubernetes.io/desired-replicas';
export const maxReplicasAnnotation = 'deployment.kubernetes.io/max-replicas';

/** The wanted `spec.replicas` of a ReplicaSet. */
export type Scaling = { readonly set: ReplicaSet; readonly replicas: number };

export function replicasOf(set: ReplicaSet): number {
  return set.spec.replicas ?? 1;
}

export function availableOf(set: ReplicaSet): number {
  return set.status?.availableReplicas ?? 0;
}

function sum(sets: readonly ReplicaSet[], value: (set: ReplicaSet) => number): number {
  return sets.reduce((total, set) => total + value(set), 0);
}

/** A number or a percentage of `total`. */
export function resolveCount(
  value: IntOrString | undefined,
  total: number,
  round: 'up' | 'down',
): number {
  if (typeof value !== 'string') return value ?? 0;
  const share = (Number.parseFloat(value) * total) / 100;
  return (round === 'up' ? Math.ceil(share) : Math.floor(share)) || 0;
}

/** Surge is rounded up, unavailability down; both zero would be a standstill, so one may be missing. */
export function rolloutBounds(deployment: Deployment): { surge: number; unavailable: number } {
  const { strategy, replicas = 1 } = deployment.spec;
  if (strategy?.type === 'Recreate') return { surge: 0, unavailable: replicas };
  const { maxSurge = '25%', maxUnavailable = '25%' } = strategy?.rollingUpdate ?? {};
  const surge = resolveCount(maxSurge, replicas, 'up');
  const unavailable = resolveCount(maxUnavailable, replicas, 'down');
  if (surge === 0 && unavailable === 0) return { surge, unavailable: 1 };
  return { surge, unavailable: Math.min(unavailable, replicas) };
}

/** What a new ReplicaSet may have at once, beside what the others still have. */
export function newSetReplicas(
  deployment: Deployment,
  all: readonly ReplicaSet[],
  has: number,
): number {
  const { replicas = 1, strategy } = deployment.spec;
  if (strategy?.type === 'Recreate') return replicas;
  const room = replicas + rolloutBounds(deployment).surge - sum(all, replicasOf);
  if (room <= 0) return has;
  return has + Math.min(room, Math.max(0, replicas - has));
}

/** One step of a rolling update; empty when it must wait, or is done. */
export function rollingStep(
  deployment: Deployment,
  newest: ReplicaSet,
  old: readonly ReplicaSet[],
): Scaling[] {
  const { replicas = 1 } = deployment.spec;
  const all = [newest, ...old];
  const has = replicasOf(newest);
  const wanted = has > replicas ? replicas : newSetReplicas(deployment, all, has);
  if (wanted !== has) return [{ set: newest, replicas: wanted }];
  return shrinkOld(deployment, newest, old);
}

/** First pods that do not serve anyway, then as many serving ones as may be missing. */
function shrinkOld(
  deployment: Deployment,
  newest: ReplicaSet,
  old: readonly ReplicaSet[],
): Scaling[] {
  const { replicas = 1 } = deployment.spec;
  const minAvailable = replicas - rolloutBounds(deployment).unavailable;
  const newNotAvailable = replicasOf(newest) - availableOf(newest);
  const total = sum([newest, ...old], replicasOf);
  let mayGo = total - minAvailable - newNotAvailable;
  if (mayGo <= 0) return [];

  const size = new Map(old.map((set) => [set, replicasOf(set)]));
  const byAge = old.toSorted((a, b) => ageOf(a) - ageOf(b));
  for (const set of byAge) {
    const broken = Math.max(0, replicasOf(set) - availableOf(set));
    const cut = Math.min(mayGo, broken);
    size.set(set, replicasOf(set) - cut);
    mayGo -= cut;
  }
  let spare = sum([newest, ...old], availableOf) - minAvailable;
  for (const set of byAge) {
    const cut = Math.min(Math.max(0, spare), size.get(set) ?? 0);
    size.set(set, (size.get(set) ?? 0) - cut);
    spare -= cut;
  }
  return changesOf(size);
}

function ageOf(set: ReplicaSet): number {
  return Date.parse(set.metadata.creationTimestamp ?? '') || 0;
}

function changesOf(size: ReadonlyMap<ReplicaSet, number>): Scaling[] {
  return [...size]
    .filter(([set, replicas]) => replicas !== replicasOf(set))
    .map(([set, replicas]) => ({ set, replicas }));
}

/**
 * Spreads a changed total over the sets in proportion to their sizes, so that a Deployment scaled
 * in the middle of a rollout, or while paused, keeps its mixture.
 */
export function proportionalScaling(
  deployment: Deployment,
  newest: ReplicaSet | undefined,
  old: readonly ReplicaSet[],
): Scaling[] {
  const { replicas = 1 } = deployment.spec;
  const sets = newest === undefined ? [...old] : [newest, ...old];
  const active = sets.filter((set) => replicasOf(set) > 0);
  const latest = newest ?? old.toSorted((a, b) => ageOf(b) - ageOf(a))[0];
  const only = active.length === 0 ? latest : active[0];
  if (active.length <= 1) {
    return only === undefined || replicasOf(only) === replicas ? [] : [{ set: only, replicas }];
  }
  if (newest !== undefined && isSaturated(deployment, newest)) {
    return active.filter((set) => set !== newest).map((set) => ({ set, replicas: 0 }));
  }
  if (deployment.spec.strategy?.type === 'Recreate') return [];
  return spread(deployment, active);
}

/** The newest set carries the Deployment alone; whatever else runs is left over. */
export function isSaturated(deployment: Deployment, set: ReplicaSet): boolean {
  const { replicas = 1 } = deployment.spec;
  const desired = Number(set.metadata.annotations?.[desiredReplicasAnnotation]);
  return replicasOf(set) === replicas && desired === replicas && availableOf(set) === replicas;
}

function spread(deployment: Deployment, active: readonly ReplicaSet[]): Scaling[] {
  const { replicas = 1 } = deployment.spec;
  const allowed = replicas > 0 ? replicas + rolloutBounds(deployment).surge : 0;
  const toAdd = allowed - sum(active, replicasOf);
  if (toAdd === 0) return [];
  // Growing favours the newest of equals, shrinking the oldest.
  const order = active.toSorted(
    (a, b) => replicasOf(b) - replicasOf(a) || Math.sign(toAdd) * (ageOf(b) - ageOf(a)),
  );
  const size = new Map<ReplicaSet, number>();
  let added = 0;
  for (const set of order) {
    const share = shareOf(deployment, set, allowed);
    const left = toAdd - added;
    const part =
      toAdd > 0 ? Math.min(Math.max(share, 0), left) : Math.max(Math.min(share, 0), left);
    size.set(set, replicasOf(set) + part);
    added += part;
  }
  const first = order[0]!;
  size.set(first, Math.max(0, (size.get(first) ?? 0) + toAdd - added));
  return changesOf(size);
}

/** By how much the set changes when the whole grows from its last known maximum to `allowed`. */
function shareOf(deployment: Deployment, set: ReplicaSet, allowed: number): number {
  const has = replicasOf(set);
  const { replicas = 1 } = deployment.spec;
  if (replicas === 0) return -has;
  const before = Number(set.metadata.annotations?.[maxReplicasAnnotation]) || allowed;
  return Math.round((has * allowed) / before) - has;
}
