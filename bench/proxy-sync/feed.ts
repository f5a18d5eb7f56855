/**
 * An API server that has nothing but objects: list and watch of what a service proxy reads, over TLS
 * and HTTP/2, from text made beforehand. So a proxy's time is its own, whoever made it.
 */
import { createSecureServer, type Http2ServerRequest, type Http2ServerResponse } from 'node:http2';
import type { AddressInfo } from 'node:net';
import type { KubeObject } from '../../src/api/meta.ts';
import { createCa, issue } from '../../src/apiserver/pki/certificates.ts';

type Kind = 'services' | 'endpointslices' | 'nodes' | 'servicecidrs';

const KINDS: Readonly<Record<Kind, { apiVersion: string; kind: string }>> = {
  services: { apiVersion: 'v1', kind: 'Service' },
  endpointslices: { apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice' },
  nodes: { apiVersion: 'v1', kind: 'Node' },
  servicecidrs: { apiVersion: 'networking.k8s.io/v1', kind: 'ServiceCIDR' },
};

type Event = { readonly version: number; readonly line: string };

class Collection {
  readonly texts = new Map<string, string>();
  readonly events: Event[] = [];
  readonly watchers = new Set<Http2ServerResponse>();
}

export class Feed {
  readonly ca = createCa('bench-ca');
  readonly #collections: Readonly<Record<Kind, Collection>>;
  readonly #server;
  #version = 1;

  constructor() {
    const kinds = Object.keys(KINDS).map((kind) => [kind, new Collection()] as const);
    this.#collections = Object.fromEntries(kinds) as Record<Kind, Collection>;
    const { cert, key } = issue(this.ca, { cn: 'bench', ips: ['127.0.0.1'], usages: ['server'] });
    this.#server = createSecureServer({ cert, key, allowHTTP1: true }, (request, response) =>
      this.#answer(request, response),
    );
  }

  async listen(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#server.listen(0, '127.0.0.1', resolve);
    });
  }

  get url(): string {
    return `https://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Open watches of a kind. */
  watchers(kind: Kind): number {
    return this.#collections[kind].watchers.size;
  }

  put(kind: Kind, object: KubeObject): void {
    this.#change(kind, object, 'put');
  }

  delete(kind: Kind, object: KubeObject): void {
    this.#change(kind, object, 'delete');
  }

  close(): void {
    for (const { watchers } of Object.values(this.#collections)) {
      for (const watcher of watchers) watcher.stream?.destroy();
    }
    this.#server.close();
  }

  #change(kind: Kind, object: KubeObject, how: 'put' | 'delete'): void {
    const collection = this.#collections[kind];
    this.#version += 1;
    const version = this.#version;
    const { namespace = '', name } = object.metadata;
    const key = `${namespace}/${name}`;
    const metadata = { ...object.metadata, resourceVersion: String(version) };
    const text = JSON.stringify({ ...KINDS[kind], ...object, metadata });
    const type = how === 'delete' ? 'DELETED' : collection.texts.has(key) ? 'MODIFIED' : 'ADDED';
    if (how === 'delete') collection.texts.delete(key);
    else collection.texts.set(key, text);
    if (!this.#server.listening) return;
    const line = `{"type":"${type}","object":${text}}\n`;
    collection.events.push({ version, line });
    for (const watcher of collection.watchers) watcher.write(line);
  }

  #answer(request: Http2ServerRequest, response: Http2ServerResponse): void {
    const url = new URL(request.url, 'https://feed');
    const parts = url.pathname.split('/').filter((part) => part !== '');
    const rest = parts[0] === 'api' ? parts.slice(2) : parts.slice(3);
    if (rest[0] === 'namespaces') rest.splice(0, 2);
    const kind = rest[0] as Kind;
    const collection = this.#collections[kind];
    // Events and whatever else a proxy writes are of no interest.
    if (request.method !== 'GET' || collection === undefined) refuse(response, 404, 'NotFound');
    else if (rest[1] !== undefined) one(response, collection.texts.get(`/${rest[1]}`));
    else if (url.searchParams.has('watch')) this.#watch(collection, url.searchParams, response);
    else this.#list(kind, url.searchParams, response);
  }

  #list(kind: Kind, query: URLSearchParams, response: Http2ServerResponse): void {
    const { texts } = this.#collections[kind];
    const start = Number(query.get('continue') ?? 0);
    // As kube-apiserver: a list from its cache (version 0) is whole.
    const limit = query.get('resourceVersion') === '0' ? 0 : Number(query.get('limit') ?? 0);
    const end = limit === 0 ? texts.size : start + limit;
    const next = end < texts.size ? String(end) : '';
    const items = [...texts.values()].slice(start, end).join(',');
    const { apiVersion, kind: name } = KINDS[kind];
    const metadata = JSON.stringify({ resourceVersion: String(this.#version), continue: next });
    response.setHeader('content-type', 'application/json');
    response.end(
      `{"apiVersion":"${apiVersion}","kind":"${name}List","metadata":${metadata},"items":[${items}]}`,
    );
  }

  #watch(collection: Collection, query: URLSearchParams, response: Http2ServerResponse): void {
    if (query.has('sendInitialEvents')) {
      refuse(response, 422, 'Invalid');
      return;
    }
    response.setHeader('content-type', 'application/json');
    response.writeHead(200);
    const since = Number(query.get('resourceVersion') ?? 0);
    for (const { version, line } of collection.events) if (version > since) response.write(line);
    collection.watchers.add(response);
    response.on('close', () => collection.watchers.delete(response));
  }
}

function one(response: Http2ServerResponse, text: string | undefined): void {
  response.setHeader('content-type', 'application/json');
  if (text === undefined) refuse(response, 404, 'NotFound');
  else response.end(text);
}

function refuse(response: Http2ServerResponse, code: number, reason: string): void {
  response.statusCode = code;
  response.setHeader('content-type', 'application/json');
  const status = { kind: 'Status', apiVersion: 'v1', status: 'Failure', code, reason };
  response.end(JSON.stringify({ ...status, message: `not here: ${reason}` }));
}
