/** Goes on only as long as a rate is not exceeded. */
import { attr, required } from '../../netlink/attr.ts';
import { nameOf, type Codec } from './codec.ts';

const NFTA_LIMIT_RATE = 1;
const NFTA_LIMIT_UNIT = 2;
const NFTA_LIMIT_BURST = 3;
const NFTA_LIMIT_TYPE = 4;
const NFTA_LIMIT_FLAGS = 5;
const NFT_LIMIT_F_INV = 1;

const TYPES = { packets: 0, bytes: 1 } as const;

export type Limit = {
  readonly kind: 'limit';
  readonly type: keyof typeof TYPES;
  readonly rate: number;
  readonly perSeconds: number;
  readonly burst: number;
  /** `limit rate over`: goes on only once the rate is exceeded. */
  readonly inverted?: boolean;
};

export const limit: Codec<Limit> = {
  name: 'limit',
  encode: ({ type, rate, perSeconds, burst, inverted = false }) => [
    attr.u64be(NFTA_LIMIT_RATE, BigInt(rate)),
    attr.u64be(NFTA_LIMIT_UNIT, BigInt(perSeconds)),
    ...(burst === 0 ? [] : [attr.u32be(NFTA_LIMIT_BURST, burst)]),
    attr.u32be(NFTA_LIMIT_TYPE, TYPES[type]),
    attr.u32be(NFTA_LIMIT_FLAGS, inverted ? NFT_LIMIT_F_INV : 0),
  ],
  decode: (attrs) => ({
    kind: 'limit',
    type: nameOf(TYPES, attrs.u32be(NFTA_LIMIT_TYPE) ?? 0, 'limit type'),
    rate: Number(required(attrs.u64be(NFTA_LIMIT_RATE), 'rate')),
    perSeconds: Number(required(attrs.u64be(NFTA_LIMIT_UNIT), 'unit of the rate')),
    burst: attrs.u32be(NFTA_LIMIT_BURST) ?? 0,
    ...(((attrs.u32be(NFTA_LIMIT_FLAGS) ?? 0) & NFT_LIMIT_F_INV) !== 0 && { inverted: true }),
  }),
  format({ type, rate, perSeconds, burst, inverted = false }) {
    const units: Record<number, string> = {
      1: 'second',
      60: 'minute',
      3600: 'hour',
      86400: 'day',
      604800: 'week',
    };
    const flags = inverted ? '0x1' : '0x0';
    const unit = units[perSeconds] ?? `${perSeconds} seconds`;
    return `limit rate ${rate}/${unit} burst ${burst} type ${type} flags ${flags}`;
  },
};
