/** DNS over UDP. */
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';

import { WorldError } from '../lib/errors.ts';
import { familyOf, formatHostPort } from '../lib/ip.ts';
import type { Sender } from './stage.ts';

/** The reply to a packet; undefined when there is none. Never throws. */
export type Handle = (
  packet: Uint8Array,
  transport: 'udp' | 'tcp',
  from: Sender,
) => Buffer | undefined | Promise<Buffer | undefined>;

export type Listener = {
  readonly port: number;
  /** Stops listening; open work may end first. */
  close(): Promise<void>;
};

/** A burst of questions waits here while the process does something else. */
const receiveBufferBytes = 1024 * 1024;

/** Binds and answers from then on. `host` is an address; `::` takes both families. */
export async function listenUdp(
  { host, port }: { readonly host: string; readonly port: number },
  handle: Handle,
): Promise<Listener> {
  const socket = createSocket({
    type: familyOf(host) === 'ipv6' ? 'udp6' : 'udp4',
    recvBufferSize: receiveBufferBytes,
  });
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  socket.once('error', (cause) => {
    const target = formatHostPort(host, port);
    const text = `Cannot listen on UDP "${target}": ${cause.message}`;
    reject(new WorldError('DNS_LISTEN', text, { cause }));
  });
  const open = new Set<Promise<void>>();
  let closed = false;
  socket.on('message', (packet, from) => {
    const reply = handle(packet, 'udp', from);
    if (reply instanceof Promise) {
      const work = reply.then((bytes) => {
        if (!closed) send(socket, bytes, from);
      });
      open.add(work);
      void work.finally(() => open.delete(work));
    } else {
      send(socket, reply, from);
    }
  });
  socket.bind({ address: host, port }, resolve);
  await promise;
  // A client that is gone makes the kernel report an error; the next one must not suffer for it.
  socket.on('error', () => undefined);
  return {
    port: socket.address().port,
    close: async () => {
      // Each takes a limited time, and with it its reply.
      await Promise.all(open);
      closed = true;
      await new Promise<void>((done) => socket.close(() => done()));
    },
  };
}

function send(socket: Socket, bytes: Buffer | undefined, to: RemoteInfo): void {
  if (bytes === undefined || to.port === 0) return;
  // A datagram that cannot be sent is lost like any other: the client asks again.
  socket.send(bytes, to.port, to.address, () => undefined);
}
