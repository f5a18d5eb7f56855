/** Bytes of the packet's headers. */
import { attr, required, type Attributes } from '../../netlink/attr.ts';
import { nameOf, type Codec } from './codec.ts';
import { canonicalRegister, decodeRegister, type Register } from './registers.ts';

const NFTA_PAYLOAD_DREG = 1;
const NFTA_PAYLOAD_BASE = 2;
const NFTA_PAYLOAD_OFFSET = 3;
const NFTA_PAYLOAD_LEN = 4;
const NFTA_PAYLOAD_SREG = 5;
const NFTA_PAYLOAD_CSUM_TYPE = 6;
const NFTA_PAYLOAD_CSUM_OFFSET = 7;
const NFTA_PAYLOAD_CSUM_FLAGS = 8;

const BASES = { link: 0, network: 1, transport: 2, inner: 3 } as const;

export type PayloadBase = keyof typeof BASES;

type Place = {
  readonly kind: 'payload';
  readonly base: PayloadBase;
  readonly offset: number;
  readonly length: number;
};

/** Read into `dreg`, or written from `sreg` with the checksum mended. */
export type Payload =
  | (Place & { readonly dreg: Register })
  | (Place & {
      readonly sreg: Register;
      readonly checksum: {
        readonly type: number;
        readonly offset: number;
        readonly flags: number;
      };
    });

export const payload: Codec<Payload> = {
  name: 'payload',
  encode(expression) {
    const place = [
      attr.u32be(NFTA_PAYLOAD_BASE, BASES[expression.base]),
      attr.u32be(NFTA_PAYLOAD_OFFSET, expression.offset),
      attr.u32be(NFTA_PAYLOAD_LEN, expression.length),
    ];
    if ('dreg' in expression) {
      return [attr.u32be(NFTA_PAYLOAD_DREG, canonicalRegister(expression.dreg)), ...place];
    }
    const { sreg, checksum } = expression;
    return [
      attr.u32be(NFTA_PAYLOAD_SREG, canonicalRegister(sreg)),
      ...place,
      attr.u32be(NFTA_PAYLOAD_CSUM_TYPE, checksum.type),
      attr.u32be(NFTA_PAYLOAD_CSUM_OFFSET, checksum.offset),
      ...(checksum.flags === 0 ? [] : [attr.u32be(NFTA_PAYLOAD_CSUM_FLAGS, checksum.flags)]),
    ];
  },
  decode(attrs) {
    const place = decodePlace(attrs);
    if (!attrs.has(NFTA_PAYLOAD_SREG)) {
      return { ...place, dreg: decodeRegister(attrs, NFTA_PAYLOAD_DREG) };
    }
    const checksum = {
      type: attrs.u32be(NFTA_PAYLOAD_CSUM_TYPE) ?? 0,
      offset: attrs.u32be(NFTA_PAYLOAD_CSUM_OFFSET) ?? 0,
      flags: attrs.u32be(NFTA_PAYLOAD_CSUM_FLAGS) ?? 0,
    };
    return { ...place, sreg: decodeRegister(attrs, NFTA_PAYLOAD_SREG), checksum };
  },
  format(expression) {
    const { base, offset, length } = expression;
    const place = `${length}b @ ${base} header + ${offset}`;
    if ('dreg' in expression) return `payload load ${place} => reg ${expression.dreg}`;
    const { type, offset: at, flags } = expression.checksum;
    const mend = `csum_type ${type} csum_off ${at} csum_flags 0x${flags.toString(16)}`;
    return `payload write reg ${expression.sreg} => ${place} ${mend}`;
  },
};

function decodePlace(attrs: Attributes): Place {
  const base = required(attrs.u32be(NFTA_PAYLOAD_BASE), 'payload base');
  return {
    kind: 'payload',
    base: nameOf(BASES, base, 'payload base'),
    offset: required(attrs.u32be(NFTA_PAYLOAD_OFFSET), 'payload offset'),
    length: required(attrs.u32be(NFTA_PAYLOAD_LEN), 'payload length'),
  };
}
