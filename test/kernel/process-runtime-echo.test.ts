/** The image `fairlead/echo`, asked with curl, bash and python3 from outside and from inside pods. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { request } from 'node:http';
import { after, before, test } from 'node:test';
import {
  attempt,
  container,
  eventually,
  makeNode,
  makeWorld,
  nodeAddresses,
  runInside,
  sandbox,
  shell,
  traces,
} from './process-runtime-world.ts';

makeNode();
const world = makeWorld();
const { runtime } = world;
const echo = { image: 'fairlead/echo:1.0', command: [], name: 'echo' };
const [node4, node6] = nodeAddresses;

before(async () => {
  await runtime.createSandbox(sandbox('a', 2));
  await runtime.createSandbox(sandbox('b', 3));
  await runtime.start(container('a', '', { ...echo, env: { COLOUR: 'blue' } }));
  const ports = [80, 5353].map((port) => ({ port, protocol: 'TCP' as const }));
  await runtime.start(
    container('b', '', { ...echo, ports: [...ports, { port: 5353, protocol: 'UDP' }] }),
  );
});

after(async () => {
  for (const podUid of ['a', 'b']) await runtime.removeSandbox(podUid);
  assert.equal(traces(world.directory), '');
  runtime[Symbol.dispose]();
  shell(`pkill -9 -f '[e]cho-host ${world.directory}'`);
  world.clean();
});

const line = 'pod=pod-a ns=default node=node-1 ip=10.244.1.2,fd00:10:244:1::2';
const http: { path: string; want: RegExp; options?: string }[] = [
  { path: '/', want: new RegExp(`^${line} client=${node4}:\\d+ protocol=http method=GET path=/$`) },
  { path: '/some/path?x=1', want: /method=GET path=\/some\/path\?x=1$/ },
  { path: '/hostname', want: /^pod-a$/ },
  { path: '/clientip', want: new RegExp(`^${node4}:\\d+$`) },
  { path: '/env', want: /^{"COLOUR":"blue"}$/ },
  { path: '/echo?msg=hi', want: /^hi$/ },
  { path: '/echo', want: /^body$/, options: '-d body' },
  { path: '/delay?ms=5', want: /^waited 5 ms$/ },
  { path: '/healthz', want: /^ok$/ },
  { path: '//[', want: /method=GET path=\/\/\[$/, options: '-g --path-as-is' },
  { path: '/hostname', want: /^pod-a$/, options: '-x http://10.244.1.2:8080' },
];

for (const { path, want, options = '' } of http) {
  test(`http ${path}`, () => {
    assert.match(shell(`curl -sS ${options} 'http://10.244.1.2:8080${path}'`), want);
  });
}

test('http as JSON, over IPv6', () => {
  const asked = "curl -sSg -H 'accept: application/json' 'http://[fd00:10:244:1::2]:8080/x'";
  const { client, headers, ...answer } = JSON.parse(shell(asked)) as Record<string, unknown>;
  assert.equal((client as { address: string }).address, node6);
  assert.equal((headers as { accept: string }).accept, 'application/json');
  assert.deepEqual(answer, {
    pod: 'pod-a',
    namespace: 'default',
    node: 'node-1',
    podIP: '10.244.1.2',
    podIPs: ['10.244.1.2', 'fd00:10:244:1::2'],
    protocol: 'http',
    method: 'GET',
    path: '/x',
    host: '[fd00:10:244:1::2]:8080',
  });
});

test('readiness can be switched off and on', () => {
  const status = "curl -s -o /dev/null -w '%{http_code}' http://10.244.1.2:8080/healthz";
  const set = (ready: string) =>
    shell(`curl -sS -X POST 'http://10.244.1.2:8080/healthz?ready=${ready}'`);
  assert.equal(shell(status), '200');
  set('false');
  assert.equal(shell(status), '503');
  set('true');
  assert.equal(shell(status), '200');
});

for (const address of ['10.244.1.3', 'fd00:10:244:1::3']) {
  test(`raw TCP to ${address}: who answers, then what was sent`, () => {
    const talk = `exec 3<>/dev/tcp/${address}/5353; echo one >&3; head -2 <&3`;
    const [first, second] = shell(talk).split('\n');
    assert.match(first!, /^pod=pod-b .* protocol=tcp$/);
    assert.equal(second, 'one');
  });

  const datagrams = [
    { sent: 'x', want: /^pod=pod-b .* protocol=udp$/ },
    { sent: 'hostname', want: /^pod-b$/ },
    {
      sent: 'clientip',
      want: address.includes(':') ? /^\[fd00:172:29::11\]:\d+$/ : /^172\.29\.0\.11:\d+$/,
    },
    { sent: 'echo hello', want: /^hello$/ },
  ];

  for (const { sent, want } of datagrams) {
    test(`UDP to ${address}: ${sent}`, () => {
      const program = `
import socket, sys
s = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5); s.connect((sys.argv[1], 5353)); s.send(sys.argv[2].encode()); print(s.recv(2000).decode())`;
      assert.match(
        shell(`python3 -c '${program.replaceAll("'", `'"'"'`)}' ${address} '${sent}'`),
        want,
      );
    });
  }
}

test('another pod sees the same, and is seen with its own address', async () => {
  const { stdout } = await runInside(runtime, 'a/echo/0', 'curl -sS http://10.244.1.3/clientip');
  assert.match(stdout, /^10\.244\.1\.2:\d+$/);
});

test('inside an echo container there is a shell and its processes', async () => {
  const { stdout, exitCode } = await runInside(runtime, 'a/echo/0', 'ls /proc | grep "^1$"; id -u');
  assert.deepEqual({ stdout, exitCode }, { stdout: '1\n65534\n', exitCode: 0 });
});

test('requests stand in the log of the container', async () => {
  const { stdout } = runtime.rawLogs('a/echo/0');
  shell('curl -sS http://10.244.1.2:8080/find-me');
  await eventually('it is written', () =>
    readFileSync(stdout, 'utf8').includes(`${node4} "GET /find-me" 200\n`),
  );
});

test('a port that is taken is a reason not to start', async () => {
  const twin = container('a', '', { ...echo, name: 'twin' });
  await assert.rejects(runtime.start(twin), /EADDRINUSE/);
  assert.equal(runtime.state('a/twin/0'), undefined);
});

test('[K19] TERM: it serves on, tells clients to leave, then ends', async () => {
  await runtime.createSandbox(sandbox('c', 4));
  await runtime.start(container('c', '', echo));
  await runtime.signal('c/echo/0', 'SIGTERM');
  const answer = shell('curl -sSi http://10.244.1.4:8080/hostname');
  assert.match(answer, /connection: close/i);
  assert.match(answer, /pod-c$/);
  const started = Date.now();
  await eventually('it ends', () => runtime.state('c/echo/0')?.kind === 'exited');
  assert.ok(Date.now() - started > 1000);
  const state = runtime.state('c/echo/0')!;
  assert.equal(state.kind === 'exited' && state.exitCode, 0);
  await eventually('it refuses', () =>
    attempt('curl -sS -m 1 http://10.244.1.4:8080/').includes("Couldn't connect"),
  );
  await runtime.removeSandbox('c');
});

test('[K6] the agent may go: connections stay, and the next one takes over', async () => {
  const held = await holdConnection('10.244.1.2');
  const next = world.restarted();
  await next.adopt();
  assert.match(await held.ask(), /pod-a/);
  held.close();
  assert.equal(shell('curl -sS http://10.244.1.2:8080/hostname'), 'pod-a');
  next[Symbol.dispose]();
});

test('an echo host that is killed is back at once', async () => {
  shell(`pkill -9 -f '[e]cho-host ${world.directory}'`);
  await eventually('both serve again', () =>
    ['10.244.1.2:8080', '10.244.1.3:80'].every((to) =>
      attempt(`curl -sS -m 1 http://${to}/hostname`).startsWith('pod-'),
    ),
  );
});

test('100 echo pods', async () => {
  const pods = Array.from({ length: 100 }, (_, index) => ({ uid: `n${index}`, last: index + 10 }));
  const started = performance.now();
  await Promise.all(
    pods.map(async ({ uid, last }) => {
      await runtime.createSandbox(sandbox(uid, last));
      await runtime.start(container(uid, '', echo));
    }),
  );
  const tookMs = performance.now() - started;
  const answers = shell(
    `for i in $(seq 10 109); do curl -sS http://10.244.1.$i:8080/hostname; echo; done`,
  ).split('\n');
  assert.deepEqual(
    answers,
    pods.map(({ uid }) => `pod-${uid}`),
  );
  await Promise.all(pods.map(({ uid }) => runtime.removeSandbox(uid)));
  // A second where nothing else runs; no step of it may wait for a time to be over.
  assert.ok(tookMs < 20_000, `it took ${tookMs.toFixed()} ms`);
});

/** A connection that asks twice, some time apart. */
async function holdConnection(host: string) {
  const { Agent } = await import('node:http');
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const ask = () =>
    new Promise<string>((resolve, reject) => {
      const sent = request({ host, port: 8080, path: '/hostname', agent }, (response) => {
        let body = '';
        response.on('data', (chunk: Buffer) => (body += chunk.toString()));
        response.on('end', () => resolve(`${sent.reusedSocket ? 'reused' : 'new'} ${body}`));
      });
      sent.on('error', reject);
      sent.end();
    });
  assert.match(await ask(), /^new /);
  return { ask, close: () => agent.destroy() };
}
