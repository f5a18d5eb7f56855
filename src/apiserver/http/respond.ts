/** Sending answers: objects, lists, errors. */
import type { ServerResponse } from 'node:http';
import type { Readable } from 'node:stream';

import { ApiError, type Status, failure } from '../../api/status.ts';
import { AssertionError, messageOf } from '../../lib/errors.ts';
import { limits } from '../../lib/limits.ts';
import { type Exchange, commonHeaders } from './exchange.ts';
import type { Form } from './negotiate.ts';

const encoder = new TextEncoder();

export type Body = {
  readonly code: number;
  readonly bytes: Uint8Array;
  readonly contentType: string;
  readonly headers?: Readonly<Record<string, string | string[]>>;
};

/** Whether nobody waits for the answer any more; writing its head would throw. */
export function isGone({ response }: Pick<Exchange, 'response'>): boolean {
  return response.destroyed || ('stream' in response && response.stream.destroyed);
}

/** Sends bytes; large ones compressed when the client takes that (A30). */
export async function send(exchange: Exchange, body: Body): Promise<void> {
  const headers: Record<string, string | string[]> = {
    ...commonHeaders(exchange),
    'content-type': body.contentType,
    ...body.headers,
  };
  let { bytes } = body;
  const accepted = exchange.request.headers['accept-encoding'] ?? '';
  if (bytes.length > limits.plainBodyBytesMax && /\bgzip\b/.test([accepted].flat().join())) {
    bytes = await compress(bytes);
    headers['content-encoding'] = 'gzip';
  }
  headers['content-length'] = String(bytes.length);
  if (isGone(exchange)) return;
  writeHead(exchange, body.code, headers);
  const { response } = exchange;
  // A HEAD is answered as the GET would be, without its body.
  if (exchange.method === 'HEAD' || bytes.length === 0) response.end();
  else response.end(bytes);
}

/** `writeHead` of both protocols; their types differ, their meaning does not. */
export function writeHead(
  { response }: Pick<Exchange, 'response'>,
  code: number,
  headers: Readonly<Record<string, string | string[]>>,
): void {
  response.statusCode = code;
  for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
  (response as ServerResponse).writeHead(code);
}

async function compress(bytes: Uint8Array): Promise<Uint8Array> {
  const [{ gzip }, { promisify }] = await Promise.all([import('node:zlib'), import('node:util')]);
  // Level 1: the time saved on the wire of a local network must not be lost on the processor.
  return promisify(gzip)(bytes, { level: 1 });
}

/** Sends a value as JSON or YAML. */
export async function sendValue(
  exchange: Exchange,
  value: unknown,
  options: { readonly code?: number; readonly form?: Form; readonly contentType?: string } = {},
): Promise<void> {
  const { code = 200, form } = options;
  if (form?.encoding === 'yaml') {
    const { stringify } = await import('yaml');
    const bytes = encoder.encode(stringify(value));
    return send(exchange, { code, bytes, contentType: 'application/yaml' });
  }
  const bytes = encoder.encode(`${JSON.stringify(value)}\n`);
  return send(exchange, { code, bytes, contentType: options.contentType ?? 'application/json' });
}

export async function sendText(exchange: Exchange, code: number, text: string): Promise<void> {
  const contentType = 'text/plain; charset=utf-8';
  return send(exchange, { code, bytes: encoder.encode(text), contentType });
}

/** Any error as the `Status` the client gets (A64). Bugs are not explained to clients. */
export function statusOf(error: unknown): Status {
  if (error instanceof ApiError) return error.status;
  const what = error instanceof AssertionError ? 'a bug in the server' : messageOf(error);
  return failure(500, 'InternalError', `Internal error occurred: ${what}`).status;
}

/** Answers with the error; a stream already begun can only be cut. */
export async function sendError(exchange: Exchange, error: unknown): Promise<void> {
  const { response } = exchange;
  if (isGone(exchange)) return;
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const status = statusOf(error);
  const retry = status.details?.retryAfterSeconds;
  if (retry !== undefined) response.setHeader('retry-after', String(retry));
  await sendValue(exchange, status, { code: status.code ?? 500 });
}

/** Passes a stream on as it comes. */
export function sendStream(
  exchange: Exchange,
  head: { readonly code: number; readonly contentType: string },
  body: Readable,
): void {
  const { response } = exchange;
  if (isGone(exchange)) return void body.destroy();
  writeHead(exchange, head.code, {
    ...commonHeaders(exchange),
    'content-type': head.contentType,
  });
  if ('flushHeaders' in response) response.flushHeaders();
  body.on('error', () => response.destroy());
  response.on('close', () => body.destroy());
  body.pipe(response as NodeJS.WritableStream);
}
