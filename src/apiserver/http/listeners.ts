/** Sockets that speak TLS with HTTP/2 and HTTP/1.1, and hand requests on. */
import type { IncomingMessage } from 'node:http';
import http2, { type Http2SecureServer, type ServerHttp2Session } from 'node:http2';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';

import { failure } from '../../api/status.ts';
import { UserError } from '../../lib/errors.ts';
import { formatHostPort } from '../../lib/ip.ts';
import { anonymous, authenticateRequest } from '../auth/authenticate.ts';
import { isUpgradable } from '../node-proxy.ts';
import { parseUrl } from './exchange.ts';
import { type HttpContext, handleRequest } from './handler.ts';
import { statusOf } from './respond.ts';
import { resolveTarget } from './target.ts';

/** An address to bind, or a descriptor of a socket that is bound already. */
export type Listener = { readonly host: string; readonly port: number } | { readonly fd: number };

/** PEM. `ca` signs the clients' certificates. */
export type ServerTls = { readonly cert: string; readonly key: string; readonly ca: string };

export type Listening = {
  readonly host: string;
  readonly port: number;
  close(): Promise<void>;
};

/** Requests under way on one connection: informers open a stream for every kind they follow. */
const STREAMS_MAX = 1000;
const WINDOW_BYTES = 1024 * 1024;

export async function listen(
  context: HttpContext,
  listener: Listener,
  tls: ServerTls,
): Promise<Listening> {
  const server = http2.createSecureServer({
    ...tls,
    allowHTTP1: true,
    requestCert: true,
    // Tokens are an alternative to certificates; who has neither is anonymous.
    rejectUnauthorized: false,
    settings: { maxConcurrentStreams: STREAMS_MAX, initialWindowSize: WINDOW_BYTES },
  });
  const sessions = new Set<ServerHttp2Session>();
  const sockets = new Set<Duplex>();
  server.on('session', (session: ServerHttp2Session) => {
    sessions.add(session);
    session.on('close', () => sessions.delete(session));
    session.on('error', () => session.destroy());
  });
  server.on('secureConnection', (socket: Duplex & { setNoDelay(on: boolean): void }) => {
    socket.setNoDelay(true);
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  server.on('request', (request, response) => {
    response.on('error', () => undefined);
    void handleRequest(context, request, response);
  });
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    void handleUpgrade(context, request, socket, head);
  });
  for (const event of ['tlsClientError', 'clientError', 'sessionError'] as const) {
    server.on(event, (error: Error) => context.log?.debug({ err: error }, 'connection failed'));
  }
  const address = await bind(server, listener);
  return {
    host: address.address,
    port: address.port,
    close: () => closeServer(server, sessions, sockets),
  };
}

function bind(server: Http2SecureServer, listener: Listener): Promise<AddressInfo> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => reject(bindError(listener, error)));
    server.listen(listener, () => {
      server.on('error', () => undefined);
      resolve(server.address() as AddressInfo);
    });
  });
}

function bindError(listener: Listener, error: NodeJS.ErrnoException): Error {
  const name =
    'fd' in listener ? `fd ${listener.fd}` : formatHostPort(listener.host, listener.port);
  if (error.code === 'EADDRINUSE') {
    return new UserError('PORT_TAKEN', `Cannot listen on "${name}": the port is taken`, {
      hint: 'Stop what listens there, or choose another port',
      cause: error,
    });
  }
  return new UserError('LISTEN', `Cannot listen on "${name}": ${error.message}`, { cause: error });
}

/** Streams have been ended by now; what is left gets a moment, then is cut. */
function closeServer(
  server: Http2SecureServer,
  sessions: ReadonlySet<ServerHttp2Session>,
  sockets: ReadonlySet<Duplex>,
): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    for (const session of sessions) session.close();
    const timer = setTimeout(() => {
      for (const socket of sockets) socket.destroy();
    }, CLOSE_MS);
    server.once('close', () => clearTimeout(timer));
  });
}

const CLOSE_MS = 100;

/** Upgrades come on HTTP/1.1, whatever the client speaks otherwise (A110). */
async function handleUpgrade(
  context: HttpContext,
  request: IncomingMessage,
  socket: Duplex,
  head: Buffer,
): Promise<void> {
  socket.on('error', () => socket.destroy());
  try {
    const url = parseUrl(request.url ?? '/');
    if (authenticateRequest(request, context.tokens) === anonymous) {
      throw failure(401, 'Unauthorized', 'Unauthorized');
    }
    const target = resolveTarget(url.segments);
    if (target === undefined || !isUpgradable(target) || context.nodes === undefined) {
      throw failure(400, 'BadRequest', 'nothing at this path can be upgraded');
    }
    await context.nodes.upgrade(request, { target, query: url.query }, socket, head);
  } catch (error) {
    const status = statusOf(error);
    const body = JSON.stringify(status);
    socket.end(
      `HTTP/1.1 ${status.code} ${status.reason}\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
    );
  }
}
