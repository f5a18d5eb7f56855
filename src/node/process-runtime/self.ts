/** What a container needs to run this program itself, as the image `fairlead/dns` does. */
import { builtInImage } from '../images/images.ts';
import { type ContainerSpec } from '../runtime.ts';

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
  return { ...spec, mounts: [...spec.mounts, ...files] };
}
