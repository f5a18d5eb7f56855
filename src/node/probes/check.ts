/** One check of a container, as probes and lifecycle hooks make it (K20, K21). */
import { request as httpRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import { connect } from 'node:net';
import type { Container, HttpGetAction, ProbeHandler } from '../../api/types.ts';
import type { IntOrString } from '../../api/meta.ts';
import { messageOf, UserError } from '../../lib/errors.ts';
import { formatHostPort } from '../../lib/ip.ts';
import type { ExecSession } from '../runtime.ts';

export type CheckResult = { readonly ok: boolean; readonly output: string };

export type CheckTarget = {
  readonly container: Container;
  /** Where the pod answers. */
  readonly podIP: string;
  readonly exec: (command: readonly string[]) => Promise<ExecSession>;
};

/** What a kubelet keeps of a probe's answer. */
const outputBytesMax = 10 * 1024;
const redirectsMax = 10;

/** Never rejects: whatever goes wrong is a failed check with a text. */
export async function check(
  handler: ProbeHandler,
  target: CheckTarget,
  timeoutMs: number,
): Promise<CheckResult> {
  try {
    if (handler.httpGet !== undefined) return await checkHttp(handler.httpGet, target, timeoutMs);
    if (handler.tcpSocket !== undefined) {
      const port = portOf(handler.tcpSocket.port, target.container);
      return await checkTcp(handler.tcpSocket.host || target.podIP, port, timeoutMs);
    }
    if (handler.exec !== undefined) {
      return await checkExec(handler.exec.command ?? [], target, timeoutMs);
    }
    const known = 'exec, httpGet and tcpSocket';
    return { ok: false, output: `this probe has no handler known here, which are ${known}` };
  } catch (error) {
    return { ok: false, output: messageOf(error) };
  }
}

/** The number of a port given by number or by the name of a container port. */
export function portOf(port: IntOrString, container: Container): number {
  const number = Number(port);
  const named = (container.ports ?? []).find(({ name }) => name === port)?.containerPort;
  const found = named ?? number;
  if (!Number.isInteger(found) || found < 1 || found > 65_535) {
    throw new UserError('PROBE_PORT', `couldn't find port: "${port}"`);
  }
  return found;
}

async function checkTcp(host: string, port: number, timeoutMs: number): Promise<CheckResult> {
  const { promise, resolve } = Promise.withResolvers<CheckResult>();
  const socket = connect({ host, port });
  const place = formatHostPort(host, port);
  const timer = setTimeout(() => {
    socket.destroy();
    resolve({ ok: false, output: `dial tcp ${place}: i/o timeout` });
  }, timeoutMs);
  socket.once('connect', () => {
    // A reset would look like a broken client in the container's log.
    socket.end();
    socket.once('close', () => socket.destroy());
    resolve({ ok: true, output: '' });
  });
  socket.once('error', (error) => {
    resolve({ ok: false, output: dialText(error, place) });
  });
  const result = await promise;
  clearTimeout(timer);
  return result;
}

async function checkHttp(
  action: HttpGetAction,
  target: CheckTarget,
  timeoutMs: number,
): Promise<CheckResult> {
  const host = action.host || target.podIP;
  const scheme = (action.scheme ?? 'HTTP').toLowerCase();
  const port = portOf(action.port, target.container);
  const path = (action.path || '/').replace(/^([^/])/, '/$1');
  const url = new URL(`${scheme}://${formatHostPort(host, port)}${path}`);
  const headers: Record<string, string> = { 'User-Agent': 'kube-probe/1.33', Accept: '*/*' };
  for (const { name, value } of action.httpHeaders ?? []) {
    for (const key of Object.keys(headers)) {
      if (key.toLowerCase() === name.toLowerCase()) delete headers[key];
    }
    headers[name] = value;
  }
  return fetchOnce(url, { headers, signal: AbortSignal.timeout(timeoutMs) }, redirectsMax);
}

async function fetchOnce(
  url: URL,
  options: { headers: Record<string, string>; signal: AbortSignal },
  redirectsLeft: number,
): Promise<CheckResult> {
  const { promise, resolve } = Promise.withResolvers<IncomingMessage | Error>();
  const request = await requester(url);
  // A connection of its own for each check: a reused one would not notice a dead listener.
  const sent = request(url, {
    ...options,
    agent: false,
    rejectUnauthorized: false,
  } as RequestOptions);
  sent.once('response', resolve);
  sent.once('error', resolve);
  sent.end();
  const answer = await promise;
  // After the answer an abort or a broken body must not become an uncaught error.
  sent.on('error', ignore);
  if (answer instanceof Error) {
    return { ok: false, output: `Get "${url.href}": ${httpErrorText(answer, url)}` };
  }
  const status = answer.statusCode ?? 0;
  const location = answer.headers.location;
  if (status >= 300 && status < 400 && location !== undefined) {
    const next = new URL(location, url);
    answer.destroy();
    // A redirect to another host proves that the container answers, and no more is asked.
    if (next.hostname !== url.hostname) return { ok: true, output: '' };
    if (redirectsLeft === 0) {
      return { ok: false, output: `Get "${url.href}": stopped after ${redirectsMax} redirects` };
    }
    return fetchOnce(next, options, redirectsLeft - 1);
  }
  answer.on('error', ignore);
  answer.resume();
  if (status >= 200 && status < 400) return { ok: true, output: '' };
  return { ok: false, output: `HTTP probe failed with statuscode: ${status}` };
}

/** TLS is loaded by the first pod that needs it. */
async function requester(url: URL): Promise<typeof httpRequest> {
  return url.protocol === 'https:' ? (await import('node:https')).request : httpRequest;
}

function ignore(): void {
  // The check has its result already.
}

async function checkExec(
  command: readonly string[],
  target: CheckTarget,
  timeoutMs: number,
): Promise<CheckResult> {
  const session = await target.exec(command);
  const output: Buffer[] = [];
  let bytes = 0;
  for (const stream of [session.stdout, session.stderr]) {
    stream?.on('error', ignore);
    stream?.on('data', (chunk: Buffer) => {
      if (bytes < outputBytesMax) output.push(chunk);
      bytes += chunk.length;
    });
  }
  const { promise: late, resolve } = Promise.withResolvers<'late'>();
  const timer = setTimeout(() => resolve('late'), timeoutMs);
  const code = await Promise.race([session.exit, late]);
  clearTimeout(timer);
  if (code === 'late') {
    session.kill();
    const text = `command timed out: "${command.join(' ')}" timed out after ${timeoutMs / 1000}s`;
    return { ok: false, output: text };
  }
  const text = Buffer.concat(output).subarray(0, outputBytesMax).toString('utf8');
  return { ok: code === 0, output: code === 0 ? text : text || `exit code ${code}` };
}

function dialText(error: Error, place: string): string {
  const texts: Readonly<Record<string, string>> = {
    ECONNREFUSED: 'connect: connection refused',
    EHOSTUNREACH: 'connect: no route to host',
    ENETUNREACH: 'connect: network is unreachable',
    ECONNRESET: 'read: connection reset by peer',
  };
  const code = (error as NodeJS.ErrnoException).code ?? '';
  return `dial tcp ${place}: ${texts[code] ?? error.message}`;
}

function httpErrorText(error: Error, url: URL): string {
  if (error.name === 'AbortError' || error.name === 'TimeoutError') {
    return 'context deadline exceeded (Client.Timeout exceeded while awaiting headers)';
  }
  return dialText(error, url.host);
}
