/**
 * When the next sync runs (P127): as soon as it is asked for, but no earlier than a pause after the
 * last one. However often it is asked for meanwhile, it runs once.
 */
import type { Clock } from '../lib/clock.ts';

export type PacerOptions = {
  readonly clock: Clock;
  readonly run: () => void;
};

export class Pacer {
  readonly #clock: Clock;
  readonly #run: () => void;
  #due: { readonly at: number; readonly cancel: () => void } | undefined;
  #notBefore = 0;
  #stopped = false;

  constructor(options: PacerOptions) {
    this.#clock = options.clock;
    this.#run = options.run;
  }

  /** A run is due. */
  get waits(): boolean {
    return this.#due !== undefined;
  }

  /** Asks for a run after `delayMs`; one that is due sooner stays. */
  ask(delayMs = 0): void {
    if (this.#stopped) return;
    const now = this.#clock.monotonicMs();
    const at = Math.max(now + delayMs, this.#notBefore);
    if (this.#due !== undefined && this.#due.at <= at) return;
    this.#due?.cancel();
    this.#due = { at, cancel: this.#after(at - now) };
  }

  /** No run begins within `pauseMs` from now. */
  pause(pauseMs: number): void {
    this.#notBefore = this.#clock.monotonicMs() + pauseMs;
  }

  stop(): void {
    this.#stopped = true;
    this.#due?.cancel();
    this.#due = undefined;
  }

  /** Without a delay: once the event loop has handed out all that came with this piece of news. */
  #after(delayMs: number): () => void {
    const go = () => {
      this.#due = undefined;
      this.#run();
    };
    if (delayMs > 0) return this.#clock.after(delayMs, go);
    const immediate = setImmediate(go);
    return () => clearImmediate(immediate);
  }
}
