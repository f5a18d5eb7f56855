/** A lab of somebody who is not root, in a private user namespace; kubectl reaches it from outside. */
import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  rmdirSync,
  rmSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import {
  commandOf,
  eventually,
  hostSnapshot,
  must,
  newestKubectl,
  removeHome,
  run,
  sameHost,
  type Result,
} from './harness.ts';

const nobody = 65_534;
const sources = join(import.meta.dirname, '..', '..');
const userHome = mkdtempSync(join(tmpdir(), 'fairlead-rootless-'));
chownSync(userHome, nobody, nobody);
// They may lie below a directory that only root enters, such as /root.
const reachable = mkdtempSync(join(tmpdir(), 'fairlead-sources-'));
chmodSync(reachable, 0o755);
must(await run('mount', ['--bind', sources, reachable]), 'mount');
const program = join(reachable, 'bin', 'fairlead');
const hostBefore = hostSnapshot();

after(async () => {
  await as(program, 'down', '--all');
  must(await run('umount', ['--lazy', reachable]), 'umount');
  rmdirSync(reachable);
  rmSync(userHome, { recursive: true });
  removeHome();
});

/** Runs a command as an unprivileged user with nothing of root's environment. */
function as(...command: string[]): Promise<Result> {
  const ids = ['--reuid', String(nobody), '--regid', String(nobody), '--clear-groups'];
  const env = ['env', '-i', `PATH=${process.env.PATH}`, `HOME=${userHome}`];
  return run('setpriv', [...ids, ...env, ...command]);
}

async function ok(...args: string[]): Promise<string> {
  return must(await as(program, ...args), `fairlead ${args.join(' ')}`);
}

async function kubectl(...args: string[]): Promise<string> {
  const kubeconfig = (await ok('kubeconfig')).trim();
  const binary = newestKubectl().replace(sources, reachable);
  return must(await as(binary, '--kubeconfig', kubeconfig, ...args), args.join(' '));
}

test('without root there is no lab at first, and nothing is asked of anybody', async () => {
  assert.match(await ok('status'), /There is no lab on this machine/);
  assert.equal((await as(program, 'down')).code, 2);
});

test('up without root; the host sees no link and no route of it', async () => {
  assert.match(await ok('up'), /Lab "lab" is up with 3 nodes/);
  const { links, routes, rules, nftables, mounts, sysctls } = hostSnapshot();
  for (const [what, now] of Object.entries({ links, routes, rules, nftables, mounts, sysctls }))
    assert.equal(now, hostBefore[what], what);
});

test('kubectl works from outside', async () => {
  const names = await kubectl('get', 'nodes', '-o', 'name');
  assert.deepEqual(names.trim().split('\n'), ['node/node-1', 'node/node-2', 'node/node-3']);
  await kubectl('create', 'deployment', 'web', '--image=fairlead/echo', '--replicas=2');
  await kubectl('rollout', 'status', 'deployment/web', '--timeout=20s');
  await kubectl('expose', 'deployment/web', '--port=80', '--target-port=8080');
  await kubectl('run', 'ask', '--image=host', '--restart=Never', '--', 'sleep', '100');
  await kubectl('wait', '--for=condition=Ready', 'pod/ask', '--timeout=20s');
  const answer = await eventually('an answer', async () => {
    const text = await kubectl('exec', 'ask', '--', 'curl', '-sS', '--max-time', '2', 'http://web');
    return text.startsWith('pod=web-') ? text : undefined;
  });
  assert.match(answer, /client=10\.244\./);
  assert.match(await kubectl('logs', '-l', 'app=web'), /GET \//);
});

test('status and up see the lab that runs; logs print', async () => {
  const text = await ok('status');
  assert.match(text, /node-2 +running +Ready/);
  const { labs } = JSON.parse(await ok('status', '--json')) as { labs: { name: string }[] };
  assert.deepEqual(
    labs.map(({ name }) => name),
    ['lab'],
  );
  assert.match(await ok('up'), /is up already, with 3 nodes/);
  await ok('logs', 'node-1');
});

test('a LoadBalancer Service is reached by way of the balancer', async () => {
  await kubectl(
    'expose',
    'deployment/web',
    '--name=window',
    '--port=80',
    '--target-port=8080',
    '--type=LoadBalancer',
  );
  const mode = 'fairlead.dev/load-balancer-ip-mode=Proxy';
  await kubectl('annotate', 'service', 'window', mode);
  const path = "-o=jsonpath={.status.loadBalancer.ingress[?(@.ipMode=='Proxy')].ip}";
  const ip = await eventually('an address', async () => kubectl('get', 'service', 'window', path));
  const answer = await eventually('an answer', async () => {
    const text = await kubectl('exec', 'ask', '--', 'curl', '-sS', '-m', '2', `http://${ip}`);
    return text.includes('client=') && text;
  });
  assert.match(answer, /^pod=web-/);
  assert.match(await ok('status'), /172\.29\.0\.192 +default\/window/);
});

test('a node is killed and started again', async () => {
  await ok('node', 'kill', 'node-3');
  await eventually(
    'found',
    async () => / NotReady /.test(await kubectl('get', 'node', 'node-3')),
    20,
  );
  await ok('node', 'start', 'node-3');
  await kubectl('wait', '--for=condition=Ready', 'node/node-3', '--timeout=20s');
});

test('the demo plays, and loses no request', async () => {
  assert.match(await ok('demo'), /requests +\d+ sent, 0 failed/);
});

test('down leaves nothing', async () => {
  assert.match(await ok('down'), /^Lab "lab" is gone, in/);
  assert.ok(!existsSync(join(userHome, '.local', 'state', 'fairlead')));
  assert.deepEqual(
    readdirSync('/proc').filter((pid) => /^\d+$/.test(pid) && commandOf(pid).includes(userHome)),
    [],
  );
  await sameHost(hostBefore);
});
