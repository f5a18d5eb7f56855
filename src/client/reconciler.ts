/**
 * The one loop behind every controller: a queue of keys, each reconciled by at most one worker at a
 * time. Many notes of one key become one run; a failed run is repeated with growing pauses.
 */
import { isReason } from '../api/status.ts';
import { systemClock, type Clock } from '../lib/clock.ts';
import { messageOf } from '../lib/errors.ts';
import { limits } from '../lib/limits.ts';
import type { Logger } from '../lib/log.ts';

/** What a run may ask for: to be run again after a while even if nothing is noted. */
export type Again = { readonly afterMs: number };

export type ReconcilerOptions = {
  /** In log lines and metrics, such as `endpointslices`. */
  readonly name: string;
  readonly reconcile: (key: string) => Promise<Again | void>;
  /** How many keys are worked on at the same time. */
  readonly concurrency?: number;
  readonly clock?: Clock;
  readonly log?: Logger;
  /** Called after each run. */
  readonly onRun?: (run: { key: string; durationMs: number; error?: unknown }) => void;
};

export class Reconciler {
  readonly name: string;
  readonly #options: ReconcilerOptions;
  readonly #clock: Clock;
  readonly #concurrency: number;
  /** Waiting for a worker, in order of arrival. */
  readonly #queue = new Set<string>();
  readonly #running = new Set<string>();
  /** Noted while running: they run once more. */
  readonly #again = new Set<string>();
  readonly #timers = new Map<string, { due: number; cancel: () => void }>();
  readonly #failures = new Map<string, number>();
  #scheduled = false;
  #paused = false;
  #stopped = false;
  #idleWaiters: (() => void)[] = [];

  constructor(options: ReconcilerOptions) {
    this.name = options.name;
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#concurrency = options.concurrency ?? 8;
  }

  /** Keys waiting or being worked on. */
  get depth(): number {
    return this.#queue.size + this.#running.size;
  }

  /** Notes that the key needs a run; it begins once the noting code has returned. */
  add(key: string): void {
    if (this.#stopped) return;
    if (this.#running.has(key)) this.#again.add(key);
    else this.#queue.add(key);
    this.#schedule();
  }

  /** Notes the key after a while; of several such notes of one key the earliest counts. */
  addAfter(key: string, delayMs: number): void {
    if (this.#stopped) return;
    const due = this.#clock.monotonicMs() + delayMs;
    const pending = this.#timers.get(key);
    if (pending !== undefined && pending.due <= due) return;
    pending?.cancel();
    const cancel = this.#clock.after(delayMs, () => {
      this.#timers.delete(key);
      this.add(key);
    });
    this.#timers.set(key, { due, cancel });
  }

  /** Holds the queue back, as until all informers have synced. */
  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#schedule();
  }

  /** Settles when nothing waits or runs; timers do not count. */
  async idle(): Promise<void> {
    if (this.depth === 0) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#idleWaiters.push(resolve);
    await promise;
  }

  stop(): void {
    this.#stopped = true;
    for (const { cancel } of this.#timers.values()) cancel();
    this.#timers.clear();
    this.#queue.clear();
  }

  [Symbol.dispose](): void {
    this.stop();
  }

  #schedule(): void {
    if (this.#scheduled || this.#paused) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      this.#startWorkers();
    });
  }

  #startWorkers(): void {
    if (this.#paused) return;
    for (const key of this.#queue) {
      if (this.#running.size >= this.#concurrency) return;
      this.#queue.delete(key);
      this.#running.add(key);
      void this.#work(key);
    }
  }

  async #work(key: string): Promise<void> {
    const startedAt = this.#clock.monotonicMs();
    const { reconcile, onRun } = this.#options;
    let failed: { error: unknown } | undefined;
    try {
      const again = await reconcile(key);
      this.#failures.delete(key);
      if (again !== undefined) this.addAfter(key, again.afterMs);
    } catch (error) {
      failed = { error };
      this.#retryLater(key, error);
    }
    onRun?.({ key, durationMs: this.#clock.monotonicMs() - startedAt, ...failed });
    this.#running.delete(key);
    if (this.#again.delete(key)) this.add(key);
    if (this.depth === 0) this.#idleWaiters.splice(0).forEach((resolve) => resolve());
    else this.#schedule();
  }

  #retryLater(key: string, error: unknown): void {
    if (this.#stopped) return;
    const failures = (this.#failures.get(key) ?? 0) + 1;
    this.#failures.set(key, failures);
    const delayMs = Math.min(limits.reconcileRetryMsMax, limits.reconcileRetryMs * 2 ** failures);
    // A conflict is the normal way to learn that one's copy is old.
    const level = isReason(error, 'Conflict') || failures < 3 ? 'debug' : 'warn';
    const fields = { reconciler: this.name, key, failures, error: messageOf(error) };
    this.#options.log?.[level](fields, 'reconcile failed, will try again');
    this.addAfter(key, delayMs);
  }
}
