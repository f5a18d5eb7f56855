/** The zones this server owns, and how it answers in them. */
import { UserError } from '../../lib/errors.ts';
import {
  formatName,
  isWithin,
  nameBytesMax,
  parseName,
  root,
  under,
  type Name,
} from '../wire/name.ts';
import type { ServiceEntry } from './objects.ts';
import type { ZoneData } from './zone-data.ts';

/** Names made of pod addresses: none, any address in an existing namespace, or real pods only. */
export type PodRecords = 'disabled' | 'insecure' | 'verified';

export type OwnedZone = { readonly name: Name; readonly reverse: 'ipv4' | 'ipv6' | undefined };

type ServiceKey = Pick<ServiceEntry, 'namespace' | 'name'>;

export type Zones = {
  readonly data: ZoneData;
  /** The cluster domain, folded: the zone that PTR records point into (D2). */
  readonly domain: Name;
  readonly owned: readonly OwnedZone[];
  readonly ttlSeconds: number;
  readonly podRecords: PodRecords;
  /** Copies CoreDNS where it breaks RFC 8020 and the like. */
  readonly strictCoredns: boolean;
  /** Only some namespaces have names; reverse names of the others are missing too. */
  readonly hidesNamespaces: boolean;
  /** A Service with cluster IPs and without a ready endpoint has no name (D25). */
  readonly ignoreEmptyService: boolean;
  /** Headless Services have names for the endpoints of a topology zone (D12). */
  readonly zonal: boolean;
  /** The data are ServiceImports: endpoints stand below the name of their cluster (D13). */
  readonly multicluster: boolean;
  /** This server's own addresses, for NS records (D34). */
  readonly localAddresses: () => readonly string[];
  nameOfService(service: ServiceKey, zone: Name): Name;
  nameOfEndpoint(service: ServiceKey, host: string, zone: Name): Name;
};

export type ZoneOptions = {
  /** Folded: the cluster domain and the reverse zones. */
  readonly zones: readonly Name[];
  /** Those of them that these data answer for; absent: all. */
  readonly owned?: readonly Name[];
  readonly ttlSeconds: number;
  readonly podRecords: PodRecords;
  readonly strictCoredns?: boolean;
  readonly namespaces?: readonly string[];
  readonly ignoreEmptyService?: boolean;
  readonly zonal?: boolean;
  readonly isMulticluster?: boolean;
  readonly localAddresses?: () => readonly string[];
};

/** Host, service and namespace have up to 63 bytes each and stand with `svc` before the domain. */
const domainBytesMax = nameBytesMax - 3 * 64 - 4;

/** The zones over the data. The first that is not reverse is the cluster domain (D2). */
export function createZones(data: ZoneData, options: ZoneOptions): Zones {
  const owned = (options.owned ?? options.zones).map((name) => ({
    name,
    reverse: reverseFamily(name),
  }));
  const domain = options.zones.find((name) => reverseFamily(name) === undefined) ?? root;
  if (domain === root || domain.length > domainBytesMax) {
    throw new UserError(
      'BAD_DNS_DOMAIN',
      `Cannot serve cluster domain "${formatName(domain)}": it is not a domain name of 1 to ${domainBytesMax} bytes`,
      { hint: 'A cluster domain looks like cluster.local' },
    );
  }
  return {
    data,
    domain,
    // The longest match wins (D1).
    owned: owned.toSorted((a, b) => b.name.length - a.name.length),
    ttlSeconds: options.ttlSeconds,
    podRecords: options.podRecords,
    strictCoredns: options.strictCoredns ?? false,
    hidesNamespaces: options.namespaces !== undefined,
    ignoreEmptyService: options.ignoreEmptyService ?? false,
    zonal: options.zonal ?? false,
    multicluster: options.isMulticluster ?? false,
    localAddresses: options.localAddresses ?? (() => []),
    nameOfService: ({ namespace, name }, zone) => under(name, under(namespace, under('svc', zone))),
    nameOfEndpoint: ({ namespace, name }, host, zone) =>
      under(host, under(name, under(namespace, under('svc', zone)))),
  };
}

const reverseTrees = [
  { name: parseName('in-addr.arpa')!, reverse: 'ipv4' },
  { name: parseName('ip6.arpa')!, reverse: 'ipv6' },
] as const;

/** Which addresses a zone names, if it is a reverse one. */
export function reverseFamily(zone: Name): 'ipv4' | 'ipv6' | undefined {
  return reverseTrees.find(({ name }) => isWithin(zone, name))?.reverse;
}
