/** Asks the routing tables about the packet's addresses. */
import { attr, required } from '../../netlink/attr.ts';
import { bitsOf, nameOf, namesOf, type Codec } from './codec.ts';
import { canonicalRegister, decodeRegister, type Register } from './registers.ts';

const NFTA_FIB_DREG = 1;
const NFTA_FIB_RESULT = 2;
const NFTA_FIB_FLAGS = 3;
const NFTA_FIB_F_PRESENT = 32;

const RESULTS = { oif: 1, oifname: 2, type: 3 } as const;
const FLAGS = { saddr: 1, daddr: 2, mark: 4, iif: 8, oif: 16 } as const;

/** Results of `fib … type` (`RTN_*`, 4 bytes in the order of the machine). */
export const FIB_TYPE = { unicast: 1, local: 2, broadcast: 3, multicast: 5 } as const;

export type Fib = {
  readonly kind: 'fib';
  readonly dreg: Register;
  readonly result: keyof typeof RESULTS;
  readonly flags: readonly (keyof typeof FLAGS)[];
  /** Gives only 1 or 0: whether there is a result. */
  readonly present?: boolean;
};

export const fib: Codec<Fib> = {
  name: 'fib',
  encode({ dreg, result, flags, present = false }) {
    const bits = bitsOf(FLAGS, flags) | (present ? NFTA_FIB_F_PRESENT : 0);
    return [
      attr.u32be(NFTA_FIB_FLAGS, bits),
      attr.u32be(NFTA_FIB_RESULT, RESULTS[result]),
      attr.u32be(NFTA_FIB_DREG, canonicalRegister(dreg)),
    ];
  },
  decode(attrs) {
    const bits = required(attrs.u32be(NFTA_FIB_FLAGS), 'fib flags');
    const result = required(attrs.u32be(NFTA_FIB_RESULT), 'fib result');
    return {
      kind: 'fib',
      dreg: decodeRegister(attrs, NFTA_FIB_DREG),
      result: nameOf(RESULTS, result, 'fib result'),
      flags: namesOf(FLAGS, bits),
      ...((bits & NFTA_FIB_F_PRESENT) !== 0 && { present: true }),
    };
  },
  format({ dreg, result, flags, present = false }) {
    const what = { oif: 'oif', oifname: 'oifname', type: 'type' }[result];
    const from = (Object.keys(FLAGS) as (keyof typeof FLAGS)[]).filter((f) => flags.includes(f));
    return `fib ${from.join(' . ')} ${what}${present ? ' present' : ''} => reg ${dreg}`;
  },
};
