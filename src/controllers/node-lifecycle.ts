/** Notices lost nodes by their Leases, and keeps the taints that tell of a node's state (K22). */
import { isDeepStrictEqual } from 'node:util';
import type { Condition } from '../api/meta.ts';
import { resources } from '../api/resources.ts';
import type { Lease, Node, Pod, Taint } from '../api/types.ts';
import { isReason } from '../api/status.ts';
import type { Again, Reconciler } from '../client/reconciler.ts';
import { formatTime } from '../lib/clock.ts';
import { createReconciler, mergePatch, update, type Context } from './context.ts';
import { isReady, podInformer } from './pods.ts';

const leaseNamespace = 'kube-node-lease';
export const unreachableTaint = 'node.kubernetes.io/unreachable';
export const notReadyTaint = 'node.kubernetes.io/not-ready';
const unknownReason = 'NodeStatusUnknown';
const unknownMessage = 'Kubelet stopped posting node status.';
/** Conditions that go unknown with the agent that reported them. */
const reported = ['Ready', 'MemoryPressure', 'DiskPressure', 'PIDPressure'];
const pressureTaints: Record<string, string> = {
  MemoryPressure: 'node.kubernetes.io/memory-pressure',
  DiskPressure: 'node.kubernetes.io/disk-pressure',
  PIDPressure: 'node.kubernetes.io/pid-pressure',
  NetworkUnavailable: 'node.kubernetes.io/network-unavailable',
};
const ownTaints = new Set([
  unreachableTaint,
  notReadyTaint,
  'node.kubernetes.io/unschedulable',
  ...Object.values(pressureTaints),
]);

/** Starts the controller; runs are keyed by node. */
export function nodeLifecycleController(context: Context): Reconciler {
  const { informers, clock, options } = context;
  const nodes = informers.of<Node>(resources.nodes);
  const leases = informers.of<Lease>(resources.leases);
  const pods = podInformer(informers);
  const recorder = context.recorder('node-controller');
  /** When each node was last heard of, by our clock: the node's may differ. */
  const heard = new Map<string, number>();

  const reconciler = createReconciler(
    context,
    'node-lifecycle',
    async (name): Promise<Again | void> => {
      let node = nodes.get(name);
      if (node === undefined) {
        heard.delete(name);
        return;
      }
      const quietMs = clock.monotonicMs() - (heard.get(name) ?? hear(name));
      const leftMs = options.nodeGraceMs - quietMs;
      if (leftMs <= 0 && readyOf(node)?.status !== 'Unknown') node = await markLost(node);
      await keepTaints(node);
      if (readyOf(node)?.status !== 'True') await markPods(node);
      if (leftMs > 0) return { afterMs: leftMs };
    },
  );

  function hear(name: string): number {
    const now = clock.monotonicMs();
    heard.set(name, now);
    return now;
  }

  async function markLost(node: Node): Promise<Node> {
    const status = { ...node.status, conditions: lostConditions(node, clock.now()) };
    const made = await update(
      context,
      resources.nodes,
      { ...node, status },
      { subresource: 'status' },
    );
    const message = `Node ${node.metadata.name} status is now: NodeNotReady`;
    recorder.record(resources.nodes, node, { type: 'Normal', reason: 'NodeNotReady', message });
    return made;
  }

  async function keepTaints(node: Node): Promise<void> {
    const taints = wantTaints(node, clock.now());
    if (isDeepStrictEqual(taints, node.spec?.taints ?? [])) return;
    await mergePatch(context, resources.nodes, node, {
      metadata: { resourceVersion: node.metadata.resourceVersion },
      spec: { taints: taints.length === 0 ? null : taints },
    });
  }

  /** A node without word has no ready pods: its endpoints leave the Services. */
  async function markPods(node: Node): Promise<void> {
    const ready = pods.byIndex('node', node.metadata.name).filter(isReady);
    await Promise.all(ready.map((pod) => markPod(pod)));
  }

  async function markPod(pod: Pod): Promise<void> {
    const lastTransitionTime = formatTime(clock.now());
    const conditions = (pod.status?.conditions ?? []).map((condition): Condition => {
      if (condition.type !== 'Ready') return condition;
      return { ...condition, status: 'False', reason: 'NodeNotReady', lastTransitionTime };
    });
    try {
      const next = { ...pod, status: { ...pod.status, conditions } };
      await update(context, resources.pods, next, { subresource: 'status' });
    } catch (error) {
      if (isReason(error, 'NotFound')) return;
      throw error;
    }
    const message = 'Node is not ready';
    recorder.record(resources.pods, pod, { type: 'Warning', reason: 'NodeNotReady', message });
  }

  nodes.onChange((old, current) => {
    const name = (current ?? old)!.metadata.name;
    if (current !== undefined && tellsOfLife(old, current)) hear(name);
    reconciler.add(name);
  });
  leases.onChange((old, current) => {
    if (current?.metadata.namespace !== leaseNamespace) return;
    if (old?.spec?.renewTime === current.spec?.renewTime) return;
    const { name } = current.metadata;
    hear(name);
    const node = nodes.get(name);
    // In quiet times a renewed Lease only moves the deadline, which the running timer looks up.
    if (node !== undefined && readyOf(node)?.status !== 'True') reconciler.add(name);
  });
  pods.onChange((old, current) => {
    // A pod of a lost node that calls itself ready again.
    const name = current?.spec.nodeName ?? '';
    if (name === '' || current === undefined || !isReady(current)) return;
    if (old !== undefined && isReady(old)) return;
    const node = nodes.get(name);
    if (node !== undefined && readyOf(node)?.status === 'Unknown') reconciler.add(name);
  });
  return reconciler;
}

/** A new node, or a word about readiness that is not our own. */
function tellsOfLife(old: Node | undefined, current: Node): boolean {
  if (old === undefined) return true;
  const ready = readyOf(current);
  return ready?.status !== 'Unknown' && !isDeepStrictEqual(readyOf(old), ready);
}

function readyOf(node: Node): Condition | undefined {
  return node.status?.conditions?.find((condition) => condition.type === 'Ready');
}

/** The conditions of a node whose agent went silent. */
export function lostConditions(node: Node, now: number): Condition[] {
  const held = node.status?.conditions ?? [];
  const others = held.filter((condition) => !reported.includes(condition.type));
  const lost = reported.map((type): Condition => {
    const old = held.find((condition) => condition.type === type);
    if (old?.status === 'Unknown') return old;
    return {
      ...(old?.lastHeartbeatTime === undefined ? {} : { lastHeartbeatTime: old.lastHeartbeatTime }),
      type,
      status: 'Unknown',
      reason: old === undefined ? 'NodeStatusNeverUpdated' : unknownReason,
      message: old === undefined ? 'Kubelet never posted node status.' : unknownMessage,
      lastTransitionTime: formatTime(now),
    };
  });
  return [...others, ...lost];
}

/** The taints a node must have: others' as they are, ours from its state. */
export function wantTaints(node: Node, now: number): Taint[] {
  const held = node.spec?.taints ?? [];
  const wanted: Taint[] = [];
  const want = (key: string, effect: Taint['effect']) => {
    const old = held.find((taint) => taint.key === key && taint.effect === effect);
    wanted.push(old ?? { key, effect, timeAdded: formatTime(now) });
  };
  const ready = readyOf(node)?.status;
  const key = ready === 'Unknown' ? unreachableTaint : notReadyTaint;
  if (ready === 'Unknown' || ready === 'False') {
    want(key, 'NoSchedule');
    want(key, 'NoExecute');
  }
  for (const { type, status } of node.status?.conditions ?? []) {
    const taint = pressureTaints[type];
    if (taint !== undefined && status === 'True') want(taint, 'NoSchedule');
  }
  if (node.spec?.unschedulable === true) want('node.kubernetes.io/unschedulable', 'NoSchedule');
  const kept = held.filter((taint) => !ownTaints.has(taint.key) || wanted.includes(taint));
  return [...kept, ...wanted.filter((taint) => !kept.includes(taint))];
}
