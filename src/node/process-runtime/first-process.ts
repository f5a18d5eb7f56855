/** The first process of a container: it outlives the agent, reaps orphans and tells the exit code. */
import { readFileSync } from 'node:fs';
import { type ContainerSpec } from '../runtime.ts';
import { launch, tool } from './command.ts';
import {
  childrenOf,
  handles,
  identify,
  isAlive,
  sendSignal,
  type ProcessId,
} from './process-table.ts';
import { effectiveUser } from './rights.ts';

/** A program to start, inside the container's namespaces and root. */
export type FirstProcess = {
  readonly file: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
};

/** Mounts /proc, which only who is inside the pid namespace can, and becomes what gives up rights. */
const PREPARE = 'eval "$1"; shift; exec "$@"';

/**
 * With no more rights than the command, as it is there to be looked at and traced by it. The exit
 * code goes to the file behind descriptor 3. A subshell becomes the command, so that a signal sent
 * to it counts from its first moment.
 */
const WRAP = '(exec "$@") 3>&- 4>&-; echo $? >&3';

/** Ends two seconds after TERM: until then the echo host goes on serving for this container. */
const HOLD_PLACE = "trap 'sleep 2; echo 0 >&3; exit 0' TERM; while :; do read -r _ <&4; done";

/** How often a signal looks for its target, 2 ms apart, while the container starts. */
const SIGNAL_ATTEMPTS_MAX = 250;

/** `mount` of the container's own /proc; its settings are no toy for root without rights. */
export function mountProc(spec: ContainerSpec): string {
  const mode = effectiveUser(spec) === 0 && !spec.privileged ? 'ro' : 'rw';
  return `${tool('mount')} -t proc -o ${mode},nosuid,nodev,noexec proc /proc 2>/dev/null`;
}

/** Runs the command; on a terminal it leads a session, so that Ctrl-C and job control work. */
export function wrapper(spec: ContainerSpec, asked: readonly string[]): FirstProcess {
  const isTerminal = spec.tty === true;
  const { rights, command, env } = launch(
    isTerminal ? { ...spec, env: { TERM: 'xterm', ...spec.env } } : spec,
    asked,
  );
  const session = isTerminal ? [tool('setsid'), '--ctty'] : [];
  const sh = tool('sh');
  const wrapped = [...rights, sh, '-c', WRAP, spec.name, ...session, ...command];
  return { file: sh, args: ['-c', PREPARE, spec.name, mountProc(spec), ...wrapped], env };
}

/** Keeps the namespaces of a container that the echo host serves for; it reads from descriptor 4. */
export function placeholder(spec: ContainerSpec): FirstProcess {
  const [file = '', ...args] = launch(spec, []).rights;
  return { file, args: [...args, tool('sh'), '-c', HOLD_PLACE, spec.name], env: {} };
}

/** Sends TERM to the command, the first child of the wrapper, as soon as there is one. */
export async function terminateCommand(first: ProcessId): Promise<void> {
  await attempt(first, () => {
    // Orphans of the container are the wrapper's children too, but they came later.
    const [child] = isWrapping(first.pid) ? childrenOf(first.pid) : [];
    const target = child === undefined ? undefined : identify(child);
    if (target !== undefined) sendSignal(target, 'SIGTERM');
    return target !== undefined;
  });
}

/** The first process of a pid namespace loses what it does not handle yet (pid_namespaces(7)). */
export async function terminatePlaceholder(first: ProcessId): Promise<void> {
  await attempt(first, () => handles(first.pid, 'SIGTERM'));
  sendSignal(first, 'SIGTERM');
}

/** Tries while the process starts; it gives up when that has ended. */
async function attempt(first: ProcessId, isDone: () => boolean): Promise<void> {
  for (let attempts = 0; attempts < SIGNAL_ATTEMPTS_MAX; attempts += 1) {
    if (!isAlive(first) || isDone()) return;
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** Before, its child is mount(8). */
function isWrapping(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')[2] === WRAP;
  } catch {
    return false;
  }
}
