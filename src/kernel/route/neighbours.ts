/** Who has which link-layer address: `ip neighbour`. */
import { attr, required } from '../netlink/attr.ts';
import { NLM_F_CREATE, NLM_F_REPLACE } from '../netlink/constants.ts';
import type { Message } from '../netlink/message.ts';
import { decodeBody, encodeBody, optional } from './body.ts';
import {
  NDA_DST,
  NDA_IFINDEX,
  NDA_LLADDR,
  NTF_PROXY,
  NTF_ROUTER,
  NUD_PERMANENT,
  RTM_DELNEIGH,
  RTM_GETNEIGH,
  RTM_NEWNEIGH,
} from './constants.ts';
import { decodeIp, familyNumber, ipBytes, isIpFamily } from './family.ts';
import { formatMac, macBytes } from './mac.ts';

/** A neighbour; `proxy` answers for the address in place of its owner and has no `mac`. */
export type Neighbour = {
  readonly linkIndex: number;
  readonly address: string;
  readonly mac?: string;
  readonly proxy?: boolean;
  readonly router?: boolean;
  /** Never asked for again (`NUD_PERMANENT`). New ones are, always. */
  readonly permanent?: boolean;
};

/** `ip neighbour replace <address> lladdr <mac> dev <link> nud permanent` */
export function replaceNeighbour(neighbour: Neighbour): Message {
  return neighbourMessage(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, neighbour);
}

/** `ip neighbour delete <address> dev <link>` */
export function deleteNeighbour(
  neighbour: Pick<Neighbour, 'linkIndex' | 'address' | 'proxy'>,
): Message {
  return neighbourMessage(RTM_DELNEIGH, 0, neighbour);
}

/** `ip neighbour show`, or `ip neighbour show proxy` */
export function listNeighbours(
  family: number,
  filter: { readonly linkIndex?: number; readonly proxy?: boolean } = {},
): Message {
  const body = encodeBody(
    (writer) => {
      writer.u8(family);
      writer.u8(0);
      writer.u16(0);
      writer.i32(0);
      writer.u16(0);
      writer.u8(filter.proxy === true ? NTF_PROXY : 0);
      writer.u8(0);
    },
    [optional(filter.linkIndex, (index) => attr.u32(NDA_IFINDEX, index))],
  );
  return { type: RTM_GETNEIGH, flags: 0, body };
}

/** Reads the body of `RTM_NEWNEIGH` and `RTM_DELNEIGH`; undefined when it is not about IP. */
export function decodeNeighbour(body: Uint8Array): Neighbour | undefined {
  const { header, attrs } = decodeBody(body, 12);
  if (!isIpFamily(header.getUint8(0))) return undefined;
  const flags = header.getUint8(10);
  const mac = attrs.bytes(NDA_LLADDR);
  return {
    linkIndex: header.getInt32(4, true),
    address: decodeIp(required(attrs.bytes(NDA_DST), 'neighbour address')),
    permanent: (header.getUint16(8, true) & NUD_PERMANENT) !== 0,
    ...(mac !== undefined && { mac: formatMac(mac) }),
    ...((flags & NTF_PROXY) !== 0 && { proxy: true }),
    ...((flags & NTF_ROUTER) !== 0 && { router: true }),
  };
}

/** Every neighbour message opens with `struct ndmsg`. */
function neighbourMessage(type: number, flags: number, neighbour: Neighbour): Message {
  const proxy = neighbour.proxy === true;
  const body = encodeBody(
    (writer) => {
      writer.u8(familyNumber(neighbour.address));
      writer.u8(0);
      writer.u16(0);
      writer.i32(neighbour.linkIndex);
      writer.u16(NUD_PERMANENT);
      writer.u8((proxy ? NTF_PROXY : 0) | (neighbour.router === true ? NTF_ROUTER : 0));
      writer.u8(0);
    },
    [
      attr.bytes(NDA_DST, ipBytes(neighbour.address)),
      optional(neighbour.mac, (mac) => attr.bytes(NDA_LLADDR, macBytes(mac))),
    ],
  );
  return { type, flags, body };
}
