/** ASN.1 DER, the writing half, as far as certificates need it (ITU-T X.690). */

/** SEQUENCE */
export function sequence(...parts: readonly Uint8Array[]): Uint8Array {
  return tagged(0x30, ...parts);
}

/** SET of one element: DER would want more of them sorted. */
export function setOf(part: Uint8Array): Uint8Array {
  return tagged(0x31, part);
}

/** `[number]` around a value, as EXPLICIT tagging has it. */
export function explicit(number: number, part: Uint8Array): Uint8Array {
  return tagged(0xa0 | number, part);
}

/** `[number]` in place of a primitive value's own tag, as IMPLICIT tagging has it. */
export function implicit(number: number, bytes: Uint8Array): Uint8Array {
  return tagged(0x80 | number, bytes);
}

export function boolean(value: boolean): Uint8Array {
  return tagged(0x01, Uint8Array.of(value ? 0xff : 0));
}

/** A non-negative INTEGER from its bytes, most significant first. */
export function integer(...bytes: readonly number[]): Uint8Array {
  const first = bytes.findIndex((byte) => byte !== 0);
  const digits = first < 0 ? [0] : bytes.slice(first);
  // The top bit is the sign.
  return tagged(0x02, Uint8Array.from(digits[0]! >= 0x80 ? [0, ...digits] : digits));
}

/** BIT STRING; `unused` counts the bits at the end that do not belong to it. */
export function bitString(bytes: Uint8Array, unused = 0): Uint8Array {
  return tagged(0x03, Uint8Array.of(unused), bytes);
}

export function octetString(bytes: Uint8Array): Uint8Array {
  return tagged(0x04, bytes);
}

/** OBJECT IDENTIFIER from its dotted text. */
export function oid(text: string): Uint8Array {
  const [first = 0, second = 0, ...rest] = text.split('.').map(Number);
  const bytes = [first * 40 + second];
  for (const arc of rest) bytes.push(...base128(arc));
  return tagged(0x06, Uint8Array.from(bytes));
}

export function utf8String(text: string): Uint8Array {
  return tagged(0x0c, Buffer.from(text));
}

/** UTCTime up to 2049, GeneralizedTime after (RFC 5280 §4.1.2.5). */
export function time(ms: number): Uint8Array {
  const digits = new Date(ms).toISOString().replaceAll(/[-:T]|\..*/g, '');
  const late = digits >= '2050';
  return tagged(late ? 0x18 : 0x17, Buffer.from(`${late ? digits : digits.slice(2)}Z`));
}

function base128(value: number): number[] {
  const bytes = [value & 0x7f];
  for (let rest = value >>> 7; rest > 0; rest >>>= 7) bytes.unshift((rest & 0x7f) | 0x80);
  return bytes;
}

function tagged(tag: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  return Buffer.concat([Uint8Array.of(tag, ...lengthBytes(length)), ...parts]);
}

/** One byte below 128, else the count of length bytes and then those. */
function lengthBytes(length: number): number[] {
  if (length < 0x80) return [length];
  const bytes: number[] = [];
  for (let rest = length; rest > 0; rest >>>= 8) bytes.unshift(rest & 0xff);
  return [0x80 | bytes.length, ...bytes];
}
