/** Records in zone-file text (RFC 1035 §5), for people, logs and tests. */
import { formatIp } from '../../lib/ip.ts';
import { CLASS, RCODE, TYPE, type ResourceRecord } from './message.ts';
import { formatName } from './name.ts';

const typeNames = new Map<number, string>(Object.entries(TYPE).map(([name, type]) => [type, name]));
const classNames = new Map<number, string>(Object.entries(CLASS).map(([name, of]) => [of, name]));
const rcodeNames = new Map<number, string>(Object.entries(RCODE).map(([name, of]) => [of, name]));

/** `A`, or `TYPE999` for a type we have no name for (RFC 3597 §5). */
export function formatType(type: number): string {
  return typeNames.get(type) ?? `TYPE${type}`;
}

/** The other way; undefined for what is no type. */
export function parseType(text: string): number | undefined {
  return numberOf(text, /^TYPE(\d{1,5})$/, TYPE);
}

/** `IN`, or `CLASS999` (RFC 3597 §5). */
export function formatClass(recordClass: number): string {
  return classNames.get(recordClass) ?? `CLASS${recordClass}`;
}

/** The other way; undefined for what is no class. */
export function parseClass(text: string): number | undefined {
  return numberOf(text, /^CLASS(\d{1,5})$/, CLASS);
}

/** `NXDOMAIN`, or `RCODE99`. */
export function formatRcode(rcode: number): string {
  return rcodeNames.get(rcode) ?? `RCODE${rcode}`;
}

/** The other way, whatever the case; undefined for what is no rcode. */
export function parseRcode(text: string): number | undefined {
  return numberOf(text.toUpperCase(), /^RCODE(\d{1,2})$/, RCODE);
}

function numberOf(
  text: string,
  unknown: RegExp,
  known: Readonly<Record<string, number>>,
): number | undefined {
  if (Object.hasOwn(known, text)) return known[text];
  const digits = unknown.exec(text)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

/** The number of a type by its name or as `TYPE999`; undefined for any other word. */
export function typeNumber(text: string): number | undefined {
  const upper = text.toUpperCase();
  if (upper in TYPE) return TYPE[upper as keyof typeof TYPE];
  const number = Number(/^TYPE(\d{1,5})$/.exec(upper)?.[1] ?? Number.NaN);
  return number <= 0xffff ? number : undefined;
}

/** `www.example. 30 IN A 192.0.2.1` */
export function formatRecord(record: ResourceRecord): string {
  const head = `${formatName(record.name)} ${record.ttl} ${formatClass(record.class)}`;
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
