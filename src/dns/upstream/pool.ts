/** Several servers that know the same: which is asked, and what happens when it does not answer. */
import { randomBytes, randomInt } from 'node:crypto';

import type { Clock } from '../../lib/clock.ts';
import { WorldError } from '../../lib/errors.ts';
import type { ForwardSettings } from '../config/types.ts';
import { dnsLimits } from '../limits.ts';
import { encodeMessage } from '../wire/encode.ts';
import { FLAG, TYPE, type Message, type Question, type ResourceRecord } from '../wire/message.ts';
import { nameBytesMax, root } from '../wire/name.ts';
import { withinBailiwick } from './bailiwick.ts';
import { askTcp, askUdp, type Ask } from './exchange.ts';
import type { Server } from './servers.ts';
import { inRandomCase, respelled } from './spelling.ts';

/** What of the client's own query goes upstream. */
export type ForwardOptions = {
  /** RD, CD and AD of the client. */
  readonly flags: number;
  readonly edns: boolean;
  readonly dnssecOk: boolean;
};

/** A reply without OPT, and who gave it. */
export type UpstreamReply = { readonly message: Message; readonly server: Server };

type Upstream = {
  readonly server: Server;
  shunnedUntilMs: number;
  /** Whether it repeats a question letter by letter, as nearly all do. */
  keepsCase: boolean;
};

export class UpstreamPool {
  readonly #upstreams: Upstream[];
  readonly #policy: ForwardSettings['policy'];
  readonly #clock: Clock;
  #turn = 0;

  constructor(settings: ForwardSettings, clock: Clock) {
    this.#upstreams = settings.servers.map((server) => ({
      server,
      shunnedUntilMs: 0,
      keepsCase: true,
    }));
    this.#policy = settings.policy;
    this.#clock = clock;
  }

  /** Asks one after another, twice around at most; throws `WorldError` when none answers in time. */
  async ask(question: Question, options: ForwardOptions): Promise<UpstreamReply> {
    const deadline = this.#clock.monotonicMs() + dnsLimits.upstreamTotalMs;
    const order = this.#order();
    let last: unknown;
    for (const upstream of [...order, ...order]) {
      const timeoutMs = Math.min(dnsLimits.upstreamTryMs, deadline - this.#clock.monotonicMs());
      if (timeoutMs <= 0) break;
      try {
        const message = await this.#exchange(upstream, question, options, timeoutMs);
        upstream.shunnedUntilMs = 0;
        return { message, server: upstream.server };
      } catch (error) {
        if (!(error instanceof WorldError)) throw error;
        upstream.shunnedUntilMs = this.#clock.monotonicMs() + dnsLimits.upstreamShunMs;
        last = error;
      }
    }
    throw last;
  }

  /** In the order of the policy (D90a), those that failed lately behind the others. */
  #order(): Upstream[] {
    const now = this.#clock.monotonicMs();
    const start = this.#start();
    const rotated = [...this.#upstreams.slice(start), ...this.#upstreams.slice(0, start)];
    const well = rotated.filter((upstream) => upstream.shunnedUntilMs <= now);
    return [...well, ...rotated.filter((upstream) => upstream.shunnedUntilMs > now)];
  }

  #start(): number {
    const count = this.#upstreams.length;
    if (count === 1 || this.#policy === 'sequential') return 0;
    if (this.#policy === 'random') return randomInt(count);
    this.#turn = (this.#turn + 1) % count;
    return this.#turn;
  }

  /**
   * Over UDP, and over TCP when the reply was cut: the cache then has all of it. From a server that
   * does not speak TCP the client gets the cut reply, as from CoreDNS (D90b). A reply that does not
   * repeat the question letter by letter may be forged: that too is settled over TCP.
   */
  async #exchange(
    upstream: Upstream,
    question: Question,
    options: ForwardOptions,
    timeoutMs: number,
  ): Promise<Message> {
    const deadline = this.#clock.monotonicMs() + timeoutMs;
    const leftMs = () => Math.max(0, deadline - this.#clock.monotonicMs());
    const name = upstream.keepsCase
      ? inRandomCase(question.name, randomBytes(nameBytesMax >> 3))
      : question.name;
    const query = queryFor({ ...question, name }, options);
    const { server } = upstream;
    const ask = { server, query, packet: encodeMessage(query), timeoutMs, clock: this.#clock };
    const first = await askUdp(ask);
    const isAsAsked = !upstream.keepsCase || isRepeated(query, first);
    const isCut = (first.flags & FLAG.TC) !== 0;
    const message =
      isAsAsked && !isCut
        ? first
        : await overTcp({ ...ask, timeoutMs: leftMs() }, isAsAsked ? first : undefined);
    if (message === undefined) {
      // It neither repeats the spelling nor speaks TCP: we cannot ask for more than it gives.
      upstream.keepsCase = false;
      return this.#exchange(upstream, question, options, leftMs());
    }
    if (!isAsAsked && !isRepeated(query, message)) upstream.keepsCase = false;
    return { ...withinBailiwick(respelled(message, name, question.name)), questions: [question] };
  }
}

/** Whether the reply has the question letter by letter. */
function isRepeated(query: Message, reply: Message): boolean {
  return query.questions[0]!.name === reply.questions[0]!.name;
}

/** The reply that cannot be cut and hardly forged, or else the other one. */
async function overTcp(ask: Ask, otherwise: Message | undefined): Promise<Message | undefined> {
  try {
    return await askTcp(ask);
  } catch (error) {
    if (error instanceof WorldError) return otherwise;
    throw error;
  }
}

function queryFor(question: Question, options: ForwardOptions): Message {
  const opt: ResourceRecord = {
    name: root,
    type: TYPE.OPT,
    class: dnsLimits.upstreamUdpBytes,
    ttl: options.dnssecOk ? 0x8000 : 0,
    data: [],
  };
  return {
    // The id and the port of a fresh socket are what a forger must guess (RFC 5452).
    id: randomInt(0x10000),
    flags: options.flags & (FLAG.RD | FLAG.CD | FLAG.AD),
    questions: [question],
    answers: [],
    authorities: [],
    additionals: options.edns ? [opt] : [],
  };
}
