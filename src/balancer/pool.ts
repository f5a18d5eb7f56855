/** The addresses that LoadBalancer Services can get: ranges, without some addresses inside of them. */
import {
  addressAt,
  bitsOf,
  cidrContains,
  formatCidr,
  parseCidr,
  type Cidr,
  type IpFamily,
} from '../lib/ip.ts';

export type Pool = {
  readonly ranges: readonly Cidr[];
  /** Inside of the ranges, and somebody else's: the broadcast address of the link, say. */
  readonly reserved: ReadonlySet<string>;
};

/** How far a range is searched for a free address: a v6 range may be endless. */
const searchMax = 65_536;

/** A pool of these prefixes; what is no prefix is left out. */
export function createPool(prefixes: readonly string[], reserved: readonly string[] = []): Pool {
  return {
    ranges: prefixes.flatMap((text) => parseCidr(text) ?? []),
    reserved: new Set(reserved),
  };
}

/** The addresses of a family in order; empty when the pool has none of it. */
export function* addressesIn(pool: Pool, family: IpFamily): Generator<string> {
  for (const range of pool.ranges) {
    if (range.family !== family) continue;
    const count = Math.min(searchMax, 2 ** (bitsOf(family) - range.prefixLength));
    for (let at = 0; at < count; at += 1) {
      const address = addressAt(range, at);
      if (!pool.reserved.has(address)) yield address;
    }
  }
}

export function isInPool(pool: Pool, address: string): boolean {
  return !pool.reserved.has(address) && pool.ranges.some((range) => cidrContains(range, address));
}

/** `172.29.0.192/27, fd00::/120` */
export function poolText(pool: Pool, family?: IpFamily): string {
  const ranges = pool.ranges.filter((range) => family === undefined || range.family === family);
  return ranges.map(formatCidr).join(', ');
}
