/** Several servers that know the same: which is asked, how, and what happens when it does not answer. */
import { randomInt } from 'node:crypto';

import type { Clock } from '../../lib/clock.ts';
import { WorldError } from '../../lib/errors.ts';
import type { ForwardSettings } from '../config/types.ts';
import { dnsLimits } from '../limits.ts';
import { rcodeOf, type Message, type Question } from '../wire/message.ts';
import type { ForwardOptions } from './query-for.ts';
import type { Server } from './servers.ts';
import { Upstream } from './upstream.ts';

/** A reply without OPT, and who gave it. */
export type UpstreamReply = { readonly message: Message; readonly server: Server };

export class UpstreamPool {
  readonly upstreams: readonly Upstream[];
  readonly #settings: ForwardSettings;
  readonly #clock: Clock;
  #turn = 0;
  /** How often all servers were down, and one was asked anyway. */
  healthcheckBroken = 0;

  constructor(settings: ForwardSettings, clock: Clock) {
    this.upstreams = settings.servers.map((server) => new Upstream(server, settings, clock));
    this.#settings = settings;
    this.#clock = clock;
  }

  /** Asks one after another, twice around at most; throws `WorldError` when none answers in time. */
  async ask(question: Question, options: ForwardOptions): Promise<UpstreamReply> {
    const deadline = this.#clock.monotonicMs() + dnsLimits.upstreamTotalMs;
    const { failover, readTimeoutMs } = this.#settings;
    let last: unknown = new WorldError('UPSTREAM', 'no healthy upstream');
    let best: UpstreamReply | undefined;
    for (const upstream of this.#tries()) {
      const timeoutMs = Math.min(readTimeoutMs, deadline - this.#clock.monotonicMs());
      if (timeoutMs <= 0) break;
      try {
        const message = await upstream.ask(question, options, timeoutMs);
        best = { message, server: upstream.server };
        if (!failover.includes(rcodeOf(message))) return best;
      } catch (error) {
        if (!(error instanceof WorldError)) throw error;
        last = error;
      }
    }
    // An answer that another server should have mended is better than none.
    if (best !== undefined) return best;
    throw last;
  }

  stop(): void {
    for (const upstream of this.upstreams) upstream.stop();
  }

  /** Whom to ask, in which order: each again if all failed, as far as there may be so many tries. */
  #tries(): readonly Upstream[] {
    const { failFast, failover, maxAttempts } = this.#settings;
    const order = this.#order();
    const up = order.filter((upstream) => !upstream.isDown());
    if (up.length === 0) {
      this.healthcheckBroken += 1;
      if (failFast) return [];
    }
    // Where all are down the probes may be wrong: anyone may answer.
    const asked = up.length === 0 ? order : up;
    const twice = failover.length > 0 ? asked : [...asked, ...asked];
    return twice.slice(0, maxAttempts);
  }

  /** In the order of the policy (D90a), those that failed just now behind the others. */
  #order(): Upstream[] {
    const now = this.#clock.monotonicMs();
    const start = this.#start();
    const rotated = [...this.upstreams.slice(start), ...this.upstreams.slice(0, start)];
    const well = rotated.filter((upstream) => upstream.shunnedUntilMs <= now);
    return [...well, ...rotated.filter((upstream) => upstream.shunnedUntilMs > now)];
  }

  #start(): number {
    const count = this.upstreams.length;
    if (count === 1 || this.#settings.policy === 'sequential') return 0;
    if (this.#settings.policy === 'random') return randomInt(count);
    this.#turn = (this.#turn + 1) % count;
    return this.#turn;
  }
}
