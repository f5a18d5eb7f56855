/** A pod's status as a pure function of what runs (K16). */
import type { Condition } from '../../api/meta.ts';
import type {
  Container,
  ContainerState,
  ContainerStatus,
  Pod,
  PodStatus,
} from '../../api/types.ts';
import { formatTime } from '../../lib/clock.ts';

export type Role = 'init' | 'sidecar' | 'main';

/** One container as the agent sees it now. */
export type ContainerView = {
  readonly container: Container;
  readonly role: Role;
  readonly state: ContainerState;
  readonly lastState: ContainerState;
  readonly ready: boolean;
  readonly started: boolean;
  readonly restarts: number;
  readonly imageID: string;
  readonly containerID: string;
};

export type PodView = {
  readonly pod: Pod;
  readonly containers: readonly ContainerView[];
  readonly initialized: boolean;
  readonly sandboxReady: boolean;
  readonly hostIPs: readonly string[];
  readonly podIPs: readonly string[];
  readonly startTime: string;
  readonly nowMs: number;
  /** Why the node ended the pod, such as `DeadlineExceeded`. */
  readonly failed?: { readonly reason: string; readonly message: string };
};

export type Phase = NonNullable<PodStatus['phase']>;

/** What goes to the API; conditions of others are left alone. */
export function podStatus(view: PodView): PodStatus {
  const phase = phaseOf(view);
  const statuses = (roles: readonly Role[]) =>
    view.containers.filter((c) => roles.includes(c.role)).map(containerStatus);
  const init = statuses(['init', 'sidecar']);
  const { hostIPs, podIPs } = view;
  return {
    phase,
    conditions: conditionsOf(view, phase),
    ...view.failed,
    ...(hostIPs[0] === undefined ? {} : { hostIP: hostIPs[0], hostIPs: ipObjects(hostIPs) }),
    ...(podIPs[0] === undefined ? {} : { podIP: podIPs[0], podIPs: ipObjects(podIPs) }),
    startTime: view.startTime,
    ...(init.length === 0 ? {} : { initContainerStatuses: init }),
    containerStatuses: statuses(['main']),
  };
}

/** kubelet's `getPhase`: what has ended for good decides, then what has not begun. */
export function phaseOf(view: PodView): Phase {
  if (view.failed !== undefined) return 'Failed';
  const policy = view.pod.spec.restartPolicy ?? 'Always';
  const inits = view.containers.filter((c) => c.role === 'init');
  if (policy === 'Never' && inits.some((c) => (endedWith(c) ?? 0) !== 0)) return 'Failed';
  if (!view.initialized) return 'Pending';
  const mains = view.containers.filter((c) => c.role === 'main');
  const codes = mains.map(endedWith);
  if (mains.some((c, i) => c.state.running === undefined && codes[i] === undefined)) {
    return 'Pending';
  }
  if (mains.some((c) => c.state.running !== undefined) || policy === 'Always') return 'Running';
  if (codes.every((code) => code === 0)) return 'Succeeded';
  return policy === 'Never' ? 'Failed' : 'Running';
}

/** The code of the run that ended, whether the container still shows it or waits for the next. */
function endedWith({ state, lastState }: ContainerView): number | undefined {
  if (state.running !== undefined) return undefined;
  return (state.terminated ?? lastState.terminated)?.exitCode;
}

function containerStatus(view: ContainerView): ContainerStatus {
  return {
    name: view.container.name,
    state: view.state,
    lastState: view.lastState,
    ready: view.ready,
    restartCount: view.restarts,
    image: view.container.image ?? '',
    imageID: view.imageID,
    ...(view.containerID === '' ? {} : { containerID: view.containerID }),
    started: view.started,
  };
}

type Verdict = { status: 'True' | 'False'; reason?: string; message?: string };

function conditionsOf(view: PodView, phase: Phase): Condition[] {
  const containersReady = containersReadyVerdict(view, phase);
  const verdicts: Record<string, Verdict> = {
    PodReadyToStartContainers: { status: view.sandboxReady ? 'True' : 'False' },
    Initialized: initializedVerdict(view, phase),
    Ready: readyVerdict(view, containersReady),
    ContainersReady: containersReady,
    PodScheduled: { status: 'True' },
  };
  const old = new Map((view.pod.status?.conditions ?? []).map((c) => [c.type, c]));
  return Object.entries(verdicts).map(([type, verdict]) => {
    const before = old.get(type);
    const same = before?.status === verdict.status;
    return {
      type,
      ...verdict,
      lastTransitionTime: (same ? before.lastTransitionTime : undefined) ?? formatTime(view.nowMs),
    };
  });
}

function initializedVerdict(view: PodView, phase: Phase): Verdict {
  if (view.initialized) {
    return phase === 'Succeeded' ? { status: 'True', reason: 'PodCompleted' } : { status: 'True' };
  }
  const names = view.containers
    .filter(
      (c) => (c.role === 'init' && endedWith(c) !== 0) || (c.role === 'sidecar' && !c.started),
    )
    .map((c) => c.container.name);
  return {
    status: 'False',
    reason: 'ContainersNotInitialized',
    message: `containers with incomplete status: [${names.join(' ')}]`,
  };
}

function containersReadyVerdict(view: PodView, phase: Phase): Verdict {
  if (phase === 'Succeeded') return { status: 'False', reason: 'PodCompleted' };
  if (phase === 'Failed') return { status: 'False', reason: 'PodFailed' };
  const unready = view.containers.filter((c) => c.role !== 'init' && !c.ready);
  if (unready.length === 0) return { status: 'True' };
  const names = unready.map((c) => c.container.name).join(' ');
  return {
    status: 'False',
    reason: 'ContainersNotReady',
    message: `containers with unready status: [${names}]`,
  };
}

function readyVerdict(view: PodView, containersReady: Verdict): Verdict {
  if (containersReady.status === 'False') return containersReady;
  const messages = (view.pod.spec.readinessGates ?? []).flatMap(({ conditionType: type }) => {
    const gate = view.pod.status?.conditions?.find((c) => c.type === type);
    if (gate?.status === 'True') return [];
    const what = gate === undefined ? 'does not exist' : 'has status "False"';
    return [`corresponding condition of pod readiness gate "${type}" ${what}.`];
  });
  if (messages.length === 0) return { status: 'True' };
  return { status: 'False', reason: 'ReadinessGatesNotReady', message: messages.join(', ') };
}

function ipObjects(ips: readonly string[]): { ip: string }[] {
  return ips.map((ip) => ({ ip }));
}
