/** exec and attach over WebSocket: the first byte of each message is the channel (A106). */
import { Duplex, Readable, Writable } from 'node:stream';
import type { IncomingMessage } from 'node:http';
import { WebSocketServer, type WebSocket } from 'ws';
import { limits } from '../../lib/limits.ts';
import { parseResize, type RemoteStreams, type StreamWishes } from './remote-command.ts';

const STDIN = 0;
const STDOUT = 1;
const STDERR = 2;
const STATUS = 3;
const RESIZE = 4;
/** v5: the next byte names a channel that is closed (half-close of stdin). */
const CLOSE = 255;

/** The best first; v4 has no half-close of stdin. */
export const webSocketProtocols = ['v5.channel.k8s.io', 'v4.channel.k8s.io'];
/** SPDY frames inside binary messages (A109). */
export const tunnelProtocol = 'SPDY/3.1+portforward.k8s.io';

/** One server for all: it keeps no state but its settings. */
const server = new WebSocketServer({
  noServer: true,
  maxPayload: limits.bodyBytesMax,
  perMessageDeflate: false,
  clientTracking: false,
  handleProtocols: (offered) => {
    const known = [...webSocketProtocols, tunnelProtocol];
    return known.find((protocol) => offered.has(protocol)) ?? false;
  },
});

/** Completes the handshake; `protocol` is the one that was agreed on. */
export async function acceptWebSocket(
  request: IncomingMessage,
  { socket, head }: { socket: Duplex; head: Buffer },
): Promise<WebSocket> {
  return new Promise((resolve) => {
    server.handleUpgrade(request, socket, head, resolve);
  });
}

/** The channels the client asked for, as streams. */
export function webSocketStreams(ws: WebSocket, wishes: StreamWishes): RemoteStreams {
  const stdin = wishes.stdin ? incoming(ws) : undefined;
  const stdout = wishes.stdout ? outgoing(ws, STDOUT) : undefined;
  const stderr = wishes.stderr && !wishes.tty ? outgoing(ws, STDERR) : undefined;
  const closed = Promise.withResolvers<void>();
  let resized: (size: { columns: number; rows: number }) => void = () => undefined;
  ws.on('close', () => {
    stdin?.push(null);
    closed.resolve();
  });
  ws.on('error', () => ws.terminate());
  ws.on('message', (data: Buffer) => {
    const channel = data[0];
    const body = data.subarray(1);
    if (channel === STDIN && stdin?.push(body) === false) ws.pause();
    if (channel === RESIZE) {
      const size = parseResize(body.toString('utf8'));
      if (size !== undefined) resized(size);
    }
    if (channel === CLOSE && body[0] === STDIN) stdin?.push(null);
  });
  // As a kubelet: an empty message says that the session stands.
  ws.send(Buffer.from([stdout === undefined ? STATUS : STDOUT]));
  return {
    ...(stdin === undefined ? {} : { stdin }),
    ...(stdout === undefined ? {} : { stdout }),
    ...(stderr === undefined ? {} : { stderr }),
    onResize: (listener) => {
      resized = listener;
    },
    finish: async (status) => {
      ws.send(Buffer.concat([Buffer.from([STATUS]), Buffer.from(JSON.stringify(status))]));
      ws.close(1000);
      await closed.promise;
    },
    closed: closed.promise,
  };
}

/** A byte stream in binary messages, as the port-forward tunnel uses it. */
export function webSocketTunnel(ws: WebSocket): Duplex {
  const duplex = new Duplex({
    read: () => ws.resume(),
    write: (chunk: Buffer, _encoding, done) => ws.send(chunk, (error) => done(error)),
    final: (done) => {
      ws.close(1000);
      done();
    },
    destroy: (error, done) => {
      ws.terminate();
      done(error);
    },
  });
  ws.on('message', (data: Buffer) => {
    if (!duplex.push(data)) ws.pause();
  });
  ws.on('close', () => {
    duplex.push(null);
    duplex.destroy();
  });
  ws.on('error', () => duplex.destroy());
  return duplex;
}

function incoming(ws: WebSocket): Readable {
  return new Readable({
    highWaterMark: limits.streamBufferBytesMax,
    read: () => ws.resume(),
  });
}

/** A message counts as written when the socket has taken it: a slow client slows the command. */
function outgoing(ws: WebSocket, channel: number): Writable {
  const prefix = Buffer.from([channel]);
  return new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      ws.send(Buffer.concat([prefix, chunk]), (error) => done(error));
    },
  });
}
