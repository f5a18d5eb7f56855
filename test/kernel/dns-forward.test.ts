/** Names outside the cluster: which server is asked, what comes back, what is kept. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { after, before, test } from 'node:test';

import * as packet from 'dns-packet';

import type { Client } from '../../src/client/client.ts';
import { systemClock, type Clock } from '../../src/lib/clock.ts';
import {
  ask,
  createNamespace,
  createService,
  exchange,
  frame,
  loopbackUp,
  question,
  rcodes,
  startApi,
  startServer,
  startUpstream,
  texts,
  type Options,
  type Reply,
  type Upstream,
} from './dns-harness.ts';

const soa = {
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

const { RECURSION_DESIRED: RD } = packet;
const RA = 0x80;
const TC = 0x200;
const AD = 0x20;

/** Answers by the first label of the name. */
function world(query: Reply, transport: 'udp' | 'tcp'): packet.Packet | undefined {
  const [{ name, type }] = query.questions as [{ name: string; type: string }];
  const a = (data: string, ttl = 300) => ({ name, type: 'A', ttl, data });
  const flags = RD | RA;
  switch (name.toLowerCase().split('.')[0]) {
    case 'www':
      return type === 'A' ? { flags, answers: [a('192.0.2.80')] } : empty();
    case 'short':
      return { flags, answers: [a('192.0.2.81', 0)] };
    case 'ten':
      return { flags, answers: [a('192.0.2.82', 10)] };
    case 'signed':
      return { flags: flags | AD, answers: [a('192.0.2.83')] };
    case 'gone':
      return { flags: flags | rcodes.NXDOMAIN, authorities: [{ name: 'example.com', ...soa }] };
    case 'bare':
      return { flags: flags | rcodes.NXDOMAIN };
    case 'broken':
      return { flags: flags | rcodes.SERVFAIL };
    case 'alias': {
      const cname = { name, type: 'CNAME', ttl: 300, data: 'www.example.com' };
      return { flags, answers: [cname, { ...a('192.0.2.80'), name: 'www.example.com' }] };
    }
    case 'long': {
      const count = transport === 'tcp' ? 200 : 1;
      const answers = Array.from({ length: count }, (_, index) => a(`192.0.2.${index}`));
      return { flags: transport === 'udp' ? flags | TC : flags, answers };
    }
    case 'udponly':
      return transport === 'udp' ? { flags: flags | TC, answers: [a('192.0.2.84')] } : undefined;
    case 'silent':
      return undefined;
    default:
      return { flags: flags | rcodes.NXDOMAIN, authorities: [{ name: 'example.com', ...soa }] };
  }
  function empty(): packet.Packet {
    return { flags, authorities: [{ name: 'example.com', ...soa }] };
  }
}

let client: Client;
let upstream: Upstream;

before(async () => {
  loopbackUp();
  client = await startApi();
  await createNamespace(client, 'ns');
  const service = (name: string, spec: Record<string, unknown>) =>
    createService(client, { namespace: 'ns', name }, spec);
  const alias = (externalName: string) => ({ type: 'ExternalName', externalName });
  await service('out', alias('www.example.com'));
  await service('out-alias', alias('alias.example.com'));
  await service('out-gone', alias('gone.example.com'));
  await service('out-broken', alias('broken.example.com'));
  await service('out-long', alias('long.example.com'));
  await service('ip', alias('192-0-2-1.example.com'));
  await service('web', { clusterIP: '10.96.0.4', ports: [{ name: 'http', port: 80 }] });
  upstream = await startUpstream(world);
});

after(() => upstream.close());

/** A clock that the test moves by hand beside the real one. */
function shiftedClock(): { clock: Clock; pass: (ms: number) => void } {
  let shiftMs = 0;
  return {
    clock: {
      now: () => systemClock.now() + shiftMs,
      monotonicMs: () => systemClock.monotonicMs() + shiftMs,
      after: (delayMs, callback) => systemClock.after(delayMs, callback),
    },
    pass: (ms) => (shiftMs += ms),
  };
}

function start(options: Partial<Options> = {}) {
  upstream.asked.length = 0;
  upstream.queries.length = 0;
  return startServer({ client, upstreams: [upstream.address], ...options });
}

test('[D1] an outside name is asked upstream and comes back with its flags', async () => {
  await using server = await start();
  const reply = await ask(server.at, 'www.example.com. A');
  assert.deepEqual(texts(reply.answers), ['www.example.com. 30 IN A 192.0.2.80']);
  assert.deepEqual([reply.rcode, reply.flag_ra, reply.flag_aa], ['NOERROR', true, false]);
  assert.deepEqual(upstream.asked, ['www.example.com A']);
});

test('[D65 D83] the second answer comes from the cache and says AA', async () => {
  await using server = await start();
  await ask(server.at, 'www.example.com. A');
  const reply = await ask(server.at, 'www.example.com. A', { tcp: true });
  assert.deepEqual([reply.flag_ra, reply.flag_aa], [true, true]);
  assert.equal(upstream.asked.length, 1);
});

test('[D83] types, DO and CD are kept apart', async () => {
  await using server = await start();
  const opt = { name: '.', type: 'OPT', udpPayloadSize: 1232, flags: packet.DNSSEC_OK };
  const variants = [
    question('www.example.com. A'),
    question('www.example.com. AAAA'),
    question('www.example.com. A', { additionals: [opt] }),
    question('www.example.com. A', { flags: RD | packet.CHECKING_DISABLED }),
  ];
  for (const bytes of [...variants, ...variants]) await exchange(server.at, bytes);
  assert.equal(upstream.asked.length, variants.length);
});

test('[D10] a kept answer comes back in the spelling of each asker', async () => {
  await using server = await start();
  await ask(server.at, 'www.EXAMPLE.com. A');
  const reply = await ask(server.at, 'wWw.example.COM. A');
  assert.equal(reply.questions[0]?.name, 'wWw.example.COM');
  assert.deepEqual(texts(reply.answers), ['wWw.example.COM. 30 IN A 192.0.2.80']);
  assert.equal(upstream.asked.length, 1);
});

test('[D84 D85] TTLs stay between 5 and 30 s and count down', async () => {
  const { clock, pass } = shiftedClock();
  await using server = await start({ clock });
  const ttlOf = async (name: string) => (await ask(server.at, `${name}. A`)).answers[0]?.ttl;
  assert.equal(await ttlOf('short.example.com'), 5);
  assert.equal(await ttlOf('ten.example.com'), 10);
  assert.equal(await ttlOf('www.example.com'), 30);
  pass(6000);
  assert.equal(await ttlOf('ten.example.com'), 4);
  assert.equal(await ttlOf('www.example.com'), 24);
  assert.equal(upstream.asked.length, 3);
  pass(5000);
  assert.equal(await ttlOf('ten.example.com'), 10);
  assert.equal(upstream.asked.length, 4);
});

test('[D84] a denial is kept for the TTL of its SOA', async () => {
  const { clock, pass } = shiftedClock();
  await using server = await start({ clock });
  for (const question of ['gone.example.com. A', 'www.example.com. AAAA']) {
    upstream.asked.length = 0;
    const first = await ask(server.at, question);
    assert.equal(first.authorities[0]?.ttl, 30);
    pass(29_000);
    assert.equal((await ask(server.at, question)).rcode, first.rcode);
    assert.equal(upstream.asked.length, 1);
    pass(2000);
    await ask(server.at, question);
    assert.equal(upstream.asked.length, 2);
  }
});

test('[D86] a denial without SOA is not kept, a failure for 5 s', async () => {
  const { clock, pass } = shiftedClock();
  await using server = await start({ clock });
  for (let turn = 0; turn < 2; turn += 1) {
    assert.equal((await ask(server.at, 'bare.example.com. A')).rcode, 'NXDOMAIN');
    assert.equal((await ask(server.at, 'broken.example.com. A')).rcode, 'SERVFAIL');
  }
  const count = (name: string) => upstream.asked.filter((text) => text.startsWith(name)).length;
  assert.deepEqual([count('bare'), count('broken')], [2, 1]);
  pass(6000);
  await ask(server.at, 'broken.example.com. A');
  assert.equal(count('broken'), 2);
});

test('[D65] AD reaches only who asked for it', async () => {
  await using server = await start();
  const adOf = async (flags: number) =>
    packet.decode((await exchange(server.at, question('signed.example.com. A', { flags })))!)
      .flag_ad;
  const asked = [RD, RD, RD | AD, RD, RD | AD];
  // Whoever asks first, and whether the answer is kept by then.
  for (const [index, flags] of asked.entries()) {
    assert.equal(await adOf(flags), (flags & AD) !== 0, `question ${index}`);
  }
});

test('[D89] a hundred askers at once cost one query', async () => {
  await using server = await start();
  const replies = await Promise.all(
    Array.from({ length: 100 }, () => ask(server.at, 'www.example.com. A')),
  );
  assert.ok(replies.every(({ answers }) => answers.length === 1));
  assert.equal(upstream.asked.length, 1);
});

test('[D90b] a cut reply is asked for again over TCP, and cut anew per client', async () => {
  await using server = await start();
  const small = await ask(server.at, 'long.example.com. A');
  assert.equal(small.flag_tc, true);
  assert.deepEqual(upstream.asked, ['long.example.com A', 'long.example.com A tcp']);
  const whole = await ask(server.at, 'long.example.com. A', { tcp: true });
  assert.deepEqual([whole.flag_tc, whole.answers.length], [false, 200]);
  assert.equal(upstream.asked.length, 2);
});

test('[D77] a client that sends all its questions and ends its side gets every answer', async () => {
  await using server = await start();
  const names = Array.from({ length: 6 }, (_, index) => `half${index}.example.com. A`);
  const socket = connect({ ...server.at, allowHalfOpen: true });
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  socket.end(Buffer.concat(names.map((name) => frame(question(name)))));
  await once(socket, 'end');
  const bytes = Buffer.concat(chunks);
  let replies = 0;
  for (let at = 0; at < bytes.length; at += 2 + bytes.readUInt16BE(at)) replies += 1;
  assert.equal(replies, names.length);
});

test('[D90c] ids and ports upstream do not follow each other', async () => {
  await using server = await start();
  for (let index = 0; index < 20; index += 1) await ask(server.at, `n${index}.example.com. A`);
  const ids = upstream.queries.map(({ id }) => id);
  assert.equal(new Set(ids).size, 20);
  const steps = new Set(ids.slice(1).map((id, index) => id - ids[index]!));
  assert.ok(steps.size > 15, [...steps].join(' '));
  assert.ok(upstream.queries.every(({ flag_rd }) => flag_rd));
});

test('[D90c D90e] a reply with another id or question is not believed', async () => {
  const liar = await startUpstream((query) => {
    const [{ name }] = query.questions as [{ name: string; type: string }];
    const answers = [{ name, type: 'A', ttl: 300, data: '203.0.113.66' }];
    return name.startsWith('id')
      ? { id: query.id ^ 1, flags: RD | RA, answers }
      : { flags: RD | RA, answers, questions: [{ name: 'other.example.com', type: 'A' }] };
  });
  await using server = await start({ upstreams: [liar.address, upstream.address] });
  // Whichever is asked first, the liar's 2 s run out and the other one's answer counts.
  const replies = await Promise.all(
    ['id.example.com. A', 'q.example.com. A'].map((text) =>
      ask(server.at, text, { timeoutMs: 6000 }),
    ),
  );
  for (const reply of replies) assert.equal(reply.rcode, 'NXDOMAIN');
  liar.close();
});

test('[D90c D90e] a silent or closed upstream gives way to the next, and SERVFAIL to none', async () => {
  const silent = await startUpstream(() => undefined);
  await using both = await start({ upstreams: ['127.0.0.1:1', upstream.address] });
  for (let index = 0; index < 5; index += 1) {
    const reply = await ask(both.at, `www.e${index}.example.com. A`);
    assert.equal(reply.rcode, 'NOERROR');
  }
  await using none = await start({ upstreams: ['127.0.0.1:1', silent.address] });
  const started = performance.now();
  const reply = await ask(none.at, 'www.example.com. A', { timeoutMs: 7000 });
  const seconds = (performance.now() - started) / 1000;
  assert.deepEqual([reply.rcode, reply.flag_aa, reply.answers], ['SERVFAIL', false, []]);
  assert.ok(seconds < 5.5, `${seconds} s`);
  silent.close();
});

test('[D90e] an upstream that no route leads to fails like any other', async () => {
  for (const address of ['192.0.2.53', '2001:db8::53']) {
    await using server = await start({ upstreams: [address] });
    const reply = await ask(server.at, 'www.example.com. A');
    assert.equal(reply.rcode, 'SERVFAIL');
    await using both = await start({ upstreams: [address, upstream.address] });
    for (let index = 0; index < 5; index += 1) {
      assert.equal((await ask(both.at, `www.e${index}.example.com. A`)).rcode, 'NOERROR');
    }
  }
});

test('[D90b] the cut reply of an upstream without TCP goes to the client as it is', async () => {
  await using server = await start();
  const started = performance.now();
  const reply = await ask(server.at, 'udponly.example.com. A', { timeoutMs: 6000 });
  assert.deepEqual([reply.rcode, reply.flag_tc], ['NOERROR', true]);
  assert.ok(performance.now() - started < 3000);
});

test('[D57] a reverse name of nothing here is asked upstream', async () => {
  await using server = await start();
  const reply = await ask(server.at, '1.2.0.192.in-addr.arpa. PTR');
  assert.equal(reply.rcode, 'NXDOMAIN');
  assert.deepEqual(upstream.asked, ['1.2.0.192.in-addr.arpa PTR']);
});

test('[D58 D61] so is another type there, but not NODATA and not what we know', async () => {
  await using server = await start();
  await ask(server.at, '4.0.96.10.in-addr.arpa. A');
  await ask(server.at, 'in-addr.arpa. A');
  await ask(server.at, '4.0.96.10.in-addr.arpa. PTR');
  await ask(server.at, 'nope.ns.svc.cluster.local. A');
  assert.deepEqual(upstream.asked, ['4.0.96.10.in-addr.arpa A']);
});

const externals: [question: string, rcode: string, want: string[]][] = [
  [
    'out.ns.svc.cluster.local. A',
    'NOERROR',
    [
      'out.ns.svc.cluster.local. 30 IN CNAME www.example.com.',
      'www.example.com. 30 IN A 192.0.2.80',
    ],
  ],
  [
    'out-alias.ns.svc.cluster.local. A',
    'NOERROR',
    [
      'out-alias.ns.svc.cluster.local. 30 IN CNAME alias.example.com.',
      'alias.example.com. 30 IN CNAME www.example.com.',
      'www.example.com. 30 IN A 192.0.2.80',
    ],
  ],
  [
    'out.ns.svc.cluster.local. AAAA',
    'NOERROR',
    ['out.ns.svc.cluster.local. 30 IN CNAME www.example.com.'],
  ],
  [
    'out-gone.ns.svc.cluster.local. A',
    'NOERROR',
    ['out-gone.ns.svc.cluster.local. 30 IN CNAME gone.example.com.'],
  ],
  [
    'out-broken.ns.svc.cluster.local. A',
    'NOERROR',
    ['out-broken.ns.svc.cluster.local. 30 IN CNAME broken.example.com.'],
  ],
];

for (const [text, rcode, want] of externals) {
  test(`[D41 D44] ${text} with upstream`, async () => {
    await using server = await start();
    for (let turn = 0; turn < 2; turn += 1) {
      const reply = await ask(server.at, text);
      assert.deepEqual([reply.rcode, texts(reply.answers)], [rcode, want]);
      assert.equal(reply.flag_aa, true);
    }
    assert.equal(upstream.asked.length, 1);
  });
}

test('[D40a] any other type at an ExternalName is NODATA', async () => {
  await using server = await start();
  const reply = await ask(server.at, 'out.ns.svc.cluster.local. CAA');
  assert.deepEqual([reply.rcode, reply.answers, upstream.asked], ['NOERROR', [], []]);
});

test('[D99] an upstream that asks back is found out and not asked again', async () => {
  // A loop through another process: it hands each question back to the server under test.
  let back: { host: string; port: number } | undefined;
  const mirror = await startUpstream((query) => {
    const [first] = query.questions;
    const again = `${first!.name} ${first!.type}`;
    if (back !== undefined) void exchange(back, question(again), { timeoutMs: 1000 });
    if (back !== undefined) void exchange(back, question(again), { timeoutMs: 1000 });
    if (back !== undefined) void exchange(back, question(again), { timeoutMs: 1000 });
    return undefined;
  });
  const lines: unknown[] = [];
  const note = (...parts: unknown[]) => void lines.push(parts.at(-1));
  const log = { info: note, warn: note, error: note, debug: note } as never;
  const listen = [{ host: '127.0.0.1', port: 5399 }];
  back = listen[0];
  await using server = await startServer({
    client,
    upstreams: [mirror.address],
    loopProbe: true,
    listen,
    log,
  });
  const deadline = performance.now() + 5000;
  while (!lines.some((line) => String(line).startsWith('Loop')) && performance.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  const reply = await ask(server.at, 'www.example.com. A');
  assert.equal(reply.rcode, 'SERVFAIL');
  assert.ok(lines.some((line) => String(line).startsWith('Loop detected')));
  assert.equal((await ask(server.at, 'web.ns.svc.cluster.local. A')).rcode, 'NOERROR');
  mirror.close();
});

test('[D99] its own address as upstream is left out', async () => {
  const listen = [{ host: '127.0.0.1', port: 5398 }];
  await using server = await startServer({ client, listen, upstreams: ['127.0.0.1:5398'] });
  assert.equal((await ask(server.at, 'www.example.com. A')).rcode, 'REFUSED');
});
