/** Facts about the packet beside its bytes: mark, interfaces, protocol numbers. */
import { attr, required } from '../../netlink/attr.ts';
import { nameOf, type Codec } from './codec.ts';
import { canonicalRegister, decodeRegister, type Register } from './registers.ts';

const NFTA_META_DREG = 1;
const NFTA_META_KEY = 2;
const NFTA_META_SREG = 3;

const KEYS = {
  len: 0,
  protocol: 1,
  priority: 2,
  mark: 3,
  iif: 4,
  oif: 5,
  iifname: 6,
  oifname: 7,
  iiftype: 8,
  oiftype: 9,
  skuid: 10,
  skgid: 11,
  nftrace: 12,
  rtclassid: 13,
  secmark: 14,
  nfproto: 15,
  l4proto: 16,
  ibrname: 17,
  obrname: 18,
  pkttype: 19,
  cpu: 20,
  iifgroup: 21,
  oifgroup: 22,
  cgroup: 23,
  prandom: 24,
  ipsec: 25,
  iifkind: 26,
  oifkind: 27,
  ibrpvid: 28,
  ibrvproto: 29,
  time: 30,
  day: 31,
  hour: 32,
  sdif: 33,
  sdifname: 34,
} as const;

export type MetaKey = keyof typeof KEYS;

/** `meta <key>` into `dreg`, or `meta <key> set` from `sreg`. */
export type Meta =
  | { readonly kind: 'meta'; readonly key: MetaKey; readonly dreg: Register }
  | { readonly kind: 'meta'; readonly key: MetaKey; readonly sreg: Register };

export const meta: Codec<Meta> = {
  name: 'meta',
  encode: (expression) => [
    attr.u32be(NFTA_META_KEY, KEYS[expression.key]),
    'dreg' in expression
      ? attr.u32be(NFTA_META_DREG, canonicalRegister(expression.dreg))
      : attr.u32be(NFTA_META_SREG, canonicalRegister(expression.sreg)),
  ],
  decode(attrs) {
    const key = nameOf(KEYS, required(attrs.u32be(NFTA_META_KEY), 'meta key'), 'meta key');
    return attrs.has(NFTA_META_SREG)
      ? { kind: 'meta', key, sreg: decodeRegister(attrs, NFTA_META_SREG) }
      : { kind: 'meta', key, dreg: decodeRegister(attrs, NFTA_META_DREG) };
  },
  format: (expression) =>
    'dreg' in expression
      ? `meta load ${expression.key} => reg ${expression.dreg}`
      : `meta set ${expression.key} with reg ${expression.sreg}`,
};
