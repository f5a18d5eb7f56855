/** The HTTP side of an echo container; the paths of agnhost `netexec`, and a few more. */
import { type IncomingMessage, type ServerResponse } from 'node:http';
import { formatHostPort } from '../../lib/ip.ts';
import { describe, describeJson, type Client } from './echo-answers.ts';
import { type EchoContainer } from './echo-protocol.ts';

/** The state of a container that its requests can see and change. */
export type EchoState = {
  readonly container: EchoContainer;
  ready: boolean;
  draining: boolean;
};

/** The longest `/delay`, and the largest body that is read. */
const DELAY_MS_MAX = 60_000;
const BODY_BYTES_MAX = 1024 * 1024;

type Request = { readonly url: URL; readonly message: IncomingMessage; readonly client: Client };
type Answer = { readonly status?: number; readonly body: string | object };
type Handler = (state: EchoState, request: Request) => Answer | Promise<Answer>;

const handlers: Readonly<Record<string, Handler>> = {
  '/hostname': ({ container }) => ({ body: container.identity.pod }),
  '/hostName': ({ container }) => ({ body: container.identity.pod }),
  '/clientip': (_, { client }) => ({ body: formatHostPort(client.address, client.port) }),
  '/env': ({ container }) => ({ body: container.env }),
  '/echo': async (_, { url, message }) => ({
    body: url.searchParams.get('msg') ?? (await readBody(message)),
  }),
  '/delay': delay,
  '/healthz': health,
  '/readyz': health,
  '/fail': (state) => {
    state.ready = !state.ready;
    return { body: `ready=${state.ready}\n` };
  },
};

/** Answers one request. */
export async function answerHttp(
  state: EchoState,
  client: Client,
  message: IncomingMessage,
  response: ServerResponse,
): Promise<number> {
  const url = urlOf(message.url ?? '/');
  const handler = Object.hasOwn(handlers, url.pathname) ? handlers[url.pathname]! : about;
  const { status = 200, body } = await handler(state, { url, message, client });
  const text = typeof body === 'string' ? body : `${JSON.stringify(body)}\n`;
  const type = typeof body === 'string' ? 'text/plain; charset=utf-8' : 'application/json';
  // A client that keeps its connection would come back to a pod that is about to go.
  if (state.draining) response.setHeader('connection', 'close');
  response.writeHead(status, {
    'content-type': type,
    'content-length': Buffer.byteLength(text),
    'x-served-by': state.container.identity.pod,
  });
  response.end(text);
  return status;
}

/** A path may begin with two slashes; a client that takes us for a proxy sends the whole URL. */
function urlOf(target: string): URL {
  const text = target.startsWith('/') ? `http://echo${target}` : target;
  return URL.parse(text) ?? new URL('http://echo/');
}

const about: Handler = ({ container }, { url, message, client }) => {
  const json =
    url.searchParams.get('format') === 'json' ||
    message.headers.accept?.includes('application/json') === true;
  if (!json) {
    const path = `${url.pathname}${url.search}`;
    return {
      body: `${describe(container, client, 'http')} method=${message.method} path=${path}\n`,
    };
  }
  const { headers, method } = message;
  const facts = describeJson(container, client, 'http');
  return { body: { ...facts, method, path: url.pathname, host: headers.host ?? '', headers } };
};

async function delay(_: EchoState, { url }: Request): Promise<Answer> {
  const asked = Number(url.searchParams.get('ms') ?? '1000');
  const delayMs = Math.min(DELAY_MS_MAX, Math.max(0, Number.isFinite(asked) ? asked : 0));
  await new Promise((resolve) => setTimeout(resolve, delayMs));
  return { body: `waited ${delayMs} ms\n` };
}

/** `POST /healthz?ready=false` makes it fail until `ready=true` comes. */
function health(state: EchoState, { url, message }: Request): Answer {
  const wanted = url.searchParams.get('ready');
  if (message.method === 'POST' && wanted !== null) {
    state.ready = wanted !== 'false';
    return { body: `ready=${state.ready}\n` };
  }
  return state.ready ? { body: 'ok' } : { status: 503, body: 'not ready' };
}

async function readBody(message: IncomingMessage): Promise<string> {
  let body = '';
  for await (const chunk of message) {
    body += String(chunk);
    if (body.length > BODY_BYTES_MAX) break;
  }
  return body;
}
