/** Requests that switch protocols: exec, attach, port-forward, over SPDY or WebSocket. */
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Status } from '../../api/status.ts';
import { messageOf } from '../../lib/errors.ts';
import { containerNamed } from '../environment/env.ts';
import type { PodWorker } from '../pods/worker.ts';
import type { ExecSession } from '../runtime.ts';
import { portForwardProtocol, servePortForward } from '../streaming/port-forward.ts';
import {
  failureStatus,
  joinSession,
  type RemoteStreams,
  type StreamWishes,
} from '../streaming/remote-command.ts';
import { acceptSpdyStreams, spdyProtocols } from '../streaming/spdy-command.ts';
import { attach } from './attach.ts';
import { flagIn, Refusal, splitPath } from './requests.ts';
import type { NodeServerOptions } from './server.ts';

type Connection = { readonly socket: Duplex; readonly head: Buffer };

/** Answers with 101 and serves the session, or with a Status that says why not. */
export async function serveUpgrade(
  options: NodeServerOptions,
  request: IncomingMessage,
  connection: Connection,
): Promise<void> {
  try {
    await route(options, request, connection);
  } catch (error) {
    const code = error instanceof Refusal ? error.code : 500;
    options.log.debug({ url: request.url, error: messageOf(error) }, 'stream ended badly');
    refuse(connection.socket, code, messageOf(error));
  }
}

async function route(
  options: NodeServerOptions,
  request: IncomingMessage,
  connection: Connection,
): Promise<void> {
  const url = new URL(request.url ?? '/', 'https://node');
  const [verb, namespace = '', name = '', containerName = ''] = splitPath(url.pathname);
  if (verb !== 'exec' && verb !== 'attach' && verb !== 'portForward') {
    throw new Refusal(404, `404 page not found: "${url.pathname}"`);
  }
  const worker = options.findPod({ namespace, name });
  if (worker === undefined) throw new Refusal(404, `pod "${name}" not found on this node`);
  if (verb === 'portForward') return forwardPorts(options, request, { connection, worker });
  const container = containerNamed(worker.pod, containerName);
  const run = worker.containerRun(containerName);
  // The output of a command that was over before its user could attach is still worth showing.
  const isShown = verb === 'attach' && (container?.stdin === true || container?.tty === true);
  if (container === undefined || run === undefined || !(run.running || isShown)) {
    throw new Refusal(404, `container not found ("${containerName}")`);
  }
  const wishes = wishesIn(url.searchParams);
  const command = url.searchParams.getAll('command');
  if (verb === 'exec' && command.length === 0) {
    throw new Refusal(400, 'you must specify at least 1 command');
  }
  const streams = await acceptStreams(request, connection, wishes);
  const begin = async () =>
    verb === 'exec'
      ? options.runtime.exec(run.id, { command, tty: wishes.tty, stdin: wishes.stdin })
      : attach(options, { id: run.id, container, running: run.running, wantsStdin: wishes.stdin });
  await serve(streams, begin);
}

/** After the upgrade, an error travels on the error stream. */
async function serve(streams: RemoteStreams, begin: () => Promise<ExecSession>): Promise<void> {
  try {
    await joinSession(streams, await begin());
  } catch (error) {
    await streams.finish(failureStatus(messageOf(error)));
  }
}

/** The API server says stdin, stdout, stderr; a kubelet's own names are input, output, error. */
function wishesIn(query: URLSearchParams): StreamWishes {
  const either = (a: string, b: string) => flagIn(query, a) || flagIn(query, b);
  return {
    stdin: either('stdin', 'input'),
    stdout: either('stdout', 'output'),
    stderr: either('stderr', 'error'),
    tty: flagIn(query, 'tty'),
  };
}

async function acceptStreams(
  request: IncomingMessage,
  connection: Connection,
  wishes: StreamWishes,
): Promise<RemoteStreams> {
  if (upgradeOf(request) === 'websocket') {
    const { acceptWebSocket, webSocketProtocols, webSocketStreams } =
      await import('../streaming/websocket.ts');
    const offered = namesIn(request.headers['sec-websocket-protocol']);
    if (!offered.some((name) => webSocketProtocols.includes(name))) {
      throw new Refusal(400, `none of the offered protocols is known: ${offered.join(', ')}`);
    }
    return webSocketStreams(await acceptWebSocket(request, connection), wishes);
  }
  const protocol = agree(request, spdyProtocols);
  switchToSpdy(connection.socket, protocol);
  return acceptSpdyStreams(connection, wishes, protocol);
}

async function forwardPorts(
  options: NodeServerOptions,
  request: IncomingMessage,
  { connection, worker }: { connection: Connection; worker: PodWorker },
): Promise<void> {
  const dial = async (port: number) => {
    const { runtime } = options;
    if (runtime.dial !== undefined) return runtime.dial(worker.pod.metadata.uid ?? '', port);
    const socket = connect({ host: worker.podIPs[0] ?? '', port, allowHalfOpen: true });
    await once(socket, 'connect');
    return socket;
  };
  if (upgradeOf(request) === 'websocket') {
    const { acceptWebSocket, tunnelProtocol, webSocketTunnel } =
      await import('../streaming/websocket.ts');
    const offered = namesIn(request.headers['sec-websocket-protocol']);
    if (!offered.includes(tunnelProtocol)) {
      throw new Refusal(400, `none of the offered protocols is known: ${offered.join(', ')}`);
    }
    const socket = webSocketTunnel(await acceptWebSocket(request, connection));
    return servePortForward({ socket, head: Buffer.alloc(0) }, dial);
  }
  switchToSpdy(connection.socket, agree(request, [portForwardProtocol]));
  return servePortForward(connection, dial);
}

function upgradeOf(request: IncomingMessage): string {
  const wanted = (request.headers.upgrade ?? '').toLowerCase();
  if (wanted === 'websocket' || wanted === 'spdy/3.1') return wanted;
  throw new Refusal(
    400,
    `cannot upgrade to "${request.headers.upgrade}": only SPDY/3.1 and websocket`,
  );
}

/** The client's first protocol that is known here; none at all means the oldest. */
function agree(request: IncomingMessage, known: readonly string[]): string {
  const offered = namesIn(request.headers['x-stream-protocol-version']);
  const oldest = known.at(-1) ?? '';
  if (offered.length === 0) return oldest;
  const found = offered.find((name) => known.includes(name));
  if (found !== undefined) return found;
  const text = `unable to upgrade: unable to negotiate protocol: client supports [${offered.join(' ')}]`;
  throw new Refusal(403, `${text}, server accepts [${known.join(' ')}]`);
}

function namesIn(header: string | string[] | undefined): string[] {
  const lines = header === undefined ? [] : [header].flat();
  return lines.flatMap((line) => line.split(',').map((name) => name.trim())).filter(Boolean);
}

function switchToSpdy(socket: Duplex, protocol: string): void {
  socket.write(
    [
      'HTTP/1.1 101 Switching Protocols',
      'Connection: Upgrade',
      'Upgrade: SPDY/3.1',
      `X-Stream-Protocol-Version: ${protocol}`,
      '\r\n',
    ].join('\r\n'),
  );
}

/** kubectl shows the message of a Status; an empty body would make it print nothing (A107). */
function refuse(socket: Duplex, code: number, message: string): void {
  if (socket.destroyed || !socket.writable) return;
  const status: Status = {
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Failure',
    message,
    reason: { 400: 'BadRequest', 403: 'Forbidden', 404: 'NotFound' }[code] ?? 'InternalError',
    code,
  };
  const body = JSON.stringify(status);
  socket.end(
    `HTTP/1.1 ${code} ${status.reason}\r\nConnection: close\r\n` +
      `Content-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
}
