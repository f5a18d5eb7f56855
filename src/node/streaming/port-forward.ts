/** Port-forward over SPDY: per connection a pair of streams, for errors and for data (A108). */
import type { Duplex } from 'node:stream';
import type { Socket } from 'node:net';
import { messageOf } from '../../lib/errors.ts';
import { SpdyConnection, type SpdyStream } from './spdy.ts';

export const portForwardProtocol = 'portforward.k8s.io';

/** An error stream whose data stream does not come is dropped after this. */
const pairTimeoutMs = 30_000;

/** Connects to a port of the pod; the end of one direction leaves the other open. */
export type Dial = (port: number) => Promise<Socket>;

/** Serves until the client goes away. */
export async function servePortForward(
  { socket, head }: { socket: Duplex; head: Buffer },
  dial: Dial,
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
      void forward(stream, errors, dial);
    },
  });
  await spdy.closed;
}

async function forward(
  data: SpdyStream,
  errors: SpdyStream | undefined,
  dial: Dial,
): Promise<void> {
  const text = data.headers.get('port');
  const port = Number(text);
  let socket: Socket;
  try {
    if (!Number.isInteger(port) || port < 1 || port > 65_535) {
      throw new Error(`"${text}" is not a port`);
    }
    socket = await dial(port);
  } catch (error) {
    errors?.end(`an error occurred forwarding port ${port}: ${messageOf(error)}`);
    data.end();
    data.resume();
    return;
  }
  // Whatever breaks it later, both sides see its end.
  socket.on('error', () => socket.destroy());
  socket.once('close', () => {
    errors?.end();
    if (!data.writableEnded) data.end();
  });
  if (data.destroyed) return void socket.destroy();
  data.once('close', () => socket.destroy());
  data.pipe(socket);
  socket.pipe(data);
}
