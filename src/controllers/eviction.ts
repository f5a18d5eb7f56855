/**
 * Removes pods from where they cannot stay: off nodes whose taints they do not tolerate (any more),
 * and for good from nodes that are lost or deleted (K22, K37).
 */
import { keyOf, keyText } from '../api/meta.ts';
import { resources } from '../api/resources.ts';
import { isReason } from '../api/status.ts';
import type { Node, Pod, Taint } from '../api/types.ts';
import type { Again, Reconciler } from '../client/reconciler.ts';
import { createReconciler, Removals, type Context } from './context.ts';
import { notReadyTaint, unreachableTaint } from './node-lifecycle.ts';
import { isFinished, isTerminating, podInformer } from './pods.ts';
import { tolerates } from './scheduler/affinity.ts';

/** Starts the controller; runs are keyed by pod. */
export function evictionController(context: Context): Reconciler {
  const { client, informers, clock, options } = context;
  const nodes = informers.of<Node>(resources.nodes);
  const pods = podInformer(informers);
  const removals = new Removals().follow(pods);
  const recorder = context.recorder('taint-eviction-controller');

  const reconciler = createReconciler(context, 'eviction', async (key): Promise<Again | void> => {
    const pod = pods.get(key);
    const nodeName = pod?.spec.nodeName ?? '';
    if (pod === undefined || nodeName === '') return;
    const node = nodes.get(nodeName);
    if (node === undefined) {
      if (await isNodeGone(nodeName)) await forceOut(pod);
      return;
    }
    if (isTerminating(pod)) return await finishOff(pod, node);
    if (isFinished(pod) || removals.has(pod)) return;
    const deadline = evictionTime(pod, node, options.defaultTolerationSeconds);
    if (deadline === undefined) return;
    const leftMs = deadline - clock.now();
    if (leftMs > 0) return { afterMs: leftMs };
    const message = `Marking for deletion Pod ${keyText(keyOf(pod))}`;
    const reason = 'TaintManagerEviction';
    recorder.record(resources.pods, pod, { type: 'Normal', reason, message });
    await removals.remove(context, resources.pods, pod);
  });

  async function isNodeGone(name: string): Promise<boolean> {
    try {
      await client.get(resources.nodes, { name });
      return false;
    } catch (error) {
      if (isReason(error, 'NotFound')) return true;
      throw error;
    }
  }

  /**
   * Nobody is left on the node who could say that the pod has ended. A StatefulSet's pod may run on
   * there unseen, and its name must never be in use twice: it waits for the node, or for a person.
   */
  async function finishOff(pod: Pod, node: Node): Promise<Again | void> {
    if (!isLost(node) || isNamedForLife(pod)) return;
    const leftMs = Date.parse(pod.metadata.deletionTimestamp ?? '') - clock.now();
    if (leftMs > 0) return { afterMs: leftMs };
    await forceOut(pod);
  }

  async function forceOut(pod: Pod): Promise<void> {
    await removals.remove(context, resources.pods, pod, { gracePeriodSeconds: 0 });
  }

  pods.onChange((old, current) => {
    if (current === undefined || (current.spec.nodeName ?? '') === '') return;
    const moved = old?.spec.nodeName !== current.spec.nodeName;
    const ends = old !== undefined && isTerminating(old) !== isTerminating(current);
    if (moved || ends) reconciler.add(keyText(keyOf(current)));
  });
  nodes.onChange((old, current) => {
    if (old !== undefined && current !== undefined && sameTaints(old, current)) return;
    for (const pod of pods.byIndex('node', (current ?? old)!.metadata.name)) {
      reconciler.add(keyText(keyOf(pod)));
    }
  });
  return reconciler;
}

function sameTaints(a: Node, b: Node): boolean {
  return JSON.stringify(a.spec?.taints ?? []) === JSON.stringify(b.spec?.taints ?? []);
}

function isNamedForLife(pod: Pod): boolean {
  return (pod.metadata.ownerReferences ?? []).some(
    ({ controller, kind }) => controller === true && kind === 'StatefulSet',
  );
}

function isLost(node: Node): boolean {
  const ready = node.status?.conditions?.find((condition) => condition.type === 'Ready');
  return ready?.status === 'Unknown';
}

/**
 * When the pod must leave, in milliseconds since the epoch; undefined when it may stay. A pod that
 * says nothing of lost nodes stays on one for `defaultSeconds`.
 */
export function evictionTime(pod: Pod, node: Node, defaultSeconds: number): number | undefined {
  const deadlines = (node.spec?.taints ?? [])
    .filter((taint) => taint.effect === 'NoExecute')
    .map((taint) => deadlineFor(pod, taint, defaultSeconds))
    .filter((deadline) => deadline !== undefined);
  return deadlines.length === 0 ? undefined : Math.min(...deadlines);
}

function deadlineFor(pod: Pod, taint: Taint, defaultSeconds: number): number | undefined {
  const since = Date.parse(taint.timeAdded ?? '') || 0;
  const answers = (pod.spec.tolerations ?? []).filter((toleration) => tolerates(toleration, taint));
  if (answers.length === 0) {
    const isState = taint.key === unreachableTaint || taint.key === notReadyTaint;
    return isState ? since + defaultSeconds * 1000 : since;
  }
  const limits = answers.flatMap(({ tolerationSeconds }) => tolerationSeconds ?? []);
  return limits.length === 0 ? undefined : since + Math.max(0, Math.min(...limits)) * 1000;
}
