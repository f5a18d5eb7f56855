/** Turns the bytes of a register around. */
import { attr, required } from '../../netlink/attr.ts';
import { nameOf, type Codec } from './codec.ts';
import { canonicalRegister, decodeRegister, type Register } from './registers.ts';

const NFTA_BYTEORDER_SREG = 1;
const NFTA_BYTEORDER_DREG = 2;
const NFTA_BYTEORDER_OP = 3;
const NFTA_BYTEORDER_LEN = 4;
const NFTA_BYTEORDER_SIZE = 5;

const OPS = { ntoh: 0, hton: 1 } as const;

export type ByteOrder = {
  readonly kind: 'byteorder';
  readonly op: keyof typeof OPS;
  readonly sreg: Register;
  readonly dreg: Register;
  /** Bytes in all. */
  readonly length: number;
  /** Bytes of each number. */
  readonly size: number;
};

export const byteorder: Codec<ByteOrder> = {
  name: 'byteorder',
  encode: ({ op, sreg, dreg, length, size }) => [
    attr.u32be(NFTA_BYTEORDER_SREG, canonicalRegister(sreg)),
    attr.u32be(NFTA_BYTEORDER_DREG, canonicalRegister(dreg)),
    attr.u32be(NFTA_BYTEORDER_OP, OPS[op]),
    attr.u32be(NFTA_BYTEORDER_LEN, length),
    attr.u32be(NFTA_BYTEORDER_SIZE, size),
  ],
  decode: (attrs) => ({
    kind: 'byteorder',
    op: nameOf(OPS, required(attrs.u32be(NFTA_BYTEORDER_OP), 'byte order'), 'byte order'),
    sreg: decodeRegister(attrs, NFTA_BYTEORDER_SREG),
    dreg: decodeRegister(attrs, NFTA_BYTEORDER_DREG),
    length: required(attrs.u32be(NFTA_BYTEORDER_LEN), 'length'),
    size: required(attrs.u32be(NFTA_BYTEORDER_SIZE), 'size'),
  }),
  format: ({ op, sreg, dreg, length, size }) =>
    `byteorder reg ${dreg} = ${op}(reg ${sreg}, ${size}, ${length})`,
};
