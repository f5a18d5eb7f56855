/** What a pod has before any container runs: address, files, volumes, network namespace. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Pod } from '../../api/types.ts';
import type { ConfigSource } from '../environment/env.ts';
import type { PodFacts } from '../environment/fields.ts';
import {
  hostNetworkHostsFile,
  kernelHostname,
  podHostsFile,
  podNames,
} from '../environment/hosts-file.ts';
import { formatResolvConf, podResolvConf, type DnsWarning } from '../environment/resolv-conf.ts';
import type { Mount } from '../runtime.ts';
import { prepareVolumes, removeVolumes, type VolumeDirs } from '../volumes/volumes.ts';
import type { NodeContext } from './context.ts';

/** The pod's own places on the node. */
export type PodDirs = VolumeDirs & { readonly etc: string };

export function podDirs(context: NodeContext, uid: string): PodDirs {
  const own = join(context.memoryDir, uid);
  return {
    etc: join(own, 'etc'),
    memory: join(own, 'volumes'),
    disk: join(context.diskDir, uid),
  };
}

/** The addresses of the pod; a hostNetwork pod has the node's. */
export async function assignAddresses(context: NodeContext, pod: Pod): Promise<string[]> {
  if (pod.spec.hostNetwork) return [...context.nodeIPs];
  return (await context.addresses()).assign(pod.metadata.uid ?? '');
}

/** Makes network and files; the warnings are events. Idempotent. */
export async function makeSandbox(
  context: NodeContext,
  pod: Pod,
  podIPs: readonly string[],
): Promise<DnsWarning[]> {
  const { metadata, spec } = pod;
  const names = podNames(pod, context.clusterDomain);
  const { etc } = podDirs(context, metadata.uid ?? '');
  const { conf, warnings } = podResolvConf(pod, { ...context, host: context.hostResolvConf });
  mkdirSync(etc, { recursive: true });
  const hosts = spec.hostNetwork
    ? hostNetworkHostsFile(pod, readFileSync('/etc/hosts', 'utf8'))
    : podHostsFile(pod, podIPs, names);
  const hostname = kernelHostname(pod, names);
  writeFileSync(join(etc, 'resolv.conf'), formatResolvConf(conf), { mode: 0o644 });
  writeFileSync(join(etc, 'hosts'), hosts, { mode: 0o644 });
  writeFileSync(join(etc, 'hostname'), `${hostname}\n`, { mode: 0o644 });
  await context.runtime.createSandbox({
    podUid: metadata.uid ?? '',
    namespace: metadata.namespace ?? '',
    name: metadata.name,
    hostname,
    hostNetwork: spec.hostNetwork ?? false,
    podIPs: spec.hostNetwork ? [] : podIPs,
    sysctls: spec.securityContext?.sysctls ?? [],
  });
  return warnings;
}

/** The files every container finds under /etc, unless it mounts its own there. */
export function etcMounts(etc: string, taken: ReadonlySet<string>, readOnly: boolean): Mount[] {
  return ['resolv.conf', 'hosts', 'hostname']
    .map((name) => ({ source: join(etc, name), target: `/etc/${name}`, readOnly }))
    .filter(({ target }) => !taken.has(target));
}

/** What the pod may read of itself. */
export function podFacts(context: NodeContext, podIPs: readonly string[]): PodFacts {
  const { nodeName, nodeIPs, allocatable } = context;
  return { nodeName, hostIPs: nodeIPs, podIPs, allocatable };
}

/** Makes the volumes, or brings their files up to date; throws VolumeError. */
export async function makeVolumes(
  context: NodeContext,
  options: { readonly pod: Pod; readonly podIPs: readonly string[]; readonly source: ConfigSource },
): Promise<void> {
  const { pod, podIPs, source } = options;
  await prepareVolumes(podDirs(context, pod.metadata.uid ?? ''), {
    pod,
    facts: podFacts(context, podIPs),
    source,
    token: (wish) => context.tokens.token(pod, wish),
  });
}

/** Removes namespaces, links, processes, volumes and files; the logs stay. Idempotent. */
export async function removeSandbox(context: NodeContext, uid: string): Promise<void> {
  await context.runtime.removeSandbox(uid);
  removeVolumes(podDirs(context, uid));
  rmSync(join(context.memoryDir, uid), { recursive: true, force: true });
  context.tokens.forget(uid);
  context.objects.release(uid);
}
