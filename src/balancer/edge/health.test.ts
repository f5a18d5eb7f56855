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
    // Long enough for a busy machine, where an answer is due.
    const timeoutMs = want === 'silent' ? 300 : 10_000;
    const options = { address: '127.0.0.1', timeoutMs, clock: systemClock };
    assert.equal(await probe({ ...options, check, openSocket: openTcpSocket }), want);
  });
}

test('a health check at a port that nobody listens at: no', async () => {
  const server = createServer();
  const port = await listen(server);
  server.close();
  await once(server, 'close');
  for (const kind of ['tcp', 'http'] as const) {
    const options = { address: '127.0.0.1', timeoutMs: 10_000, clock: systemClock };
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

/** Time that passes only when told to, and machines that answer as they are told to. */
function fakeWorld() {
  let now = 0;
  const timers = new Set<{ due: number; callback: () => void }>();
  const clock: Clock = {
    now: () => now,
    monotonicMs: () => now,
    after(delayMs, callback) {
      const timer = { due: now + delayMs, callback };
      timers.add(timer);
      return () => timers.delete(timer);
    },
  };
  const world = {
    clock,
    answers: (() => 'no') as (check: Check) => Answer,
    /** Silence takes as long as one is ready to wait. */
    ask: async (_: string, check: Check, timeoutMs: number): Promise<Answer> => {
      const answer = world.answers(check);
      if (answer === 'silent') await new Promise<void>((done) => clock.after(timeoutMs, done));
      return answer;
    },
    async pass(ms: number): Promise<void> {
      const end = now + ms;
      for (;;) {
        await new Promise((resolve) => setImmediate(resolve));
        const next = [...timers].toSorted((a, b) => a.due - b.due)[0];
        if (next === undefined || next.due > end) break;
        timers.delete(next);
        now = next.due;
        next.callback();
      }
      now = end;
    },
  };
  return world;
}

const own: Check = { kind: 'tcp', port: 10_250 };
const at = (services: readonly Check[] = []) => [
  { node: 'n1', address: '192.0.2.1', check: own, services },
];

test('a machine that falls silent is dead within 1.2 s, and alive again when it answers', async () => {
  const world = fakeWorld();
  const changes: string[] = [];
  const onChange = (node: string, change: string) => changes.push(`${node} ${change}`);
  const health = new Health({ clock: world.clock, ask: world.ask, onChange });
  health.watch(at());
  await world.pass(3000);
  assert.deepEqual([changes, health.isAlive('n1')], [[], true]);
  world.answers = () => 'silent';
  await world.pass(1200);
  assert.deepEqual([changes, health.isAlive('n1')], [['n1 died'], false]);
  world.answers = () => 'no';
  await world.pass(1000);
  assert.deepEqual([changes.at(-1), health.isAlive('n1')], ['n1 lives', true]);
  health.stop();
});

test('a machine whose firewall is silent at closed ports lives as long as its agent answers', async () => {
  const world = fakeWorld();
  const changes: string[] = [];
  const onChange = (node: string, change: string) => changes.push(`${node} ${change}`);
  const health = new Health({ clock: world.clock, ask: world.ask, onChange });
  world.answers = ({ port }) => (port === own.port ? 'yes' : 'silent');
  health.watch(at());
  await world.pass(10_000);
  assert.deepEqual([changes, health.isAlive('n1')], [[], true]);
  health.stop();
});

test('the answer of a Service port is asked for at once, and told when it changes', async () => {
  const world = fakeWorld();
  const check = { kind: 'http', port: 31_000 } as const;
  const changes: string[] = [];
  const health = new Health({
    clock: world.clock,
    ask: world.ask,
    onChange: (node, change) => changes.push(`${node} ${change} ${health.answerOf(node, check)}`),
  });
  assert.equal(health.answerOf('n1', check), undefined);
  health.watch(at([check]));
  await world.pass(1);
  assert.deepEqual(changes, ['n1 check false']);
  world.answers = ({ kind }) => (kind === 'http' ? 'yes' : 'no');
  await world.pass(500);
  assert.deepEqual(changes, ['n1 check false', 'n1 check true']);
  // Silence once may be the network's; twice it is an answer.
  world.answers = ({ kind }) => (kind === 'http' ? 'silent' : 'no');
  await world.pass(500);
  assert.equal(health.answerOf('n1', check), true);
  await world.pass(1500);
  assert.equal(health.answerOf('n1', check), false);
  health.watch([]);
  assert.equal(health.answerOf('n1', check), undefined);
  health.stop();
});

test('silence at a node port means nothing: it may lead to a pod that is no more', async () => {
  const world = fakeWorld();
  const check = { kind: 'tcp', port: 30_080 } as const;
  const health = new Health({ clock: world.clock, ask: world.ask, onChange: () => undefined });
  world.answers = ({ port }) => (port === check.port ? 'yes' : 'no');
  health.watch(at([check]));
  await world.pass(1);
  assert.equal(health.answerOf('n1', check), true);
  world.answers = ({ port }) => (port === check.port ? 'silent' : 'no');
  await world.pass(20_000);
  assert.equal(health.answerOf('n1', check), true);
  world.answers = () => 'no';
  await world.pass(6000);
  assert.equal(health.answerOf('n1', check), false);
  health.stop();
});
