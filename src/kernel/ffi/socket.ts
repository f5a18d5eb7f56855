/** Sockets made on the calling thread, and so in the network namespace it is in. */
import { libc } from './libc.ts';

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;

const openSocket = libc('socket', 'int', ['int', 'int', 'int']);

/** A TCP socket that is not connected yet, for `new net.Socket({ fd })`, which then owns it. */
export function openTcpSocket(family: 'ipv4' | 'ipv6'): number {
  const domain = family === 'ipv6' ? AF_INET6 : AF_INET;
  return openSocket(domain, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}
