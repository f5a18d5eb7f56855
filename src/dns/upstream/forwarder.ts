/** Names that are not ours: asked of other servers, kept for a while, each asked only once at a time. */
import { randomInt } from 'node:crypto';

import type { Clock } from '../../lib/clock.ts';
import { messageOf, WorldError } from '../../lib/errors.ts';
import type { Logger } from '../../lib/log.ts';
import { dnsLimits } from '../limits.ts';
import { encodeMessage } from '../wire/encode.ts';
import {
  FLAG,
  RCODE,
  TYPE,
  type Message,
  type Question,
  type ResourceRecord,
} from '../wire/message.ts';
import { foldCase, root } from '../wire/name.ts';
import { MessageCache } from './cache.ts';
import { askTcp, askUdp, type Ask } from './exchange.ts';
import type { Server } from './servers.ts';

/** What of the client's own query goes upstream. */
export type ForwardOptions = {
  /** RD, CD and AD of the client. */
  readonly flags: number;
  readonly edns: boolean;
  readonly dnssecOk: boolean;
};

/** `message` has no OPT; `failed` is the rcode of a reply made here. */
export type Resolved =
  | { readonly kind: 'message'; readonly message: Message; readonly cached: boolean }
  | { readonly kind: 'failed'; readonly rcode: number };

type Upstream = { readonly server: Server; shunnedUntilMs: number };

export class Forwarder {
  readonly cache: MessageCache;
  readonly #upstreams: Upstream[];
  readonly #clock: Clock;
  readonly #log: Logger | undefined;
  readonly #inFlight = new Map<string, Promise<Resolved>>();
  readonly counts = { rejected: 0, failed: 0 };
  #stopped: string | undefined;

  constructor(options: {
    readonly servers: readonly Server[];
    readonly clock: Clock;
    readonly log?: Logger | undefined;
  }) {
    this.#upstreams = options.servers.map((server) => ({ server, shunnedUntilMs: 0 }));
    this.#clock = options.clock;
    this.#log = options.log;
    this.cache = new MessageCache(() => this.#clock.monotonicMs());
  }

  /** From now on every question fails: going on would harm, for this reason. */
  stop(reason: string): void {
    this.#stopped = reason;
  }

  /** Answers from the cache at once, or asks upstream. */
  resolve(question: Question, options: ForwardOptions): Resolved | Promise<Resolved> {
    if (this.#stopped !== undefined) return { kind: 'failed', rcode: RCODE.SERVFAIL };
    const key = keyOf(question, options);
    const kept = this.cache.get(key);
    if (kept !== undefined) return { kind: 'message', message: kept, cached: true };
    const running = this.#inFlight.get(key);
    if (running !== undefined) return running;
    if (this.#inFlight.size >= dnsLimits.upstreamQueriesMax) {
      this.counts.rejected += 1;
      return { kind: 'failed', rcode: RCODE.REFUSED };
    }
    const asked = this.#ask(key, question, options).finally(() => this.#inFlight.delete(key));
    this.#inFlight.set(key, asked);
    return asked;
  }

  async #ask(key: string, question: Question, options: ForwardOptions): Promise<Resolved> {
    const deadline = this.#clock.monotonicMs() + dnsLimits.upstreamTotalMs;
    const order = this.#order();
    let last: unknown;
    for (const upstream of [...order, ...order]) {
      const timeoutMs = Math.min(dnsLimits.upstreamTryMs, deadline - this.#clock.monotonicMs());
      if (timeoutMs <= 0) break;
      try {
        const message = await this.#exchange(upstream.server, question, options, timeoutMs);
        upstream.shunnedUntilMs = 0;
        return { kind: 'message', message: this.cache.put(key, message), cached: false };
      } catch (error) {
        if (!(error instanceof WorldError)) throw error;
        upstream.shunnedUntilMs = this.#clock.monotonicMs() + dnsLimits.upstreamShunMs;
        last = error;
      }
    }
    this.counts.failed += 1;
    this.#log?.warn({ question, error: messageOf(last) }, 'no upstream answered');
    return { kind: 'failed', rcode: RCODE.SERVFAIL };
  }

  /** In random order (D90a), those that failed lately behind the others. */
  #order(): Upstream[] {
    const now = this.#clock.monotonicMs();
    const start = this.#upstreams.length > 1 ? randomInt(this.#upstreams.length) : 0;
    const rotated = [...this.#upstreams.slice(start), ...this.#upstreams.slice(0, start)];
    const well = rotated.filter((upstream) => upstream.shunnedUntilMs <= now);
    return [...well, ...rotated.filter((upstream) => upstream.shunnedUntilMs > now)];
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

/** Apart in the cache: what differs by the DO and CD bits (D83). */
function keyOf({ name, type, class: questionClass }: Question, options: ForwardOptions): string {
  const bits = (options.dnssecOk ? 1 : 0) | ((options.flags & FLAG.CD) === 0 ? 0 : 2);
  return foldCase(name) + String.fromCharCode(type, questionClass, bits);
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
