/** The Node object: what this machine is and has (K28). */
import { readFileSync } from 'node:fs';
import { arch, availableParallelism, hostname, release, totalmem } from 'node:os';
import type { Condition } from '../api/meta.ts';
import type { Node } from '../api/types.ts';
import { formatTime } from '../lib/clock.ts';

export type NodeFacts = {
  readonly nodeName: string;
  readonly nodeIPs: readonly string[];
  readonly port: number;
  readonly runtimeVersion: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Given when nobody else hands out pod ranges. */
  readonly podCidrs: readonly string[] | undefined;
  readonly podsMax: number;
};

/** The Kubernetes release whose behaviour the agent follows; clients parse it as a version. */
export const kubeletVersion = 'v1.33.4-fairlead.0.1.0';

/** The object as it is registered. */
export function nodeObject(facts: NodeFacts, nowMs: number): Node {
  const { podCidrs } = facts;
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: facts.nodeName, labels: nodeLabels(facts) },
    spec: podCidrs?.[0] === undefined ? {} : { podCIDR: podCidrs[0], podCIDRs: [...podCidrs] },
    status: nodeStatus(facts, nowMs, []),
  };
}

/** Labels every node has; the caller's own come on top. */
export function nodeLabels(facts: NodeFacts): Record<string, string> {
  return {
    'kubernetes.io/hostname': facts.nodeName,
    'kubernetes.io/os': 'linux',
    'kubernetes.io/arch': goArchitecture(),
    ...facts.labels,
  };
}

/** `old` are the conditions the API holds, for the times of their transitions. */
export function nodeStatus(
  facts: NodeFacts,
  nowMs: number,
  old: readonly Condition[],
): NonNullable<Node['status']> {
  const capacity = nodeCapacity(facts.podsMax);
  return {
    capacity,
    allocatable: capacity,
    conditions: conditions(nowMs, old),
    addresses: [
      ...facts.nodeIPs.map((address) => ({ type: 'InternalIP' as const, address })),
      { type: 'Hostname', address: facts.nodeName },
    ],
    daemonEndpoints: { kubeletEndpoint: { Port: facts.port } },
    nodeInfo: nodeInfo(facts.runtimeVersion),
  };
}

/** What the machine has; the agent itself takes too little to be subtracted. */
export function nodeCapacity(podsMax: number): Record<string, string> {
  return {
    cpu: String(availableParallelism()),
    memory: `${Math.floor(totalmem() / 1024)}Ki`,
    pods: String(podsMax),
  };
}

function conditions(nowMs: number, old: readonly Condition[]): Condition[] {
  const now = formatTime(nowMs);
  const texts: [string, Condition['status'], string, string][] = [
    [
      'MemoryPressure',
      'False',
      'KubeletHasSufficientMemory',
      'kubelet has sufficient memory available',
    ],
    ['DiskPressure', 'False', 'KubeletHasNoDiskPressure', 'kubelet has no disk pressure'],
    ['PIDPressure', 'False', 'KubeletHasSufficientPID', 'kubelet has sufficient PID available'],
    ['Ready', 'True', 'KubeletReady', 'kubelet is posting ready status'],
  ];
  return texts.map(([type, status, reason, message]) => {
    const before = old.find((condition) => condition.type === type);
    const since = before?.status === status ? before.lastTransitionTime : undefined;
    return {
      type,
      status,
      reason,
      message,
      lastHeartbeatTime: now,
      lastTransitionTime: since ?? now,
    };
  });
}

function nodeInfo(runtimeVersion: string): Record<string, string> {
  const machineID = firstLine('/etc/machine-id');
  return {
    machineID,
    systemUUID: machineID,
    bootID: firstLine('/proc/sys/kernel/random/boot_id'),
    kernelVersion: release(),
    osImage: osImage(),
    containerRuntimeVersion: runtimeVersion,
    kubeletVersion,
    kubeProxyVersion: kubeletVersion,
    operatingSystem: 'linux',
    architecture: goArchitecture(),
  };
}

function osImage(): string {
  const name = /^PRETTY_NAME="?([^"\n]*)"?$/m.exec(readIfPresent('/etc/os-release'))?.[1];
  return name ?? `Linux (${hostname()})`;
}

/** Kubernetes names architectures as Go does. */
function goArchitecture(): string {
  const names: Readonly<Record<string, string>> = { x64: 'amd64', ia32: '386', ppc64: 'ppc64le' };
  return names[arch()] ?? arch();
}

function firstLine(path: string): string {
  return readIfPresent(path).split('\n')[0] ?? '';
}

function readIfPresent(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  }
}
