/** Whatever happens to a lab or to its `up`: afterwards the host is as it was. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  alive,
  Cluster,
  componentPids,
  environment,
  eventually,
  fairlead,
  fairleadOk,
  hostSnapshot,
  labProcesses,
  must,
  removeHome,
  run,
  sameHost,
  start,
} from './harness.ts';

const hostBefore = hostSnapshot();
const program = join(import.meta.dirname, '..', '..', 'bin', 'fairlead');
after(async () => {
  await fairlead('down', '--all');
  removeHome();
});

for (const link of ['fairlead0']) {
  test(`up finds the name of its link taken, and leaves the stranger alone`, async () => {
    must(await run('ip', ['link', 'add', link, 'type', 'veth', 'peer', 'name', 'stranger']), 'ip');
    const withLink = hostSnapshot();
    const { code, stderr } = await fairlead('up');
    assert.equal(code, 2);
    assert.match(
      stderr,
      new RegExp(`the host has a link "${link}" already.*\\n.*\\[LINK_EXISTS\\]`),
    );
    await sameHost(withLink);
    must(await run('ip', ['link', 'delete', link]), 'ip');
    await sameHost(hostBefore);
  });
}

test('up finds port 6443 of every address taken, and removes what it had built', async () => {
  const stranger = createServer().listen(6443, '0.0.0.0');
  await once(stranger, 'listening');
  const { code, stderr } = await fairlead('up');
  stranger.close();
  assert.equal(code, 2);
  assert.match(stderr, /Cannot serve the API on 172\.29\.0\.1:6443: .*\n.*\[PORT_TAKEN\]/);
  await sameHost(hostBefore);
});

test('up gives up soon when the server ends for good, and removes what it had built', async () => {
  const up = start(program, ['up', '--nodes', '2']);
  let stderr = '';
  up.stderr!.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const { supervisor, main } = await eventually('the server starts', () =>
    componentPids('lab', 'server'),
  );
  for (const pid of [supervisor, main]) kill(pid);
  const [code] = (await once(up, 'exit')) as [number];
  assert.equal(code, 1);
  assert.match(stderr, /Cannot reach the API of lab "lab": .*\[NOT_READY\]/s);
  await sameHost(hostBefore);
});

// From before the first step to after the last one.
const moments = [50, 120, 200, 300, 500, 900, 1500];

test('Control-C during up removes everything by itself', async () => {
  for (const ms of moments) {
    const up = start(program, ['up']);
    const exit = once(up, 'exit');
    await sleep(ms);
    up.kill('SIGINT');
    const [code] = (await exit) as [number | null];
    if (code === 0) await fairleadOk('down');
    await sameHost(hostBefore);
  }
});

test('kill -9 of up at any moment, then down: nothing stays', async () => {
  for (const ms of moments) {
    const up = start(program, ['up']);
    const exit = once(up, 'exit');
    await sleep(ms);
    up.kill('SIGKILL');
    await exit;
    const { code, stderr } = await fairlead('down');
    if (code !== 0) assert.match(stderr, /NO_SUCH_LAB/);
    await sameHost(hostBefore);
  }
});

test('kill -9 of every process, then down: nothing stays', async () => {
  const cluster = await Cluster.up('lab');
  await cluster.kubectlOk('create', 'deployment', 'web', '--image=fairlead/echo', '--replicas=3');
  await cluster.kubectlOk('wait', '--for=condition=Available', 'deployment/web', '--timeout=20s');
  await cluster.kubectlOk('expose', 'deployment/web', '--port=80', '--type=LoadBalancer');
  await eventually('the balancer host is there', () =>
    existsSync(join(environment.FAIRLEAD_ROOT, 'run', 'lab', 'balancer')),
  );
  for (let pids = labProcesses('lab'); pids.length > 0; pids = alive(labProcesses('lab'))) {
    for (const pid of pids) kill(pid);
  }
  await cluster.down();
  await sameHost(hostBefore);
});

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    assert.equal((error as NodeJS.ErrnoException).code, 'ESRCH');
  }
}

test('a lab with an unreadable or newer configuration can still be taken down', async () => {
  for (const change of [
    (text: string) => text.replace('"version": 1', '"version": 9'),
    () => '{ "half',
  ]) {
    await Cluster.up('lab', '--nodes', '1');
    const file = join(environment.FAIRLEAD_ROOT, 'state', 'lab', 'lab.json');
    writeFileSync(file, change(readFileSync(file, 'utf8')));
    assert.match((await fairlead('status')).stderr, /\[BAD_LAB\]/);
    await fairleadOk('down');
    // What its file no longer tells is for the person to remove.
    await run('ip', ['link', 'delete', 'fairlead0']);
    await sameHost(hostBefore);
  }
});

for (const kind of ['edge', 'layer2']) {
  test(`down in the middle of pods coming and going, and of a first address, ${kind}`, async () => {
    const pool = ['--load-balancer', kind, '--load-balancer-cidr', '203.0.113.0/28'];
    const cluster = await Cluster.up('lab', '--nodes', '2', ...pool);
    await cluster.kubectlOk(
      'create',
      'deployment',
      'web',
      '--image=fairlead/echo',
      '--replicas=20',
    );
    await cluster.kubectlOk('create', 'service', 'loadbalancer', 'web', '--tcp=80:8080');
    await sleep(kind === 'edge' ? 30 : 300);
    const pids = labProcesses('lab');
    await cluster.down();
    assert.deepEqual(alive(pids), []);
    await sameHost(hostBefore);
  });
}

test('a second up while one is at work is refused, and does not disturb it', async () => {
  const first = start(program, ['up', '--nodes', '1']);
  const claimed = join(environment.FAIRLEAD_ROOT, 'state', 'lab');
  await eventually('the first has begun', () => existsSync(claimed));
  const second = await fairlead('up', '--nodes', '1');
  const [code] = first.exitCode === null ? ((await once(first, 'exit')) as [number]) : [0];
  assert.equal(code, 0);
  if (second.code === 0) assert.match(second.stdout, /is up already/);
  else assert.match(second.stderr, /\[(LAB_EXISTS|LAB_GONE)\]/);
  await fairleadOk('status');
  await fairleadOk('down');
  await sameHost(hostBefore);
});
