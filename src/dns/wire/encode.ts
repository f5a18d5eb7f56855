/** Messages to bytes, with name compression, cut to what the client can take. */
import { assert } from '../../lib/errors.ts';
import {
  FLAG,
  headerBytes,
  layoutOf,
  messageBytesMax,
  TYPE,
  type Message,
  type ResourceRecord,
} from './message.ts';
import type { Name } from './name.ts';

/** Names further in cannot be pointed to: a pointer has 14 bits (RFC 1035 §4.1.4). */
const pointerMax = 0x3fff;

/** Encoding is synchronous: one buffer serves every message. */
const scratch = Buffer.allocUnsafeSlow(messageBytesMax + 1024);

type Writer = { at: number; readonly names: Map<Name, number> };

/**
 * Encodes a message in at most `bytesMax` bytes. Records that do not fit are left out whole, from
 * the end, and TC says so; an OPT record always stays (RFC 2181 §9, RFC 6891 §7).
 */
export function encodeMessage(message: Message, bytesMax: number = messageBytesMax): Buffer {
  const writer: Writer = { at: headerBytes, names: new Map() };
  for (const question of message.questions) {
    writeName(writer, question.name, true);
    writer.at = scratch.writeUInt16BE(question.type, writer.at);
    writer.at = scratch.writeUInt16BE(question.class, writer.at);
  }
  const opt = message.additionals.find((record) => record.type === TYPE.OPT);
  const room = Math.min(bytesMax, messageBytesMax) - (opt === undefined ? 0 : optBytes(opt));
  const rest = message.additionals.filter((record) => record !== opt);
  let fits = true;
  const counts = [message.answers, message.authorities, rest].map((records) => {
    let count = 0;
    while (fits && count < records.length) {
      fits = tryWriteRecord(writer, records[count]!, room);
      if (fits) count += 1;
    }
    return count;
  });
  if (opt !== undefined) writeRecord(writer, opt);
  writeHeader(message, fits, [counts[0]!, counts[1]!, counts[2]! + (opt === undefined ? 0 : 1)]);
  return Buffer.from(scratch.subarray(0, writer.at));
}

function writeHeader(message: Message, fits: boolean, counts: readonly number[]): void {
  scratch.writeUInt16BE(message.id, 0);
  scratch.writeUInt16BE(fits ? message.flags : message.flags | FLAG.TC, 2);
  scratch.writeUInt16BE(message.questions.length, 4);
  counts.forEach((count, index) => scratch.writeUInt16BE(count, 6 + index * 2));
}

/** An OPT record's owner is the root and its rdata has no names. */
function optBytes(opt: ResourceRecord): number {
  return opt.data.reduce((sum, part) => sum + part.length, 11);
}

/** Writes the record, or leaves no trace of it and answers false. */
function tryWriteRecord(writer: Writer, record: ResourceRecord, room: number): boolean {
  const start = writer.at;
  const size = record.data.reduce((sum, part) => sum + part.length, record.name.length + 10);
  if (start + size > scratch.length) return false;
  writeRecord(writer, record);
  if (writer.at <= room) return true;
  writer.at = start;
  for (const [name, at] of writer.names) if (at >= start) writer.names.delete(name);
  return false;
}

function writeRecord(writer: Writer, record: ResourceRecord): void {
  writeName(writer, record.name, true);
  let at = scratch.writeUInt16BE(record.type, writer.at);
  at = scratch.writeUInt16BE(record.class, at);
  at = scratch.writeUInt32BE(record.ttl, at);
  writer.at = at + 2;
  const compress = layoutOf(record.type)?.compress === true;
  for (const part of record.data) {
    if (typeof part === 'string') {
      writeName(writer, part, compress);
    } else {
      scratch.set(part, writer.at);
      writer.at += part.length;
    }
  }
  const length = writer.at - at - 2;
  assert(length <= messageBytesMax, 'rdata fits its 16-bit length');
  scratch.writeUInt16BE(length, at);
}

/** Writes a name; a tail that stands in the message already becomes a pointer to it. */
function writeName(writer: Writer, name: Name, compress: boolean): void {
  for (let at = 0; ;) {
    const length = name.charCodeAt(at);
    if (length === 0) break;
    const tail = at === 0 ? name : name.slice(at);
    const known = compress ? writer.names.get(tail) : undefined;
    if (known !== undefined) {
      writer.at = scratch.writeUInt16BE(0xc000 | known, writer.at);
      return;
    }
    if (writer.at <= pointerMax && !writer.names.has(tail)) writer.names.set(tail, writer.at);
    const end = at + 1 + length;
    // Labels are short: fewer steps than a call into the runtime takes.
    for (; at < end; at += 1) scratch[writer.at++] = name.charCodeAt(at);
  }
  writer.at = scratch.writeUInt8(0, writer.at);
}
