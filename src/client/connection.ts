/** One HTTP/2 connection to an API server, made when needed and made again when it broke. */
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import http2, { type ClientHttp2Session, type OutgoingHttpHeaders } from 'node:http2';
import tls, { type TLSSocket } from 'node:tls';
import { limits } from '../lib/limits.ts';
import { createExecSource, type ExecIdentity, type ExecPlugin } from './exec-credentials.ts';

/** Who we are and whom we believe; everything PEM text. */
export type Credentials = {
  /** The certificate authority of the server; absent: those the machine trusts. */
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  /** Where the two came from: read again at each new connection, since such files are renewed. */
  readonly certFile?: string;
  readonly keyFile?: string;
  /** A command that gives token or certificate. */
  readonly exec?: ExecPlugin;
  readonly token?: string;
  /** Read again every minute: a mounted token is replaced before it runs out. */
  readonly tokenFile?: string;
  /** The name the server's certificate must carry, when it is not the host of its address. */
  readonly serverName?: string;
  /** Believe any server. */
  readonly insecure?: boolean;
};

export type Connection = {
  /** The headers that say who we are. */
  headers(): Promise<OutgoingHttpHeaders>;
  /** The server does not believe us: what can be got anew is. */
  refused(): void;
  /** Sends a request; settles when the answer's head is here. */
  open(
    headers: OutgoingHttpHeaders,
    options: { body?: string; signal?: AbortSignal },
  ): Promise<{ stream: http2.ClientHttp2Stream; status: number }>;
  close(): void;
};

/** How often a quiet connection is asked whether it lives, and how long the answer may take. */
const pingEveryMs = 10_000;

const tokenLifeMs = 60_000;

/** How long the first attempt to connect may take, doubling to the longest. */
const connectTimeoutMs = 200;
const connectTimeoutMsMax = 10_000;

/** A machine that gets no processor may be slow with its handshake; one that is gone never answers. */
const handshakeTimeoutMsDefault = 10_000;

type ConnectionOptions = Credentials & {
  readonly server: string;
  readonly handshakeTimeoutMs?: number;
};

/** Connects to `server` at the first request. */
export function createConnection(options: ConnectionOptions): Connection {
  let session: ClientHttp2Session | undefined;
  let closed = false;
  let failures = 0;
  const token = tokenSource(options);
  const exec = options.exec && createExecSource(options.exec);
  let identity: ExecIdentity | undefined;
  const current = (): ClientHttp2Session => {
    if (closed) throw new Error('the client is closed');
    if (session === undefined || session.closed || session.destroyed) {
      const patienceMs = Math.min(connectTimeoutMsMax, connectTimeoutMs * 2 ** failures);
      failures += 1;
      session = connect({ ...options, ...certificate(options, identity) }, patienceMs);
      session.once('connect', () => (failures = 0));
    }
    return session;
  };
  return {
    async headers() {
      if (exec === undefined) return bearer(token.read());
      const next = await exec.current();
      // A certificate belongs to a connection.
      if (next.cert !== identity?.cert) session?.close();
      identity = next;
      return bearer(next.token);
    },
    refused() {
      exec?.forget();
      token.forget();
    },
    open: (headers, request) => openStream(current(), headers, request),
    close() {
      closed = true;
      session?.destroy();
    },
  };
}

/** What a file says now, where the identity came from files. */
function certificate(
  { certFile, keyFile }: Credentials,
  identity: ExecIdentity | undefined,
): Pick<Credentials, 'cert' | 'key'> {
  if (identity?.cert !== undefined && identity.key !== undefined) {
    return { cert: identity.cert, key: identity.key };
  }
  if (certFile === undefined || keyFile === undefined) return {};
  return { cert: readFileSync(certFile, 'utf8'), key: readFileSync(keyFile, 'utf8') };
}

function bearer(token: string | undefined): OutgoingHttpHeaders {
  return token === undefined ? {} : { authorization: `Bearer ${token}` };
}

type TokenSource = { readonly read: () => string | undefined; readonly forget: () => void };

function tokenSource({ token, tokenFile }: Credentials): TokenSource {
  if (tokenFile === undefined) return { read: () => token, forget() {} };
  let text = '';
  let readAt = -Infinity;
  return {
    read() {
      if (performance.now() - readAt > tokenLifeMs) {
        text = readFileSync(tokenFile, 'utf8').trim();
        readAt = performance.now();
      }
      return text;
    },
    forget: () => (readAt = -Infinity),
  };
}

function connect(options: ConnectionOptions, connectTimeoutMs: number): ClientHttp2Session {
  const session = http2.connect(options.server, {
    createConnection: (url) => openSocket(url, options, connectTimeoutMs),
    settings: { enablePush: false, initialWindowSize: limits.streamWindowBytes },
  });
  // A watch nobody reads must not use up the window all streams share.
  session.once('connect', () => session.setLocalWindowSize(limits.connectionWindowBytes));
  // Whoever waits for an answer hears of the error through the stream.
  session.on('error', () => session.destroy());
  // One listener per request under way: a node with many pods has hundreds, and that is no leak.
  session.setMaxListeners(0);
  session.on('goaway', () => session.close());
  watchOver(session);
  return session;
}

/**
 * A SYN that was dropped, as before a node has its routes and rules, is repeated by the kernel after
 * a second only; so the first attempts are cut short and made anew.
 */
function openSocket(url: URL, options: ConnectionOptions, connectTimeoutMs: number): TLSSocket {
  const { ca, cert, key, serverName, insecure } = options;
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const name = serverName ?? (isIP(host) === 0 ? host : undefined);
  const socket = tls.connect({
    host,
    port: Number(url.port || 443),
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(name === undefined ? {} : { servername: name }),
    ...(insecure === true ? { rejectUnauthorized: false } : {}),
    ALPNProtocols: ['h2'],
  });
  const { handshakeTimeoutMs = handshakeTimeoutMsDefault } = options;
  limitTime(socket, 'connect', { what: 'connection', timeoutMs: connectTimeoutMs });
  limitTime(socket, 'secureConnect', { what: 'TLS handshake', timeoutMs: handshakeTimeoutMs });
  return socket;
}

/** Ends the socket unless the event comes in time. */
function limitTime(
  socket: TLSSocket,
  event: 'connect' | 'secureConnect',
  { what, timeoutMs }: { what: string; timeoutMs: number },
): void {
  const timer = setTimeout(() => {
    socket.destroy(new Error(`no ${what} within ${timeoutMs} ms`));
  }, timeoutMs);
  socket.once(event, () => clearTimeout(timer));
  socket.once('close', () => clearTimeout(timer));
}

/** Without this a peer that vanished without a word would leave every watch waiting for ever. */
function watchOver(session: ClientHttp2Session): void {
  let answered = true;
  const timer = setInterval(() => {
    // Destroyed, it may take a while until it says that it is closed; a ping would throw here.
    if (session.connecting || session.destroyed) return;
    if (!answered) session.destroy(new Error('the server stopped answering'));
    else if (!session.closed) {
      answered = false;
      session.ping(() => (answered = true));
    }
  }, pingEveryMs);
  timer.unref();
  session.once('close', () => clearInterval(timer));
}

function openStream(
  session: ClientHttp2Session,
  headers: OutgoingHttpHeaders,
  { body, signal }: { body?: string; signal?: AbortSignal },
): Promise<{ stream: http2.ClientHttp2Stream; status: number }> {
  return new Promise((resolve, reject) => {
    const onSessionError = (error: Error) => reject(error);
    const stream = session.request(headers, {
      endStream: body === undefined,
      ...(signal === undefined ? {} : { signal }),
    });
    session.once('error', onSessionError);
    stream.once('response', (head) => resolve({ stream, status: Number(head[':status']) }));
    stream.once('error', reject);
    stream.once('close', () => {
      session.off('error', onSessionError);
      // No effect once the head was here.
      reject(new Error('the connection was closed before an answer came'));
    });
    if (body !== undefined) stream.end(body);
  });
}
