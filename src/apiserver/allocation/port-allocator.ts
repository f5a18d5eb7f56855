/** Hands out node ports (A126). */
import { staticBandSize } from './band.ts';

export type PortRange = { readonly first: number; readonly last: number };

export class PortAllocator {
  readonly range: PortRange;
  readonly #used = new Set<number>();
  readonly #random: (below: number) => number;
  readonly #band: number;

  constructor(range: PortRange, random: (below: number) => number) {
    this.range = range;
    this.#random = random;
    const size = range.last - range.first + 1;
    this.#band = staticBandSize(size, { divisor: 32, min: 16, max: 128 });
  }

  /** Takes a given port; the text says why it cannot. */
  take(port: number): string | undefined {
    const { first, last } = this.range;
    if (port < first || port > last) {
      return `provided port is not in the valid range. The range of valid ports is ${first}-${last}`;
    }
    if (this.#used.has(port)) return 'provided port is already allocated';
    this.#used.add(port);
    return undefined;
  }

  /** Takes a free port: from a random place above the static band, else from within it. */
  takeNext(): number | undefined {
    const { first, last } = this.range;
    const upper = first + this.#band;
    return this.#scan(upper, last) ?? this.#scan(first, upper - 1);
  }

  release(port: number): void {
    this.#used.delete(port);
  }

  #scan(from: number, to: number): number | undefined {
    const count = to - from + 1;
    if (count <= 0) return undefined;
    const start = this.#random(count);
    for (let step = 0; step < count; step += 1) {
      const port = from + ((start + step) % count);
      if (!this.#used.has(port)) {
        this.#used.add(port);
        return port;
      }
    }
    return undefined;
  }
}
