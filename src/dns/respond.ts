/** From a packet to its reply: read, put to the chain of its zone, written as its sender can take it. */
import { isKeepable } from './template.ts';
import type { Block, Plain } from './blocks.ts';
import type { DnsCounters } from './counters.ts';
import { parseQuery, replyOpt, udpRoom, type Parsed, type Query } from './query.ts';
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
  FLAG,
  messageBytesMax,
  OPCODE,
  opcodeOf,
  RCODE,
  rcodeOf,
  TYPE,
  type Message,
  type Question,
} from './wire/message.ts';
import { foldCase, isWithin, root, type Name } from './wire/name.ts';

export type ResponderOptions = {
  /** The zones of one socket. */
  readonly zones: readonly { readonly zone: Name; readonly block: Block }[];
  /** As metrics name the socket, such as `dns://:53`. */
  readonly label: string;
  readonly counters: DnsCounters;
};

type Reply = Buffer | undefined;

/** What answers on one socket. */
export class Responder {
  readonly #options: ResponderOptions;
  /** The longest zone first. */
  readonly #zones: ResponderOptions['zones'];
  readonly #asked: Asked;

  constructor(options: ResponderOptions) {
    this.#options = options;
    this.#zones = options.zones.toSorted((a, b) => b.zone.length - a.zone.length);
    this.#asked = { label: options.label, resolve: (ask) => this.answer(ask) };
  }

  /** The reply, or undefined when the packet deserves none. Only names outside take time. */
  respond(packet: Uint8Array, transport: Transport, from: Sender): Reply | Promise<Reply> {
    const parsed = parseQuery(packet);
    if (parsed.kind === 'drop') return undefined;
    if (parsed.kind === 'refuse') return this.#count(parsed, transport, refusal(parsed));
    const { query } = parsed;
    const bytesMax = transport === 'udp' ? udpRoom(query.edns) : messageBytesMax;
    const ask = { query, transport, from, bytes: packet.length, server: this.#asked };
    const reply = this.#reply(ask, bytesMax);
    return whenDone(reply, (bytes) => bytes && this.#count(parsed, transport, bytes));
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

  #count(parsed: Parsed, transport: Transport, reply: Buffer): Buffer {
    const type = parsed.kind === 'query' ? parsed.query.question.type : 0;
    this.#options.counters.answered({
      transport: transport === 'udp' ? 'udp' : 'tcp',
      type,
      rcode: reply[3]! & 0xf,
      bytes: reply.length,
    });
    return reply;
  }

  #reply(ask: Ask, bytesMax: number): Reply | Promise<Reply> {
    const { query } = ask;
    if (query.edns !== undefined && query.edns.version !== 0) return error(query, RCODE.BADVERS);
    const block = this.#blockOf(query.question);
    if (block === undefined) return error(query, RCODE.REFUSED);
    const { plain } = block;
    const keepable = opcodeOf(query) === OPCODE.QUERY && isKeepable(query.question);
    if (plain === undefined || !keepable) return encoded(query, block.chain(ask), bytesMax);
    const { generation } = plain.zones.data;
    const kept = plain.templates.reply(query, generation, bytesMax);
    if (kept !== undefined) return kept;
    const answered = block.chain(ask);
    if (answered instanceof Promise || !isOwn(answered)) {
      return encoded(query, answered, bytesMax);
    }
    return keep(plain, query, answered, bytesMax) ?? encoded(query, answered, bytesMax);
  }
}

/** Not yet synced, a denial is not worth keeping; and what is not from the watch has its own cache. */
function isOwn({ sources, flags }: Answer): boolean {
  const [first, ...more] = sources;
  const failed = rcodeOf({ flags }) === RCODE.SERVFAIL || rcodeOf({ flags }) === RCODE.REFUSED;
  return first?.stage === 'kubernetes' && more.length === 0 && !failed;
}

/** Keeps the reply as it would go to a client without EDNS, and makes this client's from it. */
function keep({ zones, templates }: Plain, query: Query, answer: Answer, bytesMax: number): Reply {
  const { generation } = zones.data;
  if (templates.knows(query.question, generation)) return undefined;
  const whole = encodeMessage(message({ ...query, edns: undefined }, answer));
  templates.keep(query.question, generation, whole);
  return templates.reply(query, generation, bytesMax);
}

function encoded(query: Query, answered: Answered, bytesMax: number): Reply | Promise<Reply> {
  return whenDone(answered, (answer) =>
    answer.dropped === true ? undefined : encodeMessage(message(query, answer), bytesMax),
  );
}

/** A reply with the id, opcode, RD, CD and question of the query. */
function message(query: Query, answer: Answer): Message {
  const copied = opcodeOf(query) === OPCODE.QUERY ? FLAG.RD | FLAG.CD : 0;
  const { answers, authorities, additionals } = answer;
  const opt = query.edns === undefined ? [] : [replyOpt(query.edns, rcodeOf(answer))];
  return {
    id: query.id,
    flags: FLAG.QR | (query.flags & (0x7800 | copied)) | answer.flags,
    questions: [query.question],
    answers,
    authorities,
    additionals: [...additionals, ...opt],
  };
}

/** A reply of the server itself (D64). */
function error(query: Query, rcode: number): Buffer {
  const reply = message(query, failure(rcode & 0xf, { stage: 'server' }));
  const opt = query.edns === undefined ? [] : [replyOpt(query.edns, rcode)];
  return encodeMessage({ ...reply, additionals: opt });
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
