/** Sets and maps: `nft add set`, `nft add map`. */
import { attr, DecodeError, required, type Attr } from '../netlink/attr.ts';
import { NLM_F_CREATE, NLM_F_EXCL } from '../netlink/constants.ts';
import type { Message } from '../netlink/message.ts';
import {
  NFT_DATA_VERDICT,
  NFT_MSG_DELSET,
  NFT_MSG_DESTROYSET,
  NFT_MSG_GETSET,
  NFT_MSG_NEWSET,
  NFT_SET_ANONYMOUS,
  NFT_SET_CONCAT,
  NFT_SET_CONSTANT,
  NFT_SET_EVAL,
  NFT_SET_INTERVAL,
  NFT_SET_MAP,
  NFT_SET_TIMEOUT,
  NFTA_LIST_ELEM,
  NFTA_SET_DATA_LEN,
  NFTA_SET_DATA_TYPE,
  NFTA_SET_DESC,
  NFTA_SET_DESC_CONCAT,
  NFTA_SET_DESC_SIZE,
  NFTA_SET_FIELD_LEN,
  NFTA_SET_FLAGS,
  NFTA_SET_GC_INTERVAL,
  NFTA_SET_HANDLE,
  NFTA_SET_ID,
  NFTA_SET_KEY_LEN,
  NFTA_SET_KEY_TYPE,
  NFTA_SET_NAME,
  NFTA_SET_TABLE,
  NFTA_SET_TIMEOUT,
  NFTA_SET_USERDATA,
} from './constants.ts';
import { bitsOf, namesOf } from './expressions/codec.ts';
import { decodeNftBody, given, nftMessage, type Family } from './family.ts';
import {
  fieldBytes,
  keyByteOrder,
  keyBytes,
  keyTypeId,
  keyTypesOf,
  type KeyType,
} from './key-types.ts';
import type { TableRef } from './tables.ts';
import { commentValue, decodeComment, encodeUserData } from './userdata.ts';

/** `dynamic`: rules add to it. `timeout`: its elements may leave by themselves. */
const FLAGS = {
  anonymous: NFT_SET_ANONYMOUS,
  constant: NFT_SET_CONSTANT,
  interval: NFT_SET_INTERVAL,
  timeout: NFT_SET_TIMEOUT,
  dynamic: NFT_SET_EVAL,
} as const;

/** What nft stores beside a set (libnftnl/udata.h, `NFTNL_UDATA_SET_*`). */
const USERDATA_KEY_BYTE_ORDER = 0;
const USERDATA_DATA_BYTE_ORDER = 1;
const USERDATA_DATA_INTERVAL = 6;
const USERDATA_COMMENT = 7;

export type SetFlag = keyof typeof FLAGS;

/** Names a set or map. */
export type SetRef = TableRef & { readonly set: string };

/** A set; with `data` a map, with `data: 'verdict'` a verdict map. */
export type NftSet = TableRef & {
  readonly name: string;
  /** The parts of its keys. Empty in what was read when nft's number for them is unknown here. */
  readonly key: readonly KeyType[];
  readonly data?: 'verdict' | readonly KeyType[];
  readonly flags?: readonly SetFlag[];
  /** How long an element stays that has no timeout of its own. */
  readonly timeoutMs?: number;
  readonly gcIntervalMs?: number;
  /** The most elements it takes; must be given when rules add to it. */
  readonly size?: number;
  readonly comment?: string;
  /** Names it within its transaction when it is anonymous. */
  readonly id?: number;
  /** The kernel's number for it; only in what was read. */
  readonly handle?: bigint;
};

/** `nft add set <family> <table> <name> { … }`, or `add map` */
export function addSet(set: NftSet): Message {
  return setMessage(NLM_F_CREATE, set);
}

/** `nft create set …`: refused when it is there. */
export function createSet(set: NftSet): Message {
  return setMessage(NLM_F_CREATE | NLM_F_EXCL, set);
}

/** `nft delete set <family> <table> <name>` */
export function deleteSet(set: Pick<NftSet, 'family' | 'table' | 'name'>): Message {
  return nftMessage(NFT_MSG_DELSET, { family: set.family, attrs: refAttrs(set) });
}

/** `nft destroy set …`: nothing when there is none (kernel >= 6.3). */
export function destroySet(set: Pick<NftSet, 'family' | 'table' | 'name'>): Message {
  return nftMessage(NFT_MSG_DESTROYSET, { family: set.family, attrs: refAttrs(set) });
}

/** The sets and maps of a family or a table. */
export function listSets(of: { family?: Family; table?: string } = {}): Message {
  const attrs = given(of.table, (table) => attr.string(NFTA_SET_TABLE, table));
  return nftMessage(NFT_MSG_GETSET, { family: of.family ?? 'unspec', attrs });
}

/** Reads the body of `NFT_MSG_NEWSET` and `NFT_MSG_DELSET`. */
export function decodeSet(body: Uint8Array): NftSet {
  const { family, attrs } = decodeNftBody(body);
  const bits = attrs.u32be(NFTA_SET_FLAGS) ?? 0;
  const flags = namesOf(FLAGS, bits);
  const timeout = attrs.u64be(NFTA_SET_TIMEOUT);
  const gcInterval = attrs.u32be(NFTA_SET_GC_INTERVAL);
  const size = attrs.nested(NFTA_SET_DESC)?.u32be(NFTA_SET_DESC_SIZE);
  const comment = decodeComment(attrs.bytes(NFTA_SET_USERDATA), USERDATA_COMMENT);
  const id = attrs.u32be(NFTA_SET_ID);
  const handle = attrs.u64be(NFTA_SET_HANDLE);
  return {
    family,
    table: required(attrs.string(NFTA_SET_TABLE), 'table name'),
    name: required(attrs.string(NFTA_SET_NAME), 'set name'),
    key: keyTypesOf(attrs.u32be(NFTA_SET_KEY_TYPE) ?? 0) ?? [],
    ...((bits & NFT_SET_MAP) !== 0 && { data: decodeDataType(attrs.u32be(NFTA_SET_DATA_TYPE)) }),
    ...(flags.length > 0 && { flags }),
    ...(timeout !== undefined && timeout !== 0n && { timeoutMs: Number(timeout) }),
    ...(gcInterval !== undefined && gcInterval !== 0 && { gcIntervalMs: gcInterval }),
    ...(size !== undefined && { size }),
    ...(comment !== undefined && { comment }),
    ...(id !== undefined && { id }),
    ...(handle !== undefined && { handle }),
  };
}

function decodeDataType(id: number | undefined): 'verdict' | KeyType[] {
  if (id === undefined) throw new DecodeError('a map without a data type');
  return id === NFT_DATA_VERDICT ? 'verdict' : (keyTypesOf(id) ?? []);
}

function refAttrs(set: Pick<NftSet, 'table' | 'name'>): Attr[] {
  return [attr.string(NFTA_SET_TABLE, set.table), attr.string(NFTA_SET_NAME, set.name)];
}

function setMessage(flags: number, set: NftSet): Message {
  const desc = descAttrs(set);
  return nftMessage(NFT_MSG_NEWSET, {
    family: set.family,
    flags,
    attrs: [
      ...refAttrs(set),
      attr.u32be(NFTA_SET_FLAGS, setBits(set)),
      attr.u32be(NFTA_SET_KEY_TYPE, keyTypeId(set.key)),
      attr.u32be(NFTA_SET_KEY_LEN, keyBytes(set.key)),
      ...dataAttrs(set),
      // The kernel wants an id from every set, though named ones are found by their names.
      attr.u32be(NFTA_SET_ID, set.id ?? 0),
      ...(desc.length > 0 ? [attr.nested(NFTA_SET_DESC, desc)] : []),
      ...given(set.timeoutMs, (timeout) => attr.u64be(NFTA_SET_TIMEOUT, BigInt(timeout))),
      ...given(set.gcIntervalMs, (interval) => attr.u32be(NFTA_SET_GC_INTERVAL, interval)),
      attr.bytes(NFTA_SET_USERDATA, userData(set)),
    ],
  });
}

function setBits(set: NftSet): number {
  const ranges = set.flags?.includes('interval') === true && set.key.length > 1;
  return (
    bitsOf(FLAGS, set.flags) |
    (set.data === undefined ? 0 : NFT_SET_MAP) |
    (set.timeoutMs === undefined ? 0 : NFT_SET_TIMEOUT) |
    (ranges ? NFT_SET_CONCAT : 0)
  );
}

function dataAttrs({ data }: NftSet): Attr[] {
  if (data === undefined) return [];
  const [type, bytes] =
    data === 'verdict' ? [NFT_DATA_VERDICT, 0] : [keyTypeId(data), keyBytes(data)];
  return [attr.u32be(NFTA_SET_DATA_TYPE, type), attr.u32be(NFTA_SET_DATA_LEN, bytes)];
}

/** How large it may grow and, for ranges over several parts, how long each part is. */
function descAttrs(set: NftSet): Attr[] {
  const fields = fieldBytes(set.key).map((bytes) =>
    attr.nested(NFTA_LIST_ELEM, [attr.u32be(NFTA_SET_FIELD_LEN, bytes)]),
  );
  return [
    ...given(set.size, (size) => attr.u32be(NFTA_SET_DESC_SIZE, size)),
    ...((setBits(set) & NFT_SET_CONCAT) === 0 ? [] : [attr.nested(NFTA_SET_DESC_CONCAT, fields)]),
  ];
}

function userData(set: NftSet): Uint8Array {
  const data = set.data === undefined || set.data === 'verdict' ? [] : set.data;
  return encodeUserData([
    { type: USERDATA_KEY_BYTE_ORDER, value: word(keyByteOrder(set.key)) },
    ...(set.data === undefined
      ? []
      : [
          { type: USERDATA_DATA_BYTE_ORDER, value: word(keyByteOrder(data)) },
          { type: USERDATA_DATA_INTERVAL, value: word(0) },
        ]),
    ...(set.comment === undefined
      ? []
      : [{ type: USERDATA_COMMENT, value: commentValue(set.comment) }]),
  ]);
}

function word(value: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(value).buffer);
}
