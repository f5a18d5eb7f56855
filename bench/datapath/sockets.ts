/** Blocking sockets by way of FFI: a few microseconds a call, where Node's own take a hundred. */
import { libcRaw } from '../../src/kernel/ffi/libc.ts';

const AF_INET = 2;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SO_LINGER = 13;
const SO_RCVTIMEO = 20;
const IPPROTO_TCP = 6;
const TCP_NODELAY = 1;
const TIMEOUT_SECONDS = 5n;
const BACKLOG = 1024;

const pointer = 'void *';
const openSocket = libcRaw('socket', 'int', ['int', 'int', 'int']);
const connectFd = libcRaw('connect', 'int', ['int', pointer, 'uint']);
const bindFd = libcRaw('bind', 'int', ['int', pointer, 'uint']);
const listenFd = libcRaw('listen', 'int', ['int', 'int']);
const acceptFd = libcRaw('accept', 'int', ['int', pointer, pointer]);
const setOption = libcRaw('setsockopt', 'int', ['int', 'int', 'int', pointer, 'uint']);
const sendFd = libcRaw('send', 'ssize_t', ['int', pointer, 'size_t', 'int']);
const sendTo = libcRaw('sendto', 'ssize_t', ['int', pointer, 'size_t', 'int', pointer, 'uint']);
const recvFrom = libcRaw('recvfrom', 'ssize_t', [
  'int',
  pointer,
  'size_t',
  'int',
  pointer,
  pointer,
]);
const recvFd = libcRaw('recv', 'ssize_t', ['int', pointer, 'size_t', 'int']);
export const closeFd = libcRaw('close', 'int', ['int']);

export type Protocol = 'tcp' | 'udp';
export type Address = { readonly host: string; readonly port: number };

const byte = new Uint8Array(1);
/** Closes with a reset, so that no port has to wait: a client of thousands a second has no more. */
const linger = new Int32Array([1, 0]);
const on = new Int32Array([1]);
const timeout = new BigInt64Array([TIMEOUT_SECONDS, 0n]);

export function sockaddr({ host, port }: Address): Uint8Array {
  const bytes = new Uint8Array(16);
  bytes[0] = AF_INET;
  new DataView(bytes.buffer).setUint16(2, port);
  bytes.set(host.split('.').map(Number), 4);
  return bytes;
}

/** A connected socket; throws when nobody answers. */
export function open(protocol: Protocol, address: Uint8Array): number {
  const fd = check(openSocket(AF_INET, protocol === 'tcp' ? SOCK_STREAM : SOCK_DGRAM, 0), 'socket');
  setOption(fd, SOL_SOCKET, SO_RCVTIMEO, timeout, timeout.byteLength);
  if (protocol === 'tcp') {
    setOption(fd, SOL_SOCKET, SO_LINGER, linger, linger.byteLength);
    setOption(fd, IPPROTO_TCP, TCP_NODELAY, on, on.byteLength);
  }
  check(connectFd(fd, address, address.length), 'connect');
  return fd;
}

/** A byte there and a byte back. */
export function exchange(fd: number): void {
  check(sendFd(fd, byte, 1, 0), 'send');
  if (check(recvFd(fd, byte, 1, 0), 'recv') !== 1) throw new Error('the other side hung up');
}

/** Answers every byte with one, connection after connection, for ever. */
export function serve(protocol: Protocol, address: Address): never {
  const fd = check(openSocket(AF_INET, protocol === 'tcp' ? SOCK_STREAM : SOCK_DGRAM, 0), 'socket');
  setOption(fd, SOL_SOCKET, SO_REUSEADDR, on, on.byteLength);
  check(bindFd(fd, sockaddr(address), 16), 'bind');
  if (protocol === 'udp') return serveUdp(fd);
  check(listenFd(fd, BACKLOG), 'listen');
  console.log('serving');
  for (;;) {
    const peer = check(acceptFd(fd, null, null), 'accept');
    setOption(peer, IPPROTO_TCP, TCP_NODELAY, on, on.byteLength);
    while (recvFd(peer, byte, 1, 0) === 1) sendFd(peer, byte, 1, 0);
    closeFd(peer);
  }
}

function serveUdp(fd: number): never {
  const from = new Uint8Array(16);
  const length = new Int32Array([16]);
  console.log('serving');
  for (;;) {
    length[0] = 16;
    check(recvFrom(fd, byte, 1, 0, from, length), 'recvfrom');
    sendTo(fd, byte, 1, 0, from, 16);
  }
}

function check(result: number, call: string): number {
  if (result < 0) throw new Error(`${call} failed: errno ${-result}`);
  return result;
}
