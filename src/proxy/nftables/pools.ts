/** The endpoints of Service ports as elements of `endpoints` and, with affinity, of `sticky`. */
import { sourceTable } from '../../plan/source-hash.ts';
import type { PortPlan, Target } from '../../plan/types.ts';
import { LOCAL_SLOTS, type Pool } from './classes.ts';
import type { Mirror } from './mirror.ts';
import { assignSlots } from './slots.ts';
import { addressWord, numberWord, portWord } from './words.ts';

/** Instead of a sticky id, where there is no affinity. */
const NO_ID = numberWord(0);

export class Pools {
  readonly #endpoints: Mirror;
  readonly #sticky: Mirror;
  readonly #random: () => number;

  /** `random` gives whole numbers below 2^32. */
  constructor(mirrors: { endpoints: Mirror; sticky: Mirror }, random: () => number) {
    this.#endpoints = mirrors.endpoints;
    this.#sticky = mirrors.sticky;
    this.#random = random;
  }

  /** Writes both pools of a port; a pool that no frontend can reach stays empty. */
  set(number: number, port: PortPlan): void {
    const uses = (choice: string) => port.frontends.some((one) => one.pool === choice);
    const ids = port.affinitySeconds === 0 ? undefined : this.#stickyIds(number);
    const all = uses('cluster') || uses('bySource') ? port.cluster : [];
    const local = uses('local') || uses('bySource') ? port.local : [];
    for (const [pool, targets] of [
      ['all', all],
      ['local', local],
    ] as const) {
      const words = this.#words(targets, ids);
      const present = this.#slots(number, pool);
      const slots =
        port.balancing === 'sourceHash'
          ? Array.from(sourceTable(targets), (index) => words[index]!)
          : assignSlots(present, words);
      this.#setPool(number, pool, { present, slots });
    }
  }

  clear(number: number): void {
    for (const pool of ['all', 'local'] as const) {
      this.#setPool(number, pool, { present: this.#slots(number, pool), slots: [] });
    }
  }

  /** Elements of `endpoints`: address, port, sticky id. */
  #words(targets: readonly Target[], ids: Map<string, string> | undefined): string[] {
    return targets.map((target) => {
      const word = addressWord(target.address) + portWord(target.port);
      if (ids === undefined) return word + NO_ID;
      const id = ids.get(word) ?? this.#newStickyId(ids);
      ids.set(word, id);
      return word + id;
    });
  }

  /**
   * The ids that tie clients to the present endpoints. One that leaves and returns gets a new id,
   * so clients that were tied to it before are free (P88).
   */
  #stickyIds(number: number): Map<string, string> {
    const ids = new Map<string, string>();
    for (const data of [...this.#slots(number, 'all'), ...this.#slots(number, 'local')]) {
      if (idOf(data) !== NO_ID) ids.set(targetOf(data), idOf(data));
    }
    return ids;
  }

  #newStickyId(taken: ReadonlyMap<string, string>): string {
    const used = new Set(taken.values());
    for (;;) {
      const id = numberWord(this.#random());
      if (id !== NO_ID && !used.has(id)) return id;
    }
  }

  #slots(number: number, pool: Pool): string[] {
    const slots: string[] = [];
    for (;;) {
      const data = this.#endpoints.get(slotWord(number, pool, slots.length));
      if (data === undefined) return slots;
      slots.push(data);
    }
  }

  #setPool(
    number: number,
    pool: Pool,
    { present, slots }: { present: readonly string[]; slots: readonly string[] },
  ): void {
    const gone = new Set(present);
    for (const [slot, data] of slots.entries()) {
      this.#endpoints.set(slotWord(number, pool, slot), data);
      gone.delete(data);
      if (idOf(data) !== NO_ID) this.#sticky.set(stickyWord(number, pool, data), targetOf(data));
    }
    for (let slot = slots.length; slot < present.length; slot += 1) {
      this.#endpoints.delete(slotWord(number, pool, slot));
    }
    for (const data of gone) this.#sticky.delete(stickyWord(number, pool, data));
  }
}

/** How the affinity rules name a pool. */
export function poolWord(pool: Pool): string {
  return numberWord(pool === 'local' ? 1 : 0);
}

function slotWord(number: number, pool: Pool, slot: number): string {
  return numberWord(number) + numberWord(pool === 'local' ? LOCAL_SLOTS + slot : slot);
}

function stickyWord(number: number, pool: Pool, data: string): string {
  return poolWord(pool) + idOf(data) + numberWord(number);
}

function idOf(data: string): string {
  return data.slice(-8);
}

function targetOf(data: string): string {
  return data.slice(0, -8);
}
