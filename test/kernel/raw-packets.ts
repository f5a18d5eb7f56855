/**
 * First packets of connections, made by hand and sent past all sockets: thousands a second, with
 * any source, and of protocols that this kernel has no sockets for. Refusals are read from ICMP.
 */
import { ERRNO, libc, libcRaw, SystemError } from '../../src/kernel/ffi/libc.ts';
import { familyOf, formatIp, ipBytes, type IpFamily } from '../../src/lib/ip.ts';

export type FirstPacket = {
  readonly protocol: 'TCP' | 'UDP' | 'SCTP' | 'ICMP';
  readonly source: string;
  readonly sourcePort: number;
  readonly destination: string;
  readonly port: number;
};

/** An ICMP error: which packet it answers, and its type and code. */
export type Refusal = {
  readonly source: string;
  readonly sourcePort: number;
  readonly type: number;
  readonly code: number;
};

const AF: Record<IpFamily, number> = { ipv4: 2, ipv6: 10 };
const SOCK_RAW = 3;
const SOL_SOCKET = 1;
const SO_RCVBUF = 8;
const MSG_DONTWAIT = 0x40;
const IPPROTO_RAW = 255;
const PROTOCOLS = { TCP: 6, UDP: 17, SCTP: 132, ICMP: 1 } as const;
const ICMPV6 = 58;
const FAMILIES = ['ipv4', 'ipv6'] as const;

const socket = libc('socket', 'int', ['int', 'int', 'int']);
const setsockopt = libc('setsockopt', 'int', ['int', 'int', 'int', 'void *', 'uint']);
const sendto = libcRaw('sendto', 'ssize_t', ['int', 'void *', 'size_t', 'int', 'void *', 'uint']);
const recv = libcRaw('recv', 'ssize_t', ['int', 'void *', 'size_t', 'int']);
const close = libc('close', 'int', ['int']);

/** Sends and listens in the network namespace it was made in. */
export class RawSockets {
  readonly #senders: Record<IpFamily, number>;
  readonly #icmp: Record<IpFamily, number>;
  readonly #sctp: Record<IpFamily, number>;
  readonly #buffer = new Uint8Array(65_536);

  constructor() {
    const open = (of: (family: IpFamily) => number) => ({ ipv4: of('ipv4'), ipv6: of('ipv6') });
    this.#senders = open((family) => socket(AF[family], SOCK_RAW, IPPROTO_RAW));
    this.#icmp = open((family) => listener(family, family === 'ipv4' ? PROTOCOLS.ICMP : ICMPV6));
    this.#sctp = open((family) => listener(family, PROTOCOLS.SCTP));
  }

  send(packet: FirstPacket): void {
    const family = familyOf(packet.destination)!;
    const bytes = encodePacket(packet);
    const to = socketAddress(packet.destination);
    const sent = sendto(this.#senders[family], bytes, bytes.length, 0, to, to.length);
    // A packet that a rule drops on its way out is refused to its sender.
    if (sent < 0 && sent !== -ERRNO.EPERM) throw new SystemError('sendto', -sent);
  }

  /** The ICMP errors that came since the last call. */
  refusals(): Refusal[] {
    return FAMILIES.flatMap((family) =>
      this.#drain(this.#icmp[family]).flatMap((bytes) => decodeRefusal(family, bytes) ?? []),
    );
  }

  /** ICMP messages that came, by type. */
  icmpTypes(family: IpFamily): number[] {
    const start = family === 'ipv4' ? 20 : 0;
    return this.#drain(this.#icmp[family]).map((bytes) => bytes[start]!);
  }

  /** SCTP packets that came, without their IP header. */
  sctpPackets(family: IpFamily): Uint8Array[] {
    return this.#drain(this.#sctp[family]).map((bytes) =>
      family === 'ipv4' ? bytes.subarray((bytes[0]! & 15) * 4) : bytes,
    );
  }

  [Symbol.dispose](): void {
    for (const sockets of [this.#senders, this.#icmp, this.#sctp]) {
      for (const family of FAMILIES) close(sockets[family]);
    }
  }

  #drain(fd: number): Uint8Array[] {
    const packets: Uint8Array[] = [];
    for (;;) {
      const length = recv(fd, this.#buffer, this.#buffer.length, MSG_DONTWAIT);
      if (length === -ERRNO.EAGAIN) return packets;
      if (length < 0) throw new Error(`recv: errno ${-length}`);
      packets.push(this.#buffer.slice(0, length));
    }
  }
}

function listener(family: IpFamily, protocol: number): number {
  const fd = socket(AF[family], SOCK_RAW, protocol);
  setsockopt(fd, SOL_SOCKET, SO_RCVBUF, new Int32Array([4 * 1024 * 1024]), 4);
  return fd;
}

/** `struct sockaddr_in` or `sockaddr_in6`, port 0. */
function socketAddress(address: string): Uint8Array {
  const bytes = ipBytes(address);
  const out = new Uint8Array(bytes.length === 4 ? 16 : 28);
  out[0] = AF[bytes.length === 4 ? 'ipv4' : 'ipv6'];
  out.set(bytes, bytes.length === 4 ? 4 : 8);
  return out;
}

/** The whole IP packet. */
export function encodePacket(packet: FirstPacket): Uint8Array {
  const source = ipBytes(packet.source);
  const destination = ipBytes(packet.destination);
  const v4 = source.length === 4;
  const protocol = packet.protocol === 'ICMP' && !v4 ? ICMPV6 : PROTOCOLS[packet.protocol];
  const payload = encodePayload(packet, v4);
  if (packet.protocol === 'SCTP') {
    new DataView(payload.buffer).setUint32(8, crc32c(payload), true);
  } else {
    const pseudo = packet.protocol === 'ICMP' && v4 ? [] : [source, destination];
    const head = pseudo.length === 0 ? 0 : payload.length + protocol;
    const at = { TCP: 16, UDP: 6, ICMP: 2 }[packet.protocol];
    new DataView(payload.buffer).setUint16(at, checksum([...pseudo, payload], head));
  }
  return Uint8Array.from([...ipHeader(source, destination, protocol, payload.length), ...payload]);
}

function ipHeader(
  source: Uint8Array,
  destination: Uint8Array,
  protocol: number,
  length: number,
): Uint8Array {
  const v4 = source.length === 4;
  const header = new Uint8Array(v4 ? 20 : 40);
  const view = new DataView(header.buffer);
  if (v4) {
    header[0] = 0x45;
    view.setUint16(2, 20 + length);
    header[8] = 64;
    header[9] = protocol;
  } else {
    header[0] = 0x60;
    view.setUint16(4, length);
    header[6] = protocol;
    header[7] = 64;
  }
  header.set(source, v4 ? 12 : 8);
  header.set(destination, v4 ? 16 : 24);
  // The kernel sets the checksum of IPv4 headers itself (raw(7)).
  return header;
}

function encodePayload(packet: FirstPacket, v4: boolean): Uint8Array {
  const { sourcePort, port } = packet;
  const ports = [sourcePort >> 8, sourcePort & 255, port >> 8, port & 255];
  if (packet.protocol === 'TCP') {
    return Uint8Array.from([...ports, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0]);
  }
  if (packet.protocol === 'UDP') return Uint8Array.from([...ports, 0, 9, 0, 0, 63]);
  if (packet.protocol === 'ICMP') {
    return Uint8Array.from([v4 ? 8 : 128, 0, 0, 0, sourcePort >> 8, sourcePort & 255, 0, 1]);
  }
  // RFC 9260 §3.3.2: INIT with tag, window, streams and first sequence number.
  const init = [1, 0, 0, 20, 0, 0, 0, 7, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1];
  return Uint8Array.from([...ports, 0, 0, 0, 0, 0, 0, 0, 0, ...init]);
}

/** RFC 1071. */
function checksum(parts: readonly Uint8Array[], start: number): number {
  let sum = start;
  for (const bytes of parts) {
    for (let at = 0; at < bytes.length; at += 2) sum += (bytes[at]! << 8) | (bytes[at + 1] ?? 0);
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff || 0xffff;
}

/** RFC 9260 appendix A. */
export function crc32c(bytes: Uint8Array): number {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) crc = (crc >>> 1) ^ ((crc & 1) === 0 ? 0 : 0x82f63b78);
  }
  return ~crc >>> 0;
}

/** Undefined for what is no error. Errors quote the packet they answer (RFC 792, RFC 4443). */
function decodeRefusal(family: IpFamily, bytes: Uint8Array): Refusal | undefined {
  const v4 = family === 'ipv4';
  const icmp = v4 ? bytes.subarray((bytes[0]! & 15) * 4) : bytes;
  const [type = 0, code = 0] = icmp;
  if (v4 ? type !== 3 : type >= 128) return undefined;
  const quoted = icmp.subarray(8);
  const source = v4 ? quoted.subarray(12, 16) : quoted.subarray(8, 24);
  const ports = quoted.subarray(v4 ? (quoted[0]! & 15) * 4 : 40);
  // An echo request has its number where others have ports.
  const isEcho = (v4 ? quoted[9] : quoted[6]) === (v4 ? PROTOCOLS.ICMP : ICMPV6);
  const at = isEcho ? 4 : 0;
  return {
    source: formatIp(source),
    sourcePort: (ports[at]! << 8) | ports[at + 1]!,
    type,
    code,
  };
}
