/**
 * Answers kept encoded: a known question costs a copy, an id and a new order of addresses. Pointers
 * into the question make owner names come out right by themselves.
 */
import { dnsLimits } from './limits.ts';
import type { Edns, Query } from './query.ts';
import { CLASS, FLAG, headerBytes, TYPE, type Question } from './wire/message.ts';
import { cursorOver, readName, readU16, type Cursor } from './wire/decode.ts';

/** An encoded reply without OPT, and where in it the addresses stand that may change places. */
type Template = Block & { readonly bytes: Uint8Array };

/** `count` records of `size` bytes each from `start` on. */
type Block = { readonly start: number; readonly size: number; readonly count: number };

export class AnswerTemplates {
  readonly #max: number;
  readonly #random: () => number;
  /** What is asked again moves from the old half to the new one; the rest goes with the old half. */
  #fresh = new Map<string, Template | undefined>();
  #old = new Map<string, Template | undefined>();
  #generation = -1;

  constructor(options: { readonly max: number; readonly random: () => number }) {
    this.#max = options.max;
    this.#random = options.random;
  }

  /** The reply to a question answered before in this generation of the data, if it fits. */
  reply(query: Query, generation: number, bytesMax: number): Buffer | undefined {
    if (generation !== this.#generation) return undefined;
    const template = this.#find(keyOf(query.question));
    if (template === undefined) return undefined;
    const { edns } = query;
    const { length } = template.bytes;
    const total = edns === undefined ? length : length + 11 + edns.options.length;
    if (total > bytesMax) return undefined;
    const reply = Buffer.allocUnsafe(total);
    reply.set(template.bytes, 0);
    reply.writeUInt16BE(query.id, 0);
    reply.writeUInt16BE(reply.readUInt16BE(2) | (query.flags & copiedFlags), 2);
    if (template.count > 1) this.#shuffle(reply, template);
    if (edns !== undefined) appendOpt(reply, length, edns);
    return reply;
  }

  /** Whether the question was kept, or tried to, in this generation. */
  knows(question: Question, generation: number): boolean {
    if (generation !== this.#generation) return false;
    const key = keyOf(question);
    return this.#fresh.has(key) || this.#old.has(key);
  }

  /** Keeps an encoded reply that has no OPT and is whole. */
  keep(question: Question, generation: number, reply: Buffer): void {
    if (generation !== this.#generation) {
      this.#old = new Map();
      this.#fresh = new Map();
      this.#generation = generation;
    }
    const bytes = new Uint8Array(reply);
    const header = Buffer.from(bytes.buffer, 0, headerBytes);
    header.writeUInt16BE(0, 0);
    header.writeUInt16BE(header.readUInt16BE(2) & ~copiedFlags, 2);
    const block = bytes.length > dnsLimits.answerBytesMax ? undefined : addressBlock(bytes);
    this.#put(keyOf(question), block === undefined ? undefined : { bytes, ...block });
  }

  #find(key: string): Template | undefined {
    const fresh = this.#fresh.get(key);
    if (fresh !== undefined) return fresh;
    const old = this.#old.get(key);
    if (old !== undefined) this.#put(key, old);
    return old;
  }

  #put(key: string, template: Template | undefined): void {
    if (this.#fresh.size >= this.#max / 2) {
      this.#old = this.#fresh;
      this.#fresh = new Map();
    }
    this.#fresh.set(key, template);
  }

  #shuffle(reply: Buffer, { start, size, count }: Template): void {
    for (let last = count - 1; last > 0; last -= 1) {
      const other = Math.floor(this.#random() * (last + 1));
      if (other !== last) swap(reply, start + other * size, start + last * size, size);
    }
  }
}

/** These bits of the query come back in the reply (D62). */
const copiedFlags = FLAG.RD | FLAG.CD;

function appendOpt(reply: Buffer, from: number, edns: Edns): void {
  reply.writeUInt16BE(reply.readUInt16BE(10) + 1, 10);
  let at = reply.writeUInt8(0, from);
  at = reply.writeUInt16BE(TYPE.OPT, at);
  at = reply.writeUInt16BE(edns.udpBytes, at);
  at = reply.writeUInt32BE(edns.dnssecOk ? 0x8000 : 0, at);
  at = reply.writeUInt16BE(edns.options.length, at);
  reply.set(edns.options, at);
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
 * The addresses that may be shuffled as bytes: all of one section, side by side, equally long, and
 * each owner a pointer to somewhere before them. Undefined: this reply must be made anew each time.
 */
function addressBlock(bytes: Uint8Array): Block | undefined {
  const cursor = cursorOver(bytes);
  cursor.at = 6;
  const counts = [readU16(cursor), readU16(cursor), readU16(cursor)];
  readName(cursor);
  cursor.at += 4;
  const sections = counts.map((count) => readAddresses(cursor, count));
  const many = sections.filter(({ length }) => length > 1);
  if (many.length === 0) return { start: 0, size: 0, count: 0 };
  const [first, ...rest] = many[0]!;
  const { at: start, size } = first!;
  const regular = rest.every((next, index) => {
    return next.size === size && next.at === start + (index + 1) * size;
  });
  const owners = many[0]!.every(({ at }) => bytes[at]! >= 0xc0 && pointerAt(bytes, at) < start);
  if (many.length > 1 || !regular || !owners || size > spare.length) return undefined;
  return { start, size, count: many[0]!.length };
}

function pointerAt(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! & 0x3f) << 8) | bytes[at + 1]!;
}

/** Where the address records of a section stand. */
function readAddresses(cursor: Cursor, count: number): { at: number; size: number }[] {
  const found: { at: number; size: number }[] = [];
  for (let left = count; left > 0; left -= 1) {
    const { at } = cursor;
    readName(cursor);
    const type = readU16(cursor);
    cursor.at += 6;
    const length = readU16(cursor);
    cursor.at += length;
    if (type === TYPE.A || type === TYPE.AAAA) found.push({ at, size: cursor.at - at });
  }
  return found;
}

/** Only questions of this class are kept: the key leaves it out. */
export function isKeepable(question: Question): boolean {
  return question.class === CLASS.IN;
}
