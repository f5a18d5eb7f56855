/** The properties of `cache` in a Corefile, with a clock that the test moves. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import * as packet from 'dns-packet';

import { resources } from '../../src/api/resources.ts';
import type { Client } from '../../src/client/client.ts';
import { systemClock, type Clock } from '../../src/lib/clock.ts';
import {
  ask,
  createNamespace,
  createService,
  loopbackUp,
  remove,
  startApi,
  startCorefile,
  startUpstream,
  texts,
  type Asked,
  type Reply,
  type Upstream,
} from './dns-harness.ts';

const { RECURSION_DESIRED: RD } = packet;
const SERVFAIL = 2;
const NXDOMAIN = 3;

let client: Client;
let upstream: Upstream;
/** What upstream does: `mode` for every name, the last octet of every address. */
const world = { mode: 'good' as 'good' | 'broken' | 'gone' | 'silent', octet: 1 };

function answer(query: Reply): packet.Packet | undefined {
  const { name } = query.questions[0]!;
  const soa = {
    name: 'example.com',
    type: 'SOA',
    ttl: 60,
    data: {
      mname: 'ns.example.com',
      rname: 'admin.example.com',
      serial: 1,
      refresh: 1,
      retry: 1,
      expire: 1,
      minimum: 7,
    },
  };
  switch (world.mode) {
    case 'silent':
      return undefined;
    case 'broken':
      return { flags: RD | SERVFAIL };
    case 'gone':
      return { flags: RD | NXDOMAIN, authorities: [soa] };
    default:
      return {
        flags: RD,
        answers: [{ name, type: 'A', ttl: 100, data: `192.0.2.${world.octet}` }],
      };
  }
}

before(async () => {
  loopbackUp();
  client = await startApi();
  await createNamespace(client, 'ns');
  await createService(
    client,
    { namespace: 'ns', name: 'web' },
    { clusterIP: '10.96.0.4', ports: [{ name: 'http', port: 80 }] },
  );
  upstream = await startUpstream(answer);
});

after(() => upstream.close());

function shiftedClock(): { clock: Clock; pass: (seconds: number) => void } {
  let shiftMs = 0;
  return {
    clock: {
      now: () => systemClock.now() + shiftMs,
      monotonicMs: () => systemClock.monotonicMs() + shiftMs,
      after: (delayMs, callback) => systemClock.after(delayMs, callback),
    },
    pass: (seconds) => (shiftMs += seconds * 1000),
  };
}

/** A server with this `cache`, and nothing asked upstream yet. */
async function start(cache: string, more = '') {
  const { clock, pass } = shiftedClock();
  Object.assign(world, { mode: 'good', octet: 1 });
  upstream.asked.length = 0;
  const text = `.:0 {\n bind 127.0.0.1\n forward . ${upstream.address}\n ${cache}\n${more}\n}`;
  return { server: await startCorefile(client, text, { clock }), pass };
}

/** `TTL ADDRESS`, or the rcode. */
async function said(at: Asked, name = 'www.example.com.'): Promise<string> {
  const reply = await ask(at, `${name} A`, { timeoutMs: 9000 });
  if (reply.rcode !== 'NOERROR') return reply.rcode;
  return texts(reply.answers)
    .map((text) =>
      text
        .split(' ')
        .filter((_, index) => index === 1 || index === 4)
        .join(' '),
    )
    .join(', ');
}

/** Waits until upstream was asked so often. */
async function untilAsked(count: number): Promise<void> {
  const deadline = Date.now() + 5000;
  while (upstream.asked.length < count && Date.now() < deadline) {
    await new Promise((done) => setTimeout(done, 5));
  }
  assert.equal(upstream.asked.length, count);
}

test('[D87] keepttl: hits have the TTL that the answer came with', async () => {
  const { server, pass } = await start('cache {\n keepttl\n}');
  await using _ = server;
  assert.equal(await said(server.at), '100 192.0.2.1');
  pass(90);
  assert.equal(await said(server.at), '100 192.0.2.1');
  assert.equal(upstream.asked.length, 1);
  pass(11);
  await said(server.at);
  assert.equal(upstream.asked.length, 2);
});

test('[D84] without it the TTL runs down', async () => {
  const { server, pass } = await start('cache');
  await using _ = server;
  await said(server.at);
  pass(90);
  assert.match(await said(server.at), /^(9|10) 192\.0\.2\.1$/);
});

test('[D87] prefetch: an answer asked for often enough is fetched before it expires', async () => {
  const { server, pass } = await start('cache {\n prefetch 3 1h 20%\n}');
  await using _ = server;
  await said(server.at);
  world.octet = 2;
  pass(85);
  // The first two hits are too few, however late.
  assert.match(await said(server.at), / 192\.0\.2\.1$/);
  assert.match(await said(server.at), / 192\.0\.2\.1$/);
  assert.equal(upstream.asked.length, 1);
  // The third is answered from the cache, and the answer is fetched behind it.
  assert.match(await said(server.at), / 192\.0\.2\.1$/);
  await untilAsked(2);
  const deadline = Date.now() + 5000;
  while (!(await said(server.at)).endsWith('192.0.2.2') && Date.now() < deadline);
  assert.match(await said(server.at), /^(99|100) 192\.0\.2\.2$/);
  assert.equal(upstream.asked.length, 2);
});

test('[D87] without serve_stale an expired answer is no answer', async () => {
  const { server, pass } = await start('cache');
  await using _ = server;
  await said(server.at);
  world.mode = 'broken';
  pass(101);
  assert.equal(await said(server.at), 'SERVFAIL');
});

test('[D87] serve_stale: at once, with TTL 0, and fetched anew behind it', async () => {
  const { server, pass } = await start('cache {\n serve_stale\n}');
  await using _ = server;
  await said(server.at);
  world.octet = 2;
  pass(200);
  assert.equal(await said(server.at), '0 192.0.2.1');
  await untilAsked(2);
  const deadline = Date.now() + 5000;
  while (!(await said(server.at)).endsWith('192.0.2.2') && Date.now() < deadline);
  assert.match(await said(server.at), /^(99|100) 192\.0\.2\.2$/);
});

for (const mode of ['broken', 'silent'] as const) {
  test(`[D87] serve_stale: an upstream that is ${mode} does not take the answer away`, async () => {
    const { server, pass } = await start('cache {\n serve_stale 10m immediate 30s\n}');
    await using _ = server;
    await said(server.at);
    world.mode = mode;
    pass(200);
    for (let turn = 0; turn < 3; turn += 1) assert.equal(await said(server.at), '30 192.0.2.1');
    // Ten minutes after it expired it is of no use any more.
    pass(600);
    assert.equal(await said(server.at), 'SERVFAIL');
  });
}

test('[D87] serve_stale verify: asked first, the stale answer only if nothing better comes', async () => {
  const { server, pass } = await start('cache {\n serve_stale 1h verify\n}');
  await using _ = server;
  await said(server.at);
  world.octet = 2;
  pass(200);
  assert.equal(await said(server.at), '100 192.0.2.2');
  world.mode = 'broken';
  pass(200);
  assert.equal(await said(server.at), '0 192.0.2.2');
  world.mode = 'gone';
  assert.equal(await said(server.at), 'NXDOMAIN');
});

test('[D87] serve_stale verify with a time limit: late is as good as never', async () => {
  const { server, pass } = await start('cache {\n serve_stale 1h verify 100ms 5s 1m\n}');
  await using _ = server;
  await said(server.at);
  world.mode = 'silent';
  pass(200);
  const started = performance.now();
  assert.equal(await said(server.at), '5 192.0.2.1');
  assert.ok(performance.now() - started < 1500);
});

test('[D87] serve_stale_policy prefer_positive: a denial does not hide a good answer', async () => {
  const stale = 'serve_stale 1h verify';
  const { server, pass } = await start(
    `cache {\n ${stale}\n serve_stale_policy prefer_positive\n}`,
  );
  await using _ = server;
  await said(server.at);
  world.mode = 'gone';
  pass(200);
  assert.equal(await said(server.at), '0 192.0.2.1');
  assert.equal(await said(server.at), '0 192.0.2.1');
});

test('[D86] servfail: how long a failure is kept', async () => {
  const { server, pass } = await start('cache {\n servfail 60s\n}');
  await using _ = server;
  world.mode = 'broken';
  assert.equal(await said(server.at), 'SERVFAIL');
  world.mode = 'good';
  pass(50);
  assert.equal(await said(server.at), 'SERVFAIL');
  pass(11);
  assert.equal(await said(server.at), '100 192.0.2.1');
  const none = await start('cache {\n servfail 0\n}');
  await using __ = none.server;
  world.mode = 'broken';
  assert.equal(await said(none.server.at), 'SERVFAIL');
  world.mode = 'good';
  assert.equal(await said(none.server.at), '100 192.0.2.1');
});

test('[D86] a cached failure stands behind an answer that is still good', async () => {
  const { server, pass } = await start(
    'cache {\n success 1024 300 100\n servfail 60s\n serve_stale 1h verify\n}',
  );
  await using _ = server;
  await said(server.at);
  world.mode = 'broken';
  pass(150);
  assert.equal(await said(server.at), '0 192.0.2.1');
  assert.equal(await said(server.at), '0 192.0.2.1');
});

test('[D87] times of each half, and zones that are left out', async () => {
  const { server } = await start('cache 20 example.com {\n success 2000 50\n denial 2000 7\n}');
  await using _ = server;
  assert.equal(await said(server.at), '50 192.0.2.1');
  assert.equal(await said(server.at, 'www.other.test.'), '100 192.0.2.1');
  await said(server.at, 'www.other.test.');
  assert.deepEqual(upstream.asked, ['www.example.com A', 'www.other.test A', 'www.other.test A']);
  world.mode = 'gone';
  const gone = await ask(server.at, 'gone.example.com. A');
  assert.deepEqual([gone.rcode, gone.authorities[0]?.ttl], ['NXDOMAIN', 7]);
});

test('[D85 D87] disable: such names are asked each time, and still have the TTL of the cache', async () => {
  const { server } = await start('cache 20 {\n disable success www.example.com\n}');
  await using _ = server;
  assert.equal(await said(server.at), '20 192.0.2.1');
  assert.equal(await said(server.at), '20 192.0.2.1');
  assert.equal(upstream.asked.length, 2);
});

const kubernetes = (more: string) => `kubernetes cluster.local {\n ttl 30\n ${more}\n}`;
const web = 'web.ns.svc.cluster.local.';

/** Kubeadm's current `cache`, the older one and k3s's, and CoreDNS itself with each. */
const liveness: [cache: string, strict: string, lives: boolean][] = [
  ['cache 30 {\n disable success cluster.local\n disable denial cluster.local\n}', '', true],
  [
    'cache 30 {\n disable success cluster.local\n disable denial cluster.local\n}',
    'strict_coredns',
    true,
  ],
  ['cache 30', '', true],
  ['cache 30', 'strict_coredns', false],
];

for (const [cache, strict, lives] of liveness) {
  const what = `${strict} ${cache.replaceAll(/\s+/g, ' ')}`.trim();
  test(`[D88] ${what}: cluster names ${lives ? 'are live' : 'are as old as the cache'}`, async () => {
    const key = { namespace: 'ns', name: 'new' };
    const { server } = await start(cache, kubernetes(strict));
    await using _ = server;
    assert.equal(await said(server.at, web), '30 10.96.0.4');
    assert.equal(await said(server.at, 'new.ns.svc.cluster.local.'), 'NXDOMAIN');
    await createService(client, key, { clusterIP: '10.96.0.9', ports: [{ port: 80 }] });
    const wanted = lives ? '30 10.96.0.9' : 'NXDOMAIN';
    const deadline = Date.now() + (lives ? 5000 : 300);
    let got = '';
    do got = await said(server.at, 'new.ns.svc.cluster.local.');
    while (got !== '30 10.96.0.9' && Date.now() < deadline);
    assert.equal(got, wanted);
    await remove(client, resources.services, 'ns/new');
  });
}
