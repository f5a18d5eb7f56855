/** From a container of a pod to what the runtime starts (K14). */
import type { Container, Pod, SecurityContext } from '../../api/types.ts';
import { UserError } from '../../lib/errors.ts';
import type { ContainerSpec, Mount } from '../runtime.ts';

/** `nobody`: what runs when the pod asks for no user, since built-in images name none. */
const nobody = 65_534;

export type PreparedContainer = {
  readonly pod: Pod;
  readonly container: Container;
  readonly attempt: number;
  readonly command: readonly string[];
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly mounts: readonly Mount[];
};

/** Unique on the node. */
export function containerId(podUid: string, name: string, attempt: number): string {
  return `${podUid}/${name}/${attempt}`;
}

/** Throws UserError when the pod forbids the user it would run as. */
export function containerSpec(prepared: PreparedContainer): ContainerSpec {
  const { pod, container, attempt } = prepared;
  const uid = pod.metadata.uid ?? '';
  const security = securityOf(pod, container);
  return {
    id: containerId(uid, container.name, attempt),
    podUid: uid,
    name: container.name,
    image: container.image ?? '',
    command: prepared.command,
    args: prepared.args,
    env: prepared.env,
    workingDir: container.workingDir || '/',
    ...security,
    mounts: prepared.mounts,
    ports: (container.ports ?? []).map(({ containerPort, protocol = 'TCP' }) => ({
      port: containerPort,
      protocol,
    })),
    stdin: container.stdin ?? false,
    stdinOnce: container.stdinOnce ?? false,
    tty: container.tty ?? false,
  };
}

/** The pod's context, overruled by the container's; anything unsaid is the safe choice. */
function securityOf(pod: Pod, container: Container) {
  const podLevel = pod.spec.securityContext ?? {};
  const own: SecurityContext = { ...pickUser(podLevel), ...defined(container.securityContext) };
  const privileged = own.privileged ?? false;
  const user = own.runAsUser ?? (privileged ? 0 : nobody);
  if (own.runAsNonRoot === true && user === 0) {
    throw new UserError(
      'CONTAINER_CONFIG',
      `container's runAsUser breaks non-root policy (pod: "${pod.metadata.name}", ` +
        `container: ${container.name})`,
    );
  }
  const { fsGroup, supplementalGroups = [] } = podLevel;
  return {
    user,
    group: own.runAsGroup ?? (user === 0 ? 0 : nobody),
    supplementalGroups: [...new Set([...supplementalGroups, ...(fsGroup ? [fsGroup] : [])])],
    privileged,
    allowPrivilegeEscalation: own.allowPrivilegeEscalation ?? privileged,
    readOnlyRootFilesystem: own.readOnlyRootFilesystem ?? false,
    capabilities: { add: own.capabilities?.add ?? [], drop: own.capabilities?.drop ?? [] },
  };
}

function pickUser(context: SecurityContext): SecurityContext {
  const { runAsUser, runAsGroup, runAsNonRoot } = context;
  return defined({ runAsUser, runAsGroup, runAsNonRoot });
}

function defined(context: Record<string, unknown> | undefined): SecurityContext {
  const entries = Object.entries(context ?? {}).filter(
    ([, value]) => value !== undefined && value !== null,
  );
  return Object.fromEntries(entries) as SecurityContext;
}
