/** What runs of a lab, and what it costs. */
import { readFileSync } from 'node:fs';
import type { Node, Pod, Service } from '../api/types.ts';
import { messageOf } from '../lib/errors.ts';
import type { LabBalancer, LabConfig } from './config.ts';
import { isPoweredOn } from './node.ts';
import { kubeconfigFile, type LabPaths } from './paths.ts';
import { findComponent } from './processes.ts';
import { get, isReady } from './readiness.ts';
import { processesOfNode } from './teardown.ts';

export type ComponentStatus = {
  readonly name: string;
  readonly state: 'running' | 'starting' | 'dead' | 'off';
  readonly pid: number | undefined;
  /** Proportional set size: shared pages count for each of their users in part. */
  readonly pssBytes: number;
  /** What the API says of a node; undefined for the server, or when the API does not answer. */
  readonly ready: boolean | undefined;
  readonly addresses: readonly string[];
};

export type BalancerStatus = {
  readonly kind: 'edge' | 'layer2';
  /** Of the balancer host; it is made when a Service needs it. */
  readonly ips: readonly string[];
  /** Where addresses come from. */
  readonly cidrs: readonly string[];
  /** Those given, each with its Services as `namespace/name`. */
  readonly addresses: readonly { readonly address: string; readonly services: readonly string[] }[];
};

export type LabStatus = {
  readonly name: string;
  readonly api: string;
  /** Why the API does not answer, or undefined when it does. */
  readonly apiProblem: string | undefined;
  readonly kubeconfig: string;
  readonly components: readonly ComponentStatus[];
  readonly pods: { readonly ready: number; readonly total: number };
  /** Absent where no LoadBalancer Service gets an address. */
  readonly balancer?: BalancerStatus;
  /** Of every process of the lab, containers included. */
  readonly pssBytes: number;
};

export async function labStatus(lab: LabConfig, paths: LabPaths): Promise<LabStatus> {
  const answer = await askApi(lab, paths);
  const server = componentOf(paths, 'server', {
    on: true,
    ready: undefined,
    addresses: [`127.0.0.1:${lab.apiPort}`],
  });
  const fakes =
    lab.fakes === undefined
      ? []
      : [componentOf(paths, 'fakes', { on: true, ready: undefined, addresses: [] })];
  const nodes = lab.nodes.map((node) => {
    const object = answer.nodes.find((entry) => entry.metadata.name === node.name);
    const on = isPoweredOn(node, paths);
    return componentOf(paths, node.name, {
      on,
      ready: object === undefined ? undefined : isReady(object),
      addresses: node.ips,
    });
  });
  const { supervisor } = findComponent(paths, 'server');
  const pids = new Set(
    [
      server.pid,
      supervisor,
      ...fakes.map(({ pid }) => pid),
      ...lab.nodes.flatMap((node) => processesOfNode(node, paths)),
    ].filter((pid) => pid !== undefined),
  );
  return {
    name: lab.name,
    api: `https://127.0.0.1:${lab.apiPort}`,
    apiProblem: answer.problem,
    kubeconfig: kubeconfigFile(paths),
    components: [server, ...fakes, ...nodes],
    pods: { total: answer.pods.length, ready: answer.pods.filter(podIsReady).length },
    ...(lab.balancer === undefined
      ? {}
      : { balancer: balancerStatus(lab.balancer, answer.services) }),
    pssBytes: [...pids].reduce((sum, pid) => sum + pssOf(pid), 0),
  };
}

function balancerStatus(
  { kind, ips, cidrs }: LabBalancer,
  services: readonly Service[],
): BalancerStatus {
  const holders = new Map<string, string[]>();
  for (const { metadata, spec, status } of services) {
    if (spec.type !== 'LoadBalancer') continue;
    for (const { ip = '' } of status?.loadBalancer?.ingress ?? []) {
      holders.set(ip, [...(holders.get(ip) ?? []), `${metadata.namespace}/${metadata.name}`]);
    }
  }
  const addresses = [...holders]
    .map(([address, names]) => ({ address, services: names }))
    .toSorted((a, b) => a.address.localeCompare(b.address, 'en', { numeric: true }));
  return { kind, ips, cidrs, addresses };
}

type Facts = Pick<ComponentStatus, 'ready' | 'addresses'> & { readonly on: boolean };

function componentOf(
  paths: LabPaths,
  name: string,
  { on, ready, addresses }: Facts,
): ComponentStatus {
  const { supervisor, main } = findComponent(paths, name);
  const alive = main === undefined ? 'starting' : 'running';
  const state = !on ? 'off' : supervisor === undefined && main === undefined ? 'dead' : alive;
  return {
    name,
    state,
    pid: main,
    pssBytes: main === undefined ? 0 : pssOf(main),
    ready,
    addresses,
  };
}

type ApiAnswer = {
  readonly nodes: readonly Node[];
  readonly pods: readonly Pod[];
  readonly services: readonly Service[];
  readonly problem: string | undefined;
};

async function askApi(lab: LabConfig, paths: LabPaths): Promise<ApiAnswer> {
  try {
    const [nodes, pods, services] = await Promise.all([
      get(lab, paths, '/api/v1/nodes'),
      get(lab, paths, '/api/v1/pods'),
      get(lab, paths, '/api/v1/services'),
    ]);
    const itemsOf = <T>(text: string) => (JSON.parse(text) as { items: T[] }).items;
    return {
      nodes: itemsOf<Node>(nodes),
      pods: itemsOf<Pod>(pods),
      services: itemsOf<Service>(services),
      problem: undefined,
    };
  } catch (error) {
    return { nodes: [], pods: [], services: [], problem: messageOf(error) };
  }
}

function podIsReady(pod: Pod): boolean {
  return (
    pod.status?.conditions?.some(
      (condition) => condition.type === 'Ready' && condition.status === 'True',
    ) === true
  );
}

/** Bytes; 0 for a process that has ended. */
export function pssOf(pid: number): number {
  try {
    const match = /^Pss:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'));
    return Number(match?.[1] ?? 0) * 1024;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT' || code === 'ESRCH' || code === 'EACCES') return 0;
    throw error;
  }
}
