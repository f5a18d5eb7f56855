/** Takes an encoded reply apart into what is kept of it. */
import { cursorOver, readU16, skipName } from '../wire/decode.ts';
import { FLAG, headerBytes, TYPE } from '../wire/message.ts';
import type { Cached } from '../stage.ts';
import { copiedFlags, folded, type Kept } from './entry.ts';

type Found = {
  readonly section: number;
  readonly type: number;
  /** Offsets in the reply. */
  readonly at: number;
  readonly ttlAt: number;
  readonly end: number;
};

/** What a reply rests on, and how it ages. */
export type KeepOptions = {
  /** Places of the versions that were read for it. */
  readonly reads: readonly number[];
  /** Absent: it is ours, and good until something that was read changes. */
  readonly cached?: Cached | undefined;
};

/** What to keep of a whole reply; undefined when it cannot be answered again as bytes. */
export function dissect(reply: Buffer, options: KeepOptions): Kept | undefined {
  const cursor = cursorOver(reply);
  cursor.at = 2;
  // Others may ask for AD who get the same bytes.
  const authentic = options.cached?.authentic === true ? FLAG.AD : 0;
  const flags = (readU16(cursor) & ~copiedFlags) | authentic;
  readU16(cursor);
  const counts = [readU16(cursor), readU16(cursor), readU16(cursor)] as const;
  skipName(cursor);
  const questionEnd = cursor.at + 4;
  cursor.at = questionEnd;
  const records: Found[] = [];
  let answerEnd = questionEnd;
  let additionals = 0;
  for (const [section, count] of counts.entries()) {
    for (let left = count; left > 0; left -= 1) {
      const at = cursor.at;
      skipName(cursor);
      const type = readU16(cursor);
      cursor.at += 2;
      const ttlAt = cursor.at;
      cursor.at += 6 + reply.readUInt16BE(cursor.at + 4);
      // OPT stands last and is each client's own.
      if (type === TYPE.OPT) continue;
      if (section === 2) additionals += 1;
      records.push({ section, type, at, ttlAt, end: cursor.at });
      answerEnd = cursor.at;
    }
  }
  const shuffle = addressBlock(reply, records);
  if (shuffle === undefined) return undefined;
  const isOurs = options.cached === undefined;
  const question = reply.subarray(headerBytes, questionEnd);
  const isSpelled = isOurs && records.some(({ type }) => type === TYPE.SRV || type === TYPE.CNAME);
  // Kept in lower case, which is what is asked but for the few who mix it.
  if (isSpelled && question.subarray(0, -4).some((byte) => byte !== folded(byte))) return undefined;
  const soa = isOurs ? records.find(({ type }) => type === TYPE.SOA) : undefined;
  return {
    question,
    isSpelled,
    flags,
    counts: [counts[0], counts[1], additionals],
    answer: reply.subarray(questionEnd, answerEnd),
    shuffle: { ...shuffle, start: Math.max(0, shuffle.start - questionEnd) },
    reads: options.reads,
    serialAt: soa && soa.end - soaNumbersBytes - questionEnd,
    cached: options.cached,
    ttlsAt: isOurs ? [] : records.map(({ ttlAt }) => ttlAt - questionEnd),
  };
}

/** Serial, refresh, retry, expire, minimum (RFC 1035 §3.3.13). */
const soaNumbersBytes = 20;

/**
 * The addresses that may be shuffled as bytes: all of one section, side by side, equally long, and
 * each owner a pointer to somewhere before them. Undefined: this reply must be made anew each time.
 */
function addressBlock(reply: Buffer, records: readonly Found[]): Kept['shuffle'] | undefined {
  const isAddress = ({ type }: Found) => type === TYPE.A || type === TYPE.AAAA;
  const sections = [0, 1, 2].map((section) =>
    records.filter((found) => found.section === section && isAddress(found)),
  );
  const many = sections.filter(({ length }) => length > 1);
  if (many.length === 0) return { start: 0, size: 0, count: 0 };
  const block = many[0]!;
  const start = block[0]!.at;
  const size = block[0]!.end - start;
  const regular = block.every(({ at, end }, index) => {
    const owner = reply.readUInt16BE(at);
    const pointsBefore = owner >= 0xc000 && (owner & 0x3fff) < start;
    return pointsBefore && at === start + index * size && end - at === size;
  });
  return many.length === 1 && regular ? { start, size, count: block.length } : undefined;
}
