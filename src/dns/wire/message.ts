/** DNS messages as data (RFC 1035 §4), and the numbers IANA gives their parts. */
import type { Name } from './name.ts';

export const TYPE = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  PTR: 12,
  HINFO: 13,
  MX: 15,
  TXT: 16,
  RP: 17,
  AFSDB: 18,
  RT: 21,
  AAAA: 28,
  SRV: 33,
  NAPTR: 35,
  KX: 36,
  DNAME: 39,
  OPT: 41,
  DS: 43,
  SSHFP: 44,
  RRSIG: 46,
  NSEC: 47,
  DNSKEY: 48,
  TLSA: 52,
  SVCB: 64,
  HTTPS: 65,
  SPF: 99,
  IXFR: 251,
  AXFR: 252,
  ANY: 255,
  URI: 256,
  CAA: 257,
} as const;

export const CLASS = { IN: 1, CH: 3, HS: 4, NONE: 254, ANY: 255 } as const;

export const RCODE = {
  NOERROR: 0,
  FORMERR: 1,
  SERVFAIL: 2,
  NXDOMAIN: 3,
  NOTIMP: 4,
  REFUSED: 5,
  YXDOMAIN: 6,
  YXRRSET: 7,
  NXRRSET: 8,
  NOTAUTH: 9,
  NOTZONE: 10,
  /** RFC 6891 §9: its upper eight bits travel in the OPT record. */
  BADVERS: 16,
} as const;

export const OPCODE = { QUERY: 0, NOTIFY: 4 } as const;

/** Bits of the second 16-bit word of the header. */
export const FLAG = {
  QR: 0x8000,
  AA: 0x0400,
  TC: 0x0200,
  RD: 0x0100,
  RA: 0x0080,
  AD: 0x0020,
  CD: 0x0010,
} as const;

/** Header bytes before the question. */
export const headerBytes = 12;
/** What a client without EDNS takes over UDP (RFC 1035 §2.3.4). */
export const plainUdpBytesMax = 512;
/** The length field of DNS over TCP has 16 bits (RFC 1035 §4.2.2). */
export const messageBytesMax = 65535;

export type Question = { readonly name: Name; readonly type: number; readonly class: number };

/**
 * A resource record. `data` is its rdata in pieces: names as text in wire form, all else as bytes,
 * so that a copy can compress names anew and a type nobody knows survives (RFC 3597).
 */
export type ResourceRecord = {
  readonly name: Name;
  readonly type: number;
  readonly class: number;
  readonly ttl: number;
  readonly data: readonly (Name | Uint8Array)[];
};

export type Message = {
  readonly id: number;
  /** The second word of the header as it is: QR, opcode, AA, TC, RD, RA, AD, CD, rcode. */
  readonly flags: number;
  readonly questions: readonly Question[];
  readonly answers: readonly ResourceRecord[];
  readonly authorities: readonly ResourceRecord[];
  readonly additionals: readonly ResourceRecord[];
};

/** The rcode of the header; what an OPT record adds is not in it. */
export function rcodeOf(message: { readonly flags: number }): number {
  return message.flags & 0xf;
}

export function opcodeOf(message: { readonly flags: number }): number {
  return (message.flags >> 11) & 0xf;
}

/**
 * How the rdata of types that hold names is laid out: bytes, then names, then bytes to the end.
 * Only RFC 1035's own types may be compressed when sent (RFC 3597 §4); all may be when received.
 */
export type RdataLayout = {
  readonly bytesBefore: number;
  readonly names: number;
  readonly compress: boolean;
};

const layouts = new Map<number, RdataLayout>([
  [TYPE.NS, { bytesBefore: 0, names: 1, compress: true }],
  [TYPE.CNAME, { bytesBefore: 0, names: 1, compress: true }],
  [TYPE.SOA, { bytesBefore: 0, names: 2, compress: true }],
  [TYPE.PTR, { bytesBefore: 0, names: 1, compress: true }],
  [TYPE.MX, { bytesBefore: 2, names: 1, compress: true }],
  [TYPE.RP, { bytesBefore: 0, names: 2, compress: false }],
  [TYPE.AFSDB, { bytesBefore: 2, names: 1, compress: false }],
  [TYPE.RT, { bytesBefore: 2, names: 1, compress: false }],
  [TYPE.SRV, { bytesBefore: 6, names: 1, compress: false }],
  [TYPE.KX, { bytesBefore: 2, names: 1, compress: false }],
  [TYPE.DNAME, { bytesBefore: 0, names: 1, compress: false }],
]);

/** Undefined: the rdata is bytes only, as far as we know. */
export function layoutOf(type: number): RdataLayout | undefined {
  return layouts.get(type);
}
