/** Starts one run of a container, step by step as its events tell it. */
import type { Container, Pod } from '../../api/types.ts';
import { containerCommand, containerEnv, type ConfigSource } from '../environment/env.ts';
import { serviceEnv, servicesFor } from '../environment/service-env.ts';
import type { ContainerSpec, Mount } from '../runtime.ts';
import { volumeMounts } from '../volumes/volumes.ts';
import { containerSpec } from './container-spec.ts';
import type { NodeContext } from './context.ts';
import { etcMounts, podDirs, podFacts } from './sandbox.ts';

export type LaunchOptions = {
  readonly pod: Pod;
  readonly container: Container;
  readonly attempt: number;
  readonly podIPs: readonly string[];
  readonly source: ConfigSource;
};

/** Everything the runtime needs; throws UserError when the pod asks for something that is missing. */
export async function prepareContainer(
  context: NodeContext,
  options: LaunchOptions,
): Promise<ContainerSpec> {
  const { pod, container, attempt, podIPs, source } = options;
  const services = servicesFor({
    namespace: pod.metadata.namespace ?? '',
    enableServiceLinks: pod.spec.enableServiceLinks ?? true,
    services: await context.services(),
  });
  const env = await containerEnv({
    pod,
    container,
    source,
    facts: podFacts(context, podIPs),
    services: serviceEnv(services),
  });
  return containerSpec({
    pod,
    container,
    attempt,
    env: { ...env, HOSTNAME: env['HOSTNAME'] ?? pod.spec.hostname ?? pod.metadata.name },
    ...containerCommand(container, env),
    mounts: mountsOf(context, pod, container),
  });
}

function mountsOf(context: NodeContext, pod: Pod, container: Container): Mount[] {
  const dirs = podDirs(context, pod.metadata.uid ?? '');
  const mounts = volumeMounts(pod, container, dirs);
  const taken = new Set(mounts.map(({ target }) => target));
  const readOnly = container.securityContext?.readOnlyRootFilesystem ?? false;
  return [...etcMounts(dirs.etc, taken, readOnly), ...mounts];
}
