/** Counts packets and bytes. */
import { attr } from '../../netlink/attr.ts';
import type { Codec } from './codec.ts';

const NFTA_COUNTER_BYTES = 1;
const NFTA_COUNTER_PACKETS = 2;

export type Counter = {
  readonly kind: 'counter';
  readonly packets?: bigint;
  readonly bytes?: bigint;
};

export const counter: Codec<Counter> = {
  name: 'counter',
  encode: ({ packets, bytes }) =>
    packets === undefined && bytes === undefined
      ? []
      : [
          attr.u64be(NFTA_COUNTER_BYTES, bytes ?? 0n),
          attr.u64be(NFTA_COUNTER_PACKETS, packets ?? 0n),
        ],
  decode(attrs) {
    const packets = attrs.u64be(NFTA_COUNTER_PACKETS);
    const bytes = attrs.u64be(NFTA_COUNTER_BYTES);
    return {
      kind: 'counter',
      ...(packets !== undefined && { packets }),
      ...(bytes !== undefined && { bytes }),
    };
  },
  format: ({ packets = 0n, bytes = 0n }) => `counter pkts ${packets} bytes ${bytes}`,
};
