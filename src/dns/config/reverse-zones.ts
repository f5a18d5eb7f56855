/** Address ranges as reverse zones (RFC 1035 §3.5, RFC 3596 §2.5). */
import { familyOf, ipBytes } from '../../lib/ip.ts';
import { nameOf, type Name } from '../wire/name.ts';

/** More zones than this are a mistake; a /17 has 128. */
const zonesMax = 256;

/**
 * The zones that together cover a range; one that does not end at a whole octet (IPv4) or nibble
 * (IPv6) needs several (D60). Undefined: the text is no address range.
 */
export function reverseZonesOf(text: string): Name[] | undefined {
  const [, address = '', lengthText = ''] = /^([0-9a-fA-F.:]+)\/(\d{1,3})$/.exec(text) ?? [];
  const family = familyOf(address);
  if (family === undefined) return undefined;
  const [totalBits, digitBits] = family === 'ipv4' ? [32, 8] : [128, 4];
  const length = Number(lengthText);
  if (length > totalBits) return undefined;
  const digits = digitsOf(ipBytes(address), digitBits);
  const whole = Math.ceil(length / digitBits);
  const freeBits = whole * digitBits - length;
  const count = 2 ** freeBits;
  if (count > zonesMax) return undefined;
  const fixed = digits.slice(0, Math.max(0, whole - 1));
  const last = whole === 0 ? 0 : Math.floor(digits[whole - 1]! / count) * count;
  const tree = family === 'ipv4' ? ['in-addr', 'arpa'] : ['ip6', 'arpa'];
  const radix = family === 'ipv4' ? 10 : 16;
  return Array.from({ length: count }, (_, index) => {
    const all = whole === 0 ? [] : [...fixed, last + index];
    return nameOf([...all.toReversed().map((digit) => digit.toString(radix)), ...tree])!;
  });
}

function digitsOf(bytes: Uint8Array, digitBits: number): number[] {
  return [...bytes].flatMap((byte) => (digitBits === 8 ? [byte] : [byte >> 4, byte & 0xf]));
}
