/** One request and its answer, the same over HTTP/1.1 and HTTP/2. */
import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2';

import { failure } from '../../api/status.ts';
import { limits } from '../../lib/limits.ts';
import type { Caller } from '../context.ts';

export type Request = IncomingMessage | Http2ServerRequest;
export type Response = ServerResponse | Http2ServerResponse;

export type Exchange = {
  readonly request: Request;
  readonly response: Response;
  readonly method: string;
  readonly path: string;
  /** The path's parts, decoded. */
  readonly segments: readonly string[];
  readonly query: URLSearchParams;
  readonly caller: Caller;
  /** For the `Warning` headers (A31). */
  readonly warnings: Set<string>;
};

/** Splits the URL of a request. Throws 400 on a malformed escape. */
export function parseUrl(url: string): Pick<Exchange, 'path' | 'segments' | 'query'> {
  const mark = url.indexOf('?');
  const path = mark < 0 ? url : url.slice(0, mark);
  const query = new URLSearchParams(mark < 0 ? '' : url.slice(mark + 1));
  try {
    const segments = path.split('/').filter((part) => part !== '');
    return { path, segments: segments.map(decodeURIComponent), query };
  } catch {
    throw failure(400, 'BadRequest', `the path ${JSON.stringify(path)} has a malformed escape`);
  }
}

/** What a method is called where discovery and refusals speak of it. */
export function verbOf(method: string): string {
  return VERBS[method] ?? method.toLowerCase();
}

const VERBS: Readonly<Record<string, string>> = {
  GET: 'get',
  HEAD: 'get',
  POST: 'create',
  PUT: 'update',
  PATCH: 'patch',
  DELETE: 'delete',
};

/** Reads the body; over the limit it is a 413 (A44). */
export function readBody(request: Request): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let length = 0;
    request.on('data', (chunk: Buffer) => {
      length += chunk.length;
      if (length <= limits.bodyBytesMax) chunks.push(chunk);
    });
    request.on('end', () => {
      if (length > limits.bodyBytesMax) reject(tooLarge());
      else resolve(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks));
    });
    request.on('error', reject);
    // After `end` the promise is settled and this changes nothing.
    request.on('close', () => reject(failure(400, 'BadRequest', 'the request broke off')));
  });
}

function tooLarge(): Error {
  const text = `Request entity too large: limit is ${limits.bodyBytesMax}`;
  return failure(413, 'RequestEntityTooLarge', text);
}

/** Headers every answer of the API carries (A31, A32). */
export function commonHeaders(
  exchange: Pick<Exchange, 'warnings'>,
): Record<string, string | string[]> {
  const headers: Record<string, string | string[]> = {
    'audit-id': randomUUID(),
    'cache-control': 'no-cache, private',
  };
  if (exchange.warnings.size > 0) {
    headers.warning = warningsOf(exchange.warnings);
  }
  return headers;
}

/** As many as fit: clients refuse larger heads, and kube-apiserver stops at the same size. */
function warningsOf(texts: ReadonlySet<string>): string[] {
  const lines: string[] = [];
  let left = limits.warningBytesMax;
  for (const text of texts) {
    const line = `299 - ${quoted(text)}`;
    left -= line.length;
    if (left < 0) break;
    lines.push(line);
  }
  return lines;
}

/** RFC 7234 §5.5: a quoted string, of printable characters. */
function quoted(text: string): string {
  const plain = text.replaceAll(/[^\x20-\x7e]/g, ' ');
  return `"${plain.replaceAll(/["\\]/g, '\\$&')}"`;
}
