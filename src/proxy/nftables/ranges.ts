/** Address ranges by owner, as intervals of the set `ranges`. */
import { parseCidr, type IpFamily } from '../../lib/ip.ts';
import type { Mirror } from './mirror.ts';
import { numberWord } from './words.ts';

/** Owners that are no Service port; those have numbers from 16 on. */
export const POD_RANGES = 1;
export const SERVICE_RANGES = 2;

type Range = { readonly first: string; readonly last: string };

export class Ranges {
  readonly #family: IpFamily;
  readonly #mirror: Mirror;
  readonly #words = new Map<number, readonly string[]>();

  constructor(family: IpFamily, mirror: Mirror) {
    this.#family = family;
    this.#mirror = mirror;
  }

  /** Replaces the ranges of an owner; those of the other family are left out. */
  set(owner: number, cidrs: readonly string[]): void {
    const words = disjoint(cidrs, this.#family).map((range) => rangeWord(owner, range));
    for (const word of this.#words.get(owner) ?? []) {
      if (!words.includes(word)) this.#mirror.delete(word);
    }
    for (const word of words) this.#mirror.set(word);
    if (words.length > 0) this.#words.set(owner, words);
    else this.#words.delete(owner);
  }

  /** Asks for every range again. */
  repeat(): void {
    for (const words of this.#words.values()) for (const word of words) this.#mirror.set(word);
  }
}

/** An interval: its first key and then its last one, each `owner . address`. */
function rangeWord(owner: number, range: Range): string {
  return numberWord(owner) + range.first + numberWord(owner) + range.last;
}

/** Prefixes without those inside another: the kernel refuses overlapping intervals. */
function disjoint(cidrs: readonly string[], family: IpFamily): Range[] {
  const ranges = cidrs
    .flatMap((text) => parseCidr(text) ?? [])
    .filter((cidr) => cidr.family === family)
    .map((cidr) => ({ first: cidr.bytes.toHex(), last: lastOf(cidr.bytes, cidr.prefixLength) }))
    .sort((a, b) => compare(a.first, b.first) || compare(b.last, a.last));
  const kept: Range[] = [];
  for (const range of ranges) {
    const before = kept.at(-1);
    if (before === undefined || range.first > before.last) kept.push(range);
  }
  return kept;
}

function lastOf(bytes: Uint8Array, prefixLength: number): string {
  const last = bytes.map(
    (byte, index) => byte | (0xff >> Math.min(8, Math.max(0, prefixLength - index * 8))),
  );
  return last.toHex();
}

function compare(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
