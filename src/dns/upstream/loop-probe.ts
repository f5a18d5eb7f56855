/** Whether the servers we ask ask us. */
import { randomInt } from 'node:crypto';

import type { Clock } from '../../lib/clock.ts';
import type { Logger } from '../../lib/log.ts';
import { dnsLimits } from '../limits.ts';
import { CLASS, FLAG, TYPE, type Question } from '../wire/message.ts';
import { foldCase, nameOf } from '../wire/name.ts';
import type { Forwarder } from './forwarder.ts';

/** Finds out whether upstream sends questions back to us (D99). */
export class LoopProbe {
  readonly #forwarder: Forwarder;
  readonly #clock: Clock;
  readonly #log: Logger | undefined;
  readonly #question: Question;
  #cancel: (() => void) | undefined;
  #seen = 0;

  constructor(forwarder: Forwarder, options: { clock: Clock; log: Logger | undefined }) {
    this.#forwarder = forwarder;
    this.#clock = options.clock;
    this.#log = options.log;
    const label = () => String(randomInt(2 ** 47));
    const name = foldCase(nameOf([label(), label()])!);
    this.#question = { name, type: TYPE.HINFO, class: CLASS.IN };
  }

  start(): void {
    this.#cancel = this.#clock.after(dnsLimits.loopProbeMs, () => this.stop());
    void this.#forwarder.resolve(this.#question, { flags: FLAG.RD, edns: false, dnssecOk: false });
  }

  stop(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }

  see({ name, type }: Question): void {
    if (this.#cancel === undefined || type !== TYPE.HINFO) return;
    if (foldCase(name) !== this.#question.name) return;
    this.#seen += 1;
    if (this.#seen <= loopSightsMax) return;
    this.stop();
    this.#forwarder.stop('loop');
    this.#log?.error('Loop detected: upstream asks this server; outside names fail from now on');
  }
}

/** CoreDNS allows two: a reload may ask again. */
const loopSightsMax = 2;
