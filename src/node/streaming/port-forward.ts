/** Port-forward over SPDY: per connection a pair of streams, for errors and for data (A108). */
import type { Duplex, Readable } from 'node:stream';
import type { Socket } from 'node:net';
import { messageOf } from '../../lib/errors.ts';
import { SpdyConnection, type SpdyStream } from './spdy.ts';

export const portForwardProtocol = 'portforward.k8s.io';

/** An error stream whose data stream does not come is dropped after this. */
const pairTimeoutMs = 30_000;

/** Serves until the client goes away. `dial` reaches a port of the pod. */
export async function servePortForward(
  { socket, head }: { socket: Duplex; head: Buffer },
  dial: (port: number) => Socket,
): Promise<void> {
  const waiting = new Map<string, SpdyStream>();
  const spdy = new SpdyConnection(socket, head, {
    onStream(stream) {
      const id = stream.headers.get('requestid') ?? String(stream.id);
      if (stream.headers.get('streamtype') === 'error') {
        waiting.set(id, stream);
        // The client says nothing on it; reading lets its end be seen.
        stream.resume();
        const timer = setTimeout(() => {
          if (waiting.delete(id)) stream.destroy();
        }, pairTimeoutMs);
        timer.unref();
        return;
      }
      const errors = waiting.get(id);
      waiting.delete(id);
      forward(stream, errors, dial);
    },
  });
  await spdy.closed;
}

function forward(
  data: SpdyStream,
  errors: SpdyStream | undefined,
  dial: (port: number) => Socket,
): void {
  const port = Number(data.headers.get('port'));
  const fail = (error: unknown) => {
    errors?.end(`an error occurred forwarding port ${port}: ${messageOf(error)}`);
    data.end();
    data.resume();
  };
  if (!Number.isInteger(port) || port < 1 || port > 65_535) {
    return fail(new Error(`"${data.headers.get('port')}" is not a port`));
  }
  const socket = dial(port);
  let connected = false;
  socket.once('connect', () => {
    connected = true;
    copy(data, socket);
    copy(socket, data);
  });
  socket.on('error', (error) => {
    if (!connected) fail(error);
  });
  socket.once('close', () => {
    if (!connected) return;
    errors?.end();
    if (!data.writableEnded) data.end();
  });
  data.once('close', () => socket.destroy());
}

function copy(from: Readable, to: Duplex): void {
  from.pipe(to);
}
