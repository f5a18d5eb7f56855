/** Ends one container: the preStop hook, TERM, and KILL when its time is up (K19). */
import type { Clock } from '../../lib/clock.ts';

export type StopOptions = {
  readonly graceMs: number;
  readonly clock: Clock;
  /** Runs inside the grace period; the pod goes on when it takes longer. */
  readonly preStop: (() => Promise<void>) | undefined;
  readonly signal: (signal: 'SIGTERM' | 'SIGKILL') => void;
};

/** What is left for TERM after a preStop hook that used up all of the time (kubelet). */
const termMsMin = 2000;

export class Stop {
  readonly #options: StopOptions;
  #deadline: number;
  #cancelKill: (() => void) | undefined;
  #skipHook: (() => void) | undefined;
  #killed = false;

  constructor(options: StopOptions) {
    this.#options = options;
    this.#deadline = options.clock.monotonicMs() + options.graceMs;
    if (options.graceMs === 0) this.#kill();
    else void this.#run();
  }

  /** A second request with less time counts; one with more does not. */
  shorten(graceMs: number): void {
    const deadline = this.#options.clock.monotonicMs() + graceMs;
    if (deadline >= this.#deadline || this.#killed) return;
    this.#deadline = deadline;
    if (graceMs === 0) {
      this.#skipHook?.();
      this.#kill();
    } else if (this.#cancelKill !== undefined) {
      this.#killAt(deadline);
    }
  }

  /** The container is gone, or the agent leaves it to its successor. */
  cancel(): void {
    this.#killed = true;
    this.#cancelKill?.();
    this.#skipHook?.();
  }

  async #run(): Promise<void> {
    const { preStop, clock, signal } = this.#options;
    if (preStop !== undefined) {
      const { promise: skipped, resolve } = Promise.withResolvers<void>();
      this.#skipHook = resolve;
      const cancelTimer = clock.after(this.#deadline - clock.monotonicMs(), resolve);
      await Promise.race([preStop(), skipped]);
      cancelTimer();
    }
    if (this.#killed) return;
    signal('SIGTERM');
    const least = preStop === undefined ? 0 : termMsMin;
    this.#killAt(Math.max(this.#deadline, clock.monotonicMs() + least));
  }

  #killAt(deadline: number): void {
    const { clock } = this.#options;
    this.#cancelKill?.();
    this.#cancelKill = clock.after(Math.max(0, deadline - clock.monotonicMs()), () => this.#kill());
  }

  #kill(): void {
    if (this.#killed) return;
    this.#killed = true;
    this.#cancelKill?.();
    this.#options.signal('SIGKILL');
  }
}
