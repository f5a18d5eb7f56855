/**
 * Telling a link that an address is here now: gratuitous ARP (RFC 826, RFC 5227 §3) and unsolicited
 * neighbour advertisements (RFC 4861 §7.2.6). Neighbours that know the address correct what they know.
 */
import { familyOf, ipBytes } from '../../lib/ip.ts';
import { libc } from '../ffi/libc.ts';

const AF_PACKET = 17;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const ETH_P_ARP = 0x0806;
const ETH_P_IPV6 = 0x86dd;
const ARPHRD_ETHER = 1;
const ARPOP_REQUEST = 1;
const ARPOP_REPLY = 2;
const ICMPV6 = 58;
const NEIGHBOUR_ADVERTISEMENT = 136;
/** Override; a router also says so, or its neighbours would take it for one no longer (§7.2.5). */
const NA_OVERRIDE = 0x20;
const NA_ROUTER = 0x80;
const TARGET_LINK_LAYER_ADDRESS = 2;

const openSocket = libc('socket', 'int', ['int', 'int', 'int']);
const closeFd = libc('close', 'int', ['int']);
const sendto = libc('sendto', 'ssize_t', ['int', 'void *', 'size_t', 'int', 'void *', 'uint']);

export type Announcement = {
  readonly linkIndex: number;
  /** Link-layer address of the link. */
  readonly mac: Uint8Array;
  readonly address: string;
};

/** Says once, on the calling thread's network, who has the address now. Throws `SystemError`. */
export function announce({ linkIndex, mac, address }: Announcement): void {
  const isIpv4 = familyOf(address) === 'ipv4';
  const protocol = isIpv4 ? ETH_P_ARP : ETH_P_IPV6;
  const packets = isIpv4
    ? [ARPOP_REQUEST, ARPOP_REPLY].map((operation) => gratuitousArp(operation, mac, address))
    : [unsolicitedAdvertisement(mac, address)];
  // Broadcast; or the group of all nodes, ff02::1 (RFC 2464 §7).
  const to = isIpv4 ? [0xff, 0xff, 0xff, 0xff, 0xff, 0xff] : [0x33, 0x33, 0, 0, 0, 1];
  const fd = openSocket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  try {
    const where = linkAddress({ protocol, linkIndex, to });
    for (const packet of packets) sendto(fd, packet, packet.length, 0, where, where.length);
  } finally {
    closeFd(fd);
  }
}

/** Sender and target are the address itself; some listen to requests only, some to replies (RFC 5227 §3). */
export function gratuitousArp(operation: number, mac: Uint8Array, address: string): Uint8Array {
  const packet = Buffer.alloc(28);
  packet.writeUInt16BE(ARPHRD_ETHER, 0);
  packet.writeUInt16BE(0x0800, 2);
  packet[4] = 6;
  packet[5] = 4;
  packet.writeUInt16BE(operation, 6);
  packet.set(mac, 8);
  packet.set(ipBytes(address), 14);
  packet.set(operation === ARPOP_REPLY ? mac : new Uint8Array(6), 18);
  packet.set(ipBytes(address), 24);
  return packet;
}

/** An IPv6 packet from the address to all nodes, hop limit 255, with the link-layer address. */
export function unsolicitedAdvertisement(mac: Uint8Array, address: string): Uint8Array {
  const message = Buffer.alloc(32);
  message[0] = NEIGHBOUR_ADVERTISEMENT;
  message[4] = NA_OVERRIDE | NA_ROUTER;
  message.set(ipBytes(address), 8);
  message[24] = TARGET_LINK_LAYER_ADDRESS;
  message[25] = 1;
  message.set(mac, 26);
  const packet = Buffer.alloc(40 + message.length);
  packet[0] = 0x60;
  packet.writeUInt16BE(message.length, 4);
  packet[6] = ICMPV6;
  packet[7] = 255;
  packet.set(ipBytes(address), 8);
  packet.set(ipBytes('ff02::1'), 24);
  message.writeUInt16BE(checksum(packet, message), 2);
  packet.set(message, 40);
  return packet;
}

/** RFC 4443 §2.3: over addresses, length, next header and message. */
function checksum(header: Uint8Array, message: Uint8Array): number {
  const pseudo = Buffer.alloc(40);
  pseudo.set(header.subarray(8, 40));
  pseudo.writeUInt32BE(message.length, 32);
  pseudo[39] = ICMPV6;
  const bytes = Buffer.concat([pseudo, message]);
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += bytes.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

/** `struct sockaddr_ll` of packet(7); the kernel writes the link-layer header itself. */
function linkAddress(parts: {
  readonly protocol: number;
  readonly linkIndex: number;
  readonly to: readonly number[];
}): Uint8Array {
  const bytes = Buffer.alloc(20);
  bytes.writeUInt16LE(AF_PACKET, 0);
  bytes.writeUInt16BE(parts.protocol, 2);
  bytes.writeInt32LE(parts.linkIndex, 4);
  bytes[11] = 6;
  bytes.set(parts.to, 12);
  return bytes;
}
