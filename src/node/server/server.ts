/**
 * What a kubelet offers on port 10250: logs, exec, attach, port-forward. Only whoever holds a client
 * certificate of the cluster's authority gets in.
 */
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { Readable, type Duplex } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Pod } from '../../api/types.ts';
import { messageOf } from '../../lib/errors.ts';
import type { Logger } from '../../lib/log.ts';
import type { LogStore } from '../logs/log-store.ts';
import { readLog } from '../logs/read-log.ts';
import type { PodWorker } from '../pods/worker.ts';
import type { Runtime } from '../runtime.ts';
import { parseLogQuery, Refusal, splitPath } from './requests.ts';

export type NodeTls = {
  readonly key: string;
  readonly cert: string;
  /** Who may ask: certificates signed by this authority. */
  readonly ca: string;
};

export type NodeServerOptions = {
  readonly host: string;
  readonly port: number;
  readonly tls: NodeTls;
  readonly log: Logger;
  readonly runtime: Runtime;
  readonly logs: LogStore;
  readonly findPod: (key: { namespace: string; name: string }) => PodWorker | undefined;
  readonly pods: () => readonly Pod[];
};

export type NodeServer = { readonly port: number; stop(): Promise<void> };

/** Listens on the node's address. */
export async function startNodeServer(options: NodeServerOptions): Promise<NodeServer> {
  const { key, cert, ca } = options.tls;
  const server = createServer({ key, cert, ca, requestCert: true, rejectUnauthorized: true });
  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    void answer(options, request, response);
  });
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    socket.on('error', () => socket.destroy());
    void upgrade(options, request, { socket, head });
  });
  server.on('tlsClientError', (error) => {
    options.log.debug({ error: messageOf(error) }, 'refused a connection');
  });
  server.listen(options.port, options.host);
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    stop: () => close(server),
  };
}

async function close(server: Server): Promise<void> {
  const closed = once(server, 'close');
  server.close();
  server.closeAllConnections();
  await closed;
}

async function answer(
  options: NodeServerOptions,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  try {
    await route(options, request, response);
  } catch (error) {
    if (response.headersSent) {
      response.destroy();
      return;
    }
    const code = error instanceof Refusal ? error.code : 500;
    if (code === 500)
      options.log.warn({ url: request.url, error: messageOf(error) }, 'request failed');
    response.writeHead(code, { 'Content-Type': 'text/plain; charset=utf-8' });
    response.end(messageOf(error));
  }
}

async function route(
  options: NodeServerOptions,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const url = new URL(request.url ?? '/', 'https://node');
  const [verb = '', ...rest] = splitPath(url.pathname);
  switch (verb) {
    case 'healthz':
      response.end('ok');
      return;
    case 'pods':
      response.setHeader('Content-Type', 'application/json');
      response.end(
        JSON.stringify({ kind: 'PodList', apiVersion: 'v1', metadata: {}, items: options.pods() }),
      );
      return;
    case 'metrics':
      response.setHeader('Content-Type', 'text/plain; version=0.0.4; charset=utf-8');
      response.end(metrics(options));
      return;
    case 'containerLogs':
      await sendLog(options, { url, path: rest }, response);
      return;
    case 'exec':
    case 'attach':
    case 'portForward':
      throw new Refusal(400, 'Upgrade request required');
    default:
      throw new Refusal(404, `404 page not found: "${url.pathname}"`);
  }
}

async function sendLog(
  options: NodeServerOptions,
  { url, path }: { url: URL; path: readonly string[] },
  response: ServerResponse,
): Promise<void> {
  const [namespace = '', name = '', container = ''] = path;
  const query = parseLogQuery(url.searchParams, Date.now());
  const worker = options.findPod({ namespace, name });
  if (worker === undefined) throw new Refusal(404, `pod "${name}" not found on this node`);
  const { previous } = query;
  const run = worker.containerRun(container, previous);
  const place = run === undefined ? undefined : options.logs.place(run.id);
  if (place === undefined) throw new Refusal(400, whyNoLog(worker, { container, name, previous }));
  const gone = new AbortController();
  response.on('close', () => gone.abort());
  response.writeHead(200, { 'Content-Type': 'text/plain; charset=utf-8' });
  // A follower of a silent container wants to know that it is connected.
  response.flushHeaders();
  const text = Readable.from(readLog(place, query, gone.signal), { objectMode: false });
  try {
    await pipeline(text, response);
  } catch (error) {
    if (!gone.signal.aborted) throw error;
  }
}

/** The words of a kubelet: `kubectl logs` prints them. */
function whyNoLog(
  worker: PodWorker,
  about: { container: string; name: string; previous: boolean },
): string {
  const { container, name, previous } = about;
  const { status, spec } = worker.pod;
  const known = [...(spec.initContainers ?? []), ...spec.containers];
  if (!known.some((c) => c.name === container)) {
    return `container ${container} is not valid for pod ${name}`;
  }
  if (previous) return `previous terminated container "${container}" in pod "${name}" not found`;
  const all = [...(status?.initContainerStatuses ?? []), ...(status?.containerStatuses ?? [])];
  const reason = all.find((c) => c.name === container)?.state?.waiting?.reason;
  const waiting = reason ?? 'ContainerCreating';
  return `container "${container}" in pod "${name}" is waiting to start: ${waiting}`;
}

function metrics({ pods }: NodeServerOptions): string {
  const count = pods().length;
  return [
    '# HELP kubelet_running_pods Number of pods the agent looks after',
    '# TYPE kubelet_running_pods gauge',
    `kubelet_running_pods ${count}`,
    '# HELP process_resident_memory_bytes Resident memory size in bytes',
    '# TYPE process_resident_memory_bytes gauge',
    `process_resident_memory_bytes ${process.memoryUsage.rss()}`,
    '',
  ].join('\n');
}

/** The streaming code is loaded by the first session that needs it. */
async function upgrade(
  options: NodeServerOptions,
  request: IncomingMessage,
  connection: { socket: Duplex; head: Buffer },
): Promise<void> {
  const { serveUpgrade } = await import('./upgrade.ts');
  await serveUpgrade(options, request, connection);
}
