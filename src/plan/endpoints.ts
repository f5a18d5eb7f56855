/** Which endpoints of a Service port may be used: readiness, termination, topology (P73-P82). */
import type { Endpoint, EndpointSlice, Protocol } from '../api/types.ts';
import type { IpFamily } from '../lib/ip.ts';
import { isPortNumber, normalIpOf } from './address.ts';
import type { NodeFacts, Target } from './types.ts';

/** What one Service port asks of the slices. */
export type EndpointQuery = {
  readonly portName: string;
  readonly protocol: Protocol;
  readonly family: IpFamily;
  readonly node: NodeFacts;
};

/** The endpoint sets of one Service port; each is ordered, and disjoint from nothing. */
export type EndpointSets = {
  readonly cluster: readonly Target[];
  readonly local: readonly Target[];
  readonly serving: readonly Target[];
  /** Distinct addresses of local ready endpoints (P119). */
  readonly localReady: readonly string[];
};

/** The target is one object in all sets. */
type Candidate = {
  readonly target: Target;
  readonly ready: boolean;
  readonly serving: boolean;
  readonly terminating: boolean;
  readonly zones: readonly string[];
  readonly nodes: readonly string[];
};

/** Chooses the endpoints of one port from the slices of its Service, in any order. */
export function selectEndpoints(
  slices: readonly EndpointSlice[],
  query: EndpointQuery,
): EndpointSets {
  const all = collect(slices, query);
  const ready = all.filter((endpoint) => endpoint.ready);
  const draining = all.filter((endpoint) => !endpoint.ready && canDrain(endpoint));
  const localReady = ready.filter(({ target }) => target.local);
  const cluster = ready.length > 0 ? nearest(ready, query.node) : draining;
  const local = localReady.length > 0 ? localReady : draining.filter(({ target }) => target.local);
  return {
    cluster: cluster.map(targetOf),
    local: local.map(targetOf),
    serving: all.filter((endpoint) => endpoint.serving || endpoint.ready).map(targetOf),
    localReady: [...new Set(localReady.map(({ target }) => target.address))],
  };
}

function canDrain(endpoint: Candidate): boolean {
  return endpoint.serving && endpoint.terminating;
}

function targetOf(candidate: Candidate): Target {
  return candidate.target;
}

/** All or nothing: one ready endpoint without a hint turns the mode off (P78, P79). */
function nearest(ready: readonly Candidate[], node: NodeFacts): readonly Candidate[] {
  const onNode = hinted(ready, (one) => one.nodes, node.name);
  if (onNode !== undefined) return onNode;
  return (node.zone && hinted(ready, (one) => one.zones, node.zone)) || ready;
}

function hinted(
  ready: readonly Candidate[],
  hintsOf: (endpoint: Candidate) => readonly string[],
  mine: string,
): readonly Candidate[] | undefined {
  if (ready.some((endpoint) => hintsOf(endpoint).length === 0)) return undefined;
  const near = ready.filter((endpoint) => hintsOf(endpoint).includes(mine));
  return near.length > 0 ? near : undefined;
}

function collect(slices: readonly EndpointSlice[], query: EndpointQuery): Candidate[] {
  /** By port, then address: a key made of both would be a new text for each endpoint. */
  const found = new Map<number, Map<string, Candidate>>();
  const addressType = query.family === 'ipv4' ? 'IPv4' : 'IPv6';
  for (const slice of slices.toSorted(byName)) {
    if (slice.addressType !== addressType) continue;
    for (const port of portNumbers(slice, query)) {
      const ofPort = found.get(port) ?? new Map<string, Candidate>();
      found.set(port, ofPort);
      for (const endpoint of slice.endpoints ?? []) {
        const candidate = candidateOf(endpoint, port, query);
        if (candidate === undefined) continue;
        const { address } = candidate.target;
        const known = ofPort.get(address);
        if (known === undefined || rank(candidate) > rank(known)) ofPort.set(address, candidate);
      }
    }
  }
  return [...found.values()].flatMap((ofPort) => [...ofPort.values()]).sort(byAddress);
}

/** Usually one number; two while a named targetPort is being changed (P13). */
function portNumbers(slice: EndpointSlice, query: EndpointQuery): Set<number> {
  const numbers = new Set<number>();
  for (const { name, protocol, port } of slice.ports ?? []) {
    if (name === undefined || name === null || !isPortNumber(port)) continue;
    if (name === query.portName && (protocol || 'TCP') === query.protocol) numbers.add(port);
  }
  return numbers;
}

/** Only the first address counts (P10), and only one of the family asked for (P11). */
function candidateOf(
  endpoint: Endpoint,
  port: number,
  query: EndpointQuery,
): Candidate | undefined {
  const address = normalIpOf(query.family, endpoint.addresses?.[0]);
  if (address === undefined) return undefined;
  const { conditions, hints, nodeName } = endpoint;
  return {
    target: { address, port, local: nodeName !== undefined && nodeName === query.node.name },
    ready: conditions?.ready ?? true,
    serving: conditions?.serving ?? true,
    terminating: conditions?.terminating ?? false,
    zones: hints?.forZones?.map((zone) => zone.name) ?? NONE,
    nodes: hints?.forNodes?.map((node) => node.name) ?? NONE,
  };
}

/** One for all: there may be a quarter of a million endpoints. */
const NONE: readonly string[] = [];

/** Of two copies of one endpoint the local one counts, then the more usable one (P12). */
function rank(candidate: Candidate): number {
  return (
    (candidate.target.local ? 8 : 0) +
    (candidate.ready ? 4 : 0) +
    (candidate.serving ? 2 : 0) +
    (candidate.terminating ? 1 : 0)
  );
}

function byName(a: EndpointSlice, b: EndpointSlice): number {
  return compareText(a.metadata.name ?? '', b.metadata.name ?? '');
}

function byAddress(a: Candidate, b: Candidate): number {
  return compareText(a.target.address, b.target.address) || a.target.port - b.target.port;
}

function compareText(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
