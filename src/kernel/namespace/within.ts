/**
 * Work done inside other namespaces, on the main thread and in one go.
 *
 * setns(2) and unshare(2) move the calling thread only, and a child process starts in the
 * namespaces of the thread that forks it. So a synchronous function that opens sockets, mounts or
 * spawns does so in the namespaces asked for, and nobody else in the process notices.
 */
import { closeSync, openSync } from 'node:fs';
import { assert } from '../../lib/errors.ts';
import { CLONE, setns, unshare } from '../ffi/process.ts';

export type NamespaceKind = 'net' | 'uts' | 'ipc' | 'pid' | 'mnt';

/** For each kind: the path of a namespace file, or `fresh` for a new namespace. */
export type Namespaces = Partial<Record<NamespaceKind, string | typeof fresh>>;

/** A namespace made for the occasion; it lives while something pins it or runs in it. */
export const fresh = Symbol('fresh');

const flagOf: Record<NamespaceKind, number> = {
  net: CLONE.CLONE_NEWNET,
  uts: CLONE.CLONE_NEWUTS,
  ipc: CLONE.CLONE_NEWIPC,
  pid: CLONE.CLONE_NEWPID,
  mnt: CLONE.CLONE_NEWNS,
};

/** The mount namespace comes last: after it the paths of the others mean something else. */
const order: readonly NamespaceKind[] = ['net', 'uts', 'ipc', 'pid', 'mnt'];

/**
 * Runs `work` inside the namespaces and comes back, whatever happens. `work` must be synchronous.
 * A `pid` namespace counts for the children that `work` spawns, not for this process.
 */
export function within<T>(namespaces: Namespaces, work: () => T): T {
  // The way back leads home, not to where an outer visit was.
  assert(!visiting, 'work inside a namespace must not enter another one');
  const kinds = order.filter((kind) => namespaces[kind] !== undefined);
  const directory = process.cwd();
  const entered: { readonly kind: NamespaceKind; readonly fd: number }[] = [];
  visiting = true;
  try {
    if (kinds.includes('mnt')) detachDirectory();
    for (const kind of kinds) homeOf(kind);
    for (const kind of kinds) {
      const target = namespaces[kind];
      if (typeof target === 'string') entered.push({ kind, fd: openSync(target, 'r') });
    }
    const made = kinds.filter((kind) => namespaces[kind] === fresh);
    for (const { kind, fd } of entered) setns(fd, flagOf[kind]);
    if (made.length > 0) unshare(made.reduce((flags, kind) => flags | flagOf[kind], 0));
    const result = work();
    assert(!(result instanceof Promise), 'work inside a namespace must be synchronous');
    return result;
  } finally {
    for (const { fd } of entered) closeSync(fd);
    goHome(kinds, directory);
    visiting = false;
  }
}

let visiting = false;

/** Nothing may run on a thread that is lost in a foreign namespace, so a failure ends the process. */
function goHome(kinds: readonly NamespaceKind[], directory: string): void {
  try {
    for (const kind of kinds) {
      const home = homes.get(kind);
      if (home !== undefined) setns(home, flagOf[kind]);
    }
    if (kinds.includes('mnt')) process.chdir(directory);
  } catch (error) {
    process.stderr.write(`Cannot leave a foreign namespace: ${String(error)}\n`);
    process.abort();
  }
}

const homes = new Map<NamespaceKind, number>();

/** Proves, before anything is entered, that this thread may come back (EPERM: another owner). */
function homeOf(kind: NamespaceKind): number {
  let fd = homes.get(kind);
  if (fd === undefined) {
    fd = openSync(`/proc/thread-self/ns/${kind}`, 'r');
    setns(fd, flagOf[kind]);
    homes.set(kind, fd);
  }
  return fd;
}

/**
 * setns(2) refuses a mount namespace to a thread that shares root and directory with others
 * (`mntns_install`, fs/namespace.c). Once is not enough: every thread that this one starts later,
 * such as those of libuv's pool, shares them again.
 */
function detachDirectory(): void {
  unshare(CLONE.CLONE_FS);
}
