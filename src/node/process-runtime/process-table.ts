/** Processes told apart from later ones with the same id, by the time they started. */
import { closeSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { constants } from 'node:os';
import { onReadable } from '../../kernel/ffi/libc.ts';
import { openPidfd } from '../../kernel/ffi/process.ts';
import { WorldError } from '../../lib/errors.ts';

/** A process id with its start time in clock ticks since boot (proc_pid_stat(5), field 22). */
export type ProcessId = { readonly pid: number; readonly startTicks: string };

/** The process that has the id now, unless it is dead already. */
export function identify(pid: number): ProcessId | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch {
    return undefined;
  }
  // The name in parentheses may hold anything, so fields are counted from its end.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const state = fields[0];
  if (state === 'Z' || state === 'X') return undefined;
  return { pid, startTicks: fields[19] ?? '' };
}

export function isAlive(process: ProcessId): boolean {
  return identify(process.pid)?.startTicks === process.startTicks;
}

/** Sends the signal unless the process is gone; false when it is. */
export function sendSignal(target: ProcessId, signal: NodeJS.Signals): boolean {
  if (!isAlive(target)) return false;
  try {
    return process.kill(target.pid, signal);
  } catch {
    return false;
  }
}

/** Whether the process has a handler for the signal: the bits of `SigCgt` count from signal 1. */
export function handles(pid: number, signal: NodeJS.Signals): boolean {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'latin1');
    const caught = BigInt(`0x${/^SigCgt:\t(\w+)$/m.exec(status)?.[1] ?? '0'}`);
    return ((caught >> BigInt(constants.signals[signal] - 1)) & 1n) === 1n;
  } catch {
    return false;
  }
}

/** The direct children of a process. */
export function childrenOf(pid: number): number[] {
  try {
    const list = readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1');
    return list.split(' ').filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

/** Calls back once when the process has ended; the result stops waiting. */
export function onEnd(target: ProcessId, callback: () => void): () => void {
  const fd = openPidfd(target.pid);
  if (fd === undefined || !isAlive(target)) {
    if (fd !== undefined) closeSync(fd);
    const timer = setImmediate(callback);
    return () => clearImmediate(timer);
  }
  let open = true;
  const stop = () => {
    if (!open) return;
    open = false;
    stopPolling();
    closeSync(fd);
  };
  const stopPolling = onReadable(fd, () => {
    stop();
    callback();
  });
  return stop;
}

/** As `onEnd`, for each of several. */
export function onEndOfEach(targets: readonly ProcessId[], callback: () => void): () => void {
  const stops = targets.map((target) => onEnd(target, callback));
  return () => stops.forEach((stop) => stop());
}

/** How long killed processes may take to go: none does, but for one that waits for a dead disk. */
const END_WAIT_MS = 10_000;

/** Resolves when all processes of a container have ended; throws WorldError when they do not. */
export async function allEnded(targets: readonly ProcessId[], containerId: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const waiting = new Set(targets);
  const timer = setTimeout(() => {
    const found = `it does not end within ${END_WAIT_MS / 1000} s`;
    reject(new WorldError('KILL', `Cannot kill container "${containerId}": ${found}`));
  }, END_WAIT_MS);
  const stops = targets.map((target) =>
    onEnd(target, () => {
      waiting.delete(target);
      if (waiting.size === 0) resolve();
    }),
  );
  await promise.finally(() => {
    clearTimeout(timer);
    for (const stop of stops) stop();
  });
}

/** The processes that hold the file open as descriptor 3: wrappers whose record was never written. */
export function holdersOf(exitFile: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => descriptorOf(pid) === exitFile)
    .map(Number);
}

function descriptorOf(pid: string): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/fd/3`);
  } catch {
    return undefined;
  }
}
