/**
 * What a node does with Service traffic, as plain data: no kernel, no API objects. Backends realise
 * a plan, the evaluator answers from it, and `explain` holds one against the other.
 */
import type { Protocol } from '../api/types.ts';
import type { IpFamily } from '../lib/ip.ts';

/** Where a connection ends. */
export type Target = {
  readonly address: string;
  readonly port: number;
  /** On the node that the plan is for. */
  readonly local: boolean;
};

export type FrontendKind = 'clusterIP' | 'loadBalancerIP' | 'externalIP' | 'nodePort';

/**
 * Which endpoints a connection may reach. `bySource` is externalTrafficPolicy Local: the node's own
 * pods and processes reach all of them, everybody else only the local ones (P58, P60, P62).
 */
export type PoolChoice = 'cluster' | 'local' | 'bySource';

/**
 * Whose source address is rewritten to the node's. `outsiders`: every source outside the pod
 * ranges (P59, P61). `node`: only connections that start on this node (P60).
 */
export type Masquerade = 'never' | 'always' | 'outsiders' | 'node';

/** One address a Service port answers on. */
export type Frontend = {
  readonly kind: FrontendKind;
  readonly address: string;
  readonly protocol: Protocol;
  readonly port: number;
  readonly pool: PoolChoice;
  readonly masquerade: Masquerade;
  /** Only these prefixes may connect, others are dropped (P51); absent: everybody may. */
  readonly sources?: readonly string[];
};

/** One port of one Service in one IP family. */
export type PortPlan = {
  /** `namespace/name:portName/TCP/ipv4`. */
  readonly id: string;
  /** `namespace/name`. */
  readonly service: string;
  readonly portName: string;
  readonly protocol: Protocol;
  readonly family: IpFamily;
  readonly frontends: readonly Frontend[];
  /** Endpoints for policy Cluster, in order of address and port. */
  readonly cluster: readonly Target[];
  /** Endpoints for policy Local. */
  readonly local: readonly Target[];
  /** Every endpoint that still answers, whatever policies say: their flows are kept (P103). */
  readonly serving: readonly Target[];
  /** How long a client stays with its endpoint; 0: no affinity. */
  readonly affinitySeconds: number;
  /** Default: `random`. */
  readonly balancing?: Balancing;
  /** The Service's own, whatever addresses answer on it. */
  readonly nodePort?: number;
};

/** The HTTP port that tells a balancer whether this node has endpoints of the Service (P118). */
export type HealthCheckPlan = {
  readonly port: number;
  /** Distinct local ready endpoint addresses. */
  readonly localEndpoints: number;
};

/** Something about a Service that may surprise its owner. */
export type Notice = {
  readonly type: 'Normal' | 'Warning';
  /** One word in UpperCamelCase, as Events have it. */
  readonly reason: string;
  readonly message: string;
};

/** All of one Service. */
export type ServicePlan = {
  /** `namespace/name`. */
  readonly service: string;
  /** creationTimestamp: of two Services that claim one address the older has it (P44). */
  readonly since: string;
  readonly ports: readonly PortPlan[];
  /** Active cluster IPs; their undefined ports are rejected (P91). */
  readonly clusterIPs: readonly string[];
  readonly healthCheck?: HealthCheckPlan;
  readonly notices?: readonly Notice[];
};

/** What the plan must know of the node it is for. */
export type NodeFacts = {
  readonly name: string;
  /** Label `topology.kubernetes.io/zone`. */
  readonly zone?: string;
  /** The node's own addresses, one per family: its name to the cluster (P52). */
  readonly nodeIPs: readonly string[];
  /** Addresses on the node's interfaces; only the evaluator asks for them. */
  readonly addresses: readonly string[];
  /** Those of them that answer on node ports. */
  readonly nodePortAddresses: readonly string[];
  /** Loopback addresses whose TCP node ports a process serves (P36). */
  readonly loopback?: readonly string[];
};

/** Interfaces by name, or by how their names begin. */
export type InterfaceMatch = { readonly kind: 'name' | 'prefix'; readonly text: string };

/**
 * How connections choose among the endpoints of a pool: each for itself, strictly in turn, or by
 * the client's address, so that few clients move when endpoints change.
 */
export const BALANCINGS = ['random', 'roundRobin', 'sourceHash'] as const;
export type Balancing = (typeof BALANCINGS)[number];

export type PlanOptions = {
  /** Sources inside are pods. A family without a prefix has no local-traffic detector (P63). */
  readonly podCidrs: readonly string[];
  /** Packets that come in here are from pods, in both families; `podCidrs` is empty then (P66). */
  readonly podInterface?: InterfaceMatch;
  /** Masquerades pods towards cluster IPs as well (P64). */
  readonly masqueradeAll: boolean;
  /** New connections to unallocated addresses inside are dropped (P92). */
  readonly serviceCidrs: readonly string[];
  /** Of Services that do not choose for themselves. Default: `random`. */
  readonly balancing?: Balancing;
};

/** A frontend as it stands in the plan, with the port it belongs to. */
export type PlannedFrontend = Frontend & { readonly portId: string };

/** Two Services claim one address, protocol and port; only `winner` is served there (P44). */
export type Clash = {
  readonly frontend: string;
  readonly winner: string;
  readonly loser: string;
};

/** The whole plan of one node. */
export type ForwardingPlan = {
  readonly node: NodeFacts;
  readonly options: PlanOptions;
  readonly ports: ReadonlyMap<string, PortPlan>;
  /** By `frontendKey`. */
  readonly frontends: ReadonlyMap<string, PlannedFrontend>;
  readonly clusterIPs: ReadonlySet<string>;
  readonly healthChecks: ReadonlyMap<string, HealthCheckPlan>;
  readonly clashes: readonly Clash[];
};

/** `10.96.0.1 TCP 443`: what a packet is looked up by. */
export function frontendKey(frontend: {
  address: string;
  protocol: Protocol;
  port: number;
}): string {
  return `${frontend.address} ${frontend.protocol} ${frontend.port}`;
}

/** `10.244.1.5 80`: tells targets apart. */
export function targetKey(target: { address: string; port: number }): string {
  return `${target.address} ${target.port}`;
}
