/** What becomes of each family's share of a sync: for health, for metrics. */
import type { Clock } from '../lib/clock.ts';
import type { IpFamily } from '../lib/ip.ts';
import { ProxyHealth } from './health/proxy-health.ts';
import type { FamilyCommit } from './nftables/backend.ts';
import type { ProxyObserver } from './options.ts';

export type SyncAccountOptions = {
  readonly families: readonly IpFamily[];
  readonly observer: ProxyObserver | undefined;
  readonly clock: Clock;
};

/** A commit as part of a sync; `last` when nothing is left to plan. */
export type SyncPart = { readonly planningMs: number; readonly last: boolean };

export class SyncAccount {
  readonly health: ProxyHealth;
  readonly #families: readonly IpFamily[];
  readonly #observer: ProxyObserver | undefined;
  /** What the sync that is under way took so far, by family. */
  readonly #spentMs = new Map<IpFamily, number>();
  /** Families whose last sync failed. */
  readonly #failed = new Set<IpFamily>();
  /** Families that could not delete what nobody needs, in the sync under way. */
  readonly #cluttered = new Set<IpFamily>();
  /** A failure of the sync under way has been told. */
  #told = false;
  /** The sync under way began by reading the kernel. */
  #full = true;

  constructor({ families, observer, clock }: SyncAccountOptions) {
    this.health = new ProxyHealth(clock);
    this.#families = families;
    this.#observer = observer;
  }

  /** News came. */
  queued(): void {
    this.health.queued(this.#families);
  }

  /** A sync, or a part of one, begins. */
  begin(): void {
    this.#told = false;
  }

  /** It reads everything from the kernel, until `end`. */
  reads(): void {
    this.#full = true;
  }

  /** All that was noted is in the kernel. */
  end(): void {
    this.#full = false;
  }

  /** Adds up a sync that is committed in parts; its last part is told, and a failure at once. */
  count(commit: FamilyCommit, { planningMs, last }: SyncPart): void {
    const { family, error } = commit;
    const spentMs = (this.#spentMs.get(family) ?? 0) + planningMs + commit.durationMs;
    const failed = error !== undefined;
    if (commit.cleanupFailed === true) this.#cluttered.add(family);
    this.#told ||= failed;
    this.#spentMs.set(family, last || failed ? 0 : spentMs);
    if (!last && !failed) return;
    // What follows a failure begins by reading the kernel as well (P128).
    const full = this.#full || this.#failed.has(family);
    if (failed) this.#failed.add(family);
    else this.#failed.delete(family);
    if (!failed) this.health.updated(family);
    const cleanupFailed = this.#cluttered.delete(family);
    const sync = { family, full, durationMs: spentMs, cleanupFailed };
    this.#observer?.synced(failed ? { ...sync, error } : sync);
  }

  /** The sync broke off; told here unless a commit was the cause. */
  broke(error: unknown): void {
    if (this.#told) return;
    for (const family of this.#families) {
      this.#observer?.synced({ family, full: true, durationMs: 0, cleanupFailed: false, error });
    }
  }
}
