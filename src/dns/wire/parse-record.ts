/** A record from zone-file text (RFC 1035 §5.1), one line of it; the counterpart of `formatRecord`. */
import { familyOf, ipBytes } from '../../lib/ip.ts';
import { CLASS, TYPE, type ResourceRecord } from './message.ts';
import { parseName, type Name } from './name.ts';
import { parseClass, parseType } from './text.ts';

/** Throws an error that says what is wrong; `NAME [TTL] [CLASS] TYPE RDATA`, without a TTL 3600. */
export function parseRecord(text: string): ResourceRecord {
  const words = [...text.matchAll(/"(?:\\.|[^"\\])*"|[^\s"()]+/g)].map(([word]) => word);
  const name = nameIn(words.shift());
  let ttl = 3600;
  let recordClass: number = CLASS.IN;
  for (;;) {
    const word = words[0] ?? '';
    const known = parseClass(word);
    if (/^\d+$/.test(word)) ttl = Number(word);
    else if (known !== undefined) recordClass = known;
    else break;
    words.shift();
  }
  const typeText = words.shift() ?? '';
  const type = parseType(typeText);
  if (type === undefined) throw new Error(`"${typeText}" is not a record type`);
  return { name, type, class: recordClass, ttl, data: rdataOf(type, words) };
}

function nameIn(word: string | undefined): Name {
  const name = word === undefined ? undefined : parseName(word);
  if (name === undefined) throw new Error(`"${word ?? ''}" is not a domain name`);
  return name;
}

function rdataOf(type: number, words: readonly string[]): ResourceRecord['data'] {
  const [first = '', second = ''] = words;
  if (first === '\\#') return [Uint8Array.from(Buffer.from(words.slice(2).join(''), 'hex'))];
  switch (type) {
    case TYPE.A:
    case TYPE.AAAA:
      return [addressIn(first, type)];
    case TYPE.CNAME:
    case TYPE.NS:
    case TYPE.PTR:
    case TYPE.DNAME:
      return [nameIn(first)];
    case TYPE.MX:
      return [numbersIn([first], 2), nameIn(second)];
    case TYPE.SRV:
      return [numbersIn(words.slice(0, 3), 2), nameIn(words[3])];
    case TYPE.SOA:
      return [nameIn(first), nameIn(second), numbersIn(words.slice(2, 7), 4)];
    case TYPE.TXT:
    case TYPE.HINFO:
      return [stringsIn(words)];
    default:
      throw new Error('data of this type must be written as \\# LENGTH HEX (RFC 3597)');
  }
}

function addressIn(text: string, type: number): Uint8Array {
  if (familyOf(text) === (type === TYPE.A ? 'ipv4' : 'ipv6')) return ipBytes(text);
  throw new Error(`"${text}" is not an address of this type`);
}

function numbersIn(words: readonly string[], size: 2 | 4): Uint8Array {
  const bytes = Buffer.alloc(words.length * size);
  words.forEach((word, index) => {
    const value = Number(word);
    if (!/^\d+$/.test(word) || value >= 256 ** size) throw new Error(`"${word}" is no such number`);
    bytes.writeUIntBE(value, index * size, size);
  });
  return Uint8Array.from(bytes);
}

/** Character strings, each with its length in front. */
function stringsIn(words: readonly string[]): Uint8Array {
  const strings = words.map((word) => {
    const text = word.replaceAll(/^"|"$/g, '').replaceAll(/\\(.)/g, '$1');
    const bytes = Buffer.from(text, 'utf8');
    if (bytes.length > 255) throw new Error('a text of more than 255 bytes');
    return Buffer.concat([Buffer.of(bytes.length), bytes]);
  });
  if (strings.length === 0) throw new Error('there is no text');
  return Uint8Array.from(Buffer.concat(strings));
}
