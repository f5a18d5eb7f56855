/** `loadbalance weighted` and `prefer`: which address comes first, by a file or by its subnet (D82). */
import { readFileSync } from 'node:fs';

import type { Clock } from '../../lib/clock.ts';
import { messageOf } from '../../lib/errors.ts';
import { canonicalIp, cidrContains, formatIp, type Cidr } from '../../lib/ip.ts';
import type { Logger } from '../../lib/log.ts';
import { balance } from '../balance.ts';
import type { LoadbalanceSettings } from '../config/types.ts';
import { whenDone, type Answer, type Answered, type Ask, type Next, type Stage } from '../stage.ts';
import { RCODE, rcodeOf, TYPE, type ResourceRecord } from '../wire/message.ts';
import { foldCase, parseName, type Name } from '../wire/name.ts';

type Surroundings = {
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger | undefined;
};

/** Weights of addresses by folded owner. */
export type Weights = ReadonlyMap<Name, ReadonlyMap<string, number>>;

export class LoadbalanceStage implements Stage {
  readonly name = 'loadbalance';
  readonly #settings: LoadbalanceSettings;
  readonly #surroundings: Surroundings;
  #weights: Weights = new Map();
  #cancel: (() => void) | undefined;

  constructor(settings: LoadbalanceSettings, surroundings: Surroundings) {
    this.#settings = settings;
    this.#surroundings = surroundings;
    this.#read();
  }

  start(): void {
    const { weights } = this.#settings;
    if (weights === undefined || weights.reloadMs === 0) return;
    this.#cancel = this.#surroundings.clock.after(weights.reloadMs, () => {
      this.#read();
      this.start();
    });
  }

  stop(): void {
    this.#cancel?.();
  }

  answer(ask: Ask, next: Next): Answered {
    return whenDone(next(ask), (answer) =>
      rcodeOf(answer) === RCODE.NOERROR ? this.#ordered(ask, answer) : answer,
    );
  }

  #ordered(ask: Ask, answer: Answer): Answer {
    const order = (records: readonly ResourceRecord[]) => this.#order(ask, records);
    return {
      ...answer,
      answers: order(answer.answers),
      authorities: this.#settings.weights ? answer.authorities : order(answer.authorities),
      additionals: order(answer.additionals),
    };
  }

  #order(ask: Ask, records: readonly ResourceRecord[]): readonly ResourceRecord[] {
    const { weights, prefer } = this.#settings;
    const { random } = this.#surroundings;
    const mixed =
      weights === undefined
        ? balance(records, random)
        : weightedFirst(ask, records, { weights: this.#weights, random });
    return prefer.length === 0 ? mixed : preferredFirst(mixed, prefer);
  }

  /** A file that cannot be used leaves the weights as they were. */
  #read(): void {
    const { weights } = this.#settings;
    if (weights === undefined) return;
    try {
      this.#weights = parseWeights(readFileSync(weights.path, 'utf8'));
    } catch (error) {
      const facts = { file: weights.path, error: messageOf(error) };
      this.#surroundings.log?.error(facts, 'weights are not read');
    }
  }
}

const weighted: ReadonlySet<number> = new Set([TYPE.A, TYPE.AAAA, TYPE.SRV]);

/** One address is drawn by weight and changes places with the first; the others stay. */
function weightedFirst(
  { query }: Ask,
  records: readonly ResourceRecord[],
  { weights, random }: { readonly weights: Weights; readonly random: () => number },
): readonly ResourceRecord[] {
  if (!weighted.has(query.question.type)) return records;
  const others = records.filter((record) => !isAddress(record));
  const aliases = others.filter(({ type }) => type === TYPE.CNAME);
  const addresses = records.filter(isAddress);
  if (addresses.length < 2) return records;
  const weightOf = (record: ResourceRecord) =>
    weights.get(foldCase(record.name))?.get(textOf(record)) ?? 1;
  const total = addresses.reduce((sum, record) => sum + weightOf(record), 0);
  let drawn = random() * total;
  const top = addresses.findIndex((record) => (drawn -= weightOf(record)) < 0);
  const at = Math.max(0, top);
  const swapped = addresses.with(0, addresses[at]!).with(at, addresses[0]!);
  return [...aliases, ...swapped, ...others.filter(({ type }) => type !== TYPE.CNAME)];
}

/** Aliases, then addresses of the subnets in their order, then the rest. */
function preferredFirst(
  records: readonly ResourceRecord[],
  prefer: readonly Cidr[],
): readonly ResourceRecord[] {
  const rankOf = (record: ResourceRecord) => {
    if (record.type === TYPE.CNAME) return -1;
    if (!isAddress(record)) return prefer.length + 1;
    const found = prefer.findIndex((cidr) => cidrContains(cidr, textOf(record)));
    return found < 0 ? prefer.length : found;
  };
  return records.toSorted((a, b) => rankOf(a) - rankOf(b));
}

function isAddress({ type }: ResourceRecord): boolean {
  return type === TYPE.A || type === TYPE.AAAA;
}

function textOf({ data: [bytes] }: ResourceRecord): string {
  return bytes instanceof Uint8Array ? formatIp(bytes) : '';
}

/** A name on a line of its own, then `ADDRESS WEIGHT` on each; throws an error that names the line. */
export function parseWeights(text: string): Weights {
  const all = new Map<Name, Map<string, number>>();
  let current: Map<string, number> | undefined;
  for (const line of text.split('\n').map((one) => one.trim())) {
    if (line === '' || line.startsWith('#')) continue;
    const [first = '', weightText, more] = line.split(/\s+/);
    const address = canonicalIp(first);
    const weight = Number(weightText);
    const isWeight = /^\d+$/.test(weightText ?? '') && weight >= 1 && weight <= 255;
    const name = weightText === undefined && address === undefined ? parseName(first) : undefined;
    if (name !== undefined) {
      current = all.get(foldCase(name)) ?? new Map();
      all.set(foldCase(name), current);
    } else if (address === undefined || !isWeight || more !== undefined || current === undefined) {
      throw new Error(`"${line}" is neither a name nor an address and a weight of 1 to 255`);
    } else {
      current.set(address, weight);
    }
  }
  return all;
}
