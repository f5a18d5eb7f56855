/** Gives every waiting pod a node, at once when it appears (K26, K27). */
import { keyOf, keyText } from '../../api/meta.ts';
import { resources } from '../../api/resources.ts';
import type { Namespace, Node, Pod } from '../../api/types.ts';
import type { Reconciler } from '../../client/reconciler.ts';
import { formatTime } from '../../lib/clock.ts';
import { isDeepStrictEqual } from 'node:util';
import { createReconciler, update, type Context } from '../context.ts';
import { isFinished, isTerminating, podInformer } from '../pods.ts';
import { placePod, type Surroundings } from './placement.ts';

const schedulerName = 'default-scheduler';

/** Starts the scheduler; runs are keyed by pod. */
export function schedulerController(
  context: Context,
  random: () => number = Math.random,
): Reconciler {
  const { informers, clock } = context;
  const pods = podInformer(informers);
  const nodes = informers.of<Node>(resources.nodes);
  const namespaces = informers.of<Namespace>(resources.namespaces);
  const recorder = context.recorder(schedulerName);
  /** Decided, but not yet seen in the cache: uid of the pod and its node. */
  const decided = new Map<string, { pod: Pod; nodeName: string }>();
  /** Keys of pods that fitted nowhere. */
  const stranded = new Set<string>();

  const reconciler = createReconciler(context, 'scheduler', async (key) => {
    const pod = pods.get(key);
    stranded.delete(key);
    if (pod === undefined || !isWaiting(pod) || decided.has(pod.metadata.uid ?? '')) return;
    const gates = gatesOf(pod);
    if (gates.length > 0) return await sayWaiting(pod, 'SchedulingGated', gatedText(gates));
    const placement = placePod(pod, surroundings(), random);
    if (placement.kind === 'fits') return await bind(pod, placement.nodeName);
    stranded.add(key);
    const { message } = placement;
    recorder.record(resources.pods, pod, { type: 'Warning', reason: 'FailedScheduling', message });
    await sayWaiting(pod, 'Unschedulable', message);
  });

  /** The same for every pod until something on the nodes changes. */
  let known: Surroundings | undefined;

  function surroundings(): Surroundings {
    known ??= lookAround();
    return known;
  }

  function lookAround(): Surroundings {
    const coming = Map.groupBy(decided.values(), ({ nodeName }) => nodeName);
    const seats = nodes.list().map((node) => {
      const { name } = node.metadata;
      const here = pods.byIndex('node', name).filter((pod) => !isFinished(pod));
      const soon = (coming.get(name) ?? []).map(({ pod }) => pod);
      return { node, pods: [...here, ...soon] };
    });
    return { seats, namespaceLabels: (name) => namespaces.get(name)?.metadata.labels };
  }

  function decide(uid: string, decision: { pod: Pod; nodeName: string } | undefined): void {
    known = undefined;
    if (decision === undefined) decided.delete(uid);
    else decided.set(uid, decision);
  }

  async function bind(pod: Pod, nodeName: string): Promise<void> {
    const { name, namespace, uid = '' } = pod.metadata;
    const key = keyOf(pod);
    decide(uid, { pod, nodeName });
    const target = { apiVersion: 'v1', kind: 'Node', name: nodeName };
    const metadata = { name, namespace, uid };
    const binding = { apiVersion: 'v1', kind: 'Binding', metadata, target };
    try {
      await context.client.post(resources.pods, key, 'binding', binding);
    } catch (error) {
      decide(uid, undefined);
      throw error;
    }
    if (pods.get(key)?.spec.nodeName !== undefined || pods.get(key) === undefined) {
      decide(uid, undefined);
    }
    const message = `Successfully assigned ${keyText(key)} to ${nodeName}`;
    recorder.record(resources.pods, pod, { type: 'Normal', reason: 'Scheduled', message });
  }

  /** The condition that `kubectl describe` shows; written once per text. */
  async function sayWaiting(pod: Pod, reason: string, message: string): Promise<void> {
    const held = pod.status?.conditions ?? [];
    const old = held.find((condition) => condition.type === 'PodScheduled');
    if (old?.status === 'False' && old.reason === reason && old.message === message) return;
    const stays = old?.status === 'False';
    const lastTransitionTime = stays ? old.lastTransitionTime : undefined;
    const condition = {
      type: 'PodScheduled',
      status: 'False' as const,
      reason,
      message,
      lastTransitionTime: lastTransitionTime ?? formatTime(clock.now()),
    };
    const conditions = [...held.filter((other) => other !== old), condition];
    const status = { ...pod.status, phase: pod.status?.phase ?? 'Pending', conditions };
    await update(context, resources.pods, { ...pod, status }, { subresource: 'status' });
  }

  function tryStrandedAgain(): void {
    for (const key of stranded) reconciler.add(key);
  }

  pods.onChange((old, current) => {
    const uid = (current ?? old)?.metadata.uid ?? '';
    // Pods that still wait fill no node.
    if (current === undefined || current.spec.nodeName !== undefined) decide(uid, undefined);
    if (current !== undefined && isWaiting(current)) {
      // Its own condition, just written, is no reason to try again.
      if (old === undefined || !isDeepStrictEqual(old.spec, current.spec)) {
        reconciler.add(keyText(keyOf(current)));
      }
      return;
    }
    // Room was made, or a neighbour came that others wait for.
    const left = current === undefined || isFinished(current);
    const came = old?.spec.nodeName === undefined && current?.spec.nodeName !== undefined;
    if (left || came) tryStrandedAgain();
  });
  nodes.onChange((old, current) => {
    known = undefined;
    if (current !== undefined && (old === undefined || !alikeForPods(old, current))) {
      tryStrandedAgain();
    }
  });
  namespaces.onChange((old, current) => {
    if (!isDeepStrictEqual(old?.metadata.labels, current?.metadata.labels)) tryStrandedAgain();
  });
  return reconciler;
}

function isWaiting(pod: Pod): boolean {
  const { nodeName = '', schedulerName: by = schedulerName } = pod.spec;
  return nodeName === '' && by === schedulerName && !isTerminating(pod) && !isFinished(pod);
}

function gatesOf(pod: Pod): { name: string }[] {
  const spec = pod.spec as { schedulingGates?: { name: string }[] };
  return spec.schedulingGates ?? [];
}

function gatedText(gates: { name: string }[]): string {
  const names = gates.map(({ name }) => name).join(', ');
  return `Scheduling is blocked due to non-empty scheduling gates: ${names}`;
}

/** Heartbeats change nothing for a pod that waits. */
function alikeForPods(a: Node, b: Node): boolean {
  const view = (node: Node) => [
    node.metadata.labels,
    node.spec?.taints ?? [],
    node.spec?.unschedulable ?? false,
    node.status?.allocatable,
  ];
  return isDeepStrictEqual(view(a), view(b));
}
