/**
 * Looks whether the ruleset is still as we left it: others may change our table, and a flush of
 * everything is the usual case. Once an hour everything is compared whatever it says (P127).
 */
import type { Clock } from '../lib/clock.ts';
import type { Logger } from '../lib/log.ts';

/** How often the kernel's generation is compared with ours; repairs a foreign flush (< 1 s). */
const WATCH_MS = 800;
/** Comparing takes at most a tenth of the time. */
const COMPARE_PAUSE = 9;
const FULL_MS = 3_600_000;

export type KernelWatchOptions = {
  /** Whether nothing else is to be done: what is under way would look like somebody else's work. */
  readonly isIdle: () => boolean;
  readonly wasChangedByOthers: () => boolean;
  /** Whether a table of ours is missing altogether. */
  readonly isGone: () => boolean;
  /** Reads the kernel and writes what differs. */
  readonly compare: () => void;
  readonly onError: (error: unknown) => void;
  readonly clock: Clock;
  readonly log: Logger;
};

export class KernelWatch {
  readonly #options: KernelWatchOptions;
  readonly #timer: NodeJS.Timeout;
  #comparedMs: number;
  #notBefore = 0;

  constructor(options: KernelWatchOptions) {
    this.#options = options;
    this.#comparedMs = options.clock.monotonicMs();
    this.#timer = setInterval(() => this.#look(), WATCH_MS).unref();
  }

  /** Everything has been read just now. */
  compared(): void {
    this.#comparedMs = this.#options.clock.monotonicMs();
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    const { isIdle, wasChangedByOthers, compare, onError, clock } = this.#options;
    if (!isIdle()) return;
    try {
      if (clock.monotonicMs() - this.#comparedMs >= FULL_MS) compare();
      else if (wasChangedByOthers()) this.#compare();
    } catch (error) {
      onError(error);
    }
  }

  /** Seldom, if that takes long and it is others' tables that change. */
  #compare(): void {
    const { clock, isGone, compare, log } = this.#options;
    const start = clock.monotonicMs();
    if (start < this.#notBefore && !isGone()) return;
    log.info('the ruleset was changed by somebody else: comparing ours');
    compare();
    const end = clock.monotonicMs();
    this.#notBefore = end + (end - start) * COMPARE_PAUSE;
  }
}
