/**
 * What one set or map of the kernel holds, and what it shall hold. Keys and data are hex text; a
 * set's data is empty. Changes gather until they are taken as one batch and then confirmed.
 */
import type { ElementTable } from './element-tables.ts';

export type ElementChange = {
  readonly key: string;
  /** Undefined: the key is new. */
  readonly before: string | undefined;
  /** Undefined: the key goes away. */
  readonly after: string | undefined;
};

export class Mirror {
  readonly name: string;
  #kernel: ElementTable;
  readonly #pending = new Map<string, string | undefined>();
  /** Between `adopt` and `sweep`: the kernel has elements that perhaps nobody asks for. */
  #adopting = false;

  /** `empty` is what a kernel without the set holds. */
  constructor(name: string, empty: ElementTable) {
    this.name = name;
    this.#kernel = empty;
  }

  get size(): number {
    return this.#kernel.size;
  }

  /** What the key will hold. */
  get(key: string): string | undefined {
    return this.#pending.has(key) ? this.#pending.get(key) : this.#kernel.get(key);
  }

  /** Whether the kernel has the key now. */
  isHeld(key: string): boolean {
    return this.#kernel.get(key) !== undefined;
  }

  set(key: string, data = ''): void {
    if (this.#adopting) this.#kernel.claim(key);
    this.#want(key, data);
  }

  delete(key: string): void {
    this.#want(key, undefined);
  }

  /** Takes what the kernel holds for the truth. Until `sweep`, keys not set again are leftovers. */
  adopt(elements: ElementTable): void {
    this.#kernel = elements;
    this.#pending.clear();
    this.#kernel.unclaimAll();
    this.#adopting = true;
  }

  /** Deletes the leftovers. */
  sweep(): void {
    const leftovers = this.#adopting ? this.#kernel.unclaimed() : [];
    this.#adopting = false;
    for (const key of leftovers) this.delete(key);
  }

  /** How many elements differ. */
  get pendingCount(): number {
    return this.#pending.size;
  }

  /** The difference, in the order it was asked for. */
  *changes(): Generator<ElementChange> {
    for (const [key, after] of this.#pending) yield { key, before: this.#kernel.get(key), after };
  }

  /** The kernel has taken the changes. */
  confirm(): void {
    for (const [key, after] of this.#pending) {
      if (after === undefined) this.#kernel.delete(key);
      else this.#kernel.set(key, after);
    }
    this.#pending.clear();
  }

  #want(key: string, data: string | undefined): void {
    if (this.#kernel.get(key) === data) this.#pending.delete(key);
    else this.#pending.set(key, data);
  }
}
