/** The metrics page, with CoreDNS's names so that its dashboards work (D102). */
import { Counter, Gauge, Registry } from 'prom-client';

import type { Block } from './blocks.ts';
import type { DnsCounters, Histogram } from './counters.ts';
import type { Page } from './health.ts';
import { CacheStage } from './plugins/cache.ts';
import { ForwardStage } from './plugins/forward.ts';
import { socketLabel } from './sockets.ts';
import { formatServer } from './upstream/servers.ts';
import { formatName } from './wire/name.ts';
import { formatRcode, formatType } from './wire/text.ts';

export type MetricSources = {
  readonly counters: DnsCounters;
  readonly blocks: readonly Block[];
};

type Row = readonly [labels: Readonly<Record<string, string>>, value: number];

/** Adds a metric with these rows, or none where there are no rows. */
type Add = (name: string, help: string, rows: readonly Row[]) => void;

/** The page as it stands now. */
export async function metricsPage({ counters, blocks }: MetricSources): Promise<Page> {
  const registers = [new Registry()];
  const make = (name: string, help: string, rows: readonly Row[]) => {
    return { name, help, labelNames: Object.keys(rows[0]?.[0] ?? {}), registers };
  };
  const count: Add = (name, help, rows) => {
    if (rows.length === 0) return;
    const metric = new Counter(make(name, help, rows));
    for (const [labels, value] of rows) metric.inc(labels, value);
  };
  const show: Add = (name, help, rows) => {
    if (rows.length === 0) return;
    const metric = new Gauge(make(name, help, rows));
    for (const [labels, value] of rows) metric.set(labels, value);
  };
  addServer({ counters, blocks }, count, show);
  addCaches({ counters, blocks }, count, show);
  addForwards(blocks, count);
  const text = await registers[0]!.metrics();
  const where = whereOf(blocks);
  const histograms = [
    histogramText(
      'coredns_kubernetes_dns_programming_duration_seconds',
      'Seconds from a change of pods to the answer that shows it',
      counters.programmingSeconds,
    ),
    // A kept answer takes less than the least of these.
    histogramText(
      'coredns_dns_request_duration_seconds',
      'Seconds that each request took',
      withFast(counters.requestSeconds, counters.total()),
      where,
    ),
  ];
  return { code: 200, body: text + histograms.join(''), type: registers[0]!.contentType };
}

/** Answers are counted by kind in one place for all sockets: they go under the first of them. */
function whereOf(blocks: readonly Block[]): Readonly<Record<string, string>> {
  const [site] = blocks.flatMap(({ settings }) => settings.sites);
  const zone = site === undefined ? '.' : formatName(site.zone);
  return { server: site === undefined ? '' : socketLabel(site), zone, view: '' };
}

function addServer({ counters, blocks }: MetricSources, count: Add, show: Add): void {
  const where = whereOf(blocks);
  const answers = counters.answers();
  count(
    'coredns_dns_requests_total',
    'DNS requests answered',
    answers.map(({ transport, type, count: answered }) => {
      const shown = type === 0 ? 'other' : formatType(type);
      return [{ ...where, proto: transport, type: shown }, answered];
    }),
  );
  count(
    'coredns_dns_responses_total',
    'DNS replies by response code',
    answers.map(({ rcode, count: answered }) => [
      { ...where, rcode: formatRcode(rcode) },
      answered,
    ]),
  );
  count('coredns_panics_total', 'Queries that met a bug', [[{}, counters.panics]]);
  const { digest, failed } = counters.reload;
  count('coredns_reload_failed_total', 'Changed Corefiles not used', [[{}, failed]]);
  if (digest !== '') {
    const labels = { hash: 'sha512', value: digest };
    show('coredns_reload_version_info', 'The Corefile in use', [[labels, 1]]);
  }
  show('coredns_plugin_enabled', 'Directives of each zone', [...enabled(blocks)]);
}

function* enabled(blocks: readonly Block[]): Generator<Row> {
  for (const { settings, stages } of blocks) {
    for (const site of settings.sites) {
      for (const { name } of stages) {
        yield [{ server: socketLabel(site), zone: formatName(site.zone), view: '', name }, 1];
      }
    }
  }
}

function addCaches({ counters, blocks }: MetricSources, count: Add, show: Add): void {
  const caches = blocks.flatMap(({ settings, stages }) => {
    const stage = stages.find((one) => one instanceof CacheStage);
    const [site] = settings.sites;
    if (stage === undefined || site === undefined) return [];
    const zones = (settings.plugins.cache?.zones ?? []).map(formatName).join(',');
    return [{ cache: stage.cache, labels: { server: socketLabel(site), zones, view: '' } }];
  });
  const kinds = ['success', 'denial'] as const;
  // Those that are kept encoded are answered before the cache: they go under the first.
  const hitsOf = (index: number, kind: (typeof kinds)[number]) =>
    caches[index]!.cache.hits[kind] + (index === 0 ? counters.hits(kind) : 0);
  const byKind = (value: (index: number, kind: (typeof kinds)[number]) => number) =>
    caches.flatMap(({ labels }, index) =>
      kinds.map((type): Row => [{ ...labels, type }, value(index, type)]),
    );
  const each = (value: (index: number) => number) =>
    caches.map(({ labels }, index): Row => [labels, value(index)]);
  const cacheAt = (index: number) => caches[index]!.cache;
  show(
    'coredns_cache_entries',
    'Entries kept',
    byKind((index, kind) => cacheAt(index).size[kind]),
  );
  count('coredns_cache_hits_total', 'Cache hits', byKind(hitsOf));
  count(
    'coredns_cache_misses_total',
    'Cache misses',
    each((index) => cacheAt(index).misses),
  );
  const asked = (index: number) =>
    hitsOf(index, 'success') + hitsOf(index, 'denial') + cacheAt(index).misses;
  count('coredns_cache_requests_total', 'Questions put to the cache', each(asked));
  const evictions = each((index) => cacheAt(index).evictions);
  count('coredns_cache_evictions_total', 'Entries dropped for room', evictions);
  const prefetches = each((index) => cacheAt(index).prefetches);
  count('coredns_cache_prefetch_total', 'Answers fetched before they expired', prefetches);
  const stale = each((index) => cacheAt(index).servedStale);
  count('coredns_cache_served_stale_total', 'Expired answers given', stale);
}

function addForwards(blocks: readonly Block[], count: Add): void {
  const forwards = blocks
    .flatMap(({ stages }) => stages)
    .filter((stage) => stage instanceof ForwardStage);
  if (forwards.length === 0) return;
  const sum = (value: (stage: ForwardStage) => number): Row[] => [
    [{}, forwards.reduce((total, stage) => total + value(stage), 0)],
  ];
  count(
    'coredns_forward_max_concurrent_rejects_total',
    'Questions refused because too many were on their way',
    sum(({ counts }) => counts.rejected),
  );
  count(
    'coredns_forward_healthcheck_broken_total',
    'Questions for which no server was up',
    sum(({ pool }) => pool.healthcheckBroken),
  );
  const upstreams = forwards.flatMap(({ pool }) => pool.upstreams);
  const per = (value: (upstream: (typeof upstreams)[number]) => number) => {
    const sums = Map.groupBy(upstreams, ({ server }) => formatServer(server));
    return [...sums].map(([to, same]): Row => {
      const total = same.reduce((all, upstream) => all + value(upstream), 0);
      return [{ proxy_name: 'forward', to }, total];
    });
  };
  count(
    'coredns_proxy_healthcheck_failures_total',
    'Failed probes of each server',
    per(({ counts }) => counts.probesFailed),
  );
  count(
    'coredns_proxy_conn_cache_hits_total',
    'Questions that found a connection open',
    per(({ connections }) => connections.reused),
  );
  count(
    'coredns_proxy_conn_cache_misses_total',
    'Connections opened',
    per(({ connections }) => connections.opened),
  );
}

/** Kept answers are not timed: they belong into the first bucket. */
function withFast(timed: Histogram, total: number): Pick<Histogram, 'counts' | 'bounds' | 'sum'> {
  const known = timed.counts.reduce((sum, counted) => sum + counted, 0);
  const [first = 0, ...rest] = timed.counts;
  const counts = [first + Math.max(0, total - known), ...rest];
  return { counts, bounds: timed.bounds, sum: timed.sum };
}

/** In the text format of Prometheus; the library has no histogram of counts made elsewhere. */
function histogramText(
  name: string,
  help: string,
  histogram: Pick<Histogram, 'counts' | 'bounds' | 'sum'>,
  labels: Readonly<Record<string, string>> = {},
): string {
  const given = Object.entries(labels).map(([key, value]) => `${key}="${value}"`);
  const lines = [`# HELP ${name} ${help}`, `# TYPE ${name} histogram`];
  const all = (more: readonly string[]) => {
    const texts = [...given, ...more];
    return texts.length === 0 ? '' : `{${texts.join(',')}}`;
  };
  let total = 0;
  histogram.counts.forEach((counted, index) => {
    total += counted;
    lines.push(`${name}_bucket${all([`le="${histogram.bounds[index] ?? '+Inf'}"`])} ${total}`);
  });
  lines.push(`${name}_sum${all([])} ${histogram.sum}`, `${name}_count${all([])} ${total}`, '');
  return lines.join('\n');
}
