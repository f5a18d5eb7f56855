/** What a name below the cluster domain stands for (D3). Labels come folded, nearest first. */

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
};

/** The place of the labels left of the zone, in the order they are written. */
export function placeOf(labels: readonly string[]): Place {
  const [last, namespace, third, ...more] = labels.toReversed();
  if (last === undefined) return { kind: 'apex' };
  if (last === 'dns' && namespace === undefined) return { kind: 'branch', of: 'dns' };
  if (last === 'dns' && namespace === 'ns' && third === undefined) return { kind: 'nameserver' };
  if (last === 'dns-version' && namespace === undefined) return { kind: 'version' };
  if (last !== 'svc' && last !== 'pod') return { kind: 'nothing' };
  if (namespace === undefined) return { kind: 'branch', of: last };
  if (third === undefined) return { kind: 'namespace', of: last, namespace };
  if (more.length > 2) return { kind: 'nothing' };
  // One or two labels before a pod's are not looked at (D51).
  if (last === 'pod') return { kind: 'pod', namespace, pod: third };
  return servicePlace(namespace, third, more);
}

function servicePlace(namespace: string, service: string, more: readonly string[]): ServicePlace {
  const [first, second] = more;
  if (first === undefined) return { kind: 'service', namespace, service };
  if (second === undefined) return { kind: 'service', namespace, service, endpoint: first };
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
export function reverseAddress(labels: readonly string[], zone: 'ipv4' | 'ipv6'): string {
  const parts = labels.toReversed();
  if (zone === 'ipv4') return parts.length === 4 ? parts.join('.') : '';
  if (parts.length !== 32 || !parts.every((nibble) => /^[0-9a-f]$/.test(nibble))) return '';
  return parts.join('').match(/.{4}/g)!.join(':');
}
