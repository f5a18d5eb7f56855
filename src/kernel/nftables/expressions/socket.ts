/** Asks for the local socket that a packet will reach; ends the rule when there is none. */
import { attr, required } from '../../netlink/attr.ts';
import { nameOf, type Codec } from './codec.ts';
import { canonicalRegister, decodeRegister, type Register } from './registers.ts';

const NFTA_SOCKET_KEY = 1;
const NFTA_SOCKET_DREG = 2;
const NFTA_SOCKET_LEVEL = 3;

/** `wildcard` needs kernel >= 5.11, `cgroupv2` 5.13. */
const KEYS = { transparent: 0, mark: 1, wildcard: 2, cgroupv2: 3 } as const;

export type Socket = {
  readonly kind: 'socket';
  readonly key: keyof typeof KEYS;
  readonly dreg: Register;
  /** Of `cgroupv2`: how deep. */
  readonly level?: number;
};

export const socket: Codec<Socket> = {
  name: 'socket',
  encode: ({ key, dreg, level }) => [
    attr.u32be(NFTA_SOCKET_KEY, KEYS[key]),
    attr.u32be(NFTA_SOCKET_DREG, canonicalRegister(dreg)),
    ...(level === undefined ? [] : [attr.u32be(NFTA_SOCKET_LEVEL, level)]),
  ],
  decode(attrs) {
    const level = attrs.u32be(NFTA_SOCKET_LEVEL);
    return {
      kind: 'socket',
      key: nameOf(KEYS, required(attrs.u32be(NFTA_SOCKET_KEY), 'socket key'), 'socket key'),
      dreg: decodeRegister(attrs, NFTA_SOCKET_DREG),
      ...(level !== undefined && { level }),
    };
  },
  format: ({ key, dreg }) => `socket load ${key} => reg ${dreg}`,
};
