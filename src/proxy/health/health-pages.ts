/** /healthz and /livez, as kube-proxy answers them (P122, P123). */
import type { RequestListener, ServerResponse } from 'node:http';
import type { Node } from '../../api/types.ts';
import type { IpFamily } from '../../lib/ip.ts';
import type { ProxyHealth } from './proxy-health.ts';

/** The cluster autoscaler is about to take the node away. */
const DOOMED_TAINT = 'ToBeDeletedByClusterAutoscaler';
/** What Go shows for a time that never was. */
const NEVER = '0001-01-01T00:00:00Z';
const FAMILY_LABEL: Readonly<Record<IpFamily, string>> = { ipv4: 'IPv4', ipv6: 'IPv6' };

export type HealthPagesOptions = {
  /** Undefined until the rules are being kept at all. */
  readonly health: () => ProxyHealth | undefined;
  /** The node's own object, when it is known. */
  readonly node: () => Node | undefined;
  readonly probed?: ((path: 'healthz' | 'livez', code: 200 | 503) => void) | undefined;
  readonly now?: () => number;
};

export function healthPages(options: HealthPagesOptions): RequestListener {
  return (request, response) => {
    const path = request.url?.split('?')[0];
    if (path === '/healthz') answer(options, response, 'healthz');
    else if (path === '/livez') answer(options, response, 'livez');
    else notFound(response);
  };
}

/** As Go's HTTP server. */
export function notFound(response: ServerResponse): void {
  sendText(response, 404, '404 page not found\n');
}

export function sendText(response: ServerResponse, code: number, body: string): void {
  send(response, code, { type: 'text/plain; charset=utf-8', body });
}

export function sendJson(response: ServerResponse, code: number, body: object): void {
  send(response, code, { type: 'application/json', body: JSON.stringify(body) });
}

/** Whole answers with their length, and no guessing of types. */
export function send(
  response: ServerResponse,
  code: number,
  { type, body, headers = {} }: { type: string; body: string; headers?: Record<string, string> },
): void {
  response
    .writeHead(code, {
      'Content-Type': type,
      'X-Content-Type-Options': 'nosniff',
      'Content-Length': Buffer.byteLength(body),
      ...headers,
    })
    .end(body);
}

function answer(
  options: HealthPagesOptions,
  response: ServerResponse,
  path: 'healthz' | 'livez',
): void {
  const { now = Date.now } = options;
  const health = options.health();
  const families = [...(health?.families() ?? [])];
  const keepsUp = health?.healthy ?? true;
  const eligible = isEligible(options.node());
  const code = keepsUp && (path === 'livez' || eligible) ? 200 : 503;
  const newestMs = Math.max(...families.map(([, { lastUpdatedMs }]) => lastUpdatedMs ?? 0), 0);
  const status = families.map(([family, { healthy, lastUpdatedMs }]) => [
    FAMILY_LABEL[family],
    { lastUpdated: timeText(lastUpdatedMs), healthy },
  ]);
  options.probed?.(path, code);
  sendJson(response, code, {
    // While all is well kube-proxy says that it was updated now.
    lastUpdated: timeText(code === 200 ? now() : newestMs || undefined),
    currentTime: timeText(now()),
    ...(path === 'healthz' ? { nodeEligible: eligible } : {}),
    healthy: keepsUp,
    ...(status.length > 0 ? { status: Object.fromEntries(status) as object } : {}),
  });
}

/** Whether balancers may send traffic to the node. */
function isEligible(node: Node | undefined): boolean {
  if (node === undefined || node.metadata.deletionTimestamp !== undefined) return false;
  return node.spec?.taints?.some((taint) => taint.key === DOOMED_TAINT) !== true;
}

function timeText(ms: number | undefined): string {
  return ms === undefined ? NEVER : new Date(ms).toISOString();
}
