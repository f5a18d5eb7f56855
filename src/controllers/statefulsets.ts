/** Keeps pods with lasting names for a StatefulSet (K36). */
import { keyOf, keyText } from '../api/meta.ts';
import { resources } from '../api/resources.ts';
import { selects } from '../api/selectors.ts';
import { isReason } from '../api/status.ts';
import type { ControllerRevision, Pod, StatefulSet } from '../api/types.ts';
import type { Again, Reconciler } from '../client/reconciler.ts';
import { createReconciler, mergePatch, Removals, update, type Context } from './context.ts';
import {
  claim,
  controllerUid,
  createPodControl,
  podFromTemplate,
  sameStatus,
  type Owner,
} from './pod-control.ts';
import { availableInMs, podInformer } from './pods.ts';
import { forgetRevisions, keepRevision, revisionLabel, templateOf } from './revisions.ts';
import {
  ordinalOf,
  planStatefulSet,
  podIndexLabel,
  podNameLabel,
  revisionOf,
  statefulSetStatus,
  type StatefulInput,
} from './statefulset-plan.ts';

/** Starts the controller; runs are keyed by StatefulSet. */
export function statefulSetController(context: Context): Reconciler {
  const { informers, clock } = context;
  const sets = informers.of<StatefulSet>(resources.statefulsets);
  sets.addIndex('uid', (set) => [set.metadata.uid ?? '']);
  const revisions = informers.of<ControllerRevision>(resources.controllerrevisions);
  revisions.addIndex('owner', (revision) => [controllerUid(revision) ?? '']);
  const pods = podInformer(informers);
  const removals = new Removals().follow(pods);
  const recorder = context.recorder('statefulset-controller');
  const control = createPodControl(context, recorder, removals);

  const reconciler = createReconciler(context, 'statefulsets', async (key) => {
    const set = sets.get(key);
    if (set === undefined || set.metadata.deletionTimestamp !== undefined) return;
    const history = revisions.byIndex('owner', set.metadata.uid ?? '');
    const updated = await keepRevision(context, set, history);
    const owned = await ownPods(set);
    const currentRevision = currentRevisionOf(set, history) ?? updated.metadata.name;
    const updateRevision = updated.metadata.name;
    const input = () => ({
      pods: livingOf(set),
      currentRevision,
      updateRevision,
      now: clock.now(),
    });
    if (!owned.some((pod) => removals.has(pod))) {
      await takeSteps(set, [updated, ...history], input());
    }
    return await finish(set, input());
  });

  async function ownPods(set: StatefulSet): Promise<Pod[]> {
    return await claim(
      context,
      { resource: resources.statefulsets, object: set },
      {
        resource: resources.pods,
        candidates: pods.list(set.metadata.namespace ?? ''),
        matches: (pod) =>
          ordinalOf(set, pod) !== undefined && selects(set.spec.selector, pod.metadata.labels),
      },
    );
  }

  function livingOf(set: StatefulSet): Pod[] {
    return pods.byIndex('owner', set.metadata.uid ?? '');
  }

  async function takeSteps(
    set: StatefulSet,
    history: readonly ControllerRevision[],
    input: StatefulInput,
  ): Promise<void> {
    const owner: Owner = { resource: resources.statefulsets, object: set };
    const steps = planStatefulSet(set, input);
    await Promise.all([
      ...steps.remove.map((pod) => control.remove(owner, pod)),
      ...steps.create.map(async ({ ordinal, revision }) => {
        const from = history.find((candidate) => candidate.metadata.name === revision);
        await makePod(owner, podOf(set, { ordinal, revision: from ?? history[0]! }));
      }),
      ...input.pods.map((pod) => keepIdentity(set, pod)),
    ]);
  }

  /** The name is taken while the former pod of this number still goes; its end calls us again. */
  async function makePod(owner: Owner, pod: Pod): Promise<void> {
    try {
      await control.create(owner, pod);
    } catch (error) {
      const held = pods.get(keyOf(pod));
      const isFormer = isReason(error, 'AlreadyExists') && held?.metadata.deletionTimestamp;
      if (isFormer === undefined || isFormer === false) throw error;
    }
  }

  async function keepIdentity(set: StatefulSet, pod: Pod): Promise<void> {
    if (pod.metadata.deletionTimestamp !== undefined) return;
    const labels = identityLabels(pod.metadata.name, ordinalOf(set, pod) ?? 0);
    const held = pod.metadata.labels ?? {};
    if (Object.entries(labels).every(([key, value]) => held[key] === value)) return;
    await mergePatch(context, resources.pods, pod, { metadata: { labels } });
  }

  async function finish(set: StatefulSet, input: StatefulInput): Promise<Again | void> {
    const current = sets.get(keyText(keyOf(set)));
    if (current === undefined || current.metadata.uid !== set.metadata.uid) return;
    const observedGeneration = set.metadata.generation ?? 0;
    const status = { ...statefulSetStatus(current, input), observedGeneration };
    if (!sameStatus(status, current.status)) {
      const next = { ...current, status };
      await update(context, resources.statefulsets, next, { subresource: 'status' });
    }
    const live = new Set([
      status.currentRevision,
      status.updateRevision,
      ...input.pods.map(revisionOf),
    ]);
    const history = revisions.byIndex('owner', set.metadata.uid ?? '');
    await forgetRevisions(context, set, { revisions: history, live: live as Set<string> });
    const waits = input.pods
      .map((pod) => availableInMs(pod, set.spec.minReadySeconds ?? 0, input.now) ?? 0)
      .filter((wait) => wait > 0);
    return waits.length === 0 ? undefined : { afterMs: Math.min(...waits) };
  }

  sets.onChange((old, current) => reconciler.add(keyText(keyOf((current ?? old)!))));
  pods.onChange((old, current) => {
    for (const pod of [old, current]) {
      if (pod !== undefined) for (const key of keysFor(pod)) reconciler.add(key);
    }
  });
  revisions.onChange((old, current) => {
    const uid = controllerUid((current ?? old)!) ?? '';
    for (const set of sets.byIndex('uid', uid)) reconciler.add(keyText(keyOf(set)));
  });

  function keysFor(pod: Pod): string[] {
    const uid = controllerUid(pod);
    const found =
      uid === undefined
        ? sets
            .list(pod.metadata.namespace ?? '')
            .filter((set) => selects(set.spec.selector, pod.metadata.labels))
        : sets.byIndex('uid', uid);
    return found.map((set) => keyText(keyOf(set)));
  }
  return reconciler;
}

function currentRevisionOf(
  set: StatefulSet,
  history: readonly ControllerRevision[],
): string | undefined {
  const name = set.status?.currentRevision;
  return history.some((revision) => revision.metadata.name === name) ? name : undefined;
}

function identityLabels(podName: string, ordinal: number): Record<string, string> {
  return { [podNameLabel]: podName, [podIndexLabel]: String(ordinal) };
}

/** The pod of the given number: its name is its hostname, below the set's Service. */
export function podOf(
  set: StatefulSet,
  { ordinal, revision }: { ordinal: number; revision: ControllerRevision },
): Pod {
  const name = `${set.metadata.name}-${ordinal}`;
  const owner: Owner = { resource: resources.statefulsets, object: set };
  const pod = podFromTemplate(templateOf(revision), owner, { name });
  const { serviceName = '', volumeClaimTemplates = [] } = set.spec;
  const claims = (volumeClaimTemplates as { metadata: { name: string } }[]).map((template) => ({
    name: template.metadata.name,
    persistentVolumeClaim: { claimName: `${template.metadata.name}-${name}` },
  }));
  const claimed = new Set(claims.map((volume) => volume.name));
  const others = (pod.spec.volumes ?? []).filter((volume) => !claimed.has(volume.name));
  return {
    ...pod,
    metadata: {
      ...pod.metadata,
      labels: {
        ...pod.metadata.labels,
        ...identityLabels(name, ordinal),
        [revisionLabel]: revision.metadata.name,
      },
    },
    spec: {
      ...pod.spec,
      hostname: name,
      ...(serviceName === '' ? {} : { subdomain: serviceName }),
      ...(claims.length === 0 ? {} : { volumes: [...others, ...claims] }),
    },
  };
}
