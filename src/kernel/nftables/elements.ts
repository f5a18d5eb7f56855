/** Elements of sets and maps: `nft add element`. Written for transactions of 100,000 of them. */
import { attr, decodeAttrs, required, type Attributes } from '../netlink/attr.ts';
import { ByteWriter } from '../netlink/byte-writer.ts';
import { NLA_F_NESTED, NLM_F_CREATE, NLM_F_EXCL } from '../netlink/constants.ts';
import type { Message } from '../netlink/message.ts';
import {
  NFT_MSG_DELSETELEM,
  NFT_MSG_DESTROYSETELEM,
  NFT_MSG_GETSETELEM,
  NFT_MSG_NEWSETELEM,
  NFT_SET_ELEM_CATCHALL,
  NFT_SET_ELEM_INTERVAL_END,
  NFTA_DATA_VALUE,
  NFTA_DATA_VERDICT,
  NFTA_LIST_ELEM,
  NFTA_SET_ELEM_DATA,
  NFTA_SET_ELEM_EXPIRATION,
  NFTA_SET_ELEM_FLAGS,
  NFTA_SET_ELEM_KEY,
  NFTA_SET_ELEM_KEY_END,
  NFTA_SET_ELEM_LIST_ELEMENTS,
  NFTA_SET_ELEM_LIST_SET,
  NFTA_SET_ELEM_LIST_SET_ID,
  NFTA_SET_ELEM_LIST_TABLE,
  NFTA_SET_ELEM_TIMEOUT,
  NFTA_SET_ELEM_USERDATA,
  NFTA_VERDICT_CHAIN,
  NFTA_VERDICT_CODE,
} from './constants.ts';
import { decodeValue, decodeVerdict, verdictCode, type Verdict } from './data.ts';
import { decodeNftBody, messageOf, nftMessage, writeNfgenmsg } from './family.ts';
import type { SetRef } from './sets.ts';
import { commentValue, decodeComment, encodeUserData } from './userdata.ts';

const COMMENT = 0;

/**
 * The list of elements is one attribute, whose length has 16 bits. The kernel takes a message as
 * a whole or not at all, and walks them one by one, so larger ones would gain nothing.
 */
const LIST_BYTES_MAX = 60_000;

/** One element. Keys and data are bytes as `encodeKey` makes them. */
export type Element = ElementOf<Uint8Array>;

/** The same in hex text, for whoever has so many that arrays would be a burden. */
export type HexElement = ElementOf<string>;

type ElementOf<Bytes> = {
  /** Empty for the element that stands for every key that has none (`catchAll`). */
  readonly key: Bytes;
  /** The last key of a range over several parts (both ends count). */
  readonly keyEnd?: Bytes;
  /** For a set with ranges of one part: the first key past the range that came before. */
  readonly intervalEnd?: boolean;
  readonly catchAll?: boolean;
  readonly data?: Bytes;
  readonly verdict?: Verdict;
  readonly timeoutMs?: number;
  /** What is left of the timeout. */
  readonly expirationMs?: number;
  readonly comment?: string;
};

type Elements = Iterable<ElementOf<Uint8Array | string>>;

/** Which set, and its `id` when it is anonymous and made in the same transaction. */
export type ElementsOf = SetRef & { readonly setId?: number };

/** `nft add element <family> <table> <set> { … }`: fine for those that are there already. */
export function addElements(set: ElementsOf, elements: Elements): Message[] {
  return elementMessages({ type: NFT_MSG_NEWSETELEM, flags: NLM_F_CREATE }, set, elements);
}

/** `nft create element …`: refused when one is there. */
export function createElements(set: ElementsOf, elements: Elements): Message[] {
  const flags = NLM_F_CREATE | NLM_F_EXCL;
  return elementMessages({ type: NFT_MSG_NEWSETELEM, flags }, set, elements);
}

/** `nft delete element …`: refused when one is not there. */
export function deleteElements(set: ElementsOf, elements: Elements): Message[] {
  return elementMessages({ type: NFT_MSG_DELSETELEM, flags: 0 }, set, elements);
}

/** `nft destroy element …`: fine for those that are not there (kernel >= 6.3). */
export function destroyElements(set: ElementsOf, elements: Elements): Message[] {
  return elementMessages({ type: NFT_MSG_DESTROYSETELEM, flags: 0 }, set, elements);
}

/** `nft flush set <family> <table> <set>` */
export function flushSet(set: SetRef): Message {
  const names = [
    attr.string(NFTA_SET_ELEM_LIST_SET, set.set),
    attr.string(NFTA_SET_ELEM_LIST_TABLE, set.table),
  ];
  return nftMessage(NFT_MSG_DELSETELEM, { family: set.family, attrs: names });
}

/** `nft list set <family> <table> <set>` */
export function listElements(set: SetRef): Message {
  const writer = new ByteWriter(64);
  writeHead(writer, set);
  return messageOf(NFT_MSG_GETSETELEM, 0, writer.bytes());
}

/** Reads the body of `NFT_MSG_NEWSETELEM` and `NFT_MSG_DELSETELEM`. */
export function decodeElements(body: Uint8Array): ElementsOf & { readonly elements: Element[] } {
  const { family, attrs } = decodeNftBody(body);
  // The kernel gives each element the type NFTA_LIST_ELEM, nft(8) numbers them; neither matters.
  const list = attrs.nested(NFTA_SET_ELEM_LIST_ELEMENTS)?.entries() ?? [];
  const setId = attrs.u32be(NFTA_SET_ELEM_LIST_SET_ID);
  return {
    family,
    ...(setId !== undefined && { setId }),
    table: required(attrs.string(NFTA_SET_ELEM_LIST_TABLE), 'table name'),
    set: required(attrs.string(NFTA_SET_ELEM_LIST_SET), 'set name'),
    elements: Array.from(list, ({ payload }) => decodeElement(decodeAttrs(payload))),
  };
}

/** As `decodeElements`, without a list. */
export function eachElement(body: Uint8Array, take: (element: Element) => void): void {
  const { attrs } = decodeNftBody(body);
  const list = attrs.bytes(NFTA_SET_ELEM_LIST_ELEMENTS);
  if (list === undefined) return;
  for (const { payload } of decodeAttrs(list).entries()) take(decodeElement(decodeAttrs(payload)));
}

function decodeElement(attrs: Attributes): Element {
  const flags = attrs.u32be(NFTA_SET_ELEM_FLAGS) ?? 0;
  const keyEnd = decodeValue(attrs.nested(NFTA_SET_ELEM_KEY_END));
  const dataAttrs = attrs.nested(NFTA_SET_ELEM_DATA);
  const data = decodeValue(dataAttrs);
  const verdict = decodeVerdict(dataAttrs);
  const timeout = attrs.u64be(NFTA_SET_ELEM_TIMEOUT);
  const expiration = attrs.u64be(NFTA_SET_ELEM_EXPIRATION);
  const comment = decodeComment(attrs.bytes(NFTA_SET_ELEM_USERDATA), COMMENT);
  return {
    key: decodeValue(attrs.nested(NFTA_SET_ELEM_KEY)) ?? new Uint8Array(),
    ...(keyEnd !== undefined && { keyEnd }),
    ...((flags & NFT_SET_ELEM_INTERVAL_END) !== 0 && { intervalEnd: true }),
    ...((flags & NFT_SET_ELEM_CATCHALL) !== 0 && { catchAll: true }),
    ...(data !== undefined && { data }),
    ...(verdict !== undefined && { verdict }),
    ...(timeout !== undefined && { timeoutMs: Number(timeout) }),
    ...(expiration !== undefined && { expirationMs: Number(expiration) }),
    ...(comment !== undefined && { comment }),
  };
}

/** As many messages as the elements need, all in one buffer. */
function elementMessages(
  head: { type: number; flags: number },
  set: ElementsOf,
  elements: Elements,
): Message[] {
  const writer = new ByteWriter(4096);
  const ends: number[] = [];
  let list: number | undefined;
  for (const element of elements) {
    if (list !== undefined && writer.length - list > LIST_BYTES_MAX) {
      writer.close(list);
      ends.push(writer.length);
      list = undefined;
    }
    if (list === undefined) {
      writeHead(writer, set);
      list = writer.open(NFTA_SET_ELEM_LIST_ELEMENTS | NLA_F_NESTED);
    }
    writeElement(writer, element);
  }
  if (list === undefined) return [];
  writer.close(list);
  ends.push(writer.length);
  const bytes = writer.bytes();
  return ends.map((end, index) => {
    const body = bytes.subarray(ends[index - 1] ?? 0, end);
    return messageOf(head.type, head.flags, body);
  });
}

function writeHead(writer: ByteWriter, set: ElementsOf): void {
  writeNfgenmsg(writer, set.family);
  writeText(writer, NFTA_SET_ELEM_LIST_TABLE, set.table);
  writeText(writer, NFTA_SET_ELEM_LIST_SET, set.set);
  if (set.setId === undefined) return;
  writeU32(writer, NFTA_SET_ELEM_LIST_SET_ID, set.setId);
}

function writeElement(writer: ByteWriter, element: ElementOf<Uint8Array | string>): void {
  const start = writer.open(NFTA_LIST_ELEM | NLA_F_NESTED);
  const flags =
    (element.intervalEnd === true ? NFT_SET_ELEM_INTERVAL_END : 0) |
    (element.catchAll === true ? NFT_SET_ELEM_CATCHALL : 0);
  if (flags !== 0) writeU32(writer, NFTA_SET_ELEM_FLAGS, flags);
  if (element.timeoutMs !== undefined) {
    writeU64(writer, NFTA_SET_ELEM_TIMEOUT, element.timeoutMs);
  }
  if (element.expirationMs !== undefined) {
    writeU64(writer, NFTA_SET_ELEM_EXPIRATION, element.expirationMs);
  }
  if (element.catchAll !== true) writeValue(writer, NFTA_SET_ELEM_KEY, element.key);
  if (element.keyEnd !== undefined) writeValue(writer, NFTA_SET_ELEM_KEY_END, element.keyEnd);
  if (element.data !== undefined) writeValue(writer, NFTA_SET_ELEM_DATA, element.data);
  if (element.verdict !== undefined) writeVerdict(writer, element.verdict);
  if (element.comment !== undefined) {
    const comment = writer.open(NFTA_SET_ELEM_USERDATA);
    writer.raw(encodeUserData([{ type: COMMENT, value: commentValue(element.comment) }]));
    writer.close(comment);
  }
  writer.close(start);
}

function writeValue(writer: ByteWriter, type: number, value: Uint8Array | string): void {
  const outer = writer.open(type | NLA_F_NESTED);
  const inner = writer.open(NFTA_DATA_VALUE);
  if (typeof value === 'string') writer.hex(value);
  else writer.raw(value);
  writer.close(inner);
  writer.close(outer);
}

function writeVerdict(writer: ByteWriter, verdict: Verdict): void {
  const outer = writer.open(NFTA_SET_ELEM_DATA | NLA_F_NESTED);
  const inner = writer.open(NFTA_DATA_VERDICT | NLA_F_NESTED);
  writeU32(writer, NFTA_VERDICT_CODE, verdictCode(verdict) >>> 0);
  if ('chain' in verdict) writeText(writer, NFTA_VERDICT_CHAIN, verdict.chain);
  writer.close(inner);
  writer.close(outer);
}

function writeText(writer: ByteWriter, type: number, value: string): void {
  const start = writer.open(type);
  writer.text(value);
  writer.close(start);
}

function writeU32(writer: ByteWriter, type: number, value: number): void {
  const start = writer.open(type);
  writer.u32be(value);
  writer.close(start);
}

function writeU64(writer: ByteWriter, type: number, value: number): void {
  const start = writer.open(type);
  writer.u64be(BigInt(value));
  writer.close(start);
}
