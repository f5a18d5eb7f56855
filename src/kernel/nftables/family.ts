/** The protocol families a table can be for, and the head of every nf_tables message. */
import {
  decodeAttrs,
  DecodeError,
  writeAttrs,
  type Attr,
  type Attributes,
} from '../netlink/attr.ts';
import { ByteWriter } from '../netlink/byte-writer.ts';
import type { Message } from '../netlink/message.ts';
import { NFNL_SUBSYS_NFTABLES } from './constants.ts';

/** `NFPROTO_*` of include/uapi/linux/netfilter.h; `inet` is IPv4 and IPv6 in one table. */
const FAMILIES = { unspec: 0, inet: 1, ip: 2, arp: 3, netdev: 5, bridge: 7, ip6: 10 } as const;

export type Family = Exclude<keyof typeof FAMILIES, 'unspec'>;

const NAMES = new Map(Object.entries(FAMILIES).map(([name, value]) => [value as number, name]));

/** Bytes of `struct nfgenmsg`: family, version, resource id. */
export const NFGENMSG_BYTES = 4;

/** `struct nfgenmsg` of an nf_tables message. */
export function writeNfgenmsg(writer: ByteWriter, family: Family | 'unspec'): void {
  writer.u8(FAMILIES[family]);
  writer.u8(0);
  writer.u16be(0);
}

/** A message to nf_tables; `type` is one of `NFT_MSG_*`. */
export function nftMessage(
  type: number,
  content: { family: Family | 'unspec'; flags?: number; attrs: readonly Attr[] },
): Message {
  const writer = new ByteWriter();
  writeNfgenmsg(writer, content.family);
  writeAttrs(writer, content.attrs);
  return messageOf(type, content.flags ?? 0, writer.bytes());
}

/** As `nftMessage`, with the body already written. */
export function messageOf(type: number, flags: number, body: Uint8Array): Message {
  return { type: (NFNL_SUBSYS_NFTABLES << 8) | type, flags, body };
}

/** The `NFT_MSG_*` of a message; undefined for a message of another subsystem. */
export function nftMessageType(type: number): number | undefined {
  return type >> 8 === NFNL_SUBSYS_NFTABLES ? type & 0xff : undefined;
}

/** Takes a body apart into its family and attributes. Throws `DecodeError`. */
export function decodeNftBody(body: Uint8Array): { family: Family; attrs: Attributes } {
  if (body.length < NFGENMSG_BYTES) throw new DecodeError(`a message body of ${body.length} bytes`);
  const family = NAMES.get(body[0]!);
  if (family === undefined || family === 'unspec') {
    throw new DecodeError(`unknown protocol family ${body[0]}`);
  }
  return { family: family as Family, attrs: decodeAttrs(body.subarray(NFGENMSG_BYTES)) };
}

/** The attribute, when there is a value for it. */
export function given<T>(value: T | undefined, build: (value: T) => Attr): Attr[] {
  return value === undefined ? [] : [build(value)];
}
