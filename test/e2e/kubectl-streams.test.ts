/**
 * logs, exec, attach, cp and port-forward with every kubectl of this machine: SPDY up to 1.28,
 * WebSocket after it. The API server and the node agent are real; a container is a host process.
 */
import assert from 'node:assert/strict';
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { resources } from '../../src/api/resources.ts';
import type { Pod } from '../../src/api/types.ts';
import { createCa, issue } from '../../src/apiserver/pki/certificates.ts';
import { kubeconfigText } from '../../src/apiserver/pki/kubeconfig.ts';
import { startApiServer } from '../../src/apiserver/server.ts';
import { createLogger } from '../../src/lib/log.ts';
import { startNodeAgent } from '../../src/node/agent.ts';
import { FakeRuntime } from '../../src/node/fake-runtime.ts';
import type { ExecSession, ExecSpec } from '../../src/node/runtime.ts';
import { createMemoryStore } from '../../src/store/store.ts';
import { kubectlBinaries } from './harness.ts';

const dir = mkdtempSync(join(tmpdir(), 'fairlead-streams-'));
const log = createLogger('test', process.env['FAIRLEAD_LOG'] ?? 'silent');
const ca = createCa();
const server = (cn: string) => ({
  ...issue(ca, { cn, ips: ['127.0.0.1'], usages: ['server'] }),
  ca: ca.cert,
});
const client = (cn: string) => ({
  ...issue(ca, { cn, orgs: ['system:masters'], usages: ['client'] }),
  ca: ca.cert,
});
const api = await startApiServer({
  store: createMemoryStore(),
  serviceCidrs: ['10.96.0.0/16'],
  listeners: [{ host: '127.0.0.1', port: 0 }],
  tls: server('kube-apiserver'),
  kubeletClientTls: client('kube-apiserver-kubelet-client'),
});
const runtime = new FakeRuntime(join(dir, 'raw'));
runtime.session = hostSession;
const agent = await startNodeAgent({
  client: api.client,
  nodeName: 'n1',
  nodeIPs: ['127.0.0.1'],
  runtime,
  dir: join(dir, 'run'),
  stateDir: join(dir, 'state'),
  clusterDomain: 'cluster.local',
  clusterDns: ['10.96.0.10'],
  log,
  tls: server('system:node:n1'),
  port: 0,
  podCidrs: ['127.0.6.0/24'],
});
const children = new Set<ChildProcessWithoutNullStreams>();
after(async () => {
  for (const child of children) child.kill('SIGKILL');
  await agent.stop();
  await api.close();
  rmSync(dir, { recursive: true, force: true });
});

const port = api.addresses[0]!.port;
const kubeconfig = join(dir, 'kubeconfig');
writeFileSync(
  kubeconfig,
  kubeconfigText({
    name: 'test',
    server: `https://127.0.0.1:${port}`,
    ca: ca.cert,
    client: client('kubernetes-admin'),
  }),
);

/** Sizes told to the last session with a terminal. */
let sizes: { columns: number; rows: number }[] = [];

/** A host process in place of one inside a container. */
function hostSession(spec: ExecSpec): ExecSession {
  const [file = '', ...args] = spec.command;
  const child = spawn(file, args);
  const stdout = new PassThrough();
  if (spec.tty) {
    child.stdout.pipe(stdout);
    child.stderr.pipe(stdout, { end: false });
  }
  if (!spec.stdin) child.stdin.end();
  sizes = [];
  const exit = once(child, 'exit').then(([code]) => Number(code ?? 137));
  return {
    stdin: spec.stdin ? child.stdin : undefined,
    stdout: spec.tty ? stdout : child.stdout,
    stderr: spec.tty ? undefined : child.stderr,
    resize: (size) => void sizes.push(size),
    exit,
    kill: () => void child.kill('SIGKILL'),
  };
}

const pod = await api.client.create<Pod>(resources.pods, {
  metadata: { name: 'web', namespace: 'default' },
  spec: {
    nodeName: 'n1',
    automountServiceAccountToken: false,
    containers: [{ name: 'main', image: 'fairlead/pause' }],
  },
});
const id = `${pod.metadata.uid}/main/0`;
await until(() => runtime.state(id)?.kind === 'running');
await agent.registered;

async function until(holds: () => boolean): Promise<void> {
  const end = performance.now() + 10_000;
  while (!holds()) {
    if (performance.now() > end) throw new Error(`not within 10 s: ${String(holds)}`);
    await sleep(5);
  }
}

type Ran = { code: number; stdout: Buffer; stderr: string };

function kubectl(binary: string, args: readonly string[]): ChildProcessWithoutNullStreams {
  const home = join(dir, 'home');
  mkdirSync(home, { recursive: true });
  const env = { PATH: process.env['PATH'], HOME: home, KUBECONFIG: kubeconfig };
  const child = spawn(binary, args, { env });
  children.add(child);
  child.once('close', () => children.delete(child));
  return child;
}

async function run(binary: string, args: readonly string[], input?: Buffer): Promise<Ran> {
  const child = kubectl(binary, args);
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk));
  child.stdin.end(input ?? Buffer.alloc(0));
  const timer = setTimeout(() => child.kill('SIGKILL'), 10_000);
  const [code] = (await once(child, 'close')) as [number | null];
  clearTimeout(timer);
  return {
    code: code ?? 137,
    stdout: Buffer.concat(stdout),
    stderr: Buffer.concat(stderr).toString(),
  };
}

const binaries = kubectlBinaries();
test('there is a kubectl to test with', () => assert.ok(binaries.length > 0));

for (const { version, path } of binaries) {
  test(`[K25] [A103] [A106] ${version}: exec gives both outputs and the exit code`, async () => {
    const script = 'echo out; echo err >&2; exit 3';
    const ran = await run(path, ['exec', 'web', '--', 'sh', '-c', script]);
    assert.equal(ran.stdout.toString(), 'out\n');
    assert.match(ran.stderr, /^err\ncommand terminated with exit code 3\n$/);
    assert.equal(ran.code, 3);
  });

  test(`[K25] [A105] ${version}: exec of a command that succeeds`, async () => {
    const ran = await run(path, ['exec', 'web', '--', 'echo', 'hello']);
    assert.deepEqual([ran.code, ran.stdout.toString(), ran.stderr], [0, 'hello\n', '']);
  });

  test(`[K25] ${version}: exec -i carries a megabyte both ways and its end`, async () => {
    const input = randomBytes(1024 * 1024);
    const ran = await run(path, ['exec', '-i', 'web', '--', 'cat'], input);
    assert.equal(ran.stderr, '');
    assert.ok(ran.stdout.equals(input), `${ran.stdout.length} bytes came back`);
  });

  test(`[K25] [A111] ${version}: cp into and out of a container`, async () => {
    const source = join(dir, `source-${version}`);
    const target = join(dir, `target-${version}`);
    const back = join(dir, `back-${version}`);
    writeFileSync(source, randomBytes(300_000));
    const there = await run(path, ['cp', source, `web:${target}`]);
    assert.equal(there.code, 0, there.stderr);
    assert.ok(readFileSync(target).equals(readFileSync(source)));
    const here = await run(path, ['cp', `web:${target}`, back]);
    assert.equal(here.code, 0, here.stderr);
    assert.ok(readFileSync(back).equals(readFileSync(source)));
  });

  test(`[K25] [A104] ${version}: a terminal tells its size`, async () => {
    // util-linux script(1) gives kubectl a terminal of its own.
    const line = `stty cols 91 rows 37; ${path} exec -it web -- sh -c "echo tty; sleep 0.3"`;
    const ran = await run('script', ['-qec', line, '/dev/null']);
    assert.match(ran.stdout.toString(), /tty/);
    assert.equal(ran.code, 0, ran.stdout.toString());
    assert.deepEqual(sizes[0], { columns: 91, rows: 37 });
  });

  test(`[K25] ${version}: exec into a container that is not there says so`, async () => {
    const ran = await run(path, ['exec', 'web', '-c', 'nope', '--', 'true']);
    assert.notEqual(ran.code, 0);
    assert.match(ran.stderr, /nope/);
  });

  test(`[K25] ${version}: a command that does not exist says so`, async () => {
    runtime.session = () => {
      throw new Error('Cannot run "nope": no such file');
    };
    const ran = await run(path, ['exec', 'web', '--', 'nope']);
    runtime.session = hostSession;
    assert.notEqual(ran.code, 0);
    assert.match(ran.stderr, /no such file/);
  });

  test(`[K25] [A108] [A109] ${version}: port-forward, several connections`, async () => {
    const echo = createServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket));
    after(() => echo.close());
    const address = (
      await api.client.get<Pod>(resources.pods, { namespace: 'default', name: 'web' })
    ).status!.podIP!;
    echo.listen(7000, address);
    await once(echo, 'listening');
    const child = kubectl(path, ['port-forward', 'pod/web', ':7000', '--address', '127.0.0.1']);
    const local = await forwardedPort(child);
    const answers = await Promise.all([exchange(local, 'one'), exchange(local, 'two')]);
    assert.deepEqual(answers, ['one', 'two']);
    const big = 'x'.repeat(200_000);
    assert.equal((await exchange(local, big)).length, big.length);
    child.kill();
    await once(child, 'close');
    echo.close();
  });

  test(`[K24] [A98] ${version}: logs with its options, and -f to the end`, async () => {
    const name = `talk-${version.replaceAll('.', '-').toLowerCase()}`;
    const made = await api.client.create<Pod>(resources.pods, {
      metadata: { name, namespace: 'default' },
      spec: {
        nodeName: 'n1',
        automountServiceAccountToken: false,
        restartPolicy: 'Never',
        containers: [{ name: 'main', image: 'fairlead/pause' }],
      },
    });
    const run0 = `${made.metadata.uid}/main/0`;
    await until(() => runtime.state(run0) !== undefined);
    runtime.write(run0, 'stdout', 'one\ntwo\n');
    runtime.write(run0, 'stderr', 'three\n');
    assert.equal((await run(path, ['logs', name])).stdout.toString(), 'one\ntwo\nthree\n');
    assert.equal((await run(path, ['logs', name, '--tail=1'])).stdout.toString(), 'three\n');
    assert.equal((await run(path, ['logs', name, '--limit-bytes=5'])).stdout.toString(), 'one\nt');
    assert.match(
      (await run(path, ['logs', name, '--timestamps'])).stdout.toString(),
      /^\d{4}-\d\d-\d\dT[\d:.]+Z one\n/,
    );
    const follower = kubectl(path, ['logs', '-f', name]);
    let followed = '';
    follower.stdout.on('data', (chunk: Buffer) => {
      followed += chunk.toString();
    });
    const attached = kubectl(path, ['attach', name]);
    let attachedText = '';
    attached.stdout.on('data', (chunk: Buffer) => {
      attachedText += chunk.toString();
    });
    await until(() => followed.includes('three'));
    // An attached client says nothing before its first line.
    await until(() => {
      runtime.write(run0, 'stdout', 'knock\n');
      return attachedText !== '';
    });
    runtime.write(run0, 'stdout', 'four\n');
    await until(() => followed.includes('four'));
    runtime.exit(run0, 0);
    await Promise.all([once(follower, 'close'), once(attached, 'close')]);
    assert.match(followed, /^one\ntwo\nthree\n(knock\n)+four\n$/);
    assert.match(attachedText, /^(knock\n)+four\n$/);
    assert.match((await run(path, ['logs', name, '-p'])).stderr, /previous terminated container/);
  });
}

async function forwardedPort(child: ChildProcessWithoutNullStreams): Promise<number> {
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => {
    text += chunk.toString();
  });
  const found = () => /127\.0\.0\.1:(\d+) ->/.exec(text)?.[1];
  await until(() => found() !== undefined);
  return Number(found());
}

async function exchange(to: number, text: string): Promise<string> {
  const socket = connect({ host: '127.0.0.1', port: to, allowHalfOpen: true });
  socket.end(text);
  const parts: Buffer[] = [];
  for await (const part of socket) parts.push(part as Buffer);
  return Buffer.concat(parts).toString();
}
