/**
 * The client over HTTPS. All requests and watches of a process share one HTTP/2 connection: one TLS
 * handshake at start-up and one socket's memory, however many resources are watched. Flow control
 * holds a watch back that its reader does not follow.
 */
import http2 from 'node:http2';
import { apiVersionOf, type Resource } from '../api/resources.ts';
import type { Key, KubeObject } from '../api/meta.ts';
import { ApiError, failure, type Status } from '../api/status.ts';
import { WorldError, messageOf } from '../lib/errors.ts';
import { limits } from '../lib/limits.ts';
import type {
  Client,
  DeleteOptions,
  List,
  ListOptions,
  PatchType,
  WatchEvent,
  WatchOptions,
} from './client.ts';
import { createConnection, type Connection, type Credentials } from './connection.ts';
import { splitLines } from './lines.ts';

export type HttpClientOptions = Credentials & {
  /** Such as `https://172.29.0.1:6443`. */
  readonly server: string;
  readonly userAgent?: string;
  /** Told of every request once its answer begins, or that none came. */
  readonly onRequest?: (facts: RequestFacts) => void;
};

/** `code` is the status, or `<error>` where nothing answered: then `error` says why. */
export type RequestFacts = {
  readonly code: string;
  readonly method: string;
  readonly path: string;
  /** With its port. */
  readonly host: string;
  readonly durationMs: number;
  readonly error?: unknown;
};

/** A client that owns a connection; `close` lets the process end. */
export type HttpClient = Client & { close(): void; [Symbol.dispose](): void };

type Request = {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly path: string;
  readonly query?: Record<string, string | undefined>;
  readonly body?: unknown;
  readonly contentType?: string;
  readonly signal?: AbortSignal;
  /** Told how long the answer is. */
  readonly onBody?: (length: number) => void;
};

const patchContentTypes: Record<PatchType, string> = {
  json: 'application/json-patch+json',
  merge: 'application/merge-patch+json',
  strategic: 'application/strategic-merge-patch+json',
};

/** A client of the API server at `server`. It connects at the first request. */
export function createHttpClient(options: HttpClientOptions): HttpClient {
  const connection = createConnection(options);
  const send = <T>(request: Request) => requestJson<T>(connection, options, request);
  return {
    get: (resource, key) => send({ method: 'GET', path: pathOf(resource, key) }),
    list: (resource, list = {}) => listAll(send, resource, list),
    watch: (resource, watch) => watchEvents(connection, options, { resource, watch }),
    create: (resource, object) =>
      send({
        method: 'POST',
        path: pathOf(resource, namespaceOnly(object.metadata.namespace)),
        body: withType(resource, object),
      }),
    update: (resource, object, { subresource } = {}) =>
      send({
        method: 'PUT',
        path: pathOf(resource, object.metadata, subresource),
        body: withType(resource, object),
      }),
    patch: (resource, key, patch, { type, subresource }) =>
      send({
        method: 'PATCH',
        path: pathOf(resource, key, subresource),
        body: patch,
        contentType: patchContentTypes[type],
      }),
    async delete(resource: Resource, key: Key, how: DeleteOptions = {}) {
      const body = { kind: 'DeleteOptions', apiVersion: 'v1', ...how };
      await send({ method: 'DELETE', path: pathOf(resource, key), body });
    },
    post: (resource, key, subresource, body) =>
      send({ method: 'POST', path: pathOf(resource, key, subresource), body }),
    close: () => connection.close(),
    [Symbol.dispose]: () => connection.close(),
  };
}

/** Objects inside a list carry no kind; a body must (A24). */
function withType(resource: Resource, object: KubeObject): KubeObject {
  if (object.kind !== undefined && object.apiVersion !== undefined) return object;
  return { ...object, kind: resource.kind, apiVersion: apiVersionOf(resource) };
}

function namespaceOnly(namespace: string | undefined): Partial<Key> {
  return namespace === undefined ? {} : { namespace };
}

/** `/apis/apps/v1/namespaces/shop/deployments/web/status` (A4). */
export function pathOf(resource: Resource, key: Partial<Key>, subresource?: string): string {
  const parts = resource.group === '' ? ['', 'api'] : ['', 'apis', resource.group];
  parts.push(resource.version);
  if (resource.namespaced && key.namespace !== undefined) {
    parts.push('namespaces', encodeURIComponent(key.namespace));
  }
  parts.push(resource.resource);
  if (key.name !== undefined && key.name !== '') parts.push(encodeURIComponent(key.name));
  if (subresource !== undefined) parts.push(subresource);
  return parts.join('/');
}

/** Of the next page, so that its body has about the size wanted. */
function pageItems(items: number, bytes: number): number {
  if (items === 0 || bytes === 0) return limits.listPageItems;
  const wanted = Math.round((items * limits.listPageBytes) / bytes);
  return Math.max(limits.listPageItemsMin, Math.min(limits.listPageItems, wanted));
}

type ListBody<T> = { metadata?: { resourceVersion?: string; continue?: string }; items?: T[] };

type ListAllOptions<T> = ListOptions & { trim?: (object: T) => T };

/**
 * Reads page after page, so that neither side holds one huge body. Where so much changes that the
 * server forgets the list before its last page is read, it is read in one piece, as client-go does.
 */
async function listAll<T>(
  send: <B>(request: Request) => Promise<B>,
  resource: Resource,
  options: ListAllOptions<T>,
): Promise<List<T>> {
  try {
    return await listPages(send, resource, options, limits.listPageItemsFirst);
  } catch (error) {
    if (!(error instanceof ApiError) || error.code !== 410) throw error;
    return await listPages(send, resource, options, undefined);
  }
}

async function listPages<T>(
  send: <B>(request: Request) => Promise<B>,
  resource: Resource,
  { trim, ...options }: ListAllOptions<T>,
  first: number | undefined,
): Promise<List<T>> {
  const items: T[] = [];
  let next: string | undefined;
  let resourceVersion: string;
  let limit = first;
  do {
    let bytes = 0;
    const page: ListBody<T> = await send<ListBody<T>>({
      method: 'GET',
      path: pathOf(resource, namespaceOnly(options.namespace)),
      query: { ...selection(options), limit: limit?.toString(), continue: next },
      onBody: (length) => (bytes = length),
    });
    const found = page.items ?? [];
    for (const item of found) items.push(trim === undefined ? item : trim(item));
    if (limit !== undefined) limit = pageItems(found.length, bytes);
    resourceVersion = page.metadata?.resourceVersion ?? '';
    next = page.metadata?.continue;
  } while (next !== undefined && next !== '');
  return { items, resourceVersion };
}

function selection(options: ListOptions): Record<string, string | undefined> {
  return { labelSelector: options.labelSelector, fieldSelector: options.fieldSelector };
}

async function requestJson<T>(
  connection: Connection,
  options: HttpClientOptions,
  request: Request,
): Promise<T> {
  const signal = request.signal ?? AbortSignal.timeout(limits.requestTimeoutMs);
  const stream = await open(connection, options, { ...request, signal });
  const text = await readText(stream, options.server);
  const code = stream.status;
  if (code >= 400) throw refusal(code, text);
  request.onBody?.(text.length);
  return JSON.parse(text) as T;
}

type OpenStream = { readonly stream: http2.ClientHttp2Stream; readonly status: number };

/** Sends the request; settles with the answer's head. A GET is tried once more on a new connection. */
async function open(
  connection: Connection,
  options: HttpClientOptions,
  request: Request,
): Promise<OpenStream> {
  const body = request.body === undefined ? undefined : JSON.stringify(request.body);
  const attempt = async () => {
    const headers = await connection.headers();
    const opened = await connection.open(
      {
        ...headers,
        ':method': request.method,
        ':path': request.path + queryText(request.query),
        accept: 'application/json',
        'user-agent': options.userAgent ?? 'fairlead',
        ...(body === undefined
          ? {}
          : { 'content-type': request.contentType ?? 'application/json' }),
      },
      {
        ...(body === undefined ? {} : { body }),
        ...(request.signal && { signal: request.signal }),
      },
    );
    if (opened.status === 401) connection.refused();
    return opened;
  };
  const send = () => (options.onRequest ? told(attempt, request, options) : attempt());
  try {
    return await send();
  } catch (error) {
    if (error instanceof WorldError) throw error;
    if (request.method === 'GET' && request.signal?.aborted !== true) {
      return await send().catch((again: unknown) => {
        throw unreachable(options.server, again);
      });
    }
    throw unreachable(options.server, error);
  }
}

async function told(
  attempt: () => Promise<OpenStream>,
  { method, path }: Request,
  { server, onRequest }: HttpClientOptions,
): Promise<OpenStream> {
  const start = performance.now();
  const { host } = new URL(server);
  const tell = (code: string, error?: unknown) => {
    const durationMs = performance.now() - start;
    onRequest?.({ code, method, path, host, durationMs, error });
  };
  try {
    const opened = await attempt();
    tell(String(opened.status));
    return opened;
  } catch (error) {
    tell('<error>', error);
    throw error;
  }
}

function unreachable(server: string, cause: unknown): WorldError {
  const message = `Cannot reach API server "${server}": ${messageOf(cause)}`;
  return new WorldError('API_UNREACHABLE', message, { cause });
}

async function readText({ stream }: OpenStream, server: string): Promise<string> {
  stream.setEncoding('utf8');
  let text = '';
  try {
    for await (const chunk of stream) text += chunk as string;
  } catch (error) {
    throw unreachable(server, error);
  }
  return text;
}

function refusal(code: number, text: string): ApiError {
  try {
    const status = JSON.parse(text) as Status;
    if (status.kind === 'Status') return new ApiError({ code, ...status });
  } catch (error) {
    // Something between us and the API server answered; its words are all there is to tell.
    if (!(error instanceof SyntaxError)) throw error;
  }
  return failure(code, 'Unknown', text.trim() || `the server answered with status ${code}`);
}

function queryText(query: Request['query']): string {
  const present = Object.entries(query ?? {}).filter(([, value]) => value !== undefined);
  const text = new URLSearchParams(present as [string, string][]).toString();
  return text === '' ? '' : `?${text}`;
}

async function* watchEvents<T>(
  connection: Connection,
  options: HttpClientOptions,
  { resource, watch }: { resource: Resource; watch: WatchOptions },
): AsyncGenerator<WatchEvent<T>> {
  const seconds = Math.round(limits.watchSeconds * (1 + Math.random()));
  const opened = await open(connection, options, {
    method: 'GET',
    path: pathOf(resource, namespaceOnly(watch.namespace)),
    query: {
      ...selection(watch),
      watch: '1',
      allowWatchBookmarks: 'true',
      timeoutSeconds: String(seconds),
      resourceVersion: watch.resourceVersion,
    },
    signal: watch.signal,
  });
  const code = opened.status;
  if (code >= 400) throw refusal(code, await readText(opened, options.server));
  try {
    for await (const line of splitLines(opened.stream, limits.watchBufferBytesMax)) {
      const event = JSON.parse(line) as { type: string; object: unknown };
      if (event.type === 'ERROR') throw new ApiError(event.object as Status);
      yield event as WatchEvent<T>;
    }
  } catch (error) {
    if (watch.signal.aborted) return;
    throw error instanceof ApiError ? error : unreachable(options.server, error);
  } finally {
    opened.stream.close(http2.constants.NGHTTP2_CANCEL);
  }
}
