/**
 * Answers kept encoded: a known question costs a copy, an id and a new order of addresses. Pointers
 * into the question make owner names come out right by themselves.
 */
import type { Query } from './query.ts';
import { CLASS, FLAG, headerBytes, TYPE, type Question } from './wire/message.ts';
import { cursorOver, readName, readU16 } from './wire/decode.ts';

/** An encoded reply without OPT, and where in it the addresses stand that may change places. */
type Template = {
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly size: number;
  readonly count: number;
};

export class AnswerTemplates {
  readonly #max: number;
  readonly #random: () => number;
  #templates = new Map<string, Template>();
  #generation = -1;

  constructor(options: { readonly max: number; readonly random: () => number }) {
    this.#max = options.max;
    this.#random = options.random;
  }

  get size(): number {
    return this.#templates.size;
  }

  /** The reply to a question answered before in this generation of the data, if it fits. */
  reply(query: Query, generation: number, bytesMax: number): Buffer | undefined {
    if (generation !== this.#generation) return undefined;
    const template = this.#templates.get(keyOf(query.question));
    if (template === undefined) return undefined;
    const { edns } = query;
    const { length } = template.bytes;
    const total = edns === undefined ? length : length + 11 + edns.options.length;
    if (total > bytesMax) return undefined;
    const reply = Buffer.allocUnsafe(total);
    reply.set(template.bytes, 0);
    reply.writeUInt16BE(query.id, 0);
    reply[2] = reply[2]! | ((query.flags >> 8) & 0x01);
    reply[3] = reply[3]! | (query.flags & FLAG.CD);
    if (template.count > 1) this.#shuffle(reply, template);
    if (edns !== undefined) {
      reply.writeUInt16BE(reply.readUInt16BE(10) + 1, 10);
      let at = reply.writeUInt8(0, length);
      at = reply.writeUInt16BE(TYPE.OPT, at);
      at = reply.writeUInt16BE(edns.udpBytes, at);
      at = reply.writeUInt32BE(edns.dnssecOk ? 0x8000 : 0, at);
      at = reply.writeUInt16BE(edns.options.length, at);
      reply.set(edns.options, at);
    }
    return reply;
  }

  /** Keeps an encoded reply that has no OPT and is whole. */
  keep(question: Question, generation: number, reply: Buffer): void {
    if (generation !== this.#generation || this.#templates.size >= this.#max) {
      this.#templates = new Map();
      this.#generation = generation;
    }
    const bytes = new Uint8Array(reply);
    const id = 0;
    bytes[0] = id;
    bytes[1] = id;
    bytes[2] = bytes[2]! & ~(FLAG.RD >> 8);
    bytes[3] = bytes[3]! & ~FLAG.CD;
    const block = addressBlock(bytes);
    if (block !== undefined) this.#templates.set(keyOf(question), { bytes, ...block });
  }

  #shuffle(reply: Buffer, { start, size, count }: Template): void {
    for (let last = count - 1; last > 0; last -= 1) {
      const other = Math.floor(this.#random() * (last + 1));
      if (other !== last) swap(reply, start + other * size, start + last * size, size);
    }
  }
}

function keyOf({ name, type }: Question): string {
  return name + String.fromCharCode(type);
}

const spare = Buffer.allocUnsafeSlow(64);

function swap(bytes: Buffer, a: number, b: number, size: number): void {
  bytes.copy(spare, 0, a, a + size);
  bytes.copyWithin(a, b, b + size);
  spare.copy(bytes, b, 0, size);
}

/**
 * The run of equally long address records that makes up the answer. Undefined: this answer cannot
 * be shuffled as bytes, and must be made anew each time.
 */
function addressBlock(
  bytes: Uint8Array,
): { start: number; size: number; count: number } | undefined {
  const cursor = cursorOver(bytes);
  cursor.at = 6;
  const [answers, , additionals] = [readU16(cursor), readU16(cursor), readU16(cursor)];
  if (additionals > 1) return undefined;
  cursor.at = headerBytes;
  readName(cursor);
  cursor.at += 4;
  const { at: start } = cursor;
  if (answers < 2) return { start, size: 0, count: 0 };
  const sizes = new Set<number>();
  for (let left = answers; left > 0; left -= 1) {
    const { at } = cursor;
    readName(cursor);
    const type = readU16(cursor);
    cursor.at += 6;
    const length = readU16(cursor);
    cursor.at += length;
    if (type !== TYPE.A && type !== TYPE.AAAA) return undefined;
    sizes.add(cursor.at - at);
  }
  const [size] = sizes;
  return sizes.size === 1 && size! <= spare.length
    ? { start, size: size!, count: answers }
    : undefined;
}

/** Only questions of this class are kept: the key leaves it out. */
export function isKeepable(question: Question): boolean {
  return question.class === CLASS.IN;
}
