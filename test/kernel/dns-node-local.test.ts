/** The node-local cache as a process: what it asks of the cluster's DNS, and what a restart costs. */
import assert from 'node:assert/strict';
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import * as packet from 'dns-packet';

import {
  ask,
  exchange,
  loopbackUp,
  question,
  startUpstream,
  texts,
  type Reply,
  type Upstream,
} from './dns-harness.ts';

const at = { host: '169.254.20.10', port: 53 };
const main = join(import.meta.dirname, '../../src/cli/main.ts');

let cluster: Upstream;
let outside: Upstream;
let cache: ChildProcess;

/** Has addresses for every name but `gone`. */
function world(query: Reply): packet.Packet {
  const { name, type } = query.questions[0]!;
  const flags = packet.RECURSION_DESIRED | 0x400;
  if (/^gone\./i.test(name)) return { flags: flags | 3, authorities: [soa] };
  if (type !== 'A') return { flags, authorities: [soa] };
  return { flags, answers: [{ name, type, ttl: 5, data: '10.96.0.4' }] };
}

const soa = {
  name: 'cluster.local',
  type: 'SOA',
  ttl: 30,
  data: {
    mname: 'ns.dns.cluster.local',
    rname: 'hostmaster.cluster.local',
    serial: 1,
    refresh: 1,
    retry: 1,
    expire: 1,
    minimum: 30,
  },
};

before(async () => {
  loopbackUp();
  cluster = await startUpstream(world);
  outside = await startUpstream((query) => {
    const { name, type } = query.questions[0]!;
    return type === 'A' ? { answers: [{ name, type, ttl: 300, data: '192.0.2.80' }] } : {};
  });
  cache = await startCache();
});

after(async () => {
  await end(cache, 'SIGKILL');
  outside.close();
});

/** Settles when it says that it answers. */
async function startCache(): Promise<ChildProcess> {
  const servers = ['--cluster-dns', cluster.address, '--upstream', outside.address];
  const args = [main, 'dns', '--node-local', '--lame-duck', '0', ...servers];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'inherit', 'pipe'] });
  let said = '';
  await new Promise<void>((resolve, reject) => {
    child.stderr.on('data', (text: Buffer) => {
      said += text.toString();
      if (said.includes('"answering"')) resolve();
    });
    child.once('exit', () => reject(new Error(`the cache ended: ${said}`)));
  });
  return child;
}

async function end(child: ChildProcess, signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill(signal);
  await gone;
}

test('it gives loopback the address that pods ask', () => {
  const shown = execFileSync('ip', ['-brief', 'address', 'show', 'dev', 'lo'], {
    encoding: 'utf8',
  });
  assert.match(shown, /169\.254\.20\.10\/32/);
});

test('names of the cluster are asked over TCP, others over UDP; both are kept', async () => {
  for (let time = 0; time < 3; time += 1) {
    const reply = await ask(at, 'web.shop.svc.cluster.local. A');
    assert.deepEqual(
      reply.answers.map(({ data }) => data),
      ['10.96.0.4'],
    );
    const other = await ask(at, 'www.example.com. A', { tcp: time === 1 });
    assert.deepEqual(
      other.answers.map(({ data }) => data),
      ['192.0.2.80'],
    );
  }
  const gone = await ask(at, 'gone.shop.svc.cluster.local. A');
  assert.equal(gone.rcode, 'NXDOMAIN');
  const reverse = await ask(at, '4.0.96.10.in-addr.arpa. PTR');
  assert.equal(reverse.rcode, 'NOERROR');
  const questions = cluster.asked.filter((text) => !/hinfo/i.test(text));
  assert.deepEqual(questions, [
    'web.shop.svc.cluster.local A tcp',
    'gone.shop.svc.cluster.local A tcp',
    '4.0.96.10.in-addr.arpa PTR tcp',
  ]);
  assert.deepEqual(
    outside.asked.filter((text) => !/hinfo/i.test(text)),
    ['www.example.com A'],
  );
});

test('equal questions at once are one question to the cluster', async () => {
  cluster.asked.length = 0;
  const replies = await Promise.all(
    Array.from({ length: 100 }, () => ask(at, 'burst.shop.svc.cluster.local. A')),
  );
  assert.ok(replies.every(({ answers }) => answers[0]?.data === '10.96.0.4'));
  assert.deepEqual(cluster.asked, ['burst.shop.svc.cluster.local A tcp']);
});

/** Asks without a pause, and never twice, until it is told to stop; what got no answer. */
function load(index: number, tcp: boolean): { stop(): Promise<{ asked: number; lost: string[] }> } {
  const life = { stopped: false };
  const lost: string[] = [];
  let asked = 0;
  const work = async () => {
    while (!life.stopped) {
      asked += 1;
      // Kept answers, and new ones that have to be fetched.
      const name = asked % 5 === 0 ? `n${index}-${asked}` : 'web';
      const bytes = question(`${name}.shop.svc.cluster.local. A`);
      const reply = await exchange(at, bytes, { tcp, timeoutMs: 4000 }).catch((error: unknown) =>
        String(error),
      );
      const isAnswer = reply instanceof Buffer && packet.decode(reply).answers.length === 1;
      const what = typeof reply === 'string' ? reply : reply === undefined ? 'no reply' : 'empty';
      if (!isAnswer) lost.push(`${name} ${tcp ? 'tcp' : 'udp'}: ${what}`);
    }
  };
  const done = work();
  return {
    stop: async () => {
      life.stopped = true;
      await done;
      return { asked, lost };
    },
  };
}

test('no answer is lost while one process takes over from another, twice', async () => {
  const loads = Array.from({ length: 12 }, (_, index) => load(index, index >= 8));
  for (let time = 0; time < 2; time += 1) {
    const next = await startCache();
    await sleep(100);
    await end(cache, 'SIGTERM');
    cache = next;
    await sleep(100);
  }
  const results = await Promise.all(loads.map((one) => one.stop()));
  const asked = results.reduce((sum, result) => sum + result.asked, 0);
  assert.deepEqual(
    results.flatMap(({ lost }) => lost),
    [],
  );
  assert.ok(asked > 1000, `${asked} questions`);
});

test('one datagram after another, sent without waiting, to a socket that is handed over', async () => {
  const socket = createSocket({ type: 'udp4', recvBufferSize: 4 * 1024 * 1024 });
  const answered = new Set<number>();
  socket.on('message', (reply) => answered.add(reply.readUInt16BE(0)));
  await new Promise<void>((resolve) => socket.bind(0, resolve));
  const bytes = question('web.shop.svc.cluster.local. A');
  const next = await startCache();
  const ending = end(cache, 'SIGTERM');
  cache = next;
  const count = 3000;
  for (let id = 0; id < count; id += 1) {
    bytes.writeUInt16BE(id, 0);
    socket.send(Buffer.from(bytes), at.port, at.host);
    if (id % 10 === 0) await sleep(1);
  }
  await ending;
  const deadline = Date.now() + 5000;
  while (answered.size < count && Date.now() < deadline) await sleep(20);
  socket.close();
  assert.equal(answered.size, count);
});

test('[D87] when the cluster does not answer, what was known still does, and says 5 s', async () => {
  const known = 'web.shop.svc.cluster.local. A';
  await ask(at, known);
  cluster.close();
  const deadline = Date.now() + 15_000;
  let reply = await ask(at, known);
  // Its time runs out, and then it is stale: a failed try may come first.
  while (reply.answers[0]?.ttl !== 5 && Date.now() < deadline) {
    await sleep(250);
    reply = await ask(at, known, { timeoutMs: 6000 });
    assert.equal(reply.rcode, 'NOERROR');
  }
  await sleep(5500);
  for (let time = 0; time < 3; time += 1) {
    const stale = await ask(at, known, { timeoutMs: 6000 });
    assert.deepEqual(texts(stale.answers), ['web.shop.svc.cluster.local. 5 IN A 10.96.0.4']);
  }
  const never = await ask(at, 'other.shop.svc.cluster.local. A', { timeoutMs: 8000 });
  assert.equal(never.rcode, 'SERVFAIL');
});
