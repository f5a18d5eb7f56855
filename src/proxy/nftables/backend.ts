/** The nftables backend: plans of Services to the two tables, IPv4 and IPv6, of this node. */
import { NftConnection, type Traffic } from '../../kernel/nftables/index.ts';
import { messageOf } from '../../lib/errors.ts';
import type { IpFamily } from '../../lib/ip.ts';
import type { Logger } from '../../lib/log.ts';
import type { ServicePlan } from '../../plan/types.ts';
import { tableOf } from './layout.ts';
import { DEFAULT_SETTINGS, type RuleSettings } from './rules.ts';
import { FamilyTable } from './table.ts';

export type NftablesOptions = {
  readonly log: Logger;
  /** Whole numbers below 2^32. */
  readonly random: () => number;
  /** Both unless the machine lacks one. */
  readonly families?: readonly IpFamily[];
  readonly settings?: RuleSettings;
};

/** What became of one family's part of a commit. */
export type FamilyCommit = {
  readonly family: IpFamily;
  readonly durationMs: number;
  readonly error?: unknown;
};

export class NftablesBackend {
  readonly tables: readonly FamilyTable[];
  readonly #log: Logger;
  #connection: NftConnection | undefined;
  /** The generation after our last commit. */
  #generation = 0;

  constructor(options: NftablesOptions) {
    const { settings = DEFAULT_SETTINGS } = options;
    this.#log = options.log;
    const { families = ['ipv4', 'ipv6'] } = options;
    this.tables = families.map(
      (family) => new FamilyTable({ ...settings, family }, options.random),
    );
  }

  get isOpen(): boolean {
    return this.#connection !== undefined;
  }

  /** Takes over what the kernel holds. Nothing is written. */
  open(): void {
    this.close();
    const connection = new NftConnection();
    try {
      // Read before the tables are, so that a change in between shows as a foreign one.
      this.#generation = connection.generation().id;
      for (const table of this.tables) table.open(connection);
      this.#connection = connection;
    } finally {
      if (this.#connection === undefined) connection[Symbol.dispose]();
    }
  }

  /** Forgets the kernel; the rules stay. */
  close(): void {
    this.#connection?.[Symbol.dispose]();
    this.#connection = undefined;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Writes that a commit would make now. */
  get pendingCount(): number {
    return this.tables.reduce((sum, table) => sum + table.pendingCount, 0);
  }

  setRanges(ranges: { podCidrs: readonly string[]; serviceCidrs: readonly string[] }): void {
    for (const { program } of this.tables) program.setRanges(ranges);
  }

  /** Calls back with the UDP frontends of each family whose endpoints changed. */
  setService(
    service: string,
    plan: ServicePlan | undefined,
    onFlows?: (family: IpFamily, keys: readonly string[]) => void,
  ): void {
    for (const { family, program } of this.tables) {
      const keys = program.setService(service, plan);
      if (keys.length > 0) onFlows?.(family, keys);
    }
  }

  /** Deletes what no Service asked for since `open`. */
  sweep(): void {
    for (const { program } of this.tables) program.sweep();
  }

  /**
   * Writes what differs, one transaction per family; returns how much that was. One family's
   * failure does not keep the other from being written (P136). `tell` hears of each of them.
   */
  commit(tell?: (commit: FamilyCommit) => void): number {
    const connection = this.#connection;
    if (connection === undefined) return 0;
    let writes = 0;
    let failure: unknown;
    for (const table of this.tables) {
      const { family } = table;
      const start = performance.now();
      const durationMs = () => performance.now() - start;
      try {
        const written = table.commit(connection);
        if (written > 0) this.#generation = nextGeneration(this.#generation);
        writes += written;
        tell?.({ family, durationMs: durationMs() });
      } catch (error) {
        this.#log.error({ family, error: messageOf(error) }, 'commit refused');
        tell?.({ family, durationMs: durationMs(), error });
        failure ??= error;
      }
    }
    if (failure !== undefined) throw failure;
    return writes;
  }

  /** What was sent to the kernel since the last call. */
  takeTraffic(): Traffic | undefined {
    return this.#connection?.takeTraffic();
  }

  /** Whether a table of ours is missing altogether. */
  isGone(): boolean {
    const names = this.#connection?.tables().map((table) => `${table.family} ${table.name}`);
    return this.tables.some(({ family }) => {
      const { family: nft, table } = tableOf(family);
      return names?.includes(`${nft} ${table}`) === false;
    });
  }

  /** Whether anybody else has changed any ruleset since our last commit. */
  wasChangedByOthers(): boolean {
    if (this.#connection === undefined) return false;
    return this.#connection.generation().id !== this.#generation;
  }
}

/** The kernel's counter is 16 bits wide in older kernels and skips 0 (nf_tables_commit). */
function nextGeneration(generation: number): number {
  return (generation + 1) % 2 ** 32 || 1;
}
