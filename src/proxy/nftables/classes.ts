/**
 * One small chain per class, not per Service. A class is how a connection is masqueraded, which
 * pool of endpoints it may reach, how many there are (`numgen` has its modulus in the rule) and how
 * long a client stays with its endpoint (`update` has its timeout in the rule).
 */
import { assert } from '../../lib/errors.ts';
import type { Frontend, PortPlan } from '../../plan/types.ts';
import { numberWord } from './words.ts';

/** Where connections of a class are masqueraded; `source`: the source decides on everything. */
export type Entry = 'plain' | 'outsiders' | 'masquerade' | 'source';
export type Pool = 'all' | 'local';

export type Class = {
  readonly entry: Entry;
  readonly pool: Pool;
  readonly count: number;
  /** 0: no affinity. */
  readonly affinitySeconds: number;
};

/** Where the entry stands in the class word; `plain` is all zeros. */
export const ENTRY_SHIFT = 30;
/** Of entry `source`. */
export const SOURCE_BITS = 3 * 2 ** ENTRY_SHIFT;
const ENTRY_NUMBERS: Readonly<Record<Entry, number>> = {
  plain: 0,
  outsiders: 1,
  masquerade: 2,
  source: 3,
};
const POOL_SHIFT = 29;
const COUNT_MAX = 2 ** 24 - 1;

/** Local endpoints have slots from here on, the others from 0. */
export const LOCAL_SLOTS = 2 ** 31;

/** No endpoints: no chain is found under this. */
export const NO_CLASS = numberWord(0) + numberWord(0);

/** What a class is looked up by: a word of its own and its affinity timeout. */
export function classWord(one: Class): string {
  if (one.count === 0) return NO_CLASS;
  assert(one.count <= COUNT_MAX, `a pool of ${one.count} endpoints has no class`);
  const entry = ENTRY_NUMBERS[one.entry] * 2 ** ENTRY_SHIFT;
  const pool = one.pool === 'local' ? 2 ** POOL_SHIFT : 0;
  return numberWord(entry + pool + one.count) + numberWord(one.affinitySeconds);
}

/** `masquerade-all-3` or `plain-local-2-sticky-10800`: stable, and far below the kernel's 127. */
export function chainName(one: Class): string {
  const sticky = one.affinitySeconds === 0 ? '' : `-sticky-${one.affinitySeconds}`;
  return `${one.entry}-${one.pool}-${one.count}${sticky}`;
}

/** The class a chain is for; undefined for a chain of another kind. */
export function parseChainName(name: string): Class | undefined {
  const match = /^(plain|outsiders|masquerade)-(all|local)-([1-9]\d*)(?:-sticky-([1-9]\d*))?$/.exec(
    name,
  );
  if (match === null) return undefined;
  return {
    entry: match[1] as Entry,
    pool: match[2] as Pool,
    count: Number(match[3]),
    affinitySeconds: Number(match[4] ?? 0),
  };
}

/**
 * The classes of a frontend: the one its packets enter by and, for `bySource`, the one for the
 * node's own clients and the one for everybody else. Entry `source` has no chain of its own class.
 */
export function classesFor(frontend: Frontend, port: PortPlan): Class[] {
  const { affinitySeconds } = port;
  const entry = entryOf(frontend);
  const all = { pool: 'all', count: port.cluster.length, affinitySeconds } as const;
  const local = { pool: 'local', count: port.local.length, affinitySeconds } as const;
  if (frontend.pool === 'local') return [{ ...local, entry }];
  if (entry !== 'source') return [{ ...all, entry }];
  return [
    { ...all, entry },
    { ...all, entry: 'plain' },
    { ...local, entry: 'plain' },
  ];
}

/** How a frontend's connections enter. */
function entryOf(frontend: Frontend): Entry {
  if (frontend.pool === 'bySource') return 'source';
  if (frontend.masquerade === 'always') return 'masquerade';
  return frontend.masquerade === 'outsiders' ? 'outsiders' : 'plain';
}
