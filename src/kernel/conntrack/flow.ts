/** Tracked connections: `conntrack -L`, `conntrack -D`. */
import { formatIp, ipBytes } from '../../lib/ip.ts';
import { attr, decodeAttrs, DecodeError, required, writeAttrs } from '../netlink/attr.ts';
import type { Attr, Attributes } from '../netlink/attr.ts';
import { ByteWriter } from '../netlink/byte-writer.ts';
import type { Message } from '../netlink/message.ts';

/** include/uapi/linux/netfilter/nfnetlink{,_conntrack}.h */
const NFNL_SUBSYS_CTNETLINK = 1;
const IPCTNL_MSG_CT_GET = 1;
const IPCTNL_MSG_CT_DELETE = 2;
const CTA_TUPLE_ORIG = 1;
const CTA_TUPLE_REPLY = 2;
const CTA_STATUS = 3;
const CTA_PROTOINFO = 4;
const CTA_TIMEOUT = 7;
const CTA_MARK = 8;
const CTA_ID = 12;
const CTA_ZONE = 18;
const CTA_TUPLE_IP = 1;
const CTA_TUPLE_PROTO = 2;
const CTA_IP_V4_SRC = 1;
const CTA_IP_V4_DST = 2;
const CTA_IP_V6_SRC = 3;
const CTA_IP_V6_DST = 4;
const CTA_PROTO_NUM = 1;
const CTA_PROTO_SRC_PORT = 2;
const CTA_PROTO_DST_PORT = 3;
const CTA_PROTO_ICMP_ID = 4;
const CTA_PROTO_ICMP_TYPE = 5;
const CTA_PROTO_ICMP_CODE = 6;
const CTA_PROTO_ICMPV6_ID = 7;
const CTA_PROTO_ICMPV6_TYPE = 8;
const CTA_PROTO_ICMPV6_CODE = 9;
const CTA_PROTOINFO_TCP = 1;
const CTA_PROTOINFO_TCP_STATE = 1;

const AF_INET = 2;
const AF_INET6 = 10;
const NFGENMSG_BYTES = 4;

/** Bits of `status` (`IPS_*`). */
export const FLOW_STATUS = {
  expected: 1,
  seenReply: 2,
  assured: 4,
  confirmed: 8,
  snat: 16,
  dnat: 32,
  dying: 512,
} as const;

/** IANA protocol numbers of what has ports. */
export const PROTOCOL = { tcp: 6, udp: 17, sctp: 132 } as const;

/** One direction of a flow, as packets that way look. Ports for TCP, UDP and SCTP. */
export type Tuple = {
  readonly source: string;
  readonly destination: string;
  readonly protocol: number;
  readonly sourcePort?: number;
  readonly destinationPort?: number;
  readonly icmp?: { readonly id: number; readonly type: number; readonly code: number };
};

/** A tracked connection: `original` as the first packet came, `reply` as the answer must look. */
export type Flow = {
  readonly id: number;
  readonly original: Tuple;
  readonly reply: Tuple;
  readonly status: number;
  readonly mark: number;
  readonly zone: number;
  readonly timeoutSeconds: number;
  /** `TCP_CONNTRACK_*`, such as 3 for ESTABLISHED. */
  readonly tcpState?: number;
};

/** `conntrack -L -f <family>` */
export function listFlows(family: 'ipv4' | 'ipv6'): Message {
  return message(IPCTNL_MSG_CT_GET, family === 'ipv6' ? AF_INET6 : AF_INET, []);
}

/** `conntrack -D` of this very flow: another one with the same addresses stays. */
export function deleteFlow(flow: Pick<Flow, 'original' | 'id' | 'zone'>): Message {
  const family = isIpv6(flow.original) ? AF_INET6 : AF_INET;
  return message(IPCTNL_MSG_CT_DELETE, family, [
    attr.nested(CTA_TUPLE_ORIG, tupleAttrs(flow.original)),
    ...(flow.zone === 0 ? [] : [attr.u16be(CTA_ZONE, flow.zone)]),
    attr.u32be(CTA_ID, flow.id),
  ]);
}

/** Reads the body of an answer to `listFlows`. Throws `DecodeError`. */
export function decodeFlow(body: Uint8Array): Flow {
  if (body.length < NFGENMSG_BYTES) throw new DecodeError(`a message body of ${body.length} bytes`);
  const attrs = decodeAttrs(body.subarray(NFGENMSG_BYTES));
  const protocolInfo = attrs.nested(CTA_PROTOINFO)?.nested(CTA_PROTOINFO_TCP);
  const tcpState = protocolInfo?.u8(CTA_PROTOINFO_TCP_STATE);
  return {
    id: attrs.u32be(CTA_ID) ?? 0,
    original: decodeTuple(required(attrs.nested(CTA_TUPLE_ORIG), 'original tuple')),
    reply: decodeTuple(required(attrs.nested(CTA_TUPLE_REPLY), 'reply tuple')),
    status: attrs.u32be(CTA_STATUS) ?? 0,
    mark: attrs.u32be(CTA_MARK) ?? 0,
    zone: attrs.u16be(CTA_ZONE) ?? 0,
    timeoutSeconds: attrs.u32be(CTA_TIMEOUT) ?? 0,
    ...(tcpState !== undefined && { tcpState }),
  };
}

/** The tuple's address text says its family. */
function isIpv6(tuple: Tuple): boolean {
  return tuple.source.includes(':');
}

function tupleAttrs(tuple: Tuple): Attr[] {
  const [source, destination] = isIpv6(tuple)
    ? [CTA_IP_V6_SRC, CTA_IP_V6_DST]
    : [CTA_IP_V4_SRC, CTA_IP_V4_DST];
  return [
    attr.nested(CTA_TUPLE_IP, [
      attr.bytes(source, ipBytes(tuple.source)),
      attr.bytes(destination, ipBytes(tuple.destination)),
    ]),
    attr.nested(CTA_TUPLE_PROTO, [
      attr.u8(CTA_PROTO_NUM, tuple.protocol),
      ...portAttrs(tuple),
      ...icmpAttrs(tuple),
    ]),
  ];
}

function portAttrs({ sourcePort, destinationPort }: Tuple): Attr[] {
  if (sourcePort === undefined || destinationPort === undefined) return [];
  return [
    attr.u16be(CTA_PROTO_SRC_PORT, sourcePort),
    attr.u16be(CTA_PROTO_DST_PORT, destinationPort),
  ];
}

function icmpAttrs(tuple: Tuple): Attr[] {
  if (tuple.icmp === undefined) return [];
  const { id, type, code } = tuple.icmp;
  const [idType, typeType, codeType] = isIpv6(tuple)
    ? [CTA_PROTO_ICMPV6_ID, CTA_PROTO_ICMPV6_TYPE, CTA_PROTO_ICMPV6_CODE]
    : [CTA_PROTO_ICMP_ID, CTA_PROTO_ICMP_TYPE, CTA_PROTO_ICMP_CODE];
  return [attr.u16be(idType, id), attr.u8(typeType, type), attr.u8(codeType, code)];
}

function decodeTuple(attrs: Attributes): Tuple {
  const ip = required(attrs.nested(CTA_TUPLE_IP), 'addresses');
  const protocol = required(attrs.nested(CTA_TUPLE_PROTO), 'protocol');
  const sourcePort = protocol.u16be(CTA_PROTO_SRC_PORT);
  const destinationPort = protocol.u16be(CTA_PROTO_DST_PORT);
  const icmp = decodeIcmp(protocol);
  return {
    source: decodeAddress(ip, CTA_IP_V4_SRC, CTA_IP_V6_SRC),
    destination: decodeAddress(ip, CTA_IP_V4_DST, CTA_IP_V6_DST),
    protocol: required(protocol.u8(CTA_PROTO_NUM), 'protocol number'),
    ...(sourcePort !== undefined && { sourcePort }),
    ...(destinationPort !== undefined && { destinationPort }),
    ...(icmp !== undefined && { icmp }),
  };
}

function decodeIcmp(protocol: Attributes): Tuple['icmp'] {
  const id = protocol.u16be(CTA_PROTO_ICMP_ID) ?? protocol.u16be(CTA_PROTO_ICMPV6_ID);
  if (id === undefined) return undefined;
  const type = protocol.u8(CTA_PROTO_ICMP_TYPE) ?? protocol.u8(CTA_PROTO_ICMPV6_TYPE) ?? 0;
  const code = protocol.u8(CTA_PROTO_ICMP_CODE) ?? protocol.u8(CTA_PROTO_ICMPV6_CODE) ?? 0;
  return { id, type, code };
}

function decodeAddress(ip: Attributes, v4: number, v6: number): string {
  const bytes = required(ip.bytes(v4) ?? ip.bytes(v6), 'address');
  if (bytes.length !== 4 && bytes.length !== 16) {
    throw new DecodeError(`an IP address of ${bytes.length} bytes`);
  }
  return formatIp(bytes);
}

/** Every message opens with `struct nfgenmsg`: family, version, resource id. */
function message(type: number, family: number, attrs: readonly Attr[]): Message {
  const writer = new ByteWriter();
  writer.u8(family);
  writer.u8(0);
  writer.u16be(0);
  writeAttrs(writer, attrs);
  return { type: (NFNL_SUBSYS_CTNETLINK << 8) | type, flags: 0, body: writer.bytes() };
}
