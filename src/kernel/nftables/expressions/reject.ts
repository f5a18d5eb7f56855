/** Drops the packet and tells its sender why. */
import { attr, required } from '../../netlink/attr.ts';
import { nameOf, type Codec } from './codec.ts';

const NFTA_REJECT_TYPE = 1;
const NFTA_REJECT_ICMP_CODE = 2;

const TYPES = { icmp: 0, 'tcp-reset': 1, icmpx: 2 } as const;

/** Codes of `icmpx`, which means the right thing in IPv4 and IPv6. */
export const ICMPX = { noRoute: 0, portUnreachable: 1, hostUnreachable: 2, adminProhibited: 3 };

/** `icmp` takes the code of the family's own ICMP, `icmpx` one of `ICMPX`. */
export type Reject =
  | { readonly kind: 'reject'; readonly type: 'icmp' | 'icmpx'; readonly code: number }
  | { readonly kind: 'reject'; readonly type: 'tcp-reset' };

export const reject: Codec<Reject> = {
  name: 'reject',
  encode: (expression) => [
    attr.u32be(NFTA_REJECT_TYPE, TYPES[expression.type]),
    attr.u8(NFTA_REJECT_ICMP_CODE, expression.type === 'tcp-reset' ? 0 : expression.code),
  ],
  decode(attrs) {
    const type = required(attrs.u32be(NFTA_REJECT_TYPE), 'reject type');
    const name = nameOf(TYPES, type, 'reject type');
    if (name === 'tcp-reset') return { kind: 'reject', type: name };
    const code = required(attrs.u8(NFTA_REJECT_ICMP_CODE), 'ICMP code');
    return { kind: 'reject', type: name, code };
  },
  format(expression) {
    const code = expression.type === 'tcp-reset' ? 0 : expression.code;
    return `reject type ${TYPES[expression.type]} code ${code}`;
  },
};
