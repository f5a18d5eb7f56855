/** From a packet to its reply: read, put to the chain of its zone, written as its sender can take it. */
import { isIpv6, pluginNumber, VIA } from './answer-counts.ts';
import type { Block, Plain } from './blocks.ts';
import type { SocketCounts } from './counters.ts';
import { parseQuery, replyOpt, udpRoom, type Edns, type Parsed, type Query } from './query.ts';
import {
  failure,
  whenDone,
  type Answer,
  type Answered,
  type Ask,
  type Asked,
  type Sender,
  type Transport,
} from './stage.ts';
import { encodeMessage } from './wire/encode.ts';
import {
  CLASS,
  FLAG,
  messageBytesMax,
  OPCODE,
  opcodeOf,
  RCODE,
  rcodeOf,
  TYPE,
  type Message,
  type Question,
  type ResourceRecord,
} from './wire/message.ts';
import { foldCase, isWithin, root, type Name } from './wire/name.ts';

export type ResponderOptions = {
  /** The zones of one socket. */
  readonly zones: readonly { readonly zone: Name; readonly block: Block }[];
  /** As metrics name the socket, such as `dns://:53`. */
  readonly label: string;
  /** The address it is bound to. */
  readonly host: string;
  readonly counters: SocketCounts;
  /** Monotonic. */
  readonly nowMs: () => number;
};

/** A transfer goes on in more messages, over streams only. */
export type LongReply = Buffer & { readonly rest?: readonly Buffer[] };

type Reply = LongReply | undefined;

/** Who made a reply, for metrics: the stage, or nobody before the zones were asked. */
type MadeBy = { readonly stage: string; readonly dropped: boolean };

const dropped: MadeBy = { stage: 'server', dropped: true };

type Made = { readonly bytes: Reply; readonly by: MadeBy };

function made({ sources }: Answer, bytes: Reply): Made {
  return { bytes, by: { stage: sources[0]?.stage ?? 'server', dropped: false } };
}

/** What is counted of a question beside its reply. */
type Counted = {
  readonly parsed: Parsed;
  readonly transport: Transport;
  readonly from: Sender;
  readonly bytes: number;
};

/** What answers on one socket. */
export class Responder {
  readonly #options: ResponderOptions;
  /** The longest zone first. */
  readonly #zones: ResponderOptions['zones'];
  readonly #asked: Asked;

  constructor(options: ResponderOptions) {
    this.#options = options;
    this.#zones = options.zones.toSorted((a, b) => b.zone.length - a.zone.length);
    const { label, host } = options;
    this.#asked = { label, host, resolve: (ask) => this.answer(ask) };
  }

  /** The reply, or undefined when the packet deserves none. Only names outside take time. */
  respond(packet: Uint8Array, transport: Transport, from: Sender): Reply | Promise<Reply> {
    const parsed = parseQuery(packet);
    if (parsed.kind === 'drop') return undefined;
    const count = { parsed, transport, from, bytes: packet.length };
    if (parsed.kind === 'refuse') return this.#count(count, refusal(parsed), dropped);
    const block = this.#blockOf(parsed.query.question);
    const query = capped(parsed.query, block?.settings.plugins.bufsize);
    const bytesMax = transport === 'udp' ? udpRoom(query.edns) : messageBytesMax;
    const ask = { query, transport, from, bytes: packet.length, server: this.#asked };
    const { nowMs, counters } = this.#options;
    const startedMs = nowMs();
    const made = this.#reply(ask, block, bytesMax);
    return whenDone(made, (reply) => {
      counters.seconds.observe((nowMs() - startedMs) / 1000);
      return reply.bytes && this.#count(count, reply.bytes, reply.by);
    });
  }

  /** The reply to a packet that a bug of ours stumbled on (D79). */
  failure(packet: Uint8Array): Reply {
    const parsed = parseQuery(packet);
    return parsed.kind === 'query' ? error(parsed.query, RCODE.SERVFAIL) : undefined;
  }

  /** Puts a question to the chain of its zone. */
  answer(ask: Ask): Answered {
    const block = this.#blockOf(ask.query.question);
    return block === undefined ? failure(RCODE.REFUSED, { stage: 'server' }) : block.chain(ask);
  }

  #blockOf({ name, type }: Question): Block | undefined {
    const zones = this.#zones;
    if (zones.length === 1 && zones[0]!.zone === root) return zones[0]!.block;
    const folded = foldCase(name);
    const matching = zones.filter(({ zone }) => isWithin(folded, zone));
    // A DS record stands in the parent's zone (RFC 4035 §3.1.4.1, D40d).
    const parent = matching.findLast(({ zone }) => zone !== root);
    return (type === TYPE.DS && parent !== undefined ? parent : matching[0])?.block;
  }

  #count({ parsed, transport, from, bytes }: Counted, reply: LongReply, by: MadeBy): LongReply {
    const query = parsed.kind === 'query' ? parsed.query : undefined;
    const family = isIpv6(from.address) ? VIA.ipv6 : 0;
    this.#options.counters.own.answered({
      via: family | (transport === 'udp' ? VIA.udp : VIA.tcp),
      type: query?.question.type ?? 0,
      rcode: reply[3]! & 0xf,
      plugin: pluginNumber(by.stage),
      dnssecOk: query?.edns?.dnssecOk === true,
      requestBytes: bytes,
      replyBytes: (reply.rest ?? []).reduce((sum, { length }) => sum + length, reply.length),
      dropped: by.dropped,
    });
    return reply;
  }

  #reply(ask: Ask, block: Block | undefined, bytesMax: number): Made | Promise<Made> {
    const { query } = ask;
    const isUnknown = query.edns !== undefined && query.edns.version !== 0;
    if (isUnknown) return { bytes: error(query, RCODE.BADVERS), by: dropped };
    if (block === undefined) return { bytes: error(query, RCODE.REFUSED), by: dropped };
    const { plain } = block;
    plain?.data?.noteReads();
    const answered = block.chain(ask);
    if (answered instanceof Promise) {
      return answered.then((answer) => made(answer, encoded(query, answer, bytesMax)));
    }
    const bytes = encoded(query, answered, bytesMax);
    if (plain !== undefined && bytes !== undefined) keep(plain, query, answered, bytes);
    return made(answered, bytes);
  }
}

/** Keeps the reply for all who ask the same, where it is one that they would get as well. */
function keep(
  { data, keeper, alsoReads }: Plain,
  query: Query,
  answer: Answer,
  reply: Buffer,
): void {
  const ownReads = data === undefined ? [] : data.reads;
  const reads = ownReads && alsoReads.length > 0 ? [...ownReads, ...alsoReads] : ownReads;
  const plain = opcodeOf(query) === OPCODE.QUERY && query.question.class === CLASS.IN;
  if (!plain || reads === undefined || rcodeIsFailure(answer)) return;
  const { sources, cached } = answer;
  const [{ stage } = { stage: '' }, ...more] = sources;
  if (more.length > 0) return;
  if (stage === 'kubernetes') keeper.keep(reply, { reads });
  // What other servers say may differ by these bits (D83).
  const differs = query.edns?.dnssecOk === true || (query.flags & FLAG.CD) !== 0;
  if (stage === 'cache' && cached !== undefined && !differs) keeper.keep(reply, { reads, cached });
}

/** Not yet synced, a denial is not worth keeping. */
function rcodeIsFailure({ flags }: Answer): boolean {
  return rcodeOf({ flags }) !== RCODE.NOERROR && rcodeOf({ flags }) !== RCODE.NXDOMAIN;
}

function encoded(query: Query, answer: Answer, bytesMax: number): Reply {
  if (answer.isTransfer === true) return transferred(query, answer);
  return answer.dropped === true ? undefined : encodeMessage(message(query, answer), bytesMax);
}

/** Bytes of records in one message of a transfer, before names are compressed. */
const transferBytesMax = 60_000;

/** As many messages as a zone takes, each with the question (RFC 5936 §2.2). */
function transferred(query: Query, answer: Answer): LongReply {
  const parts: ResourceRecord[][] = [[]];
  let size = 0;
  for (const record of answer.answers) {
    const bytes = record.data.reduce((sum, part) => sum + part.length, record.name.length + 10);
    if (size > 0 && size + bytes > transferBytesMax) {
      parts.push([]);
      size = 0;
    }
    parts.at(-1)!.push(record);
    size += bytes;
  }
  const [first, ...rest] = parts.map((answers) =>
    encodeMessage(message(query, { ...answer, answers })),
  );
  return Object.assign(first!, { rest });
}

/** A reply with the id, opcode, RD, CD and question of the query. */
function message(query: Query, answer: Answer): Message {
  const copied = opcodeOf(query) === OPCODE.QUERY ? FLAG.RD | FLAG.CD : 0;
  const { answers, authorities, additionals } = answer;
  const opt = query.edns === undefined ? [] : [optOf(query.edns, answer)];
  return {
    id: query.id,
    flags: FLAG.QR | (query.flags & (0x7800 | copied)) | answer.flags,
    questions: [query.question],
    answers,
    authorities,
    additionals: [...additionals, ...opt],
  };
}

/** As large a reply as the block allows, whatever the client says (`bufsize`). */
function capped(query: Query, bytesMax: number | undefined): Query {
  const { edns } = query;
  if (bytesMax === undefined || edns === undefined || edns.udpBytes <= bytesMax) return query;
  return { ...query, edns: { ...edns, udpBytes: bytesMax } };
}

/** The number of the option with an extended error (RFC 8914 §2). */
const extendedErrorOption = 15;

function optOf(edns: Edns, { flags, extendedError }: Answer): ResourceRecord {
  if (extendedError === undefined) return replyOpt(edns, rcodeOf({ flags }));
  const text = Buffer.from(extendedError.text, 'utf8');
  const option = Buffer.alloc(6);
  option.writeUInt16BE(extendedErrorOption, 0);
  option.writeUInt16BE(2 + text.length, 2);
  option.writeUInt16BE(extendedError.code, 4);
  const options = Uint8Array.from(Buffer.concat([edns.options, option, text]));
  return replyOpt({ ...edns, options }, rcodeOf({ flags }));
}

/** A reply of the server itself (D64). */
function error(query: Query, rcode: number): Buffer {
  const reply = message(query, failure(rcode & 0xf, { stage: 'server' }));
  const opt = query.edns === undefined ? [] : [replyOpt(ednsOf(query.edns, rcode), rcode)];
  return encodeMessage({ ...reply, additionals: opt });
}

/** What a version we do not know says about sizes and options is not ours to repeat (D73). */
function ednsOf(edns: Edns, rcode: number): Edns {
  if (rcode !== RCODE.BADVERS) return edns;
  return { udpBytes: 0, version: 0, dnssecOk: false, options: new Uint8Array(0) };
}

function refusal(parsed: Parsed & { kind: 'refuse' }): Buffer {
  return encodeMessage({
    id: parsed.id,
    flags: FLAG.QR | parsed.flags | parsed.rcode,
    questions: parsed.question === undefined ? [] : [parsed.question],
    answers: [],
    authorities: [],
    additionals: [],
  });
}
