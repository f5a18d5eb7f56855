/**
 * Which endpoint a client gets when a Service balances by source address: the kernel hashes the
 * address to a slot, and a table says whose slot that is. The table is Maglev's (Eisenbud et al.,
 * NSDI 2016, §3.4): almost perfectly even, the same on every node, and an endpoint that comes or
 * goes moves hardly more clients than its own share.
 */
import { ipBytes } from '../lib/ip.ts';
import { targetKey, type Target } from './types.ts';

/** Any number will do, as long as every node has the same. */
export const SOURCE_HASH_SEED = 0x666c6561;

/**
 * Primes; up to `targets` each has 16 slots or more. Only two steps, since most clients move when
 * the size changes.
 */
const SIZES = [
  { targets: 64, slots: 1021 },
  { targets: 1024, slots: 16_381 },
  { targets: Infinity, slots: 65_521 },
] as const;

/** Slots of the table for so many targets; 0 for none. */
export function sourceSlotCount(targetCount: number): number {
  if (targetCount === 0) return 0;
  return SIZES.find(({ targets }) => targetCount <= targets)!.slots;
}

/** Whose each slot is, as an index of `targets`, whose order does not matter. */
export function sourceTable(targets: readonly Target[]): Uint32Array {
  const size = sourceSlotCount(targets.length);
  const table = new Uint32Array(size).fill(NOBODY);
  const walkers = targets
    .map((target, index) => walkerOf(targetKey(target), index, size))
    .sort((a, b) => (a.key < b.key ? -1 : 1));
  for (let filled = 0; filled < size;) {
    for (const walker of walkers) {
      while (table[walker.next] !== NOBODY) walker.next = (walker.next + walker.step) % size;
      table[walker.next] = walker.index;
      filled += 1;
      if (filled === size) break;
    }
  }
  return table;
}

/** The target of a client, as the kernel finds it. */
export function sourceTarget(targets: readonly Target[], client: string): Target | undefined {
  const table = sourceTable(targets);
  const hash = jhash(ipBytes(client), SOURCE_HASH_SEED);
  // reciprocal_scale() of linux/kernel.h: the upper half of the product.
  return targets[table[Number((BigInt(hash) * BigInt(table.length)) >> 32n)] ?? NOBODY];
}

const NOBODY = 2 ** 32 - 1;

type Walker = { readonly key: string; readonly index: number; readonly step: number; next: number };

/** Every target visits all slots, in an order of its own. */
function walkerOf(key: string, index: number, size: number): Walker {
  const bytes = new TextEncoder().encode(key);
  const step = (jhash(bytes, 2) % (size - 1)) + 1;
  return { key, index, step, next: jhash(bytes, 1) % size };
}

/** `jhash()` of linux/jhash.h, Bob Jenkins's lookup3, on a little-endian machine. */
export function jhash(bytes: Uint8Array, seed: number): number {
  const start = (0xdeadbeef + bytes.length + seed) | 0;
  let [a, b, c] = [start, start, start];
  let at = 0;
  const word = () => {
    at += 4;
    return wordAt(bytes, at - 4);
  };
  while (bytes.length - at > 12) {
    a = (a + word()) | 0;
    b = (b + word()) | 0;
    c = (c + word()) | 0;
    [a, b, c] = mix(a, b, c);
  }
  if (at === bytes.length) return c >>> 0;
  a = (a + word()) | 0;
  b = (b + word()) | 0;
  c = (c + word()) | 0;
  return finish(a, b, c);
}

/** Bytes past the end count as zeros. */
function wordAt(bytes: Uint8Array, at: number): number {
  const byte = (offset: number) => bytes[at + offset] ?? 0;
  return byte(0) | (byte(1) << 8) | (byte(2) << 16) | (byte(3) << 24);
}

function rotate(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits));
}

function mix(x: number, y: number, z: number): [number, number, number] {
  let [a, b, c] = [x, y, z];
  a = (a - c) ^ rotate(c, 4);
  c = (c + b) | 0;
  b = (b - a) ^ rotate(a, 6);
  a = (a + c) | 0;
  c = (c - b) ^ rotate(b, 8);
  b = (b + a) | 0;
  a = (a - c) ^ rotate(c, 16);
  c = (c + b) | 0;
  b = (b - a) ^ rotate(a, 19);
  a = (a + c) | 0;
  c = (c - b) ^ rotate(b, 4);
  b = (b + a) | 0;
  return [a, b, c];
}

function finish(x: number, y: number, z: number): number {
  let [a, b, c] = [x, y, z];
  c = (c ^ b) - rotate(b, 14);
  a = (a ^ c) - rotate(c, 11);
  b = (b ^ a) - rotate(a, 25);
  c = (c ^ b) - rotate(b, 16);
  a = (a ^ c) - rotate(c, 4);
  b = (b ^ a) - rotate(a, 14);
  c = (c ^ b) - rotate(b, 24);
  return c >>> 0;
}
