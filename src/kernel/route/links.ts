/** Network links: `ip link`. */
import { attr, required, type Attr, type Attributes } from '../netlink/attr.ts';
import type { ByteWriter } from '../netlink/byte-writer.ts';
import { NLM_F_CREATE, NLM_F_EXCL } from '../netlink/constants.ts';
import type { Message } from '../netlink/message.ts';
import { decodeBody, encodeBody, optional } from './body.ts';
import {
  AF_INET6,
  AF_UNSPEC,
  IFF_LOOPBACK,
  IFF_LOWER_UP,
  IFF_PROMISC,
  IFF_UP,
  IFLA_ADDRESS,
  IFLA_AF_SPEC,
  IFLA_BR_FORWARD_DELAY,
  IFLA_BR_STP_STATE,
  IFLA_BRPORT_ISOLATED,
  IFLA_BRPORT_MODE,
  IFLA_EXT_MASK,
  IFLA_IFNAME,
  IFLA_INET6_ADDR_GEN_MODE,
  IFLA_INFO_DATA,
  IFLA_INFO_KIND,
  IFLA_INFO_SLAVE_DATA,
  IFLA_INFO_SLAVE_KIND,
  IFLA_LINK,
  IFLA_LINK_NETNSID,
  IFLA_LINKINFO,
  IFLA_MASTER,
  IFLA_MTU,
  IFLA_NET_NS_FD,
  IFLA_OPERSTATE,
  IFLA_TXQLEN,
  IN6_ADDR_GEN_MODE_NONE,
  RTEXT_FILTER_SKIP_STATS,
  RTM_DELLINK,
  RTM_GETLINK,
  RTM_NEWLINK,
  VETH_INFO_PEER,
} from './constants.ts';
import { formatMac, macBytes } from './mac.ts';

/** What can be set on a link. */
export type LinkChanges = {
  readonly name?: string;
  readonly up?: boolean;
  readonly promiscuous?: boolean;
  readonly mtu?: number;
  /** Link-layer address, such as `02:42:ac:11:00:02`. */
  readonly address?: string;
  /** Index of the bridge it belongs to; 0 frees it. */
  readonly masterIndex?: number;
  /** Descriptor of the network namespace to put it into. */
  readonly netnsFd?: number;
  readonly queueLength?: number;
};

/** What can be set once the link is there. */
export type LinkSettings = LinkChanges & {
  /** `addrgenmode none`: no IPv6 link-local address of the kernel's own making. */
  readonly noLinkLocal?: boolean;
};

/** A link to make; what `up` and the rest say holds from its first moment. */
export type NewLink = LinkChanges & {
  readonly name: string;
  readonly kind: LinkKind;
};

export type LinkKind =
  | { readonly kind: 'bridge' }
  | { readonly kind: 'dummy' }
  | { readonly kind: 'veth'; readonly peer: VethPeer };

/** The other end; it can be set up only once the pair is there (`veth_open` says ENOTCONN). */
export type VethPeer = Omit<LinkChanges, 'up'> & { readonly name: string };

/** A link as the kernel shows it. */
export type Link = {
  readonly index: number;
  readonly name: string;
  /** `bridge`, `veth`, …; empty for a plain device. */
  readonly kind: string;
  readonly up: boolean;
  /** Up, and with a carrier: the peer of a veth is up too. */
  readonly running: boolean;
  readonly loopback: boolean;
  readonly promiscuous: boolean;
  readonly mtu: number;
  readonly address: string;
  readonly masterIndex: number;
  /** Index of the veth peer, in the namespace `peerNetnsId` when that is not this one. */
  readonly peerIndex: number;
  readonly peerNetnsId: number | undefined;
};

/** By index, or by name. */
export type LinkRef = number | string;

/** `ip link add <name> type <kind> …` */
export function addLink(link: NewLink): Message {
  const attrs = [...changeAttrs(link), attr.nestedBare(IFLA_LINKINFO, kindAttrs(link.kind))];
  return linkMessage(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, 0, { changes: link, attrs });
}

/** `ip link set <link> …` */
export function setLink(ref: LinkRef, changes: LinkSettings): Message {
  if (typeof ref === 'number') {
    return linkMessage(RTM_NEWLINK, 0, ref, { changes, attrs: changeAttrs(changes) });
  }
  // A message that names its link by IFLA_IFNAME cannot give it another name as well.
  const { name: _, ...others } = changes;
  const attrs = [attr.string(IFLA_IFNAME, ref), ...changeAttrs(others)];
  return linkMessage(RTM_NEWLINK, 0, 0, { changes, attrs });
}

/** `ip link set <link> type bridge_slave hairpin on isolated on` */
export function setBridgePort(
  index: number,
  port: { readonly hairpin?: boolean; readonly isolated?: boolean },
): Message {
  const data = [
    optional(port.hairpin, (on) => attr.u8(IFLA_BRPORT_MODE, Number(on))),
    optional(port.isolated, (on) => attr.u8(IFLA_BRPORT_ISOLATED, Number(on))),
  ].filter((child) => child !== undefined);
  const info = [
    attr.bareString(IFLA_INFO_SLAVE_KIND, 'bridge'),
    attr.nestedBare(IFLA_INFO_SLAVE_DATA, data),
  ];
  return linkMessage(RTM_NEWLINK, 0, index, { attrs: [attr.nestedBare(IFLA_LINKINFO, info)] });
}

/** `ip link delete <link>` */
export function deleteLink(ref: LinkRef): Message {
  return linkMessage(RTM_DELLINK, 0, ...refParts(ref));
}

/** `ip link show <link>` */
export function getLink(ref: LinkRef): Message {
  const [index, { attrs }] = refParts(ref);
  return linkMessage(RTM_GETLINK, 0, index, { attrs: [...attrs, skipStats()] });
}

/** `ip link show` */
export function listLinks(): Message {
  return linkMessage(RTM_GETLINK, 0, 0, { attrs: [skipStats()] });
}

/** Reads the body of `RTM_NEWLINK` and `RTM_DELLINK`. */
export function decodeLink(body: Uint8Array): Link {
  const { header, attrs } = decodeBody(body, 16);
  const flags = header.getUint32(8, true);
  const info = attrs.nested(IFLA_LINKINFO);
  return {
    index: header.getInt32(4, true),
    name: required(attrs.string(IFLA_IFNAME), 'link name'),
    kind: info?.string(IFLA_INFO_KIND) ?? '',
    up: (flags & IFF_UP) !== 0,
    running: (flags & IFF_UP) !== 0 && isRunning(flags, attrs),
    loopback: (flags & IFF_LOOPBACK) !== 0,
    promiscuous: (flags & IFF_PROMISC) !== 0,
    mtu: attrs.u32(IFLA_MTU) ?? 0,
    address: formatMac(attrs.bytes(IFLA_ADDRESS) ?? new Uint8Array()),
    masterIndex: attrs.u32(IFLA_MASTER) ?? 0,
    peerIndex: attrs.u32(IFLA_LINK) ?? 0,
    peerNetnsId: attrs.i32(IFLA_LINK_NETNSID),
  };
}

/** The carrier flag, or the operational state for devices that keep one (RFC 2863). */
function isRunning(flags: number, attrs: Attributes): boolean {
  const IF_OPER_UP = 6;
  return (flags & IFF_LOWER_UP) !== 0 || attrs.u8(IFLA_OPERSTATE) === IF_OPER_UP;
}

function refParts(ref: LinkRef): [number, { attrs: Attr[] }] {
  if (typeof ref === 'number') return [ref, { attrs: [] }];
  return [0, { attrs: [attr.string(IFLA_IFNAME, ref)] }];
}

function skipStats(): Attr {
  return attr.u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
}

/** Every link message opens with `struct ifinfomsg`. */
function linkMessage(
  type: number,
  flags: number,
  index: number,
  content: { changes?: LinkChanges; attrs: readonly Attr[] },
): Message {
  const { changes = {}, attrs } = content;
  return { type, flags, body: encodeBody((writer) => ifinfomsg(writer, index, changes), attrs) };
}

function ifinfomsg(writer: ByteWriter, index: number, changes: LinkChanges): void {
  const bits: [boolean | undefined, number][] = [
    [changes.up, IFF_UP],
    [changes.promiscuous, IFF_PROMISC],
  ];
  const sum = (wanted: (on: boolean | undefined) => boolean) =>
    bits.reduce((flags, [on, bit]) => (wanted(on) ? flags | bit : flags), 0);
  writer.u8(AF_UNSPEC);
  writer.u8(0);
  writer.u16(0);
  writer.i32(index);
  writer.u32(sum((on) => on === true));
  writer.u32(sum((on) => on !== undefined));
}

function changeAttrs(changes: LinkSettings): Attr[] {
  return [
    optional(changes.address, (mac) => attr.bytes(IFLA_ADDRESS, macBytes(mac))),
    optional(changes.mtu, (mtu) => attr.u32(IFLA_MTU, mtu)),
    optional(changes.name, (name) => attr.string(IFLA_IFNAME, name)),
    optional(changes.queueLength, (length) => attr.u32(IFLA_TXQLEN, length)),
    optional(changes.masterIndex, (index) => attr.u32(IFLA_MASTER, index)),
    optional(changes.netnsFd, (fd) => attr.u32(IFLA_NET_NS_FD, fd)),
    changes.noLinkLocal === true ? noLinkLocal() : undefined,
  ].filter((child) => child !== undefined);
}

function noLinkLocal(): Attr {
  const mode = attr.u8(IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
  return attr.nestedBare(IFLA_AF_SPEC, [attr.nestedBare(AF_INET6, [mode])]);
}

function kindAttrs(kind: LinkKind): Attr[] {
  const name = attr.bareString(IFLA_INFO_KIND, kind.kind);
  if (kind.kind === 'dummy') return [name];
  const data = kind.kind === 'veth' ? [peerAttr(kind.peer)] : BRIDGE;
  return [name, attr.nestedBare(IFLA_INFO_DATA, data)];
}

/** Without spanning tree a port forwards at once; else it waits 15 s. */
const BRIDGE = [attr.u32(IFLA_BR_FORWARD_DELAY, 0), attr.u32(IFLA_BR_STP_STATE, 0)];

/** The peer of a veth is described by a whole link message inside the attribute. */
function peerAttr(peer: VethPeer): Attr {
  const body = encodeBody((writer) => ifinfomsg(writer, 0, peer), changeAttrs(peer));
  return attr.bytes(VETH_INFO_PEER, body);
}
