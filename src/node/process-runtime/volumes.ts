/** Puts a container's mounts in place, in a root whose host part is read-only. */
import {
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readlinkSync,
  realpathSync,
  rmdirSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { attachTree, makeReadOnly, mountFilesystem, unmount } from '../../kernel/ffi/mount.ts';
import { openExact } from '../../kernel/ffi/open-path.ts';
import { messageOf, WorldError } from '../../lib/errors.ts';
import { type Mount } from '../runtime.ts';
import { holdsLauncher } from './launcher-files.ts';
import { type MountSource } from './mount-sources.ts';

/** A chain of symbolic links longer than this is a loop (as the kernel's MAXSYMLINKS). */
const LINKS_MAX = 40;

/** Mounts every source at the target of the mount in its place, parents before what lies below. */
export function placeMounts(mounts: readonly Mount[], sources: readonly MountSource[]): void {
  const ordered = mounts
    .map(({ target }, index) => ({ target, source: sources[index]! }))
    .sort((a, b) => depthOf(a.target) - depthOf(b.target));
  const covers = new Covers();
  // Targets first: a cover put over /etc for one of them must not hide another one's mount.
  for (const { target, source } of ordered) {
    const below = ordered.some((other) => liesBelow(target, other.target));
    if (!below) makeTarget(target, source, covers);
  }
  for (const { target, source } of ordered) attach(target, source, covers);
  covers.close();
}

function attach(target: string, source: MountSource, covers: Covers): void {
  const path = makeTarget(target, source, covers);
  // Another container may put a link into the way, in a volume that both have: then it is refused.
  const place = openExact(path);
  try {
    attachTree(source.tree, place);
  } finally {
    closeSync(place);
  }
}

/** The real path of the mount point, which is made when it does not exist. */
function makeTarget(target: string, { directory }: MountSource, covers: Covers): string {
  const path = followLinks(target);
  if (holdsLauncher(path, { directory })) {
    const found = 'programs and libraries of the node there start the container';
    throw new WorldError('CANNOT_MOUNT', `Cannot mount a volume at "${target}": ${found}`);
  }
  if (existsSync(path)) return path;
  try {
    makeEmpty(path, directory);
  } catch (error) {
    // A recursive mkdir of Node calls a read-only parent ENOENT.
    const { code = '' } = error as NodeJS.ErrnoException;
    if (!['EROFS', 'ENOENT'].includes(code)) throw cannotMount(target, error);
    try {
      covers.cover(nearestDirectory(path));
      makeEmpty(path, directory);
    } catch (cause) {
      throw cannotMount(target, cause);
    }
  }
  return path;
}

function makeEmpty(path: string, directory: boolean): void {
  mkdirSync(directory ? path : dirname(path), { recursive: true });
  if (!directory) writeFileSync(path, '', { flag: 'wx' });
}

function cannotMount(target: string, cause: unknown): WorldError {
  const found = `it does not exist on the node and cannot be made, ${messageOf(cause)}`;
  return new WorldError('CANNOT_MOUNT', `Cannot mount a volume at "${target}": ${found}`, {
    cause,
  });
}

/**
 * Makes directories of the read-only host writable until all mount points are there, each time by
 * an overlay on the same tmpfs.
 */
class Covers {
  readonly #directories: string[] = [];

  cover(directory: string): void {
    if (this.#directories.length === 0) {
      mkdirSync('/.covers');
      mountFilesystem({ type: 'tmpfs', target: '/.covers', data: 'mode=0755' });
    }
    this.#directories.push(directory);
    const base = `/.covers/${this.#directories.length}`;
    for (const part of ['upper', 'work']) mkdirSync(join(base, part), { recursive: true });
    const lower = directory.replace(/[\\:,]/g, '\\$&');
    const data = `lowerdir=${lower},upperdir=${base}/upper,workdir=${base}/work`;
    mountFilesystem({ type: 'overlay', target: directory, data });
  }

  /** The overlays hold on to their part of the tmpfs; its path is not needed any more. */
  close(): void {
    if (this.#directories.length === 0) return;
    for (const directory of this.#directories) makeReadOnly(directory, { recursive: false });
    unmount('/.covers');
    rmdirSync('/.covers');
  }
}

/** Resolves links, those that point to nothing included, such as an /etc/resolv.conf into /run. */
function followLinks(target: string): string {
  let path = resolve('/', target);
  for (let hops = 0; hops < LINKS_MAX; hops += 1) {
    const parent = nearestDirectory(path);
    path = join(realpathSync(parent), path.slice(parent.length));
    const link = linkOn(path);
    if (link === undefined) return path;
    path = resolve(dirname(link), readlinkSync(link), path.slice(link.length + 1));
  }
  throw new WorldError('CANNOT_MOUNT', `Cannot mount a volume at "${target}": its links loop`);
}

/** The first part of the path that is a symbolic link. */
function linkOn(path: string): string | undefined {
  const parts = path.split('/').slice(1);
  return parts
    .map((_, index) => `/${parts.slice(0, index + 1).join('/')}`)
    .find((prefix) => lstatSync(prefix, { throwIfNoEntry: false })?.isSymbolicLink() === true);
}

/** The path itself or the first of its parents that exists as a directory. */
function nearestDirectory(path: string): string {
  return isDirectory(path) || path === '/' ? path : nearestDirectory(dirname(path));
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}

function depthOf(path: string): number {
  return resolve('/', path).split('/').filter(Boolean).length;
}

function liesBelow(path: string, parent: string): boolean {
  return path !== parent && resolve('/', path).startsWith(`${resolve('/', parent)}/`);
}
