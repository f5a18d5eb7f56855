/** What a Deployment says about itself: what `kubectl rollout status` and `kubectl wait` read (K36). */
import type { Condition } from '../api/meta.ts';
import type { Deployment, ReplicaSet } from '../api/types.ts';
import { formatTime } from '../lib/clock.ts';
import { availableOf, replicasOf, rolloutBounds } from './rollout-plan.ts';

type Status = NonNullable<Deployment['status']>;

export type StatusInput = {
  readonly newest: ReplicaSet | undefined;
  readonly old: readonly ReplicaSet[];
  readonly now: number;
  /** A word about the newest set that is told once: it was created, or found. */
  readonly newestIs?: 'created' | 'found';
};

/** The status the Deployment must have. */
export function deploymentStatus(deployment: Deployment, input: StatusInput): Status {
  const { newest, old, now } = input;
  const all = newest === undefined ? old : [newest, ...old];
  const sum = (value: (set: ReplicaSet) => number) => all.reduce((n, set) => n + value(set), 0);
  const available = sum(availableOf);
  const counts: Status = {
    observedGeneration: deployment.metadata.generation ?? 0,
    ...count(
      'replicas',
      sum((set) => set.status?.replicas ?? 0),
    ),
    ...count('updatedReplicas', newest?.status?.replicas ?? 0),
    ...count(
      'readyReplicas',
      sum((set) => set.status?.readyReplicas ?? 0),
    ),
    ...count('availableReplicas', available),
    ...count('unavailableReplicas', Math.max(0, sum(replicasOf) - available)),
    ...count('collisionCount', deployment.status?.collisionCount ?? 0),
  };
  const held = deployment.status?.conditions ?? [];
  const wanted = [
    availableCondition(deployment, available),
    progressingCondition(deployment, counts, input),
    failureCondition(all),
  ];
  const conditions = wanted.flatMap((condition) => {
    if (condition === undefined) return [];
    return [
      stamp(
        condition,
        held.find((old) => old.type === condition.type),
        now,
      ),
    ];
  });
  return { ...counts, conditions };
}

function count(name: keyof Status, value: number): Partial<Status> {
  return value === 0 ? {} : { [name]: value };
}

/** Transition time moves with the status, update time with any word of the condition. */
function stamp(condition: Condition, held: Condition | undefined, now: number): Condition {
  const { lastTransitionTime, lastUpdateTime, ...words } = held ?? { type: '', status: 'Unknown' };
  const time = formatTime(now);
  const same = words.reason === condition.reason && words.message === condition.message;
  const stays = held !== undefined && held.status === condition.status;
  return {
    ...condition,
    lastUpdateTime:
      stays && same && condition.lastUpdateTime === undefined ? (lastUpdateTime ?? time) : time,
    lastTransitionTime: stays ? (lastTransitionTime ?? time) : time,
  };
}

function availableCondition(deployment: Deployment, available: number): Condition {
  const { replicas = 1 } = deployment.spec;
  const enough = available >= replicas - rolloutBounds(deployment).unavailable;
  return {
    type: 'Available',
    status: enough ? 'True' : 'False',
    reason: enough ? 'MinimumReplicasAvailable' : 'MinimumReplicasUnavailable',
    message: `Deployment ${enough ? 'has' : 'does not have'} minimum availability.`,
  };
}

function failureCondition(sets: readonly ReplicaSet[]): Condition | undefined {
  for (const set of sets) {
    const failed = set.status?.conditions?.find((c) => c.type === 'ReplicaFailure');
    if (failed === undefined) continue;
    const { type, status, reason, message } = failed;
    return {
      type,
      status,
      ...(reason === undefined ? {} : { reason }),
      ...(message === undefined ? {} : { message }),
    };
  }
  return undefined;
}

/** Done when every pod is of the newest kind, available, and nothing older is left. */
export function isComplete(deployment: Deployment, status: Status): boolean {
  const { replicas = 1 } = deployment.spec;
  return (
    (status.updatedReplicas ?? 0) === replicas &&
    (status.replicas ?? 0) === replicas &&
    (status.availableReplicas ?? 0) === replicas
  );
}

function progressingCondition(
  deployment: Deployment,
  status: Status,
  { newest, now, newestIs }: StatusInput,
): Condition | undefined {
  const held = deployment.status?.conditions?.find((c) => c.type === 'Progressing');
  const { progressDeadlineSeconds = 600, paused = false } = deployment.spec;
  if (paused) return say(held?.status ?? 'Unknown', 'DeploymentPaused', 'Deployment is paused');
  const subject =
    newest === undefined
      ? `Deployment "${deployment.metadata.name}"`
      : `ReplicaSet "${newest.metadata.name}"`;
  if (isComplete(deployment, status) && newest !== undefined) {
    return say('True', 'NewReplicaSetAvailable', `${subject} has successfully progressed.`);
  }
  if (newestIs !== undefined && newest !== undefined) {
    const name = `"${newest.metadata.name}"`;
    return newestIs === 'created'
      ? say('True', 'NewReplicaSetCreated', `Created new replica set ${name}`)
      : say('True', 'FoundNewReplicaSet', `Found new replica set ${name}`);
  }
  if (hasProgressed(deployment.status ?? {}, status)) {
    const updated = say('True', 'ReplicaSetUpdated', `${subject} is progressing.`);
    return { ...updated, lastUpdateTime: formatTime(now) };
  }
  if (held === undefined) return say('True', 'ReplicaSetUpdated', `${subject} is progressing.`);
  if (held.reason === 'DeploymentPaused') {
    return say('Unknown', 'DeploymentResumed', 'Deployment is resumed');
  }
  if (deadlineMs(held, progressDeadlineSeconds) <= now && !wasComplete(held)) {
    const message = `${subject} has timed out progressing.`;
    return say('False', 'ProgressDeadlineExceeded', message);
  }
  return say(held.status, held.reason ?? '', held.message ?? '');
}

function say(status: Condition['status'], reason: string, message: string): Condition {
  return { type: 'Progressing', status, reason, message };
}

function wasComplete(held: Condition): boolean {
  return held.reason === 'NewReplicaSetAvailable';
}

/** When the rollout counts as stuck, in milliseconds since the epoch. */
function deadlineMs(held: Condition, progressDeadlineSeconds: number): number {
  return (Date.parse(held.lastUpdateTime ?? '') || 0) + progressDeadlineSeconds * 1000;
}

/** How long until a rollout that stands still must be called stuck; undefined when it is not. */
export function stuckInMs(deployment: Deployment, status: Status, now: number): number | undefined {
  const held = status.conditions?.find((c) => c.type === 'Progressing');
  const { progressDeadlineSeconds = 600, paused = false } = deployment.spec;
  if (paused || held === undefined || wasComplete(held) || held.status === 'False')
    return undefined;
  return Math.max(1000, deadlineMs(held, progressDeadlineSeconds) - now);
}

function hasProgressed(before: Status, after: Status): boolean {
  const older = (s: Status) => (s.replicas ?? 0) - (s.updatedReplicas ?? 0);
  return (
    (after.updatedReplicas ?? 0) > (before.updatedReplicas ?? 0) ||
    older(after) < older(before) ||
    (after.readyReplicas ?? 0) > (before.readyReplicas ?? 0) ||
    (after.availableReplicas ?? 0) > (before.availableReplicas ?? 0)
  );
}
