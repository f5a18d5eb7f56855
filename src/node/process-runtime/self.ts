/** What a container needs to run this program itself, as the image `fairlead/dns` does. */
import { chownSync, mkdirSync } from 'node:fs';
import { getCompileCacheDir } from 'node:module';
import { dirname } from 'node:path';
import { builtInImage } from '../images/images.ts';
import { type ContainerSpec, type Mount } from '../runtime.ts';
import { effectiveUser } from './rights.ts';

/** Directories of the host that a container has one of its own in place of. */
const scratch = ['/root', '/run', '/tmp', '/var/tmp'];

export type SelfOptions = {
  readonly selfPaths: readonly string[];
  readonly hidden: readonly string[];
};

/** The spec with our own files in sight; other images stay as they are. */
export function showSelf(spec: ContainerSpec, options: SelfOptions): ContainerSpec {
  if (builtInImage(spec.image) !== 'dns') return spec;
  const covered = [...scratch, ...options.hidden];
  const files = options.selfPaths
    .filter((path) => covered.some((directory) => path.startsWith(`${directory}/`)))
    .map((path) => ({ source: path, target: path, readOnly: true }));
  const cache = compileCache(effectiveUser(spec));
  const environment = cache === undefined ? {} : { NODE_COMPILE_CACHE: dirname(cache.target) };
  return {
    ...spec,
    env: { ...environment, ...spec.env },
    mounts: [...spec.mounts, ...files, ...(cache === undefined ? [] : [cache])],
  };
}

/**
 * Node keeps what it compiled in a directory per user, whose name ends with the user's id; a
 * program that finds it there starts in a third of the time. Ours is not for others to write.
 */
function compileCache(user: number): Mount | undefined {
  const own = getCompileCacheDir();
  if (own === undefined || !/-\d+$/.test(own)) return undefined;
  const directory = own.replace(/-\d+$/, `-${user}`);
  mkdirSync(directory, { recursive: true, mode: 0o755 });
  if (user !== process.getuid?.()) chownSync(directory, user, -1);
  return { source: directory, target: directory, readOnly: directory === own };
}
