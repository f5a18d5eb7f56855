/**
 * SPDY/3.1 frames as bytes (draft-mbelshe-httpbis-spdy-00 with the 3.1 flow control), as far as
 * Kubernetes clients use them (A103).
 */
import { assert } from '../../lib/errors.ts';

export const SYN_STREAM = 1;
export const SYN_REPLY = 2;
export const RST_STREAM = 3;
export const PING = 6;
export const GOAWAY = 7;
export const HEADERS = 8;

export const FLAG_FIN = 0x01;

const VERSION = 3;
const HEADER_BYTES = 8;
const LENGTH_MAX = 0xff_ff_ff;

export type ControlFrame = {
  readonly kind: 'control';
  readonly type: number;
  readonly flags: number;
  readonly payload: Buffer;
};
export type DataFrame = {
  readonly kind: 'data';
  readonly streamId: number;
  readonly flags: number;
  readonly payload: Buffer;
};
export type Frame = ControlFrame | DataFrame;

/** Bytes that are no SPDY/3 frame, or one that is too large. */
export class FrameError extends Error {
  override name = 'FrameError';
}

export function encodeControl(type: number, flags: number, payload: Uint8Array): Buffer {
  assert(payload.length <= LENGTH_MAX, 'a SPDY frame has at most 2^24-1 bytes');
  const frame = Buffer.alloc(HEADER_BYTES + payload.length);
  frame.writeUInt16BE(0x8000 | VERSION, 0);
  frame.writeUInt16BE(type, 2);
  frame.writeUInt32BE(((flags << 24) | payload.length) >>> 0, 4);
  frame.set(payload, HEADER_BYTES);
  return frame;
}

/** The header alone; the payload follows as it is, so that large data is not copied. */
export function encodeDataHeader(streamId: number, flags: number, length: number): Buffer {
  assert(length <= LENGTH_MAX, 'a SPDY frame has at most 2^24-1 bytes');
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32BE(streamId, 0);
  header.writeUInt32BE(((flags << 24) | length) >>> 0, 4);
  return header;
}

/** One 32-bit word, as PING and RST_STREAM carry it. */
export function word(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4);
  values.forEach((value, index) => bytes.writeUInt32BE(value >>> 0, index * 4));
  return bytes;
}

/** Cuts a byte stream into frames. */
export class FrameReader {
  readonly #payloadBytesMax: number;
  #chunks: Buffer[] = [];
  #length = 0;

  constructor(payloadBytesMax: number) {
    this.#payloadBytesMax = payloadBytesMax;
  }

  /** The frames completed by this chunk; throws FrameError. */
  *push(chunk: Buffer): Generator<Frame> {
    this.#chunks.push(chunk);
    this.#length += chunk.length;
    for (let frame = this.#next(); frame !== undefined; frame = this.#next()) yield frame;
  }

  #next(): Frame | undefined {
    if (this.#length < HEADER_BYTES) return undefined;
    const head = this.#joined();
    const flags = head.readUInt8(4);
    const length = head.readUIntBE(5, 3);
    if (length > this.#payloadBytesMax) {
      throw new FrameError(`a frame of ${length} bytes, more than ${this.#payloadBytesMax}`);
    }
    if (head.length < HEADER_BYTES + length) return undefined;
    const payload = head.subarray(HEADER_BYTES, HEADER_BYTES + length);
    this.#chunks = [head.subarray(HEADER_BYTES + length)];
    this.#length = head.length - HEADER_BYTES - length;
    const first = head.readUInt32BE(0);
    if (first < 0x8000_0000) return { kind: 'data', streamId: first, flags, payload };
    const version = (first >>> 16) & 0x7fff;
    if (version !== VERSION) throw new FrameError(`a frame of SPDY version ${version}, not 3`);
    return { kind: 'control', type: first & 0xffff, flags, payload };
  }

  #joined(): Buffer {
    const [only] = this.#chunks;
    if (this.#chunks.length === 1 && only !== undefined) return only;
    const joined = Buffer.concat(this.#chunks);
    this.#chunks = [joined];
    return joined;
  }
}
