/** What controllers ask about pods, and how they find them. */
import { resources } from '../api/resources.ts';
import type { Pod } from '../api/types.ts';
import type { Informer, Informers } from '../client/informer.ts';

/** The pods, indexed by `label` (`namespace/key=value`), `owner` (uid of the controller) and `node`. */
export function podInformer(informers: Informers): Informer<Pod> {
  return informers
    .of<Pod>(resources.pods)
    .addIndex('label', (pod) => labelKeys(pod.metadata.namespace ?? '', pod.metadata.labels))
    .addIndex('owner', (pod) => controllerUids(pod))
    .addIndex('node', (pod) => ((pod.spec.nodeName ?? '') === '' ? [] : [pod.spec.nodeName!]));
}

/** One index key for each label. */
export function labelKeys(namespace: string, labels: Record<string, string> = {}): string[] {
  return Object.entries(labels).map(([key, value]) => `${namespace}/${key}=${value}`);
}

function controllerUids(object: Pod): string[] {
  const owner = object.metadata.ownerReferences?.find((reference) => reference.controller);
  return owner === undefined ? [] : [owner.uid];
}

/** The pods of the namespace that carry all the labels; none for an empty set. */
export function podsWithLabels(
  pods: Informer<Pod>,
  namespace: string,
  labels: Record<string, string>,
): Pod[] {
  const buckets = labelKeys(namespace, labels).map((key) => pods.byIndex('label', key));
  const smallest = buckets.sort((a, b) => a.length - b.length)[0] ?? [];
  return smallest.filter((pod) => hasLabels(pod, labels));
}

export function hasLabels(pod: Pod, labels: Record<string, string>): boolean {
  return Object.entries(labels).every(([key, value]) => pod.metadata.labels?.[key] === value);
}

export function isTerminating(pod: Pod): boolean {
  return pod.metadata.deletionTimestamp !== undefined;
}

/** Succeeded or Failed: it will not run again. */
export function isFinished(pod: Pod): boolean {
  return pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed';
}

/** Neither finished nor on its way out. */
export function isActive(pod: Pod): boolean {
  return !isFinished(pod) && !isTerminating(pod);
}

export function isReady(pod: Pod): boolean {
  return readyCondition(pod)?.status === 'True';
}

export function readyCondition(pod: Pod) {
  return pod.status?.conditions?.find((condition) => condition.type === 'Ready');
}

/** Milliseconds until the ready pod counts as available; 0 when it does, undefined when not ready. */
export function availableInMs(pod: Pod, minReadySeconds: number, now: number): number | undefined {
  const ready = readyCondition(pod);
  if (ready?.status !== 'True') return undefined;
  const since = ready.lastTransitionTime === undefined ? now : Date.parse(ready.lastTransitionTime);
  return Math.max(0, since + minReadySeconds * 1000 - now);
}

/** The pod's addresses, in the order of its families. */
export function podIps(pod: Pod): string[] {
  const { podIP, podIPs } = pod.status ?? {};
  if (podIPs !== undefined && podIPs.length > 0) return podIPs.map(({ ip }) => ip);
  return podIP === undefined || podIP === '' ? [] : [podIP];
}
