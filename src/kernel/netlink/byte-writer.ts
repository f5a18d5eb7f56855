/**
 * A buffer that grows while a message is written into it.
 *
 * Headers and most of rtnetlink are in the order of the machine; every machine Node 26 runs on
 * with Linux here is little-endian. nf_tables wants its integers big-endian (`...be`).
 */
import { assert } from '../../lib/errors.ts';
import { endianness } from 'node:os';

assert(endianness() === 'LE', 'netlink messages are written for little-endian machines');

const TEXT = new TextEncoder();

export class ByteWriter {
  #bytes: Uint8Array<ArrayBuffer>;
  #view: DataView;
  #length = 0;

  constructor(capacity = 256) {
    this.#bytes = new Uint8Array(capacity);
    this.#view = new DataView(this.#bytes.buffer);
  }

  /** Bytes written so far. */
  get length(): number {
    return this.#length;
  }

  /** What has been written; a view, valid until the next write. */
  bytes(): Uint8Array<ArrayBuffer> {
    return this.#bytes.subarray(0, this.#length);
  }

  u8(value: number): void {
    const at = this.#grow(1);
    this.#bytes[at] = value;
  }

  u16(value: number): void {
    const at = this.#grow(2);
    this.#view.setUint16(at, value, true);
  }

  u16be(value: number): void {
    const at = this.#grow(2);
    this.#view.setUint16(at, value);
  }

  u32(value: number): void {
    const at = this.#grow(4);
    this.#view.setUint32(at, value, true);
  }

  u32be(value: number): void {
    const at = this.#grow(4);
    this.#view.setUint32(at, value);
  }

  i32(value: number): void {
    const at = this.#grow(4);
    this.#view.setInt32(at, value, true);
  }

  u64be(value: bigint): void {
    const at = this.#grow(8);
    this.#view.setBigUint64(at, value);
  }

  u64(value: bigint): void {
    const at = this.#grow(8);
    this.#view.setBigUint64(at, value, true);
  }

  raw(bytes: Uint8Array): void {
    const at = this.#grow(bytes.length);
    const target = this.#bytes;
    if (bytes.length > 32) {
      target.set(bytes, at);
      return;
    }
    for (let index = 0; index < bytes.length; index += 1) target[at + index] = bytes[index]!;
  }

  /** The bytes of hex text in lower case. */
  hex(text: string): void {
    const at = this.#grow(text.length >> 1);
    const target = this.#bytes;
    for (let index = 0; index < text.length >> 1; index += 1) {
      const high = text.charCodeAt(index * 2);
      const low = text.charCodeAt(index * 2 + 1);
      target[at + index] = (digit(high) << 4) | digit(low);
    }
  }

  /** Text with its closing NUL, as netlink strings travel. */
  text(value: string): void {
    this.raw(TEXT.encode(value));
    this.u8(0);
  }

  /** Zeros up to the next multiple of four. */
  pad(): void {
    const rest = this.#length & 3;
    if (rest !== 0) this.#grow(4 - rest);
  }

  /** Begins an attribute; the result goes to `close`. */
  open(type: number): number {
    const at = this.#grow(4);
    this.#view.setUint16(at + 2, type, true);
    return at;
  }

  /** Ends the attribute begun at `start`: sets its length and pads. */
  close(start: number): void {
    const length = this.#length - start;
    assert(length <= 0xffff, `attribute of ${length} bytes: the length field has 16 bits`);
    this.#view.setUint16(start, length, true);
    this.pad();
  }

  /** Overwrites four bytes written before. */
  setU32(at: number, value: number): void {
    this.#view.setUint32(at, value, true);
  }

  /** Forgets everything after `length`. */
  truncate(length: number): void {
    this.#bytes.fill(0, length, this.#length);
    this.#length = length;
  }

  /** Room for `count` bytes; replaces the view, so it is called before the view is looked at. */
  #grow(count: number): number {
    const at = this.#length;
    this.#length = at + count;
    if (this.#length > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(this.#length, this.#bytes.length * 2));
      grown.set(this.#bytes);
      this.#bytes = grown;
      this.#view = new DataView(grown.buffer);
    }
    return at;
  }
}

/** '0'-'9' are 48-57, 'a'-'f' 97-102. */
function digit(code: number): number {
  return code < 58 ? code - 48 : code - 87;
}
