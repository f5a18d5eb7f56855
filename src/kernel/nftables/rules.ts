/** Rules: `nft add rule`. */
import { attr, required, type Attr } from '../netlink/attr.ts';
import { NLM_F_APPEND, NLM_F_CREATE, NLM_F_REPLACE } from '../netlink/constants.ts';
import type { Message } from '../netlink/message.ts';
import type { ChainRef } from './chains.ts';
import {
  NFT_MSG_DELRULE,
  NFT_MSG_GETRULE,
  NFT_MSG_NEWRULE,
  NFTA_RULE_CHAIN,
  NFTA_RULE_EXPRESSIONS,
  NFTA_RULE_HANDLE,
  NFTA_RULE_POSITION,
  NFTA_RULE_TABLE,
  NFTA_RULE_USERDATA,
} from './constants.ts';
import { decodeExpressions, expressionAttr, type Expression } from './expressions/index.ts';
import { decodeNftBody, given, nftMessage, type Family } from './family.ts';
import type { TableRef } from './tables.ts';
import { commentValue, decodeComment, encodeUserData } from './userdata.ts';

const COMMENT = 0;

export type Rule = ChainRef & {
  readonly expressions: readonly Expression[];
  readonly comment?: string;
  /** The kernel's number for it; only in what was read. */
  readonly handle?: bigint;
};

/** `nft add rule <family> <table> <chain> …`: after the others, or after the one with `after`. */
export function addRule(rule: Rule, after?: bigint): Message {
  return ruleMessage(NLM_F_CREATE | NLM_F_APPEND, rule, position(after));
}

/** `nft insert rule …`: before the others, or before the one with `before`. */
export function insertRule(rule: Rule, before?: bigint): Message {
  return ruleMessage(NLM_F_CREATE, rule, position(before));
}

/** `nft replace rule … handle <handle> …` */
export function replaceRule(rule: Rule, handle: bigint): Message {
  return ruleMessage(NLM_F_REPLACE, rule, [attr.u64be(NFTA_RULE_HANDLE, handle)]);
}

/** `nft delete rule <family> <table> <chain> handle <handle>` */
export function deleteRule(chain: ChainRef, handle: bigint): Message {
  const attrs = [...chainAttrs(chain), attr.u64be(NFTA_RULE_HANDLE, handle)];
  return nftMessage(NFT_MSG_DELRULE, { family: chain.family, attrs });
}

/** `nft flush chain <family> <table> <chain>` */
export function flushChain(chain: ChainRef): Message {
  return nftMessage(NFT_MSG_DELRULE, { family: chain.family, attrs: chainAttrs(chain) });
}

/** `nft flush table <family> <table>`: every rule goes, chains and sets stay. */
export function flushTable({ family, table }: TableRef): Message {
  return nftMessage(NFT_MSG_DELRULE, { family, attrs: [attr.string(NFTA_RULE_TABLE, table)] });
}

/** The rules of a family, a table or a chain. */
export function listRules(of: { family?: Family; table?: string; chain?: string } = {}): Message {
  return nftMessage(NFT_MSG_GETRULE, {
    family: of.family ?? 'unspec',
    attrs: [
      ...given(of.table, (table) => attr.string(NFTA_RULE_TABLE, table)),
      ...given(of.chain, (chain) => attr.string(NFTA_RULE_CHAIN, chain)),
    ],
  });
}

/** Reads the body of `NFT_MSG_NEWRULE` and `NFT_MSG_DELRULE`. */
export function decodeRule(body: Uint8Array): Rule {
  const { family, attrs } = decodeNftBody(body);
  const list = attrs.nested(NFTA_RULE_EXPRESSIONS);
  const comment = decodeComment(attrs.bytes(NFTA_RULE_USERDATA), COMMENT);
  const handle = attrs.u64be(NFTA_RULE_HANDLE);
  return {
    family,
    table: required(attrs.string(NFTA_RULE_TABLE), 'table name'),
    chain: required(attrs.string(NFTA_RULE_CHAIN), 'chain name'),
    expressions: list === undefined ? [] : decodeExpressions(list),
    ...(comment !== undefined && { comment }),
    ...(handle !== undefined && { handle }),
  };
}

function position(handle: bigint | undefined): Attr[] {
  return handle === undefined ? [] : [attr.u64be(NFTA_RULE_POSITION, handle)];
}

function chainAttrs(chain: ChainRef): Attr[] {
  return [attr.string(NFTA_RULE_TABLE, chain.table), attr.string(NFTA_RULE_CHAIN, chain.chain)];
}

function ruleMessage(flags: number, rule: Rule, place: Attr[]): Message {
  return nftMessage(NFT_MSG_NEWRULE, {
    family: rule.family,
    flags,
    attrs: [
      ...chainAttrs(rule),
      ...place,
      attr.nested(NFTA_RULE_EXPRESSIONS, rule.expressions.map(expressionAttr)),
      ...given(rule.comment, (comment) =>
        attr.bytes(
          NFTA_RULE_USERDATA,
          encodeUserData([{ type: COMMENT, value: commentValue(comment) }]),
        ),
      ),
    ],
  });
}
