/** The sockets of one echo container: HTTP or raw TCP on each TCP port, and UDP. */
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { createServer as createHttpServer } from 'node:http';
import { createServer, type Server, type Socket } from 'node:net';
import { within } from '../../kernel/namespace/within.ts';
import { answerDatagram, clientOf, describe, looksLikeHttp } from './echo-answers.ts';
import { answerHttp, type EchoState } from './echo-http.ts';
import { openEchoLog, type EchoLog } from './echo-log.ts';
import { type EchoContainer } from './echo-protocol.ts';

/** A container that serves. */
export type EchoServer = {
  readonly container: EchoContainer;
  drain(): void;
  /** Closes every socket and connection at once. */
  close(): void;
};

/** What a connection belongs to; all containers share one HTTP parser. */
type Serving = EchoState & { readonly log: EchoLog };

const served = new WeakMap<object, Serving>();

const http = createHttpServer({ keepAliveTimeout: 60_000 }, (message, response) => {
  const serving = served.get(message.socket);
  if (serving === undefined) {
    response.destroy();
    return;
  }
  const client = clientOf(message.socket.remoteAddress, message.socket.remotePort);
  answerHttp(serving, client, message, response).then(
    (status) => {
      serving.log.note(`${client.address} "${message.method} ${message.url}" ${status}`);
    },
    () => message.socket.destroy(),
  );
});

/** Opens the container's sockets inside its pod; resolves when all of them listen. */
export async function serveEcho(container: EchoContainer): Promise<EchoServer> {
  const log = openEchoLog(container.log);
  const serving: Serving = { container, log, ready: true, draining: false };
  const connections = new Set<Socket>();
  const open: (Server | UdpSocket)[] = [];
  const close = () => {
    for (const socket of open) socket.close();
    for (const connection of connections) connection.destroy();
    log.close();
  };
  const listeners: Promise<void>[] = [];
  const listen = () => {
    for (const { port, protocol } of portsOf(container)) {
      const socket = protocol === 'TCP' ? tcp(serving, connections) : udp(serving);
      open.push(socket);
      listeners.push(listening(socket));
      bindNow(socket, port);
    }
  };
  try {
    if (container.netns === undefined) listen();
    else within({ net: container.netns }, listen);
    await Promise.all(listeners);
  } catch (error) {
    close();
    throw error;
  }
  for (const { port, protocol } of portsOf(container)) log.note(`listening on ${protocol} ${port}`);
  return {
    container,
    drain() {
      serving.draining = true;
      log.note('draining: serving on, then ending');
    },
    close,
  };
}

function portsOf(container: EchoContainer): EchoContainer['ports'] {
  if (container.ports.length > 0) return container.ports;
  return [
    { port: 8080, protocol: 'TCP' },
    { port: 8080, protocol: 'UDP' },
  ];
}

/**
 * Makes the socket before this returns, as the thread is in the pod's namespace only until then.
 * `listen` without a host does so; `bind` does when looking up its address takes no time.
 */
function bindNow(socket: Server | UdpSocket, port: number): void {
  if ('listen' in socket) socket.listen({ port, backlog: 511 });
  else socket.bind({ port, exclusive: true });
}

function listening(socket: Server | UdpSocket): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once('listening', resolve);
    // Stays: an error later on, such as no descriptor left for a client, must not end all servers.
    socket.on('error', reject);
  });
}

function tcp(serving: Serving, connections: Set<Socket>): Server {
  return createServer((socket) => {
    connections.add(socket);
    socket.once('close', () => connections.delete(socket));
    socket.on('error', () => socket.destroy());
    socket.once('data', (first: Buffer) => {
      if (looksLikeHttp(first)) return takeHttp(serving, socket, first);
      takeRaw(serving, socket, first);
    });
  });
}

function takeHttp(serving: Serving, socket: Socket, first: Buffer): void {
  served.set(socket, serving);
  http.emit('connection', socket);
  socket.unshift(first);
}

/** Raw TCP: one line about ourselves, then everything comes back as it was sent. */
function takeRaw(serving: Serving, socket: Socket, first: Buffer): void {
  const client = clientOf(socket.remoteAddress, socket.remotePort);
  serving.log.note(`${client.address} connected`);
  socket.write(`${describe(serving.container, client, 'tcp')}\n`);
  socket.write(first);
  socket.pipe(socket);
}

function udp(serving: Serving): UdpSocket {
  const socket = createSocket({
    type: 'udp6',
    lookup: (host, _, callback) => callback(null, host, 6),
  });
  socket.on('message', (bytes, from) => {
    const client = clientOf(from.address, from.port);
    const answer = answerDatagram(serving.container, client, bytes.toString());
    serving.log.note(`${client.address} sent a datagram of ${bytes.length} bytes`);
    socket.send(answer, from.port, from.address, () => undefined);
  });
  return socket;
}
