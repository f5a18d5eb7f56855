/** Puts a value into a register, or gives a verdict. */
import { attr, required } from '../../netlink/attr.ts';
import {
  decodeValue,
  decodeVerdict,
  formatData,
  formatVerdict,
  valueAttr,
  verdictAttr,
  type Verdict,
} from '../data.ts';
import type { Codec } from './codec.ts';
import { canonicalRegister, decodeRegister, type Register } from './registers.ts';

const NFTA_IMMEDIATE_DREG = 1;
const NFTA_IMMEDIATE_DATA = 2;
const NFT_REG_VERDICT = 0;

/** A value for a register. */
export type Immediate = {
  readonly kind: 'immediate';
  readonly dreg: Register;
  readonly data: Uint8Array;
};

/** `accept`, `drop`, `jump <chain>`, … */
export type VerdictExpression = { readonly kind: 'verdict'; readonly verdict: Verdict };

/** The kernel has one expression for both. */
export const immediate: Codec<Immediate | VerdictExpression> = {
  name: 'immediate',
  encode: (expression) =>
    expression.kind === 'verdict'
      ? [
          attr.u32be(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT),
          verdictAttr(NFTA_IMMEDIATE_DATA, expression.verdict),
        ]
      : [
          attr.u32be(NFTA_IMMEDIATE_DREG, canonicalRegister(expression.dreg)),
          valueAttr(NFTA_IMMEDIATE_DATA, expression.data),
        ],
  decode(attrs) {
    const data = attrs.nested(NFTA_IMMEDIATE_DATA);
    const verdict = decodeVerdict(data);
    if (verdict !== undefined) return { kind: 'verdict', verdict };
    const dreg = decodeRegister(attrs, NFTA_IMMEDIATE_DREG);
    return { kind: 'immediate', dreg, data: required(decodeValue(data), 'immediate value') };
  },
  format: (expression) =>
    expression.kind === 'verdict'
      ? `immediate reg 0 ${formatVerdict(expression.verdict)}`
      : `immediate reg ${expression.dreg} ${formatData(expression.data)}`,
};
