/** A changed Corefile while the server runs. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';

import type { Client } from '../../src/client/client.ts';
import { readCorefile } from '../../src/dns/config/corefile.ts';
import { startReloading } from '../../src/dns/reload.ts';
import { serve, type DnsServer } from '../../src/dns/server.ts';
import type { Clock } from '../../src/lib/clock.ts';
import { systemClock } from '../../src/lib/clock.ts';
import {
  ask,
  createNamespace,
  createService,
  frame,
  loopbackUp,
  question,
  startApi,
  texts,
  type Asked,
} from './dns-harness.ts';

const dir = mkdtempSync('/tmp/dns-reload-');
const path = join(dir, 'Corefile');
let client: Client;

before(async () => {
  loopbackUp();
  client = await startApi();
  await createNamespace(client, 'ns');
  const ports = [{ name: 'http', port: 80 }];
  await createService(client, { namespace: 'ns', name: 'web' }, { clusterIP: '10.96.0.4', ports });
});

after(() => rmSync(dir, { recursive: true }));

/** Timers that fire when the test says so, with the delays they were set for. */
function handClock() {
  const timers: { delayMs: number; callback: () => void }[] = [];
  const clock: Clock = {
    ...systemClock,
    after: (delayMs, callback) => {
      const timer = { delayMs, callback };
      timers.push(timer);
      return () => void timers.splice(timers.indexOf(timer), 1);
    },
  };
  const fire = () => timers.splice(0).forEach(({ callback }) => callback());
  return { clock, timers, fire };
}

function corefile({ ttl = 30, more = '', port = 5300, reload = 'reload 10s 4s' } = {}): string {
  return `.:${port} {\n bind 127.0.0.1\n ${reload}\n kubernetes cluster.local {\n ttl ${ttl}\n }\n ${more}\n}\n`;
}

const open: (() => Promise<void>)[] = [];
beforeEach(async () => {
  for (const close of open.splice(0)) await close();
});
after(async () => {
  for (const close of open.splice(0)) await close();
});

async function start(text: string, random = 0.5) {
  writeFileSync(path, text);
  const read = () => readCorefile(path, { env: {}, warn: () => undefined });
  const current = read();
  const hand = handClock();
  const server: DnsServer = await serve(current.configuration, { clientFor: () => client });
  await server.synced;
  const options = {
    read,
    current,
    server,
    clock: hand.clock,
    random: () => random,
    log: undefined,
  };
  const stop = startReloading(options);
  open.push(async () => {
    stop();
    await server.stop();
  });
  return { server, ...hand, at: server.addresses[0]! };
}

const web = 'web.ns.svc.cluster.local.';

async function ttlOf(at: Asked): Promise<number | undefined> {
  return (await ask(at, `${web} A`)).answers[0]?.ttl;
}

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 8000;
  while (!(await condition()) && Date.now() < deadline) {
    await new Promise((done) => setTimeout(done, 5));
  }
  assert.ok(await condition());
}

test('[D98] looked at in the interval, shifted by up to half the jitter', async () => {
  for (const [random, delayMs] of [
    [0, 8000],
    [0.5, 10_000],
    [0.9999, 11_999.6],
  ] as const) {
    const { timers } = await start(corefile(), random);
    assert.deepEqual(
      timers.map((timer) => timer.delayMs),
      [delayMs],
    );
    for (const close of open.splice(0)) await close();
  }
  // 30 s with 15 s of jitter where nothing is said.
  const { timers } = await start(corefile({ reload: 'reload' }), 0);
  assert.deepEqual(
    timers.map((timer) => timer.delayMs),
    [22_500],
  );
});

test('[D98] without `reload` it is never looked at', async () => {
  const { timers } = await start(corefile({ reload: '' }));
  assert.deepEqual(timers, []);
});

test('[D98] a changed file counts at once for all, and no question is lost meanwhile', async () => {
  const { at, fire } = await start(corefile());
  assert.equal(await ttlOf(at), 30);
  const lost: unknown[] = [];
  const asking = { on: true };
  const asker = (async () => {
    while (asking.on) {
      for (const tcp of [false, true]) {
        const reply = await ask(at, `${web} A`, { tcp }).catch((error: unknown) => error);
        if (reply instanceof Error || !('answers' in (reply as object))) lost.push(reply);
        else if ((reply as { answers: unknown[] }).answers.length !== 1) lost.push(reply);
      }
    }
  })();
  for (const ttl of [31, 32, 33]) {
    writeFileSync(path, corefile({ ttl }));
    fire();
    await until(async () => (await ttlOf(at)) === ttl);
  }
  asking.on = false;
  await asker;
  assert.deepEqual(lost, []);
});

test('[D98] connections that are open stay, and hear the new answer', async () => {
  const { at, fire } = await start(corefile());
  const socket = connect(at.port, at.host);
  const answers: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => answers.push(chunk));
  socket.on('error', () => undefined);
  const said = async () => {
    const count = answers.length;
    socket.write(frame(question(`${web} A`)));
    await until(() => answers.length > count);
    return (await import('dns-packet')).decode(answers.at(-1)!.subarray(2)).answers[0]!.ttl;
  };
  assert.equal(await said(), 30);
  writeFileSync(path, corefile({ ttl: 7 }));
  fire();
  await until(async () => (await ttlOf(at)) === 7);
  assert.equal(await said(), 7);
  socket.destroy();
});

test('[D98] comments and spaces are no change; what is imported is', async () => {
  const more = 'import extra';
  writeFileSync(join(dir, 'extra'), '');
  const { server, at, fire, timers } = await start(corefile({ more }));
  const before = server.counters.reload.digest;
  assert.match(before, /^[0-9a-f]{128}$/);
  writeFileSync(path, `# changed\n\n${corefile({ more }).replaceAll(' ttl', '\t\tttl')}`);
  fire();
  await until(() => timers.length === 1);
  assert.equal(server.counters.reload.digest, before);
  writeFileSync(join(dir, 'extra'), 'hosts /nowhere lan {\n 10.0.0.7 a.lan\n}\n');
  fire();
  await until(async () =>
    texts((await ask(at, 'a.lan. A')).answers)
      .join()
      .includes('10.0.0.7'),
  );
  assert.notEqual(server.counters.reload.digest, before);
});

test('[D98] a file that cannot be used is counted, and all goes on as it was', async () => {
  const { server, at, fire, timers } = await start(corefile());
  const digest = server.counters.reload.digest;
  for (const [index, text] of [
    '.:5300 {\n nonsense\n}',
    'x {',
    corefile({ port: 1, more: 'bind 192.0.2.1' }),
  ].entries()) {
    writeFileSync(path, text);
    fire();
    await until(() => server.counters.reload.failed === index + 1 && timers.length === 1);
    assert.equal(await ttlOf(at), 30);
    assert.equal(server.counters.reload.digest, digest);
  }
  writeFileSync(path, corefile({ ttl: 9 }));
  fire();
  await until(async () => (await ttlOf(at)) === 9);
  assert.equal(server.counters.reload.failed, 3);
});

test('[D98] a page that cannot be opened leaves the old blocks at work, and what changes is seen', async () => {
  const taken = createServer().listen(18_992, '127.0.0.1');
  await once(taken, 'listening');
  open.push(async () => void taken.close());
  const { server, at, fire } = await start(corefile());
  const pages = 'health 127.0.0.1:18993\n prometheus 127.0.0.1:18992';
  writeFileSync(path, corefile({ ttl: 9, more: pages }));
  fire();
  await until(() => server.counters.reload.failed === 1);
  assert.equal(await ttlOf(at), 30);
  await assert.rejects(fetch('http://127.0.0.1:18993/health'));
  const ports = [{ name: 'http', port: 80 }];
  await createService(client, { namespace: 'ns', name: 'new' }, { clusterIP: '10.96.0.5', ports });
  await until(async () => (await ask(at, 'new.ns.svc.cluster.local. A')).answers.length === 1);
});

test('[D98] threads too answer on when another socket cannot be opened', async () => {
  const { server, at, fire } = await start(corefile({ more: 'multisocket 2' }));
  writeFileSync(
    path,
    `${corefile({ ttl: 9, more: 'multisocket 2' })}x:5301 {\n bind 192.0.2.1\n}\n`,
  );
  fire();
  await until(() => server.counters.reload.failed === 1);
  assert.equal(await ttlOf(at), 30);
});

test('[D98] sockets and pages come and go with the file', async () => {
  const page = (port: number, name: string) =>
    fetch(`http://127.0.0.1:${port}/${name}`, { headers: { connection: 'close' } }).then(
      (response) => response.status,
      () => 0,
    );
  const { at, fire } = await start(corefile({ more: 'ready 127.0.0.1:18990' }));
  assert.equal(await page(18_990, 'ready'), 200);
  writeFileSync(path, corefile({ port: 5301, more: 'health 127.0.0.1:18991' }));
  fire();
  await until(async () => (await page(18_991, 'health')) === 200);
  assert.equal(await page(18_990, 'ready'), 0);
  assert.equal(await ttlOf({ host: '127.0.0.1', port: 5301 }), 30);
  await assert.rejects(ask(at, `${web} A`, { tcp: true }));
});
