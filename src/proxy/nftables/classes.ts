/**
 * One small chain per class, not per Service. A class is how a connection is masqueraded, which
 * pool of endpoints it may reach, how many slots that has (`numgen` has its modulus in the rule),
 * how one of them is chosen and how long a client stays with its endpoint (`update` has its timeout
 * in the rule). Only taking turns needs a chain per Service port: the rule itself counts.
 */
import { assert } from '../../lib/errors.ts';
import { sourceSlotCount } from '../../plan/source-hash.ts';
import type { Frontend, PortPlan, Target } from '../../plan/types.ts';
import { numberWord } from './words.ts';

/** Where connections of a class are masqueraded; `source`: the source decides on everything. */
export type Entry = 'plain' | 'outsiders' | 'masquerade' | 'source';
export type Pool = 'all' | 'local';

/** How one of the slots is chosen: at random, by the source address, or in turn for one port. */
export type Choice =
  | { readonly kind: 'random' }
  | { readonly kind: 'source' }
  | { readonly kind: 'turn'; readonly portNumber: number };

export type Class = {
  readonly entry: Entry;
  readonly pool: Pool;
  /** Slots of the pool. */
  readonly count: number;
  readonly choice: Choice;
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
const CHOICE_SHIFT = 27;
const CHOICE_NUMBERS: Readonly<Record<Choice['kind'], number>> = { random: 0, source: 1, turn: 2 };
const COUNT_MAX = 2 ** 24 - 1;

/** Local endpoints have slots from here on, the others from 0. */
export const LOCAL_SLOTS = 2 ** 31;

/** No endpoints: no chain is found under this. */
export const NO_CLASS = numberWord(0) + numberWord(0);

/** What a class is looked up by: a word of its own and its affinity timeout, or the port's number. */
export function classWord(one: Class): string {
  if (one.count === 0) return NO_CLASS;
  assert(one.count <= COUNT_MAX, `a pool of ${one.count} endpoints has no class`);
  const entry = ENTRY_NUMBERS[one.entry] * 2 ** ENTRY_SHIFT;
  const pool = one.pool === 'local' ? 2 ** POOL_SHIFT : 0;
  const { choice } = one;
  const chosen = CHOICE_NUMBERS[choice.kind] * 2 ** CHOICE_SHIFT;
  const second = choice.kind === 'turn' ? choice.portNumber : one.affinitySeconds;
  return numberWord(entry + pool + chosen + one.count) + numberWord(second);
}

/**
 * `masquerade-all-3`, `plain-local-2-sticky-10800` or `plain-all-3-turn-1a2b3c4d`: stable, and far
 * below the kernel's 127.
 */
export function chainName({ entry, pool, count, choice, affinitySeconds }: Class): string {
  const turn = choice.kind === 'turn' ? `-${choice.portNumber.toString(16)}` : '';
  const chosen = choice.kind === 'random' ? '' : `-${choice.kind}${turn}`;
  const sticky = affinitySeconds === 0 ? '' : `-sticky-${affinitySeconds}`;
  return `${entry}-${pool}-${count}${chosen}${sticky}`;
}

const CHAIN_NAME =
  /^(plain|outsiders|masquerade)-(all|local)-([1-9]\d*)(-source|-turn-([1-9a-f][0-9a-f]*))?(?:-sticky-([1-9]\d*))?$/;

/** The class a chain is for; undefined for a chain of another kind. */
export function parseChainName(name: string): Class | undefined {
  const match = CHAIN_NAME.exec(name);
  if (match === null) return undefined;
  return {
    entry: match[1] as Entry,
    pool: match[2] as Pool,
    count: Number(match[3]),
    choice: parseChoice(match[4], match[5]),
    affinitySeconds: Number(match[6] ?? 0),
  };
}

function parseChoice(text: string | undefined, portNumber: string | undefined): Choice {
  if (portNumber !== undefined) {
    return { kind: 'turn', portNumber: Number.parseInt(portNumber, 16) };
  }
  return { kind: text === undefined ? 'random' : 'source' };
}

/**
 * The classes of a frontend: the one its packets enter by and, for `bySource`, the one for the
 * node's own clients and the one for everybody else. Entry `source` has no chain of its own class.
 */
export function classesFor(frontend: Frontend, port: PortPlan, portNumber: number): Class[] {
  const entry = entryOf(frontend);
  const shared = { affinitySeconds: port.affinitySeconds, choice: choiceOf(port, portNumber) };
  const all = { ...shared, pool: 'all', count: slotCount(port, port.cluster) } as const;
  const local = { ...shared, pool: 'local', count: slotCount(port, port.local) } as const;
  if (frontend.pool === 'local') return [{ ...local, entry }];
  if (entry !== 'source') return [{ ...all, entry }];
  return [
    { ...all, entry },
    { ...all, entry: 'plain' },
    { ...local, entry: 'plain' },
  ];
}

/**
 * The chains that classes need. Those that take turns share the plain one's, which counts: a
 * Service port has one rotation, whichever address a client uses.
 */
export function chainsFor(classes: readonly Class[]): Class[] {
  return classes
    .filter((one) => one.count > 0 && one.entry !== 'source')
    .flatMap((one) => (leadsToPlain(one) ? [plainOf(one), one] : [one]));
}

/** Whether the chain only marks, and leaves the choice to the plain one. */
export function leadsToPlain(one: Class): boolean {
  return one.choice.kind === 'turn' && one.entry !== 'plain';
}

export function plainOf(one: Class): Class {
  return { ...one, entry: 'plain' };
}

/** Endpoints have one slot each, but for those that are found by the hash of the source. */
export function slotCount(port: PortPlan, targets: readonly Target[]): number {
  return port.balancing === 'sourceHash' ? sourceSlotCount(targets.length) : targets.length;
}

function choiceOf({ balancing }: PortPlan, portNumber: number): Choice {
  if (balancing === 'roundRobin') return { kind: 'turn', portNumber };
  return { kind: balancing === 'sourceHash' ? 'source' : 'random' };
}

/** How a frontend's connections enter. */
function entryOf(frontend: Frontend): Entry {
  if (frontend.pool === 'bySource') return 'source';
  if (frontend.masquerade === 'always') return 'masquerade';
  return frontend.masquerade === 'outsiders' ? 'outsiders' : 'plain';
}
