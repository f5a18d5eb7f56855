/**
 * A netlink attribute: 16-bit length, 16-bit type, payload 4 bytes in, padded to 4.
 * `attr` builds them, `decodeAttrs` takes them apart.
 */
import { ByteWriter } from './byte-writer.ts';
import { NLA_F_NESTED, NLA_TYPE_MASK } from './constants.ts';

/** An attribute not yet written: it knows how to write itself. */
export type Attr = (writer: ByteWriter) => void;

/** Bytes from outside do not have the form they should. */
export class DecodeError extends Error {
  override name = 'DecodeError';
}

/** Builders; `be` is network order, which nf_tables wants, the rest is the machine's order. */
export const attr = {
  u8: (type: number, value: number) => sized(type, (writer) => writer.u8(value)),
  u16: (type: number, value: number) => sized(type, (writer) => writer.u16(value)),
  u16be: (type: number, value: number) => sized(type, (writer) => writer.u16be(value)),
  u32: (type: number, value: number) => sized(type, (writer) => writer.u32(value)),
  u32be: (type: number, value: number) => sized(type, (writer) => writer.u32be(value)),
  i32: (type: number, value: number) => sized(type, (writer) => writer.i32(value)),
  u64be: (type: number, value: bigint) => sized(type, (writer) => writer.u64be(value)),
  /** Strings travel with their closing NUL. */
  string: (type: number, value: string) => sized(type, (writer) => writer.text(value)),
  /** A few names of rtnetlink travel without one. */
  bareString: (type: number, value: string) =>
    sized(type, (writer) => writer.raw(new TextEncoder().encode(value))),
  bytes: (type: number, value: Uint8Array) => sized(type, (writer) => writer.raw(value)),
  /** An attribute that says something by being there. */
  flag: (type: number) => sized(type, () => undefined),
  /** Attributes within an attribute, marked `NLA_F_NESTED`. */
  nested: (type: number, children: readonly Attr[]) =>
    sized(type | NLA_F_NESTED, (writer) => writeAttrs(writer, children)),
  /** Attributes within an attribute for those parts of rtnetlink that predate the mark. */
  nestedBare: (type: number, children: readonly Attr[]) =>
    sized(type, (writer) => writeAttrs(writer, children)),
};

function sized(type: number, write: Attr): Attr {
  return (writer) => {
    const start = writer.open(type);
    write(writer);
    writer.close(start);
  };
}

/** Writes attributes one after the other. */
export function writeAttrs(writer: ByteWriter, attrs: readonly Attr[]): void {
  for (const write of attrs) write(writer);
}

/** The bytes of some attributes. */
export function encodeAttrs(attrs: readonly Attr[]): Uint8Array<ArrayBuffer> {
  const writer = new ByteWriter();
  writeAttrs(writer, attrs);
  return writer.bytes();
}

/** Takes a run of attributes apart; nested ones only when asked. Throws `DecodeError`. */
export function decodeAttrs(bytes: Uint8Array): Attributes {
  const types: number[] = [];
  const payloads: Uint8Array[] = [];
  let at = 0;
  // Up to three bytes of padding may be missing or left over at the end.
  while (at + 4 <= bytes.length) {
    const length = bytes[at]! | (bytes[at + 1]! << 8);
    if (length < 4 || at + length > bytes.length) {
      throw new DecodeError(`attribute at ${at} has length ${length} of ${bytes.length} bytes`);
    }
    types.push((bytes[at + 2]! | (bytes[at + 3]! << 8)) & NLA_TYPE_MASK);
    payloads.push(bytes.subarray(at + 4, at + length));
    at += (length + 3) & ~3;
  }
  if (at < bytes.length) throw new DecodeError(`${bytes.length - at} bytes after the attributes`);
  return new Attributes(types, payloads);
}

/** Attributes taken apart. Each getter answers undefined when the attribute is absent. */
export class Attributes {
  readonly #types: readonly number[];
  readonly #payloads: readonly Uint8Array[];

  constructor(types: readonly number[], payloads: readonly Uint8Array[]) {
    this.#types = types;
    this.#payloads = payloads;
  }

  /** The payload of the first attribute of this type. */
  bytes(type: number): Uint8Array | undefined {
    const index = this.#types.indexOf(type);
    return index < 0 ? undefined : this.#payloads[index];
  }

  has(type: number): boolean {
    return this.#types.includes(type);
  }

  u8(type: number): number | undefined {
    return this.#sized(type, 1)?.getUint8(0);
  }

  u16(type: number): number | undefined {
    return this.#sized(type, 2)?.getUint16(0, true);
  }

  u16be(type: number): number | undefined {
    return this.#sized(type, 2)?.getUint16(0);
  }

  u32(type: number): number | undefined {
    return this.#sized(type, 4)?.getUint32(0, true);
  }

  u32be(type: number): number | undefined {
    return this.#sized(type, 4)?.getUint32(0);
  }

  i32(type: number): number | undefined {
    return this.#sized(type, 4)?.getInt32(0, true);
  }

  u64be(type: number): bigint | undefined {
    return this.#sized(type, 8)?.getBigUint64(0);
  }

  /** Text up to its NUL. */
  string(type: number): string | undefined {
    const payload = this.bytes(type);
    return payload === undefined ? undefined : decodeText(payload);
  }

  nested(type: number): Attributes | undefined {
    const payload = this.bytes(type);
    return payload === undefined ? undefined : decodeAttrs(payload);
  }

  /** The payloads of every attribute of this type, for lists. */
  all(type: number): Uint8Array[] {
    return this.#payloads.filter((_, index) => this.#types[index] === type);
  }

  /** Every attribute in the order of the message. */
  *entries(): Generator<{ type: number; payload: Uint8Array }> {
    for (const [index, type] of this.#types.entries()) {
      yield { type, payload: this.#payloads[index]! };
    }
  }

  #sized(type: number, length: number): DataView | undefined {
    const payload = this.bytes(type);
    if (payload === undefined) return undefined;
    if (payload.length < length) {
      throw new DecodeError(`attribute ${type} has ${payload.length} bytes, not ${length}`);
    }
    return new DataView(payload.buffer, payload.byteOffset, payload.length);
  }
}

/** The text before the first NUL. */
export function decodeText(payload: Uint8Array): string {
  const end = payload.indexOf(0);
  const bytes = end < 0 ? payload : payload.subarray(0, end);
  // Kernel names are ASCII nearly always; latin1 would be wrong for the few that are not.
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8');
}

/** The value, or `DecodeError` naming what the message should have held. */
export function required<T>(value: T | undefined, what: string): T {
  if (value === undefined) throw new DecodeError(`the message has no ${what}`);
  return value;
}
