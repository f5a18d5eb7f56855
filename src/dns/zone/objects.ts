/** What DNS needs of Services and EndpointSlices, and nothing more: this is held for every object. */
import type { KubeObject } from '../../api/meta.ts';
import type { EndpointSlice, Service } from '../../api/types.ts';
import { canonicalIp, familyOf } from '../../lib/ip.ts';
import { TYPE } from '../wire/message.ts';
import { labelBytesMax, parseName, type Name } from '../wire/name.ts';

/** An address; its bytes are made when a record is, they would take six times the room of the text. */
export type Address = {
  readonly type: typeof TYPE.A | typeof TYPE.AAAA;
  /** Canonical text: equal addresses have equal text. */
  readonly text: string;
};

/** Name and protocol in lower case. A slice's port may have no number: it stands for all. */
export type Port = {
  readonly name: string;
  readonly protocol: string;
  readonly port: number | undefined;
};

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
  /** Its topology zone, where zones have names. */
  readonly zone?: string;
};

export type SliceEntry = {
  /** The cluster that exports it, where it comes from another. */
  readonly cluster?: string;
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
  return { type, text: canonical };
}

/** The part of a Service that DNS shows. */
export function serviceEntry(service: Service): ServiceEntry {
  const { spec, metadata } = service;
  const base = { namespace: shared(metadata.namespace ?? ''), name: metadata.name };
  const ports = portsOf(spec.ports ?? []);
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

/** What DNS reads of `multicluster.x-k8s.io` ServiceImports (KEP-1645). */
export type ServiceImport = KubeObject & {
  readonly spec: {
    readonly type?: 'ClusterSetIP' | 'Headless';
    readonly ips?: readonly string[];
    readonly ports?: readonly { name?: string; protocol?: string; port?: number }[];
  };
};

/** An imported Service: its ClusterSetIP is like a cluster IP (D13). */
export function importEntry({ metadata, spec }: ServiceImport): ServiceEntry {
  const base = { namespace: metadata.namespace ?? '', name: metadata.name, target: undefined };
  const ports = (spec.ports ?? []).map(portOf);
  if (spec.type === 'Headless') return { ...base, kind: 'headless', addresses: [], ports };
  const addresses = (spec.ips ?? []).map(addressOf).filter((address) => address !== undefined);
  return { ...base, kind: 'address', addresses, ports };
}

/** An IP address is no host name: such an ExternalName has no records (D46). */
function hostNameOf(text: string): Name | undefined {
  if (text === '' || text === '.' || familyOf(text) !== undefined) return undefined;
  return parseName(text);
}

const texts = new Map<string, string>();
const portLists = new Map<string, readonly Port[]>();
/** Few are different, and then they are all that is held. */
const sharedMax = 4096;

/** The same text, held once: JSON brings a copy with each object. */
function shared(text: string): string {
  return held(texts, text, () => text);
}

function held<T>(known: Map<string, T>, key: string, make: () => T): T {
  const found = known.get(key);
  if (found !== undefined) return found;
  if (known.size >= sharedMax) known.clear();
  const made = make();
  known.set(key, made);
  return made;
}

/** Most Services have one of a few lists of ports. */
function portsOf(ports: readonly { name?: string; protocol?: string; port?: number }[]) {
  const list = ports.map(portOf);
  const key = list.map(({ name, protocol, port }) => `${name}/${protocol}/${port}`).join(' ');
  return held(portLists, key, () => list);
}

function portOf(port: { name?: string; protocol?: string; port?: number }): Port {
  return {
    name: (port.name ?? '').toLowerCase(),
    protocol: (port.protocol ?? 'TCP').toLowerCase(),
    port: port.port,
  };
}

/** What of a slice is kept beside the usual. */
export type SliceOptions = {
  /** An endpoint without a hostname is called after its pod (`endpoint_pod_names`). */
  readonly podNames?: boolean;
  /** Topology zones are kept (`zonal`). */
  readonly zonal?: boolean;
  /** The slices of ServiceImports instead of those of Services (`multicluster`). */
  readonly imported?: boolean;
};

/** The labels that tie a slice to its Service; a slice without them is nobody's (D24, D13). */
const serviceNameLabel = 'kubernetes.io/service-name';
const importNameLabel = 'multicluster.kubernetes.io/service-name';
const clusterLabel = 'multicluster.kubernetes.io/source-cluster';

/** The ready endpoints of a slice; undefined when it belongs to no Service. */
export function sliceEntry(
  slice: EndpointSlice,
  options: SliceOptions = {},
): SliceEntry | undefined {
  const { labels } = slice.metadata;
  const service = labels?.[options.imported === true ? importNameLabel : serviceNameLabel];
  if (service === undefined || service === '') return undefined;
  const cluster = options.imported === true ? labels?.[clusterLabel]?.toLowerCase() : undefined;
  const endpoints: EndpointEntry[] = [];
  for (const endpoint of slice.endpoints ?? []) {
    // Unset means ready; serving and terminating do not count (D19).
    if (endpoint.conditions?.ready === false) continue;
    for (const text of endpoint.addresses ?? []) {
      const address = addressOf(text);
      const target = address === undefined ? hostNameOf(text) : undefined;
      if (address === undefined && target === undefined) continue;
      const host = endpointName(endpoint, text, options);
      if (host.length > labelBytesMax) continue;
      const zone = options.zonal === true ? endpoint.zone?.toLowerCase() : undefined;
      endpoints.push({ host, address, target, ...(zone === undefined ? {} : { zone }) });
    }
  }
  const ports = portsOf(slice.ports ?? []);
  const namespace = shared(slice.metadata.namespace ?? '');
  const base = { namespace, service, endpoints, ports };
  return cluster === undefined ? base : { ...base, cluster };
}

/** The hostname, or the pod's name if asked for, or else the address with dashes: one of them (D20). */
function endpointName(
  { hostname, targetRef }: EndpointSlice['endpoints'][number],
  address: string,
  { podNames }: SliceOptions,
): string {
  if (hostname !== undefined && hostname !== '') return hostname.toLowerCase();
  const podName = podNames === true ? (targetRef?.name ?? '') : '';
  if (podName !== '' && podName.length <= labelBytesMax) return podName.toLowerCase();
  const canonical = canonicalIp(address) ?? address;
  const dashed = canonical.replaceAll(/[.:]/g, '-').toLowerCase();
  // A label must not end in a dash: 2001:db8:: is 2001-db8--0.
  return dashed.endsWith('-') ? `${dashed}0` : dashed;
}
