/** Rolls a Deployment from one ReplicaSet to the next (K36). */
import { keyOf, keyText } from '../api/meta.ts';
import { resources } from '../api/resources.ts';
import { selects } from '../api/selectors.ts';
import { isReason } from '../api/status.ts';
import type { Deployment, ReplicaSet } from '../api/types.ts';
import type { Again, Reconciler } from '../client/reconciler.ts';
import { create, createReconciler, mergePatch, remove, update, type Context } from './context.ts';
import {
  downToZero,
  newestOf,
  nextRevision,
  revisionAnnotation,
  revisionOf,
  setAnnotations,
  sizeAnnotations,
  staleSizes,
  wantSet,
  wasScaled,
} from './deployment-sets.ts';
import { deploymentStatus, stuckInMs } from './deployment-status.ts';
import { claim, controllerUid, sameStatus, type Owner } from './pod-control.ts';
import { isFinished, podInformer } from './pods.ts';
import { replicaSetInformer } from './replicasets.ts';
import { proportionalScaling, replicasOf, rollingStep, type Scaling } from './rollout-plan.ts';
import { sameTemplate } from './template-hash.ts';

/** Starts the controller; runs are keyed by Deployment. */
export function deploymentController(context: Context): Reconciler {
  const { informers, clock } = context;
  const deployments = informers.of<Deployment>(resources.deployments);
  deployments.addIndex('uid', (deployment) => [deployment.metadata.uid ?? '']);
  const sets = replicaSetInformer(informers.of<ReplicaSet>(resources.replicasets));
  const pods = podInformer(informers);
  const recorder = context.recorder('deployment-controller');

  const reconciler = createReconciler(context, 'deployments', async (key) => {
    const deployment = deployments.get(key);
    if (deployment === undefined) return;
    const all = await ownSets(deployment);
    if (deployment.metadata.deletionTimestamp !== undefined) {
      return await writeStatus(deployment, { newest: newestOf(deployment, all), all });
    }
    return await sync(deployment, all);
  });

  async function ownSets(deployment: Deployment): Promise<ReplicaSet[]> {
    return await claim(context, ownerOf(deployment), {
      resource: resources.replicasets,
      candidates: sets.list(deployment.metadata.namespace ?? ''),
      matches: (set) => selects(deployment.spec.selector, set.metadata.labels),
    });
  }

  async function sync(deployment: Deployment, all: ReplicaSet[]): Promise<Again | void> {
    let newest = newestOf(deployment, all);
    if (deployment.spec.paused === true || wasScaled(deployment, all)) {
      const old = all.filter((set) => set !== newest);
      const scalings = proportionalScaling(deployment, newest, old);
      await scaleAll(deployment, [...scalings, ...staleSizes(deployment, all, scalings)]);
      return await writeStatus(deployment, { newest, all });
    }
    const old = all.filter((set) => set !== newest);
    let newestIs: 'created' | 'found' | undefined;
    if (newest === undefined) {
      if (mustWaitForOldPods(deployment, old)) {
        await scaleAll(deployment, downToZero(old));
        return await writeStatus(deployment, { newest, all });
      }
      newest = await createSet(deployment, old);
      if (newest === undefined) return;
      newestIs = 'created';
    } else {
      newestIs = saysOtherSet(deployment, newest) ? 'found' : undefined;
      newest = await alignSet(deployment, newest, old);
    }
    await keepRevision(deployment, newest);
    await scaleAll(deployment, stepOf(deployment, newest, old));
    await forgetHistory(deployment, old);
    return await writeStatus(deployment, { newest, all: [newest, ...old], newestIs });
  }

  function mustWaitForOldPods(deployment: Deployment, old: ReplicaSet[]): boolean {
    if (deployment.spec.strategy?.type !== 'Recreate') return false;
    return old.some(
      (set) =>
        replicasOf(set) > 0 ||
        pods.byIndex('owner', set.metadata.uid ?? '').some((pod) => !isFinished(pod)),
    );
  }

  function stepOf(deployment: Deployment, newest: ReplicaSet, old: ReplicaSet[]): Scaling[] {
    if (deployment.spec.strategy?.type !== 'Recreate') return rollingStep(deployment, newest, old);
    const down = downToZero(old);
    if (down.length > 0 || mustWaitForOldPods(deployment, old)) return down;
    const replicas = deployment.spec.replicas ?? 1;
    return replicasOf(newest) === replicas ? [] : [{ set: newest, replicas }];
  }

  async function createSet(
    deployment: Deployment,
    old: ReplicaSet[],
  ): Promise<ReplicaSet | undefined> {
    const want = wantSet(deployment, old);
    try {
      const made = await create(context, resources.replicasets, want);
      sayScaled(deployment, made, { from: 0, to: replicasOf(made) });
      return made;
    } catch (error) {
      if (!isReason(error, 'AlreadyExists')) throw error;
      await countCollision(deployment, want, error);
      return undefined;
    }
  }

  /** Another object has the name: the next hash gives another. Our own, not yet seen, is no such case. */
  async function countCollision(
    deployment: Deployment,
    want: ReplicaSet,
    cause: unknown,
  ): Promise<void> {
    const key = keyOf(want);
    const found = await context.client.get<ReplicaSet>(resources.replicasets, key);
    if (controllerUid(found) === deployment.metadata.uid) {
      if (sameTemplate(found.spec.template, deployment.spec.template)) throw cause;
    }
    const collisionCount = (deployment.status?.collisionCount ?? 0) + 1;
    const status = { ...deployment.status, collisionCount };
    await update(
      context,
      resources.deployments,
      { ...deployment, status },
      { subresource: 'status' },
    );
  }

  /**
   * A set that was rolled back to gets the next revision; all get the Deployment's annotations and
   * minReadySeconds, which are no reason for a new set.
   */
  async function alignSet(
    deployment: Deployment,
    set: ReplicaSet,
    old: ReplicaSet[],
  ): Promise<ReplicaSet> {
    const wanted = setAnnotations(deployment, set, nextRevision(set, old));
    const held = set.metadata.annotations ?? {};
    const { minReadySeconds = 0 } = deployment.spec;
    const isSame = Object.entries(wanted).every(([key, value]) => held[key] === value);
    const isAsPatient = (set.spec.minReadySeconds ?? 0) === minReadySeconds;
    if (isSame && isAsPatient) return set;
    return await mergePatch(context, resources.replicasets, set, {
      metadata: { annotations: wanted },
      ...(isAsPatient ? {} : { spec: { minReadySeconds } }),
    });
  }

  async function keepRevision(deployment: Deployment, newest: ReplicaSet): Promise<void> {
    const revision = newest.metadata.annotations?.[revisionAnnotation];
    if (revision === undefined) return;
    if (deployment.metadata.annotations?.[revisionAnnotation] === revision) return;
    await mergePatch(context, resources.deployments, deployment, {
      metadata: { annotations: { [revisionAnnotation]: revision } },
    });
  }

  async function scaleAll(deployment: Deployment, scalings: readonly Scaling[]): Promise<void> {
    await Promise.all(
      scalings.map(async ({ set, replicas }) => {
        const made = await mergePatch(context, resources.replicasets, set, {
          metadata: {
            resourceVersion: set.metadata.resourceVersion,
            annotations: sizeAnnotations(deployment),
          },
          spec: { replicas },
        });
        sayScaled(deployment, made, { from: replicasOf(set), to: replicas });
      }),
    );
  }

  function sayScaled(
    deployment: Deployment,
    set: ReplicaSet,
    { from, to }: { from: number; to: number },
  ): void {
    if (from === to) return;
    const way = to > from ? 'up' : 'down';
    const message = `Scaled ${way} replica set ${set.metadata.name} from ${from} to ${to}`;
    const reason = 'ScalingReplicaSet';
    recorder.record(resources.deployments, deployment, { type: 'Normal', reason, message });
  }

  async function forgetHistory(deployment: Deployment, old: ReplicaSet[]): Promise<void> {
    const { revisionHistoryLimit = 10 } = deployment.spec;
    const idle = old
      .filter((set) => replicasOf(set) === 0 && (set.status?.replicas ?? 0) === 0)
      .filter((set) => set.metadata.deletionTimestamp === undefined)
      .filter((set) => (set.metadata.generation ?? 0) <= (set.status?.observedGeneration ?? 0))
      .sort((a, b) => revisionOf(a) - revisionOf(b));
    const surplus = idle.slice(0, Math.max(0, idle.length - revisionHistoryLimit));
    await Promise.all(surplus.map((set) => remove(context, resources.replicasets, set)));
  }

  async function writeStatus(
    deployment: Deployment,
    seen: {
      newest: ReplicaSet | undefined;
      all: readonly ReplicaSet[];
      newestIs?: 'created' | 'found' | undefined;
    },
  ): Promise<Again | void> {
    const current = deployments.get(keyText(keyOf(deployment)));
    if (current === undefined || current.metadata.uid !== deployment.metadata.uid) return;
    const now = clock.now();
    const fresh = (set: ReplicaSet) => sets.get(keyText(keyOf(set))) ?? set;
    const newest = seen.newest === undefined ? undefined : fresh(seen.newest);
    const old = seen.all.filter((set) => set.metadata.uid !== newest?.metadata.uid).map(fresh);
    const { newestIs } = seen;
    const said = newestIs === undefined ? {} : { newestIs };
    const computed = deploymentStatus(current, { newest, old, now, ...said });
    // What was observed is the spec this run worked on, not one that came meanwhile.
    const observedGeneration = deployment.metadata.generation ?? 0;
    const status = { ...computed, observedGeneration };
    if (!sameStatus(status, current.status)) {
      await update(
        context,
        resources.deployments,
        { ...current, status },
        { subresource: 'status' },
      );
    }
    const afterMs = stuckInMs(deployment, status, now);
    return afterMs === undefined ? undefined : { afterMs };
  }

  deployments.onChange((old, current) => {
    const deployment = current ?? old;
    if (deployment !== undefined) reconciler.add(keyText(keyOf(deployment)));
  });
  sets.onChange((old, current) => {
    for (const set of [old, current]) {
      if (set === undefined) continue;
      for (const key of deploymentKeysFor(set)) reconciler.add(key);
    }
  });
  pods.onChange((old, current) => {
    // Only Recreate waits for pods themselves; sets tell the rest.
    if (current !== undefined && !isFinished(current)) return;
    const set = old === undefined ? undefined : sets.byIndex('uid', controllerUid(old) ?? '')[0];
    if (set !== undefined) for (const key of deploymentKeysFor(set)) reconciler.add(key);
  });

  function deploymentKeysFor(set: ReplicaSet): string[] {
    const uid = controllerUid(set);
    const owners =
      uid === undefined
        ? deployments
            .list(set.metadata.namespace ?? '')
            .filter((deployment) => selects(deployment.spec.selector, set.metadata.labels))
        : deployments.byIndex('uid', uid);
    return owners.map((deployment) => keyText(keyOf(deployment)));
  }
  return reconciler;
}

function ownerOf(deployment: Deployment): Owner {
  return { resource: resources.deployments, object: deployment };
}

/** Whether the status still speaks of the set that was newest before. */
function saysOtherSet(deployment: Deployment, newest: ReplicaSet): boolean {
  const held = deployment.status?.conditions?.find((c) => c.type === 'Progressing');
  return held?.message !== undefined && !held.message.includes(`"${newest.metadata.name}"`);
}
