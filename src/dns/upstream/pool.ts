/** Several servers that know the same: which is asked, and what happens when it does not answer. */
import { randomInt } from 'node:crypto';

import type { Clock } from '../../lib/clock.ts';
import { WorldError } from '../../lib/errors.ts';
import type { ForwardSettings } from '../config/types.ts';
import { dnsLimits } from '../limits.ts';
import { encodeMessage } from '../wire/encode.ts';
import { FLAG, TYPE, type Message, type Question, type ResourceRecord } from '../wire/message.ts';
import { root } from '../wire/name.ts';
import { askTcp, askUdp, type Ask } from './exchange.ts';
import type { Server } from './servers.ts';

/** What of the client's own query goes upstream. */
export type ForwardOptions = {
  /** RD, CD and AD of the client. */
  readonly flags: number;
  readonly edns: boolean;
  readonly dnssecOk: boolean;
};

/** A reply without OPT, and who gave it. */
export type UpstreamReply = { readonly message: Message; readonly server: Server };

type Upstream = { readonly server: Server; shunnedUntilMs: number };

export class UpstreamPool {
  readonly #upstreams: Upstream[];
  readonly #policy: ForwardSettings['policy'];
  readonly #clock: Clock;
  #turn = 0;

  constructor(settings: ForwardSettings, clock: Clock) {
    this.#upstreams = settings.servers.map((server) => ({ server, shunnedUntilMs: 0 }));
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
        const message = await this.#exchange(upstream.server, question, options, timeoutMs);
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
   * does not speak TCP the client gets the cut reply, as from CoreDNS (D90b).
   */
  async #exchange(
    server: Server,
    question: Question,
    options: ForwardOptions,
    timeoutMs: number,
  ): Promise<Message> {
    const query = queryFor(question, options);
    const ask = { server, query, packet: encodeMessage(query), timeoutMs, clock: this.#clock };
    const startedMs = this.#clock.monotonicMs();
    const message = await askUdp(ask);
    const leftMs = Math.max(0, timeoutMs - (this.#clock.monotonicMs() - startedMs));
    const isCut = (message.flags & FLAG.TC) !== 0;
    const whole = isCut ? await wholeReply({ ...ask, timeoutMs: leftMs }, message) : message;
    return {
      ...whole,
      questions: [question],
      additionals: whole.additionals.filter(({ type }) => type !== TYPE.OPT),
    };
  }
}

async function wholeReply(ask: Ask, cut: Message): Promise<Message> {
  try {
    return await askTcp(ask);
  } catch (error) {
    if (error instanceof WorldError) return cut;
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
