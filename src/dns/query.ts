/** The first look at a packet: is it a question we answer, and what does its sender understand. */
import {
  cursorOver,
  DecodeError,
  readQuestion,
  readRecord,
  readU16,
  type Cursor,
} from './wire/decode.ts';
import {
  FLAG,
  headerBytes,
  OPCODE,
  opcodeOf,
  plainUdpBytesMax,
  RCODE,
  TYPE,
  type Question,
  type ResourceRecord,
} from './wire/message.ts';
import { root } from './wire/name.ts';

/** What the client's OPT record said (RFC 6891 §6). */
export type Edns = {
  /** As sent; smaller than 512 counts as 512. */
  readonly udpBytes: number;
  readonly version: number;
  readonly dnssecOk: boolean;
  /** The options that a reply carries back. */
  readonly options: Uint8Array;
};

export type Query = {
  readonly id: number;
  readonly flags: number;
  readonly question: Question;
  readonly edns: Edns | undefined;
  /** The serial that an IXFR says its sender has (RFC 1995 §3). */
  readonly serial?: number;
};

/** `drop`: no answer at all. `refuse`: only a header, with the question where it could be read. */
export type Parsed =
  | { readonly kind: 'query'; readonly query: Query }
  | { readonly kind: 'drop' }
  | {
      readonly kind: 'refuse';
      readonly id: number;
      readonly flags: number;
      readonly rcode: number;
      readonly question: Question | undefined;
    };

/** EDNS options kept in a reply: NSID, EXPIRE, COOKIE, TCP-KEEPALIVE, PADDING (D73). */
const optionsKept = new Set([3, 9, 10, 11, 12]);
/** More options than this are not sent back: an echo must not fill the reply. */
const optionBytesMax = 512;

/** A failure is a reply of its own and has the bits of one (D62). */
function bitsKeptOf(rcode: number, opcode: number): number {
  if (rcode !== RCODE.SERVFAIL) return bitsKept;
  return opcode === OPCODE.QUERY ? FLAG.RD | FLAG.CD : 0;
}

/** TC, RD, RA, AD and CD. */
const bitsKept = 0x03b0;
const opcodeBits = 0x7800;

/** Never throws: what cannot be read is refused or dropped. */
export function parseQuery(packet: Uint8Array): Parsed {
  if (packet.length < headerBytes) return { kind: 'drop' };
  const cursor = cursorOver(packet);
  const [id, flags] = [readU16(cursor), readU16(cursor)];
  if ((flags & FLAG.QR) !== 0) return { kind: 'drop' };
  const opcode = opcodeOf({ flags });
  const refuse = (rcode: number, question?: Question): Parsed => {
    // A format error answers as to a plain query (D70); all else of the header comes back as it was.
    const kept = rcode === RCODE.FORMERR ? bitsKept : opcodeBits | bitsKeptOf(rcode, opcode);
    return { kind: 'refuse', id, flags: flags & kept, rcode, question };
  };
  if (opcode !== OPCODE.QUERY && opcode !== OPCODE.NOTIFY) return refuse(RCODE.NOTIMP);
  const counts = {
    qd: readU16(cursor),
    an: readU16(cursor),
    ns: readU16(cursor),
    ar: readU16(cursor),
  };
  if (counts.qd !== 1 || counts.an > 1 || counts.ns > 1 || counts.ar > 2) {
    return refuse(RCODE.FORMERR);
  }
  // A header that promises a question which is not there (D71).
  if (packet.length === headerBytes) return refuse(RCODE.SERVFAIL);
  let question: Question | undefined;
  try {
    question = readQuestion(cursor);
    if (question.type === TYPE.IXFR) {
      const serial = serialIn(cursor, counts);
      const edns = readEdns(cursor, { an: 0, ns: 0, ar: counts.ar });
      const query = { id, flags, question, edns };
      return { kind: 'query', query: serial === undefined ? query : { ...query, serial } };
    }
    const edns = readEdns(cursor, counts);
    return { kind: 'query', query: { id, flags, question, edns } };
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error;
    return refuse(RCODE.FORMERR, question);
  }
}

/** Of the one SOA in the authority section. */
function serialIn(cursor: Cursor, counts: { an: number; ns: number }): number | undefined {
  let serial: number | undefined;
  for (let left = counts.an + counts.ns; left > 0 && hasMore(cursor); left -= 1) {
    const { type, data } = readRecord(cursor);
    const numbers = data[2];
    if (type !== TYPE.SOA || !(numbers instanceof Uint8Array) || numbers.length < 4) continue;
    serial = Buffer.from(numbers).readUInt32BE(0);
  }
  return serial;
}

/** Records that are counted and not there are overlooked, as CoreDNS does. */
function hasMore({ at, bytes }: Cursor): boolean {
  return at < bytes.length;
}

function readEdns(
  cursor: Cursor,
  counts: { an: number; ns: number; ar: number },
): Edns | undefined {
  for (let skip = counts.an + counts.ns; skip > 0 && hasMore(cursor); skip -= 1) readRecord(cursor);
  let edns: Edns | undefined;
  for (let left = counts.ar; left > 0 && hasMore(cursor); left -= 1) {
    const record = readRecord(cursor);
    if (record.type !== TYPE.OPT) continue;
    // RFC 6891 §6.1.1: a second OPT, or one that is not at the root, is a format error.
    if (edns !== undefined || record.name !== root) throw new DecodeError('OPT is out of place');
    edns = ednsOf(record);
  }
  return edns;
}

function ednsOf(record: ResourceRecord): Edns {
  const [bytes] = record.data;
  return {
    udpBytes: record.class,
    version: (record.ttl >>> 16) & 0xff,
    dnssecOk: (record.ttl & 0x8000) !== 0,
    options: bytes instanceof Uint8Array ? keptOptions(Buffer.from(bytes)) : noOptions,
  };
}

const noOptions = new Uint8Array(0);

function keptOptions(bytes: Buffer): Uint8Array {
  const kept: Uint8Array[] = [];
  let size = 0;
  for (let at = 0; at < bytes.length;) {
    if (at + 4 > bytes.length) throw new DecodeError('an EDNS option is cut off');
    const end = at + 4 + bytes.readUInt16BE(at + 2);
    if (end > bytes.length) throw new DecodeError('an EDNS option is cut off');
    const fits = size + end - at <= optionBytesMax;
    if (optionsKept.has(bytes.readUInt16BE(at)) && fits) {
      kept.push(bytes.subarray(at, end));
      size += end - at;
    }
    at = end;
  }
  return kept.length === 0 ? noOptions : Uint8Array.from(Buffer.concat(kept));
}

/** The OPT record of a reply: version 0, the client's own size and DO bit (D73). */
export function replyOpt(edns: Edns, rcode: number): ResourceRecord {
  return {
    name: root,
    type: TYPE.OPT,
    class: edns.udpBytes,
    ttl: (((rcode >> 4) << 24) | (edns.dnssecOk ? 0x8000 : 0)) >>> 0,
    data: edns.options.length === 0 ? [] : [edns.options],
  };
}

/** How long a reply over UDP may be (RFC 6891 §6.2.3). */
export function udpRoom(edns: Edns | undefined): number {
  return Math.max(plainUdpBytesMax, edns?.udpBytes ?? 0);
}
