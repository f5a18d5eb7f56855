/** SRV records and the addresses that go with them (D30-D33g). */
import { TYPE, type ResourceRecord } from '../wire/message.ts';
import { under, type Name } from '../wire/name.ts';
import type { Item } from './find.ts';
import { addressRecord, dedupe, record } from './records.ts';
import type { Zones } from './zones.ts';

/** One SRV per target and port, one address record per target and address. */
export function serviceRecords(
  zones: Zones,
  owner: Name,
  found: { readonly base: Name; readonly items: readonly Item[] },
): { answers: ResourceRecord[]; glue: ResourceRecord[] } {
  const items = found.items.filter(({ port }) => port !== undefined);
  // Counted before duplicates and those without a port go: two families halve the weight of the one
  // record (D16, D32).
  const weight = Math.max(1, Math.floor(100 / found.items.length));
  const targetOf = ({ host, cluster }: Item) => {
    if (host === '') return found.base;
    return under(host, cluster === undefined ? found.base : under(cluster, found.base));
  };
  const answers = dedupe(items, (item) => `${targetOf(item)} ${item.port}`).map((item) =>
    record(zones, owner, TYPE.SRV, [srvNumbers(weight, item.port!), targetOf(item)]),
  );
  const glue = dedupe(items, (item) => `${targetOf(item)} ${item.address.text}`).map((item) =>
    addressRecord(zones, targetOf(item), item.address),
  );
  return { answers, glue };
}

/** Priority 0, weight, port (RFC 2782). */
export function srvNumbers(weight: number, port: number): Uint8Array {
  return Uint8Array.of(0, 0, weight >> 8, weight & 0xff, port >> 8, port & 0xff);
}
