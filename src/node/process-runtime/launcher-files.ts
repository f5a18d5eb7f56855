/**
 * The files of the node that start a container. They run with the rights of root inside the
 * container's own root: a volume in their place would be the pod's program with these rights.
 */
import { readFileSync, realpathSync } from 'node:fs';
import { dirname } from 'node:path';

/** Where programs, their loader and their libraries lie; mount(8) looks for helpers in /sbin. */
const fixed = [
  '/bin',
  '/sbin',
  '/usr/bin',
  '/usr/sbin',
  '/lib',
  '/lib64',
  '/usr/lib',
  '/usr/lib64',
];

/** Whether a mount there, a path without links, could change what starts a container. */
export function holdsLauncher(path: string, kind: { readonly directory: boolean }): boolean {
  const places = launcherDirectories();
  if (path === '/' || places.some((place) => place === path || place.startsWith(`${path}/`))) {
    return true;
  }
  // What the loader reads before everything else (ld.so(8)), and the variants of libraries.
  if (path === '/etc' || path.startsWith('/etc/ld.so.')) return true;
  if (path.split('/').includes('glibc-hwcaps')) return true;
  return !kind.directory && places.includes(dirname(path));
}

let known: readonly string[] | undefined;

function launcherDirectories(): readonly string[] {
  known ??= findDirectories();
  return known;
}

/** Those of the C library, as this process has loaded it, have a name of the machine's in them. */
function findDirectories(): string[] {
  const maps = readFileSync('/proc/self/maps', 'utf8');
  const libraries = maps.match(/\/\S+\.so(\.\d+)*$/gm) ?? [];
  const places = new Set([...fixed, ...libraries.map((path) => dirname(path))]);
  // The same directory has two names where /lib is a link to /usr/lib.
  const bare = [...places].map((place) => place.replace(/^\/usr(?=\/(lib|s?bin))/, ''));
  return [...new Set([...places, ...bare, ...bare.flatMap(realPath)])];
}

function realPath(path: string): string[] {
  try {
    return [realpathSync(path)];
  } catch {
    return [];
  }
}
