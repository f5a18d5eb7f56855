/** What DNS needs of Services and EndpointSlices, and nothing more: this is held for every object. */
import type { EndpointSlice, Service } from '../../api/types.ts';
import { canonicalIp, familyOf, ipBytes } from '../../lib/ip.ts';
import { TYPE } from '../wire/message.ts';
import { labelBytesMax, parseName, type Name } from '../wire/name.ts';

/** An address as its record holds it. */
export type Address = {
  readonly type: typeof TYPE.A | typeof TYPE.AAAA;
  /** Canonical text: equal addresses have equal text. */
  readonly text: string;
  readonly data: readonly [Uint8Array];
};

/** Name and protocol in lower case. */
export type Port = { readonly name: string; readonly protocol: string; readonly port: number };

export type ServiceEntry = {
  readonly namespace: string;
  readonly name: string;
  /** `alias` is type ExternalName. */
  readonly kind: 'address' | 'headless' | 'alias';
  readonly addresses: readonly Address[];
  readonly ports: readonly Port[];
  /** Where an alias points; undefined when its text is no host name (D46). */
  readonly target: Name | undefined;
};

/** A ready endpoint: its one name below the service, and an address or a host name elsewhere. */
export type EndpointEntry = {
  readonly host: string;
  readonly address: Address | undefined;
  readonly target: Name | undefined;
};

export type SliceEntry = {
  readonly namespace: string;
  /** Name of the Service it belongs to. */
  readonly service: string;
  readonly endpoints: readonly EndpointEntry[];
  readonly ports: readonly Port[];
};

/** The address of a text, or undefined when it is none. */
export function addressOf(text: string): Address | undefined {
  const canonical = canonicalIp(text);
  if (canonical === undefined) return undefined;
  const type = familyOf(canonical) === 'ipv4' ? TYPE.A : TYPE.AAAA;
  return { type, text: canonical, data: [ipBytes(canonical)] };
}

/** The part of a Service that DNS shows. */
export function serviceEntry(service: Service): ServiceEntry {
  const { spec, metadata } = service;
  const base = { namespace: metadata.namespace ?? '', name: metadata.name };
  const ports = (spec.ports ?? []).map(portOf);
  if (spec.type === 'ExternalName') {
    const target = hostNameOf(spec.externalName ?? '');
    return { ...base, kind: 'alias', addresses: [], ports, target };
  }
  if (spec.clusterIP === 'None') {
    return { ...base, kind: 'headless', addresses: [], ports, target: undefined };
  }
  const texts = spec.clusterIPs ?? [spec.clusterIP ?? ''];
  const addresses = texts.map(addressOf).filter((address) => address !== undefined);
  return { ...base, kind: 'address', addresses, ports, target: undefined };
}

/** An IP address is no host name: such an ExternalName has no records (D46). */
function hostNameOf(text: string): Name | undefined {
  if (text === '' || text === '.' || familyOf(text) !== undefined) return undefined;
  return parseName(text);
}

function portOf(port: { name?: string; protocol?: string; port?: number }): Port {
  return {
    name: (port.name ?? '').toLowerCase(),
    protocol: (port.protocol ?? 'TCP').toLowerCase(),
    port: port.port ?? 0,
  };
}

/** The label that ties a slice to its Service; a slice without it is nobody's (D24). */
const serviceNameLabel = 'kubernetes.io/service-name';

/** The ready endpoints of a slice; undefined when it belongs to no Service. */
export function sliceEntry(slice: EndpointSlice): SliceEntry | undefined {
  const service = slice.metadata.labels?.[serviceNameLabel];
  if (service === undefined || service === '') return undefined;
  const endpoints: EndpointEntry[] = [];
  for (const endpoint of slice.endpoints ?? []) {
    // Unset means ready; serving and terminating do not count (D19).
    if (endpoint.conditions?.ready === false) continue;
    for (const text of endpoint.addresses ?? []) {
      const address = addressOf(text);
      const target = address === undefined ? hostNameOf(text) : undefined;
      if (address === undefined && target === undefined) continue;
      const host = endpointName(endpoint.hostname, text);
      if (host.length <= labelBytesMax) endpoints.push({ host, address, target });
    }
  }
  const ports = (slice.ports ?? []).filter((port) => port.port !== undefined).map(portOf);
  return { namespace: slice.metadata.namespace ?? '', service, endpoints, ports };
}

/** The hostname, or else the address with dashes, and never both (D20). */
function endpointName(hostname: string | undefined, address: string): string {
  if (hostname !== undefined && hostname !== '') return hostname.toLowerCase();
  const canonical = canonicalIp(address) ?? address;
  const dashed = canonical.replaceAll(/[.:]/g, '-').toLowerCase();
  // A label must not end in a dash: 2001:db8:: is 2001-db8--0.
  return dashed.endsWith('-') ? `${dashed}0` : dashed;
}
