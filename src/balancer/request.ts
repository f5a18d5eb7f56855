/** What a Service of type LoadBalancer asks for, read from its spec and annotations. */
import type { Service } from '../api/types.ts';
import { canonicalIp, familyOf, type IpFamily } from '../lib/ip.ts';

export type ProviderName = 'edge' | 'layer2';
export type IpMode = 'VIP' | 'Proxy';

/** Values of `spec.loadBalancerClass` that are ours. */
export const classOf: Readonly<Record<ProviderName, string>> = {
  edge: 'fairlead.dev/edge',
  layer2: 'fairlead.dev/layer2',
};

/** The API server keeps a deleted Service until this is taken off it. */
export const cleanupFinalizer = 'service.kubernetes.io/load-balancer-cleanup';

/**
 * Annotations, each with the names that manifests written for MetalLB use (metallb.io since 0.15,
 * metallb.universe.tf before).
 */
const annotations = {
  ips: [
    'fairlead.dev/load-balancer-ips',
    'metallb.io/loadBalancerIPs',
    'metallb.universe.tf/loadBalancerIPs',
  ],
  sharing: [
    'fairlead.dev/allow-shared-ip',
    'metallb.io/allow-shared-ip',
    'metallb.universe.tf/allow-shared-ip',
  ],
  ipMode: ['fairlead.dev/load-balancer-ip-mode'],
} as const;

export type Request = {
  readonly provider: ProviderName;
  /** In the order of `spec.ipFamilies`: one address of each is wanted. */
  readonly families: readonly IpFamily[];
  /** Addresses asked for by name, canonical; at most one of each family. */
  readonly ips: readonly string[];
  /** Services with the same text may have one address together. */
  readonly sharingKey: string | undefined;
  readonly ipMode: IpMode;
  /** `TCP/80`: what cannot be shared. */
  readonly ports: readonly string[];
  /** Tells whether two Services have the same pods (`selectorText`). */
  readonly selector: string;
  readonly isLocal: boolean;
};

/** Why a Service gets nothing; the texts of its event. */
export type Refusal = { readonly reason: string; readonly message: string };

/** Who serves the Service: one of ours, `other` by its class, or nobody since it is of another type. */
export function providerOf(
  { spec }: Service,
  byDefault: ProviderName,
): ProviderName | 'other' | undefined {
  if (spec.type !== 'LoadBalancer') return undefined;
  if (spec.loadBalancerClass === undefined) return byDefault;
  if (spec.loadBalancerClass === classOf.edge) return 'edge';
  return spec.loadBalancerClass === classOf.layer2 ? 'layer2' : 'other';
}

/** Reads the request, or says what is wrong with it. */
export function requestOf(service: Service, provider: ProviderName): Request | Refusal {
  const { spec } = service;
  const families = (spec.ipFamilies ?? []).map(familyName);
  const ips = requestedIps(service);
  if ('reason' in ips) return ips;
  const strange = ips.find((ip) => !families.includes(familyOf(ip)!));
  if (strange !== undefined) {
    return refuse(
      `it asks for address ${strange}, but its families are ${spec.ipFamilies?.join(', ')}`,
    );
  }
  const ipMode = annotation(service, 'ipMode') ?? 'VIP';
  if (ipMode !== 'VIP' && ipMode !== 'Proxy') {
    return refuse(`annotation ${annotations.ipMode[0]} is "${ipMode}", it must be VIP or Proxy`);
  }
  if (ipMode === 'Proxy' && provider === 'layer2') {
    return refuse('with layer2 the nodes themselves answer, which needs ipMode VIP');
  }
  return {
    provider,
    families,
    ips,
    sharingKey: annotation(service, 'sharing'),
    ipMode,
    ports: portsOf(service),
    selector: selectorText(service),
    isLocal: spec.externalTrafficPolicy === 'Local',
  };
}

/** Two Services with this text in common have the same pods. */
function selectorText({ metadata, spec }: Service): string {
  const labels = Object.entries(spec.selector ?? {}).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify([metadata.namespace, labels, labels.length === 0 ? metadata.name : '']);
}

export function portsOf({ spec }: Service): string[] {
  return (spec.ports ?? []).map(({ port, protocol = 'TCP' }) => `${protocol}/${port}`);
}

/** Addresses that the status of a Service tells, canonical. */
export function statusIps({ spec, status }: Service): string[] {
  if (spec.type !== 'LoadBalancer') return [];
  return (status?.loadBalancer?.ingress ?? []).flatMap(({ ip }) => canonicalIp(ip ?? '') ?? []);
}

function requestedIps(service: Service): string[] | Refusal {
  const field = service.spec.loadBalancerIP?.trim() ?? '';
  const texts = (annotation(service, 'ips') ?? '')
    .split(',')
    .map((text) => text.trim())
    .filter((text) => text !== '');
  if (field !== '' && texts.length > 0 && !texts.includes(field)) {
    return refuse(
      `spec.loadBalancerIP is ${field}, but its annotation asks for ${texts.join(', ')}`,
    );
  }
  const ips: string[] = [];
  for (const text of new Set(field === '' ? texts : [...texts, field])) {
    const ip = canonicalIp(text);
    if (ip === undefined) return refuse(`it asks for address "${text}", which is no IP address`);
    if (ips.includes(ip)) continue;
    const twin = ips.find((other) => familyOf(other) === familyOf(ip));
    if (twin !== undefined) {
      return refuse(`it asks for ${twin} and ${ip}; it may have one address of each family`);
    }
    ips.push(ip);
  }
  return ips;
}

function annotation({ metadata }: Service, what: keyof typeof annotations): string | undefined {
  for (const name of annotations[what]) {
    const value = metadata.annotations?.[name]?.trim();
    if (value !== undefined && value !== '') return value;
  }
  return undefined;
}

function familyName(name: 'IPv4' | 'IPv6'): IpFamily {
  return name === 'IPv4' ? 'ipv4' : 'ipv6';
}

function refuse(message: string): Refusal {
  return { reason: 'AllocationFailed', message };
}
