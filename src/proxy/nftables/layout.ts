/** Our table in one family: its sets and chains, what makes them, and whether they are sound. */
import {
  addChain,
  addRule,
  addSet,
  addTable,
  deleteTable,
  flushChain,
  sameExpressions,
  type Chain,
  type NftConnection,
  type NftSet,
  type Transaction,
} from '../../kernel/nftables/index.ts';
import { WorldError } from '../../lib/errors.ts';
import type { IpFamily } from '../../lib/ip.ts';
import { parseChainName } from './classes.ts';
import type { SetName } from './program.ts';
import type { Rule, RuleContext } from './rule-parts.ts';
import { AFFINITY_SET, BASE_CHAINS, classRules, fixedChains } from './rules.ts';

/** We own tables of this name and nothing else (P135). */
export const TABLE = 'fairlead';

/** Clients that can be tied to endpoints at a time; more are served, but not tied. */
const AFFINITY_ENTRIES_MAX = 1_048_576;
/** Applies only to elements without a timeout of their own, of which there are none (P84). */
const AFFINITY_TIMEOUT_MS = 10_800_000;

export type TableRef = { readonly family: 'ip' | 'ip6'; readonly table: string };

export function tableOf(family: IpFamily): TableRef {
  return { family: family === 'ipv4' ? 'ip' : 'ip6', table: TABLE };
}

/** Every set and map; elements of `affinity` are the kernel's own business. */
export function setsOf(family: IpFamily): NftSet[] {
  const address = family === 'ipv4' ? 'ipv4_addr' : 'ipv6_addr';
  const frontend = [address, 'inet_proto', 'inet_service'] as const;
  const specs: Record<SetName | typeof AFFINITY_SET, Omit<NftSet, 'family' | 'table' | 'name'>> = {
    // Nothing (rules.ts), class to enter by, timeout, class for others, number of the Service port.
    frontends: { key: frontend, data: ['mark', 'mark', 'mark', 'mark', 'mark'] },
    // Number of the Service port, slot: address, port, sticky id.
    endpoints: { key: ['mark', 'mark'], data: [address, 'inet_service', 'mark'] },
    // Pool, sticky id, number of the Service port.
    sticky: { key: ['mark', 'mark', 'mark'], data: [address, 'inet_service'] },
    // Number of the Service port, client: nothing, sticky id.
    [AFFINITY_SET]: {
      key: ['mark', address],
      data: ['mark', 'mark'],
      flags: ['timeout', 'dynamic'],
      timeoutMs: AFFINITY_TIMEOUT_MS,
      size: AFFINITY_ENTRIES_MAX,
    },
    // Class, timeout.
    classes: { key: ['mark', 'mark'], data: 'verdict' },
    // Nothing, the owner of the ranges that sources must be in.
    restricted: { key: frontend, data: ['mark', 'mark'] },
    // Owner, address.
    ranges: { key: ['mark', address], flags: ['interval'] },
    rejected: { key: frontend },
    dropped: { key: frontend },
    'cluster-ips': { key: [address] },
    'node-ports': { key: ['inet_proto', 'inet_service'] },
    // Source, destination.
    hairpin: { key: [address, address] },
  };
  return Object.entries(specs).map(([name, spec]) => ({ ...tableOf(family), name, ...spec }));
}

/** What the kernel has of us: chains with sound rules, and messages that mend the rest. */
export type Inspection = {
  /** The table is not there, or not as we want it: it will be made anew, and empty. */
  readonly isNew: boolean;
  readonly repairs: Transaction;
  readonly classChains: ReadonlySet<string>;
};

/** Compares our table with what it should be. Elements are not looked at. */
export function inspect(connection: NftConnection, context: RuleContext): Inspection {
  const { family } = context;
  const of = tableOf(family);
  const tables = connection.tables(of.family);
  const found = tables.find((table) => table.name === TABLE);
  if (found?.owner !== undefined) throw ownedError(of.family, found.owner);
  if (found === undefined)
    return { isNew: true, repairs: createAll(context), classChains: new Set() };
  const chains = connection.chains(of);
  if (!setsAreSound(connection, family) || !chainsAreSound(chains, context)) {
    const drop = deleteTable({ family: of.family, name: TABLE });
    return { isNew: true, repairs: [drop, ...createAll(context)], classChains: new Set() };
  }
  const rulesOf = Map.groupBy(connection.rules(of), (rule) => rule.chain);
  const repairs: Transaction[] = [];
  const classChains = new Set<string>();
  const fixed = fixedChains(context);
  for (const { name } of chains) {
    const present = rulesOf.get(name) ?? [];
    const one = parseChainName(name);
    const wanted = one ? classRules(context, one) : (fixed.get(name) ?? []);
    if (!sameRules(present, wanted)) {
      repairs.push([flushChain({ ...of, chain: name }), ...addRules(family, name, wanted)]);
    }
    if (one) classChains.add(name);
  }
  return { isNew: false, repairs: repairs.flat(), classChains };
}

/** Only the owner may change such a table, and it goes when its socket is closed. */
function ownedError(family: string, owner: number): WorldError {
  return new WorldError(
    'TABLE_OWNED',
    `Cannot use table "${TABLE}" (${family}): the process with netlink port ${owner} owns it`,
  );
}

/** A chain and its rules. */
export function createChainWithRules(
  family: IpFamily,
  name: string,
  rules: readonly Rule[],
): Transaction {
  return [addChain({ ...tableOf(family), name }), ...addRules(family, name, rules)];
}

/** Sets first, then chains, then rules, since rules name both. */
function createAll(context: RuleContext): Transaction {
  const { family } = context;
  const of = tableOf(family);
  const chains = fixedChains(context);
  return [
    addTable({ family: of.family, name: TABLE }),
    ...setsOf(family).map(addSet),
    ...[...chains.keys()].map((name) => addChain(chainSpec(family, name))),
    ...[...chains].flatMap(([name, rules]) => addRules(family, name, rules)),
  ];
}

function addRules(family: IpFamily, chain: string, rules: readonly Rule[]): Transaction {
  return rules.map((rule) => addRule({ ...tableOf(family), chain, ...rule }));
}

function chainSpec(family: IpFamily, name: string): Chain {
  const base = BASE_CHAINS.find((one) => one.name === name);
  if (base === undefined) return { ...tableOf(family), name };
  const { type, hook, priority } = base;
  return { ...tableOf(family), name, base: { type, hook, priority } };
}

function setsAreSound(connection: NftConnection, family: IpFamily): boolean {
  const present = new Map(connection.sets(tableOf(family)).map((set) => [set.name, set]));
  const wanted = setsOf(family);
  return (
    present.size === wanted.length &&
    wanted.every((want) => {
      const have = present.get(want.name);
      return have !== undefined && setText(have) === setText(want);
    })
  );
}

/** What elements depend on; a limit or a default timeout may differ between versions. */
function setText({ key, data, flags = [] }: NftSet): string {
  return JSON.stringify([key, data, flags.toSorted()]);
}

/** All fixed chains are there with their hooks, and none that we have no name for. */
function chainsAreSound(present: readonly Chain[], context: RuleContext): boolean {
  const known = new Map(present.map((chain) => [chain.name, chain]));
  const fixed = fixedChains(context);
  const complete = [...fixed.keys()].every((name) => {
    const have = known.get(name);
    return have !== undefined && baseText(have) === baseText(chainSpec(context.family, name));
  });
  return complete && present.every(({ name }) => fixed.has(name) || parseChainName(name));
}

function baseText({ base }: Chain): string {
  const policy = base?.policy ?? 'accept';
  return base ? [base.type, base.hook, base.priority, policy].join(' ') : '';
}

function sameRules(present: readonly Rule[], wanted: readonly Rule[]): boolean {
  return (
    present.length === wanted.length &&
    present.every((rule, index) =>
      sameExpressions(rule.expressions, wanted[index]?.expressions ?? []),
    )
  );
}
