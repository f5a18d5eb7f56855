/** Which routing table a packet asks: `ip rule`. */
import { attr } from '../netlink/attr.ts';
import { NLM_F_CREATE, NLM_F_EXCL } from '../netlink/constants.ts';
import type { Message } from '../netlink/message.ts';
import { decodeBody, encodeBody, optional } from './body.ts';
import {
  AF_INET,
  AF_INET6,
  FR_ACT_TO_TBL,
  FRA_DST,
  FRA_FWMARK,
  FRA_FWMASK,
  FRA_IIFNAME,
  FRA_OIFNAME,
  FRA_PRIORITY,
  FRA_PROTOCOL,
  FRA_SRC,
  FRA_TABLE,
  RTM_DELRULE,
  RTM_GETRULE,
  RTM_NEWRULE,
  RTPROT_FAIRLEAD,
} from './constants.ts';
import { cidrOf, decodeIp, isIpFamily } from './family.ts';

/** A rule that sends packets to a routing table. */
export type RoutingRule = {
  readonly family: 'ipv4' | 'ipv6';
  readonly priority: number;
  readonly table: number;
  /** Prefixes, such as `10.0.0.0/8`. */
  readonly from?: string;
  readonly to?: string;
  readonly mark?: number;
  readonly mask?: number;
  readonly inputLink?: string;
  readonly outputLink?: string;
  /** Who made it. Default: `RTPROT_FAIRLEAD`. */
  readonly protocol?: number;
};

/** `ip rule add priority <n> … lookup <table>` */
export function addRoutingRule(rule: RoutingRule): Message {
  return ruleMessage(RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, rule);
}

/** `ip rule delete priority <n> … lookup <table>` */
export function deleteRoutingRule(rule: RoutingRule): Message {
  return ruleMessage(RTM_DELRULE, 0, rule);
}

/** `ip rule show` */
export function listRoutingRules(family: number): Message {
  const body = new Uint8Array(12);
  body[0] = family;
  return { type: RTM_GETRULE, flags: 0, body };
}

/** Reads the body of `RTM_NEWRULE`; undefined for a rule that sends to no table. */
export function decodeRoutingRule(body: Uint8Array): RoutingRule | undefined {
  const { header, attrs } = decodeBody(body, 12);
  const family = header.getUint8(0);
  if (!isIpFamily(family) || header.getUint8(7) !== FR_ACT_TO_TBL) return undefined;
  const from = attrs.bytes(FRA_SRC);
  const to = attrs.bytes(FRA_DST);
  const mark = attrs.u32(FRA_FWMARK);
  const mask = attrs.u32(FRA_FWMASK);
  const inputLink = attrs.string(FRA_IIFNAME);
  const outputLink = attrs.string(FRA_OIFNAME);
  return {
    family: family === AF_INET6 ? 'ipv6' : 'ipv4',
    priority: attrs.u32(FRA_PRIORITY) ?? 0,
    table: attrs.u32(FRA_TABLE) ?? header.getUint8(4),
    protocol: attrs.u8(FRA_PROTOCOL) ?? 0,
    ...(from !== undefined && { from: `${decodeIp(from)}/${header.getUint8(2)}` }),
    ...(to !== undefined && { to: `${decodeIp(to)}/${header.getUint8(1)}` }),
    ...(mark !== undefined && { mark }),
    ...(mask !== undefined && { mask }),
    ...(inputLink !== undefined && { inputLink }),
    ...(outputLink !== undefined && { outputLink }),
  };
}

/** Every rule message opens with `struct fib_rule_hdr`, which is laid out as `struct rtmsg`. */
function ruleMessage(type: number, flags: number, rule: RoutingRule): Message {
  const from = rule.from === undefined ? undefined : cidrOf(rule.from);
  const to = rule.to === undefined ? undefined : cidrOf(rule.to);
  const body = encodeBody(
    (writer) => {
      writer.u8(rule.family === 'ipv6' ? AF_INET6 : AF_INET);
      writer.u8(to?.prefixLength ?? 0);
      writer.u8(from?.prefixLength ?? 0);
      writer.u8(0);
      writer.u8(rule.table > 0xff ? 0 : rule.table);
      writer.u16(0);
      writer.u8(type === RTM_NEWRULE ? FR_ACT_TO_TBL : 0);
      writer.u32(0);
    },
    [
      attr.u32(FRA_PRIORITY, rule.priority),
      optional(from, (cidr) => attr.bytes(FRA_SRC, cidr.bytes)),
      optional(to, (cidr) => attr.bytes(FRA_DST, cidr.bytes)),
      optional(rule.mark, (mark) => attr.u32(FRA_FWMARK, mark)),
      optional(rule.mask, (mask) => attr.u32(FRA_FWMASK, mask)),
      optional(rule.inputLink, (name) => attr.string(FRA_IIFNAME, name)),
      optional(rule.outputLink, (name) => attr.string(FRA_OIFNAME, name)),
      rule.table > 0xff ? attr.u32(FRA_TABLE, rule.table) : undefined,
      attr.u8(FRA_PROTOCOL, rule.protocol ?? RTPROT_FAIRLEAD),
    ],
  );
  return { type, flags, body };
}
