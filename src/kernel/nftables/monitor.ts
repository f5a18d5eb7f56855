/** Tells of changes to the ruleset as they happen: `nft monitor`. */
import { NETLINK_NETFILTER } from '../netlink/constants.ts';
import type { ReceivedMessage } from '../netlink/message.ts';
import { NetlinkSocket } from '../netlink/socket.ts';
import {
  NFNLGRP_NFTABLES,
  NFT_MSG_DELCHAIN,
  NFT_MSG_DELRULE,
  NFT_MSG_DELSET,
  NFT_MSG_DELSETELEM,
  NFT_MSG_DELTABLE,
  NFT_MSG_NEWCHAIN,
  NFT_MSG_NEWGEN,
  NFT_MSG_NEWRULE,
  NFT_MSG_NEWSET,
  NFT_MSG_NEWSETELEM,
  NFT_MSG_NEWTABLE,
} from './constants.ts';
import { decodeNftBody, nftMessageType, type Family } from './family.ts';
import { decodeGeneration, type Generation } from './generation.ts';

/** A kind of object that comes or goes. Elements added by rules tell nothing. */
export type RulesetObject = 'table' | 'chain' | 'rule' | 'set' | 'element';

/**
 * What changed. `generation` closes the events of one transaction; `overrun` says that some were
 * lost, so that the ruleset must be read again. `portId` is the socket that made the change.
 */
export type RulesetEvent =
  | {
      readonly kind: RulesetObject;
      readonly deleted: boolean;
      readonly family: Family;
      readonly table: string;
      readonly portId: number;
      /** The body of the message, for the decoder of its kind. */
      readonly body: Uint8Array;
    }
  | { readonly kind: 'generation'; readonly portId: number; readonly generation: Generation }
  | { readonly kind: 'overrun' };

const KINDS = new Map<number, { kind: RulesetObject; deleted: boolean }>([
  [NFT_MSG_NEWTABLE, { kind: 'table', deleted: false }],
  [NFT_MSG_DELTABLE, { kind: 'table', deleted: true }],
  [NFT_MSG_NEWCHAIN, { kind: 'chain', deleted: false }],
  [NFT_MSG_DELCHAIN, { kind: 'chain', deleted: true }],
  [NFT_MSG_NEWRULE, { kind: 'rule', deleted: false }],
  [NFT_MSG_DELRULE, { kind: 'rule', deleted: true }],
  [NFT_MSG_NEWSET, { kind: 'set', deleted: false }],
  [NFT_MSG_DELSET, { kind: 'set', deleted: true }],
  [NFT_MSG_NEWSETELEM, { kind: 'element', deleted: false }],
  [NFT_MSG_DELSETELEM, { kind: 'element', deleted: true }],
]);

/** The name of its table is the first attribute of every object (`NFTA_*_TABLE`). */
const NFTA_TABLE = 1;

/** Calls back with each change in the calling thread's namespace, until disposed. */
export function monitorRuleset(callback: (event: RulesetEvent) => void): Disposable {
  const socket = new NetlinkSocket(NETLINK_NETFILTER, { groups: [NFNLGRP_NFTABLES] });
  socket.listen((messages) => {
    if (messages === 'overrun') {
      callback({ kind: 'overrun' });
      return;
    }
    for (const message of messages) {
      const event = decodeRulesetEvent(message);
      if (event !== undefined) callback(event);
    }
  });
  return socket;
}

/** What a notification says; undefined for one of another kind. Throws `DecodeError`. */
export function decodeRulesetEvent(message: ReceivedMessage): RulesetEvent | undefined {
  const type = nftMessageType(message.type);
  if (type === undefined) return undefined;
  const { portId, body } = message;
  if (type === NFT_MSG_NEWGEN) {
    return { kind: 'generation', portId, generation: decodeGeneration(body) };
  }
  const what = KINDS.get(type);
  if (what === undefined) return undefined;
  const { family, attrs } = decodeNftBody(body);
  return { ...what, family, table: attrs.string(NFTA_TABLE) ?? '', portId, body };
}
