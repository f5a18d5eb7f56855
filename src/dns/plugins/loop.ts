/** `loop`: finds out whether the servers we ask ask us (D99). */
import { randomInt } from 'node:crypto';

import type { Clock } from '../../lib/clock.ts';
import type { Logger } from '../../lib/log.ts';
import { dnsLimits } from '../limits.ts';
import { failure, type Ask, type Next, type Stage } from '../stage.ts';
import { CLASS, FLAG, RCODE, TYPE, type Question } from '../wire/message.ts';
import { foldCase, labelsOf, nameOf, type Name } from '../wire/name.ts';

/**
 * Stands before the stages that ask elsewhere, and before their cache, which would join the question
 * that came round to the one on its way. CoreDNS ends the process; the cluster's own names are not at
 * fault, so here only the others fail from then on.
 */
export class LoopStage implements Stage {
  readonly name = 'loop';
  readonly #clock: Clock;
  readonly #log: Logger | undefined;
  readonly #question: Question;
  readonly #ask: Next;
  #cancel: (() => void) | undefined;
  #seen = 0;
  #looped = false;

  /** `ask` puts a question to the stages behind this one. */
  constructor(options: {
    readonly zone: Name;
    readonly ask: Next;
    readonly clock: Clock;
    readonly log: Logger | undefined;
  }) {
    this.#clock = options.clock;
    this.#log = options.log;
    this.#ask = options.ask;
    const label = () => String(randomInt(2 ** 47));
    const name = foldCase(nameOf([label(), label(), ...labelsOf(options.zone)])!);
    this.#question = { name, type: TYPE.HINFO, class: CLASS.IN };
  }

  start(): void {
    this.#cancel = this.#clock.after(dnsLimits.loopProbeMs, () => this.stop());
    void this.#ask({
      query: { id: 0, flags: FLAG.RD, question: this.#question, edns: undefined },
      transport: 'udp',
      from: { address: '127.0.0.1', port: 0 },
      bytes: 0,
      server: { label: '', host: '', resolve: this.#ask },
    });
  }

  stop(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }

  answer(ask: Ask, next: Next) {
    this.#see(ask.query.question);
    if (!this.#looped) return next(ask);
    return failure(RCODE.SERVFAIL, { stage: this.name }, 'upstream asks this server');
  }

  #see({ name, type }: Question): void {
    if (this.#cancel === undefined || type !== TYPE.HINFO) return;
    if (foldCase(name) !== this.#question.name) return;
    this.#seen += 1;
    if (this.#seen <= loopSightsMax) return;
    this.stop();
    this.#looped = true;
    this.#log?.error('Loop detected: upstream asks this server; outside names fail from now on');
  }
}

/** CoreDNS allows two: a reload may ask again. */
const loopSightsMax = 2;
