/** What stands at a place in the cluster domain. */
import { under, type Name } from '../wire/name.ts';
import { undash, type Place, type ServicePlace } from './grammar.ts';
import { localAddresses } from './nameservers.ts';
import { addressOf, type Address, type Port, type ServiceEntry } from './objects.ts';
import type { Zones } from './zones.ts';

/** One address behind a name with one of its ports. */
export type Item = {
  /** The endpoint's label; empty: the name of the Service itself. */
  readonly host: string;
  /** The cluster whose name the endpoint stands below, in multicluster zones. */
  readonly cluster?: string | undefined;
  readonly address: Address;
  /** Undefined: no SRV record (D33f). */
  readonly port: number | undefined;
};

export type Found =
  | { readonly kind: 'missing' }
  /** The name exists and has no records, only names below it or other families. */
  | { readonly kind: 'empty' }
  | { readonly kind: 'alias'; readonly target: Name }
  /** `base` is the name that hosts stand under. */
  | { readonly kind: 'items'; readonly base: Name; readonly items: readonly Item[] };

const missing: Found = { kind: 'missing' };
const empty: Found = { kind: 'empty' };

/** `zone` is how the asker spells the domain: targets end in it (D9). */
export function find(zones: Zones, place: Place, zone: Name): Found {
  switch (place.kind) {
    case 'apex':
    case 'version':
      return empty;
    case 'branch':
      return place.of === 'dns' && zones.strictCoredns ? missing : empty;
    case 'namespace':
      return findNamespace(zones, place.of, place.namespace);
    case 'nameserver':
      return { kind: 'items', base: zone, items: localAddresses(zones).map(withoutPort) };
    case 'pod':
      return findPod(zones, place, zone);
    case 'service':
      return findService(zones, place, zone);
    default:
      return missing;
  }
}

function withoutPort(address: Address): Item {
  return { host: '', address, port: undefined };
}

function findNamespace(zones: Zones, of: 'svc' | 'pod', namespace: string): Found {
  // Without pod records the whole tree is gone, namespaces included (D6).
  if (of === 'pod' && zones.podRecords === 'disabled') return missing;
  return zones.data.hasNamespace(namespace) ? empty : missing;
}

/** `10-0-0-1.<ns>.pod.<zone>` (D48-D52). */
function findPod(zones: Zones, place: { namespace: string; pod: string }, zone: Name): Found {
  if (zones.podRecords === 'disabled' || !zones.data.hasNamespace(place.namespace)) return missing;
  const address = addressOf(undash(place.pod));
  if (address === undefined) return missing;
  if (zones.podRecords === 'verified' && !zones.data.hasPod(place.namespace, address.text)) {
    return missing;
  }
  const base = under(place.pod, under(place.namespace, under('pod', zone)));
  return { kind: 'items', base, items: [{ host: '', address, port: 0 }] };
}

function findService(zones: Zones, place: ServicePlace, zone: Name): Found {
  if (!zones.data.hasNamespace(place.namespace)) return missing;
  const service = zones.data.service(place.namespace, place.service);
  if (service === undefined) return missing;
  // Only endpoints have a topology zone (D12).
  if (place.topology !== undefined && service.kind !== 'headless') return missing;
  if (service.kind === 'alias') return findAlias(service, place);
  const base = zones.nameOfService(service, zone);
  if (zones.ignoreEmptyService && service.kind === 'address' && !hasEndpoint(zones, service)) {
    return missing;
  }
  if (service.kind === 'headless' || place.endpoint !== undefined) {
    return findEndpoints(zones, service, place, base);
  }
  const ports = portsMatching(service.ports, place.port);
  if (ports === undefined) return missing;
  if (service.addresses.length === 0) return empty;
  const items = service.addresses.flatMap((address) =>
    ports.map((port) => ({ host: '', address, port })),
  );
  return { kind: 'items', base, items };
}

function hasEndpoint(zones: Zones, service: ServiceEntry): boolean {
  return [...zones.data.slicesOf(service)].some(({ endpoints }) => endpoints.length > 0);
}

/** There is nothing below an ExternalName (D40c, D47). */
function findAlias(service: ServiceEntry, place: ServicePlace): Found {
  const below = place.endpoint !== undefined || place.port !== undefined;
  if (below || service.target === undefined) return missing;
  return { kind: 'alias', target: service.target };
}

function findEndpoints(
  zones: Zones,
  service: ServiceEntry,
  place: ServicePlace,
  base: Name,
): Found {
  const { items, alias } = endpointItems(zones, service, place);
  if (items.length > 0) return { kind: 'items', base, items };
  if (alias !== undefined) return { kind: 'alias', target: alias };
  if (place.topology !== undefined) {
    const { topology: _, ...anywhere } = place;
    return place.topology.prefer ? findEndpoints(zones, service, anywhere, base) : empty;
  }
  return isPortBranch(zones, service, place) ? empty : missing;
}

function endpointItems(zones: Zones, service: ServiceEntry, place: ServicePlace) {
  const items: Item[] = [];
  let alias: Name | undefined;
  for (const { cluster, endpoints, ports: all } of zones.data.slicesOf(service)) {
    const ports = portsMatching(all, place.port);
    // An endpoint of another cluster is named with that cluster only (D13).
    const elsewhere = place.endpoint !== undefined && place.cluster !== cluster;
    if (ports === undefined || elsewhere) continue;
    for (const { host, address, target, zone } of endpoints) {
      if (place.endpoint !== undefined && place.endpoint !== host) continue;
      if (place.topology !== undefined && place.topology.zone !== zone) continue;
      if (address === undefined) alias ??= target;
      else for (const port of ports) items.push({ host, cluster, address, port });
    }
  }
  return { items, alias };
}

/** `_tcp.<svc>` exists where `_http._tcp.<svc>` does (RFC 8020); CoreDNS denies it (D33e). */
function isPortBranch(zones: Zones, service: ServiceEntry, place: ServicePlace): boolean {
  if (zones.strictCoredns || place.endpoint?.startsWith('_') !== true) return false;
  const protocol = place.endpoint.slice(1);
  const named = (ports: readonly Port[]) =>
    ports.some((port) => port.name !== '' && port.protocol === protocol);
  if (service.kind === 'address') return named(service.ports);
  const slices = [...zones.data.slicesOf(service)];
  return slices.some((slice) => slice.endpoints.length > 0 && named(slice.ports));
}

/** Port numbers; undefined when a port was asked for that is not there (D33e). */
function portsMatching(
  ports: readonly Port[],
  asked: { name: string; protocol: string } | undefined,
): readonly (number | undefined)[] | undefined {
  if (asked === undefined) return ports.length === 0 ? [undefined] : ports.map(({ port }) => port);
  const matching = ports.filter(
    (port) =>
      (asked.name === '' || asked.name === port.name) &&
      (asked.protocol === '' || asked.protocol === port.protocol),
  );
  return matching.length === 0 ? undefined : matching.map(({ port }) => port);
}
