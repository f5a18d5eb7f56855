/** Facts about the packet's connection. */
import { attr, required } from '../../netlink/attr.ts';
import { nameOf, type Codec } from './codec.ts';
import { canonicalRegister, decodeRegister, type Register } from './registers.ts';

const NFTA_CT_DREG = 1;
const NFTA_CT_KEY = 2;
const NFTA_CT_DIRECTION = 3;
const NFTA_CT_SREG = 4;

const KEYS = {
  state: 0,
  direction: 1,
  status: 2,
  mark: 3,
  secmark: 4,
  expiration: 5,
  helper: 6,
  l3protocol: 7,
  src: 8,
  dst: 9,
  protocol: 10,
  proto_src: 11,
  proto_dst: 12,
  label: 13,
  packets: 14,
  bytes: 15,
  avgpkt: 16,
  zone: 17,
  event: 18,
  src_ip: 19,
  dst_ip: 20,
  src_ip6: 21,
  dst_ip6: 22,
  ct_id: 23,
} as const;

const DIRECTIONS = { original: 0, reply: 1 } as const;

export type CtKey = keyof typeof KEYS;

/** Bits of `ct state` (4 bytes in the order of the machine). */
export const CT_STATE = { invalid: 1, established: 2, related: 4, new: 8, untracked: 64 } as const;

/** Bits of `ct status` (4 bytes in the order of the machine). */
export const CT_STATUS = {
  expected: 1,
  seenReply: 2,
  assured: 4,
  confirmed: 8,
  snat: 16,
  dnat: 32,
  dying: 512,
} as const;

/** `ct <key>` into `dreg`, or `ct <key> set` from `sreg`. */
export type Ct = {
  readonly kind: 'ct';
  readonly key: CtKey;
  readonly direction?: keyof typeof DIRECTIONS;
} & ({ readonly dreg: Register } | { readonly sreg: Register });

export const ct: Codec<Ct> = {
  name: 'ct',
  encode: (expression) => [
    attr.u32be(NFTA_CT_KEY, KEYS[expression.key]),
    'dreg' in expression
      ? attr.u32be(NFTA_CT_DREG, canonicalRegister(expression.dreg))
      : attr.u32be(NFTA_CT_SREG, canonicalRegister(expression.sreg)),
    ...(expression.direction === undefined
      ? []
      : [attr.u8(NFTA_CT_DIRECTION, DIRECTIONS[expression.direction])]),
  ],
  decode(attrs) {
    const way = attrs.u8(NFTA_CT_DIRECTION);
    return {
      kind: 'ct',
      key: nameOf(KEYS, required(attrs.u32be(NFTA_CT_KEY), 'ct key'), 'ct key'),
      ...(way !== undefined && { direction: nameOf(DIRECTIONS, way, 'ct direction') }),
      ...(attrs.has(NFTA_CT_SREG)
        ? { sreg: decodeRegister(attrs, NFTA_CT_SREG) }
        : { dreg: decodeRegister(attrs, NFTA_CT_DREG) }),
    };
  },
  format(expression) {
    const { key, direction } = expression;
    if ('sreg' in expression) return `ct set ${key} with reg ${expression.sreg}`;
    const way = direction === undefined ? '' : ` , dir ${direction}`;
    return `ct load ${key} => reg ${expression.dreg}${way}`;
  },
};
