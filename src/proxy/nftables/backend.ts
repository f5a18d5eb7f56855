/** The nftables backend: plans of Services to the two tables, IPv4 and IPv6, of this node. */
import { NftConnection, type Traffic } from '../../kernel/nftables/index.ts';
import { messageOf } from '../../lib/errors.ts';
import type { IpFamily } from '../../lib/ip.ts';
import type { Logger } from '../../lib/log.ts';
import type { ServicePlan } from '../../plan/types.ts';
import { tableOf } from './layout.ts';
import { LOCALHOST_CHAIN } from './refusal-rules.ts';
import { DEFAULT_SETTINGS, type RuleSettings } from './rule-parts.ts';
import { FamilyTable, type RefusedService } from './table.ts';

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
  /** Chains that nobody needs could not be deleted yet (P126). */
  readonly cleanupFailed?: boolean;
  readonly error?: unknown;
};

export class NftablesBackend {
  readonly tables: readonly FamilyTable[];
  readonly #log: Logger;
  #connection: NftConnection | undefined;
  /** Of the ruleset when the connection was made. */
  #generation = 0;
  /** Families whose last commit was refused, and why; they wait for `retry`. */
  readonly #failing = new Map<FamilyTable, unknown>();
  #swept = false;

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

  /**
   * As `open`, but a family whose table cannot be taken over only counts as failing. Throws when
   * that is every family.
   */
  openEach(tell?: (commit: FamilyCommit) => void): void {
    this.close();
    const connection = new NftConnection();
    this.#connection = connection;
    this.#generation = connection.generation().id;
    for (const table of this.tables) {
      this.#guard(table, tell, () => {
        table.open(connection);
        return 0;
      });
    }
    if (this.#failing.size < this.tables.length) return;
    const [first] = this.#failing.values();
    this.close();
    throw first;
  }

  /** Forgets the kernel; the rules stay. */
  close(): void {
    this.#connection?.[Symbol.dispose]();
    this.#connection = undefined;
    this.#failing.clear();
    this.#swept = false;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Writes that a commit would make now. */
  get pendingCount(): number {
    return this.#working.reduce((sum, table) => sum + table.pendingCount, 0);
  }

  /** Families that wait for `retry`. */
  get failing(): readonly IpFamily[] {
    return [...this.#failing.keys()].map(({ family }) => family);
  }

  get #working(): FamilyTable[] {
    return this.tables.filter((table) => !this.#failing.has(table));
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
    for (const table of this.tables) {
      const keys = table.setService(service, plan);
      if (keys.length > 0) onFlows?.(table.family, keys);
    }
  }

  /** Deletes what no Service asked for since `open`. */
  sweep(): void {
    this.#swept = true;
    for (const { program } of this.tables) program.sweep();
  }

  /**
   * Writes what differs, one transaction per family; returns how much that was. One family's
   * failure does not keep the other from being written (P136), and is thrown in the end. `tell`
   * hears of each of them.
   */
  commit(tell?: (commit: FamilyCommit) => void): number {
    const writes = this.commitEach(tell);
    for (const error of this.#failing.values()) throw error;
    return writes;
  }

  /** As `commit`, but a family that is refused is left for `retry`. */
  commitEach(tell?: (commit: FamilyCommit) => void): number {
    const connection = this.#connection;
    if (connection === undefined) return 0;
    return this.#working.reduce(
      (sum, table) => sum + this.#guard(table, tell, () => table.commit(connection)),
      0,
    );
  }

  /**
   * Reads the tables of failing families anew and writes what differs. If that is refused once
   * more, the Services that the kernel refuses are left out, and named.
   */
  retry(tell?: (commit: FamilyCommit) => void): RefusedService[] {
    const connection = this.#connection;
    const refused: RefusedService[] = [];
    if (connection === undefined) return refused;
    for (const table of this.#failing.keys()) {
      this.#guard(table, tell, () => {
        table.open(connection);
        if (this.#swept) table.program.sweep();
        try {
          return table.commit(connection);
        } catch {
          const outcome = table.commitByHalves(connection);
          refused.push(...outcome.refused);
          return outcome.writes;
        }
      });
    }
    return refused;
  }

  /** Keeps one family's failure to itself. */
  #guard(
    table: FamilyTable,
    tell: ((commit: FamilyCommit) => void) | undefined,
    act: () => number,
  ): number {
    const { family } = table;
    const start = performance.now();
    try {
      const writes = act();
      this.#failing.delete(table);
      const cleanupFailed = table.takeCleanupFailed();
      tell?.({ family, durationMs: performance.now() - start, cleanupFailed });
      return writes;
    } catch (error) {
      this.#failing.set(table, error);
      this.#log.error({ family, error: messageOf(error) }, 'commit refused');
      tell?.({ family, durationMs: performance.now() - start, error });
      return 0;
    }
  }

  /** Packets to node ports on loopback addresses that were refused since the tables exist. */
  localhostRejected(): number {
    const connection = this.#connection;
    if (connection === undefined) return 0;
    const rules = this.tables.flatMap(({ family }) =>
      connection.rules({ ...tableOf(family), chain: LOCALHOST_CHAIN }),
    );
    return rules
      .flatMap(({ expressions }) => expressions)
      .reduce((sum, one) => sum + (one.kind === 'counter' ? Number(one.packets ?? 0n) : 0), 0);
  }

  /** What was sent to the kernel since the last call. */
  takeTraffic(): Traffic | undefined {
    return this.#connection?.takeTraffic();
  }

  /** Whether a table of ours is missing altogether, other than that of a family that fails. */
  isGone(): boolean {
    const names = this.#connection?.tables().map((table) => `${table.family} ${table.name}`);
    return this.#working.some(({ family }) => {
      const { family: nft, table } = tableOf(family);
      return names?.includes(`${nft} ${table}`) === false;
    });
  }

  /** Whether anybody else has changed any ruleset since it was read. */
  wasChangedByOthers(): boolean {
    const connection = this.#connection;
    if (connection === undefined) return false;
    return connection.generation().id !== raised(this.#generation, connection.appliedCount);
  }
}

/** Each transaction raises the kernel's counter by one; it skips 0 (nf_tables_commit). */
function raised(generation: number, count: number): number {
  const sum = generation + count;
  return sum < 2 ** 32 ? sum : sum - 2 ** 32 + 1;
}
