/** Looks a key up in a set (goes on if it is there, or if not) or in a map (gives its data). */
import { attr, required } from '../../netlink/attr.ts';
import type { Codec } from './codec.ts';
import {
  canonicalRegister,
  decodeOptionalRegister,
  decodeRegister,
  type Register,
} from './registers.ts';

const NFTA_LOOKUP_SET = 1;
const NFTA_LOOKUP_SREG = 2;
const NFTA_LOOKUP_DREG = 3;
const NFTA_LOOKUP_SET_ID = 4;
const NFTA_LOOKUP_FLAGS = 5;
const NFT_LOOKUP_F_INV = 1;

export type Lookup = {
  readonly kind: 'lookup';
  readonly set: string;
  readonly sreg: Register;
  /** Where a map's data go; 0 for the verdict of a verdict map. */
  readonly dreg?: Register;
  readonly inverted?: boolean;
  /** For an anonymous set of the same transaction, whose name the kernel makes up. */
  readonly setId?: number;
};

export const lookup: Codec<Lookup> = {
  name: 'lookup',
  encode: ({ set, sreg, dreg, inverted = false, setId }) => [
    attr.u32be(NFTA_LOOKUP_SREG, canonicalRegister(sreg)),
    ...(dreg === undefined ? [] : [attr.u32be(NFTA_LOOKUP_DREG, canonicalRegister(dreg))]),
    attr.string(NFTA_LOOKUP_SET, set),
    ...(setId === undefined ? [] : [attr.u32be(NFTA_LOOKUP_SET_ID, setId)]),
    ...(inverted ? [attr.u32be(NFTA_LOOKUP_FLAGS, NFT_LOOKUP_F_INV)] : []),
  ],
  decode(attrs) {
    const dreg = decodeOptionalRegister(attrs, NFTA_LOOKUP_DREG);
    const inverted = ((attrs.u32be(NFTA_LOOKUP_FLAGS) ?? 0) & NFT_LOOKUP_F_INV) !== 0;
    const setId = attrs.u32be(NFTA_LOOKUP_SET_ID);
    return {
      kind: 'lookup',
      set: required(attrs.string(NFTA_LOOKUP_SET), 'set'),
      sreg: decodeRegister(attrs, NFTA_LOOKUP_SREG),
      ...(dreg !== undefined && { dreg }),
      ...(inverted && { inverted }),
      ...(setId !== undefined && { setId }),
    };
  },
  format({ set, sreg, dreg, inverted = false }) {
    const target = dreg === undefined ? '' : ` dreg ${dreg}`;
    return `lookup reg ${sreg} set ${set}${target}${inverted ? ' 0x1' : ''}`;
  },
};
