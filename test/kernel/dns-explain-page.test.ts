/** The page /explain of a server with an upstream: where each answer comes from. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import type { DnsServer } from '../../src/dns/server.ts';
import {
  createNamespace,
  createService,
  createSlice,
  loopbackUp,
  startApi,
  startServer,
  startUpstream,
  type Upstream,
} from './dns-harness.ts';

const metrics = { host: '127.0.0.1', port: 9153 };
let server: DnsServer;
let upstream: Upstream;

before(async () => {
  loopbackUp();
  const client = await startApi();
  await createNamespace(client, 'ns');
  const ports = [{ name: 'http', port: 80, protocol: 'TCP' }];
  await createService(client, { namespace: 'ns', name: 'web' }, { clusterIP: '10.96.0.4', ports });
  await createService(client, { namespace: 'ns', name: 'db' }, { clusterIP: 'None', ports });
  await createSlice(client, { namespace: 'ns', name: 'db' }, { endpoints: ['10.244.0.1=db-0'] });
  upstream = await startUpstream((query) => {
    const { name, type } = query.questions[0]!;
    if (/^silent/i.test(name)) return undefined;
    return { answers: type === 'A' ? [{ name, type, ttl: 300, data: '192.0.2.80' }] : [] };
  });
  server = await startServer({ client, upstreams: [upstream.address], metrics });
  await server.synced;
});

after(async () => {
  await server.stop();
  upstream.close();
});

type Step = {
  name: string;
  status: string;
  rcode: string;
  records: string[];
  sources: { stage: string; detail?: string }[];
  place?: object;
  error?: string;
};

async function stepFor(query: string): Promise<Step> {
  const page = await fetch(`http://${metrics.host}:${metrics.port}/explain?${query}`);
  assert.equal(page.status, 200);
  const { steps } = (await page.json()) as { steps: Step[] };
  return steps[0]!;
}

test('an answer of upstream, and then of the cache with its age', async () => {
  const first = await stepFor('name=www.example.com.&type=A');
  assert.deepEqual(first.records, ['www.example.com. 30 IN A 192.0.2.80']);
  assert.deepEqual(first.sources, [{ stage: 'forward', detail: upstream.address }]);
  assert.equal(first.place, undefined, 'it lies outside the cluster');
  const second = await stepFor('name=www.example.com.&type=A');
  assert.equal(second.sources[0]!.stage, 'cache');
  assert.match(second.sources[0]!.detail!, /^success, \d s old, (30|2\d) s left$/);
});

test('a failure says why', async () => {
  const step = await stepFor('name=silent.example.com.&type=A');
  assert.deepEqual([step.status, step.rcode], ['failed', 'SERVFAIL']);
  assert.match(step.error!, /Cannot ask DNS server .*no reply in/);
});

test('names of the cluster say what they stand for', async () => {
  const web = await stepFor('name=web.ns.svc.cluster.local.&type=A');
  assert.deepEqual(web.records, ['web.ns.svc.cluster.local. 30 IN A 10.96.0.4']);
  assert.deepEqual(web.place, { kind: 'service', namespace: 'ns', service: 'web' });
  const db = await stepFor('name=db-0.db.ns.svc.cluster.local.&type=A');
  assert.deepEqual(db.place, { kind: 'service', namespace: 'ns', service: 'db', endpoint: 'db-0' });
  const reverse = await stepFor('name=4.0.96.10.in-addr.arpa.&type=PTR');
  assert.deepEqual(reverse.place, { kind: 'reverse', address: '10.96.0.4' });
  assert.deepEqual(reverse.records, [
    '4.0.96.10.in-addr.arpa. 30 IN PTR web.ns.svc.cluster.local.',
  ]);
});

test('more than ten explanations at once are refused, and later ones are not', async () => {
  const url = `http://${metrics.host}:${metrics.port}/explain?name=silent.example.org.&type=A`;
  const codes = await Promise.all(
    Array.from({ length: 30 }, async () => {
      const page = await fetch(url);
      await page.arrayBuffer();
      return page.status;
    }),
  );
  assert.ok(codes.includes(200) && codes.includes(503), codes.join(' '));
  assert.equal((await stepFor('name=www.example.com.&type=A')).status, 'answered');
});
