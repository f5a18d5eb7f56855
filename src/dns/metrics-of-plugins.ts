/** Metrics of the plugins of a server, with CoreDNS's names (D102). */
import type { Block } from './blocks.ts';
import { sumOfHistograms } from './counters.ts';
import type { Labels, Row, Rows } from './metric-rows.ts';
import type { MetricSources } from './metrics.ts';
import { CacheStage } from './plugins/cache.ts';
import { ForwardStage } from './plugins/forward.ts';
import { socketLabel } from './sockets.ts';
import { formatServer } from './upstream/servers.ts';
import type { Upstream } from './upstream/upstream.ts';
import { formatName } from './wire/name.ts';
import { formatRcode } from './wire/text.ts';

/** What caches hold and how often they helped. */
export function addCaches({ counters, blocks }: MetricSources, { count, show }: Rows): void {
  const caches = blocks.flatMap(({ settings, stages }) => {
    const stage = stages.find((one) => one instanceof CacheStage);
    const [site] = settings.sites;
    if (stage === undefined || site === undefined) return [];
    const zones = (settings.plugins.cache?.zones ?? []).map(formatName).join(',');
    return [{ cache: stage.cache, labels: { server: socketLabel(site), zones, view: '' } }];
  });
  const kinds = ['success', 'denial'] as const;
  // Those that are kept encoded are answered before the cache: they go under the first of the socket.
  const fastHits = caches.map(({ labels: { server } }, index) => {
    const isFirst = caches.findIndex(({ labels }) => labels.server === server) === index;
    return isFirst ? counters.of(server).answers().hits : { success: 0, denial: 0 };
  });
  const hitsOf = (index: number, kind: (typeof kinds)[number]) =>
    caches[index]!.cache.hits[kind] + fastHits[index]![kind];
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
  // What does not fit its question never gets here: whoever asks waits on for another reply.
  const drops = each(() => 0);
  count('coredns_cache_drops_total', 'Answers that did not fit their question', drops);
  const prefetches = each((index) => cacheAt(index).prefetches);
  count('coredns_cache_prefetch_total', 'Answers fetched before they expired', prefetches);
  const stale = each((index) => cacheAt(index).servedStale);
  count('coredns_cache_served_stale_total', 'Expired answers given', stale);
}

/** Servers that are asked, and what came of it. */
export function addForwards(blocks: readonly Block[], { count, spread }: Rows): void {
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
  addUpstreams(
    forwards.flatMap(({ pool }) => pool.upstreams),
    { count, spread },
  );
}

/** Equal servers of several blocks share their rows. */
function addUpstreams(
  upstreams: readonly Upstream[],
  { count, spread }: Pick<Rows, 'count' | 'spread'>,
): void {
  const byServer = [...Map.groupBy(upstreams, ({ server }) => formatServer(server))];
  const per = (value: (upstream: Upstream) => number, more?: (upstream: Upstream) => Labels) =>
    byServer.map(([to, same]): Row => {
      const labels = { ...more?.(same[0]!), proxy_name: 'forward', to };
      return [labels, same.reduce((all, upstream) => all + value(upstream), 0)];
    });
  const streams = (value: (upstream: Upstream) => number) =>
    per(value, ({ server }) => ({ proto: server.scheme === 'tls' ? 'tcp-tls' : 'tcp' }));
  // Each question over UDP has a port of its own, so that forging answers to it is hard.
  const datagrams = (value: (upstream: Upstream) => number) => per(value, () => ({ proto: 'udp' }));
  count(
    'coredns_proxy_healthcheck_failures_total',
    'Failed probes of each server',
    per(({ counts }) => counts.probesFailed),
  );
  count('coredns_proxy_conn_cache_hits_total', 'Questions that found a connection open', [
    ...streams(({ connections }) => connections.reused),
    ...datagrams(() => 0),
  ]);
  count('coredns_proxy_conn_cache_misses_total', 'Connections opened', [
    ...streams(({ connections }) => connections.opened),
    ...datagrams(({ counts }) => counts.datagrams),
  ]);
  spread(
    'coredns_proxy_request_duration_seconds',
    'Seconds until each server answered',
    byServer.flatMap(([to, same]) => secondsByRcode(to, same)),
  );
}

function secondsByRcode(to: string, same: readonly Upstream[]) {
  const rcodes = new Set(same.flatMap(({ seconds }) => [...seconds.keys()]));
  return [...rcodes].map((rcode) => {
    const all = same.map(({ seconds }) => seconds.get(rcode)).filter((one) => one !== undefined);
    const labels = { proxy_name: 'forward', to, rcode: formatRcode(rcode) };
    return [labels, sumOfHistograms(all)] as const;
  });
}

/** What stages count for themselves, each with the labels of its block. */
export function addStages(blocks: readonly Block[], { count, show }: Rows): void {
  const all = blocks.flatMap(({ settings, stages }) => {
    const [site] = settings.sites;
    const where = { server: site === undefined ? '' : socketLabel(site), view: '' };
    return stages.flatMap((stage) => stage.metrics?.(where) ?? []);
  });
  for (const [name, same] of Map.groupBy(all, (metric) => metric.name)) {
    const { kind, help } = same[0]!;
    const add = kind === 'counter' ? count : show;
    add(
      name,
      help,
      same.map(({ labels, value }): Row => [labels, value]),
    );
  }
}
