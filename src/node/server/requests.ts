/** Paths and queries as the API server sends them to a node. */
import type { LogStream } from '../logs/cri-format.ts';
import type { LogQuery } from '../logs/read-log.ts';

/** A request that cannot be served; the text goes to whoever asked. */
export class Refusal extends Error {
  override name = 'Refusal';
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

export function splitPath(path: string): string[] {
  return path.split('/').filter(Boolean).map(decodeURIComponent);
}

/** The query of `/containerLogs` (A98). */
export function parseLogQuery(
  query: URLSearchParams,
  nowMs: number,
): LogQuery & { readonly previous: boolean } {
  const sinceSeconds = numberIn(query, 'sinceSeconds');
  const sinceTime = query.get('sinceTime');
  const sinceMs = sinceTime === null ? undefined : Date.parse(sinceTime);
  if (sinceMs !== undefined && Number.isNaN(sinceMs)) {
    throw new Refusal(400, `sinceTime "${sinceTime}" is not an RFC 3339 time`);
  }
  return {
    follow: flagIn(query, 'follow'),
    previous: flagIn(query, 'previous'),
    timestamps: flagIn(query, 'timestamps'),
    tailLines: numberIn(query, 'tailLines'),
    limitBytes: numberIn(query, 'limitBytes'),
    sinceMs: sinceSeconds === undefined ? sinceMs : nowMs - sinceSeconds * 1000,
    stream: streamIn(query),
  };
}

/** `true` and `1` say yes, as Go's strconv.ParseBool. */
export function flagIn(query: URLSearchParams, name: string): boolean {
  return ['true', '1', 't', 'T', 'TRUE', 'True'].includes(query.get(name) ?? '');
}

function numberIn(query: URLSearchParams, name: string): number | undefined {
  const text = query.get(name);
  if (text === null || text === '') return undefined;
  if (!/^\d+$/.test(text)) throw new Refusal(400, `${name} "${text}" is not a whole number`);
  return Number(text);
}

function streamIn(query: URLSearchParams): LogStream | undefined {
  const text = query.get('stream')?.toLowerCase();
  return text === 'stdout' || text === 'stderr' ? text : undefined;
}
