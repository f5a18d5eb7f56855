/** The metrics page, with CoreDNS's names so that its dashboards work (D102). */
import { places, sizeBounds, type AllCounts, type Place, type SizeCount } from './answer-counts.ts';
import { version } from '../lib/version.ts';
import type { Block } from './blocks.ts';
import type { DnsCounters, Histogram, Spread } from './counters.ts';
import type { Page } from './health.ts';
import { newRows, type Labels, type Row, type Rows } from './metric-rows.ts';
import { addCaches, addForwards, addStages } from './metrics-of-plugins.ts';
import { socketLabel } from './sockets.ts';
import { formatName } from './wire/name.ts';
import { formatRcode } from './wire/text.ts';

export type MetricSources = {
  readonly counters: DnsCounters;
  readonly blocks: readonly Block[];
};

/** The page as it stands now. */
export async function metricsPage(sources: MetricSources): Promise<Page> {
  const { counters, blocks } = sources;
  const rows = newRows();
  addAnswers(sources, rows);
  addServer(sources, rows);
  addProcess(counters, rows);
  addCaches(sources, rows);
  addForwards(blocks, rows);
  addStages(blocks, rows);
  if (blocks.some(({ settings }) => settings.plugins.kubernetes !== undefined)) {
    addKubernetes(counters, rows);
  }
  return { code: 200, ...(await rows.text()) };
}

/** One socket; its answers are counted in one place for all its zones: they go under the first of them. */
type Socket = { readonly server: string; readonly zone: string };

/** Those of blocks that want to be counted. */
function socketsOf(blocks: readonly Block[]): Socket[] {
  const zones = new Map<string, string>();
  for (const site of blocks.filter(isCounted).flatMap(({ settings }) => settings.sites)) {
    const server = socketLabel(site);
    if (!zones.has(server)) zones.set(server, formatName(site.zone));
  }
  return [...zones].map(([server, zone]) => ({ server, zone }));
}

function isCounted({ settings }: Block): boolean {
  return settings.plugins.prometheus !== undefined;
}

function whereOf({ server, zone }: Socket, place: Place): Labels {
  return { server, zone: place === 'dropped' ? 'dropped' : zone, view: '' };
}

function addAnswers({ counters, blocks }: MetricSources, { count, spread }: Rows): void {
  const sockets = socketsOf(blocks).map((socket) => {
    const counts = counters.of(socket.server);
    return { socket, seconds: counts.seconds, answers: counts.answers() };
  });
  const each = <T>(make: (counts: AllCounts[Place], where: Labels) => readonly T[]) =>
    sockets.flatMap(({ socket, answers }) =>
      places.flatMap((place) => make(answers[place], whereOf(socket, place))),
    );
  count(
    'coredns_dns_requests_total',
    'DNS requests answered',
    each(({ requests }, where) =>
      requests.map(({ count: asked, ...labels }): Row => [{ ...where, ...labels }, asked]),
    ),
  );
  count(
    'coredns_dns_responses_total',
    'DNS replies by response code and the plugin that made them',
    each(({ responses }, where) =>
      responses.map(({ plugin, rcode, count: answered }): Row => {
        return [{ ...where, rcode: formatRcode(rcode), plugin }, answered];
      }),
    ),
  );
  count(
    'coredns_dns_do_requests_total',
    'DNS requests with the DO bit',
    each(({ dnssecOk }, where) => (dnssecOk === 0 ? [] : [[where, dnssecOk] as const])),
  );
  const bySize = (of: (counts: AllCounts[Place]) => readonly SizeCount[]) =>
    each((counts, where) =>
      of(counts).map(({ proto, counts: counted, sum }) => {
        return [
          { ...where, proto },
          { counts: counted, bounds: sizeBounds, sum },
        ] as const;
      }),
    );
  spread(
    'coredns_dns_request_size_bytes',
    'Bytes of each request',
    bySize(({ requestSizes }) => requestSizes),
  );
  spread(
    'coredns_dns_response_size_bytes',
    'Bytes of each reply',
    bySize(({ replySizes }) => replySizes),
  );
  const timed = sockets.map(({ socket, seconds, answers: { served, dropped } }) => {
    // A kept answer takes less than the least of these.
    return [whereOf(socket, 'served'), withFast(seconds, served.total + dropped.total)] as const;
  });
  spread('coredns_dns_request_duration_seconds', 'Seconds that each request took', timed);
}

function addServer({ counters, blocks }: MetricSources, { count, show }: Rows): void {
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
  for (const { settings, stages } of blocks.filter(isCounted)) {
    const names = [...stages.map(({ name }) => name), 'prometheus'];
    for (const site of settings.sites) {
      for (const name of names) {
        yield [{ server: socketLabel(site), zone: formatName(site.zone), view: '', name }, 1];
      }
    }
  }
}

/** The program, and how it answers those who look after it. */
function addProcess({ health }: DnsCounters, { count, show, spread }: Rows): void {
  // The label is called after the language CoreDNS is written in; here it names what runs us.
  const labels = { version, revision: '', goversion: `node${process.version}` };
  show('coredns_build_info', 'The version of this program', [[labels, 1]]);
  spread('coredns_health_request_duration_seconds', 'Seconds that each probe of /health took', [
    [{}, health.seconds],
  ]);
  count('coredns_health_request_failures_total', 'Probes of /health that got no answer', [
    [{}, health.failed],
  ]);
}

function addKubernetes({ programmingSeconds, api }: DnsCounters, { count, spread }: Rows): void {
  spread(
    'coredns_kubernetes_dns_programming_duration_seconds',
    'Seconds from a change of pods to the answer that shows it',
    [[{ service_kind: 'headless_with_selector' }, programmingSeconds]],
  );
  count(
    'coredns_kubernetes_rest_client_requests_total',
    'Requests to the API server',
    api.requests(),
  );
  spread(
    'coredns_kubernetes_rest_client_request_duration_seconds',
    'Until the head of the answer, by verb and host',
    api.seconds(),
  );
}

/** Kept answers are not timed: they belong into the first bucket. */
function withFast(timed: Histogram, total: number): Spread {
  const known = timed.counts.reduce((sum, counted) => sum + counted, 0);
  const [first = 0, ...rest] = timed.counts;
  const counts = [first + Math.max(0, total - known), ...rest];
  return { counts, bounds: timed.bounds, sum: timed.sum };
}
