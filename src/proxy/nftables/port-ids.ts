/**
 * The number a Service port has in the kernel. It follows from the port's name, so that a restarted
 * proxy finds its elements again and affinity survives; of two names with one hash the later one
 * gets the next free number.
 */
export class PortIds {
  readonly #ids = new Map<string, number>();
  readonly #taken = new Set<number>();

  idOf(port: string): number {
    const known = this.#ids.get(port);
    if (known !== undefined) return known;
    let id = hash(port);
    while (id < FIRST_ID || this.#taken.has(id)) id = (id + 1) % 2 ** 32;
    this.#ids.set(port, id);
    this.#taken.add(id);
    return id;
  }

  release(port: string): void {
    const id = this.#ids.get(port);
    if (id !== undefined) this.#taken.delete(id);
    this.#ids.delete(port);
  }
}

/** Smaller numbers own the ranges that are nobody's (program.ts). */
const FIRST_ID = 16;

/** FNV-1a, 32 bits. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let at = 0; at < text.length; at += 1) {
    value = Math.imul(value ^ text.charCodeAt(at), 0x01000193);
  }
  return value >>> 0;
}
