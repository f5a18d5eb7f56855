/** Puts what lies in registers into a set or map from within the packet path. */
import { attr, required } from '../../netlink/attr.ts';
import { nameOf, type Codec } from './codec.ts';
import {
  canonicalRegister,
  decodeOptionalRegister,
  decodeRegister,
  type Register,
} from './registers.ts';

const NFTA_DYNSET_SET_NAME = 1;
const NFTA_DYNSET_SET_ID = 2;
const NFTA_DYNSET_OP = 3;
const NFTA_DYNSET_SREG_KEY = 4;
const NFTA_DYNSET_SREG_DATA = 5;
const NFTA_DYNSET_TIMEOUT = 6;
const NFTA_DYNSET_FLAGS = 9;
const NFT_DYNSET_F_INV = 1;

const OPS = { add: 0, update: 1, delete: 2 } as const;

/** `update` also starts the element's timeout anew. */
export type Dynset = {
  readonly kind: 'dynset';
  readonly op: keyof typeof OPS;
  readonly set: string;
  readonly sregKey: Register;
  readonly sregData?: Register;
  /** Default: the set's own. */
  readonly timeoutMs?: number;
  readonly inverted?: boolean;
  readonly setId?: number;
};

export const dynset: Codec<Dynset> = {
  name: 'dynset',
  encode: ({ op, set, sregKey, sregData, timeoutMs = 0, inverted = false, setId }) => [
    attr.u32be(NFTA_DYNSET_SREG_KEY, canonicalRegister(sregKey)),
    ...(sregData === undefined
      ? []
      : [attr.u32be(NFTA_DYNSET_SREG_DATA, canonicalRegister(sregData))]),
    attr.u32be(NFTA_DYNSET_OP, OPS[op]),
    ...(timeoutMs === 0 ? [] : [attr.u64be(NFTA_DYNSET_TIMEOUT, BigInt(timeoutMs))]),
    attr.string(NFTA_DYNSET_SET_NAME, set),
    ...(setId === undefined ? [] : [attr.u32be(NFTA_DYNSET_SET_ID, setId)]),
    ...(inverted ? [attr.u32be(NFTA_DYNSET_FLAGS, NFT_DYNSET_F_INV)] : []),
  ],
  decode(attrs) {
    const sregData = decodeOptionalRegister(attrs, NFTA_DYNSET_SREG_DATA);
    const timeoutMs = Number(attrs.u64be(NFTA_DYNSET_TIMEOUT) ?? 0n);
    const inverted = ((attrs.u32be(NFTA_DYNSET_FLAGS) ?? 0) & NFT_DYNSET_F_INV) !== 0;
    const setId = attrs.u32be(NFTA_DYNSET_SET_ID);
    const op = required(attrs.u32be(NFTA_DYNSET_OP), 'set operation');
    return {
      kind: 'dynset',
      op: nameOf(OPS, op, 'set operation'),
      set: required(attrs.string(NFTA_DYNSET_SET_NAME), 'set'),
      sregKey: decodeRegister(attrs, NFTA_DYNSET_SREG_KEY),
      ...(sregData !== undefined && { sregData }),
      ...(timeoutMs !== 0 && { timeoutMs }),
      ...(inverted && { inverted }),
      ...(setId !== undefined && { setId }),
    };
  },
  format({ op, set, sregKey, sregData, timeoutMs = 0 }) {
    const data = sregData === undefined ? '' : ` sreg_data ${sregData}`;
    const timeout = timeoutMs === 0 ? '' : ` timeout ${timeoutMs}ms`;
    return `dynset ${op} reg_key ${sregKey} set ${set}${data}${timeout}`;
  },
};
