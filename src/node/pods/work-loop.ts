/** One thing that is looked at as a whole whenever something may have happened to it, once at a time. */
import type { Clock } from '../../lib/clock.ts';

const retryMs = 50;
const retryMsMax = 10_000;

export type WorkLoopOptions = {
  readonly clock: Clock;
  /** One look. What it throws is told to `failed`, and it looks again: sooner at first, then more seldom. */
  readonly look: () => Promise<void>;
  readonly failed: (error: unknown) => void;
  /** After each look, unless the loop was stopped meanwhile. */
  readonly looked: () => void;
};

export class WorkLoop {
  readonly #options: WorkLoopOptions;
  #busy = false;
  #again = false;
  #stopped = false;
  #failures = 0;
  #timer: { dueMs: number; cancel: () => void } | undefined;
  #idleWaiters: (() => void)[] = [];

  constructor(options: WorkLoopOptions) {
    this.#options = options;
  }

  get isStopped(): boolean {
    return this.#stopped;
  }

  /** Something was noted since the look under way began; it will be looked again at once. */
  get isNoted(): boolean {
    return this.#again;
  }

  /** There may be something to do. */
  note(): void {
    if (this.#stopped) return;
    this.#again = true;
    if (this.#busy) return;
    this.#busy = true;
    queueMicrotask(() => void this.#run());
  }

  /** The earliest of all wishes counts; whoever still has one says so again at the next look. */
  noteIn(delayMs: number): void {
    const { clock } = this.#options;
    // A longer timer would overflow; waking early is harmless.
    const bounded = Math.min(Math.max(0, delayMs), 2 ** 31 - 1);
    const dueMs = clock.monotonicMs() + bounded;
    if (this.#timer !== undefined && this.#timer.dueMs <= dueMs) return;
    this.#timer?.cancel();
    const cancel = clock.after(bounded, () => {
      this.#timer = undefined;
      this.note();
    });
    this.#timer = { dueMs, cancel };
  }

  /** Looks no more; the look under way goes to its end. */
  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  /** Settles when no look is under way. */
  async idle(): Promise<void> {
    if (!this.#busy) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#idleWaiters.push(resolve);
    await promise;
  }

  async #run(): Promise<void> {
    while (this.#again && !this.#stopped) {
      this.#again = false;
      try {
        await this.#options.look();
        this.#failures = 0;
      } catch (error) {
        this.#failures += 1;
        this.#options.failed(error);
        this.noteIn(Math.min(retryMs * 2 ** (this.#failures - 1), retryMsMax));
      }
      if (!this.#stopped) this.#options.looked();
    }
    this.#busy = false;
    this.#idleWaiters.splice(0).forEach((resolve) => resolve());
  }
}
