/** Tables: `nft add table`. */
import { attr, required } from '../netlink/attr.ts';
import { NLM_F_CREATE, NLM_F_EXCL } from '../netlink/constants.ts';
import type { Message } from '../netlink/message.ts';
import {
  NFT_MSG_DELTABLE,
  NFT_MSG_DESTROYTABLE,
  NFT_MSG_GETTABLE,
  NFT_MSG_NEWTABLE,
  NFT_TABLE_F_DORMANT,
  NFT_TABLE_F_OWNER,
  NFT_TABLE_F_PERSIST,
  NFTA_TABLE_FLAGS,
  NFTA_TABLE_HANDLE,
  NFTA_TABLE_NAME,
  NFTA_TABLE_OWNER,
  NFTA_TABLE_USERDATA,
} from './constants.ts';
import { bitsOf, namesOf } from './expressions/codec.ts';
import { decodeNftBody, given, nftMessage, type Family } from './family.ts';
import { commentValue, decodeComment, encodeUserData } from './userdata.ts';

const FLAGS = {
  dormant: NFT_TABLE_F_DORMANT,
  owner: NFT_TABLE_F_OWNER,
  persist: NFT_TABLE_F_PERSIST,
} as const;

const COMMENT = 0;

/** Names a table. */
export type TableRef = { readonly family: Family; readonly table: string };

export type Table = {
  readonly family: Family;
  readonly name: string;
  readonly flags?: readonly (keyof typeof FLAGS)[];
  readonly comment?: string;
  /** The kernel's number for it; only in what was read. */
  readonly handle?: bigint;
  /** Port id of the socket that owns it; only in what was read. */
  readonly owner?: number;
};

/** `nft add table <family> <name>` */
export function addTable(table: Table): Message {
  return tableMessage(0, table);
}

/** `nft create table <family> <name>`: refused when it is there. */
export function createTable(table: Table): Message {
  return tableMessage(NLM_F_CREATE | NLM_F_EXCL, table);
}

/** `nft delete table <family> <name>` */
export function deleteTable({ family, name }: Pick<Table, 'family' | 'name'>): Message {
  return nftMessage(NFT_MSG_DELTABLE, { family, attrs: [attr.string(NFTA_TABLE_NAME, name)] });
}

/** `nft destroy table <family> <name>`: nothing when there is none (kernel >= 6.3). */
export function destroyTable({ family, name }: Pick<Table, 'family' | 'name'>): Message {
  return nftMessage(NFT_MSG_DESTROYTABLE, { family, attrs: [attr.string(NFTA_TABLE_NAME, name)] });
}

/** `nft list tables [<family>]` */
export function listTables(family?: Family): Message {
  return nftMessage(NFT_MSG_GETTABLE, { family: family ?? 'unspec', attrs: [] });
}

/** Reads the body of `NFT_MSG_NEWTABLE` and `NFT_MSG_DELTABLE`. */
export function decodeTable(body: Uint8Array): Table {
  const { family, attrs } = decodeNftBody(body);
  const flags = namesOf(FLAGS, attrs.u32be(NFTA_TABLE_FLAGS) ?? 0);
  const comment = decodeComment(attrs.bytes(NFTA_TABLE_USERDATA), COMMENT);
  const handle = attrs.u64be(NFTA_TABLE_HANDLE);
  const owner = attrs.u32be(NFTA_TABLE_OWNER);
  return {
    family,
    name: required(attrs.string(NFTA_TABLE_NAME), 'table name'),
    ...(flags.length > 0 && { flags }),
    ...(comment !== undefined && { comment }),
    ...(handle !== undefined && { handle }),
    ...(owner !== undefined && { owner }),
  };
}

function tableMessage(flags: number, table: Table): Message {
  return nftMessage(NFT_MSG_NEWTABLE, {
    family: table.family,
    flags,
    attrs: [
      attr.string(NFTA_TABLE_NAME, table.name),
      attr.u32be(NFTA_TABLE_FLAGS, bitsOf(FLAGS, table.flags)),
      ...given(table.comment, (comment) =>
        attr.bytes(
          NFTA_TABLE_USERDATA,
          encodeUserData([{ type: COMMENT, value: commentValue(comment) }]),
        ),
      ),
    ],
  });
}
