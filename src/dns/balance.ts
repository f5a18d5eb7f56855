/** Spreads clients over addresses by the order of an answer, as CoreDNS's loadbalance does (D80). */
import { TYPE, type ResourceRecord } from './wire/message.ts';

/** Aliases first, then the rest in their order, then addresses in a random one, then mail hosts. */
export function balance(
  records: readonly ResourceRecord[],
  random: () => number,
): readonly ResourceRecord[] {
  if (records.length < 2) return records;
  const aliases: ResourceRecord[] = [];
  const others: ResourceRecord[] = [];
  const addresses: ResourceRecord[] = [];
  const mailHosts: ResourceRecord[] = [];
  for (const record of records) {
    if (record.type === TYPE.CNAME) aliases.push(record);
    else if (record.type === TYPE.A || record.type === TYPE.AAAA) addresses.push(record);
    else if (record.type === TYPE.MX) mailHosts.push(record);
    else others.push(record);
  }
  shuffle(addresses, random);
  shuffle(mailHosts, random);
  return [...aliases, ...others, ...addresses, ...mailHosts];
}

/** Fisher and Yates, in place. */
function shuffle(items: ResourceRecord[], random: () => number): void {
  for (let last = items.length - 1; last > 0; last -= 1) {
    const other = Math.floor(random() * (last + 1));
    [items[last], items[other]] = [items[other]!, items[last]!];
  }
}
