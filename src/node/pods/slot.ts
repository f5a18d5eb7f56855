/** One container of a pod over all its runs. */
import type { Container, ContainerState, Pod, Probe } from '../../api/types.ts';
import { formatTime, type Clock } from '../../lib/clock.ts';
import type { CheckResult } from '../probes/check.ts';
import { Prober, type ProbeKind } from '../probes/prober.ts';
import type { ContainerState as RuntimeState } from '../runtime.ts';
import { nextBackOff } from './back-off.ts';
import { containerId } from './container-spec.ts';
import type { ContainerRecord, Terminated } from './record.ts';
import type { ContainerView, Role } from './status.ts';
import type { Stop } from './stop.ts';

/** Why a container does not run, as its status says it. */
export type Waiting = { readonly reason: string; readonly message?: string };

export type Slot = {
  container: Container;
  readonly role: Role;
  record: ContainerRecord | undefined;
  waiting: Waiting | undefined;
  /** The postStart hook of this run has not returned. */
  hookRuns: boolean;
  stop: Stop | undefined;
  /** Milliseconds since the epoch before which it is not started. */
  notBefore: number;
  /** How often in a row the image was refused. */
  refusals: number;
  readonly probers: Map<ProbeKind, Prober>;
};

/** The containers of the pod, init containers first, with what is remembered of them. */
export function slotsOf(pod: Pod, records: Readonly<Record<string, ContainerRecord>>): Slot[] {
  const make = (container: Container, role: Role): Slot => ({
    container,
    role,
    record: records[container.name],
    waiting: undefined,
    hookRuns: false,
    stop: undefined,
    notBefore: 0,
    refusals: 0,
    probers: new Map(),
  });
  const inits = (pod.spec.initContainers ?? []).map((container) =>
    make(container, container.restartPolicy === 'Always' ? 'sidecar' : 'init'),
  );
  return [...inits, ...pod.spec.containers.map((container) => make(container, 'main'))];
}

export function isRunning({ record }: Slot): boolean {
  return record !== undefined && record.launched && record.terminated === undefined;
}

/** The runtime's id of the run under way, or of the last one. */
export function slotId(podUid: string, slot: Slot): string {
  return containerId(podUid, slot.container.name, slot.record?.attempt ?? 0);
}

/** `fairlead://<pod uid>/<container>/<attempt>`: names the run in `kubectl describe`. */
export function apiContainerId(runtimeId: string): string {
  return `fairlead://${runtimeId}`;
}

/** Takes in that the run has ended; undefined: the runtime knows nothing of it any more. */
export function noteExit(
  slot: Slot,
  state: Extract<RuntimeState, { kind: 'exited' }> | undefined,
  facts: { readonly id: string; readonly nowMs: number },
): void {
  const record = slot.record;
  if (record === undefined) return;
  stopProbers(slot);
  slot.stop?.cancel();
  slot.stop = undefined;
  slot.hookRuns = false;
  record.terminated = terminatedOf(state, facts);
  record.ready = false;
  record.started = false;
  const ranMs = state === undefined ? 0 : state.finishedAt - state.startedAt;
  record.backOff = nextBackOff(record.backOff, ranMs);
  slot.notBefore = (state?.finishedAt ?? facts.nowMs) + record.backOff.delayMs;
}

function terminatedOf(
  state: Extract<RuntimeState, { kind: 'exited' }> | undefined,
  facts: { readonly id: string; readonly nowMs: number },
): Terminated {
  const containerID = apiContainerId(facts.id);
  if (state === undefined) {
    return {
      exitCode: 137,
      reason: 'ContainerStatusUnknown',
      message: 'The container could not be located when the pod was looked at again',
      finishedAt: formatTime(facts.nowMs),
      containerID,
    };
  }
  return {
    exitCode: state.exitCode,
    reason: state.exitCode === 0 ? 'Completed' : 'Error',
    startedAt: formatTime(state.startedAt),
    finishedAt: formatTime(state.finishedAt),
    containerID,
  };
}

/** What the status says of the container. */
export function viewOf(
  slot: Slot,
  pod: {
    readonly uid: string;
    readonly initialized: boolean;
    readonly startedAt: number | undefined;
  },
): ContainerView {
  const { record, container, role } = slot;
  const running = isRunning(slot);
  const ended = record?.terminated;
  const id = record?.launched ? apiContainerId(slotId(pod.uid, slot)) : '';
  const last = slot.waiting === undefined ? record?.last : (ended ?? record?.last);
  return {
    container,
    role,
    state: stateOf(slot, pod),
    lastState: last === undefined ? {} : { terminated: last },
    ready: role === 'init' ? ended?.exitCode === 0 : running && (record?.ready ?? false),
    started: running && (record?.started ?? false),
    restarts: record?.restarts ?? 0,
    imageID: record?.launched ? `fairlead://image/${record.image}` : '',
    containerID: id,
  };
}

function stateOf(
  slot: Slot,
  pod: { readonly initialized: boolean; readonly startedAt: number | undefined },
): ContainerState {
  if (isRunning(slot)) {
    return { running: pod.startedAt === undefined ? {} : { startedAt: formatTime(pod.startedAt) } };
  }
  if (slot.waiting !== undefined) return { waiting: slot.waiting };
  const ended = slot.record?.terminated;
  if (ended !== undefined) return { terminated: ended };
  const creating =
    pod.initialized || slot.role !== 'main' ? 'ContainerCreating' : 'PodInitializing';
  return { waiting: { reason: creating } };
}

export type ProbeHooks = {
  readonly clock: Clock;
  readonly check: (kind: ProbeKind, probe: Probe, timeoutMs: number) => Promise<CheckResult>;
  readonly onVerdict: (kind: ProbeKind, ok: boolean, probe: Probe) => void;
  readonly onFailure: (kind: ProbeKind, output: string) => void;
};

/**
 * Begins the probes that are due: the startup probe alone, and the others once the container counts
 * as started. A container without a probe is started, or ready, at once.
 */
export function startProbers(slot: Slot, hooks: ProbeHooks): void {
  const { record, container, probers } = slot;
  if (record === undefined || slot.hookRuns || slot.role === 'init') return;
  const begin = (kind: ProbeKind, probe: Probe, initially: boolean | undefined) => {
    if (probers.has(kind)) return;
    const prober = new Prober({
      kind,
      probe,
      clock: hooks.clock,
      initially,
      check: (timeoutMs) => hooks.check(kind, probe, timeoutMs),
      onVerdict: (ok) => hooks.onVerdict(kind, ok, probe),
      onFailure: (output) => hooks.onFailure(kind, output),
    });
    probers.set(kind, prober);
  };
  if (!record.started) {
    if (container.startupProbe !== undefined)
      return begin('startup', container.startupProbe, undefined);
    record.started = true;
  }
  probers.get('startup')?.stop();
  if (container.readinessProbe === undefined) record.ready = true;
  else begin('readiness', container.readinessProbe, record.ready ? true : undefined);
  if (container.livenessProbe !== undefined) begin('liveness', container.livenessProbe, undefined);
}

export function stopProbers(slot: Slot): void {
  for (const prober of slot.probers.values()) prober.stop();
  slot.probers.clear();
}
