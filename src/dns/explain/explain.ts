/** A name as typed somewhere, followed through search list, server and objects to its addresses. */
import { candidates, goesOn, type Libc, type Resolver, type Status } from './expansion.ts';
import type { Step } from './trace.ts';

/** How one C library fares. */
export type Walk = {
  readonly libc: Libc;
  /** Names in the order asked, with their final dot; it stopped after the last. */
  readonly asked: readonly string[];
  /** Names it would have asked for after that. */
  readonly notAsked: readonly string[];
  readonly status: Status;
};

export type Explanation = {
  readonly name: string;
  readonly resolver: Resolver;
  /** Every question that some library asks, once, in order. */
  readonly steps: readonly Step[];
  readonly walks: readonly Walk[];
};

/** What is asked of each name: one question per type. */
export type AskName = (name: string) => Promise<readonly Step[]>;

const libcs: readonly Libc[] = ['glibc', 'musl'];

/** Asks what the libraries would ask, each question once. */
export async function explainName(
  name: string,
  resolver: Resolver,
  ask: AskName,
): Promise<Explanation> {
  const known = new Map<string, readonly Step[]>();
  const askOnce = async (full: string): Promise<readonly Step[]> => {
    const steps = known.get(full) ?? (await ask(full));
    known.set(full, steps);
    return steps;
  };
  const walks: Walk[] = [];
  for (const libc of libcs) walks.push(await walk(libc, candidates(name, resolver, libc), askOnce));
  return { name, resolver, steps: [...known.values()].flat(), walks };
}

async function walk(libc: Libc, names: readonly string[], ask: AskName): Promise<Walk> {
  const asked: string[] = [];
  let status: Status = 'missing';
  for (const name of names) {
    asked.push(name);
    status = statusOf(await ask(name));
    if (!goesOn(libc, status)) break;
  }
  return { libc, asked, notAsked: names.slice(asked.length), status };
}

/** What came of all types together: one answer is enough. */
export function statusOf(steps: readonly Step[]): Status {
  const has = (status: Status) => steps.some((step) => step.status === status);
  if (has('answered')) return 'answered';
  if (has('failed')) return 'failed';
  return has('empty') ? 'empty' : 'missing';
}
