/** Masks, sets, flips and shifts bits of a register: `dreg = (sreg & mask) ^ xor`. */
import { attr, required, type Attributes } from '../../netlink/attr.ts';
import { decodeValue, formatData, valueAttr } from '../data.ts';
import { nameOf, type Codec } from './codec.ts';
import { canonicalRegister, decodeRegister, type Register } from './registers.ts';

const NFTA_BITWISE_SREG = 1;
const NFTA_BITWISE_DREG = 2;
const NFTA_BITWISE_LEN = 3;
const NFTA_BITWISE_MASK = 4;
const NFTA_BITWISE_XOR = 5;
const NFTA_BITWISE_OP = 6;
const NFTA_BITWISE_DATA = 7;

const OPS = { mask: 0, lshift: 1, rshift: 2 } as const;

type Registers = {
  readonly kind: 'bitwise';
  readonly sreg: Register;
  readonly dreg: Register;
  /** Bytes; the shifts take whole words. */
  readonly length: number;
};

export type Bitwise =
  | (Registers & { readonly op: 'mask'; readonly mask: Uint8Array; readonly xor: Uint8Array })
  | (Registers & { readonly op: 'lshift' | 'rshift'; readonly bits: number });

export const bitwise: Codec<Bitwise> = {
  name: 'bitwise',
  encode(expression) {
    const registers = [
      attr.u32be(NFTA_BITWISE_SREG, canonicalRegister(expression.sreg)),
      attr.u32be(NFTA_BITWISE_DREG, canonicalRegister(expression.dreg)),
    ];
    const length = attr.u32be(NFTA_BITWISE_LEN, expression.length);
    if (expression.op === 'mask') {
      const { mask, xor } = expression;
      const values = [valueAttr(NFTA_BITWISE_MASK, mask), valueAttr(NFTA_BITWISE_XOR, xor)];
      return [...registers, length, ...values];
    }
    const operation = attr.u32be(NFTA_BITWISE_OP, OPS[expression.op]);
    const bits = valueAttr(NFTA_BITWISE_DATA, shiftBytes(expression.bits));
    return [...registers, operation, length, bits];
  },
  decode(attrs) {
    const op = nameOf(OPS, attrs.u32be(NFTA_BITWISE_OP) ?? 0, 'bitwise operation');
    const registers = decodeRegisters(attrs);
    if (op === 'mask') {
      const mask = required(decodeValue(attrs.nested(NFTA_BITWISE_MASK)), 'mask');
      const xor = required(decodeValue(attrs.nested(NFTA_BITWISE_XOR)), 'bits to flip');
      return { ...registers, op, mask, xor };
    }
    const shift = required(attrs.nested(NFTA_BITWISE_DATA)?.u32(NFTA_DATA_VALUE), 'shift');
    return { ...registers, op, bits: shift };
  },
  format(expression) {
    const { sreg, dreg } = expression;
    if (expression.op === 'mask') {
      const { mask, xor } = expression;
      return `bitwise reg ${dreg} = ( reg ${sreg} & ${formatData(mask)} ) ^ ${formatData(xor)}`;
    }
    const sign = expression.op === 'lshift' ? '<<' : '>>';
    return `bitwise reg ${dreg} = ( reg ${sreg} ${sign} ${formatData(shiftBytes(expression.bits))} )`;
  },
};

const NFTA_DATA_VALUE = 1;

/** The one number of an expression that the kernel takes in the order of the machine. */
function shiftBytes(bits: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(bits).buffer);
}

function decodeRegisters(attrs: Attributes): Registers {
  return {
    kind: 'bitwise',
    sreg: decodeRegister(attrs, NFTA_BITWISE_SREG),
    dreg: decodeRegister(attrs, NFTA_BITWISE_DREG),
    length: required(attrs.u32be(NFTA_BITWISE_LEN), 'length'),
  };
}
