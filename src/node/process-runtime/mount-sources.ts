/** What a container's volumes show, taken hold of while the files of the node are in sight. */
import { chmodSync, closeSync, fstatSync, mkdirSync } from 'node:fs';
import { ERRNO, SystemError } from '../../kernel/ffi/libc.ts';
import { cloneTree, makeTreeReadOnly } from '../../kernel/ffi/mount.ts';
import { openBeneath, openPath } from '../../kernel/ffi/open-path.ts';
import { messageOf, WorldError } from '../../lib/errors.ts';
import { type Mount } from '../runtime.ts';

/** A tree of mounts that is attached nowhere yet. */
export type MountSource = { readonly tree: number; readonly directory: boolean };

/** One for each mount, in their order; the caller closes them. */
export function openSources(mounts: readonly Mount[]): MountSource[] {
  const sources: MountSource[] = [];
  try {
    for (const mount of mounts) sources.push(openSource(mount));
    return sources;
  } catch (error) {
    closeSources(sources);
    throw error;
  }
}

export function closeSources(sources: readonly MountSource[]): void {
  for (const { tree } of sources) closeSync(tree);
}

function openSource(mount: Mount): MountSource {
  const root = openPath(mount.source);
  let place = root;
  try {
    if (mount.subPath !== undefined) place = openSubPath(root, mount.subPath);
    const tree = cloneTree(place);
    if (mount.readOnly) makeTreeReadOnly(tree);
    return { tree, directory: fstatSync(place).isDirectory() };
  } finally {
    closeSync(root);
    if (place !== root) closeSync(place);
  }
}

/** A container writes links into its volume as it likes: none may lead to the node's own files. */
function openSubPath(volume: number, subPath: string): number {
  try {
    return openBeneath(volume, subPath);
  } catch (error) {
    if (!isMissing(error)) throw leaves(subPath, error);
  }
  try {
    return makeBeneath(
      volume,
      subPath.split('/').filter((part) => part !== '' && part !== '.'),
    );
  } catch (error) {
    throw leaves(subPath, error);
  }
}

/** As `mkdir -p`, one step at a time: each directory is made in one that is known to lie inside. */
function makeBeneath(volume: number, parts: readonly string[]): number {
  let parent = volume;
  for (const [index, part] of parts.entries()) {
    const path = parts.slice(0, index + 1).join('/');
    const next = openOrMake(volume, { path, parent, part });
    if (parent !== volume) closeSync(parent);
    parent = next;
  }
  return parent;
}

function openOrMake(
  volume: number,
  { path, parent, part }: { path: string; parent: number; part: string },
): number {
  try {
    return openBeneath(volume, path);
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
  mkdirSync(`/proc/self/fd/${parent}/${part}`);
  const made = openBeneath(volume, path);
  chmodSync(`/proc/self/fd/${made}`, 0o777);
  return made;
}

function isMissing(error: unknown): boolean {
  return error instanceof SystemError && error.errno === ERRNO.ENOENT;
}

function leaves(subPath: string, cause: unknown): WorldError {
  const found = `it leads out of the volume or cannot be made, ${messageOf(cause)}`;
  return new WorldError('CANNOT_MOUNT', `Cannot mount subPath "${subPath}": ${found}`, { cause });
}
