/** Hands out the addresses of one service range (A124). */
import {
  type Cidr,
  addressAt,
  bitsOf,
  canonicalIp,
  cidrContains,
  formatCidr,
} from '../../lib/ip.ts';
import { staticBandSize } from './band.ts';

/** Offsets are plain numbers; nobody needs more service addresses than this from one range. */
const OFFSETS_MAX = 2 ** 32;

export class IpAllocator {
  readonly cidr: Cidr;
  readonly #used = new Set<string>();
  readonly #random: (below: number) => number;
  readonly #first = 1;
  readonly #last: number;
  readonly #band: number;

  constructor(cidr: Cidr, random: (below: number) => number) {
    this.cidr = cidr;
    this.#random = random;
    const size = Math.min(2 ** (bitsOf(cidr.family) - cidr.prefixLength), OFFSETS_MAX);
    // The network address is never used; IPv4 also has a broadcast address at the end.
    this.#last = cidr.family === 'ipv4' ? size - 2 : size - 1;
    this.#band = staticBandSize(size, { divisor: 16, min: 16, max: 256 });
  }

  /** Takes a given address; the text says why it cannot. */
  take(address: string): string | undefined {
    const canonical = canonicalIp(address) ?? address;
    if (!this.#usable(canonical)) {
      return `the provided IP (${address}) is not in the valid range. The range of valid IPs is ${formatCidr(this.cidr)}`;
    }
    if (this.#used.has(canonical)) return 'provided IP is already allocated';
    this.#used.add(canonical);
    return undefined;
  }

  /** Takes a free address: from a random place above the static band, else from within it. */
  takeNext(): string | undefined {
    const upper = this.#first + this.#band;
    return (
      this.#scan(upper, this.#last) ?? this.#scan(this.#first, Math.min(upper - 1, this.#last))
    );
  }

  release(address: string): void {
    this.#used.delete(canonicalIp(address) ?? address);
  }

  #usable(address: string): boolean {
    if (!cidrContains(this.cidr, address)) return false;
    if (address === this.cidr.address) return false;
    return this.cidr.family !== 'ipv4' || address !== addressAt(this.cidr, this.#last + 1);
  }

  #scan(from: number, to: number): string | undefined {
    const count = to - from + 1;
    if (count <= 0) return undefined;
    const start = this.#random(count);
    // With n addresses taken, n + 1 places in a row hold a free one.
    const tries = Math.min(count, this.#used.size + 1);
    for (let step = 0; step < tries; step += 1) {
      const address = addressAt(this.cidr, from + ((start + step) % count));
      if (!this.#used.has(address)) {
        this.#used.add(address);
        return address;
      }
    }
    return undefined;
  }
}
