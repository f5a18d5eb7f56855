/** Namespaces kept alive by a bind mount instead of a process, as `ip netns add` does. */
import { existsSync, mkdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { bindMount, unmount } from '../ffi/mount.ts';
import { type NamespaceKind } from './within.ts';

/** NSFS_MAGIC of include/uapi/linux/magic.h. */
const NSFS_MAGIC = 0x6e73_6673;

/** Pins the namespace of the calling thread at the path; call it inside `within`. */
export function pinNamespace(kind: Exclude<NamespaceKind, 'pid' | 'mnt'>, path: string): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, '');
  bindMount(`/proc/thread-self/ns/${kind}`, path);
}

/** Whether the path holds a pinned namespace. */
export function isPinned(path: string): boolean {
  return existsSync(path) && statfsSync(path).type === NSFS_MAGIC;
}

/** Lets go of a pinned namespace and deletes the file; nothing when there is none. */
export function unpinNamespace(path: string): void {
  // A crash between two starts can leave one mount on top of another.
  while (unmount(path));
  rmSync(path, { force: true });
}
