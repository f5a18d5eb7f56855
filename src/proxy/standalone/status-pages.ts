/** What the metrics port serves beside metrics: kube-proxy's pages (P124). */
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { Logger } from '../../lib/log.ts';
import { notFound, send, sendJson, sendText } from '../health/health-pages.ts';
import type { ProxyMetrics } from '../metrics/proxy-metrics.ts';
import { levelOf } from './verbosity.ts';

export type StatusPagesOptions = {
  readonly mode: string;
  readonly configz: () => object;
  readonly metrics: Pick<ProxyMetrics, 'page' | 'contentType'>;
  readonly profiling: boolean;
  readonly log: Logger;
};

type Page = (request: IncomingMessage, response: ServerResponse) => Promise<void> | void;

export function statusPages(options: StatusPagesOptions): RequestListener {
  const pages = pagesOf(options);
  return (request, response) => {
    const path = request.url?.split('?')[0] ?? '';
    const page = pages[path];
    if (page === undefined) {
      notFound(response);
      return;
    }
    Promise.try(page, request, response).catch((error: unknown) => {
      options.log.error({ path, error: String(error) }, 'cannot answer');
      if (!response.headersSent) sendText(response, 500, 'Internal Server Error\n');
    });
  };
}

function pagesOf(options: StatusPagesOptions): Readonly<Record<string, Page>> {
  let pings = 0;
  return {
    '/healthz'(_, response) {
      pings += 1;
      sendText(response, 200, 'ok');
    },
    '/proxyMode': (_, response) => sendText(response, 200, options.mode),
    '/configz': (_, response) => sendJson(response, 200, options.configz()),
    async '/metrics'(_, response) {
      const text = await options.metrics.page();
      send(response, 200, { type: options.metrics.contentType, body: text });
    },
    '/metrics/slis'(_, response) {
      const type = 'text/plain; version=0.0.4; charset=utf-8';
      send(response, 200, { type, body: slis(pings) });
    },
    ...(options.profiling ? profilingPages(options) : {}),
  };
}

/** component-base/metrics/prometheus/slis: /healthz above is the only check, named ping. */
function slis(pings: number): string {
  return [
    '# HELP kubernetes_healthcheck [STABLE] This metric records the result of a single healthcheck.',
    '# TYPE kubernetes_healthcheck gauge',
    'kubernetes_healthcheck{name="ping",type="healthz"} 1',
    '# HELP kubernetes_healthchecks_total [STABLE] This metric records the results of all healthcheck.',
    '# TYPE kubernetes_healthchecks_total counter',
    `kubernetes_healthchecks_total{name="ping",status="success",type="healthz"} ${pings}`,
    '',
  ].join('\n');
}

/** The engine's own formats, which Chrome's tools open; Go's pprof cannot be had from V8. */
function profilingPages({ log }: StatusPagesOptions): Readonly<Record<string, Page>> {
  return {
    '/debug/pprof/': (_, response) => sendText(response, 200, 'profile?seconds=30\nheap\n'),
    async '/debug/pprof/profile'(request, response) {
      const { cpuProfile } = await import('./profiling.ts');
      sendFile(response, 'proxy.cpuprofile', await cpuProfile(secondsOf(request)));
    },
    async '/debug/pprof/heap'(_, response) {
      const { heapProfile } = await import('./profiling.ts');
      sendFile(response, 'proxy.heapprofile', await heapProfile());
    },
    async '/debug/flags/v'(request, response) {
      const verbosity = (await readSmall(request)).trim();
      if (request.method !== 'PUT' || !/^\d{1,2}$/.test(verbosity)) {
        sendText(response, 400, 'Put a whole number, such as 4\n');
        return;
      }
      log.level = levelOf(Number(verbosity));
      sendText(response, 200, `successfully set klog.logging.verbosity to ${verbosity}`);
    },
  };
}

function sendFile(response: ServerResponse, name: string, body: string): void {
  const headers = { 'Content-Disposition': `attachment; filename="${name}"` };
  send(response, 200, { type: 'application/json', body, headers });
}

/** Some seconds, a minute at most: everything is slower meanwhile. */
function secondsOf(request: IncomingMessage): number {
  const given = Number(new URL(request.url ?? '', 'http://localhost').searchParams.get('seconds'));
  return given > 0 ? Math.min(given, 60) : 30;
}

const SMALL_BYTES = 64;

async function readSmall(request: IncomingMessage): Promise<string> {
  let text = '';
  for await (const chunk of request) {
    text += String(chunk);
    if (text.length > SMALL_BYTES) break;
  }
  return text;
}
