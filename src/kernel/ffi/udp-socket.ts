/** UDP sockets through the C library: opened, bound and named here, used in batches by `udp-batch.ts`. */
import { familyOf, ipBytes } from '../../lib/ip.ts';
import { libcRaw, SystemError } from './libc.ts';

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_DGRAM = 2;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_RCVBUF = 8;
const SO_REUSEPORT = 15;
const IPPROTO_IP = 0;
const IP_PKTINFO = 8;
const IPPROTO_IPV6 = 41;
const IPV6_V6ONLY = 26;
const IPV6_RECVPKTINFO = 49;

const rawSocket = libcRaw('socket', 'int', ['int', 'int', 'int']);
const rawBind = libcRaw('bind', 'int', ['int', 'void *', 'uint']);
const rawGetsockname = libcRaw('getsockname', 'int', ['int', 'void *', 'void *']);
const rawSetsockopt = libcRaw('setsockopt', 'int', ['int', 'int', 'int', 'void *', 'uint']);
const rawConnect = libcRaw('connect', 'int', ['int', 'void *', 'uint']);
const rawClose = libcRaw('close', 'int', ['int']);

/** `struct sockaddr_in6` (include/uapi/linux/in6.h); the one of IPv4 is shorter. */
export const sockaddrBytes = 28;

export type UdpOptions = {
  /** An address; `::` takes both families. */
  readonly host: string;
  /** 0: the kernel chooses one. */
  readonly port: number;
  readonly receiveBufferBytes: number;
  /** Joins the sockets of this user that share the port; the kernel spreads clients over them. */
  readonly reusePort: boolean;
};

export type UdpSocket = {
  readonly fd: number;
  readonly port: number;
  /** Bound to every address: a reply must be told which one was asked. */
  readonly wildcard: boolean;
};

/** Opens and binds a socket that never blocks, or throws `SystemError`. */
export function openUdpSocket(options: UdpOptions): UdpSocket {
  const { host, port } = options;
  const isV6 = familyOf(host) === 'ipv6';
  const kind = SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
  const fd = check('socket', rawSocket(isV6 ? AF_INET6 : AF_INET, kind, 0), 'open a UDP socket');
  try {
    const wildcard = host === '0.0.0.0' || host === '::';
    if (isV6) setOption(fd, IPPROTO_IPV6, IPV6_V6ONLY, host === '::' ? 0 : 1);
    if (wildcard && isV6) setOption(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
    else if (wildcard) setOption(fd, IPPROTO_IP, IP_PKTINFO, 1);
    if (options.reusePort) setOption(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    setOption(fd, SOL_SOCKET, SO_RCVBUF, options.receiveBufferBytes);
    const address = encodeSockaddr(host, port);
    check('bind', rawBind(fd, address, address.length), `bind UDP port ${port}`);
    return { fd, port: portOf(fd), wildcard };
  } catch (error) {
    rawClose(fd);
    throw error;
  }
}

/** Lets later sockets of this user bind the same port. One that binds first without it has it alone. */
export function sharePort(fd: number): void {
  setOption(fd, SOL_SOCKET, SO_REUSEPORT, 1);
}

/** The discard service (RFC 863): nobody sends from there. */
const discardPort = 9;

/**
 * Takes a socket out of those that share its port: connected to a peer that says nothing, it is chosen
 * for no other one's datagrams (net/core/sock_reuseport.c), and what waits in it stays. It can send on.
 */
export function retireSocket(fd: number, host: string): void {
  const peer = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host;
  const address = encodeSockaddr(peer, discardPort);
  check('connect', rawConnect(fd, address, address.length), 'retire a UDP socket');
}

export function closeSocket(fd: number): void {
  rawClose(fd);
}

function setOption(fd: number, level: number, option: number, value: number): void {
  const bytes = Int32Array.of(value);
  check('setsockopt', rawSetsockopt(fd, level, option, bytes, 4), `set socket option ${option}`);
}

/** `struct sockaddr_in` or `sockaddr_in6`: the family in the machine's byte order, the rest in the network's. */
export function encodeSockaddr(host: string, port: number): Buffer {
  const isV6 = familyOf(host) === 'ipv6';
  const bytes = Buffer.alloc(isV6 ? sockaddrBytes : 16);
  new Uint16Array(bytes.buffer, bytes.byteOffset, 1)[0] = isV6 ? AF_INET6 : AF_INET;
  bytes.writeUInt16BE(port, 2);
  bytes.set(ipBytes(host), isV6 ? 8 : 4);
  return bytes;
}

function portOf(fd: number): number {
  const bytes = Buffer.alloc(sockaddrBytes);
  const length = Uint32Array.of(sockaddrBytes);
  check('getsockname', rawGetsockname(fd, bytes, length), 'read the address of a socket');
  return bytes.readUInt16BE(2);
}

function check(syscall: string, result: number, tried: string): number {
  if (result < 0) throw new SystemError(syscall, -result, tried);
  return result;
}
