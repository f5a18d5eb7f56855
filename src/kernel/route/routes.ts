/** Routes: `ip route`. */
import { bitsOf } from '../../lib/ip.ts';
import { attr, decodeAttrs, DecodeError, type Attr } from '../netlink/attr.ts';
import { ByteWriter } from '../netlink/byte-writer.ts';
import { NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE } from '../netlink/constants.ts';
import type { Message } from '../netlink/message.ts';
import { decodeBody, encodeBody, optional } from './body.ts';
import {
  AF_INET6,
  RT_TABLE_LOCAL,
  RT_TABLE_MAIN,
  RT_TABLE_UNSPEC,
  RTA_DST,
  RTA_GATEWAY,
  RTA_METRICS,
  RTA_MULTIPATH,
  RTA_OIF,
  RTA_PREFSRC,
  RTA_PRIORITY,
  RTA_TABLE,
  RTAX_MTU,
  RTM_DELROUTE,
  RTM_F_CLONED,
  RTM_GETROUTE,
  RTM_NEWROUTE,
  RTNH_F_ONLINK,
  RTPROT_FAIRLEAD,
  RTPROT_UNSPEC,
} from './constants.ts';
import { anyAddress, cidrOf, decodeIp, familyNumber, ipBytes, isIpFamily } from './family.ts';

export type RouteType =
  | 'unicast'
  | 'local'
  | 'broadcast'
  | 'anycast'
  | 'multicast'
  | 'blackhole'
  | 'unreachable'
  | 'prohibit'
  | 'throw';

export type RouteScope = 'global' | 'site' | 'link' | 'host' | 'nowhere';

/** One way out of a route with several. */
export type NextHop = {
  readonly linkIndex: number;
  readonly via?: string;
  /** 1-256; the share of the flows that go this way. */
  readonly weight?: number;
  /** The gateway is on the link even if no address of the link says so. */
  readonly onlink?: boolean;
};

/** A route. `0.0.0.0/0` and `::/0` are the defaults. */
export type Route = {
  readonly destination: string;
  readonly type?: RouteType;
  readonly linkIndex?: number;
  readonly via?: string;
  readonly onlink?: boolean;
  readonly nextHops?: readonly NextHop[];
  /** The address that packets of this host carry when they go this way. */
  readonly source?: string;
  readonly metric?: number;
  readonly mtu?: number;
  /** Default: main, or local for the type `local`. */
  readonly table?: number;
  /** Who made it (`rtm_protocol`). Default: `RTPROT_FAIRLEAD`. */
  readonly protocol?: number;
  /** Default: as `ip route` chooses it. */
  readonly scope?: RouteScope;
};

const TYPES: Record<RouteType, number> = {
  unicast: 1,
  local: 2,
  broadcast: 3,
  anycast: 4,
  multicast: 5,
  blackhole: 6,
  unreachable: 7,
  prohibit: 8,
  throw: 9,
};

const SCOPES: Record<RouteScope, number> = {
  global: 0,
  site: 200,
  link: 253,
  host: 254,
  nowhere: 255,
};

/** `ip route add <destination> …` */
export function addRoute(route: Route): Message {
  return routeMessage(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, route);
}

/** `ip route replace <destination> …` */
export function replaceRoute(route: Route): Message {
  return routeMessage(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, route);
}

/** `ip route delete <destination> …`; what is left out matches anything. */
export function deleteRoute(route: Route): Message {
  const exact = { protocol: RTPROT_UNSPEC, scope: 'nowhere', ...route } as const;
  return routeMessage(RTM_DELROUTE, 0, exact);
}

/** `ip route show`; the kernel filters on a strict socket. */
export function listRoutes(
  family: number,
  filter: { readonly table?: number; readonly protocol?: number; readonly linkIndex?: number } = {},
): Message {
  const body = encodeBody(
    (writer) => rtmsg(writer, { family, protocol: filter.protocol ?? 0 }),
    [
      optional(filter.table, (table) => attr.u32(RTA_TABLE, table)),
      optional(filter.linkIndex, (index) => attr.u32(RTA_OIF, index)),
    ],
  );
  return { type: RTM_GETROUTE, flags: 0, body };
}

/** `ip route get <address>` */
export function getRoute(address: string): Message {
  const prefixLength = bitsOf(address.includes(':') ? 'ipv6' : 'ipv4');
  const body = encodeBody(
    (writer) => rtmsg(writer, { family: familyNumber(address), prefixLength }),
    [attr.bytes(RTA_DST, ipBytes(address))],
  );
  return { type: RTM_GETROUTE, flags: 0, body };
}

/** Whether the message tells of a looked-up route in the cache, such as one with a path MTU. */
export function isClonedRoute(body: Uint8Array): boolean {
  return (decodeBody(body, 12).header.getUint32(8, true) & RTM_F_CLONED) !== 0;
}

/** Reads the body of `RTM_NEWROUTE` and `RTM_DELROUTE`; undefined for what is not an IP route. */
export function decodeRoute(body: Uint8Array): Route | undefined {
  const { header, attrs } = decodeBody(body, 12);
  const family = header.getUint8(0);
  if (!isIpFamily(family)) return undefined;
  const address = attrs.bytes(RTA_DST);
  const prefix = address === undefined ? anyAddress(family) : decodeIp(address);
  const via = attrs.bytes(RTA_GATEWAY);
  const source = attrs.bytes(RTA_PREFSRC);
  const linkIndex = attrs.u32(RTA_OIF);
  const metric = attrs.u32(RTA_PRIORITY);
  const mtu = attrs.nested(RTA_METRICS)?.u32(RTAX_MTU);
  const hops = attrs.bytes(RTA_MULTIPATH);
  return {
    destination: `${prefix}/${header.getUint8(1)}`,
    type: nameIn(TYPES, header.getUint8(7), 'unicast'),
    table: attrs.u32(RTA_TABLE) ?? header.getUint8(4),
    protocol: header.getUint8(5),
    scope: nameIn(SCOPES, header.getUint8(6), 'global'),
    ...(linkIndex !== undefined && { linkIndex }),
    ...(via !== undefined && { via: decodeIp(via) }),
    ...((header.getUint32(8, true) & RTNH_F_ONLINK) !== 0 && { onlink: true }),
    ...(hops !== undefined && { nextHops: decodeNextHops(hops) }),
    ...(source !== undefined && { source: decodeIp(source) }),
    ...(metric !== undefined && { metric }),
    ...(mtu !== undefined && { mtu }),
  };
}

function nameIn<Name extends string>(
  table: Record<Name, number>,
  value: number,
  otherwise: Name,
): Name {
  const names = Object.keys(table) as Name[];
  return names.find((name) => table[name] === value) ?? otherwise;
}

type RtMsg = {
  readonly family: number;
  readonly prefixLength?: number;
  readonly table?: number;
  readonly protocol?: number;
  readonly scope?: number;
  readonly type?: number;
  readonly flags?: number;
};

/** `struct rtmsg`; the table has 32 bits in its attribute and 8 here. */
function rtmsg(writer: ByteWriter, values: RtMsg): void {
  const table = values.table ?? RT_TABLE_UNSPEC;
  writer.u8(values.family);
  writer.u8(values.prefixLength ?? 0);
  writer.u8(0);
  writer.u8(0);
  writer.u8(table > 0xff ? RT_TABLE_UNSPEC : table);
  writer.u8(values.protocol ?? RTPROT_UNSPEC);
  writer.u8(values.scope ?? 0);
  writer.u8(values.type ?? 0);
  writer.u32(values.flags ?? 0);
}

function routeMessage(type: number, flags: number, route: Route): Message {
  const cidr = cidrOf(route.destination);
  const kind = route.type ?? 'unicast';
  const table = route.table ?? (kind === 'local' ? RT_TABLE_LOCAL : RT_TABLE_MAIN);
  const header: RtMsg = {
    family: familyNumber(cidr.address),
    prefixLength: cidr.prefixLength,
    table,
    protocol: route.protocol ?? RTPROT_FAIRLEAD,
    scope: SCOPES[route.scope ?? defaultScope(route, kind)],
    type: type === RTM_DELROUTE && route.type === undefined ? 0 : TYPES[kind],
    flags: route.onlink === true ? RTNH_F_ONLINK : 0,
  };
  const body = encodeBody(
    (writer) => rtmsg(writer, header),
    [
      cidr.prefixLength > 0 ? attr.bytes(RTA_DST, cidr.bytes) : undefined,
      table > 0xff ? attr.u32(RTA_TABLE, table) : undefined,
      ...wayAttrs(route),
      optional(route.source, (address) => attr.bytes(RTA_PREFSRC, ipBytes(address))),
      optional(route.metric, (metric) => attr.u32(RTA_PRIORITY, metric)),
      optional(route.mtu, (mtu) => attr.nestedBare(RTA_METRICS, [attr.u32(RTAX_MTU, mtu)])),
    ],
  );
  return { type, flags, body };
}

function wayAttrs(route: Route): (Attr | undefined)[] {
  return [
    optional(route.via, (via) => attr.bytes(RTA_GATEWAY, ipBytes(via))),
    optional(route.linkIndex, (index) => attr.u32(RTA_OIF, index)),
    optional(route.nextHops, (hops) => attr.bytes(RTA_MULTIPATH, encodeNextHops(hops))),
  ];
}

/** As iproute2 does it: IPv6 has no scopes; IPv4 without a gateway reaches the link only. */
function defaultScope(route: Route, kind: RouteType): RouteScope {
  if (familyNumber(route.destination) === AF_INET6) return 'global';
  if (kind === 'local') return 'host';
  const direct = route.via === undefined && route.nextHops === undefined;
  return direct && (kind === 'unicast' || kind === 'broadcast') ? 'link' : 'global';
}

/** `struct rtnexthop` and its attributes, one after the other. */
function encodeNextHops(hops: readonly NextHop[]): Uint8Array {
  const writer = new ByteWriter();
  for (const hop of hops) {
    const attrs = new ByteWriter();
    if (hop.via !== undefined) attr.bytes(RTA_GATEWAY, ipBytes(hop.via))(attrs);
    writer.u16(8 + attrs.length);
    writer.u8(hop.onlink === true ? RTNH_F_ONLINK : 0);
    writer.u8((hop.weight ?? 1) - 1);
    writer.i32(hop.linkIndex);
    writer.raw(attrs.bytes());
  }
  return writer.bytes();
}

function decodeNextHops(bytes: Uint8Array): NextHop[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const hops: NextHop[] = [];
  let at = 0;
  while (at + 8 <= bytes.length) {
    const length = view.getUint16(at, true);
    if (length < 8 || at + length > bytes.length) throw new DecodeError('a broken next hop');
    const attrs = decodeAttrs(bytes.subarray(at + 8, at + length));
    const via = attrs.bytes(RTA_GATEWAY);
    hops.push({
      linkIndex: view.getInt32(at + 4, true),
      weight: bytes[at + 3]! + 1,
      ...(via !== undefined && { via: decodeIp(via) }),
      ...((bytes[at + 2]! & RTNH_F_ONLINK) !== 0 && { onlink: true }),
    });
    at += (length + 3) & ~3;
  }
  return hops;
}
