/** Bytes to messages. Whatever the bytes are, either a message comes out or a `DecodeError`. */
import {
  headerBytes,
  layoutOf,
  type Message,
  type Question,
  type ResourceRecord,
} from './message.ts';
import { labelBytesMax, nameBytesMax, type Name } from './name.ts';

/** The bytes are no DNS message. */
export class DecodeError extends Error {
  override name = 'DecodeError';
}

/** Where reading stands in a packet. */
export type Cursor = { readonly bytes: Buffer; at: number };

/** Decodes one message; bytes after the counted sections are ignored, as BIND and CoreDNS do. */
export function decodeMessage(bytes: Uint8Array): Message {
  const cursor = cursorOver(bytes);
  if (bytes.length < headerBytes) throw new DecodeError('the header is cut off');
  const id = readU16(cursor);
  const flags = readU16(cursor);
  const counts = [readU16(cursor), readU16(cursor), readU16(cursor), readU16(cursor)] as const;
  return {
    id,
    flags,
    questions: many(counts[0], () => readQuestion(cursor)),
    answers: many(counts[1], () => readRecord(cursor)),
    authorities: many(counts[2], () => readRecord(cursor)),
    additionals: many(counts[3], () => readRecord(cursor)),
  };
}

/** A cursor at the first byte. */
export function cursorOver(bytes: Uint8Array): Cursor {
  return { bytes: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength), at: 0 };
}

/** The count is the sender's claim: each item must be there, so it cannot make us allocate. */
function many<T>(count: number, read: () => T): T[] {
  const items: T[] = [];
  for (let index = 0; index < count; index += 1) items.push(read());
  return items;
}

export function readU16(cursor: Cursor): number {
  if (cursor.at + 2 > cursor.bytes.length) throw new DecodeError('the message is cut off');
  const value = cursor.bytes.readUInt16BE(cursor.at);
  cursor.at += 2;
  return value;
}

export function readU32(cursor: Cursor): number {
  if (cursor.at + 4 > cursor.bytes.length) throw new DecodeError('the message is cut off');
  const value = cursor.bytes.readUInt32BE(cursor.at);
  cursor.at += 4;
  return value;
}

export function readQuestion(cursor: Cursor): Question {
  return { name: readName(cursor), type: readU16(cursor), class: readU16(cursor) };
}

/** Reads a name and follows its pointers, each of which must point before the one that led there. */
export function readName(cursor: Cursor): Name {
  const { bytes } = cursor;
  let name = '';
  let at = cursor.at;
  let earliest = at;
  let end = -1;
  for (;;) {
    // Labels up to the next pointer or the end are text that is taken at once.
    const runEnd = endOfLabels(bytes, at, name.length);
    if (runEnd > at) name += bytes.toString('latin1', at, runEnd);
    if (bytes[runEnd] === 0) {
      cursor.at = end < 0 ? runEnd + 1 : end;
      return `${name}\0`;
    }
    const target = pointerAt(bytes, runEnd);
    if (target >= earliest) throw new DecodeError('a compression pointer points forward');
    if (end < 0) end = runEnd + 2;
    at = target;
    earliest = target;
  }
}

/** Where the labels from `at` on end: at the root or at a pointer. `length` came before them. */
function endOfLabels(bytes: Buffer, at: number, length: number): number {
  const start = at;
  for (;;) {
    if (at >= bytes.length) throw new DecodeError('a name is cut off');
    const label = bytes[at]!;
    if (label === 0 || label > labelBytesMax) return at;
    if (at + 1 + label > bytes.length) throw new DecodeError('a label is cut off');
    if (length + at - start + 1 + label >= nameBytesMax) {
      throw new DecodeError('a name is too long');
    }
    at += 1 + label;
  }
}

/** Passes over a name without looking where its pointer leads. */
export function skipName(cursor: Cursor): void {
  const { bytes } = cursor;
  const end = endOfLabels(bytes, cursor.at, 0);
  cursor.at = bytes[end] === 0 ? end + 1 : end + 2;
}

function pointerAt(bytes: Buffer, at: number): number {
  // The kinds 01 and 10 were never put to use (RFC 6891 §5).
  if (bytes[at]! < 0xc0) throw new DecodeError('a label has a reserved kind');
  if (at + 2 > bytes.length) throw new DecodeError('a compression pointer is cut off');
  return bytes.readUInt16BE(at) & 0x3fff;
}

export function readRecord(cursor: Cursor): ResourceRecord {
  const name = readName(cursor);
  const type = readU16(cursor);
  const recordClass = readU16(cursor);
  const ttl = readU32(cursor);
  const end = readU16(cursor) + cursor.at;
  if (end > cursor.bytes.length) throw new DecodeError('a record is cut off');
  return { name, type, class: recordClass, ttl, data: readRdata(cursor, type, end) };
}

function readRdata(cursor: Cursor, type: number, end: number): (Name | Uint8Array)[] {
  const layout = layoutOf(type);
  const data: (Name | Uint8Array)[] = [];
  // An empty rdata stands in updates only, but it is no reason to refuse the message.
  if (layout !== undefined && cursor.at < end) {
    if (layout.bytesBefore > 0) data.push(readBytes(cursor, layout.bytesBefore));
    for (let count = layout.names; count > 0; count -= 1) data.push(readName(cursor));
  }
  if (cursor.at > end) throw new DecodeError('a name runs over the end of its record');
  if (cursor.at < end) data.push(readBytes(cursor, end - cursor.at));
  return data;
}

function readBytes(cursor: Cursor, count: number): Uint8Array {
  if (cursor.at + count > cursor.bytes.length) throw new DecodeError('a record is cut off');
  const bytes = new Uint8Array(cursor.bytes.subarray(cursor.at, cursor.at + count));
  cursor.at += count;
  return bytes;
}
