/** Records in zone-file text (RFC 1035 §5), for people, logs and tests. */
import { formatIp } from '../../lib/ip.ts';
import { CLASS, TYPE, type ResourceRecord } from './message.ts';
import { formatName } from './name.ts';

const typeNames = new Map<number, string>(Object.entries(TYPE).map(([name, type]) => [type, name]));

/** `A`, or `TYPE999` for a type we have no name for (RFC 3597 §5). */
export function formatType(type: number): string {
  return typeNames.get(type) ?? `TYPE${type}`;
}

/** `www.example. 30 IN A 192.0.2.1` */
export function formatRecord(record: ResourceRecord): string {
  const recordClass = record.class === CLASS.IN ? 'IN' : `CLASS${record.class}`;
  const head = `${formatName(record.name)} ${record.ttl} ${recordClass}`;
  return `${head} ${formatType(record.type)} ${formatRdata(record)}`;
}

/** The part after the type. */
export function formatRdata({ type, data }: ResourceRecord): string {
  const [first, second, third] = data;
  if (type === TYPE.TXT && first instanceof Uint8Array) return formatStrings(first);
  if ((type === TYPE.A || type === TYPE.AAAA) && first instanceof Uint8Array) {
    const size = type === TYPE.A ? 4 : 16;
    if (first.length === size) return formatIp(first);
  }
  if (data.every((part) => typeof part === 'string')) return data.map(formatName).join(' ');
  if (first instanceof Uint8Array && typeof second === 'string') {
    return [...words(first, 2), formatName(second)].join(' ');
  }
  if (type === TYPE.SOA && third instanceof Uint8Array) {
    return [formatName(String(first)), formatName(String(second)), ...words(third, 4)].join(' ');
  }
  return formatUnknown(data);
}

function words(bytes: Uint8Array, size: 2 | 4): number[] {
  const view = Buffer.from(bytes);
  const count = Math.floor(bytes.length / size);
  return Array.from({ length: count }, (_, index) => view.readUIntBE(index * size, size));
}

function formatStrings(bytes: Uint8Array): string {
  const texts: string[] = [];
  for (let at = 0; at < bytes.length; at += 1 + bytes[at]!) {
    const text = Buffer.from(bytes.subarray(at + 1, at + 1 + bytes[at]!)).toString('latin1');
    texts.push(`"${text.replaceAll(/["\\]/g, '\\$&')}"`);
  }
  return texts.join(' ');
}

function formatUnknown(data: ResourceRecord['data']): string {
  const bytes = Buffer.concat(
    data.map((part) => (typeof part === 'string' ? Buffer.from(part, 'latin1') : part)),
  );
  return `\\# ${bytes.length} ${bytes.toString('hex')}`.trimEnd();
}
