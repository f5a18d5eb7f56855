/** Probes and metrics over HTTP: /health, /ready and /metrics, each on its own port (D96). */
import type { RequestListener, Server } from 'node:http';

import { WorldError } from '../lib/errors.ts';
import { formatHostPort } from '../lib/ip.ts';

// An import of node:http reads all its exports, and WebSocket among them loads a whole HTTP client:
// 20 ms and 5 MB for nothing.
const { createServer } = process.getBuiltinModule('node:http');

export type HttpPage = {
  readonly host: string;
  readonly port: number;
  readonly path: string;
  readonly page: (query: URLSearchParams) => Page | Promise<Page>;
  readonly probed?: Probed;
};

/** Told how long each answer took, or that whoever asked did not wait for it. */
export type Probed = (ms: number, isAnswered: boolean) => void;

export type Page = { readonly code: number; readonly body: string; readonly type?: string };

/** Pages of one address and port; every other path is 404. */
export async function servePages(
  pages: readonly HttpPage[],
  { handsOver = false }: { readonly handsOver?: boolean } = {},
): Promise<Server> {
  const { host, port, path } = pages[0]!;
  const server = createServer({ requestTimeout: 5000, keepAliveTimeout: 5000 }, listenerOf(pages));
  // Probes come one at a time; more than this is no probe.
  server.maxConnections = 100;
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', (cause) => {
    const text = `Cannot serve ${path} on "${formatHostPort(host, port)}": ${cause.message}`;
    reject(new WorldError('DNS_LISTEN', text, { cause }));
  });
  server.listen({ host, port, reusePort: handsOver }, resolve);
  await promise;
  return server;
}

function listenerOf(pages: readonly HttpPage[]): RequestListener {
  return (request, response) => {
    const [path, query = ''] = (request.url ?? '').split('?');
    const found = pages.find((page) => page.path === path);
    const startedMs = performance.now();
    response.once('close', () =>
      found?.probed?.(performance.now() - startedMs, response.writableFinished),
    );
    const answer = found?.page(new URLSearchParams(query));
    void Promise.resolve(answer ?? { code: 404, body: '404 page not found\n' }).then(
      ({ code, body, type = 'text/plain; charset=utf-8' }) => {
        response.writeHead(code, { 'content-type': type }).end(body);
      },
      () => response.writeHead(500).end(),
    );
  };
}
