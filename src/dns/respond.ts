/** From a packet to its reply: the order of stages is CoreDNS's, cluster first, then upstream. */
import { balance } from './balance.ts';
import { dnsLimits } from './limits.ts';
import type { DnsCounters } from './counters.ts';
import { parseQuery, replyOpt, udpRoom, type Parsed, type Query } from './query.ts';
import { AnswerTemplates, isKeepable } from './template.ts';
import type { Forwarder, Resolved } from './upstream/forwarder.ts';
import { encodeMessage } from './wire/encode.ts';
import {
  FLAG,
  messageBytesMax,
  OPCODE,
  opcodeOf,
  RCODE,
  rcodeOf,
  type Message,
  type Question,
  type ResourceRecord,
} from './wire/message.ts';
import { foldCase, type Name } from './wire/name.ts';
import { lookup, type Lookup } from './zone/lookup.ts';
import { soaRecord } from './zone/records.ts';
import type { Zones } from './zone/zones.ts';

export type Transport = 'udp' | 'tcp';

export type ResponderOptions = {
  readonly zones: Zones;
  /** Absent: names outside the zones are refused. */
  readonly forwarder?: Forwarder | undefined;
  /** Whether a name that is not there is known not to exist (D92). */
  readonly synced: () => boolean;
  readonly counters: DnsCounters;
  /** Between 0 and 1. */
  readonly random: () => number;
  /** Sees each question that leaves the zones. */
  readonly onOutside?: (question: Question) => void;
};

type Sections = {
  readonly flags: number;
  readonly answers?: readonly ResourceRecord[];
  readonly authorities?: readonly ResourceRecord[];
  readonly additionals?: readonly ResourceRecord[];
};

type Reply = Buffer | undefined;

export class Responder {
  readonly #options: ResponderOptions;
  readonly #templates: AnswerTemplates;

  constructor(options: ResponderOptions) {
    this.#options = options;
    this.#templates = new AnswerTemplates({ max: dnsLimits.answersMax, random: options.random });
  }

  /** The reply, or undefined when the packet deserves none. Only names outside take time. */
  respond(packet: Uint8Array, transport: Transport): Reply | Promise<Reply> {
    const parsed = parseQuery(packet);
    if (parsed.kind === 'drop') return undefined;
    if (parsed.kind === 'refuse') return this.#count(parsed, transport, refusal(parsed));
    const { query } = parsed;
    const bytesMax = transport === 'tcp' ? messageBytesMax : udpRoom(query.edns);
    const reply = this.#answer(query, bytesMax);
    if (reply instanceof Promise)
      return reply.then((bytes) => this.#count(parsed, transport, bytes));
    return this.#count(parsed, transport, reply);
  }

  /** The reply to a packet that a bug of ours stumbled on (D79). */
  failure(packet: Uint8Array): Reply {
    const parsed = parseQuery(packet);
    return parsed.kind === 'query' ? error(parsed.query, RCODE.SERVFAIL) : undefined;
  }

  #count(parsed: Parsed, transport: Transport, reply: Buffer): Buffer {
    const type = parsed.kind === 'query' ? parsed.query.question.type : 0;
    this.#options.counters.answered({
      transport,
      type,
      rcode: reply[3]! & 0xf,
      bytes: reply.length,
    });
    return reply;
  }

  #answer(query: Query, bytesMax: number): Buffer | Promise<Buffer> {
    const { question, edns } = query;
    if (edns !== undefined && edns.version !== 0) return error(query, RCODE.BADVERS);
    const isQuery = opcodeOf(query) === OPCODE.QUERY;
    const { zones } = this.#options;
    const { generation } = zones.data;
    if (isQuery && isKeepable(question)) {
      const reply = this.#templates.reply(query, generation, bytesMax);
      if (reply !== undefined) return reply;
    }
    const found = lookup(zones, question);
    const { forwarder } = this.#options;
    // A reverse name of nothing here may be known upstream, synced or not (D57, D61).
    const fallsThrough = found?.outcome.kind === 'missing' && found.reverse;
    if (found === undefined || (fallsThrough && forwarder !== undefined)) {
      return this.#outside(query, bytesMax);
    }
    if (found.outcome.kind === 'alias') {
      return this.#alias(query, found.outcome.answers, found.outcome.target, bytesMax);
    }
    if (found.outcome.kind === 'refused') return error(query, RCODE.REFUSED);
    const sections = this.#inside(found);
    // Not yet synced, a denial is not worth keeping; and an opcode is part of a kept reply.
    if (isQuery && isKeepable(question) && rcodeOf(sections) !== RCODE.SERVFAIL) {
      const kept = this.#keep(query, sections, generation, bytesMax);
      if (kept !== undefined) return kept;
    }
    return this.#encode(query, sections, bytesMax);
  }

  #inside({ outcome, zone }: Lookup): Sections {
    const { zones, synced } = this.#options;
    if (outcome.kind === 'records') {
      const { answers, additionals } = outcome;
      return { flags: FLAG.AA, answers, additionals };
    }
    const denial = synced() ? RCODE.NXDOMAIN : RCODE.SERVFAIL;
    const rcode = outcome.kind === 'missing' ? denial : RCODE.NOERROR;
    return { flags: FLAG.AA | rcode, authorities: [soaRecord(zones, zone)] };
  }

  /** Keeps the reply as it would go to a client without EDNS, and makes this client's from it. */
  #keep(
    query: Query,
    sections: Sections,
    generation: number,
    bytesMax: number,
  ): Buffer | undefined {
    if (this.#templates.knows(query.question, generation)) return undefined;
    const whole = encodeMessage(message({ ...query, edns: undefined }, sections));
    this.#templates.keep(query.question, generation, whole);
    return this.#templates.reply(query, generation, bytesMax);
  }

  #encode(query: Query, sections: Sections, bytesMax: number): Buffer {
    const { random } = this.#options;
    const { answers = [], authorities = [], additionals = [] } = sections;
    const balanced =
      rcodeOf(sections) === RCODE.NOERROR
        ? {
            flags: sections.flags,
            answers: balance(answers, random),
            authorities: balance(authorities, random),
            additionals: balance(additionals, random),
          }
        : sections;
    return encodeMessage(message(query, balanced), bytesMax);
  }

  /** An alias to a name outside: what upstream finds there follows it; a failure does not (D44). */
  #alias(
    query: Query,
    aliases: readonly ResourceRecord[],
    target: Name,
    bytesMax: number,
  ): Buffer | Promise<Buffer> {
    const finish = (resolved: Resolved): Buffer => {
      const found = resolved.kind === 'message' ? resolved.message : undefined;
      const good = found !== undefined && rcodeOf(found) === RCODE.NOERROR;
      const answers = good ? [...aliases, ...spelled(found.answers, target)] : aliases;
      const flags = FLAG.AA | ((found?.flags ?? 0) & FLAG.TC);
      return this.#encode(query, { flags, answers }, bytesMax);
    };
    const { forwarder } = this.#options;
    if (forwarder === undefined) return finish({ kind: 'failed', rcode: RCODE.REFUSED });
    const resolved = forwarder.resolve(
      { ...query.question, name: target },
      { ...forwardOptions(query), flags: query.flags | FLAG.RD },
    );
    return resolved instanceof Promise ? resolved.then(finish) : finish(resolved);
  }

  #outside(query: Query, bytesMax: number): Buffer | Promise<Buffer> {
    const { forwarder, onOutside } = this.#options;
    onOutside?.(query.question);
    if (forwarder === undefined || opcodeOf(query) !== OPCODE.QUERY) {
      return error(query, RCODE.REFUSED);
    }
    const finish = (resolved: Resolved): Buffer => {
      if (resolved.kind === 'failed') return error(query, resolved.rcode);
      const { message: found, cached } = resolved;
      const sections = {
        flags: outsideFlags(found.flags, cached, query),
        answers: spelled(found.answers, query.question.name),
        authorities: found.authorities,
        additionals: found.additionals,
      };
      return this.#encode(query, sections, bytesMax);
    };
    const resolved = forwarder.resolve(query.question, forwardOptions(query));
    return resolved instanceof Promise ? resolved.then(finish) : finish(resolved);
  }
}

/** AD only for a client that asked for it; AA on whatever comes from the cache (D65). */
function outsideFlags(flags: number, cached: boolean, query: Query): number {
  const wantsAd = query.edns?.dnssecOk === true || (query.flags & FLAG.AD) !== 0;
  const kept = flags & (FLAG.AA | FLAG.TC | FLAG.RA | (wantsAd ? FLAG.AD : 0) | 0xf);
  return cached ? kept | FLAG.AA : kept;
}

function forwardOptions({ flags, edns }: Query) {
  return { flags, edns: edns !== undefined, dnssecOk: edns?.dnssecOk === true };
}

/** The records of a name in the spelling it was asked in: others may have asked before (D10). */
function spelled(records: readonly ResourceRecord[], name: Name): readonly ResourceRecord[] {
  const folded = foldCase(name);
  return records.map((record) =>
    record.name !== name && foldCase(record.name) === folded ? { ...record, name } : record,
  );
}

/** A reply with the id, opcode, RD, CD and question of the query. */
function message(query: Query, sections: Sections): Message {
  const copied = opcodeOf(query) === OPCODE.QUERY ? FLAG.RD | FLAG.CD : 0;
  const { answers = [], authorities = [], additionals = [] } = sections;
  const opt = query.edns === undefined ? [] : [replyOpt(query.edns, rcodeOf(sections))];
  return {
    id: query.id,
    flags: FLAG.QR | (query.flags & (0x7800 | copied)) | sections.flags,
    questions: [query.question],
    answers,
    authorities,
    additionals: [...additionals, ...opt],
  };
}

/** A reply of the server itself: AA stays 0 and there is no SOA (D64). */
function error(query: Query, rcode: number): Buffer {
  const reply = message(query, { flags: rcode & 0xf });
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
