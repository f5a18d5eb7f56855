/** What LoadBalancer Services survive: the death of a process, of rules, of a node. */
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { existsSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Pod } from '../../src/api/types.ts';
import {
  addressesOf,
  addressOf,
  fieldOf,
  hostAddress,
  Load,
  pod,
  seen,
  service,
} from './balanced.ts';
import {
  Cluster,
  componentPids,
  environment,
  eventually,
  fairlead,
  fairleadOk,
  must,
  removeHome,
  run,
} from './harness.ts';
import { httpAnswers, knock, outside } from './places.ts';

let lab: Cluster;

before(async () => {
  lab = await Cluster.up('lab', '--ip-family', 'dual');
  await lab.apply(
    [
      pod('web-1', 'node-1'),
      pod('web-2', 'node-2'),
      service('plain'),
      service('local', 'externalTrafficPolicy: Local'),
    ].join('\n'),
  );
  await lab.kubectlOk('wait', 'pod', '--all', '--for=condition=Ready', '--timeout=30s');
});

after(async () => {
  await fairlead('down', '--all');
  removeHome();
});

test('kill -9 of the server under load loses nothing; the next one takes over what it finds', async () => {
  const address = await addressOf(lab, 'plain', 'ipv4');
  const local = await addressOf(lab, 'local', 'ipv4');
  await eventually(
    'both nodes say that they have pods',
    async () => (await seen(outside, local, 'pod', 20)).join() === 'web-1,web-2',
  );
  const before = await ruleset();
  const load = new Load(address, 100);
  await sleep(300);
  const { main } = componentPids('lab', 'server');
  process.kill(main, 'SIGKILL');
  await eventually('the API is back', async () => (await lab.kubectl('get', 'nodes')).code === 0);
  await sleep(1500);
  await load.stop();
  assert.equal(load.results.filter(({ ok }) => !ok).length, 0);
  assert.equal(await ruleset(), before);
  await lab.apply(service('later'));
  assert.equal(
    (await knock(outside, { address: (await addressesOf(lab, 'later'))[0]!, port: 80 })).code,
    0,
  );
  await lab.kubectlOk('delete', 'service', 'later');
});

async function ruleset(): Promise<string> {
  const net = join(environment.FAIRLEAD_ROOT, 'run', 'lab', 'balancer');
  const { stdout } = await run('nsenter', [
    `--net=${net}`,
    'nft',
    'list',
    'map',
    'ip',
    'fairlead',
    'frontends',
  ]);
  return stdout;
}

test('a flush of all rules of the balancer, and of a node, is repaired', async () => {
  const address = await addressOf(lab, 'local', 'ipv4');
  const nets = ['balancer', 'nodes/node-1/net', 'nodes/node-2/net'];
  for (const net of nets) {
    const file = join(environment.FAIRLEAD_ROOT, 'run', 'lab', net);
    must(await run('nsenter', [`--net=${file}`, 'nft', 'flush', 'ruleset']), 'nft flush ruleset');
    await eventually(
      `requests go through after a flush of ${net}`,
      async () => {
        const answers = await httpAnswers(outside, { address, port: 80 }, '/', 10);
        const clients = answers.map((answer) => fieldOf(answer, 'client')).filter(Boolean);
        return clients.length === 10 && clients.every((client) => client === hostAddress.ipv4);
      },
      10,
    );
  }
});

test('a UDP client with one socket goes on with another node when its pod goes', async () => {
  const host = await addressOf(lab, 'local', 'ipv4');
  const socket = createSocket('udp4');
  const from: string[] = [];
  socket.on('message', (reply) => from.push(fieldOf(reply.toString(), 'pod') ?? ''));
  const timer = setInterval(() => socket.send('hello', 80, host), 50);
  const first = await eventually('a first answer', () => from[0]);
  await lab.kubectlOk('delete', 'pod', first, '--grace-period=1');
  const next = await eventually('an answer of the other', () => from.find((one) => one !== first));
  assert.match(next, /^web-[12]$/);
  clearInterval(timer);
  socket.close();
  await lab.apply(pod(first, first.replace('web', 'node')));
  await lab.kubectlOk('wait', 'pod', first, '--for=condition=Ready', '--timeout=30s');
});

test('a node that is stopped under load is missed by nobody', async () => {
  const loads = [];
  for (const family of ['ipv4', 'ipv6'] as const) {
    loads.push(new Load(await addressOf(lab, 'plain', family), 60));
  }
  await sleep(300);
  await fairleadOk('node', 'stop', 'node-3');
  await sleep(500);
  for (const load of loads) await load.stop();
  for (const { results } of loads) assert.equal(results.filter(({ ok }) => !ok).length, 0);
  await fairleadOk('node', 'start', 'node-3');
  await lab.kubectlOk('wait', 'node', 'node-3', '--for=condition=Ready', '--timeout=20s');
});

/** Cuts the power of a node; when its cable was gone, as far as we can see. */
async function kill(node: string): Promise<number> {
  const net = join(environment.FAIRLEAD_ROOT, 'run', 'lab', 'nodes', node, 'net');
  const done = fairleadOk('node', 'kill', node);
  while (existsSync(net)) await sleep(2);
  const since = performance.now();
  await done;
  return since;
}

/**
 * Kills the node under load, and starts it again: how many requests failed to each address, and how long
 * after the kill the last of them began. On a machine that others keep busy the best of three counts.
 */
async function killUnderLoad(addresses: readonly string[], node: string) {
  let best: { failed: number; lastMs: number }[] = [];
  for (let attempt = 0; attempt < 3; attempt += 1) {
    const loads = addresses.map((address) => new Load(address, 60, 900));
    await sleep(500);
    const since = await kill(node);
    await sleep(2500);
    for (const load of loads) await load.stop();
    best = loads.map((load) => ({
      failed: load.results.filter(({ ok }) => !ok).length,
      lastMs: load.lastFailure(since),
    }));
    await fairleadOk('node', 'start', node);
    await lab.kubectlOk('wait', 'node', node, '--for=condition=Ready', '--timeout=20s');
    if (best.every(({ failed, lastMs }) => failed > 0 && lastMs < 2000)) break;
    await eventually(
      'everybody serves again',
      async () => {
        const local = await addressOf(lab, 'local', 'ipv4');
        return (await seen(outside, local, 'pod', 20)).join() === 'web-1,web-2';
      },
      30,
    );
  }
  return best;
}

test('a node that dies under load is left out in less than 2 s', async (t) => {
  const both = [await addressOf(lab, 'plain', 'ipv4'), await addressOf(lab, 'plain', 'ipv6')];
  for (const { failed, lastMs } of await killUnderLoad(both, 'node-3')) {
    t.diagnostic(`${failed} failed, the last ${lastMs.toFixed(0)} ms after the kill`);
    // The balancer had sent connections there, or this test shows nothing.
    assert.ok(failed > 0);
    assert.ok(lastMs < 2000, `${lastMs} ms`);
  }
});

test('policy Local: the node with a pod that dies is left out in less than 2 s, and comes back', async (t) => {
  const address = await addressOf(lab, 'local', 'ipv4');
  for (const { failed, lastMs } of await killUnderLoad([address], 'node-1')) {
    t.diagnostic(`${failed} failed, the last ${lastMs.toFixed(0)} ms after the kill`);
    assert.ok(failed > 0);
    assert.ok(lastMs < 2000, `${lastMs} ms`);
  }
  await eventually(
    'node-1 serves again',
    async () => (await seen(outside, address, 'pod', 20)).join() === 'web-1,web-2',
    30,
  );
});

test('a kept connection to a node that falls silent is refused, not left to wait', async () => {
  const host = await addressOf(lab, 'local', 'ipv4');
  const ask = 'GET /hostname HTTP/1.1\r\nHost: web\r\n\r\n';
  const socket = connect({ host, port: 80 });
  let text = '';
  let end = '';
  socket.on('data', (chunk: Buffer) => (text += chunk.toString()));
  socket.on('error', (error: NodeJS.ErrnoException) => (end = error.code ?? ''));
  socket.on('end', () => (end = 'closed'));
  socket.write(ask);
  const name = await eventually('a first answer', () => /web-[12]/.exec(text)?.[0]);
  const { spec } = await lab.json<Pod>('pod', name);
  // The cable is pulled: nobody on the node can say farewell.
  await cable(spec.nodeName ?? '', 'down');
  await sleep(1800);
  socket.write(ask);
  assert.equal(await eventually('its end', () => end !== '' && end, 5), 'ECONNRESET');
  await cable(spec.nodeName ?? '', 'up');
  await eventually(
    `${spec.nodeName} serves again`,
    async () => (await seen(outside, host, 'pod', 20)).join() === 'web-1,web-2',
    10,
  );
});

async function cable(node: string, state: 'up' | 'down'): Promise<void> {
  const net = join(environment.FAIRLEAD_ROOT, 'run', 'lab', 'switch');
  must(await run('nsenter', [`--net=${net}`, 'ip', 'link', 'set', node, state]), 'ip link set');
}
