/** The first look at a query as bytes: the usual shapes are read without making anything of them. */
import { CLASS, headerBytes, plainUdpBytesMax, TYPE } from '../wire/message.ts';
import { labelBytesMax, nameBytesMax } from '../wire/name.ts';

/** A datagram or message in a larger buffer, both as bytes and as numbers. */
export type Bytes = { readonly bytes: Uint8Array; readonly view: DataView };

export function bytesOf(bytes: Uint8Array): Bytes {
  return { bytes, view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength) };
}

/** What was read; one object serves all queries. Offsets count from the start of the buffer. */
export type RawQuery = {
  flags: number;
  /** Where the question begins and ends: name, type and class. */
  questionStart: number;
  questionEnd: number;
  /** Of the question, whatever the case of its letters. */
  hash: number;
  hasEdns: boolean;
  dnssecOk: boolean;
  /** As sent; 0 without EDNS. */
  udpBytes: number;
};

export function newRawQuery(): RawQuery {
  return {
    flags: 0,
    questionStart: 0,
    questionEnd: 0,
    hash: 0,
    hasEdns: false,
    dnssecOk: false,
    udpBytes: 0,
  };
}

/** QR and opcode: a query of opcode QUERY has neither. */
const notPlain = 0xf800;
const optBytes = 11;

/**
 * Reads a plain query: one question of class IN with a name in full, at most an OPT record of version 0
 * without options. False for any other, which may still be a good one.
 */
export function readRawQuery({ bytes, view }: Bytes, start: number, end: number, into: RawQuery) {
  if (end - start < headerBytes + 5) return false;
  const flags = view.getUint16(start + 2);
  if ((flags & notPlain) !== 0) return false;
  // One question, no answer, no authority record.
  if (view.getUint32(start + 4) !== 0x0001_0000 || view.getUint16(start + 8) !== 0) return false;
  const questionStart = start + headerBytes;
  const nameEnd = endOfName(bytes, questionStart, Math.min(end, questionStart + nameBytesMax));
  if (nameEnd < 0 || nameEnd + 4 > end) return false;
  if (view.getUint16(nameEnd + 2) !== CLASS.IN) return false;
  const additionals = view.getUint16(start + 10);
  if (additionals > 1) return false;
  const questionEnd = nameEnd + 4;
  into.hasEdns = additionals === 1;
  if (!into.hasEdns) {
    into.udpBytes = 0;
    into.dnssecOk = false;
  } else if (!readOpt(bytes, view, { start: questionEnd, end, into })) {
    return false;
  }
  into.flags = flags;
  into.questionStart = questionStart;
  into.questionEnd = questionEnd;
  into.hash = hashOf(view, questionStart, questionEnd);
  return true;
}

/** Behind the root label of a name without pointers; -1 when it is none. */
function endOfName(bytes: Uint8Array, start: number, limit: number): number {
  let at = start;
  while (at < limit) {
    const length = bytes[at]!;
    if (length === 0) return at + 1;
    if (length > labelBytesMax) return -1;
    at += 1 + length;
  }
  return -1;
}

function readOpt(
  bytes: Uint8Array,
  view: DataView,
  { start, end, into }: { start: number; end: number; into: RawQuery },
): boolean {
  if (start + optBytes > end || bytes[start] !== 0) return false;
  if (view.getUint16(start + 1) !== TYPE.OPT) return false;
  // Version 0, no options.
  if (bytes[start + 6] !== 0 || view.getUint16(start + 9) !== 0) return false;
  into.udpBytes = view.getUint16(start + 3);
  into.dnssecOk = (bytes[start + 7]! & 0x80) !== 0;
  return true;
}

/** How long a reply over UDP may be (RFC 6891 §6.2.3). */
export function roomOf(query: RawQuery): number {
  return Math.max(plainUdpBytesMax, query.udpBytes);
}

/**
 * Four bytes at a time. In names the bit is set that tells small letters from capitals; that makes some
 * other bytes equal too, which a hash may. Type and class stay as they are: SRV is A with that bit.
 */
export function hashOf(view: DataView, start: number, end: number): number {
  const nameEnd = end - 4;
  let hash = end - start;
  for (let at = start; at < nameEnd; at += 4) {
    hash = mix(hash, view.getUint32(at, true) | 0x2020_2020);
  }
  hash = mix(hash, view.getUint32(nameEnd, true));
  hash = Math.imul(hash ^ (hash >>> 15), 0x85eb_ca6b);
  return (hash ^ (hash >>> 13)) >>> 0;
}

function mix(hash: number, word: number): number {
  return Math.imul(((hash << 5) | (hash >>> 27)) ^ word, 0x9e37_79b1);
}
