/** One kept answer in the store: how it is written, and how a reply is made of it. */
import { FLAG, headerBytes, TYPE } from '../wire/message.ts';
import type { Cached } from '../stage.ts';
import { CONTROL, versionCount, type Store } from './store.ts';
import type { Bytes, RawQuery } from './raw-query.ts';

/** An answer may rest on so many things; one that rests on more is made anew each time. */
export const readsMax = 4;

/** Offsets in an entry behind its prefix; all numbers little-endian. */
const AT = {
  questionBytes: 0,
  answerBytes: 2,
  flags: 4,
  kind: 6,
  counts: 8,
  shuffleStart: 14,
  shuffleSize: 16,
  shuffleCount: 18,
  serialAt: 20,
  ttlCount: 22,
  expiresAtMs: 24,
  reads: 32,
  question: 32 + readsMax * 8,
} as const;
const noRead = 0xffff_ffff;

/** An answer to keep, without OPT. */
export type Kept = {
  /** The question as asked: the name in full, type and class. */
  readonly question: Uint8Array;
  /** Names in the answer stand there in full: it fits only whoever spells the question the same. */
  readonly isSpelled: boolean;
  /** Header flags, without those that each query brings along. */
  readonly flags: number;
  /** Answers, authorities, additionals. */
  readonly counts: readonly [number, number, number];
  /** Everything behind the question. */
  readonly answer: Uint8Array;
  /** Addresses that may change places; offsets count from the start of `answer`. */
  readonly shuffle: { readonly start: number; readonly size: number; readonly count: number };
  /** Places of `versions` that the answer was made from. */
  readonly reads: readonly number[];
  /** Where the serial of our own SOA stands in `answer`, which is always the newest. */
  readonly serialAt: number | undefined;
  /** An answer of other servers, whose TTLs run down; undefined: one of ours. */
  readonly cached: Cached | undefined;
  /** Where TTLs stand that run down. */
  readonly ttlsAt: readonly number[];
};

/** Of whom the answer is, and as what it is counted. */
const kinds = ['own', 'success', 'denial'] as const;
export type Kind = (typeof kinds)[number];
const spelledBit = 0x100;

export function kindOf({ arena }: Store, at: number): Kind {
  return kinds[arena.view.getUint16(at + AT.kind, true) & 0xff] ?? 'own';
}

/** The bytes of the entry. */
export function entryBytes(kept: Kept): number {
  return AT.question + kept.question.length + kept.answer.length + kept.ttlsAt.length * 2;
}

export function writeEntry(store: Store, at: number, kept: Kept): void {
  const { arena, versions } = store;
  const { bytes, view } = arena;
  const u16 = (offset: number, value: number) => view.setUint16(at + offset, value, true);
  u16(AT.questionBytes, kept.question.length);
  u16(AT.answerBytes, kept.answer.length);
  u16(AT.flags, kept.flags);
  u16(AT.kind, kinds.indexOf(kept.cached?.kind ?? 'own') | (kept.isSpelled ? spelledBit : 0));
  kept.counts.forEach((count, index) => u16(AT.counts + index * 2, count));
  u16(AT.shuffleStart, kept.shuffle.start);
  u16(AT.shuffleSize, kept.shuffle.size);
  u16(AT.shuffleCount, kept.shuffle.count);
  u16(AT.serialAt, kept.serialAt ?? 0xffff);
  u16(AT.ttlCount, kept.ttlsAt.length);
  view.setFloat64(at + AT.expiresAtMs, kept.cached?.expiresAtMs ?? Number.POSITIVE_INFINITY, true);
  for (let read = 0; read < readsMax; read += 1) {
    const place = kept.reads[read] ?? noRead;
    view.setUint32(at + AT.reads + read * 8, place, true);
    view.setUint32(at + AT.reads + read * 8 + 4, versions[place] ?? 0, true);
  }
  bytes.set(kept.question, at + AT.question);
  let end = at + AT.question + kept.question.length;
  for (let byte = at + AT.question; byte < end - 4; byte += 1) bytes[byte] = folded(bytes[byte]!);
  bytes.set(kept.answer, end);
  end += kept.answer.length;
  for (const ttl of kept.ttlsAt) {
    view.setUint16(end, ttl, true);
    end += 2;
  }
}

/** Whether nothing that the answer rests on has changed. */
export function isFresh({ arena: { view }, versions }: Store, at: number, nowMs: number): boolean {
  for (let read = at + AT.reads; read < at + AT.question; read += 8) {
    const place = view.getUint32(read, true);
    if (place === noRead) break;
    if (versions[place & (versionCount - 1)] !== view.getUint32(read + 4, true)) return false;
  }
  return view.getFloat64(at + AT.expiresAtMs, true) > nowMs;
}

/** Whether the entry answers the question: equal but for the case of letters, where that may differ. */
export function isAsked({ arena }: Store, at: number, packet: Bytes, query: RawQuery): boolean {
  const { view } = arena;
  const length = view.getUint16(at + AT.questionBytes, true);
  if (length !== query.questionEnd - query.questionStart) return false;
  const isSpelled = (view.getUint16(at + AT.kind, true) & spelledBit) !== 0;
  const key = at + AT.question;
  const question = query.questionStart;
  // From the end, so that type and class are one word of their own.
  for (let left = length - 4; left > -4; left -= 4) {
    const from = Math.max(0, left);
    if (view.getUint32(key + from) === packet.view.getUint32(question + from)) continue;
    if (isSpelled || left === length - 4) return false;
    for (let byte = from; byte < from + 4; byte += 1) {
      if (arena.bytes[key + byte] !== folded(packet.bytes[question + byte]!)) return false;
    }
  }
  return true;
}

/** Only letters fold, and only in names: length bytes lie below them, types may look like one. */
export function folded(byte: number): number {
  return byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte;
}

/** Where a reply is written, how long it may be, and how much there is room for. */
export type Out = Bytes & { at: number; room: number; readonly roomMax: number };

/** These bits of the query come back in the reply (D62). */
export const copiedFlags = FLAG.RD | FLAG.CD;
const optBytes = 11;

/** Writes the reply; its length, or 0 when there is not room for all of it. */
export function writeReply(
  store: Store,
  entry: number,
  asked: { packet: Bytes; query: RawQuery; nowMs: number; random: () => number },
  out: Out,
): number {
  const { view } = store.arena;
  const { packet, query } = asked;
  const answerBytes = view.getUint16(entry + AT.answerBytes, true);
  const questionBytes = query.questionEnd - query.questionStart;
  const opt = query.hasEdns ? optBytes : 0;
  const total = headerBytes + questionBytes + answerBytes + opt;
  if (total > out.room) return 0;
  const start = out.at;
  writeHeader(view, entry, query, packet.view.getUint16(query.questionStart - headerBytes), out);
  copy(packet, query.questionStart, questionBytes, out, start + headerBytes);
  const from = entry + AT.question + view.getUint16(entry + AT.questionBytes, true);
  const to = start + headerBytes + questionBytes;
  copy(store.arena, from, answerBytes, out, to);
  patch(store, entry, out, { from, to, answerBytes, nowMs: asked.nowMs });
  const shuffled = view.getUint16(entry + AT.shuffleCount, true);
  if (shuffled > 1) {
    const block = to + view.getUint16(entry + AT.shuffleStart, true);
    shuffle(out, block, view.getUint16(entry + AT.shuffleSize, true), shuffled, asked.random);
  }
  if (query.hasEdns) writeOpt(out.view, to + answerBytes, query);
  return total;
}

function writeHeader(view: DataView, entry: number, query: RawQuery, id: number, out: Out): void {
  const start = out.at;
  let flags = view.getUint16(entry + AT.flags, true) | (query.flags & copiedFlags);
  // AD only for a client that asked for it (D65).
  if (!query.dnssecOk && (query.flags & FLAG.AD) === 0) flags &= ~FLAG.AD;
  out.view.setUint16(start, id);
  out.view.setUint16(start + 2, flags);
  out.view.setUint16(start + 4, 1);
  out.view.setUint16(start + 6, view.getUint16(entry + AT.counts, true));
  out.view.setUint16(start + 8, view.getUint16(entry + AT.counts + 2, true));
  const additionals = view.getUint16(entry + AT.counts + 4, true);
  out.view.setUint16(start + 10, additionals + (query.hasEdns ? 1 : 0));
}

/** The newest serial, and what is left of TTLs. */
function patch(
  { arena: { view }, control }: Store,
  entry: number,
  out: Out,
  where: { from: number; to: number; answerBytes: number; nowMs: number },
): void {
  const serialAt = view.getUint16(entry + AT.serialAt, true);
  if (serialAt !== 0xffff) out.view.setInt32(where.to + serialAt, control[CONTROL.serial]!);
  const ttls = view.getUint16(entry + AT.ttlCount, true);
  if (ttls === 0) return;
  const leftMs = view.getFloat64(entry + AT.expiresAtMs, true) - where.nowMs;
  const ttl = Math.ceil(leftMs / 1000);
  const list = where.from + where.answerBytes;
  for (let index = 0; index < ttls; index += 1) {
    out.view.setUint32(where.to + view.getUint16(list + index * 2, true), ttl);
  }
}

function writeOpt(view: DataView, at: number, query: RawQuery): void {
  view.setUint8(at, 0);
  view.setUint16(at + 1, TYPE.OPT);
  view.setUint16(at + 3, query.udpBytes);
  view.setUint32(at + 5, query.dnssecOk ? 0x8000 : 0);
  view.setUint16(at + 9, 0);
}

/** For more bytes the call of a native copy pays. */
const fewBytes = 160;

function copy(from: Bytes, fromAt: number, length: number, to: Bytes, toAt: number): void {
  if (length > fewBytes) {
    to.bytes.set(from.bytes.subarray(fromAt, fromAt + length), toAt);
    return;
  }
  let done = 0;
  for (; done + 4 <= length; done += 4) {
    to.view.setUint32(toAt + done, from.view.getUint32(fromAt + done));
  }
  for (; done < length; done += 1) to.bytes[toAt + done] = from.bytes[fromAt + done]!;
}

/** Fisher and Yates over records of `size` bytes; a multiple of four, as those of addresses are. */
function shuffle(
  { view }: Bytes,
  start: number,
  size: number,
  count: number,
  random: () => number,
): void {
  for (let last = count - 1; last > 0; last -= 1) {
    const other = Math.floor(random() * (last + 1));
    if (other === last) continue;
    const a = start + other * size;
    const b = start + last * size;
    for (let word = 0; word < size; word += 4) {
      const held = view.getUint32(a + word);
      view.setUint32(a + word, view.getUint32(b + word));
      view.setUint32(b + word, held);
    }
  }
}
