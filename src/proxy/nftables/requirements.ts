/** What our rules need of a kernel, and which of it this one lacks. */
import {
  addChain,
  addRule,
  addSet,
  addTable,
  deleteTable,
  registerAt,
  type Expression,
  type NftConnection,
  type NftSet,
  type Transaction,
} from '../../kernel/nftables/index.ts';
import { NetlinkError } from '../../kernel/netlink/netlink-error.ts';
import { NotSupported } from '../../lib/errors.ts';
import type { IpFamily } from '../../lib/ip.ts';

/** A table that exists within a transaction only. */
const PROBE_TABLE = 'fairlead-probe';

/** Something a kernel may have been built without, and since which version there is it. */
export type Feature = {
  readonly name: string;
  readonly since: string;
  readonly expressions?: readonly Expression[];
  /** Looked up by nobody: whether the kernel can make it is what counts. */
  readonly set?: Pick<NftSet, 'key' | 'data' | 'flags' | 'size'>;
  /** Where the expression is allowed in chains of one hook only. */
  readonly chain?: 'postrouting' | 'input';
};

const slot = registerAt(0);

/** Versions are those in which the last part that we use appeared. */
export const FEATURES: readonly Feature[] = [
  {
    name: 'nf_tables random numbers (NFT_NUMGEN)',
    since: '4.9',
    expressions: [{ kind: 'numgen', type: 'random', dreg: slot, modulus: 2 }],
  },
  {
    name: 'nf_tables hashes (NFT_HASH)',
    since: '4.12',
    expressions: [
      { kind: 'meta', key: 'mark', dreg: slot },
      { kind: 'hash', type: 'jhash', sreg: slot, dreg: slot, length: 4, modulus: 2, seed: 1 },
    ],
  },
  {
    name: 'nf_tables route lookups (NFT_FIB)',
    since: '4.10',
    expressions: [{ kind: 'fib', dreg: slot, result: 'type', flags: ['saddr'] }],
  },
  {
    name: 'nf_tables rejects (NFT_REJECT)',
    since: '3.14',
    expressions: [{ kind: 'reject', type: 'icmp', code: 3 }],
  },
  {
    name: 'nf_tables connection tracking (NFT_CT)',
    since: '3.18',
    expressions: [{ kind: 'ct', key: 'state', dreg: slot }],
  },
  {
    name: 'nf_tables socket lookups (NFT_SOCKET)',
    since: '4.18',
    expressions: [{ kind: 'socket', key: 'transparent', dreg: slot }],
    chain: 'input',
  },
  {
    name: 'nf_tables masquerading (NFT_MASQ)',
    since: '3.18',
    expressions: [{ kind: 'masq', flags: ['fully-random'] }],
    chain: 'postrouting',
  },
  {
    name: 'nf_tables sets of ranges of several fields (pipapo)',
    since: '5.6',
    set: { key: ['mark', 'ipv4_addr'], flags: ['interval'] },
  },
  {
    name: 'nf_tables maps that rules write to',
    since: '5.4',
    set: {
      key: ['mark', 'ipv4_addr'],
      data: ['mark', 'mark'],
      flags: ['timeout', 'dynamic'],
      size: 16,
    },
  },
];

/** Asks the kernel for each feature by itself; nothing remains of it. */
export function missingFeatures(
  connection: NftConnection,
  family: IpFamily,
  features: readonly Feature[] = FEATURES,
): Feature[] {
  return features.filter((feature) => {
    try {
      connection.apply(probe(family, feature), { tried: `try ${feature.name}` });
      return false;
    } catch (error) {
      if (error instanceof NetlinkError) return true;
      throw error;
    }
  });
}

/** The error of a kernel that cannot have our table; undefined when it lacks nothing. */
export function notSupported(missing: readonly Feature[]): NotSupported | undefined {
  if (missing.length === 0) return undefined;
  const names = missing.map(({ name }) => name).join(', ');
  const since = missing.map(({ name, since: version }) => `${version} for ${name}`).join(', ');
  return new NotSupported(names, `Linux ${since}, with the option or module switched on`);
}

const BASES = {
  postrouting: { type: 'nat', hook: 'postrouting', priority: 100 },
  input: { type: 'filter', hook: 'input', priority: 0 },
} as const;

function probe(family: IpFamily, { expressions, set, chain }: Feature): Transaction {
  const of = { family: family === 'ipv4' ? 'ip' : 'ip6', table: PROBE_TABLE } as const;
  const made = { ...of, name: 'probe', ...(chain === undefined ? {} : { base: BASES[chain] }) };
  return [
    addTable({ family: of.family, name: PROBE_TABLE }),
    addChain(made),
    ...(expressions === undefined ? [] : [addRule({ ...of, chain: 'probe', expressions })]),
    ...(set === undefined ? [] : [addSet({ ...of, name: 'probe', ...set })]),
    deleteTable({ family: of.family, name: PROBE_TABLE }),
  ];
}
