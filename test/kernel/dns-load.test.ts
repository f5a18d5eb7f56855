/** Many questions at once, over many connections and in bursts, through the real server. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import * as packet from 'dns-packet';

import type { Client } from '../../src/client/client.ts';
import { systemClock, type Clock } from '../../src/lib/clock.ts';
import {
  ask,
  createNamespace,
  createService,
  frame,
  loopbackUp,
  question,
  startApi,
  startCorefile,
  startServer,
  startUpstream,
  type Asked,
} from './dns-harness.ts';

const services = 200;
const metricsPort = 19_154;

let client: Client;

before(loopbackUp);

before(async () => {
  client = await startApi();
  await createNamespace(client, 'ns');
  for (let index = 0; index < services; index += 1) {
    const port = { name: 'http', port: 80, protocol: 'TCP' };
    const spec = { clusterIP: `10.96.1.${index}`, ports: [port] };
    await createService(client, { namespace: 'ns', name: `svc-${index}` }, spec);
  }
});

/** The bytes of question `id`, about one of the Services or about one that is not there. */
function numbered(id: number): Buffer {
  const name = id % 5 === 4 ? `gone-${id}` : `svc-${id % services}`;
  return question(`${name}.ns.svc.cluster.local A`, { id });
}

function checkReply(bytes: Buffer, id: number): void {
  const reply = packet.decode(bytes);
  assert.equal(reply.id, id);
  const isThere = id % 5 !== 4;
  assert.equal(reply.rcode, isThere ? 'NOERROR' : 'NXDOMAIN');
  const want = isThere ? [`10.96.1.${id % services}`] : [];
  assert.deepEqual(
    reply.answers.map(({ data }) => data),
    want,
  );
}

// Before thousands of connections leave their ports behind them: servers upstream want one each.
for (const workers of [0, 1]) {
  test(`blocks beside each other on one socket keep their own answers, ${workers} workers`, async () => {
    const upstreams = await Promise.all(
      ['198.51.100.1', '198.51.100.2'].map((data) =>
        startUpstream(({ questions: [asked] }) => ({
          answers: [{ name: asked!.name, type: 'A', ttl: 60, data }],
        })),
      ),
    );
    const [all, stub] = upstreams.map(({ address }) => address);
    const text = `
      cluster.local:5301 { bind 127.0.0.1
        kubernetes cluster.local }
      corp.example:5301 corp.test:5301 { bind 127.0.0.1
        forward . ${stub}
        cache 30 }
      .:5301 { bind 127.0.0.1
        forward . ${all}
        cache 30 }`
      .replaceAll(' }\n', '\n}\n')
      .replace(/ \}$/, '\n}');
    using closing = new DisposableStack();
    for (const upstream of upstreams) closing.defer(() => upstream.close());
    await using server = await startCorefile(client, text, { workers });
    const cases = [
      ['svc-7.ns.svc.cluster.local', '10.96.1.7'],
      ['www.corp.example', '198.51.100.2'],
      ['www.corp.test', '198.51.100.2'],
      ['www.example', '198.51.100.1'],
    ] as const;
    for (let time = 0; time < 4; time += 1) {
      for (const [name, address] of cases) {
        const { answers } = await ask(server.at, `${name}. A`);
        assert.deepEqual(
          answers.map(({ data }) => data),
          [address],
          name,
        );
      }
    }
    assert.deepEqual(
      upstreams.map(({ asked }) => asked),
      [['www.example A'], ['www.corp.example A', 'www.corp.test A']],
    );
  });
}

const connections = 1200;

/** Ten times as patient as D77 says: a busy machine takes longer to send all this. */
const patient: Clock = {
  ...systemClock,
  monotonicMs: () => systemClock.monotonicMs() / 10,
  after: (delayMs, callback) => systemClock.after(delayMs * 10, callback),
};

const questionsEach = 20;

test(`[D77 D112] ${connections} connections, each pipelining, get their answers in order`, async () => {
  await using server = await startServer({ client, clock: patient });
  const open = Array.from({ length: connections }, (_, index) => new Pipeline(server.at, index));
  await Promise.all(open.map((pipeline) => pipeline.connected));
  // Twice: once right after connecting, once on connections that were idle.
  for (let round = 0; round < 2; round += 1) {
    await Promise.all(open.map((pipeline) => pipeline.askAll()));
  }
  for (const pipeline of open) pipeline.close();
});

/** One connection that sends all questions at once, cut anywhere, and then reads. */
class Pipeline {
  readonly connected: Promise<unknown>;
  readonly #socket: Socket;
  readonly #index: number;
  #received = Buffer.alloc(0);

  constructor({ host, port }: Asked, index: number) {
    this.#index = index;
    this.#socket = connect({ host, port });
    this.connected = once(this.#socket, 'connect');
  }

  async askAll(): Promise<void> {
    const ids = Array.from({ length: questionsEach }, (_, at) => (this.#index * 7 + at) & 0xffff);
    const bytes = Buffer.concat(ids.map((id) => frame(numbered(id))));
    const cut = (this.#index * 13) % bytes.length;
    this.#socket.write(bytes.subarray(0, cut));
    setImmediate(() => this.#socket.write(bytes.subarray(cut)));
    for (const id of ids) checkReply(await this.#next(), id);
  }

  async #next(): Promise<Buffer> {
    for (;;) {
      const { length } = this.#received;
      const end = length < 2 ? Infinity : 2 + this.#received.readUInt16BE(0);
      if (length >= end) {
        const message = this.#received.subarray(2, end);
        this.#received = this.#received.subarray(end);
        return message;
      }
      const [chunk] = (await once(this.#socket, 'data')) as [Buffer];
      this.#received = Buffer.concat([this.#received, chunk]);
    }
  }

  close(): void {
    this.#socket.destroy();
  }
}

const burst = 20_000;
const outstanding = 100;

for (const workers of [0, 2]) {
  test(`[D102] ${burst} questions in bursts, ${workers} workers: each is answered and counted once`, async () => {
    const metrics = { host: '127.0.0.1', port: metricsPort };
    await using server = await startServer({ client, metrics, workers });
    const clients = workers === 0 ? 1 : 8;
    const share = burst / clients;
    const answered = await Promise.all(
      Array.from({ length: clients }, () => askInBursts(server.at, share)),
    );
    assert.deepEqual(answered, Array(clients).fill(share));
    const page = await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text();
    const counts = page.matchAll(/^coredns_dns_requests_total\{.*proto="udp".*\} (\d+)$/gm);
    assert.equal(
      [...counts].reduce((sum, [, count]) => sum + Number(count), 0),
      burst,
    );
  });
}

/** Always so many on their way; how many were answered, each once and rightly. */
async function askInBursts({ host, port }: Asked, total: number): Promise<number> {
  const socket = createSocket('udp4');
  const waiting = new Set<number>();
  let [sent, answered] = [0, 0];
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const fill = () => {
    for (; waiting.size < outstanding && sent < total; sent += 1) {
      waiting.add(sent);
      socket.send(numbered(sent), port, host);
    }
  };
  socket.on('message', (bytes) => {
    try {
      const id = bytes.readUInt16BE(0);
      assert.ok(waiting.delete(id), `answer ${id} came twice`);
      checkReply(bytes, id);
      answered += 1;
      if (answered === total) resolve(answered);
      else fill();
    } catch (error) {
      reject(error);
    }
  });
  const timer = setTimeout(() => resolve(answered), 15_000);
  fill();
  return promise.finally(() => {
    clearTimeout(timer);
    socket.close();
  });
}

for (const { family, own, from } of [
  { family: 'IPv4', own: '192.0.2.77', from: '127.0.0.1' },
  { family: 'IPv6', own: '2001:db8::77', from: '::1' },
]) {
  test(`a server on all addresses answers from the one that was asked, ${family}`, async () => {
    const prefix = family === 'IPv4' ? 32 : 128;
    execFileSync('ip', ['address', 'add', `${own}/${prefix}`, 'dev', 'lo', 'nodad']);
    await becomesLocal(own);
    const hosts = family === 'IPv4' ? ['0.0.0.0', '::'] : ['::'];
    for (const [host, workers] of hosts.flatMap(
      (host) =>
        [
          [host, 0],
          [host, 1],
        ] as const,
    )) {
      await using server = await startServer({ client, listen: [{ host, port: 0 }], workers });
      await server.synced;
      // Kept and not kept go different ways: each is asked twice.
      for (const id of [1, 1, 4, 4]) {
        // A connected socket hears only the address it asked.
        const socket = createSocket(family === 'IPv4' ? 'udp4' : 'udp6');
        await new Promise<void>((resolve) => socket.bind(0, from, resolve));
        await new Promise<void>((resolve) => socket.connect(server.at.port, own, resolve));
        socket.send(numbered(id));
        // Left open it would hold up the end of a test that fails.
        checkReply(await firstMessage(socket).finally(() => socket.close()), id);
      }
    }
  });
}

/** The kernel adds the local route of an IPv6 address from a work queue; packets before it are lost. */
async function becomesLocal(address: string): Promise<void> {
  const deadline = Date.now() + 10_000;
  const route = () => execFileSync('ip', ['route', 'get', address], { encoding: 'utf8' });
  while (!route().startsWith('local ')) {
    assert.ok(Date.now() < deadline, `${address} has no local route`);
    await sleep(10);
  }
}

async function firstMessage(socket: UdpSocket): Promise<Buffer> {
  const timeout = AbortSignal.timeout(3000);
  const [bytes] = (await once(socket, 'message', { signal: timeout })) as [Buffer];
  return bytes;
}

test('a port that is taken is said by name, also where workers bind it', async () => {
  await using server = await startServer({ client, workers: 2 });
  await assert.rejects(
    startServer({ client, listen: [server.at], workers: 2 }),
    new RegExp(`Cannot listen on UDP "127.0.0.1:${server.at.port}": .*EADDRINUSE`),
  );
});
