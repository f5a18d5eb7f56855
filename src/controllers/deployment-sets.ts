/** The ReplicaSets of a Deployment as they should be: which is the newest, its name, revision and annotations. */
import { resources } from '../api/resources.ts';
import type { Deployment, ReplicaSet } from '../api/types.ts';
import { controllerReference } from './pod-control.ts';
import {
  desiredReplicasAnnotation,
  maxReplicasAnnotation,
  newSetReplicas,
  replicasOf,
  rolloutBounds,
  type Scaling,
} from './rollout-plan.ts';
import { sameTemplate, templateHash, templateHashLabel } from './template-hash.ts';

export const revisionAnnotation = 'deployment.kubernetes.io/revision';
const historyAnnotation = 'deployment.kubernetes.io/revision-history';
/** Annotations of the Deployment that say something about it alone. */
const ownAnnotations = new Set([
  'kubectl.kubernetes.io/last-applied-configuration',
  revisionAnnotation,
  historyAnnotation,
  desiredReplicasAnnotation,
  maxReplicasAnnotation,
  'deprecated.deployment.rollback.to',
]);

/** The set that makes the pods the Deployment asks for now; of several the oldest. */
export function newestOf(
  deployment: Deployment,
  sets: readonly ReplicaSet[],
): ReplicaSet | undefined {
  return sets
    .filter((set) => sameTemplate(set.spec.template, deployment.spec.template))
    .sort((a, b) => Number(a.metadata.resourceVersion) - Number(b.metadata.resourceVersion))
    .sort((a, b) => createdAt(a) - createdAt(b))[0];
}

function createdAt(set: ReplicaSet): number {
  return Date.parse(set.metadata.creationTimestamp ?? '') || 0;
}

/** Whether only the number of pods was changed since the sets were last scaled. */
export function wasScaled(deployment: Deployment, sets: readonly ReplicaSet[]): boolean {
  const { replicas = 1 } = deployment.spec;
  return sets.some((set) => {
    const desired = set.metadata.annotations?.[desiredReplicasAnnotation];
    return replicasOf(set) > 0 && desired !== undefined && Number(desired) !== replicas;
  });
}

/**
 * Sets that keep their number of pods and still say another size of the whole. As long as one does,
 * the Deployment counts as scaled, and its rollout stands still.
 */
export function staleSizes(
  deployment: Deployment,
  sets: readonly ReplicaSet[],
  scalings: readonly Scaling[],
): Scaling[] {
  const size = Object.entries(sizeAnnotations(deployment));
  return sets
    .filter((set) => replicasOf(set) > 0 && !scalings.some((scaling) => scaling.set === set))
    .filter((set) => size.some(([key, value]) => set.metadata.annotations?.[key] !== value))
    .map((set) => ({ set, replicas: replicasOf(set) }));
}

/** Scales down whatever has pods. */
export function downToZero(sets: readonly ReplicaSet[]): Scaling[] {
  return sets.filter((set) => replicasOf(set) > 0).map((set) => ({ set, replicas: 0 }));
}

/** 0 for a set that was never rolled out. */
export function revisionOf(set: ReplicaSet): number {
  return Number(set.metadata.annotations?.[revisionAnnotation] ?? 0) || 0;
}

/** One above all others, unless the set has that already. */
export function nextRevision(set: ReplicaSet | undefined, old: readonly ReplicaSet[]): number {
  const highest = Math.max(0, ...old.map(revisionOf));
  const own = set === undefined ? 0 : revisionOf(set);
  return own > highest ? own : highest + 1;
}

/** What each set says of the size of the whole, for when it changes in mid-rollout. */
export function sizeAnnotations(deployment: Deployment): Record<string, string> {
  const { replicas = 1 } = deployment.spec;
  const surge = deployment.spec.strategy?.type === 'Recreate' ? 0 : rolloutBounds(deployment).surge;
  return {
    [desiredReplicasAnnotation]: String(replicas),
    [maxReplicasAnnotation]: String(replicas + surge),
  };
}

/** A set's annotations: the Deployment's, its size, and the revisions it was. */
export function setAnnotations(
  deployment: Deployment,
  set: ReplicaSet | undefined,
  revision: number,
): Record<string, string> {
  const inherited = Object.entries(deployment.metadata.annotations ?? {});
  const before = set?.metadata.annotations?.[revisionAnnotation];
  const history = set?.metadata.annotations?.[historyAnnotation];
  const past =
    before === undefined || before === String(revision)
      ? {}
      : { [historyAnnotation]: history === undefined ? before : `${history},${before}` };
  return {
    ...Object.fromEntries(inherited.filter(([key]) => !ownAnnotations.has(key))),
    ...sizeAnnotations(deployment),
    ...past,
    [revisionAnnotation]: String(revision),
  };
}

/** The ReplicaSet for the Deployment's current template. */
export function wantSet(deployment: Deployment, old: readonly ReplicaSet[]): ReplicaSet {
  const { name, namespace } = deployment.metadata;
  const { template, selector, minReadySeconds } = deployment.spec;
  const hash = templateHash(template, deployment.status?.collisionCount);
  const labels = { ...template.metadata?.labels, [templateHashLabel]: hash };
  return {
    apiVersion: 'apps/v1',
    kind: 'ReplicaSet',
    metadata: {
      name: `${name}-${hash}`,
      ...(namespace === undefined ? {} : { namespace }),
      labels,
      annotations: setAnnotations(deployment, undefined, nextRevision(undefined, old)),
      ownerReferences: [controllerReference(resources.deployments, deployment)],
    },
    spec: {
      replicas: newSetReplicas(deployment, old, 0),
      ...(minReadySeconds === undefined ? {} : { minReadySeconds }),
      selector: {
        ...selector,
        matchLabels: { ...selector.matchLabels, [templateHashLabel]: hash },
      },
      template: { ...template, metadata: { ...template.metadata, labels } },
    },
  };
}
