/** A number from 0 to below `modulus` that depends on a register only, or on the connection only. */
import { attr, required } from '../../netlink/attr.ts';
import { nameOf, type Codec } from './codec.ts';
import { canonicalRegister, decodeRegister, type Register } from './registers.ts';

const NFTA_HASH_SREG = 1;
const NFTA_HASH_DREG = 2;
const NFTA_HASH_LEN = 3;
const NFTA_HASH_MODULUS = 4;
const NFTA_HASH_SEED = 5;
const NFTA_HASH_OFFSET = 6;
const NFTA_HASH_TYPE = 7;

const TYPES = { jhash: 0, symhash: 1 } as const;

type Result = { readonly dreg: Register; readonly modulus: number; readonly offset?: number };

/** Without a `seed` the kernel draws one. */
export type Hash =
  | (Result & {
      readonly kind: 'hash';
      readonly type: 'jhash';
      readonly sreg: Register;
      readonly length: number;
      readonly seed?: number;
    })
  | (Result & { readonly kind: 'hash'; readonly type: 'symhash' });

export const hash: Codec<Hash> = {
  name: 'hash',
  encode(expression) {
    const dreg = attr.u32be(NFTA_HASH_DREG, canonicalRegister(expression.dreg));
    const modulus = attr.u32be(NFTA_HASH_MODULUS, expression.modulus);
    const rest = [
      attr.u32be(NFTA_HASH_OFFSET, expression.offset ?? 0),
      attr.u32be(NFTA_HASH_TYPE, TYPES[expression.type]),
    ];
    if (expression.type === 'symhash') return [dreg, modulus, ...rest];
    const { sreg, length, seed } = expression;
    return [
      attr.u32be(NFTA_HASH_SREG, canonicalRegister(sreg)),
      dreg,
      attr.u32be(NFTA_HASH_LEN, length),
      modulus,
      ...(seed === undefined ? [] : [attr.u32be(NFTA_HASH_SEED, seed)]),
      ...rest,
    ];
  },
  decode(attrs) {
    const offset = attrs.u32be(NFTA_HASH_OFFSET) ?? 0;
    const seed = attrs.u32be(NFTA_HASH_SEED);
    const result = {
      dreg: decodeRegister(attrs, NFTA_HASH_DREG),
      modulus: required(attrs.u32be(NFTA_HASH_MODULUS), 'modulus'),
      ...(offset !== 0 && { offset }),
    };
    const type = nameOf(TYPES, attrs.u32be(NFTA_HASH_TYPE) ?? 0, 'hash type');
    if (type === 'symhash') return { kind: 'hash', type, ...result };
    const sreg = decodeRegister(attrs, NFTA_HASH_SREG);
    const length = required(attrs.u32be(NFTA_HASH_LEN), 'length');
    return { kind: 'hash', type, sreg, length, ...(seed !== undefined && { seed }), ...result };
  },
  format(expression) {
    const { dreg, modulus, offset = 0 } = expression;
    const shift = offset === 0 ? '' : ` offset ${offset}`;
    if (expression.type === 'symhash')
      return `hash reg ${dreg} = symhash() % mod ${modulus}${shift}`;
    const { sreg, length, seed = 0 } = expression;
    const of = `reg ${sreg}, ${length}, 0x${seed.toString(16)}`;
    return `hash reg ${dreg} = jhash(${of}) % mod ${modulus}${shift}`;
  },
};
