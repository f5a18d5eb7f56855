/** DNS over HTTPS (RFC 8484): GET and POST of /dns-query. Loaded only where a block asks for it. */
import {
  createServer as createPlainServer,
  type IncomingMessage,
  type ServerResponse,
} from 'node:http';
import { createSecureServer } from 'node:http2';
import type { Socket } from 'node:net';

import { listening } from '../listening.ts';
import { dnsLimits } from '../limits.ts';
import type { Handle, Listener } from '../udp.ts';
import { decodeMessage } from '../wire/decode.ts';
import { messageBytesMax, rcodeOf, RCODE, TYPE } from '../wire/message.ts';
import { tlsServerOptions, type TlsListenSettings } from './tls-options.ts';

const mediaType = 'application/dns-message';
const path = '/dns-query';

/** HTTP/2 has the same shape as far as it is used here. */
type Request = IncomingMessage;
type Response = ServerResponse;

/** Binds and answers from then on; without `settings` over plain HTTP, for a proxy in front. */
export async function listenHttps(
  at: { readonly host: string; readonly port: number },
  settings: TlsListenSettings | undefined,
  handle: Handle,
): Promise<Listener> {
  const answer = (request: Request, response: Response) => {
    void respond(request, response, handle).catch(() => response.destroy());
  };
  const server =
    settings === undefined
      ? createPlainServer(answer)
      : createSecureServer(
          { ...tlsServerOptions(settings), allowHTTP1: true },
          answer as unknown as Parameters<typeof createSecureServer>[1],
        );
  server.on('tlsClientError', () => undefined);
  // A client that breaks its session off harms nobody else.
  server.on('sessionError', () => undefined);
  const open = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    open.add(socket);
    socket.setTimeout(dnsLimits.tcpIdleMs, () => socket.destroy());
    socket.on('close', () => open.delete(socket));
  });
  server.maxConnections = dnsLimits.tcpConnectionsMax;
  const port = await listening(server, at, 'HTTPS');
  return {
    port,
    renew: (renewed) => {
      if ('setSecureContext' in server) server.setSecureContext(tlsServerOptions(renewed));
    },
    close: async () => {
      const closed = new Promise<void>((done) => server.close(() => done()));
      for (const socket of open) socket.destroy();
      await closed;
    },
  };
}

async function respond(request: Request, response: Response, handle: Handle): Promise<void> {
  const query = await queryIn(request);
  if (typeof query === 'number') return end(response, query);
  const { remoteAddress: address = '', remotePort: port = 0 } = request.socket;
  const reply = await handle(query, 'tcp', { address, port });
  if (reply === undefined) return end(response, 500);
  response.writeHead(200, {
    'content-type': mediaType,
    'cache-control': `max-age=${lifeOf(reply)}`,
    'content-length': String(reply.length),
  });
  response.end(reply);
}

function end(response: Response, status: number): void {
  response.writeHead(status, { 'content-type': 'text/plain' });
  response.end();
}

/** The packet, or the HTTP status that says what is wrong with the request (RFC 8484 §4.1). */
async function queryIn(request: Request): Promise<Buffer | number> {
  const url = new URL(request.url ?? '/', 'https://dns.invalid');
  if (url.pathname !== path) return 404;
  if (request.method === 'GET') {
    const text = url.searchParams.get('dns');
    return text !== null && /^[\w-]+$/.test(text) ? Buffer.from(text, 'base64url') : 400;
  }
  if (request.method !== 'POST') return 405;
  if (request.headers['content-type'] !== mediaType) return 415;
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > messageBytesMax) return 413;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** How long a cache on the way may keep the reply: its shortest TTL, and no failure at all (§5.1). */
function lifeOf(reply: Buffer): number {
  const message = decodeMessage(reply);
  const rcode = rcodeOf(message);
  if (rcode !== RCODE.NOERROR && rcode !== RCODE.NXDOMAIN) return 0;
  const { answers, authorities, additionals } = message;
  const ttls = [...answers, ...authorities, ...additionals]
    .filter(({ type }) => type !== TYPE.OPT)
    .map(({ ttl }) => ttl);
  return ttls.length === 0 ? 0 : Math.min(...ttls);
}
