import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { after, test } from 'node:test';
import { openTcpSocket } from '../../kernel/ffi/socket.ts';
import { systemClock, type Clock } from '../../lib/clock.ts';
import { Health } from './health.ts';
import { probe, type Answer, type Check } from './probe.ts';

const servers: Server[] = [];
after(() => {
  for (const server of servers) server.close();
});

async function listen(server: Server): Promise<number> {
  servers.push(server.listen(0, '127.0.0.1'));
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

const http = (status: number) =>
  createHttpServer((_, response) => response.writeHead(status).end('{}'));
const says = (text: string) =>
  createServer((socket) => {
    socket.on('error', () => undefined);
    socket.end(text);
  });

const answers: { name: string; server: Server; kind: Check['kind']; want: Answer }[] = [
  { name: '200', server: http(200), kind: 'http', want: 'yes' },
  { name: '503', server: http(503), kind: 'http', want: 'no' },
  { name: 'something that is no HTTP', server: says('hello\n'), kind: 'http', want: 'no' },
  { name: 'nothing, and the end', server: says(''), kind: 'http', want: 'no' },
  { name: 'a megabyte of nonsense', server: says('x'.repeat(2 ** 20)), kind: 'http', want: 'no' },
  { name: 'a connection', server: says(''), kind: 'tcp', want: 'yes' },
  { name: 'a connection and then silence', server: createServer(), kind: 'http', want: 'silent' },
];
for (const { name, server, kind, want } of answers) {
  test(`a health check by ${kind} that gets ${name}: ${want}`, async () => {
    const check = { kind, port: await listen(server) };
    const options = { address: '127.0.0.1', timeoutMs: 300, clock: systemClock };
    assert.equal(await probe({ ...options, check, openSocket: openTcpSocket }), want);
  });
}

test('a health check at a port that nobody listens at: no', async () => {
  const server = createServer();
  const port = await listen(server);
  server.close();
  await once(server, 'close');
  for (const kind of ['tcp', 'http'] as const) {
    const options = { address: '127.0.0.1', timeoutMs: 300, clock: systemClock };
    const check = { kind, port };
    assert.equal(await probe({ ...options, check, openSocket: openTcpSocket }), 'no');
  }
});

test('a health check without a way to the machine: silent', async () => {
  const options = { address: '127.0.0.1', timeoutMs: 300, clock: systemClock };
  const openSocket = () => {
    throw Object.assign(new Error('no network'), { code: 'ENETUNREACH' });
  };
  assert.equal(await probe({ ...options, check: { kind: 'tcp', port: 9 }, openSocket }), 'silent');
});

/** Time that passes only when told to. */
function fakeClock(): Clock & { pass(ms: number): Promise<void> } {
  let now = 0;
  const timers = new Set<{ due: number; callback: () => void }>();
  return {
    now: () => now,
    monotonicMs: () => now,
    after(delayMs, callback) {
      const timer = { due: now + delayMs, callback };
      timers.add(timer);
      return () => timers.delete(timer);
    },
    async pass(ms) {
      const end = now + ms;
      for (;;) {
        await new Promise((resolve) => setTimeout(resolve, 5));
        const next = [...timers].toSorted((a, b) => a.due - b.due)[0];
        if (next === undefined || next.due > end) break;
        timers.delete(next);
        now = next.due;
        next.callback();
      }
      now = end;
    },
  };
}

test('a machine that falls silent is dead within 1.2 s, and alive again when it answers', async () => {
  const clock = fakeClock();
  let silent = false;
  const changes: string[] = [];
  const health = new Health({
    clock,
    openSocket: (family) => {
      if (!silent) return openTcpSocket(family);
      throw Object.assign(new Error(), { code: 'EHOSTUNREACH' });
    },
    onChange: (node, change) => changes.push(`${node} ${change}`),
  });
  health.watch([
    { node: 'n1', address: '127.0.0.1', check: { kind: 'tcp', port: 9 }, services: [] },
  ]);
  await clock.pass(3000);
  assert.deepEqual([changes, health.isAlive('n1')], [[], true]);
  silent = true;
  await clock.pass(1200);
  assert.deepEqual([changes, health.isAlive('n1')], [['n1 died'], false]);
  silent = false;
  await clock.pass(1000);
  assert.deepEqual([changes.at(-1), health.isAlive('n1')], ['n1 lives', true]);
  health.stop();
});

test('the answer of a Service port is asked for at once, and told when it changes', async () => {
  const clock = fakeClock();
  let status = 503;
  const port = await listen(createHttpServer((_, response) => response.writeHead(status).end()));
  const check = { kind: 'http', port } as const;
  const changes: string[] = [];
  const health = new Health({
    clock,
    openSocket: openTcpSocket,
    onChange: (node, change) => changes.push(`${node} ${change} ${health.answerOf(node, check)}`),
  });
  assert.equal(health.answerOf('n1', check), undefined);
  health.watch([
    { node: 'n1', address: '127.0.0.1', check: { kind: 'tcp', port: 9 }, services: [check] },
  ]);
  await clock.pass(100);
  assert.deepEqual(changes, ['n1 check false']);
  status = 200;
  await clock.pass(700);
  assert.deepEqual(changes.at(-1), 'n1 check true');
  health.watch([]);
  assert.equal(health.answerOf('n1', check), undefined);
  health.stop();
});
