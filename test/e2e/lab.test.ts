/** The commands of a lab's life: up, status, kubeconfig, logs, down, help, completion. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import {
  alive,
  Cluster,
  commandOf,
  environment,
  eventually,
  fairlead,
  fairleadOk,
  hostSnapshot,
  labProcesses,
  removeHome,
  run,
  sameHost,
  start,
} from './harness.ts';

const hostBefore = hostSnapshot();
const program = join(import.meta.dirname, '..', '..', 'bin', 'fairlead');
let cluster: Cluster;

before(async () => {
  cluster = await Cluster.up('one');
});
after(async () => {
  await fairlead('down', '--all');
  removeHome();
});

type Step = { name: string; ms: number; sinceStartMs: number };

test('up prints each step with its time, and what to type next', async () => {
  const text = await fairleadOk('up', '--name', 'steps', '--nodes', '1');
  for (const step of [
    'check the host',
    'make keys and certificates',
    'build the network',
    'start server and nodes',
    'API answers',
    'node is ready',
    /DNS answers at 10\.97\.0\.10:53/,
  ]) {
    const line = text.split('\n').find((entry) => entry.match(step));
    assert.match(line ?? '', /\d+ ms$/, `${step}`);
  }
  assert.match(text, /Lab "steps" is up with 1 node, in \d+\.\d\d s\./);
  assert.match(text, /^ {2}export KUBECONFIG=\/.*\/steps\/kubeconfig$/m);
  assert.match(await fairleadOk('down', '--name', 'steps'), /Lab "steps" is gone, in/);
});

test('up --json prints one object and nothing else', async () => {
  const text = await fairleadOk('up', '--name', 'json', '--nodes', '1', '--json');
  const { kubeconfig, existed, steps, server, lab } = JSON.parse(text) as {
    kubeconfig: string;
    existed: boolean;
    steps: Step[];
    server: string;
    lab: { name: string; nodes: { name: string }[] };
  };
  assert.equal(existed, false);
  assert.equal(lab.name, 'json');
  assert.deepEqual(
    lab.nodes.map(({ name }) => name),
    ['node-1'],
  );
  assert.equal(steps.length, 7);
  assert.ok(steps.every(({ ms, sinceStartMs }) => ms >= 0 && sinceStartMs >= ms));
  assert.match(server, /^https:\/\/127\.0\.0\.1:\d+$/);
  assert.equal(kubeconfig, (await fairleadOk('kubeconfig', '--name', 'json')).trim());
  const removed = JSON.parse(await fairleadOk('down', '--name', 'json', '--json')) as object;
  assert.deepEqual(removed, { removed: ['json'] });
});

test('up on a running lab says so and changes nothing', async () => {
  const pids = labProcesses('one');
  const again = await fairlead('up', '--name', 'one');
  assert.equal(again.code, 0);
  assert.match(again.stdout, /Lab "one" is up already, with 3 nodes\./);
  assert.match(again.stdout, /export KUBECONFIG=/);
  assert.equal(again.stderr, '');
  const other = await fairlead('up', '--name', 'one', '--nodes', '5', '--ip-family', 'ipv4');
  assert.equal(other.code, 0);
  assert.match(other.stderr, /It stays as it was brought up: --nodes 5 changes nothing\./);
  assert.deepEqual(alive(pids), pids);
});

test('up starts again what has died with its supervisor', async () => {
  const { components } = await statusOf('one');
  const server = components.find(({ name }) => name === 'server');
  const pids = labProcesses('one').filter(
    (pid) => pid === server?.pid || isSupervisor(pid, 'server'),
  );
  assert.equal(pids.length, 2);
  for (const pid of pids) process.kill(pid, 'SIGKILL');
  await eventually('the server is dead', async () =>
    (await statusOf('one')).components.some(
      ({ name, state }) => name === 'server' && state === 'dead',
    ),
  );
  const text = await fairleadOk('up', '--name', 'one');
  assert.match(text, /start the server again/);
  assert.match(text, /what had died runs again/);
  await cluster.kubectlOk('get', 'nodes');
});

function isSupervisor(pid: number, component: string): boolean {
  const file = join(environment.FAIRLEAD_ROOT, 'run', 'one', `${component}.pid`);
  return labCommand(pid).includes('supervise.sh') && labCommand(pid).includes(file);
}

function labCommand(pid: number): string {
  return commandOf(String(pid));
}

type Status = {
  name: string;
  apiProblem?: string;
  kubeconfig: string;
  components: { name: string; state: string; ready?: boolean; pid: number; pssBytes: number }[];
  pods: { ready: number; total: number };
  pssBytes: number;
};

async function statusOf(name: string): Promise<Status> {
  const { labs } = JSON.parse(await fairleadOk('status', '--name', name, '--json')) as {
    labs: Status[];
  };
  assert.equal(labs.length, 1);
  return labs[0]!;
}

test('status shows every component, its memory and the pods', async () => {
  const status = await eventually('all runs', async () => {
    const found = await statusOf('one');
    return found.pods.ready === 2 && found.components.every(({ state }) => state === 'running')
      ? found
      : undefined;
  });
  assert.deepEqual(
    status.components.map(({ name, ready }) => [name, ready]),
    [
      ['server', undefined],
      ['node-1', true],
      ['node-2', true],
      ['node-3', true],
    ],
  );
  assert.ok(status.components.every(({ pssBytes, pid }) => pssBytes > 1e6 && pid > 1));
  const text = await fairleadOk('status');
  assert.match(text, /^Lab "one": API at https:\/\/127\.0\.0\.1:\d+$/m);
  assert.match(text, /^ {2}node-2 +running +Ready +\d+ +\d+ MB +172\.29\.0\.12$/m);
  assert.match(text, /pods: 2 of 2 ready; memory of everything: \d+ MB/);
});

test('commands on a lab that is not there name those that are', async () => {
  for (const args of [
    ['down'],
    ['status', '--name', 'lab'],
    ['kubeconfig'],
    ['demo'],
    ['logs', 'server'],
    ['node', 'stop', 'node-1'],
  ]) {
    const { code, stderr } = await fairlead(...args);
    assert.equal(code, 2, args.join(' '));
    assert.match(stderr, /^Cannot .* lab "lab": .*\n {2}These exist: one {2}\[NO_SUCH_LAB\]\n$/);
  }
});

test('logs prints the log of a component, its tail, and follows it', async (t) => {
  const log = join(environment.FAIRLEAD_ROOT, 'state', 'one', 'logs', 'server.log');
  writeFileSync(log, 'first\nsecond\nlast\n', { flag: 'a' });
  const named = ['logs', 'server', '--name', 'one'];
  assert.match(await fairleadOk(...named), /^first\nsecond\nlast\n$/m);
  assert.equal(await fairleadOk(...named, '--tail', '2'), 'second\nlast\n');
  const follower = start(program, ['logs', 'server', '-f', '--tail', '0', '--name', 'one']);
  t.after(() => follower.kill('SIGKILL'));
  let text = '';
  follower.stdout!.on('data', (chunk: Buffer) => (text += chunk.toString()));
  await eventually('the follower waits', () => alive([follower.pid!]).length === 1);
  await new Promise((resolve) => setTimeout(resolve, 500));
  assert.equal(text, '');
  // It may not have looked at the file yet: what it finds there is old.
  await eventually('the line comes', () => {
    writeFileSync(log, 'a new line\n', { flag: 'a' });
    return text.includes('a new line\n');
  });
  assert.match(text, /^(a new line\n)+$/);
  follower.kill('SIGINT');
  const [code] = (await once(follower, 'exit')) as [number];
  assert.equal(code, 0);
});

test('logs of no component names those there are', async () => {
  const { code, stderr } = await fairlead('logs', 'sever', '--name', 'one');
  assert.equal(code, 2);
  assert.match(
    stderr,
    /no such component\n.*server, node-1, node-2, node-3.*\[NO_SUCH_COMPONENT\]/,
  );
});

test('kubeconfig leads kubectl to the lab, from anywhere', async () => {
  const path = (await fairleadOk('kubeconfig', '--name', 'one')).trim();
  const text = await run(cluster.kubectlPath, ['--kubeconfig', path, 'get', 'nodes', '-o', 'name']);
  assert.deepEqual(text.stdout.trim().split('\n'), ['node/node-1', 'node/node-2', 'node/node-3']);
});

const commands = [
  [],
  ['up'],
  ['down'],
  ['status'],
  ['kubeconfig'],
  ['demo'],
  ['logs'],
  ['node'],
  ['node', 'stop'],
  ['node', 'start'],
  ['node', 'kill'],
  ['version'],
  ['completion'],
];
for (const command of commands) {
  test(`${['fairlead', ...command].join(' ')} --help explains itself`, async () => {
    const { code, stdout, stderr } = await fairlead(...command, '--help');
    assert.deepEqual([code, stderr], [0, '']);
    assert.ok(stdout.startsWith(`Usage: ${['fairlead', ...command].join(' ')}`), stdout);
    assert.match(stdout, /^ {2}-h, --help/m);
  });
}

test('version prints ours and that of Node', async () => {
  assert.match(await fairleadOk('version'), /^fairlead \d+\.\d+\.\d+ \(Node v\d+\.\d+\.\d+\)\n$/);
  const { version, node } = JSON.parse(await fairleadOk('version', '--json')) as {
    version: string;
    node: string;
  };
  assert.match(`${version} ${node}`, /^\d+\.\d+\.\d+ v\d+/);
});

const completions = [
  { line: 'fairlead ', has: ['up', 'down', 'status', 'completion'] },
  { line: 'fairlead u', has: ['up'], only: true },
  { line: 'fairlead up --ip', has: ['--ip-family'], only: true },
  { line: 'fairlead up --ip-family ', has: ['ipv4', 'ipv6', 'dual'], only: true },
  { line: 'fairlead node ', has: ['stop', 'start', 'kill'] },
  { line: 'fairlead node kill --name one ', has: ['node-1', 'node-2', 'node-3'], only: true },
  { line: 'fairlead logs --name one s', has: ['server'], only: true },
  { line: 'fairlead down --name ', has: ['one'], only: true },
  { line: 'fairlead completion ', has: ['bash', 'zsh', 'fish'] },
];
for (const { line, has, only } of completions) {
  test(`bash completes "${line}"`, async () => {
    const script = `
      source <(${program} completion bash)
      PATH=${join(program, '..')}:$PATH
      COMP_LINE=${JSON.stringify(line)}; read -ra COMP_WORDS <<<"$COMP_LINE"
      [[ $COMP_LINE == *' ' ]] && COMP_WORDS+=('')
      COMP_CWORD=$(( \${#COMP_WORDS[@]} - 1 ))
      fn=$(complete -p fairlead | sed 's/.*-F \\([^ ]*\\).*/\\1/')
      $fn fairlead "\${COMP_WORDS[COMP_CWORD]}" "\${COMP_WORDS[COMP_CWORD-1]}"
      printf '%s\\n' "\${COMPREPLY[@]}"`;
    const { stdout, stderr } = await run('bash', ['-c', script]);
    assert.equal(stderr, '');
    const words = stdout.trim().split('\n');
    if (only === true) assert.deepEqual(words, has);
    else for (const word of has) assert.ok(words.includes(word), stdout);
  });
}

for (const shell of ['zsh', 'fish']) {
  test(`completion for ${shell} asks the program`, async () => {
    assert.match(await fairleadOk('completion', shell), / complete -- "?\$/);
  });
}

test('completion for an unknown shell names those that are known', async () => {
  const { code, stderr } = await fairlead('completion', 'tcsh');
  assert.equal(code, 2);
  assert.match(stderr, /'tcsh' is invalid.* Allowed choices are bash, zsh, fish/);
});

test('down leaves no process, and the host as it was; twice says there is none', async () => {
  const pids = labProcesses('one');
  assert.ok(pids.length >= 10, `${pids.length} processes`);
  await cluster.down();
  assert.deepEqual(alive(pids), []);
  await sameHost(hostBefore);
  const again = await fairlead('down', '--name', 'one');
  assert.equal(again.code, 2);
  assert.match(again.stderr, /there is no such lab\n {2}There is no lab on this machine/);
  assert.match(await fairleadOk('down', '--all'), /There is no lab/);
  assert.match(await fairleadOk('status'), /There is no lab/);
});
