/** The images that need no registry: the node's own files, and what this program brings along. */

export type BuiltInImage = 'host' | 'echo' | 'pause' | 'dns';

const names: Readonly<Record<string, BuiltInImage>> = {
  host: 'host',
  'fairlead/echo': 'echo',
  'fairlead/pause': 'pause',
  'fairlead/dns': 'dns',
};

/** The built-in image behind a name such as `docker.io/fairlead/echo:1.0`, if it is one. */
export function builtInImage(image: string): BuiltInImage | undefined {
  const name = image
    .replace(/^(docker\.io|localhost)\//, '')
    .replace(/^library\//, '')
    .replace(/@.*$/, '')
    .replace(/:[\w.-]+$/, '');
  return Object.hasOwn(names, name) ? names[name] : undefined;
}

/** Why an image cannot run in the `process` runtime, for the pod's event. */
export function refusalOf(image: string): string | undefined {
  if (builtInImage(image) !== undefined) return undefined;
  const known = Object.keys(names).join(', ');
  return (
    `Cannot run image "${image}": this node runs programs of its own file system, ` +
    `it pulls no images. Use image "host" with a command, or one of ${known}; ` +
    'other images need a node with a container runtime'
  );
}
