/** The server over time: start, change, probes, the API going away, stop. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { resources } from '../../src/api/resources.ts';
import type { Service } from '../../src/api/types.ts';
import type { Client } from '../../src/client/client.ts';
import {
  ask,
  createNamespace,
  createService,
  createSlice,
  loopbackUp,
  object,
  remove,
  startApi,
  startServer,
  startUpstream,
  texts,
  type Asked,
} from './dns-harness.ts';

const http = { name: 'http', port: 80, protocol: 'TCP' };
const web = { namespace: 'ns', name: 'web' };
const local = (port: number) => ({ host: '127.0.0.1', port });

let client: Client;

before(loopbackUp);

before(async () => {
  client = await startApi();
  await createNamespace(client, 'ns');
  await createService(client, web, { clusterIP: '10.96.0.4', ports: [http] });
});

/** A client whose lists wait until `open` is called. */
function gated(inner: Client): { client: Client; open: () => void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  const held: Client = Object.create(inner);
  held.list = async (...args) => {
    await promise;
    return inner.list(...args);
  };
  return { client: held, open: resolve };
}

/** Asks until the answer is the wanted one, and says how long that took. */
async function untilAnswer(at: Asked, question: string, want: string[]): Promise<number> {
  const started = performance.now();
  let got: string[] = [];
  while (performance.now() - started < 2000) {
    const reply = await ask(at, question);
    got = reply.rcode === 'NOERROR' ? texts(reply.answers) : [reply.rcode];
    if (got.toSorted().join('\n') === want.toSorted().join('\n'))
      return performance.now() - started;
  }
  assert.deepEqual(got, want);
  return Number.POSITIVE_INFINITY;
}

async function statusOf(port: number, path: string): Promise<[number, string]> {
  const response = await fetch(`http://127.0.0.1:${port}${path}`, {
    headers: { connection: 'close' },
  });
  return [response.status, await response.text()];
}

test('[D91 D92 D96] before the lists are in, what may exist is SERVFAIL and not ready', async () => {
  const gate = gated(client);
  await using server = await startServer({
    client: gate.client,
    listen: [local(0)],
    health: local(18_080),
    ready: local(18_181),
  });
  const reply = await ask(server.at, 'web.ns.svc.cluster.local. A');
  assert.deepEqual([reply.rcode, reply.flag_aa], ['SERVFAIL', true]);
  assert.equal(reply.authorities[0]?.type, 'SOA');
  assert.equal((await ask(server.at, 'svc.cluster.local. A')).rcode, 'NOERROR');
  assert.deepEqual(await statusOf(18_181, '/ready'), [503, 'kubernetes']);
  assert.deepEqual(await statusOf(18_080, '/health'), [200, 'OK']);
  gate.open();
  await server.synced;
  assert.deepEqual(await statusOf(18_181, '/ready'), [200, 'OK']);
  const want = ['web.ns.svc.cluster.local. 30 IN A 10.96.0.4'];
  assert.deepEqual(texts((await ask(server.at, 'web.ns.svc.cluster.local. A')).answers), want);
  assert.equal((await ask(server.at, 'nope.ns.svc.cluster.local. A')).rcode, 'NXDOMAIN');
  assert.equal((await statusOf(18_181, '/other'))[0], 404);
});

test('[D92] reverse names go upstream even then', async () => {
  const gate = gated(client);
  const upstream = await startUpstream(() => ({ answers: [] }));
  await using server = await startServer({
    client: gate.client,
    listen: [local(0)],
    upstreams: [upstream.address],
  });
  await ask(server.at, '4.0.96.10.in-addr.arpa. PTR');
  assert.deepEqual(upstream.asked, ['4.0.96.10.in-addr.arpa PTR']);
  gate.open();
  upstream.close();
});

test('[D14 D15] a Service is right at once after each write', async () => {
  await using server = await startServer({ client });
  const name = 'fresh.ns.svc.cluster.local.';
  const key = { namespace: 'ns', name: 'fresh' };
  assert.equal((await ask(server.at, `${name} A`)).rcode, 'NXDOMAIN');
  await createService(client, key, { clusterIP: '10.96.0.50', ports: [http] });
  const createdMs = await untilAnswer(server.at, `${name} A`, [`${name} 30 IN A 10.96.0.50`]);
  await remove(client, resources.services, 'ns/fresh');
  await untilAnswer(server.at, `${name} A`, ['NXDOMAIN']);
  await createService(client, key, { clusterIP: '10.96.0.51', ports: [http] });
  await untilAnswer(server.at, `${name} A`, [`${name} 30 IN A 10.96.0.51`]);
  const fresh = await client.get<Service>(resources.services, key);
  const ports = [{ ...http, name: 'web' }];
  await client.update(resources.services, { ...fresh, spec: { ...fresh.spec, ports } });
  const srv = `_web._tcp.${name}`;
  await untilAnswer(server.at, `${srv} SRV`, [`${srv} 30 IN SRV 0 100 80 ${name}`]);
  assert.equal((await ask(server.at, `_http._tcp.${name} SRV`)).rcode, 'NXDOMAIN');
  await remove(client, resources.services, 'ns/fresh');
  await untilAnswer(server.at, '51.0.96.10.in-addr.arpa. PTR', ['NXDOMAIN']);
  assert.ok(createdMs < 200, `${createdMs} ms`);
});

test('[D17 D21 D55] endpoints follow their slices, names and addresses alike', async () => {
  await using server = await startServer({ client });
  const key = { namespace: 'ns', name: 'db' };
  const name = 'db.ns.svc.cluster.local.';
  await createService(client, key, { clusterIP: 'None', ports: [http] });
  const a = (address: string) => `${name} 30 IN A ${address}`;
  const first = await createSlice(client, key, {
    endpoints: ['10.244.0.1=db-0', '!10.244.0.2=db-1'],
  });
  await untilAnswer(server.at, `${name} A`, [a('10.244.0.1')]);
  const slice = await client.get(resources.endpointslices, { namespace: 'ns', name: first });
  const endpoints = [
    { addresses: ['10.244.0.9'], hostname: 'db-0', conditions: { ready: true } },
    { addresses: ['10.244.0.2'], hostname: 'db-1', conditions: { ready: true } },
  ];
  await client.update(resources.endpointslices, object({ ...slice, endpoints }));
  await untilAnswer(server.at, `${name} A`, [a('10.244.0.9'), a('10.244.0.2')]);
  await untilAnswer(server.at, `db-0.${name} A`, [`db-0.${name} 30 IN A 10.244.0.9`]);
  await untilAnswer(server.at, '1.0.244.10.in-addr.arpa. PTR', ['NXDOMAIN']);
  const reverse = '9.0.244.10.in-addr.arpa.';
  await untilAnswer(server.at, `${reverse} PTR`, [`${reverse} 30 IN PTR db-0.${name}`]);
  await remove(client, resources.endpointslices, `ns/${first}`);
  await untilAnswer(server.at, `${name} A`, ['NXDOMAIN']);
});

test('[D5 D7] a namespace comes and goes', async () => {
  await using server = await startServer({ client });
  await createNamespace(client, 'later');
  await untilAnswer(server.at, 'later.svc.cluster.local. A', []);
  assert.equal((await ask(server.at, 'later.svc.cluster.local. A')).rcode, 'NOERROR');
  assert.equal((await ask(server.at, 'never.svc.cluster.local. A')).rcode, 'NXDOMAIN');
});

test('[D33 D95] the serial moves with records, not with namespaces or labels', async () => {
  let seconds = 1_700_000_000;
  const clock = {
    now: () => seconds * 1000,
    monotonicMs: () => performance.now(),
    after: (ms: number, callback: () => void) => {
      const timer = setTimeout(callback, ms);
      return () => clearTimeout(timer);
    },
  };
  await using server = await startServer({ client, clock });
  const serialOf = async () =>
    (await ask(server.at, 'cluster.local. SOA')).answers[0]!.data.serial as number;
  assert.equal(await serialOf(), seconds);
  const before = seconds;
  seconds += 100;
  await createNamespace(client, 'serial');
  await untilAnswer(server.at, 'serial.svc.cluster.local. A', []);
  const service = await client.get<Service>(resources.services, web);
  const metadata = { ...service.metadata, labels: { changed: 'yes' } };
  await client.update(resources.services, { ...service, metadata });
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(await serialOf(), before);
  await createService(
    client,
    { namespace: 'ns', name: 'bump' },
    { clusterIP: '10.96.0.60', ports: [http] },
  );
  await untilAnswer(server.at, 'bump.ns.svc.cluster.local. A', [
    'bump.ns.svc.cluster.local. 30 IN A 10.96.0.60',
  ]);
  assert.equal(await serialOf(), seconds);
});

test('[D34 D35] the nameserver is the Service in front of this server', async () => {
  // Its own address in this namespace: loopback does not count.
  const own = '192.0.2.53';
  const { execFileSync } = await import('node:child_process');
  execFileSync('ip', ['address', 'add', `${own}/32`, 'dev', 'lo']);
  await using server = await startServer({ client, listen: [{ host: own, port: 0 }] });
  await server.synced;
  const alone = await ask(server.at, 'cluster.local. NS');
  assert.deepEqual(texts(alone.answers), ['cluster.local. 30 IN NS ns.dns.cluster.local.']);
  assert.deepEqual(texts(alone.additionals), [`ns.dns.cluster.local. 30 IN A ${own}`]);
  const nsA = 'Ns.Dns.Cluster.local. A';
  assert.deepEqual(texts((await ask(server.at, nsA)).answers), [
    `Ns.Dns.Cluster.local. 30 IN A ${own}`,
  ]);
  assert.equal((await ask(server.at, 'ns.dns.cluster.local. AAAA')).rcode, 'NOERROR');

  const key = { namespace: 'kube-system', name: 'kube-dns' };
  await createService(client, key, { clusterIP: '10.96.0.10', ports: [http] });
  await createSlice(client, key, { endpoints: [own, '192.0.2.54'] });
  const service = 'kube-dns.kube-system.svc.cluster.local.';
  await untilAnswer(server.at, 'cluster.local. NS', [`cluster.local. 30 IN NS ${service}`]);
  const reply = await ask(server.at, 'cluster.local. NS');
  assert.deepEqual(texts(reply.additionals), [`${service} 30 IN A 10.96.0.10`]);
  assert.deepEqual(texts((await ask(server.at, nsA)).answers), [
    'Ns.Dns.Cluster.local. 30 IN A 10.96.0.10',
  ]);

  const headless = { namespace: 'kube-system', name: 'dns-pods' };
  await createService(client, headless, { clusterIP: 'None', ports: [http] });
  await createSlice(client, headless, { endpoints: [`${own}=me`] });
  await untilAnswer(server.at, 'cluster.local. NS', [
    `cluster.local. 30 IN NS ${service}`,
    `cluster.local. 30 IN NS me.dns-pods.kube-system.svc.cluster.local.`,
  ]);
});

test('[D48 D6] without pod records the whole tree is gone', async () => {
  await using server = await startServer({ client, podRecords: 'disabled' });
  for (const name of ['10-1-2-3.ns.pod.cluster.local.', 'ns.pod.cluster.local.']) {
    assert.equal((await ask(server.at, `${name} A`)).rcode, 'NXDOMAIN');
  }
  assert.equal((await ask(server.at, 'pod.cluster.local. A')).rcode, 'NOERROR');
});

test('[D52 D53] verified pods: only those that are there, by their first address', async () => {
  const key = { namespace: 'ns', name: 'pod-a' };
  await client.create(
    resources.pods,
    object({ metadata: key, spec: { containers: [{ name: 'c', image: 'host', command: ['x'] }] } }),
  );
  await using server = await startServer({ client, podRecords: 'verified' });
  const name = '10-244-3-7.ns.pod.cluster.local.';
  assert.equal((await ask(server.at, `${name} A`)).rcode, 'NXDOMAIN');
  const podIPs = [{ ip: '10.244.3.7' }, { ip: 'fd00::7' }];
  const status = { phase: 'Running', podIP: '10.244.3.7', podIPs };
  await client.patch(resources.pods, key, { status }, { type: 'merge', subresource: 'status' });
  await untilAnswer(server.at, `${name} A`, [`${name} 30 IN A 10.244.3.7`]);
  assert.equal((await ask(server.at, 'fd00--7.ns.pod.cluster.local. AAAA')).rcode, 'NXDOMAIN');
  assert.equal((await ask(server.at, '10-244-3-7.later.pod.cluster.local. A')).rcode, 'NXDOMAIN');
  await client.delete(resources.pods, key, { gracePeriodSeconds: 0 });
  await untilAnswer(server.at, `${name} A`, ['NXDOMAIN']);
});

test('[D93] the last known state is served while the API is away', async () => {
  let away = false;
  const flaky: Client = Object.create(client);
  const refuse = () => {
    if (away) throw new Error('connection refused');
  };
  const breakers = new Set<() => void>();
  flaky.list = async (...args) => {
    refuse();
    return client.list(...args);
  };
  flaky.watch = (resource, options) => {
    refuse();
    const abort = new AbortController();
    breakers.add(() => abort.abort());
    return client.watch(resource, {
      ...options,
      signal: AbortSignal.any([options.signal, abort.signal]),
    });
  };
  await using server = await startServer({ client: flaky });
  away = true;
  for (const cut of breakers) cut();
  await createService(
    client,
    { namespace: 'ns', name: 'meanwhile' },
    { clusterIP: '10.96.0.70', ports: [http] },
  );
  const want = ['web.ns.svc.cluster.local. 30 IN A 10.96.0.4'];
  assert.deepEqual(texts((await ask(server.at, 'web.ns.svc.cluster.local. A')).answers), want);
  assert.equal(server.isReady(), true);
  assert.equal((await ask(server.at, 'meanwhile.ns.svc.cluster.local. A')).rcode, 'NXDOMAIN');
  away = false;
  const name = 'meanwhile.ns.svc.cluster.local.';
  await untilAnswer(server.at, `${name} A`, [`${name} 30 IN A 10.96.0.70`]);
});

test('[D97 D96] a lame duck answers, is not ready, and then stops', async () => {
  const server = await startServer({ client, ready: local(18_182), health: local(18_083) });
  assert.equal((await statusOf(18_182, '/ready'))[0], 200);
  const started = performance.now();
  const stopped = server.stop({ lameDuckMs: 2500 });
  assert.equal((await statusOf(18_182, '/ready'))[0], 503);
  assert.equal((await statusOf(18_083, '/health'))[0], 200);
  let answered = 0;
  while (performance.now() - started < 1000) {
    assert.equal((await ask(server.at, 'web.ns.svc.cluster.local. A')).answers.length, 1);
    assert.equal(
      (await ask(server.at, 'web.ns.svc.cluster.local. A', { tcp: true })).answers.length,
      1,
    );
    answered += 2;
  }
  await stopped;
  assert.ok(answered > 0);
  await assert.rejects(ask(server.at, 'web.ns.svc.cluster.local. A', { tcp: true }));
});

test('[D102 D104] metrics carry CoreDNS names', async () => {
  await using server = await startServer({ client, metrics: local(19_153) });
  await ask(server.at, 'web.ns.svc.cluster.local. A');
  await ask(server.at, 'nope.ns.svc.cluster.local. AAAA', { tcp: true });
  const [code, text] = await statusOf(19_153, '/metrics');
  assert.equal(code, 200);
  const line = (start: string) => text.split('\n').find((one) => one.startsWith(start));
  const where = 'server="dns://127.0.0.1:0",zone=".",view=""';
  const requests = `coredns_dns_requests_total{${where}`;
  assert.ok(line(`${requests},proto="udp",family="1",type="A"} 1`));
  assert.ok(line(`${requests},proto="tcp",family="1",type="AAAA"} 1`));
  const plugin = 'plugin="kubernetes"';
  assert.ok(line(`coredns_dns_responses_total{${where},rcode="NXDOMAIN",${plugin}} 1`));
  assert.ok(line('coredns_panics_total 0'));
  assert.ok(line(`coredns_plugin_enabled{${where},name="kubernetes"} 1`));
  assert.ok(line(`coredns_dns_request_duration_seconds_count{${where}} 2`));
  assert.ok(line('coredns_reload_failed_total 0'));
  const kind = 'service_kind="headless_with_selector"';
  const programming = 'coredns_kubernetes_dns_programming_duration_seconds_bucket';
  assert.ok(line(`${programming}{${kind},le="0.001"}`));
});

test('[D102 D104] a change of pods is timed from its stamp, where a headless Service shows them', async () => {
  await using server = await startServer({ client, metrics: local(19_155) });
  await server.synced;
  const stamp = 'endpoints.kubernetes.io/last-change-trigger-time';
  const slice = (name: string, labels: Record<string, string>) =>
    client.create(
      resources.endpointslices,
      object({
        metadata: {
          name,
          namespace: 'ns',
          labels: { 'kubernetes.io/service-name': 'timed', ...labels },
          annotations: { [stamp]: new Date(Date.now() - 5000).toISOString() },
        },
        addressType: 'IPv4',
        endpoints: [{ addresses: ['10.244.7.1'] }],
        ports: [],
      }),
    );
  await slice('timed-1', {});
  await slice('timed-2', { 'service.kubernetes.io/headless': '' });
  const name = 'coredns_kubernetes_dns_programming_duration_seconds';
  const want = `${name}_count{service_kind="headless_with_selector"} 1`;
  const deadline = Date.now() + 5000;
  let text = '';
  while (!text.includes(want) && Date.now() < deadline) {
    text = (await statusOf(19_155, '/metrics'))[1];
  }
  assert.ok(text.split('\n').includes(want), want);
  const sum = Number(/_sum\{service_kind="headless_with_selector"\} (\S+)/.exec(text)?.[1]);
  assert.ok(sum >= 5 && sum < 11, `${sum} s`);
  for (const one of ['ns/timed-1', 'ns/timed-2'])
    await remove(client, resources.endpointslices, one);
});

test('one wildcard address takes both families, over UDP and TCP', async () => {
  await using server = await startServer({ client, listen: [{ host: '::', port: 0 }] });
  await server.synced;
  const { port } = server.at;
  for (const host of ['127.0.0.1', '::1']) {
    for (const tcp of [false, true]) {
      const reply = await ask({ host, port }, 'web.ns.svc.cluster.local. A', { tcp });
      assert.equal(reply.answers[0]?.data, '10.96.0.4');
    }
  }
});

test('a port that is taken is said by name', async () => {
  await using server = await startServer({ client });
  await assert.rejects(
    startServer({ client, listen: [server.at] }),
    /Cannot listen on UDP "127.0.0.1:/,
  );
});

after(() => remove(client, resources.services, 'ns/web'));

test('[D102] metrics of the cache and of the servers that are asked', async () => {
  const upstream = await startUpstream((query) => {
    const { name } = query.questions[0]!;
    return { answers: [{ name, type: 'A', ttl: 300, data: '192.0.2.1' }] };
  });
  await using server = await startServer({
    client,
    upstreams: [upstream.address],
    metrics: local(19_154),
  });
  for (let turn = 0; turn < 3; turn += 1) await ask(server.at, 'www.example.com. A');
  const text = (await statusOf(19_154, '/metrics'))[1];
  const where = 'server="dns://127.0.0.1:0",zones=".",view=""';
  for (const line of [
    `coredns_cache_entries{${where},type="success"} 1`,
    `coredns_cache_hits_total{${where},type="success"} 2`,
    `coredns_cache_misses_total{${where}} 1`,
    `coredns_cache_requests_total{${where}} 3`,
    `coredns_cache_prefetch_total{${where}} 0`,
    `coredns_cache_served_stale_total{${where}} 0`,
    'coredns_forward_max_concurrent_rejects_total 0',
    'coredns_forward_healthcheck_broken_total 0',
    `coredns_proxy_healthcheck_failures_total{proxy_name="forward",to="${upstream.address}"} 0`,
    `coredns_proxy_conn_cache_hits_total{proto="tcp",proxy_name="forward",to="${upstream.address}"} 0`,
  ]) {
    assert.ok(text.split('\n').includes(line), line);
  }
  upstream.close();
});
