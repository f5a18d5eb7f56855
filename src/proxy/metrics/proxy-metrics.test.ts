/** The metrics page against the contract's table, and what is counted. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import type { EndpointSlice } from '../../api/types.ts';
import { sampleContext, sampleService, sampleSlice } from '../../plan/samples.ts';
import { planService } from '../../plan/service.ts';
import type { FamilySync } from '../options.ts';
import { createProxyMetrics } from './proxy-metrics.ts';

type Row = { name: string; type: string; labels: string[] };

/** The rows of P139 that nftables mode has. */
function contract(): Row[] {
  const text = readFileSync('docs/spec/proxy.md', 'utf8');
  const table = text.slice(text.indexOf('- **P139**'), text.indexOf('- **P140**'));
  const rows = [...table.matchAll(/^\| ([a-z_]+) \| ([^|]+) \| ([^|]+) \|$/gm)].map(
    ([, name = '', type = '', labels = '']) => ({ name, type, labels }),
  );
  return rows
    .filter(({ type }) => !type.includes('mode iptables'))
    .map(({ name, type, labels }) => ({
      name: `kubeproxy_${name}`,
      type: type.split(' ')[0]!,
      labels:
        labels.trim() === '-' ? [] : labels.split(',').map((one) => one.trim().split(' ')[0]!),
    }));
}

type Sample = { name: string; labels: Record<string, string>; value: number };

/** Reads the text format of Prometheus. */
function parse(page: string): { types: Map<string, string>; samples: Sample[] } {
  const types = new Map<string, string>();
  const samples: Sample[] = [];
  for (const line of page.split('\n')) {
    const type = /^# TYPE (\S+) (\S+)$/.exec(line);
    if (type !== null) types.set(type[1]!, type[2]!);
    const sample = /^([a-z_]+)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (sample === null) continue;
    const labels = [...(sample[2] ?? '').matchAll(/([a-z_]+)="([^"]*)"/g)];
    samples.push({
      name: sample[1]!,
      labels: Object.fromEntries(labels.map(([, key, value]) => [key!, value!])),
      value: Number(sample[3]),
    });
  }
  return { types, samples };
}

const slice = (stamp: string | undefined, more: Partial<EndpointSlice> = {}): EndpointSlice => ({
  addressType: 'IPv4',
  endpoints: [],
  ports: [],
  ...more,
  metadata: {
    name: 'web-1',
    namespace: 'shop',
    ...(stamp === undefined
      ? {}
      : { annotations: { 'endpoints.kubernetes.io/last-change-trigger-time': stamp } }),
  },
});

const start = Date.parse('2026-01-01T00:00:00Z');

function sync(more: Partial<FamilySync>): FamilySync {
  return { family: 'ipv4', full: false, durationMs: 1, cleanupFailed: false, ...more };
}

function make() {
  let now = start;
  const metrics = createProxyMetrics({
    version: '0.1.0',
    families: ['ipv4', 'ipv6'],
    now: () => now,
  });
  const read = async () => parse(await metrics.page());
  const valueOf = async (name: string, labels: Record<string, string> = {}) => {
    const { samples } = await read();
    return samples.find(
      (one) =>
        one.name === `kubeproxy_${name}` &&
        Object.entries(labels).every(([key, value]) => one.labels[key] === value),
    )?.value;
  };
  const later = (seconds: number) => (now += seconds * 1000);
  return { ...metrics, read, valueOf, later };
}

test('[P139] every metric of the contract, its type and exactly its labels', async () => {
  const { observer, probed, requested, read } = make();
  observer.serviceChanged();
  observer.sliceChanged(undefined, slice('2026-01-01T00:00:01Z'));
  for (const family of ['ipv4', 'ipv6'] as const) {
    observer.synced(sync({ family, full: true, durationMs: 5 }));
    observer.synced(sync({ family, full: false, durationMs: 1 }));
    observer.cleaned({ family, durationMs: 2, deleted: 3 });
  }
  probed('healthz', 200);
  probed('livez', 503);
  requested({ code: '200', method: 'GET', path: '/', host: 'api:6443', durationMs: 3 });
  const { types, samples } = await read();
  const rows = contract();
  assert(rows.length >= 17, `only ${rows.length} rows read`);
  for (const { name, type, labels } of rows) {
    assert.equal(types.get(name), type, name);
    const mine = samples.filter((one) => one.name === name || one.name === `${name}_count`);
    assert(mine.length > 0, `${name} has no sample`);
    for (const one of mine)
      assert.deepEqual(Object.keys(one.labels).sort(), labels.toSorted(), name);
  }
  const ours = [...types.keys()].filter((name) => name.startsWith('kubeproxy_'));
  assert.deepEqual(ours.sort(), rows.map(({ name }) => name).sort(), 'and no other');
  const families = samples.filter(
    (one) => one.name === 'kubeproxy_sync_proxy_rules_duration_seconds_count',
  );
  assert.deepEqual(new Set(families.map((one) => one.labels.ip_family)), new Set(['IPv4', 'IPv6']));
});

test('[P139] buckets are those of kube-proxy', async () => {
  const { observer, read } = make();
  observer.sliceChanged(undefined, slice('2026-01-01T00:00:01Z'));
  observer.synced(sync({ family: 'ipv4', full: true, durationMs: 5 }));
  const { samples } = await read();
  const bounds = (name: string) =>
    samples.filter((one) => one.name === `kubeproxy_${name}_bucket`).map((one) => one.labels.le);
  const bucketsOfSyncs = Array.from({ length: 15 }, (_, index) => String(0.001 * 2 ** index));
  assert.deepEqual(bounds('sync_proxy_rules_duration_seconds'), [...bucketsOfSyncs, '+Inf']);
  const programming = bounds('network_programming_duration_seconds');
  assert.equal(programming.length, 2 + 59 + 12 + 7 + 1);
  assert.deepEqual(programming.slice(0, 4), ['0.25', '0.5', '1', '2']);
  assert.deepEqual(programming.slice(59, 64), ['58', '59', '60', '65', '70']);
  assert.deepEqual(programming.slice(-4), ['240', '270', '300', '+Inf']);
});

test('[P139] what kube-proxy itself prints has the same types, labels and buckets here', async () => {
  const { types: wanted, samples: recorded } = parse(
    readFileSync('test/golden/kube-proxy-metrics.txt', 'utf8'),
  );
  const { observer, probed, read } = make();
  observer.serviceChanged();
  observer.synced(sync({ family: 'ipv4', full: true, durationMs: 5 }));
  observer.cleaned({ family: 'ipv4', durationMs: 2, deleted: 3 });
  probed('healthz', 200);
  probed('livez', 200);
  const { types, samples } = await read();
  const shapes = (all: readonly Sample[]) =>
    new Set(
      all.map(({ name, labels }) => {
        const { le = '', ...others } = labels;
        return `${name} ${Object.entries(others).flat().toSorted().join(' ')} ${le}`;
      }),
    );
  assert(wanted.size >= 12, `${wanted.size} metrics recorded`);
  for (const [name, type] of wanted) assert.equal(types.get(name), type, name);
  const ours = shapes(samples);
  const missing = [...shapes(recorded)].filter((shape) => !ours.has(shape));
  assert.deepEqual(missing, []);
});

test('[P139] names also pass what promtool asks: counters end in _total, helps are there', async () => {
  const { types } = await make().read();
  for (const [name, type] of types) {
    if (type === 'counter') assert.match(name, /_total$/);
    assert.match(name, /^[a-z][a-z0-9_]*$/);
  }
});

test('[P139] pending changes are those since the last sync that succeeded', async () => {
  const { observer, valueOf } = make();
  observer.serviceChanged();
  observer.serviceChanged();
  observer.sliceChanged(undefined, slice(undefined));
  observer.synced(sync({ family: 'ipv4', full: true, durationMs: 1, error: new Error('no') }));
  assert.equal(await valueOf('sync_proxy_rules_service_changes_pending'), 2);
  assert.equal(await valueOf('sync_proxy_rules_endpoint_changes_pending'), 1);
  assert.equal(
    await valueOf('sync_proxy_rules_nftables_sync_failures_total', { ip_family: 'IPv4' }),
    1,
  );
  assert.equal(
    await valueOf('sync_proxy_rules_nftables_sync_failures_total', { ip_family: 'IPv6' }),
    0,
  );
  assert.equal(
    await valueOf('sync_proxy_rules_last_timestamp_seconds', { ip_family: 'IPv4' }),
    undefined,
  );
  observer.synced(sync({ family: 'ipv4', full: true, durationMs: 1 }));
  assert.equal(await valueOf('sync_proxy_rules_service_changes_pending'), 0);
  assert.equal(await valueOf('sync_proxy_rules_service_changes_total'), 2);
  assert.equal(
    await valueOf('sync_proxy_rules_last_timestamp_seconds', { ip_family: 'IPv4' }),
    start / 1000,
  );
});

test('[P126] [P139] chains that could not be deleted are counted, by family', async () => {
  const { observer, valueOf } = make();
  const name = 'sync_proxy_rules_nftables_cleanup_failures_total';
  observer.synced(sync({ cleanupFailed: true }));
  observer.synced(sync({}));
  assert.equal(await valueOf(name, { ip_family: 'IPv4' }), 1);
  assert.equal(await valueOf(name, { ip_family: 'IPv6' }), 0);
});

test('[P139] when a sync was last asked for', async () => {
  const { observer, valueOf, later } = make();
  later(10);
  observer.serviceChanged();
  const queued = await valueOf('sync_proxy_rules_last_queued_timestamp_seconds', {
    ip_family: 'IPv6',
  });
  assert.equal(queued, start / 1000 + 10);
});

// From the stamp to the end of the sync; one row per kind of stamp.
const stamps: {
  name: string;
  old?: EndpointSlice;
  now: EndpointSlice | undefined;
  counts: number;
}[] = [
  { name: 'a stamp after the start', now: slice('2026-01-01T00:00:02Z'), counts: 1 },
  { name: 'one older than the start', now: slice('2025-12-31T23:59:59Z'), counts: 0 },
  { name: 'one that cannot be read', now: slice('yesterday'), counts: 0 },
  { name: 'none', now: slice(undefined), counts: 0 },
  {
    name: 'a slice that is deleted',
    old: slice('2026-01-01T00:00:02Z'),
    now: undefined,
    counts: 0,
  },
  {
    name: 'the same stamp once more',
    old: slice('2026-01-01T00:00:02Z'),
    now: slice('2026-01-01T00:00:02Z'),
    counts: 0,
  },
  {
    name: 'a newer stamp',
    old: slice('2026-01-01T00:00:01Z'),
    now: slice('2026-01-01T00:00:02Z'),
    counts: 1,
  },
];

for (const { name, old, now, counts } of stamps) {
  test(`[P140] network programming: ${name}`, async () => {
    const { observer, valueOf, later } = make();
    observer.sliceChanged(old, now);
    later(5);
    const labels = { ip_family: 'IPv4' };
    observer.synced(sync({ family: 'ipv4', full: false, durationMs: 1, error: new Error('no') }));
    const name_ = 'network_programming_duration_seconds';
    assert.equal(await valueOf(`${name_}_count`, labels), undefined, 'a sync that failed is none');
    observer.synced(sync({ family: 'ipv6', full: false, durationMs: 1 }));
    assert.equal(await valueOf(`${name_}_count`, labels), undefined, 'nor one of the other family');
    observer.synced(sync({ family: 'ipv4', full: false, durationMs: 1 }));
    observer.synced(sync({ family: 'ipv4', full: false, durationMs: 1 }));
    assert.equal((await valueOf(`${name_}_count`, labels)) ?? 0, counts);
    if (counts > 0) assert.equal(await valueOf(`${name_}_sum`, labels), 3);
  });
}

const remote = { addresses: ['10.244.2.2'], nodeName: 'node-2' };
const local = { addresses: ['10.244.1.1'], nodeName: 'node-1' };

// A port counts once per policy, and only while others have endpoints of it.
const policies: {
  name: string;
  spec: object;
  endpoints: object[];
  internal: number;
  external: number;
}[] = [
  {
    name: 'none local, both policies Local',
    spec: { type: 'NodePort', internalTrafficPolicy: 'Local', externalTrafficPolicy: 'Local' },
    endpoints: [remote],
    internal: 1,
    external: 1,
  },
  {
    name: 'one local',
    spec: { type: 'NodePort', internalTrafficPolicy: 'Local', externalTrafficPolicy: 'Local' },
    endpoints: [remote, local],
    internal: 0,
    external: 0,
  },
  {
    name: 'none at all',
    spec: { type: 'NodePort', internalTrafficPolicy: 'Local', externalTrafficPolicy: 'Local' },
    endpoints: [],
    internal: 0,
    external: 0,
  },
  {
    name: 'policy Cluster',
    spec: { type: 'NodePort' },
    endpoints: [remote],
    internal: 0,
    external: 0,
  },
  {
    name: 'internal alone',
    spec: { internalTrafficPolicy: 'Local' },
    endpoints: [remote],
    internal: 1,
    external: 0,
  },
];

for (const { name, spec, endpoints, ...want } of policies) {
  test(`[P140] no local endpoints: ${name}`, async () => {
    const { observer, valueOf } = make();
    const ports = [{ name: 'http', protocol: 'TCP' as const, port: 80, nodePort: 30_080 }];
    const service = sampleService({ ...spec, ports });
    const slices = [
      sampleSlice(endpoints as never, { ports: [{ name: 'http', protocol: 'TCP', port: 8080 }] }),
    ];
    observer.planned('shop/web', planService(service, slices, sampleContext()));
    const read = (traffic_policy: string) =>
      valueOf('sync_proxy_rules_no_local_endpoints_total', { ip_family: 'IPv4', traffic_policy });
    observer.synced(sync({ family: 'ipv4', full: false, durationMs: 1 }));
    assert.deepEqual({ internal: await read('internal'), external: await read('external') }, want);
    observer.planned('shop/web', undefined);
    observer.synced(sync({ family: 'ipv4', full: false, durationMs: 1 }));
    assert.equal(await read('internal'), 0, 'gone with the Service');
  });
}

test('what every client library and client-go have', async () => {
  const { requested, page } = make();
  requested({ code: '<error>', method: 'GET', path: '/', host: 'api:6443', durationMs: 3 });
  const text = await page();
  for (const name of [
    'process_cpu_seconds_total',
    'process_resident_memory_bytes',
    'process_open_fds',
    'process_max_fds',
    'process_start_time_seconds',
    'process_virtual_memory_bytes',
  ]) {
    assert.match(text, new RegExp(`^${name} [0-9.e+]*[1-9]`, 'm'));
  }
  assert.match(
    text,
    /^rest_client_requests_total\{code="<error>",method="GET",host="api:6443"\} 1$/m,
  );
  assert.match(text, /^kubernetes_build_info\{git_version="v0.1.0",/m);
});
