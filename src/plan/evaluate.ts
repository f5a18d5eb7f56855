/** What a plan does with the first packet of a connection, answered without a kernel. */
import type { Protocol } from '../api/types.ts';
import { cidrContains, familyOf, parseCidr } from '../lib/ip.ts';
import { sourceTarget } from './source-hash.ts';
import {
  frontendKey,
  targetKey,
  type ForwardingPlan,
  type InterfaceMatch,
  type PlannedFrontend,
  type PortPlan,
  type Target,
} from './types.ts';

/** The first packet of a connection. */
export type Packet = {
  readonly source: string;
  readonly destination: string;
  readonly protocol: Protocol;
  /** Destination port. */
  readonly port: number;
  /** The endpoint this client was given last, if its affinity has not run out. */
  readonly pinned?: { readonly address: string; readonly port: number };
  /** The interface it comes in by; absent for what starts on the node itself. */
  readonly inputInterface?: string;
};

/** Where a packet comes from, as the rules can tell. */
export type Origin = 'pod' | 'node' | 'outside';

/** An endpoint a packet may be sent to, and whether its source is rewritten on the way. */
export type Candidate = Target & { readonly masquerade: boolean };

/** Why a packet is refused. */
export type RefusalReason =
  | 'no-endpoints'
  | 'no-local-endpoints'
  | 'source-not-allowed'
  | 'port-not-defined'
  | 'address-not-allocated';

export type Outcome =
  | {
      readonly verdict: 'dnat';
      readonly origin: Origin;
      readonly frontend: PlannedFrontend;
      /** Any of them; one only, when affinity or the source address decides. */
      readonly endpoints: readonly Candidate[];
    }
  | {
      readonly verdict: 'reject' | 'drop';
      readonly reason: RefusalReason;
      readonly frontend?: PlannedFrontend;
    }
  /** Not Service traffic. */
  | { readonly verdict: 'pass'; readonly localhost?: LocalhostOutcome };

/**
 * What becomes of a packet to a node port on a loopback address (P36): the proxy's own process
 * hands it on, or it is counted and left to whoever listens there.
 */
export type LocalhostOutcome = {
  readonly portId: string;
  readonly forwarded: boolean;
};

/** Says what the node does with the packet. */
export function evaluate(plan: ForwardingPlan, packet: Packet): Outcome {
  const frontend = plan.frontends.get(frontendKey({ ...packet, address: packet.destination }));
  const port = frontend && plan.ports.get(frontend.portId);
  if (frontend === undefined || port === undefined) return evaluateUnknown(plan, packet);
  if (frontend.sources?.some((cidr) => contains(cidr, packet.source)) === false) {
    return { verdict: 'drop', reason: 'source-not-allowed', frontend };
  }
  const origin = originOf(plan, packet);
  const pool = poolOf(frontend, port, origin);
  if (pool.length === 0) return refusalOf(frontend, port);
  const chosen = pinnedIn(pool, port, packet) ?? hashedIn(pool, port, packet) ?? pool;
  const masquerade = masquerades(frontend, origin);
  const endpoints = chosen.map((target) => ({
    ...target,
    masquerade:
      // What comes from elsewhere and ends on the node itself leaves by no interface.
      (masquerade && (origin === 'node' || !plan.node.addresses.includes(target.address))) ||
      // A pod that reaches itself must see its own answer come back through the node (P26).
      (target.local && target.address === packet.source),
  }));
  return { verdict: 'dnat', origin, frontend, endpoints };
}

/** Whether it comes from a pod is asked first: that is the order of the rules. */
export function originOf(
  plan: ForwardingPlan,
  { source, inputInterface }: Pick<Packet, 'source' | 'inputInterface'>,
): Origin {
  const { podInterface, podCidrs } = plan.options;
  if (podInterface === undefined) {
    if (podCidrs.some((cidr) => contains(cidr, source))) return 'pod';
  } else if (matches(podInterface, inputInterface ?? '')) {
    return 'pod';
  }
  return plan.node.addresses.includes(source) || isLoopback(source) ? 'node' : 'outside';
}

function matches({ kind, text }: InterfaceMatch, name: string): boolean {
  return kind === 'name' ? name === text : name.startsWith(text);
}

/** The refusal of a frontend whose pool is empty: P93 without any endpoint, else P94. */
export function refusalOf(
  frontend: PlannedFrontend,
  port: PortPlan,
): { verdict: 'reject' | 'drop'; reason: RefusalReason; frontend: PlannedFrontend } {
  return port.cluster.length === 0 && port.local.length === 0
    ? { verdict: 'reject', reason: 'no-endpoints', frontend }
    : { verdict: 'drop', reason: 'no-local-endpoints', frontend };
}

function evaluateUnknown(plan: ForwardingPlan, packet: Packet): Outcome {
  if (plan.clusterIPs.has(packet.destination)) {
    return { verdict: 'reject', reason: 'port-not-defined' };
  }
  return plan.options.serviceCidrs.some((cidr) => contains(cidr, packet.destination))
    ? { verdict: 'drop', reason: 'address-not-allocated' }
    : evaluateLocalhost(plan, packet);
}

function evaluateLocalhost(plan: ForwardingPlan, packet: Packet): Outcome {
  const { destination, protocol, port: number } = packet;
  if (!isLoopback(destination)) return { verdict: 'pass' };
  const family = familyOf(destination);
  const port = [...plan.ports.values()].find(
    (one) => one.nodePort === number && one.protocol === protocol && one.family === family,
  );
  if (port === undefined) return { verdict: 'pass' };
  const served = plan.node.loopback?.includes(destination) === true && protocol === 'TCP';
  const forwarded = served && port.cluster.length > 0;
  return { verdict: 'pass', localhost: { portId: port.id, forwarded } };
}

function poolOf(frontend: PlannedFrontend, port: PortPlan, origin: Origin): readonly Target[] {
  if (frontend.pool === 'bySource') return origin === 'outside' ? port.local : port.cluster;
  return frontend.pool === 'local' ? port.local : port.cluster;
}

function pinnedIn(
  pool: readonly Target[],
  port: PortPlan,
  packet: Packet,
): readonly Target[] | undefined {
  if (port.affinitySeconds === 0 || packet.pinned === undefined) return undefined;
  const wanted = targetKey(packet.pinned);
  const pinned = pool.find((target) => targetKey(target) === wanted);
  return pinned && [pinned];
}

function hashedIn(
  pool: readonly Target[],
  port: PortPlan,
  packet: Packet,
): readonly Target[] | undefined {
  if (port.balancing !== 'sourceHash') return undefined;
  const target = sourceTarget(pool, packet.source);
  return target && [target];
}

function masquerades({ masquerade }: PlannedFrontend, origin: Origin): boolean {
  if (masquerade === 'outsiders') return origin !== 'pod';
  return masquerade === 'node' ? origin === 'node' : masquerade === 'always';
}

function isLoopback(address: string): boolean {
  return address === '::1' || (address.startsWith('127.') && !address.includes(':'));
}

function contains(cidr: string, address: string): boolean {
  const parsed = parseCidr(cidr);
  return parsed !== undefined && cidrContains(parsed, address);
}
