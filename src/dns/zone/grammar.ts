/** What a name below the cluster domain stands for (D3). Labels come folded, nearest first. */
import { canonicalIp } from '../../lib/ip.ts';
import { labelsOf, type Name } from '../wire/name.ts';

export type Place =
  | { readonly kind: 'apex' }
  /** `svc`, `pod`, and `dns` which holds only `ns.dns`: names with something below them. */
  | { readonly kind: 'branch'; readonly of: 'svc' | 'pod' | 'dns' }
  | { readonly kind: 'namespace'; readonly of: 'svc' | 'pod'; readonly namespace: string }
  | ServicePlace
  | { readonly kind: 'pod'; readonly namespace: string; readonly pod: string }
  /** `ns.dns.<zone>` */
  | { readonly kind: 'nameserver' }
  /** `dns-version.<zone>` */
  | { readonly kind: 'version' }
  | { readonly kind: 'nothing' };

/** A service, one endpoint of it, or one port of it; an empty port or protocol means any. */
export type ServicePlace = {
  readonly kind: 'service';
  readonly namespace: string;
  readonly service: string;
  readonly endpoint?: string;
  readonly port?: { readonly name: string; readonly protocol: string };
  /** The cluster an endpoint is in, in multicluster zones. */
  readonly cluster?: string;
  /** Only endpoints of this topology zone; `prefer`: all, where it has none. */
  readonly topology?: { readonly zone: string; readonly prefer: boolean };
};

/** Which names there are beside the usual. */
export type Grammar = { readonly multicluster: boolean; readonly zonal: boolean };

/** The place of the labels left of the zone, in the order they are written. */
export function placeOf(labels: readonly string[], grammar: Grammar): Place {
  const [last, namespace, third, ...more] = labels.toReversed();
  if (last === undefined) return { kind: 'apex' };
  if (last === 'dns' && namespace === undefined) return { kind: 'branch', of: 'dns' };
  if (last === 'dns' && namespace === 'ns' && third === undefined) return { kind: 'nameserver' };
  if (last === 'dns-version' && namespace === undefined) return { kind: 'version' };
  if (last !== 'svc' && last !== 'pod') return { kind: 'nothing' };
  if (namespace === undefined) return { kind: 'branch', of: last };
  if (third === undefined) return { kind: 'namespace', of: last, namespace };
  if (more.length > 2) return zonalPlace(namespace, third, more, last === 'svc' && grammar.zonal);
  // One or two labels before a pod's are not looked at (D51).
  if (last === 'pod') return { kind: 'pod', namespace, pod: third };
  return servicePlace(namespace, third, more, grammar.multicluster);
}

/** `<zone>.pin|prefer._zone.<svc>…`; a zone may have dots (D12). */
function zonalPlace(
  namespace: string,
  service: string,
  [anchor, directive, ...zone]: readonly string[],
  allowed: boolean,
): Place {
  const isDirective = directive === 'pin' || directive === 'prefer';
  if (!allowed || anchor !== '_zone' || !isDirective) return { kind: 'nothing' };
  const topology = { zone: zone.toReversed().join('.'), prefer: directive === 'prefer' };
  return { kind: 'service', namespace, service, topology };
}

function servicePlace(
  namespace: string,
  service: string,
  more: readonly string[],
  multicluster: boolean,
): ServicePlace {
  const [first, second] = more;
  if (first === undefined) return { kind: 'service', namespace, service };
  if (second === undefined) return { kind: 'service', namespace, service, endpoint: first };
  if (multicluster && !first.startsWith('_') && !second.startsWith('_')) {
    return { kind: 'service', namespace, service, endpoint: second, cluster: first };
  }
  const port = { name: withoutUnderscore(second), protocol: withoutUnderscore(first) };
  return { kind: 'service', namespace, service, port };
}

/** Underscores are optional (D33c). */
function withoutUnderscore(label: string): string {
  return label.startsWith('_') ? label.slice(1) : label;
}

/** `10-0-0-1` and `fd00--1` as addresses: three single dashes make it IPv4 (D50). */
export function undash(label: string): string {
  const dashes = label.split('-').length - 1;
  const separator = dashes === 3 && !label.includes('--') ? '.' : ':';
  return label.replaceAll('-', separator);
}

/** The address of a full reverse name, from the labels left of `in-addr.arpa` or `ip6.arpa`. */
function reverseAddress(labels: readonly string[], zone: 'ipv4' | 'ipv6'): string {
  const parts = labels.toReversed();
  if (zone === 'ipv4') return parts.length === 4 ? parts.join('.') : '';
  if (parts.length !== 32 || !parts.every((nibble) => /^[0-9a-f]$/.test(nibble))) return '';
  return parts.join('').match(/.{4}/g)!.join(':');
}

/** The canonical address of a whole reverse name, folded; undefined for any other name. */
export function addressOfReverse(name: Name): string | undefined {
  const labels = labelsOf(name);
  const tree = labels.slice(-2).join('.');
  if (tree !== 'in-addr.arpa' && tree !== 'ip6.arpa') return undefined;
  const family = tree === 'ip6.arpa' ? 'ipv6' : 'ipv4';
  return canonicalIp(reverseAddress(labels.slice(0, -2), family));
}
