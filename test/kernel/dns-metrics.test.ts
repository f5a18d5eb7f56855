/** Our metrics beside those of CoreDNS after the same questions: names, types, labels, buckets and counts. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { createHttpClient } from '../../src/client/http-client.ts';
import { parseCorefile } from '../../src/dns/config/corefile.ts';
import { serve } from '../../src/dns/server.ts';
import { startMetricsApi } from './coredns/metrics-api.ts';
import {
  askAll,
  metricsCorefile,
  metricsGoldenFile,
  metricsPageText,
  metricsPorts,
  metricsSteps,
  parseMetrics,
  type Parsed,
  type Sample,
} from './coredns/metrics.ts';
import { loopbackUp } from './dns-harness.ts';

const theirs = parseMetrics(readFileSync(metricsGoldenFile, 'utf8'));

type Setup = { readonly workers: number; readonly plain: boolean };

/** Kept answers need a plain Corefile and a second question; then threads of their own may give them. */
const setups: readonly Setup[] = [
  { workers: 0, plain: false },
  { workers: 0, plain: true },
  { workers: 1, plain: true },
];
const plainRounds = 3;

const pages: { readonly setup: Setup; readonly page: Parsed }[] = [];

before(async () => {
  loopbackUp();
  for (const setup of setups) pages.push({ setup, page: await ourPage(setup) });
});

async function ourPage({ workers, plain }: Setup): Promise<Parsed> {
  const folder = mkdtempSync(join(tmpdir(), 'fairlead-dns-metrics-'));
  after(() => rmSync(folder, { recursive: true, force: true }));
  const { api, files } = await startMetricsApi(folder);
  after(() => api.stop());
  const options = { env: process.env, warn: () => undefined };
  const text = metricsCorefile({ ...files, plain });
  const configuration = parseCorefile(text, 'Corefile', options);
  const { cert, key } = api.admin;
  await using server = await serve(configuration, {
    clientFor: (_, onRequest) =>
      createHttpClient({ server: api.url, cert, key, ca: api.ca.cert, onRequest }),
    print: () => undefined,
    workers,
  });
  await server.synced;
  const rounds = plain ? plainRounds : 1;
  for (let round = 0; round < rounds; round += 1) await askAll(metricsPorts.dns);
  const { counts } = server.counters.of(`dns://:${metricsPorts.dns}`).seconds;
  const slow = counts.reduce((sum, count) => sum + count, 0);
  const asked = rounds * metricsSteps.length;
  assert.ok(plain ? slow < asked : slow === asked, `${slow} of ${asked} were not kept`);
  return parseMetrics(await metricsPageText());
}

/** With every plugin of the recording. */
const full = () => pages.find(({ setup }) => !setup.plain)!.page;

/** Of a plugin that every CoreDNS has and we have not: names below localhost. */
const notOurs = new Set(['coredns_local_localhost_requests_total']);

const named = (name: string) => name.replace(/_(bucket|sum|count)$/, '');

test('[D102] each metric that CoreDNS prints is there, of the same type', () => {
  const wanted = [...theirs.types].filter(([name]) => !notOurs.has(name));
  assert.ok(wanted.length >= 25, `${wanted.length} metrics recorded`);
  const found = wanted.map(([name]) => [name, full().types.get(name)]);
  assert.deepEqual(found, wanted);
});

/** The names of the labels, and the bucket where it is one. */
function shapesOf(samples: readonly Sample[]): Set<string> {
  return new Set(
    samples.map(({ name, labels }) => {
      const { le = '', ...others } = labels;
      return `${name} ${Object.keys(others).toSorted().join(',')} ${le}`;
    }),
  );
}

test('[D102] each has the labels and buckets that CoreDNS has, and no others', () => {
  const wanted = shapesOf(theirs.samples.filter(({ name }) => !notOurs.has(named(name))));
  const isCommon = ({ name }: Sample) => theirs.types.has(named(name)) || theirs.types.has(name);
  const found = shapesOf(full().samples.filter(isCommon));
  assert.deepEqual([...found].toSorted(), [...wanted].toSorted());
});

/** What CoreDNS prints once it has happened, which the questions above did not make happen. */
const rare: readonly (readonly [name: string, type: string, labels: string])[] = [
  ['coredns_cache_drops_total', 'counter', 'server,view,zones'],
  ['coredns_cache_evictions_total', 'counter', 'server,view,zones'],
  ['coredns_cache_prefetch_total', 'counter', 'server,view,zones'],
  ['coredns_cache_served_stale_total', 'counter', 'server,view,zones'],
  ['coredns_proxy_healthcheck_failures_total', 'counter', 'proxy_name,to'],
  ['coredns_kubernetes_dns_programming_duration_seconds', 'histogram', 'service_kind'],
  ['coredns_kubernetes_rest_client_request_duration_seconds', 'histogram', 'host,verb'],
];

for (const [name, type, labels] of rare) {
  test(`[D102] ${name} is there from the start`, () => {
    const { types, samples } = full();
    assert.equal(types.get(name), type);
    const shapes = samples
      .filter((one) => one.name === name || one.name === `${name}_count`)
      .map((one) => Object.keys(one.labels).toSorted().join(','));
    assert.deepEqual(new Set(shapes), new Set([labels]));
  });
}

/** Each row as text. */
function rows({ samples }: Parsed, name: string, times = 1): string[] {
  return samples
    .filter((sample) => sample.name === name)
    .map(({ labels, value }) => {
      const { hostsfile: _, ...kept } = labels;
      const texts = Object.entries(kept).map(([key, of]) => `${key}=${of}`);
      return `${texts.toSorted().join(' ')} ${value * times}`;
    })
    .toSorted();
}

for (const name of [
  'coredns_hosts_entries',
  'coredns_acl_allowed_requests_total',
  'coredns_acl_blocked_requests_total',
  'coredns_autopath_success_total',
  'coredns_plugin_enabled',
  'coredns_panics_total',
  'coredns_reload_failed_total',
]) {
  test(`[D102] ${name} counts what CoreDNS counts`, () => {
    const wanted = rows(theirs, name);
    assert.ok(wanted.length > 0);
    assert.deepEqual(rows(full(), name), wanted);
  });
}

// Row by row the same after the same questions: IPv4 and IPv6, UDP and TCP, each type, with DO and without.
for (const name of [
  'coredns_dns_requests_total',
  'coredns_dns_do_requests_total',
  'coredns_dns_request_size_bytes_bucket',
  'coredns_dns_request_size_bytes_count',
  'coredns_dns_response_size_bytes_count',
  'coredns_dns_request_duration_seconds_count',
]) {
  for (const { workers, plain } of setups) {
    test(`[D102] ${name} counts each question, ${plain ? 'kept answers' : 'none kept'}, ${workers} workers`, () => {
      const found = pages.find(({ setup }) => setup.workers === workers && setup.plain === plain);
      const wanted = rows(theirs, name, plain ? plainRounds : 1);
      assert.ok(wanted.length > 0);
      assert.deepEqual(rows(found!.page, name), wanted);
    });
  }
}

/** The sums of what is counted under each value of a label. */
function sums({ samples }: Parsed, label: string): Record<string, number> {
  const responses = samples.filter(({ name }) => name === 'coredns_dns_responses_total');
  const groups = Map.groupBy(responses, ({ labels }) => labels[label] ?? '');
  return Object.fromEntries(
    [...groups].map(([of, same]) => [of, same.reduce((sum, { value }) => sum + value, 0)]),
  );
}

test('[D102] responses by rcode are those of CoreDNS', () => {
  assert.deepEqual(sums(full(), 'rcode'), sums(theirs, 'rcode'));
});

test('[D102] responses by the plugin that made them, kept or not', () => {
  const outside = metricsSteps.filter(({ ask }) => ask.startsWith('www.outside')).length;
  const ofOthers = { hosts: 2, template: 1, acl: 1, cache: 1, forward: outside - 1 };
  const [first, ...kept] = pages.map(({ page }) => sums(page, 'plugin'));
  assert.deepEqual(first, { kubernetes: 9, ...ofOthers });
  for (const counts of kept) {
    // Asked again, what lasts comes from the cache, and so is kept encoded: A twice a round, and ANY once.
    const { kubernetes, cache } = counts;
    assert.deepEqual(
      { kubernetes, cache },
      { kubernetes: 9 * plainRounds, cache: 3 * plainRounds - 2 },
    );
  }
});

test('[D102] bytes of requests and replies are summed up, kept or not', () => {
  const [first, ...kept] = pages.map(({ page }) => page);
  for (const page of kept) {
    const name = 'coredns_dns_request_size_bytes_sum';
    assert.deepEqual(rows(page, name), rows(first!, name, plainRounds));
  }
});
