/** Goes on only when a register lies in a range (or does not). */
import { attr, required } from '../../netlink/attr.ts';
import { decodeValue, formatData, valueAttr } from '../data.ts';
import { nameOf, type Codec } from './codec.ts';
import { canonicalRegister, decodeRegister, type Register } from './registers.ts';

const NFTA_RANGE_SREG = 1;
const NFTA_RANGE_OP = 2;
const NFTA_RANGE_FROM_DATA = 3;
const NFTA_RANGE_TO_DATA = 4;

const OPS = { eq: 0, neq: 1 } as const;

export type Range = {
  readonly kind: 'range';
  readonly op: keyof typeof OPS;
  readonly sreg: Register;
  readonly from: Uint8Array;
  readonly to: Uint8Array;
};

export const range: Codec<Range> = {
  name: 'range',
  encode: ({ op, sreg, from, to }) => [
    attr.u32be(NFTA_RANGE_SREG, canonicalRegister(sreg)),
    attr.u32be(NFTA_RANGE_OP, OPS[op]),
    valueAttr(NFTA_RANGE_FROM_DATA, from),
    valueAttr(NFTA_RANGE_TO_DATA, to),
  ],
  decode: (attrs) => ({
    kind: 'range',
    op: nameOf(OPS, required(attrs.u32be(NFTA_RANGE_OP), 'range operation'), 'range operation'),
    sreg: decodeRegister(attrs, NFTA_RANGE_SREG),
    from: required(decodeValue(attrs.nested(NFTA_RANGE_FROM_DATA)), 'start of the range'),
    to: required(decodeValue(attrs.nested(NFTA_RANGE_TO_DATA)), 'end of the range'),
  }),
  format: ({ op, sreg, from, to }) =>
    `range ${op} reg ${sreg} ${formatData(from)} ${formatData(to)}`,
};
