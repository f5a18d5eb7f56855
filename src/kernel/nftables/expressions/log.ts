/** Writes a line to the kernel's log, or hands the packet to a log group. */
import { attr } from '../../netlink/attr.ts';
import type { Codec } from './codec.ts';

const NFTA_LOG_GROUP = 1;
const NFTA_LOG_PREFIX = 2;
const NFTA_LOG_SNAPLEN = 3;
const NFTA_LOG_QTHRESHOLD = 4;
const NFTA_LOG_LEVEL = 5;
const NFTA_LOG_FLAGS = 6;

/** With a `group` to that group, else to the kernel's log at `level`. */
export type Log = {
  readonly kind: 'log';
  readonly prefix?: string;
  readonly group?: number;
  readonly snapLength?: number;
  readonly queueThreshold?: number;
  readonly level?: number;
  readonly flags?: number;
};

export const log: Codec<Log> = {
  name: 'log',
  encode: ({ prefix, group, snapLength, queueThreshold, level, flags }) =>
    [
      prefix === undefined ? undefined : attr.string(NFTA_LOG_PREFIX, prefix),
      group === undefined ? undefined : attr.u16be(NFTA_LOG_GROUP, group),
      snapLength === undefined ? undefined : attr.u32be(NFTA_LOG_SNAPLEN, snapLength),
      queueThreshold === undefined ? undefined : attr.u16be(NFTA_LOG_QTHRESHOLD, queueThreshold),
      level === undefined ? undefined : attr.u32be(NFTA_LOG_LEVEL, level),
      flags === undefined ? undefined : attr.u32be(NFTA_LOG_FLAGS, flags),
    ].filter((child) => child !== undefined),
  decode(attrs) {
    const prefix = attrs.string(NFTA_LOG_PREFIX);
    const group = attrs.u16be(NFTA_LOG_GROUP);
    const snapLength = attrs.u32be(NFTA_LOG_SNAPLEN);
    const queueThreshold = attrs.u16be(NFTA_LOG_QTHRESHOLD);
    const level = attrs.u32be(NFTA_LOG_LEVEL);
    const flags = attrs.u32be(NFTA_LOG_FLAGS);
    return {
      kind: 'log',
      ...(prefix !== undefined && { prefix }),
      ...(group !== undefined && { group }),
      ...(snapLength !== undefined && { snapLength }),
      ...(queueThreshold !== undefined && { queueThreshold }),
      ...(level !== undefined && { level }),
      ...(flags !== undefined && { flags }),
    };
  },
  format({ prefix, group, snapLength, queueThreshold, level, flags }) {
    const text = prefix === undefined ? '' : ` prefix ${prefix}`;
    if (group !== undefined) {
      const sizes = ` snaplen ${snapLength ?? 0} qthreshold ${queueThreshold ?? 0}`;
      return `log${text} group ${group}${sizes}`;
    }
    const bits = flags === undefined || flags === 0 ? '' : ` flags 0x${flags.toString(16)}`;
    return `log${text}${level === undefined ? '' : ` level ${level}`}${bits}`;
  },
};
