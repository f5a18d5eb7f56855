/** How many users each thing has. */
export class RefCounts {
  readonly #counts = new Map<string, number>();

  add(key: string): void {
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
  }

  /** Says whether that was the last user. */
  remove(key: string): boolean {
    const left = (this.#counts.get(key) ?? 0) - 1;
    if (left > 0) this.#counts.set(key, left);
    else this.#counts.delete(key);
    return left <= 0;
  }

  has(key: string): boolean {
    return this.#counts.has(key);
  }

  keys(): IterableIterator<string> {
    return this.#counts.keys();
  }
}
