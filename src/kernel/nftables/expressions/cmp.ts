/** Goes on only when a register compares to a value as asked. */
import { attr, required } from '../../netlink/attr.ts';
import { decodeValue, formatData, valueAttr } from '../data.ts';
import { nameOf, type Codec } from './codec.ts';
import { canonicalRegister, decodeRegister, type Register } from './registers.ts';

const NFTA_CMP_SREG = 1;
const NFTA_CMP_OP = 2;
const NFTA_CMP_DATA = 3;

const OPS = { eq: 0, neq: 1, lt: 2, lte: 3, gt: 4, gte: 5 } as const;

export type Cmp = {
  readonly kind: 'cmp';
  readonly op: keyof typeof OPS;
  readonly sreg: Register;
  readonly data: Uint8Array;
};

export const cmp: Codec<Cmp> = {
  name: 'cmp',
  encode: ({ op, sreg, data }) => [
    attr.u32be(NFTA_CMP_SREG, canonicalRegister(sreg)),
    attr.u32be(NFTA_CMP_OP, OPS[op]),
    valueAttr(NFTA_CMP_DATA, data),
  ],
  decode: (attrs) => ({
    kind: 'cmp',
    op: nameOf(OPS, required(attrs.u32be(NFTA_CMP_OP), 'comparison'), 'comparison'),
    sreg: decodeRegister(attrs, NFTA_CMP_SREG),
    data: required(decodeValue(attrs.nested(NFTA_CMP_DATA)), 'value to compare with'),
  }),
  format: ({ op, sreg, data }) => `cmp ${op} reg ${sreg} ${formatData(data)}`,
};
