/** `kubectl get pods`; the Status word follows A120. */
import { ageOf } from '../duration.ts';
import type { Condition } from '../meta.ts';
import type { Printer } from '../tables.ts';
import type { Container, ContainerStatus, Pod } from '../types.ts';
import { orNone } from './text.ts';

export const podTable: Printer = {
  columns: 'Name,Ready,Status,Restarts,Age,IP*,Node*,Nominated Node*,Readiness Gates*',
  cells: podCells,
  conditions: podConditions,
};

function podCells(pod: Pod, now: number): (string | number)[] {
  const { spec, status = {} } = pod;
  const { ready, total } = readyCount(pod);
  const nominated = (status as { nominatedNodeName?: string }).nominatedNodeName;
  return [
    pod.metadata.name,
    `${ready}/${total}`,
    podStatusWord(pod),
    restartsText(pod, now),
    ageOf(pod.metadata.creationTimestamp, now),
    orNone(status.podIPs?.[0]?.ip ?? status.podIP),
    orNone(spec.nodeName),
    orNone(nominated),
    gatesText(pod),
  ];
}

/** Containers and the init containers that keep running beside them. */
function readyCount({ spec, status }: Pod): { ready: number; total: number } {
  const sidecars = new Set((spec.initContainers ?? []).filter(isSidecar).map(({ name }) => name));
  const ready = [
    ...(status?.containerStatuses ?? []),
    ...(status?.initContainerStatuses ?? []).filter(
      ({ name, started }) => sidecars.has(name) && started === true,
    ),
  ].filter((each) => each.ready && (each.state?.running !== undefined || sidecars.has(each.name)));
  return { ready: ready.length, total: (spec.containers ?? []).length + sidecars.size };
}

function isSidecar({ restartPolicy }: Container): boolean {
  return restartPolicy === 'Always';
}

function restartsText({ spec, status }: Pod, now: number): string {
  const sidecars = new Set((spec.initContainers ?? []).filter(isSidecar).map(({ name }) => name));
  const inits = status?.initContainerStatuses ?? [];
  // While the pod still starts, the restarts of its init containers are what matters.
  const isStarting = initWord(spec.initContainers ?? [], inits) !== undefined;
  const counted = isStarting
    ? inits
    : [...inits.filter(({ name }) => sidecars.has(name)), ...(status?.containerStatuses ?? [])];
  const restarts = counted.reduce((sum, { restartCount }) => sum + restartCount, 0);
  const times = counted
    .map(({ lastState }) => lastState?.terminated?.finishedAt)
    .filter((time) => time !== undefined)
    .sort();
  const last = times.at(-1);
  if (restarts === 0 || last === undefined) return String(restarts);
  return `${restarts} (${ageOf(last, now)} ago)`;
}

function gatesText({ spec, status }: Pod): string {
  const gates = spec.readinessGates ?? [];
  if (gates.length === 0) return '<none>';
  const open = gates.filter(({ conditionType }) =>
    isTrue(status?.conditions?.find(({ type }) => type === conditionType)),
  );
  return `${open.length}/${gates.length}`;
}

function isTrue(condition: Condition | undefined): boolean {
  return condition?.status === 'True';
}

// ---- the Status word

/** The one word under STATUS. */
export function podStatusWord(pod: Pod): string {
  const { spec, status = {}, metadata } = pod;
  let word: string = status.phase ?? '';
  if (status.reason) word = status.reason;
  for (const { type, reason } of status.conditions ?? []) {
    if (type === 'PodScheduled' && reason === 'SchedulingGated') word = reason;
  }
  const init = initWord(spec.initContainers ?? [], status.initContainerStatuses ?? []);
  if (init !== undefined) word = init;
  const initialized = status.conditions?.find(({ type }) => type === 'Initialized');
  if (init === undefined || isTrue(initialized)) word = containersWord(pod, word);
  if (metadata.deletionTimestamp === undefined) return word;
  if (status.reason === 'NodeLost') return 'Unknown';
  return status.phase === 'Succeeded' || status.phase === 'Failed' ? word : 'Terminating';
}

/** Why the init containers are not done; undefined when they are. */
function initWord(
  containers: readonly Container[],
  statuses: readonly ContainerStatus[],
): string | undefined {
  const specs = new Map(containers.map((container) => [container.name, container]));
  for (const [index, { name, state = {}, started }] of statuses.entries()) {
    const { terminated, waiting } = state;
    if (terminated?.exitCode === 0) continue;
    const spec = specs.get(name);
    if (spec !== undefined && isSidecar(spec) && started === true) continue;
    if (terminated !== undefined) return `Init:${terminatedWord(terminated)}`;
    if (waiting?.reason && waiting.reason !== 'PodInitializing') return `Init:${waiting.reason}`;
    return `Init:${index}/${containers.length}`;
  }
  return undefined;
}

type Terminated = NonNullable<NonNullable<ContainerStatus['state']>['terminated']>;

function terminatedWord({ reason, signal, exitCode }: Terminated): string {
  if (reason) return reason;
  return signal ? `Signal:${signal}` : `ExitCode:${exitCode}`;
}

/** The reason of the first container that has one wins: the list is walked from its end. */
function containersWord({ status = {} }: Pod, before: string): string {
  let word = before;
  let isRunning = false;
  for (const { state = {}, ready } of (status.containerStatuses ?? []).toReversed()) {
    if (state.waiting?.reason) word = state.waiting.reason;
    else if (state.terminated !== undefined) word = terminatedWord(state.terminated);
    else if (ready && state.running !== undefined) isRunning = true;
  }
  if (word !== 'Completed' || !isRunning) return word;
  const ready = status.conditions?.find(({ type }) => type === 'Ready');
  return isTrue(ready) ? 'Running' : 'NotReady';
}

/** Rows of finished pods carry a condition, so that clients can leave them out. */
function podConditions({ status }: Pod): Condition[] | undefined {
  const phase = status?.phase;
  if (phase !== 'Succeeded' && phase !== 'Failed') return undefined;
  const message = phase === 'Succeeded' ? 'The pod has completed successfully.' : 'The pod failed.';
  return [{ type: 'Completed', status: 'True', reason: phase, message }];
}
