/** exec and attach over SPDY: one stream per channel, named by its header (A103-A105). */
import type { Duplex } from 'node:stream';
import {
  readResizes,
  type ExitStatus,
  type RemoteStreams,
  type StreamWishes,
} from './remote-command.ts';
import { SpdyConnection, type SpdyStream } from './spdy.ts';

/** The client opens its streams right after the upgrade; a kubelet waits as long (A104). */
const streamsTimeoutMs = 30_000;

/** The best first; v5 is v4 on SPDY. v1 to v3 tell an exit as plain text. */
export const spdyProtocols = [
  'v5.channel.k8s.io',
  'v4.channel.k8s.io',
  'v3.channel.k8s.io',
  'v2.channel.k8s.io',
  'channel.k8s.io',
];

/** Settles when the client has opened every stream it asked for; throws when it does not. */
export async function acceptSpdyStreams(
  connection: { socket: Duplex; head: Buffer },
  wishes: StreamWishes,
  protocol: string,
): Promise<RemoteStreams> {
  const streams = new Map<string, SpdyStream>();
  const complete = Promise.withResolvers<'complete'>();
  const expected = expectedStreams(wishes, protocol);
  const spdy = new SpdyConnection(connection.socket, connection.head, {
    onStream(stream) {
      streams.set(stream.headers.get('streamtype') ?? '', stream);
      if (expected.every((name) => streams.has(name))) complete.resolve('complete');
    },
  });
  const late = Promise.withResolvers<'late'>();
  const timer = setTimeout(() => late.resolve('late'), streamsTimeoutMs);
  const gone = spdy.closed.then(() => 'gone' as const);
  const outcome = await Promise.race([complete.promise, late.promise, gone]);
  clearTimeout(timer);
  if (outcome !== 'complete') {
    spdy.destroy();
    throw new Error(`the client did not open the streams ${expected.join(', ')}`);
  }
  return remoteStreams(spdy, streams, protocol);
}

function expectedStreams(wishes: StreamWishes, protocol: string): string[] {
  const { stdin, stdout, stderr, tty } = wishes;
  const resizes = tty && protocol !== 'channel.k8s.io' && protocol !== 'v2.channel.k8s.io';
  return [
    'error',
    ...(stdin ? ['stdin'] : []),
    ...(stdout ? ['stdout'] : []),
    // A terminal has one output.
    ...(stderr && !tty ? ['stderr'] : []),
    ...(resizes ? ['resize'] : []),
  ];
}

function remoteStreams(
  spdy: SpdyConnection,
  streams: ReadonlyMap<string, SpdyStream>,
  protocol: string,
): RemoteStreams {
  const stdin = streams.get('stdin');
  const stdout = streams.get('stdout');
  const stderr = streams.get('stderr');
  const error = streams.get('error');
  const resize = streams.get('resize');
  return {
    ...(stdin === undefined ? {} : { stdin }),
    ...(stdout === undefined ? {} : { stdout }),
    ...(stderr === undefined ? {} : { stderr }),
    onResize: (resized) => {
      if (resize !== undefined) readResizes(resize, resized);
    },
    finish: async (status) => {
      const ends = [stdout, stderr].map((stream) => finished(stream, ''));
      await Promise.all([...ends, finished(error, statusText(status, protocol))]);
      stdin?.end();
      await spdy.end();
    },
    closed: spdy.closed,
  };
}

async function finished(stream: SpdyStream | undefined, last: string): Promise<void> {
  if (stream === undefined || stream.destroyed) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  stream.once('close', resolve);
  stream.end(last, () => resolve());
  await promise;
}

function statusText(status: ExitStatus, protocol: string): string {
  if (/^v[45]\./.test(protocol)) return JSON.stringify(status);
  return status.status === 'Success' ? '' : (status.message ?? 'failed');
}
