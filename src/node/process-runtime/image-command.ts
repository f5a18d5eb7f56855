/** What a container of each built-in image runs. */
import { UserError } from '../../lib/errors.ts';
import { builtInImage, refusalOf } from '../images/images.ts';
import { type EchoContainer } from '../images/echo-protocol.ts';
import { type ContainerSpec, type SandboxSpec } from '../runtime.ts';

/** Serves through the echo host; a container of that image with its own command does not. */
export function isPlaceholder(spec: ContainerSpec): boolean {
  return builtInImage(spec.image) === 'echo' && spec.command.length === 0;
}

/**
 * What the container runs; undefined for one that the echo host serves for. `self` starts this
 * program. Throws UserError when the spec does not say.
 */
export function commandOf(
  spec: ContainerSpec,
  self: readonly string[],
): readonly string[] | undefined {
  if (spec.command.length > 0) return [...spec.command, ...spec.args];
  switch (builtInImage(spec.image)) {
    case 'echo':
      return undefined;
    case 'pause':
      return ['sleep', 'infinity'];
    case 'dns':
      return [...self, 'dns', ...spec.args];
    case 'host':
      if (spec.args.length > 0) return spec.args;
      throw new UserError(
        'NO_COMMAND',
        `Cannot start container "${spec.name}": it has no command`,
        {
          hint: 'The image "host" is the file system of the node: say which of its programs to run',
        },
      );
    default:
      throw new UserError('IMAGE', refusalOf(spec.image)!);
  }
}

/** What the echo host must know of a container to serve for it; `netns` is the pod's. */
export function echoContainerOf(
  spec: ContainerSpec,
  { name, namespace, podIPs, hostNetwork }: SandboxSpec,
  place: { readonly node: string; readonly log: string; readonly netns: string },
): EchoContainer {
  return {
    id: spec.id,
    identity: { pod: name, namespace, node: place.node, podIPs },
    env: spec.env,
    ports: spec.ports.flatMap(({ port, protocol }) =>
      protocol === 'SCTP' ? [] : [{ port, protocol }],
    ),
    log: place.log,
    ...(!hostNetwork && { netns: place.netns }),
  };
}
