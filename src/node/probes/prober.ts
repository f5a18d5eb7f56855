/** Repeats one probe of one container and says when its verdict changes (K21). */
import type { Probe } from '../../api/types.ts';
import type { Clock } from '../../lib/clock.ts';
import type { CheckResult } from './check.ts';

export type ProbeKind = 'startup' | 'liveness' | 'readiness';

export type ProberOptions = {
  readonly kind: ProbeKind;
  readonly probe: Probe;
  readonly clock: Clock;
  readonly check: (timeoutMs: number) => Promise<CheckResult>;
  /** The verdict from before, for a container that an earlier agent probed. */
  readonly initially: boolean | undefined;
  /** Thresholds were passed: the verdict is new. */
  readonly onVerdict: (ok: boolean) => void;
  /** A check failed that counts. */
  readonly onFailure: (output: string) => void;
};

/** The least pause of a probe that has never succeeded. */
const eagerMs = 20;
/** Its pause as a part of the time since the start: success is seen at most that much late. */
const eagerPart = 0.15;

/**
 * Until the first success, startup and readiness are asked far more often than the period says, so
 * that a container which is up counts within milliseconds. Those extra checks count only when they
 * succeed: failures have the pod's own pace.
 */
export class Prober {
  readonly #options: ProberOptions;
  readonly #periodMs: number;
  readonly #timeoutMs: number;
  #verdict: boolean | undefined;
  #successes = 0;
  #failures = 0;
  #everSucceeded: boolean;
  readonly #startedAt: number;
  #lastCounted: number;
  #cancel: (() => void) | undefined;
  #stopped = false;

  constructor(options: ProberOptions) {
    this.#options = options;
    const { probe, clock, initially } = options;
    this.#periodMs = (probe.periodSeconds ?? 10) * 1000;
    this.#timeoutMs = (probe.timeoutSeconds ?? 1) * 1000;
    this.#verdict = initially;
    this.#everSucceeded = initially === true;
    this.#startedAt = clock.monotonicMs();
    this.#lastCounted = this.#startedAt;
    this.#cancel = clock.after(this.#firstDelayMs(), () => void this.#run());
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel?.();
  }

  [Symbol.dispose](): void {
    this.stop();
  }

  /** A container that has just begun need not prove at once that it is still alive. */
  #firstDelayMs(): number {
    const { probe, kind, initially } = this.#options;
    if (initially !== undefined) return 0;
    const delayMs = (probe.initialDelaySeconds ?? 0) * 1000;
    return kind === 'liveness' && delayMs === 0 ? this.#periodMs : delayMs;
  }

  async #run(): Promise<void> {
    const { clock } = this.#options;
    const startedAt = clock.monotonicMs();
    const result = await this.#options.check(this.#timeoutMs);
    if (this.#stopped) return;
    this.#take(result, startedAt);
    if (this.#stopped) return;
    const spentMs = clock.monotonicMs() - startedAt;
    this.#cancel = clock.after(Math.max(0, this.#nextPauseMs() - spentMs), () => void this.#run());
  }

  #take(result: CheckResult, startedAt: number): void {
    const { probe, kind, onVerdict, onFailure } = this.#options;
    if (result.ok) {
      this.#everSucceeded = true;
      this.#failures = 0;
      this.#successes += 1;
      if (this.#successes >= (probe.successThreshold ?? 1)) this.#decide(true, onVerdict);
      return;
    }
    this.#successes = 0;
    const eager = this.#isEager() && startedAt - this.#lastCounted < this.#periodMs;
    if (eager) return;
    this.#lastCounted = startedAt;
    this.#failures += 1;
    onFailure(result.output);
    if (this.#failures < (probe.failureThreshold ?? 3)) return;
    // A verdict that restarts the container is told each time; the worker stops this prober.
    if (kind !== 'readiness') this.#verdict = undefined;
    this.#decide(false, onVerdict);
  }

  #decide(verdict: boolean, tell: (ok: boolean) => void): void {
    if (this.#verdict === verdict) return;
    this.#verdict = verdict;
    tell(verdict);
  }

  #isEager(): boolean {
    return this.#options.kind !== 'liveness' && !this.#everSucceeded;
  }

  #nextPauseMs(): number {
    if (!this.#isEager()) return this.#periodMs;
    const elapsedMs = this.#options.clock.monotonicMs() - this.#startedAt;
    return Math.min(this.#periodMs, Math.max(eagerMs, elapsedMs * eagerPart));
  }
}
