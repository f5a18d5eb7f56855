/** A cluster in memory, its real API, the real DNS server in front, and a client that is not ours. */
import { execFile, execFileSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { promisify } from 'node:util';

import * as packet from 'dns-packet';

import { resources, type Resource } from '../../src/api/resources.ts';
import type { KubeObject } from '../../src/api/meta.ts';
import { startApiServer } from '../../src/apiserver/server.ts';
import type { Client } from '../../src/client/client.ts';
import { parseCorefile } from '../../src/dns/config/corefile.ts';
import {
  serve,
  startDns,
  type DnsOptions,
  type DnsServer,
  type Surroundings,
} from '../../src/dns/server.ts';
import { createMemoryStore } from '../../src/store/store.ts';

/** Brings loopback up in the namespace of this process. */
export function loopbackUp(): void {
  execFileSync('ip', ['link', 'set', 'lo', 'up']);
}

export async function startApi(): Promise<Client> {
  const store = createMemoryStore();
  const serviceCidrs = ['10.96.0.0/16', 'fd00:10:96::/112'];
  return (await startApiServer({ store, serviceCidrs })).client;
}

type Loose = { readonly [field: string]: unknown };

export function object(kind: Loose): KubeObject {
  return kind as unknown as KubeObject;
}

export async function createNamespace(client: Client, name: string): Promise<void> {
  await client.create(resources.namespaces, object({ metadata: { name } }));
}

export async function createService(
  client: Client,
  key: { namespace: string; name: string },
  spec: Loose,
): Promise<void> {
  const { type, clusterIP } = spec;
  const selector =
    type === 'ExternalName' || clusterIP === 'None' ? {} : { selector: { app: 'x' } };
  await client.create(
    resources.services,
    object({ metadata: key, spec: { ...selector, ...spec } }),
  );
}

let sliceCount = 0;

/** Endpoints are `address`, `address=hostname`, or with a `!` in front when not ready. */
export async function createSlice(
  client: Client,
  key: { namespace: string; name: string },
  slice: {
    readonly type?: 'IPv4' | 'IPv6' | 'FQDN';
    readonly endpoints: readonly string[];
    readonly ports?: readonly Loose[];
    readonly labelled?: boolean;
    readonly conditions?: Loose;
  },
): Promise<string> {
  sliceCount += 1;
  const name = `${key.name}-${sliceCount}`;
  const endpoints = slice.endpoints.map((text) => {
    const [address, hostname] = text.replace('!', '').split('=');
    const ready = !text.startsWith('!');
    return {
      addresses: [address],
      conditions: slice.conditions ?? { ready },
      ...(hostname === undefined ? {} : { hostname }),
    };
  });
  const labels = slice.labelled === false ? {} : { 'kubernetes.io/service-name': key.name };
  await client.create(
    resources.endpointslices,
    object({
      metadata: { name, namespace: key.namespace, labels },
      addressType: slice.type ?? 'IPv4',
      endpoints,
      ports: slice.ports ?? [{ name: 'http', port: 80, protocol: 'TCP' }],
    }),
  );
  return name;
}

export async function remove(client: Client, resource: Resource, key: string): Promise<void> {
  const [namespace = '', name = ''] = key.split('/');
  await client.delete(resource, { namespace, name });
}

export type Asked = { readonly host: string; readonly port: number };

export type Options = Partial<DnsOptions> & { readonly client: Client };

/** Starts the server on a port of the kernel's choice and waits until it knows the cluster. */
export async function startServer(options: Options): Promise<DnsServer & { at: Asked }> {
  const server = await startDns({
    domain: 'cluster.local',
    listen: [{ host: '127.0.0.1', port: 0 }],
    upstreams: [],
    loopProbe: false,
    print: () => undefined,
    ...options,
  });
  if (options.podRecords !== undefined || options.listen === undefined) await server.synced;
  return Object.assign(server, { at: server.addresses[0]! });
}

/** Starts the server a Corefile describes; port 0 in it is one of the kernel's choice. */
export async function startCorefile(
  client: Client,
  corefile: string,
  more: Partial<Surroundings> = {},
): Promise<DnsServer & { at: Asked }> {
  const options = { env: process.env, warn: () => undefined };
  const configuration = parseCorefile(corefile, 'Corefile', options);
  const print = () => undefined;
  const server = await serve(configuration, { clientFor: () => client, print, ...more });
  await server.synced;
  const [{ host, port }] = server.addresses as [Asked];
  return Object.assign(server, { at: { host: host === '::' ? '127.0.0.1' : host, port } });
}

export type AskOptions = {
  readonly tcp?: boolean;
  readonly timeoutMs?: number;
};

/** Sends bytes and returns the reply's bytes, or undefined after `timeoutMs`. */
export function exchange(
  { host, port }: Asked,
  bytes: Uint8Array,
  { tcp = false, timeoutMs = 3000 }: AskOptions = {},
): Promise<Buffer | undefined> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer | undefined>();
  const timer = setTimeout(() => resolve(undefined), timeoutMs);
  let close: () => void;
  if (tcp) {
    const socket = connect({ host, port }, () => socket.write(frame(bytes)));
    let received = Buffer.alloc(0);
    socket.on('data', (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
      if (received.length < 2 || received.length < 2 + received.readUInt16BE(0)) return;
      resolve(received.subarray(2, 2 + received.readUInt16BE(0)));
    });
    socket.on('error', reject);
    socket.on('close', () => resolve(undefined));
    close = () => socket.destroy();
  } else {
    const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
    socket.on('error', reject);
    socket.on('message', (reply) => resolve(reply));
    socket.send(bytes, port, host);
    close = () => socket.close();
  }
  return promise.finally(() => {
    clearTimeout(timer);
    close();
  });
}

export function frame(bytes: Uint8Array): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(bytes.length);
  return Buffer.concat([length, bytes]);
}

/** A question in bytes, written by dns-packet; `name type [class]`. */
export function question(text: string, more: packet.Packet = {}): Buffer {
  const [name = '', type = 'A', questionClass = 'IN'] = text.split(/\s+/);
  return packet.encode({
    type: 'query',
    id: 4711,
    flags: packet.RECURSION_DESIRED,
    questions: [{ name: name.replace(/\.$/, ''), type, class: questionClass }],
    ...more,
  });
}

export type Reply = ReturnType<typeof packet.decode>;

export async function ask(at: Asked, text: string, options: AskOptions = {}): Promise<Reply> {
  const bytes = await exchange(at, question(text), options);
  if (bytes === undefined) throw new Error(`no reply to ${text}`);
  return packet.decode(bytes);
}

/** What dig(1) prints. The server is in this process, hence it must not be held up meanwhile. */
export async function dig({ host, port }: Asked, ...args: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)('dig', [`@${host}`, '-p', String(port), ...args]);
  return stdout;
}

/** Records as zone-file text, as dns-packet understood them. */
export function texts(records: readonly packet.Record[]): string[] {
  return records.filter(({ type }) => type !== 'OPT').map(textOf);
}

function textOf({ name, type, ttl, class: recordClass = 'IN', data }: packet.Record): string {
  return `${dotted(name)} ${ttl} ${recordClass} ${type} ${dataText(type, data)}`;
}

function dataText(type: string, data: packet.Record['data']): string {
  switch (type) {
    case 'SRV':
      return `${data.priority} ${data.weight} ${data.port} ${dotted(data.target)}`;
    case 'SOA':
      return `${dotted(data.mname)} ${dotted(data.rname)} ${data.refresh} ${data.retry} ${data.expire} ${data.minimum}`;
    case 'TXT':
      return data.map((text: Buffer) => `"${text.toString()}"`).join(' ');
    case 'MX':
      return `${data.preference} ${dotted(data.exchange)}`;
    case 'CNAME':
    case 'PTR':
    case 'NS':
      return dotted(data);
    default:
      return String(data);
  }
}

function dotted(name: string): string {
  return name.endsWith('.') ? name : `${name}.`;
}

export type Upstream = {
  readonly address: string;
  /** What was asked, as `name type` in lower case, over UDP and TCP. */
  readonly asked: string[];
  readonly queries: Reply[];
  close(): void;
};

/** A server elsewhere, made of one function from query to reply; undefined: it keeps silent. */
export async function startUpstream(
  answer: (query: Reply, transport: 'udp' | 'tcp') => packet.Packet | undefined,
  host = '127.0.0.1',
): Promise<Upstream> {
  const asked: string[] = [];
  const queries: Reply[] = [];
  const replyTo = (bytes: Uint8Array, transport: 'udp' | 'tcp'): Buffer | undefined => {
    const query = packet.decode(bytes);
    const [first] = query.questions;
    asked.push(`${first!.name.toLowerCase()} ${first!.type}${transport === 'tcp' ? ' tcp' : ''}`);
    queries.push(query);
    const reply = answer(query, transport);
    if (reply === undefined) return undefined;
    const { id } = query;
    const encoded = packet.encode({ type: 'response', id, questions: [], ...reply });
    return reply.questions === undefined ? withQuestion(encoded, bytes) : encoded;
  };
  const udp = createSocket('udp4');
  udp.on('message', (bytes, from) => {
    const reply = replyTo(bytes, 'udp');
    if (reply !== undefined) udp.send(reply, from.port, from.address);
  });
  const connections = new Set<Socket>();
  const tcp = createServer((socket) => {
    connections.add(socket);
    socket.on('close', () => connections.delete(socket));
    socket.on('error', () => socket.destroy());
    socket.on('data', (chunk: Buffer) => {
      const reply = replyTo(chunk.subarray(2), 'tcp');
      if (reply !== undefined) socket.write(frame(reply));
    });
  });
  // TCP chooses: many of its ports are in use by the other ends of connections, of UDP's hardly any.
  await new Promise<void>((resolve) => tcp.listen(0, host, resolve));
  const { port } = tcp.address() as AddressInfo;
  await new Promise<void>((resolve) => udp.bind(port, host, resolve));
  return {
    address: `${host}:${port}`,
    asked,
    queries,
    close: () => {
      udp.close();
      tcp.close();
      for (const socket of connections) socket.destroy();
    },
  };
}

/** The question as it came, byte for byte: a decoder does not keep every name as it was. */
function withQuestion(reply: Buffer, query: Uint8Array): Buffer {
  let end = 12;
  while (query[end] !== 0) end += 1 + query[end]!;
  reply.writeUInt16BE(1, 4);
  return Buffer.concat([reply.subarray(0, 12), query.subarray(12, end + 5), reply.subarray(12)]);
}

/** The four bits of an rcode where dns-packet wants its flags. */
export const rcodes = { NOERROR: 0, FORMERR: 1, SERVFAIL: 2, NXDOMAIN: 3, REFUSED: 5 } as const;
