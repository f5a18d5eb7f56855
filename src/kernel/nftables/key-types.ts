/**
 * What the parts of keys and data mean. The kernel sees only lengths; the numbers are for nft(8)
 * (its src/datatype.c), which shows our sets by them.
 */
import { ipBytes } from '../../lib/ip.ts';
import { DecodeError } from '../netlink/attr.ts';

/** Order of the bytes as nft stores it beside a set. */
const HOST = 1;
const NETWORK = 2;

const KEY_TYPES = {
  integer: { id: 4, bytes: 4, order: HOST },
  ipv4_addr: { id: 7, bytes: 4, order: NETWORK },
  ipv6_addr: { id: 8, bytes: 16, order: NETWORK },
  ether_addr: { id: 9, bytes: 6, order: NETWORK },
  inet_proto: { id: 12, bytes: 1, order: NETWORK },
  inet_service: { id: 13, bytes: 2, order: NETWORK },
  mark: { id: 19, bytes: 4, order: HOST },
  iface_index: { id: 20, bytes: 4, order: HOST },
  ifname: { id: 41, bytes: 16, order: HOST },
} as const;

/** A part of a key. `integer`, `mark` and `iface_index` are in the order of the machine. */
export type KeyType = keyof typeof KEY_TYPES;

/** nft packs the numbers of a concatenation's parts, 6 bits each. */
const TYPE_BITS = 6;

/** Bytes of a key: each part of several takes whole words. */
export function keyBytes(types: readonly KeyType[]): number {
  const [only] = types;
  if (types.length === 1 && only !== undefined) return KEY_TYPES[only].bytes;
  return fieldBytes(types).reduce((sum, bytes) => sum + ((bytes + 3) & ~3), 0);
}

/** Bytes of each part, without padding. */
export function fieldBytes(types: readonly KeyType[]): number[] {
  return types.map((type) => KEY_TYPES[type].bytes);
}

/** nft's number for a key. */
export function keyTypeId(types: readonly KeyType[]): number {
  return types.reduce((id, type) => (id << TYPE_BITS) | KEY_TYPES[type].id, 0) >>> 0;
}

/** nft's byte order of a key: it has none when there are several parts. */
export function keyByteOrder(types: readonly KeyType[]): number {
  const [only] = types;
  return types.length === 1 && only !== undefined ? KEY_TYPES[only].order : 0;
}

/** The parts a number of nft's stands for; undefined when one of them is unknown here. */
export function keyTypesOf(id: number): KeyType[] | undefined {
  const types: KeyType[] = [];
  for (let rest = id; rest !== 0; rest >>>= TYPE_BITS) {
    const part = rest & ((1 << TYPE_BITS) - 1);
    const name = (Object.keys(KEY_TYPES) as KeyType[]).find((type) => KEY_TYPES[type].id === part);
    if (name === undefined) return undefined;
    types.unshift(name);
  }
  return types.length === 0 ? undefined : types;
}

/** A value for one part: an address as text, a number, or the bytes themselves. */
export type KeyPart = string | number | Uint8Array;

/** The bytes of a key or of data: `encodeKey(['ipv4_addr', 'inet_service'], ['10.0.0.1', 80])`. */
export function encodeKey(types: readonly KeyType[], parts: readonly KeyPart[]): Uint8Array {
  if (types.length !== parts.length) {
    throw new RangeError(`a key of ${types.length} parts is given ${parts.length}`);
  }
  const bytes = new Uint8Array(keyBytes(types));
  let at = 0;
  types.forEach((type, index) => {
    const part = encodePart(type, parts[index]!);
    bytes.set(part, at);
    at += types.length === 1 ? part.length : (part.length + 3) & ~3;
  });
  return bytes;
}

/** The bytes of each part of a key, without padding. Throws `DecodeError`. */
export function splitKey(types: readonly KeyType[], key: Uint8Array): Uint8Array[] {
  if (key.length !== keyBytes(types)) {
    throw new DecodeError(`a key of ${key.length} bytes, not ${keyBytes(types)}`);
  }
  let at = 0;
  return fieldBytes(types).map((length) => {
    const part = key.subarray(at, at + length);
    at += (length + 3) & ~3;
    return part;
  });
}

function encodePart(type: KeyType, value: KeyPart): Uint8Array {
  const { bytes: length, order } = KEY_TYPES[type];
  const bytes = new Uint8Array(length);
  if (typeof value === 'number') {
    if (!Number.isInteger(value) || value < 0 || value >= 2 ** (8 * Math.min(length, 4))) {
      throw new RangeError(`${value} is no ${type}`);
    }
    for (let index = 0; index < length; index += 1) {
      const place = order === HOST ? index : length - 1 - index;
      bytes[place] = index < 4 ? (value >>> (8 * index)) & 0xff : 0;
    }
    return bytes;
  }
  const given = typeof value === 'string' ? textBytes(type, value) : value;
  const fits = type === 'ifname' ? given.length < length : given.length === length;
  if (!fits) throw new RangeError(`${given.length} bytes are no ${type}`);
  bytes.set(given);
  return bytes;
}

function textBytes(type: KeyType, text: string): Uint8Array {
  return type === 'ifname' ? new TextEncoder().encode(text) : ipBytes(text);
}
