/** What kube-proxy tells Prometheus, under its names and labels, so that dashboards work (P139). */
import {
  Counter,
  Gauge,
  Histogram,
  Registry,
  exponentialBuckets,
  linearBuckets,
} from 'prom-client';
import type { RequestFacts } from '../../client/http-client.ts';
import type { IpFamily } from '../../lib/ip.ts';
import type { FamilySync, Proxy, ProxyObserver } from '../options.ts';
import { NoLocalCount, TRAFFIC_POLICIES } from './no-local.ts';
import { addProcessMetrics } from './process-metrics.ts';
import { Triggers } from './triggers.ts';

export type ProxyMetrics = {
  readonly observer: ProxyObserver;
  /** Counts an answer of /healthz or /livez. */
  readonly probed: (path: 'healthz' | 'livez', code: 200 | 503) => void;
  /** Also shows what is ours alone, of the proxy that is at work when somebody scrapes. */
  readonly follow: (proxy: () => Proxy | undefined) => void;
  /** Counts a request to the API server. */
  readonly requested: (facts: RequestFacts) => void;
  readonly contentType: string;
  readonly page: () => Promise<string>;
};

export type MetricsOptions = {
  readonly version: string;
  readonly families: readonly IpFamily[];
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
};

const FAMILY_LABEL: Readonly<Record<IpFamily, string>> = { ipv4: 'IPv4', ipv6: 'IPv6' };

const SYNC_BUCKETS = exponentialBuckets(0.001, 2, 15);
const PROGRAMMING_BUCKETS = [
  ...linearBuckets(0.25, 0.25, 2),
  ...linearBuckets(1, 1, 59),
  ...linearBuckets(60, 5, 12),
  ...linearBuckets(120, 30, 7),
];
const REQUEST_BUCKETS = [0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60];

/** All metrics of a process; only nftables mode's, as kube-proxy registers them by mode. */
export function createProxyMetrics(options: MetricsOptions): ProxyMetrics {
  const { now = Date.now } = options;
  const registry = new Registry();
  const kit = makers(registry);
  addProcessMetrics(registry);
  kit
    .gauge('kubernetes_build_info', 'The version of this program', ['git_version', 'platform'])
    .set({ git_version: `v${options.version}`, platform: `linux/${process.arch}` }, 1);
  const healthz = kit.counter('kubeproxy_proxy_healthz_total', 'Answers of /healthz', ['code']);
  const livez = kit.counter('kubeproxy_proxy_livez_total', 'Answers of /livez', ['code']);
  return {
    observer: createObserver(kit, options, now),
    probed: (path, code) => (path === 'healthz' ? healthz : livez).inc({ code: String(code) }),
    follow: (proxy) => addOwnMetrics(registry, proxy),
    requested: requestMetrics(kit),
    contentType: registry.contentType,
    page: () => registry.metrics(),
  };
}

type Kit = ReturnType<typeof makers>;

function makers(registry: Registry) {
  const registers = [registry];
  return {
    counter: (name: string, help: string, labelNames: string[] = []) =>
      new Counter({ name, help, labelNames, registers }),
    gauge: (name: string, help: string, labelNames: string[] = []) =>
      new Gauge({ name, help, labelNames, registers }),
    histogram: (name: string, help: string, { buckets, labels }: HistogramShape) =>
      new Histogram({ name, help, labelNames: labels, buckets, registers }),
  };
}

type HistogramShape = { readonly buckets: number[]; readonly labels: string[] };

function createObserver(kit: Kit, options: MetricsOptions, now: () => number): ProxyObserver {
  const changes = changeMetrics(kit);
  const syncs = syncMetrics(kit, options.families);
  const cleaning = cleaningMetrics(kit);
  const triggers = new Triggers(now());
  const noLocal = new NoLocalCount();
  const queued = () => {
    for (const family of options.families) {
      syncs.lastQueued.set({ ip_family: FAMILY_LABEL[family] }, now() / 1000);
    }
  };
  return {
    serviceChanged() {
      changes.services.inc();
      changes.servicesPending.inc();
      queued();
    },
    sliceChanged(old, current) {
      changes.endpoints.inc();
      changes.endpointsPending.inc();
      triggers.note(old, current);
      queued();
    },
    planned: (service, plan) => noLocal.set(service, plan),
    synced(sync) {
      const labels = { ip_family: FAMILY_LABEL[sync.family] };
      syncs.observe(sync, now());
      for (const policy of TRAFFIC_POLICIES) {
        const count = noLocal.get(policy, sync.family);
        syncs.noLocal.set({ ...labels, traffic_policy: policy }, count);
      }
      if (sync.error !== undefined) return;
      changes.servicesPending.set(0);
      changes.endpointsPending.set(0);
      for (const ms of triggers.take(sync.family)) {
        syncs.programming.observe(labels, (now() - ms) / 1000);
      }
    },
    cleaned({ family, durationMs, deleted }) {
      const labels = { ip_family: FAMILY_LABEL[family] };
      cleaning.duration.observe(labels, durationMs / 1000);
      cleaning.deleted.inc(labels, deleted);
    },
  };
}

function changeMetrics(kit: Kit) {
  const name = (what: string) => `kubeproxy_sync_proxy_rules_${what}`;
  return {
    services: kit.counter(name('service_changes_total'), 'Service changes seen'),
    servicesPending: kit.gauge(name('service_changes_pending'), 'Service changes not yet synced'),
    endpoints: kit.counter(name('endpoint_changes_total'), 'Endpoint changes seen'),
    endpointsPending: kit.gauge(
      name('endpoint_changes_pending'),
      'Endpoint changes not yet synced',
    ),
  };
}

function syncMetrics(kit: Kit, families: readonly IpFamily[]) {
  const labels = ['ip_family'];
  const shape = { buckets: SYNC_BUCKETS, labels };
  const all = kit.histogram('kubeproxy_sync_proxy_rules_duration_seconds', 'Syncs', shape);
  const full = kit.histogram(
    'kubeproxy_sync_full_proxy_rules_duration_seconds',
    'Syncs that compared everything with the kernel',
    shape,
  );
  const partial = kit.histogram(
    'kubeproxy_sync_partial_proxy_rules_duration_seconds',
    'Syncs of what changed alone',
    shape,
  );
  const last = kit.gauge(
    'kubeproxy_sync_proxy_rules_last_timestamp_seconds',
    'When the last sync succeeded',
    labels,
  );
  const failures = kit.counter(
    'kubeproxy_sync_proxy_rules_nftables_sync_failures_total',
    'Syncs that the kernel refused',
    labels,
  );
  const cleanups = kit.counter(
    'kubeproxy_sync_proxy_rules_nftables_cleanup_failures_total',
    'Syncs that could not delete chains of no more use',
    labels,
  );
  for (const family of families) {
    for (const counter of [failures, cleanups]) counter.inc({ ip_family: FAMILY_LABEL[family] }, 0);
  }
  return {
    lastQueued: kit.gauge(
      'kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds',
      'When a sync was last asked for',
      labels,
    ),
    programming: kit.histogram(
      'kubeproxy_network_programming_duration_seconds',
      'From the change of a pod to the rules that show it',
      { buckets: PROGRAMMING_BUCKETS, labels },
    ),
    noLocal: kit.gauge(
      'kubeproxy_sync_proxy_rules_no_local_endpoints_total',
      'Service ports with policy Local that have endpoints, but none here',
      ['ip_family', 'traffic_policy'],
    ),
    observe(sync: FamilySync, nowMs: number) {
      const family = { ip_family: FAMILY_LABEL[sync.family] };
      all.observe(family, sync.durationMs / 1000);
      (sync.full ? full : partial).observe(family, sync.durationMs / 1000);
      if (sync.error === undefined) last.set(family, nowMs / 1000);
      else failures.inc(family);
      if (sync.cleanupFailed) cleanups.inc(family);
    },
  };
}

function cleaningMetrics(kit: Kit) {
  const labels = ['ip_family'];
  return {
    duration: kit.histogram(
      'kubeproxy_conntrack_reconciler_sync_duration_seconds',
      'Looking through tracked connections',
      { buckets: SYNC_BUCKETS, labels },
    ),
    deleted: kit.counter(
      'kubeproxy_conntrack_reconciler_deleted_entries_total',
      'Tracked connections forgotten',
      labels,
    ),
  };
}

/** What kube-proxy has no name for. */
function addOwnMetrics(registry: Registry, proxy: () => Proxy | undefined): void {
  registry.registerMetric(
    new Gauge({
      name: 'fairlead_proxy_address_clashes',
      help: 'Claims on an address and port that another Service has',
      registers: [],
      collect() {
        this.set(proxy()?.clashes.length ?? 0);
      },
    }),
  );
  registry.registerMetric(
    new Counter({
      name: 'fairlead_proxy_localhost_node_ports_rejected_total',
      help: 'Connections to node ports on loopback addresses, which do not answer there',
      registers: [],
      collect() {
        this.reset();
        this.inc(proxy()?.localhostRejected ?? 0);
      },
    }),
  );
}

/** client-go's names. */
function requestMetrics(kit: Kit): (facts: RequestFacts) => void {
  const total = kit.counter('rest_client_requests_total', 'Requests to the API server', [
    'code',
    'method',
    'host',
  ]);
  const duration = kit.histogram(
    'rest_client_request_duration_seconds',
    'Until the head of the answer, by verb and host',
    { buckets: REQUEST_BUCKETS, labels: ['verb', 'host'] },
  );
  return ({ code, method, host, durationMs }) => {
    total.inc({ code, method, host });
    duration.observe({ verb: method, host }, durationMs / 1000);
  };
}
