/** A number from 0 to below `modulus`: at random, or one after the other. */
import { attr, required } from '../../netlink/attr.ts';
import { nameOf, type Codec } from './codec.ts';
import { canonicalRegister, decodeRegister, type Register } from './registers.ts';

const NFTA_NG_DREG = 1;
const NFTA_NG_MODULUS = 2;
const NFTA_NG_TYPE = 3;
const NFTA_NG_OFFSET = 4;

const TYPES = { inc: 0, random: 1 } as const;

/** The number is 4 bytes in the order of the machine, `offset` added. */
export type Numgen = {
  readonly kind: 'numgen';
  readonly type: keyof typeof TYPES;
  readonly dreg: Register;
  readonly modulus: number;
  readonly offset?: number;
};

export const numgen: Codec<Numgen> = {
  name: 'numgen',
  encode: ({ type, dreg, modulus, offset = 0 }) => [
    attr.u32be(NFTA_NG_DREG, canonicalRegister(dreg)),
    attr.u32be(NFTA_NG_MODULUS, modulus),
    attr.u32be(NFTA_NG_TYPE, TYPES[type]),
    attr.u32be(NFTA_NG_OFFSET, offset),
  ],
  decode(attrs) {
    const offset = attrs.u32be(NFTA_NG_OFFSET) ?? 0;
    return {
      kind: 'numgen',
      type: nameOf(TYPES, required(attrs.u32be(NFTA_NG_TYPE), 'numgen type'), 'numgen type'),
      dreg: decodeRegister(attrs, NFTA_NG_DREG),
      modulus: required(attrs.u32be(NFTA_NG_MODULUS), 'modulus'),
      ...(offset !== 0 && { offset }),
    };
  },
  format({ type, dreg, modulus, offset = 0 }) {
    const shift = offset === 0 ? '' : ` offset ${offset}`;
    return `numgen reg ${dreg} = ${type} mod ${modulus}${shift}`;
  },
};
