/** Goes on only until (or from) a number of bytes. */
import { attr, required } from '../../netlink/attr.ts';
import type { Codec } from './codec.ts';

const NFTA_QUOTA_BYTES = 1;
const NFTA_QUOTA_FLAGS = 2;
const NFTA_QUOTA_CONSUMED = 4;
const NFT_QUOTA_F_INV = 1;

export type Quota = {
  readonly kind: 'quota';
  readonly bytes: bigint;
  readonly consumed?: bigint;
  /** `quota over`. */
  readonly inverted?: boolean;
};

export const quota: Codec<Quota> = {
  name: 'quota',
  encode: ({ bytes, consumed = 0n, inverted = false }) => [
    attr.u64be(NFTA_QUOTA_BYTES, bytes),
    attr.u64be(NFTA_QUOTA_CONSUMED, consumed),
    attr.u32be(NFTA_QUOTA_FLAGS, inverted ? NFT_QUOTA_F_INV : 0),
  ],
  decode(attrs) {
    const consumed = attrs.u64be(NFTA_QUOTA_CONSUMED) ?? 0n;
    const flags = attrs.u32be(NFTA_QUOTA_FLAGS) ?? 0;
    return {
      kind: 'quota',
      bytes: required(attrs.u64be(NFTA_QUOTA_BYTES), 'quota'),
      ...(consumed !== 0n && { consumed }),
      ...((flags & NFT_QUOTA_F_INV) !== 0 && { inverted: true }),
    };
  },
  format: ({ bytes, consumed = 0n, inverted = false }) =>
    `quota bytes ${bytes} consumed ${consumed} flags ${inverted ? 1 : 0}`,
};
