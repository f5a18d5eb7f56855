/** Broken and hostile packets through the real sockets: the server neither falls nor grows. */
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { connect } from 'node:net';
import { after, before, test } from 'node:test';

import type { DnsServer } from '../../src/dns/server.ts';
import {
  ask,
  createNamespace,
  createService,
  frame,
  loopbackUp,
  question,
  startApi,
  startServer,
  type Asked,
} from './dns-harness.ts';

const seed = Number(process.env.FAIRLEAD_SEED ?? Date.now() % 2 ** 31);
const packetsUdp = 30_000;
const connectionsTcp = 300;

/** Numbers below `below` that the seed decides (mulberry32). */
function randomFrom(start: number): (below: number) => number {
  let state = start;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

const corpus = [
  'web.ns.svc.cluster.local. A',
  '_http._tcp.web.ns.svc.cluster.local. SRV',
  'cluster.local. SOA',
  '4.0.96.10.in-addr.arpa. PTR',
  `${'a.'.repeat(100)}cluster.local. AAAA`,
].map((text) => {
  const opt = { name: '.', type: 'OPT', udpPayloadSize: 4096, flags: 0 };
  const options = [{ code: 10, data: Buffer.alloc(8) }];
  return question(text, { additionals: [{ ...opt, options }] });
});

function mutant(random: (below: number) => number): Buffer {
  let bytes = Buffer.from(corpus[random(corpus.length)]!);
  for (let hits = random(6); hits > 0; hits -= 1) bytes[random(bytes.length)] = random(256);
  // A query, so that it is looked at and not dropped as a reply.
  if (random(4) > 0) bytes[2] = bytes[2]! & 0x7f;
  if (random(3) === 0) bytes = bytes.subarray(0, random(bytes.length + 1));
  if (random(8) === 0) bytes = Buffer.concat([bytes, corpus[random(corpus.length)]!]);
  return bytes;
}

let server: DnsServer & { at: Asked };

before(async () => {
  loopbackUp();
  const client = await startApi();
  await createNamespace(client, 'ns');
  const spec = { clusterIP: '10.96.0.4', ports: [{ name: 'http', port: 80 }] };
  await createService(client, { namespace: 'ns', name: 'web' }, spec);
  server = await startServer({ client });
});

after(() => server.stop());

async function stillAnswers(): Promise<void> {
  for (const tcp of [false, true]) {
    const reply = await ask(server.at, 'web.ns.svc.cluster.local. A', { tcp });
    assert.equal(reply.answers[0]?.data, '10.96.0.4');
  }
}

test(`${packetsUdp} mutated packets over UDP, seed ${seed}`, async () => {
  const random = randomFrom(seed);
  const socket = createSocket('udp4').unref();
  let largest = 0;
  socket.on('message', (reply) => (largest = Math.max(largest, reply.length)));
  const before = process.memoryUsage().rss;
  for (let sent = 0; sent < packetsUdp; sent += 1) {
    socket.send(mutant(random), server.at.port, server.at.host);
    // The server is in this process: it must get to what was sent before its buffer overflows.
    if (sent % 100 === 0) await ask(server.at, 'web.ns.svc.cluster.local. A');
  }
  await stillAnswers();
  socket.close();
  assert.ok(largest > 0 && largest <= 4096, `the largest reply has ${largest} bytes`);
  const grownMb = (process.memoryUsage().rss - before) / 1e6;
  assert.ok(grownMb < 150, `grown by ${grownMb} MB`);
});

test(`[D77] ${connectionsTcp} connections with broken streams, seed ${seed}`, async () => {
  const random = randomFrom(seed);
  const sockets = Array.from({ length: connectionsTcp }, () => {
    const socket = connect(server.at);
    socket.on('error', () => socket.destroy());
    socket.resume();
    for (let count = random(5); count > 0; count -= 1) socket.write(frame(mutant(random)));
    const lie = Buffer.from([random(256), random(256)]);
    socket.write(Buffer.concat([lie, mutant(random)]));
    const end = random(3);
    if (end === 0) socket.end();
    if (end === 1) socket.resetAndDestroy();
    return socket;
  });
  await stillAnswers();
  for (const socket of sockets) socket.destroy();
  await stillAnswers();
});

test('[D77] a client that trickles bytes is cut off, one that waits is not in the way', async () => {
  const slow = connect(server.at);
  slow.on('error', () => slow.destroy());
  const closed = new Promise((resolve) => slow.on('close', resolve).resume());
  const bytes = frame(question('web.ns.svc.cluster.local. A'));
  let at = 0;
  const timer = setInterval(() => {
    if (at < 10) slow.write(bytes.subarray(at, ++at));
  }, 400);
  const started = performance.now();
  await stillAnswers();
  await closed;
  clearInterval(timer);
  const seconds = (performance.now() - started) / 1000;
  assert.ok(seconds < 4.5, `${seconds} s`);
});
