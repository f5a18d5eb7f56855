/** The properties of `forward`: who is asked, how often, over what, and who is left out. */
import assert from 'node:assert/strict';
import { writeFileSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import * as packet from 'dns-packet';

import type { Client } from '../../src/client/client.ts';
import {
  ask,
  frame,
  loopbackUp,
  startApi,
  startCorefile,
  startUpstream,
  texts,
  type Asked,
  type Upstream,
} from './dns-harness.ts';

let client: Client;
const dir = mkdtempSync('/tmp/dns-upstream-');

before(async () => {
  loopbackUp();
  client = await startApi();
});

const opened: Upstream[] = [];

after(() => {
  for (const upstream of opened) upstream.close();
  rmSync(dir, { recursive: true });
});

type Mode = 'good' | 'silent' | 'SERVFAIL' | 'NXDOMAIN' | 'empty' | 'cut';

/** A server whose answers have `octet` in them; `mode` can be changed at any time. */
type Named = Upstream & { mode: Mode; readonly probes: () => number };

async function startNamed(octet: number): Promise<Named> {
  const rcodes = { SERVFAIL: 2, NXDOMAIN: 3 } as const;
  const upstream = await startUpstream((query, transport) => {
    const { name, type } = query.questions[0]!;
    const flags = packet.RECURSION_DESIRED;
    switch (server.mode) {
      case 'silent':
        return undefined;
      case 'SERVFAIL':
      case 'NXDOMAIN':
        return { flags: flags | rcodes[server.mode] };
      case 'empty':
        return { flags };
      default: {
        const answers = [{ name, type: 'A', ttl: 300, data: `192.0.2.${octet}` }];
        const isCut = server.mode === 'cut' && transport === 'udp';
        return isCut ? { flags: flags | 0x200 } : { flags, answers: type === 'A' ? answers : [] };
      }
    }
  });
  opened.push(upstream);
  const probes = () => upstream.asked.filter((text) => text.endsWith(' NS')).length;
  const first: { mode: Mode } = { mode: 'good' };
  const server: Named = Object.assign(upstream, first, { probes });
  return server;
}

/** A server that forwards to these, in this order or with these properties. */
function forward(upstreams: readonly Upstream[], properties = 'policy sequential') {
  const to = upstreams.map(({ address }) => address).join(' ');
  return startCorefile(client, `.:0 {\n bind 127.0.0.1\n forward . ${to} {\n ${properties}\n }\n}`);
}

async function said(at: Asked, name = 'www.example.com.', timeoutMs = 9000): Promise<string> {
  const reply = await ask(at, `${name} A`, { timeoutMs });
  if (reply.rcode !== 'NOERROR') return reply.rcode;
  return texts(reply.answers)
    .map((text) => text.split(' ')[4])
    .join();
}

async function until(condition: () => boolean): Promise<void> {
  const deadline = Date.now() + 8000;
  while (!condition() && Date.now() < deadline) await new Promise((done) => setTimeout(done, 10));
  assert.ok(condition());
}

test('[D90d] a server is probed only after an error, is down after three failed probes, and comes back', async () => {
  const [one, two] = [await startNamed(1), await startNamed(2)];
  await using server = await forward(
    [one, two],
    'policy sequential\n read_timeout 100ms\n health_check 50ms no_rec domain probe.test\n max_fails 2',
  );
  assert.equal(await said(server.at), '192.0.2.1');
  assert.equal(one.probes() + two.probes(), 0);
  one.mode = 'silent';
  assert.equal(await said(server.at), '192.0.2.2');
  await until(() => one.probes() >= 4);
  assert.equal(two.probes(), 0);
  const probe = one.queries.find(({ questions }) => questions[0]!.type === 'NS')!;
  assert.deepEqual([probe.questions[0]!.name.toLowerCase(), probe.flag_rd], ['probe.test', false]);
  // Down: it is not asked any more, only probed.
  one.asked.length = 0;
  for (let turn = 0; turn < 3; turn += 1) assert.equal(await said(server.at), '192.0.2.2');
  assert.deepEqual(
    one.asked.filter((text) => text.endsWith(' A')),
    [],
  );
  // Any reply to a probe will do, and then there are no more.
  one.mode = 'SERVFAIL';
  const before = one.probes();
  await until(() => one.probes() > before);
  one.mode = 'good';
  await until(() => true);
  const deadline = Date.now() + 5000;
  while ((await said(server.at)) !== '192.0.2.1' && Date.now() < deadline);
  assert.equal(await said(server.at), '192.0.2.1');
  const probes = one.probes();
  await new Promise((done) => setTimeout(done, 200));
  assert.equal(one.probes(), probes);
});

test('[D90d] where all are down one is asked anyway, or none if so wanted', async () => {
  const one = await startNamed(1);
  const check = 'read_timeout 100ms\n health_check 20ms\n max_fails 1';
  await using server = await forward([one], check);
  await using fast = await forward([one], `${check}\n failfast_all_unhealthy_upstreams`);
  one.mode = 'silent';
  for (const { at } of [server, fast]) assert.equal(await said(at), 'SERVFAIL');
  await until(() => one.probes() >= 6);
  one.asked.length = 0;
  assert.equal(await said(server.at), 'SERVFAIL');
  const asked = one.asked.filter((text) => text.endsWith(' A')).length;
  assert.ok(asked >= 1);
  assert.equal(await said(fast.at), 'SERVFAIL');
  assert.equal(one.asked.filter((text) => text.endsWith(' A')).length, asked);
});

test('[D90d] max_fails 0: never probed', async () => {
  const one = await startNamed(1);
  one.mode = 'silent';
  await using server = await forward([one], 'read_timeout 50ms\n max_fails 0\n health_check 10ms');
  assert.equal(await said(server.at), 'SERVFAIL');
  await new Promise((done) => setTimeout(done, 100));
  assert.equal(one.probes(), 0);
});

test('[D90a] policies: in turn, in order, at random', async () => {
  const servers = [await startNamed(1), await startNamed(2), await startNamed(3)];
  const seen = async (policy: string, count: number) => {
    await using server = await forward(servers, `policy ${policy}`);
    const found: string[] = [];
    for (let turn = 0; turn < count; turn += 1) found.push((await said(server.at)).slice(-1));
    return found.join('');
  };
  assert.equal(await seen('sequential', 6), '111111');
  assert.match(await seen('round_robin', 6), /^(123123|231231|312312)$/);
  assert.equal(new Set(await seen('random', 60)).size, 3);
});

test('[D90c] twice around at most, or as often as max_connect_attempts says', async () => {
  const one = await startNamed(1);
  one.mode = 'silent';
  const count = async (properties: string) => {
    one.asked.length = 0;
    await using server = await forward([one], `read_timeout 50ms\n max_fails 0\n ${properties}`);
    assert.equal(await said(server.at), 'SERVFAIL');
    return one.asked.length;
  };
  assert.equal(await count(''), 2);
  assert.equal(await count('max_connect_attempts 1'), 1);
});

test('[D90e] failover: after these answers another server is asked', async () => {
  const [one, two] = [await startNamed(1), await startNamed(2)];
  one.mode = 'SERVFAIL';
  await using plain = await forward([one, two]);
  assert.equal(await said(plain.at), 'SERVFAIL');
  await using server = await forward([one, two], 'policy sequential\n failover SERVFAIL REFUSED');
  assert.equal(await said(server.at), '192.0.2.2');
  two.mode = 'SERVFAIL';
  assert.equal(await said(server.at), 'SERVFAIL');
});

test('[D90e] next: after these answers the next forward of the block is asked', async () => {
  const [one, two] = [await startNamed(1), await startNamed(2)];
  const start = (properties: string) =>
    startCorefile(
      client,
      `.:0 {\n bind 127.0.0.1\n forward . ${one.address} {\n ${properties}\n }\n forward . ${two.address}\n}`,
    );
  await using plain = await start('');
  await using denied = await start('next NXDOMAIN');
  await using nodata = await start('next_on_nodata');
  one.mode = 'NXDOMAIN';
  assert.equal(await said(plain.at), 'NXDOMAIN');
  assert.equal(await said(denied.at), '192.0.2.2');
  assert.equal(await said(nodata.at), 'NXDOMAIN');
  one.mode = 'empty';
  assert.equal(await said(denied.at), '');
  assert.equal(await said(nodata.at), '192.0.2.2');
});

test('[D90a] zones: each forward has its own, `except` takes some out, the first that fits is asked', async () => {
  const [one, two] = [await startNamed(1), await startNamed(2)];
  const text = `.:0 {
    bind 127.0.0.1
    forward acme.local ${one.address} {\n except www.acme.local\n }
    forward . ${two.address} {\n except nobody.test\n }
  }
  stub.test:0 {\n bind 127.0.0.1\n forward . ${one.address}\n }`;
  await using server = await startCorefile(client, text);
  assert.equal(await said(server.at, 'x.ACME.local.'), '192.0.2.1');
  assert.equal(await said(server.at, 'www.acme.local.'), '192.0.2.2');
  assert.equal(await said(server.at, 'example.com.'), '192.0.2.2');
  assert.equal(await said(server.at, 'x.nobody.test.'), 'REFUSED');
});

test('stub domains as blocks of their own: the longest zone answers', async () => {
  const [one, two] = [await startNamed(1), await startNamed(2)];
  const free = createServer().listen(0, '127.0.0.1');
  await new Promise((done) => free.once('listening', done));
  const { port } = free.address() as { port: number };
  await new Promise((done) => free.close(done));
  const text = `.:${port} {\n bind 127.0.0.1\n forward . ${two.address}\n}
  corp.test:${port} lan:${port} {\n bind 127.0.0.1\n forward . ${one.address}\n}`;
  await using server = await startCorefile(client, text);
  assert.equal(await said(server.at, 'a.corp.test.'), '192.0.2.1');
  assert.equal(await said(server.at, 'corp.TEST.'), '192.0.2.1');
  assert.equal(await said(server.at, 'b.lan.'), '192.0.2.1');
  assert.equal(await said(server.at, 'xcorp.test.'), '192.0.2.2');
  // What a zone's parent knows of it is the parent's to say (D40d).
  const count = one.asked.length;
  await ask(server.at, 'corp.test. DS');
  assert.equal(one.asked.length, count + 1);
});

test('[D90b] force_tcp: never over UDP, and few connections for many questions', async () => {
  let connections = 0;
  const asked: string[] = [];
  const tcp = createServer((socket) => {
    connections += 1;
    let pending = Buffer.alloc(0);
    socket.on('data', (chunk: Buffer) => {
      pending = Buffer.concat([pending, chunk]);
      while (pending.length >= 2 && pending.length >= 2 + pending.readUInt16BE(0)) {
        const end = 2 + pending.readUInt16BE(0);
        const query = packet.decode(pending.subarray(2, end));
        pending = pending.subarray(end);
        const { name } = query.questions[0]!;
        asked.push(name);
        const answers = [{ name, type: 'A', ttl: 300, data: '192.0.2.7' }];
        const { id, questions } = query;
        const reply = frame(packet.encode({ type: 'response', id, questions, answers }));
        // Out of order: the id says what is what.
        setTimeout(() => socket.write(reply), name.startsWith('slow') ? 100 : 0);
      }
    });
    socket.on('error', () => undefined);
  });
  await new Promise<void>((done) => tcp.listen(0, '127.0.0.1', done));
  const { port } = tcp.address() as { port: number };
  const upstream = { address: `127.0.0.1:${port}` } as Upstream;
  await using server = await forward([upstream], 'force_tcp\n expire 300ms');
  for (let turn = 0; turn < 10; turn += 1)
    assert.equal(await said(server.at, `n${turn}.test.`), '192.0.2.7');
  assert.equal(connections, 1);
  const many = Array.from({ length: 200 }, (_, index) =>
    said(server.at, `${index % 2 ? 'slow' : 'm'}${index}.test.`),
  );
  assert.deepEqual(new Set(await Promise.all(many)), new Set(['192.0.2.7']));
  assert.ok(connections > 1 && connections <= 64, `${connections} connections`);
  assert.equal(asked.length, 210);
  // Idle ones are closed after `expire`.
  await until(() => {
    tcp.getConnections((_, count) => (connections = count));
    return connections === 0;
  });
  await server.stop();
  await new Promise((done) => tcp.close(done));
});

test('[D90a] servers from a file, as they stand there when the server starts', async () => {
  const one = await startNamed(1);
  const [host, port] = one.address.split(':');
  const file = join(dir, 'resolv.conf');
  writeFileSync(file, `nameserver 192.0.2.53\nsearch x\nnameserver ${host}\n`);
  const { parseCorefile } = await import('../../src/dns/config/corefile.ts');
  const options = { env: {}, warn: () => undefined };
  const [block] = parseCorefile(`.:${port} {\n forward . ${file}\n}`, 'Corefile', options).blocks;
  assert.deepEqual(
    block!.plugins.forward![0]!.servers.map(
      (server) => `${server.scheme} ${server.host} ${server.port}`,
    ),
    ['dns 192.0.2.53 53', `dns ${host} 53`],
  );
});
