/**
 * IP addresses and prefixes. An address travels as its canonical text (RFC 5952 for IPv6) in
 * objects and plans and as 4 or 16 bytes in network order towards the kernel.
 */
import { isIPv4, isIPv6 } from 'node:net';

export type IpFamily = 'ipv4' | 'ipv6';

/** A prefix with its host bits zeroed; `address` is canonical text. */
export type Cidr = {
  readonly family: IpFamily;
  readonly address: string;
  readonly bytes: Uint8Array;
  readonly prefixLength: number;
};

/** The family of an address text, or undefined when it is no address. */
export function familyOf(text: string): IpFamily | undefined {
  if (isIPv4(text)) return 'ipv4';
  return isIPv6(text) && !text.includes('%') ? 'ipv6' : undefined;
}

/** 4 or 16 bytes in network order, or undefined when the text is no address. */
export function parseIp(text: string): Uint8Array | undefined {
  const value = ipv4Value(text);
  if (value >= 0) {
    return Uint8Array.of(value / 0x1000000, (value >> 16) & 255, (value >> 8) & 255, value & 255);
  }
  return familyOf(text) === 'ipv6' ? parseIpv6(text) : undefined;
}

/** Whether the text is an IPv4 address in its only canonical spelling. */
export function isCanonicalIpv4(text: string): boolean {
  return ipv4Value(text) >= 0;
}

/** The address as a number below 2^32, -1 when it is none: no text, array or pattern is made. */
function ipv4Value(text: string): number {
  let value = 0;
  let parts = 0;
  let part = 0;
  let digits = 0;
  if (text.length < 7 || text.length > 15) return -1;
  for (let at = 0; at <= text.length; at += 1) {
    const code = at === text.length ? DOT : text.charCodeAt(at);
    if (code === DOT) {
      if (digits === 0 || part > 255 || parts === 4) return -1;
      value = value * 256 + part;
      parts += 1;
      part = 0;
      digits = 0;
    } else {
      // No digit, or one after a leading zero.
      if (code < 48 || code > 57 || (digits > 0 && part === 0)) return -1;
      part = part * 10 + code - 48;
      digits += 1;
    }
  }
  return parts === 4 ? value : -1;
}

const DOT = 46;

/** As `parseIp`, for an address already known to be valid; throws RangeError otherwise. */
export function ipBytes(text: string): Uint8Array {
  const bytes = parseIp(text);
  if (bytes === undefined) throw new RangeError(`"${text}" is not an IP address`);
  return bytes;
}

function parseIpv6(text: string): Uint8Array {
  let source = text;
  const dotted = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(text);
  if (dotted !== null) {
    const [a, b, c, d] = dotted.slice(2).map(Number) as [number, number, number, number];
    source = `${dotted[1]}${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
  }
  const [head = '', tail] = source.split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = tail === undefined ? 0 : 8 - left.length - right.length;
  const groups = [...left, ...Array.from({ length: zeros }, () => '0'), ...right];
  const bytes = new Uint8Array(16);
  groups.forEach((group, index) => {
    const value = Number.parseInt(group, 16);
    bytes[index * 2] = value >> 8;
    bytes[index * 2 + 1] = value & 0xff;
  });
  return bytes;
}

/** Canonical text of 4 or 16 bytes (RFC 5952 §4: lower case, longest run of zeros shortened). */
export function formatIp(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join('.');
  if (bytes.length !== 16)
    throw new RangeError(`an IP address has 4 or 16 bytes, not ${bytes.length}`);
  const groups = Array.from({ length: 8 }, (_, i) => (bytes[i * 2]! << 8) | bytes[i * 2 + 1]!);
  if (groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff) {
    return `::ffff:${bytes.subarray(12).join('.')}`;
  }
  const run = longestZeroRun(groups);
  const hex = (part: number[]) => part.map((group) => group.toString(16)).join(':');
  if (run.length < 2) return hex(groups);
  return `${hex(groups.slice(0, run.start))}::${hex(groups.slice(run.start + run.length))}`;
}

function longestZeroRun(groups: number[]): { start: number; length: number } {
  let best = { start: 0, length: 0 };
  for (let start = 0; start < groups.length; start += 1) {
    let end = start;
    while (groups[end] === 0) end += 1;
    if (end - start > best.length) best = { start, length: end - start };
  }
  return best;
}

/** The canonical spelling of an address, or undefined when the text is none. */
export function canonicalIp(text: string): string | undefined {
  const bytes = parseIp(text);
  return bytes === undefined ? undefined : formatIp(bytes);
}

/** `10.0.0.0/8`; host bits are dropped. Undefined when the text is no prefix. */
export function parseCidr(text: string): Cidr | undefined {
  const slash = text.indexOf('/');
  if (slash < 0 || !/^\d{1,3}$/.test(text.slice(slash + 1))) return undefined;
  const address = text.slice(0, slash);
  const family = familyOf(address);
  const prefixLength = Number(text.slice(slash + 1));
  if (family === undefined || prefixLength > bitsOf(family)) return undefined;
  const bytes = maskBytes(ipBytes(address), prefixLength);
  return { family, address: formatIp(bytes), bytes, prefixLength };
}

export function formatCidr(cidr: Cidr): string {
  return `${cidr.address}/${cidr.prefixLength}`;
}

/** 32 or 128. */
export function bitsOf(family: IpFamily): number {
  return family === 'ipv4' ? 32 : 128;
}

/** A copy with every bit after the prefix cleared. */
export function maskBytes(bytes: Uint8Array, prefixLength: number): Uint8Array {
  return bytes.map((byte, index) => {
    const bits = Math.min(8, Math.max(0, prefixLength - index * 8));
    return byte & (0xff << (8 - bits)) & 0xff;
  });
}

/** Whether the address lies in the prefix; false across families and for text that is no address. */
export function cidrContains(cidr: Cidr, address: string): boolean {
  const bytes = parseIp(address);
  if (bytes === undefined || bytes.length !== cidr.bytes.length) return false;
  return maskBytes(bytes, cidr.prefixLength).every((byte, index) => byte === cidr.bytes[index]);
}

/** Whether two prefixes share an address. */
export function cidrsOverlap(a: Cidr, b: Cidr): boolean {
  return a.prefixLength <= b.prefixLength ? cidrContains(a, b.address) : cidrContains(b, a.address);
}

/** The address `offset` places after the first of the prefix; throws RangeError past its end. */
export function addressAt(cidr: Cidr, offset: number | bigint): string {
  const size = 1n << BigInt(bitsOf(cidr.family) - cidr.prefixLength);
  if (BigInt(offset) < 0n || BigInt(offset) >= size) {
    throw new RangeError(`${formatCidr(cidr)} has no address number ${offset}`);
  }
  let value = BigInt(`0x${cidr.bytes.toHex()}`) + BigInt(offset);
  const bytes = new Uint8Array(cidr.bytes.length);
  for (let index = bytes.length - 1; index >= 0; index -= 1) {
    bytes[index] = Number(value & 0xffn);
    value >>= 8n;
  }
  return formatIp(bytes);
}

/** Part number `index` of the prefix cut into parts of `prefixLength`. */
export function subnetAt(cidr: Cidr, prefixLength: number, index: number): Cidr {
  const step = 1n << BigInt(bitsOf(cidr.family) - prefixLength);
  const address = addressAt(cidr, step * BigInt(index));
  return { family: cidr.family, address, bytes: ipBytes(address), prefixLength };
}

/** `10.0.0.1:80` or `[fd00::1]:80`. */
export function formatHostPort(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}
