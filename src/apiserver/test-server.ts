/** For tests: an API server on loopback over a store in memory, and plain requests to it. */
import { request as httpsRequest } from 'node:https';
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';

import type { Clock } from '../lib/clock.ts';
import { type Store, createMemoryStore } from '../store/store.ts';
import { type KeyPair, createCa, createSigningKey, issue } from './pki/certificates.ts';
import { type ApiServer, startApiServer } from './server.ts';

export type Answer = {
  readonly code: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** The text as JSON; `undefined` for other texts. */
  // oxlint-disable-next-line typescript/no-explicit-any -- tests look anywhere into answers
  readonly body: any;
};

export type Ask = {
  readonly body?: unknown;
  readonly accept?: string;
  readonly type?: string;
  readonly headers?: Record<string, string>;
  /** The body is no text to read. */
  readonly raw?: boolean;
  /** Default: the administrator. `none`: no certificate. */
  readonly as?: KeyPair | 'none';
};

export type TestServer = {
  readonly server: ApiServer;
  readonly store: Store;
  readonly ca: KeyPair;
  readonly admin: KeyPair;
  readonly url: string;
  /** `GET /api/v1/pods` and such. */
  ask(line: string, ask?: Ask): Promise<Answer>;
  /** Opens a watch; `next` settles with the next event. */
  watch(path: string, ask?: Ask): Promise<TestWatch>;
  stop(): Promise<void>;
};

export type TestWatch = {
  readonly code: number;
  // oxlint-disable-next-line typescript/no-explicit-any -- tests look anywhere into events
  next(): Promise<{ type: string; object: any } | undefined>;
  close(): void;
};

export async function startTestServer(
  options: { readonly serviceCidrs?: readonly string[]; readonly clock?: Clock } = {},
): Promise<TestServer> {
  const ca = createCa('test');
  const tls = {
    ...issue(ca, { cn: 'server', ips: ['127.0.0.1'], usages: ['server'] }),
    ca: ca.cert,
  };
  const admin = issue(ca, { cn: 'admin', orgs: ['system:masters'], usages: ['client'] });
  const store = createMemoryStore();
  const server = await startApiServer({
    store,
    serviceCidrs: options.serviceCidrs ?? ['10.96.0.0/16'],
    advertise: { addresses: ['192.0.2.1'], port: 6443 },
    listeners: [{ host: '127.0.0.1', port: 0 }],
    tls,
    kubeletClientTls: { ...admin, ca: ca.cert },
    serviceAccountKey: createSigningKey(),
    ...(options.clock === undefined ? {} : { clock: options.clock }),
  });
  const { port } = server.addresses[0]!;
  const send = (line: string, ask: Ask) => open(port, { ca, admin }, line, ask);
  return {
    server,
    store,
    ca,
    admin,
    url: `https://127.0.0.1:${port}`,
    ask: async (line, ask = {}) => readAnswer(await send(line, ask), ask.raw ?? false),
    watch: async (path, ask = {}) => watchOf(await send(`GET ${path}`, ask)),
    stop: () => server.close(),
  };
}

function open(
  port: number,
  keys: { readonly ca: KeyPair; readonly admin: KeyPair },
  line: string,
  ask: Ask,
): Promise<IncomingMessage> {
  const [method = 'GET', path = '/'] = line.split(' ');
  const credentials = ask.as === 'none' ? {} : (ask.as ?? keys.admin);
  const text = typeof ask.body === 'string' ? ask.body : JSON.stringify(ask.body);
  const payload = ask.body instanceof Uint8Array ? ask.body : text;
  return new Promise((resolve, reject) => {
    const request = httpsRequest({
      host: '127.0.0.1',
      port,
      method,
      path,
      ca: keys.ca.cert,
      ...credentials,
      agent: false,
      headers: {
        ...(ask.accept === undefined ? {} : { accept: ask.accept }),
        ...(payload === undefined
          ? {}
          : {
              'content-type': ask.type ?? 'application/json',
              'content-length': String(Buffer.byteLength(payload)),
            }),
        ...ask.headers,
      },
    });
    request.on('response', resolve);
    request.on('error', reject);
    request.end(payload);
  });
}

async function readAnswer(answer: IncomingMessage, raw: boolean): Promise<Answer> {
  let text = '';
  for await (const chunk of answer) text += String(chunk);
  const json = !raw && /json/.test(answer.headers['content-type'] ?? '');
  const body: unknown = json && text !== '' ? JSON.parse(text) : undefined;
  return { code: answer.statusCode ?? 0, headers: answer.headers, text, body };
}

function watchOf(answer: IncomingMessage): TestWatch {
  const lines = linesOf(answer);
  return {
    code: answer.statusCode ?? 0,
    async next() {
      const { value, done } = await lines.next();
      return done === true ? undefined : (JSON.parse(value) as { type: string; object: unknown });
    },
    close: () => answer.destroy(),
  };
}

async function* linesOf(answer: IncomingMessage): AsyncGenerator<string> {
  let rest = '';
  for await (const chunk of answer) {
    const parts = (rest + String(chunk)).split('\n');
    rest = parts.pop() ?? '';
    yield* parts;
  }
}
