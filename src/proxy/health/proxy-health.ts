/**
 * Whether the proxy keeps up with the news (P123): it does while no change has waited for longer
 * than a limit, however long ago the last one was.
 */
import type { Clock } from '../../lib/clock.ts';
import type { IpFamily } from '../../lib/ip.ts';

/** Twice kube-proxy's syncPeriod. */
const TIMEOUT_MS = 60_000;

/** `lastUpdatedMs` is undefined before the first sync. */
export type FamilyHealth = {
  readonly healthy: boolean;
  readonly lastUpdatedMs: number | undefined;
};

export class ProxyHealth {
  readonly #clock: Clock;
  readonly #timeoutMs: number;
  /** Wall clock of the last successful sync. */
  readonly #updatedMs = new Map<IpFamily, number>();
  /** Monotonic time of the oldest change that waits. */
  readonly #queuedMs = new Map<IpFamily, number>();

  constructor(clock: Clock, timeoutMs = TIMEOUT_MS) {
    this.#clock = clock;
    this.#timeoutMs = timeoutMs;
  }

  /** A change came that concerns the families. */
  queued(families: readonly IpFamily[]): void {
    const now = this.#clock.monotonicMs();
    for (const family of families) {
      if (!this.#queuedMs.has(family)) this.#queuedMs.set(family, now);
    }
  }

  /** The family's rules hold all that was queued. */
  updated(family: IpFamily): void {
    this.#queuedMs.delete(family);
    this.#updatedMs.set(family, this.#clock.now());
  }

  get healthy(): boolean {
    return [...this.#queuedMs.keys()].every((family) => this.#keepsUp(family));
  }

  /** Every family that was synced or has something to do. */
  families(): Map<IpFamily, FamilyHealth> {
    const families = new Set([...this.#updatedMs.keys(), ...this.#queuedMs.keys()]);
    return new Map(
      [...families].map((family) => [
        family,
        { healthy: this.#keepsUp(family), lastUpdatedMs: this.#updatedMs.get(family) },
      ]),
    );
  }

  #keepsUp(family: IpFamily): boolean {
    const since = this.#queuedMs.get(family);
    return since === undefined || this.#clock.monotonicMs() - since < this.#timeoutMs;
  }
}
