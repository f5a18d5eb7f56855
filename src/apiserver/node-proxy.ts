/**
 * What happens on a node is answered by the node's agent: logs are passed on as a stream, and
 * exec, attach and port-forward as raw bytes once the agent has agreed to upgrade (A98, A103-A110).
 */
import type { ClientRequest, IncomingMessage, OutgoingHttpHeaders } from 'node:http';
import https from 'node:https';
import type { Duplex } from 'node:stream';

import { type Resource, resources } from '../api/resources.ts';
import { failure } from '../api/status.ts';
import type { Node, Pod } from '../api/types.ts';
import { messageOf } from '../lib/errors.ts';
import { formatHostPort } from '../lib/ip.ts';
import { limits } from '../lib/limits.ts';
import type { Store } from '../store/store.ts';
import { type Exchange, readBody } from './http/exchange.ts';
import { sendStream } from './http/respond.ts';
import type { Target } from './http/target.ts';
import { badRequest, notFound } from './refusals.ts';
import { internalAddressOf } from './strategies.ts';

/** PEM: our client certificate, and the authority that signed the agents'. */
export type NodeTls = { readonly cert: string; readonly key: string; readonly ca: string };

export type NodeProxy = {
  /** `log`, and upgrades that came without an Upgrade header. */
  handle(exchange: Exchange, target: Target): Promise<void>;
  /** `exec`, `attach` and `portforward` of an HTTP/1.1 connection that is being upgraded. */
  upgrade(request: IncomingMessage, url: UpgradeUrl, socket: Duplex, head: Buffer): Promise<void>;
};

export type UpgradeUrl = { readonly target: Target; readonly query: URLSearchParams };

type Place = { readonly host: string; readonly port: number; readonly path: string };

/** `answerMs`: how long an agent may take to begin its answer. */
export function createNodeProxy(
  store: Store,
  tls: NodeTls,
  { answerMs = limits.requestTimeoutMs }: { readonly answerMs?: number } = {},
): NodeProxy {
  const agents: Agents = { tls, answerMs };
  return {
    async handle(exchange, target) {
      if (target.subresource !== 'log') throw badRequest('Upgrade request required');
      const place = placeOf(store, target, exchange.query);
      const answer = await request(agents, place, exchange);
      const code = answer.statusCode ?? 502;
      const contentType = answer.headers['content-type'] ?? 'text/plain';
      if (code >= 400) throw await refusalOf(answer, code);
      sendStream(exchange, { code, contentType }, answer);
    },
    async upgrade(incoming, { target, query }, socket, head) {
      const place = placeOf(store, target, query);
      await passUpgrade(agents, place, { incoming, socket, head });
    },
  };
}

/** Where on which node the container's part of the API is. Throws what the API says when it is nowhere. */
function placeOf(store: Store, target: Target, query: URLSearchParams): Place {
  const { namespace = '', name = '', subresource = '' } = target;
  const pod = store.get(resources.pods, { namespace, name })?.object as Pod | undefined;
  if (pod === undefined) throw notFound(resources.pods, name);
  const { nodeName } = pod.spec;
  if (!nodeName) throw badRequest(`pod ${name} does not have a host assigned`);
  const node: Node | undefined = store.get(resources.nodes, { name: nodeName })?.object;
  if (node === undefined) throw notFound(resources.nodes, nodeName);
  const host = internalAddressOf(node);
  const port = node.status?.daemonEndpoints?.kubeletEndpoint?.Port;
  if (host === undefined || port === undefined) {
    throw failure(503, 'ServiceUnavailable', `node "${nodeName}" has not said where its agent is`);
  }
  const rest = new URLSearchParams(query);
  rest.delete('container');
  const parts = [AGENT_PATHS[subresource]!, namespace, name];
  if (subresource !== 'portforward') parts.push(containerOf(pod, query.get('container')));
  const text = rest.toString();
  const path = `/${parts.map(encodeURIComponent).join('/')}${text === '' ? '' : `?${text}`}`;
  return { host, port, path };
}

const AGENT_PATHS: Readonly<Record<string, string>> = {
  log: 'containerLogs',
  exec: 'exec',
  attach: 'attach',
  portforward: 'portForward',
};

/** The named container, or the only one there is. */
function containerOf(pod: Pod, wanted: string | null): string {
  const { containers, initContainers = [] } = pod.spec;
  const { name } = pod.metadata;
  if (wanted === null || wanted === '') {
    if (containers.length === 1) return containers[0]!.name;
    const marked = pod.metadata.annotations?.['kubectl.kubernetes.io/default-container'];
    if (marked !== undefined && containers.some((c) => c.name === marked)) return marked;
    const list = containers.map((container) => container.name).join(' ');
    throw badRequest(
      `a container name must be specified for pod ${name}, choose one of: [${list}]`,
    );
  }
  if ([...containers, ...initContainers].some((container) => container.name === wanted)) {
    return wanted;
  }
  throw badRequest(`container ${wanted} is not valid for pod ${name}`);
}

type Agents = { readonly tls: NodeTls; readonly answerMs: number };

/** Begins a request to the agent. A node that is gone swallows packets: there is a limit to waiting. */
function dial(
  { tls, answerMs }: Agents,
  { host, port, path }: Place,
  what: { readonly method: string; readonly headers: OutgoingHttpHeaders },
): ClientRequest {
  const outgoing = https.request({ ...tls, ...what, host, port, path, agent: false });
  const giveUp = () => outgoing.destroy(new Error(`no answer within ${answerMs / 1000} s`));
  const timer = setTimeout(giveUp, answerMs);
  for (const event of ['response', 'upgrade', 'close']) {
    outgoing.once(event, () => clearTimeout(timer));
  }
  return outgoing;
}

function request(agents: Agents, place: Place, { response }: Exchange): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const outgoing = dial(agents, place, { method: 'GET', headers: {} });
    outgoing.on('response', resolve);
    outgoing.on('error', (error) => reject(unreachable(place, error)));
    response.on('close', () => outgoing.destroy());
    outgoing.end();
  });
}

function unreachable({ host, port, path }: Place, error: unknown): Error {
  const url = `https://${formatHostPort(host, port)}${path}`;
  const text = `error dialing backend: Get "${url}": ${messageOf(error)}`;
  return failure(500, 'InternalError', `Internal error occurred: ${text}`);
}

const ANSWER_BYTES_MAX = 64 * 1024;

/** The agent's refusal: its own `Status`, or its text in one. */
async function refusalOf(answer: IncomingMessage, code: number): Promise<Error> {
  const text = (await readBody(answer)).subarray(0, ANSWER_BYTES_MAX).toString().trim();
  const reasons: Readonly<Record<number, string>> = { 400: 'BadRequest', 404: 'NotFound' };
  const status = parseStatus(text);
  const message = status?.message ?? text;
  return failure(code, status?.reason ?? reasons[code] ?? 'InternalError', message);
}

function parseStatus(text: string): { message?: string; reason?: string } | undefined {
  if (!text.startsWith('{')) return undefined;
  try {
    return JSON.parse(text) as { message?: string; reason?: string };
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** What must not go on to the agent: our caller's secrets, and headers of this hop. */
const KEPT_BACK = new Set(['authorization', 'host', 'cookie']);

type Upgrade = {
  readonly incoming: IncomingMessage;
  readonly socket: Duplex;
  readonly head: Buffer;
};

function passUpgrade(agents: Agents, place: Place, upgrade: Upgrade): Promise<void> {
  const { incoming, socket, head } = upgrade;
  const headers: string[] = [];
  for (let index = 0; index < incoming.rawHeaders.length; index += 2) {
    const name = incoming.rawHeaders[index]!;
    if (KEPT_BACK.has(name.toLowerCase())) continue;
    headers.push(name, incoming.rawHeaders[index + 1]!);
  }
  headers.push('Host', formatHostPort(place.host, place.port));
  return new Promise((resolve, reject) => {
    const outgoing = dial(agents, place, {
      method: incoming.method ?? 'GET',
      headers: headers as unknown as OutgoingHttpHeaders,
    });
    outgoing.on('error', (error) => reject(unreachable(place, error)));
    outgoing.on('upgrade', (answer: IncomingMessage, agent: Duplex, agentHead: Buffer) => {
      socket.write(rawHead(answer));
      if (agentHead.length > 0) socket.write(agentHead);
      if (head.length > 0) agent.write(head);
      join(socket, agent);
      resolve();
    });
    outgoing.on('response', (answer) => {
      socket.write(rawHead(answer));
      answer.pipe(socket);
      // An answer that breaks off has no end to pass on.
      answer.on('close', () => socket.end());
      resolve();
    });
    socket.on('close', () => outgoing.destroy());
    outgoing.end();
  });
}

/** The head of an answer as it came, but for the length of its body: the connection ends with it. */
function rawHead(answer: IncomingMessage): string {
  const upgraded = answer.statusCode === 101;
  const lines = [`HTTP/1.1 ${answer.statusCode} ${answer.statusMessage}`];
  for (let index = 0; index < answer.rawHeaders.length; index += 2) {
    const name = answer.rawHeaders[index]!;
    if (!upgraded && /^(connection|keep-alive|transfer-encoding)$/i.test(name)) continue;
    lines.push(`${name}: ${answer.rawHeaders[index + 1]}`);
  }
  if (!upgraded) lines.push('Connection: close');
  return `${lines.join('\r\n')}\r\n\r\n`;
}

/** Bytes both ways until one side has finished. */
function join(a: Duplex, b: Duplex): void {
  for (const [from, to] of [
    [a, b],
    [b, a],
  ] as const) {
    from.pipe(to);
    from.on('error', () => to.destroy());
    from.on('close', () => to.destroy());
    if ('setNoDelay' in from) (from as { setNoDelay(on: boolean): void }).setNoDelay(true);
  }
}

/** Whether the subresource is one that clients upgrade. */
export function isUpgradable({ resource, subresource }: Target): boolean {
  const kinds: readonly Resource[] = [resources.pods];
  return kinds.includes(resource) && UPGRADABLE.has(subresource ?? '');
}

const UPGRADABLE = new Set(['exec', 'attach', 'portforward']);
