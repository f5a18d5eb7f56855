/** Chains: `nft add chain`. */
import { attr, DecodeError, required, type Attr, type Attributes } from '../netlink/attr.ts';
import { NLM_F_CREATE, NLM_F_EXCL } from '../netlink/constants.ts';
import type { Message } from '../netlink/message.ts';
import {
  NF_ACCEPT,
  NF_DROP,
  NFT_MSG_DELCHAIN,
  NFT_MSG_DESTROYCHAIN,
  NFT_MSG_GETCHAIN,
  NFT_MSG_NEWCHAIN,
  NFTA_CHAIN_HANDLE,
  NFTA_CHAIN_HOOK,
  NFTA_CHAIN_NAME,
  NFTA_CHAIN_POLICY,
  NFTA_CHAIN_TABLE,
  NFTA_CHAIN_TYPE,
  NFTA_CHAIN_USE,
  NFTA_CHAIN_USERDATA,
  NFTA_HOOK_HOOKNUM,
  NFTA_HOOK_PRIORITY,
} from './constants.ts';
import { nameOf } from './expressions/codec.ts';
import { decodeNftBody, given, nftMessage, type Family } from './family.ts';
import type { TableRef } from './tables.ts';
import { commentValue, decodeComment, encodeUserData } from './userdata.ts';

/** `NF_INET_*` of include/uapi/linux/netfilter.h. */
const INET_HOOKS = {
  prerouting: 0,
  input: 1,
  forward: 2,
  output: 3,
  postrouting: 4,
  ingress: 5,
} as const;

const NETDEV_HOOKS = { ingress: 0, egress: 1 } as const;
const ARP_HOOKS = { input: 0, output: 1, forward: 2 } as const;
const POLICIES = { accept: NF_ACCEPT, drop: NF_DROP } as const;
const COMMENT = 0;

export type Hook = keyof typeof INET_HOOKS | keyof typeof NETDEV_HOOKS;

/** Where in its way through the host a packet meets the chain. */
export type BaseChain = {
  readonly type: 'filter' | 'nat' | 'route';
  readonly hook: Hook;
  /** Lower ones come first; `PRIORITY` has those with names. */
  readonly priority: number;
  /** Default: accept. */
  readonly policy?: keyof typeof POLICIES;
};

/** Priorities with names (`NF_IP_PRI_*`). */
export const PRIORITY = {
  raw: -300,
  mangle: -150,
  dstnat: -100,
  filter: 0,
  security: 50,
  srcnat: 100,
} as const;

/** Names a chain. */
export type ChainRef = TableRef & { readonly chain: string };

/** A chain; without `base` only other chains lead to it. */
export type Chain = TableRef & {
  readonly name: string;
  readonly base?: BaseChain;
  readonly comment?: string;
  /** The kernel's number for it; only in what was read. */
  readonly handle?: bigint;
  /** How many rules it has and lead to it; only in what was read. */
  readonly use?: number;
};

/** `nft add chain <family> <table> <name> { … }` */
export function addChain(chain: Chain): Message {
  return chainMessage(NLM_F_CREATE, chain);
}

/** `nft create chain …`: refused when it is there. */
export function createChain(chain: Chain): Message {
  return chainMessage(NLM_F_CREATE | NLM_F_EXCL, chain);
}

/** `nft delete chain <family> <table> <name>` */
export function deleteChain(chain: Pick<Chain, 'family' | 'table' | 'name'>): Message {
  return nftMessage(NFT_MSG_DELCHAIN, { family: chain.family, attrs: refAttrs(chain) });
}

/** `nft destroy chain …`: nothing when there is none (kernel >= 6.3). */
export function destroyChain(chain: Pick<Chain, 'family' | 'table' | 'name'>): Message {
  return nftMessage(NFT_MSG_DESTROYCHAIN, { family: chain.family, attrs: refAttrs(chain) });
}

/** `nft list chains [<family>]`; the kernel cannot narrow it to a table. */
export function listChains(family?: Family): Message {
  return nftMessage(NFT_MSG_GETCHAIN, { family: family ?? 'unspec', attrs: [] });
}

/** Reads the body of `NFT_MSG_NEWCHAIN` and `NFT_MSG_DELCHAIN`. */
export function decodeChain(body: Uint8Array): Chain {
  const { family, attrs } = decodeNftBody(body);
  const base = decodeBase(family, attrs);
  const comment = decodeComment(attrs.bytes(NFTA_CHAIN_USERDATA), COMMENT);
  const handle = attrs.u64be(NFTA_CHAIN_HANDLE);
  const use = attrs.u32be(NFTA_CHAIN_USE);
  return {
    family,
    table: required(attrs.string(NFTA_CHAIN_TABLE), 'table name'),
    name: required(attrs.string(NFTA_CHAIN_NAME), 'chain name'),
    ...(base !== undefined && { base }),
    ...(comment !== undefined && { comment }),
    ...(handle !== undefined && { handle }),
    ...(use !== undefined && { use }),
  };
}

function decodeBase(family: Family, attrs: Attributes): BaseChain | undefined {
  const hook = attrs.nested(NFTA_CHAIN_HOOK);
  if (hook === undefined) return undefined;
  const number = required(hook.u32be(NFTA_HOOK_HOOKNUM), 'hook number');
  const policy = attrs.u32be(NFTA_CHAIN_POLICY);
  const type = attrs.string(NFTA_CHAIN_TYPE);
  if (type !== 'filter' && type !== 'nat' && type !== 'route') {
    throw new DecodeError(`chain type "${type}" is unknown`);
  }
  return {
    type,
    hook: nameOf<Hook>(hooksOf(family) as Record<Hook, number>, number, 'hook'),
    priority: required(hook.u32be(NFTA_HOOK_PRIORITY), 'priority') | 0,
    ...(policy !== undefined && { policy: nameOf(POLICIES, policy, 'policy') }),
  };
}

function hooksOf(family: Family): Partial<Record<Hook, number>> {
  if (family === 'netdev') return NETDEV_HOOKS;
  return family === 'arp' ? ARP_HOOKS : INET_HOOKS;
}

function refAttrs(chain: Pick<Chain, 'table' | 'name'>): Attr[] {
  return [attr.string(NFTA_CHAIN_TABLE, chain.table), attr.string(NFTA_CHAIN_NAME, chain.name)];
}

function chainMessage(flags: number, chain: Chain): Message {
  return nftMessage(NFT_MSG_NEWCHAIN, {
    family: chain.family,
    flags,
    attrs: [
      ...refAttrs(chain),
      ...(chain.base === undefined ? [] : baseAttrs(chain.family, chain.base)),
      ...given(chain.comment, (comment) =>
        attr.bytes(
          NFTA_CHAIN_USERDATA,
          encodeUserData([{ type: COMMENT, value: commentValue(comment) }]),
        ),
      ),
    ],
  });
}

function baseAttrs(family: Family, base: BaseChain): Attr[] {
  const hook = hooksOf(family)[base.hook];
  if (hook === undefined) throw new RangeError(`a table for ${family} has no hook ${base.hook}`);
  return [
    attr.string(NFTA_CHAIN_TYPE, base.type),
    ...given(base.policy, (policy) => attr.u32be(NFTA_CHAIN_POLICY, POLICIES[policy])),
    attr.nested(NFTA_CHAIN_HOOK, [
      attr.u32be(NFTA_HOOK_HOOKNUM, hook),
      attr.u32be(NFTA_HOOK_PRIORITY, base.priority >>> 0),
    ]),
  ];
}
