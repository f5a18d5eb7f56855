/** The metrics page, with CoreDNS's names so that its dashboards work (D102). */
import { Counter, Gauge, Registry } from 'prom-client';

import type { DnsCounters, Histogram } from './counters.ts';
import type { Page } from './health.ts';
import type { Block } from './blocks.ts';
import { CacheStage } from './plugins/cache.ts';
import { ForwardStage } from './plugins/forward.ts';
import type { MessageCache } from './upstream/message-cache.ts';
import { RCODE } from './wire/message.ts';
import { formatType } from './wire/text.ts';

export type MetricSources = {
  readonly counters: DnsCounters;
  readonly blocks: readonly Block[];
};

const rcodeNames = new Map<number, string>(
  Object.entries(RCODE).map(([name, rcode]) => [rcode, name]),
);

/** The page as it stands now. */
export async function metricsPage({ counters, blocks }: MetricSources): Promise<Page> {
  const registers = [new Registry()];
  const counter = (name: string, help: string, labelNames: string[] = []) =>
    new Counter({ name, help, labelNames, registers });
  const server = { server: 'dns://:53', zone: '.', view: '' };

  const requests = counter('coredns_dns_requests_total', 'DNS requests answered', [
    'server',
    'zone',
    'view',
    'proto',
    'type',
  ]);
  const responses = counter('coredns_dns_responses_total', 'DNS replies by response code', [
    'server',
    'zone',
    'view',
    'rcode',
  ]);
  for (const { transport, type, rcode, count } of counters.answers()) {
    const shown = type === 0 ? 'other' : formatType(type);
    requests.inc({ ...server, proto: transport, type: shown }, count);
    responses.inc({ ...server, rcode: rcodeNames.get(rcode) ?? String(rcode) }, count);
  }
  counter('coredns_panics_total', 'Queries that met a bug').inc(counters.panics);
  for (const stage of blocks.flatMap(({ stages }) => stages)) {
    if (stage instanceof CacheStage) addCache(stage.cache, counters, registers);
    if (stage instanceof ForwardStage) addForward(stage, registers);
  }
  const text = await registers[0]!.metrics();
  const latency = histogramText(
    'coredns_kubernetes_dns_programming_duration_seconds',
    'Seconds from a change of pods to the answer that shows it',
    counters.programmingSeconds,
  );
  return { code: 200, body: text + latency, type: registers[0]!.contentType };
}

function addCache(cache: MessageCache, counters: DnsCounters, registers: Registry[]): void {
  const labelNames = ['type'];
  // Those that are kept encoded are answered before the cache.
  const hitsOf = (type: 'success' | 'denial') => cache.hits[type] + counters.hits(type);
  const make = { registers, labelNames };
  const entries = new Gauge({ ...make, name: 'coredns_cache_entries', help: 'Entries kept' });
  const hits = new Counter({ ...make, name: 'coredns_cache_hits_total', help: 'Cache hits' });
  for (const type of ['success', 'denial'] as const) {
    entries.set({ type }, cache.size[type]);
    hits.inc({ type }, hitsOf(type));
  }
  const single = (name: string, help: string, value: number) =>
    new Counter({ registers, name, help }).inc(value);
  single('coredns_cache_misses_total', 'Cache misses', cache.misses);
  single(
    'coredns_cache_requests_total',
    'Questions put to the cache',
    hitsOf('success') + hitsOf('denial') + cache.misses,
  );
  single('coredns_cache_evictions_total', 'Entries dropped for room', cache.evictions);
}

function addForward({ counts }: ForwardStage, registers: Registry[]): void {
  const name = 'coredns_forward_max_concurrent_rejects_total';
  const help = 'Questions refused because too many were on their way';
  new Counter({ registers, name, help }).inc(counts.rejected);
}

/** In the text format of Prometheus; the library has no histogram of counts made elsewhere. */
function histogramText(name: string, help: string, histogram: Histogram): string {
  const lines = [`# HELP ${name} ${help}`, `# TYPE ${name} histogram`];
  let total = 0;
  histogram.counts.forEach((count, index) => {
    total += count;
    lines.push(`${name}_bucket{le="${histogram.bounds[index] ?? '+Inf'}"} ${total}`);
  });
  lines.push(`${name}_sum ${histogram.sum}`, `${name}_count ${total}`, '');
  return lines.join('\n');
}
