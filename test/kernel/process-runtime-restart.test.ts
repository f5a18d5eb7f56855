/** Agents that die: what they leave behind, and what the next one makes of it. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import { createProcessRuntime } from '../../src/node/process-runtime/runtime.ts';
import {
  attempt,
  container,
  eventually,
  makeNode,
  makeWorld,
  runToEnd,
  sandbox,
  shell,
  traces,
} from './process-runtime-world.ts';

makeNode();

test('[K6] a restarted agent finds sandboxes and containers, and kills nobody', async () => {
  const world = makeWorld();
  await world.runtime.createSandbox(sandbox('a', 2));
  const script = "trap 'exit 3' TERM; while :; do date +%N; sleep .02; done";
  await world.runtime.start(container('a', script));
  await world.runtime.start(container('a', 'exit 7', { name: 'ended' }));
  await eventually('it ends', () => world.runtime.state('a/ended/0')?.kind === 'exited');
  const before = world.runtime.state('a/main/0');
  world.runtime[Symbol.dispose]();

  const next = world.restarted();
  const found = await next.adopt();
  assert.deepEqual(found.sandboxes, ['a']);
  assert.deepEqual(found.containers.sort(), ['a/ended/0', 'a/main/0']);
  assert.deepEqual(next.state('a/main/0'), before);
  const ended = next.state('a/ended/0')!;
  assert.equal(ended.kind === 'exited' && ended.exitCode, 7);
  const { stdout } = next.rawLogs('a/main/0');
  const length = readFileSync(stdout).length;
  await eventually('it goes on writing', () => readFileSync(stdout).length > length);

  const changes: string[] = [];
  next.onChange((id) => changes.push(id));
  await next.signal('a/main/0', 'SIGTERM');
  await eventually('its end is seen', () => changes.includes('a/main/0'));
  const state = next.state('a/main/0')!;
  assert.equal(state.kind === 'exited' && state.exitCode, 3);
  await next.removeSandbox('a');
  assert.equal(traces(world.directory), '');
  next[Symbol.dispose]();
  world.clean();
});

test('[K6] the exit code of a container that ended while nobody looked', async () => {
  const world = makeWorld();
  await world.runtime.createSandbox(sandbox('a', 2));
  await world.runtime.start(container('a', 'sleep .2; exit 9'));
  world.runtime[Symbol.dispose]();
  await new Promise((resolve) => setTimeout(resolve, 400));
  const next = world.restarted();
  await next.adopt();
  const state = next.state('a/main/0')!;
  assert.equal(state.kind === 'exited' && state.exitCode, 9);
  await next.removeSandbox('a');
  next[Symbol.dispose]();
  world.clean();
});

test('a container killed from outside ends with 137', async () => {
  const world = makeWorld();
  await world.runtime.createSandbox(sandbox('a', 2));
  await world.runtime.start(container('a', 'sleep 1000'));
  const record = join(world.directory, 'run/pods/a/containers/main/0/record.json');
  const { process: first } = JSON.parse(readFileSync(record, 'utf8')) as {
    process: { pid: number };
  };
  process.kill(first.pid, 'SIGKILL');
  await eventually('its end is seen', () => world.runtime.state('a/main/0')?.kind === 'exited');
  const state = world.runtime.state('a/main/0')!;
  assert.equal(state.kind === 'exited' && state.exitCode, 137);
  await world.runtime.removeSandbox('a');
  world.runtime[Symbol.dispose]();
  world.clean();
});

test('[K5] a sandbox made twice is made once, one removed twice is gone', async () => {
  const world = makeWorld();
  await world.runtime.createSandbox(sandbox('a', 2));
  const links = shell('ip -o link');
  await world.runtime.createSandbox(sandbox('a', 2));
  assert.equal(shell('ip -o link'), links);
  await world.runtime.start(container('a', 'sleep 1000'));
  await world.runtime.removeSandbox('a');
  assert.equal(world.runtime.state('a/main/0'), undefined, 'nothing is remembered of it');
  await world.runtime.removeSandbox('a');
  assert.equal(traces(world.directory), '');
  await world.runtime.createSandbox(sandbox('a', 2));
  await world.runtime.removeSandbox('a');
  assert.equal(traces(world.directory), '');
  world.runtime[Symbol.dispose]();
  world.clean();
});

test('[K5] a start whose record was never written leaves no process', async () => {
  const world = makeWorld();
  await world.runtime.createSandbox(sandbox('a', 2));
  await world.runtime.start(container('a', 'exec sleep 4343'));
  await eventually('it runs', () => attempt('pgrep -x -f "sleep 4343"') !== '');
  world.runtime[Symbol.dispose]();
  rmSync(join(world.directory, 'run/pods/a/containers/main/0/record.json'));
  const next = world.restarted();
  assert.deepEqual(await next.adopt(), { sandboxes: ['a'], containers: [] });
  assert.equal(attempt('pgrep -x -f "sleep 4343"'), '');
  await next.removeSandbox('a');
  assert.equal(traces(world.directory), '');
  next[Symbol.dispose]();
  world.clean();
});

// Each agent makes a sandbox, starts a container and removes both, and is killed on its way.
const killAfterMs = [0, 4, 8, 12, 16, 20, 25, 30, 40, 60];

for (const delay of killAfterMs) {
  test(`[K5] [K6] an agent killed ${delay} ms on its way leaves nothing that stays`, async () => {
    const world = makeWorld();
    world.runtime[Symbol.dispose]();
    await runAndKill(world.directory, delay);
    const next = world.restarted();
    const { sandboxes } = await next.adopt();
    for (const podUid of sandboxes) await next.removeSandbox(podUid);
    assert.equal(traces(world.directory), '');
    assert.equal(attempt('pgrep -x -f "sleep 4444"'), '');
    next[Symbol.dispose]();
    world.clean();
  });
}

/** Starts an agent on the directory; kills it some time after it said that it begins. */
async function runAndKill(directory: string, delay: number): Promise<void> {
  const here = new URL('./process-runtime-world.ts', import.meta.url).href;
  const program = `
    import { container, makeWorld, sandbox } from '${here}';
    const { runtime } = makeWorld('${directory}');
    await runtime.createSandbox(sandbox('warm', 8));
    await runtime.removeSandbox('warm');
    process.stdout.write('begin');
    await runtime.createSandbox(sandbox('a', 2));
    await runtime.start(container('a', 'exec sleep 4444'));
    await runtime.removeSandbox('a');`;
  const agent = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  // It may be done before its time has come.
  const closed = new Promise((resolve) => agent.once('close', resolve));
  await new Promise((resolve) => agent.stdout.once('data', resolve));
  await new Promise((resolve) => setTimeout(resolve, delay));
  agent.kill('SIGKILL');
  await closed;
}

test('the image fairlead/dns runs this program from a directory that is hidden otherwise', async () => {
  // The test's directory lies in /tmp, which every container has one of its own of.
  const world = makeWorld();
  const program = join(world.directory, 'self');
  writeFileSync(program, '#!/bin/sh\necho "running $@"; ls /tmp; cat /etc/passwd | wc -l\n', {
    mode: 0o755,
  });
  shell(`chmod 755 ${world.directory}`);
  const runtime = createProcessRuntime({
    runtimeDir: join(world.directory, 'run'),
    logsDir: join(world.directory, 'logs'),
    nodeName: 'node-1',
    version: 'test',
    selfCommand: [program],
    selfPaths: [program],
  });
  await runtime.createSandbox(sandbox('a', 2));
  const spec = container('a', '', { image: 'fairlead/dns', command: [], args: ['--flag'] });
  const { output } = await runToEnd(runtime, spec);
  const lines = shell('cat /etc/passwd | wc -l');
  assert.equal(output, `running dns --flag\n${basename(world.directory)}\n${lines}\n`);
  await runtime.removeSandbox('a');
  runtime[Symbol.dispose]();
  world.runtime[Symbol.dispose]();
  world.clean();
});
