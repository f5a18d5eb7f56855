/** Records as the zones make them. */
import { ipBytes } from '../../lib/ip.ts';
import { CLASS, TYPE, type ResourceRecord } from '../wire/message.ts';
import { under, type Name } from '../wire/name.ts';
import type { Address } from './objects.ts';
import type { Zones } from './zones.ts';

/** The only class with data. */
export const internet = CLASS.IN;

/** A record with the TTL of the zones. */
export function record(
  zones: Zones,
  name: Name,
  type: number,
  data: ResourceRecord['data'],
): ResourceRecord {
  return { name, type, class: internet, ttl: zones.ttlSeconds, data };
}

/** An A or AAAA record. */
export function addressRecord(zones: Zones, name: Name, { type, text }: Address): ResourceRecord {
  return record(zones, name, type, [ipBytes(text)]);
}

export function aliasRecord(zones: Zones, name: Name, target: Name): ResourceRecord {
  return record(zones, name, TYPE.CNAME, [target]);
}

/** Refresh, retry and expire are for secondaries, of which there are none (D33). */
const refreshSeconds = 7200;
const retrySeconds = 1800;
const expireSeconds = 86_400;
const soaTtlSecondsMax = 300;

/** The SOA of a zone, in the spelling the asker used (D9, D33). */
export function soaRecord(zones: Zones, zone: Name): ResourceRecord {
  const numbers = Buffer.allocUnsafe(20);
  const values = [
    zones.data.serial >>> 0,
    refreshSeconds,
    retrySeconds,
    expireSeconds,
    zones.ttlSeconds,
  ];
  values.forEach((value, index) => numbers.writeUInt32BE(value, index * 4));
  return {
    name: zone,
    type: TYPE.SOA,
    class: internet,
    ttl: Math.min(zones.ttlSeconds, soaTtlSecondsMax),
    data: [nameserverName(zone), under('hostmaster', zone), Uint8Array.from(numbers)],
  };
}

/** `ns.dns.<zone>` */
export function nameserverName(zone: Name): Name {
  return under('ns', under('dns', zone));
}

/** The version of the DNS-based service discovery specification, for a day of 28800 s (D38). */
export function versionRecord(name: Name): ResourceRecord {
  const text = Uint8Array.from(Buffer.from('\x051.1.0', 'latin1'));
  return { name, type: TYPE.TXT, class: internet, ttl: 28_800, data: [text] };
}

/** The items whose key comes first. */
export function dedupe<T>(items: readonly T[], keyOf: (item: T) => string): T[] {
  const seen = new Set<string>();
  return items.filter((item) => {
    const key = keyOf(item);
    if (seen.has(key)) return false;
    seen.add(key);
    return true;
  });
}
