/** Containers as processes, on the real kernel; `ip`, /proc and the shell say what became of them. */
import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import {
  attempt,
  container,
  eventually,
  makeNode,
  makeWorld,
  nodeAddresses,
  runInside,
  runToEnd,
  sandbox,
  shell,
  traces,
} from './process-runtime-world.ts';

makeNode();
const world = makeWorld();
const { runtime } = world;

before(async () => {
  await runtime.createSandbox(sandbox('a', 2));
  await runtime.createSandbox(sandbox('b', 3));
  await runtime.start(container('a', 'while :; do sleep 1; done', { name: 'idle' }));
  await runtime.start(container('b', 'while :; do sleep 1; done', { name: 'idle' }));
});

after(async () => {
  for (const podUid of ['a', 'b']) await runtime.removeSandbox(podUid);
  assert.equal(traces(world.directory), '');
  runtime[Symbol.dispose]();
  world.clean();
});

/** The container's first process as the node numbers it. */
function firstProcess(id: string): number {
  const record = readFileSync(join(world.directory, 'run/pods', recordOf(id)), 'utf8');
  return (JSON.parse(record) as { process: { pid: number } }).process.pid;
}

function recordOf(id: string): string {
  const [podUid, ...rest] = id.split('/');
  return join(podUid!, 'containers', ...rest, 'record.json');
}

describe('namespaces', () => {
  for (const kind of ['net', 'uts', 'ipc', 'mnt', 'pid']) {
    test(`[K1] a pod has its own ${kind}`, () => {
      const of = (pid: number | string) => readlinkSync(`/proc/${pid}/ns/${kind}`);
      const [a, b, own] = [of(firstProcess('a/idle/0')), of(firstProcess('b/idle/0')), of('self')];
      assert.equal(new Set([a, b, own]).size, 3);
    });
  }

  test('[K1] containers of a pod share its network and its localhost', async () => {
    await runtime.start(
      container('a', 'exec python3 -m http.server 8000 --bind 127.0.0.1 --directory /etc', {
        name: 'web',
      }),
    );
    const fetch =
      'for i in $(seq 100); do curl -sf 127.0.0.1:8000/hostname && break; sleep .1; done';
    const { output } = await runToEnd(runtime, container('a', fetch, { name: 'client' }));
    assert.equal(output, readFileSync('/etc/hostname', 'utf8'));
  });

  test('[K1] a hostNetwork pod shares the network and the host name of its node', async () => {
    await runtime.createSandbox({ ...sandbox('h', 9), hostNetwork: true, podIPs: [] });
    const script = 'readlink /proc/self/ns/net /proc/self/ns/uts';
    const { output } = await runToEnd(runtime, container('h', script));
    await runtime.removeSandbox('h');
    const own = ['net', 'uts'].map((kind) => `${readlinkSync(`/proc/self/ns/${kind}`)}\n`);
    assert.equal(output, own.join(''));
  });

  test('[K1] a container sees its own processes only', async () => {
    const { output } = await runToEnd(
      runtime,
      container('a', 'ls /proc | grep -c "^[0-9]"; echo $$'),
    );
    assert.match(output, /^[34]\n3\n$/);
  });

  test('the host name is that of the pod', async () => {
    const { output } = await runToEnd(runtime, container('a', 'hostname', { name: 'hostname' }));
    assert.equal(output, 'pod-a\n');
  });
});

describe('network', () => {
  const table = [
    { way: 'node to pod', from: '', to: '10.244.1.2' },
    { way: 'node to pod', from: '', to: 'fd00:10:244:1::2' },
    { way: 'pod to node', from: 'a', to: nodeAddresses[0] },
    { way: 'pod to node', from: 'a', to: nodeAddresses[1] },
    { way: 'pod to pod of its node', from: 'a', to: '10.244.1.3' },
    { way: 'pod to pod of its node', from: 'b', to: 'fd00:10:244:1::2' },
    { way: 'pod to itself', from: 'a', to: '10.244.1.2' },
    { way: 'pod to itself', from: 'a', to: 'fd00:10:244:1::2' },
  ];

  for (const { way, from, to } of table) {
    test(`[K4] ${way}, ${to}, and the address of the client arrives`, async () => {
      const family = to.includes(':') ? '-6' : '-4';
      const expected =
        from === '' || to === nodeAddresses[0] || to === nodeAddresses[1]
          ? undefined
          : sandbox(from, from === 'a' ? 2 : 3).podIPs[family === '-4' ? 0 : 1];
      const server = listenOn(to);
      await eventually('the server listens', () => server.ready());
      const ask = `exec 3<>/dev/tcp/${to}/7000; timeout 5 head -1 <&3`;
      const answer =
        from === ''
          ? shell(ask)
          : (await runInside(runtime, `${from}/idle/0`, `bash -c '${ask}'`)).stdout.trim();
      await server.stop();
      if (expected !== undefined) assert.equal(answer, expected);
      else assert.match(answer, /^[0-9a-f.:]+$/);
    });
  }

  test('[K3] a container that starts again finds the address of its pod', async () => {
    const script = 'ip -o addr show dev eth0 scope global';
    const first = await runToEnd(runtime, container('a', script, { name: 'again' }));
    const spec = container('a', script, { name: 'again' });
    const second = await runToEnd(runtime, { ...spec, id: 'a/again/1' });
    assert.match(first.output, /inet 10\.244\.1\.2\/32/);
    assert.match(first.output, /inet6 fd00:10:244:1::2\/128/);
    assert.equal(second.output, first.output);
  });

  test('[K8] defaults: any port may be bound, pings may be sent', async () => {
    const script =
      'cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/ping_group_range';
    const { output } = await runToEnd(runtime, container('a', script, { name: 'sysctl' }));
    assert.equal(output, '0\n0\t2147483647\n');
  });

  test('[K8] a safe sysctl of the pod is set', async () => {
    const name = 'net.ipv4.tcp_keepalive_time';
    await runtime.createSandbox({ ...sandbox('s', 8), sysctls: [{ name, value: '77' }] });
    const script = 'cat /proc/sys/net/ipv4/tcp_keepalive_time';
    const { output } = await runToEnd(runtime, container('s', script));
    await runtime.removeSandbox('s');
    assert.equal(output, '77\n');
    assert.notEqual(readFileSync('/proc/sys/net/ipv4/tcp_keepalive_time', 'utf8'), '77\n');
  });

  for (const name of ['kernel.msgmax', 'net.ipv4.ip_forward', 'vm.swappiness', '../x']) {
    test(`[K8] the unsafe sysctl ${name} is refused with a reason`, async () => {
      const spec = { ...sandbox('s', 8), sysctls: [{ name, value: '1' }] };
      await assert.rejects(runtime.createSandbox(spec), /Cannot set sysctl ".*": it is not on the/);
    });
  }
});

/** A server in pod a, pod b or on the node, wherever the address is, that names its client. */
function listenOn(address: string) {
  const program = `
import socket, sys
f = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET
s = socket.socket(f); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind((sys.argv[1], 7000)); s.listen(); print('ready', flush=True)
c, peer = s.accept(); c.sendall((peer[0] + chr(10)).encode()); c.close()`;
  const owner = ['a', 'b'].find((uid) =>
    sandbox(uid, uid === 'a' ? 2 : 3).podIPs.includes(address),
  );
  const podUid = owner ?? 'node';
  const made =
    owner === undefined
      ? runtime.createSandbox({ ...sandbox('node', 1), hostNetwork: true, podIPs: [] })
      : Promise.resolve();
  const id = `${podUid}/server/0`;
  const started = made.then(() =>
    runtime.start(
      container(podUid, '', { name: 'server', command: ['python3', '-c', program, address] }),
    ),
  );
  return {
    ready: () => attempt(`cat ${runtime.rawLogs(id).stdout}`).endsWith('ready'),
    async stop() {
      await started;
      await runtime.signal(id, 'SIGKILL');
      await eventually('the server ends', () => runtime.state(id)?.kind === 'exited');
      await runtime.remove(id);
      shell(`rm ${runtime.rawLogs(id).stdout}`);
      if (owner === undefined) await runtime.removeSandbox('node');
    },
  };
}

describe('files', () => {
  test('the files of the host are there, read-only', async () => {
    const script = 'sha256sum </etc/passwd; touch /etc/x /usr/x /var/x; echo $?';
    const spec = container('a', script, { name: 'ro', user: 0, group: 0 });
    const { output, errors } = await runToEnd(runtime, spec);
    assert.equal(output, `${shell('sha256sum </etc/passwd')}\n1\n`);
    assert.equal(errors.match(/Read-only file system/g)?.length, 3);
  });

  test('scratch directories are private', async () => {
    const script = 'for d in /tmp /var/tmp /dev/shm; do ls -A $d; touch $d/mine || exit 1; done';
    const { output, exitCode } = await runToEnd(runtime, container('a', script, { name: 'tmp' }));
    assert.deepEqual({ output, exitCode }, { output: '', exitCode: 0 });
    for (const path of ['/tmp/mine', '/var/tmp/mine', '/dev/shm/mine']) {
      assert.equal(existsSync(path), false);
    }
  });

  test('[K14] readOnlyRootFilesystem: nothing can be written but volumes', async () => {
    const script = 'touch /tmp/x /run/x /x /var/tmp/x; touch /data/ok && echo written';
    const source = join(world.directory, 'scratch');
    mkdirSync(source);
    const { output, errors } = await runToEnd(
      runtime,
      container('a', script, {
        name: 'locked',
        user: 0,
        group: 0,
        readOnlyRootFilesystem: true,
        mounts: [{ source, target: '/data', readOnly: false }],
      }),
    );
    assert.equal(output, 'written\n');
    assert.equal(errors.match(/Read-only file system/g)?.length, 4);
  });

  const targets = [
    { where: 'an existing file', target: '/etc/hosts', kind: 'file' },
    { where: 'a new directory in the root', target: '/data/deep/er', kind: 'directory' },
    { where: 'a new directory in a read-only one', target: '/etc/config/app', kind: 'directory' },
    { where: 'a new file in a read-only one', target: '/usr/share/app.conf', kind: 'file' },
    {
      where: 'the service account, below a link',
      target: '/var/run/secrets/kubernetes.io/serviceaccount',
      kind: 'directory',
    },
    { where: 'a scratch directory', target: '/tmp', kind: 'directory' },
  ];

  for (const { where, target, kind } of targets) {
    test(`a volume is mounted on ${where}`, async () => {
      const source = join(world.directory, `source-${kind}`);
      if (kind === 'directory') mkdirSync(source, { recursive: true });
      writeFileSync(kind === 'directory' ? join(source, 'key') : source, 'value\n');
      const path = kind === 'directory' ? `${target}/key` : target;
      const script = `cat ${path}; echo no >${path}; ls /etc/passwd /usr/share/misc >/dev/null`;
      const mounts = [{ source, target, readOnly: true }];
      const spec = container('a', script, { name: 'volume', mounts, user: 0, group: 0 });
      const { output, errors } = await runToEnd(runtime, {
        ...spec,
        id: `a/volume/${kind.length}`,
      });
      await runtime.remove(`a/volume/${kind.length}`);
      shell(`rm ${runtime.rawLogs(`a/volume/${kind.length}`).stdout.replace('stdout', '*')}`);
      assert.equal(output, 'value\n');
      assert.match(errors, /Read-only file system/);
    });
  }

  test('a host file mounted over itself through a dangling link', async () => {
    const link = join(world.directory, 'link');
    symlinkSync('/run/nowhere/resolv.conf', link);
    const source = join(world.directory, 'resolv');
    writeFileSync(source, 'nameserver 10.96.0.10\n');
    // A test may not change the host's /etc, so the link lies in the test's own directory.
    const holder = join(world.directory, 'etc');
    mkdirSync(holder);
    symlinkSync('/run/nowhere/resolv.conf', join(holder, 'resolv.conf'));
    const mounts = [
      { source: holder, target: '/srv', readOnly: true },
      { source, target: '/srv/resolv.conf', readOnly: true },
    ];
    const spec = container('a', 'cat /srv/resolv.conf', { name: 'link', mounts });
    const { output } = await runToEnd(runtime, spec);
    assert.equal(output, 'nameserver 10.96.0.10\n');
  });

  test('no mount of a container shows on the host', () => {
    const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .filter((line) => line.includes(world.directory));
    // Three pinned namespaces for each of two pods.
    assert.equal(mounts.length, 6);
    assert.ok(mounts.every((line) => line.includes(' nsfs ')));
  });

  test('a container does not keep the namespaces of other pods alive', () => {
    const mounts = readFileSync(`/proc/${firstProcess('b/idle/0')}/mountinfo`, 'utf8');
    assert.equal(mounts.includes('nsfs'), false);
  });
});

describe('rights', () => {
  const status = 'grep -E "^(Uid|Gid|Groups|CapEff|CapBnd|NoNewPrivs)" /proc/self/status';
  const none = '0000000000000000';
  const netAdmin = '0000000000001000';
  const table = [
    { name: 'nobody, without any', changes: {}, user: 65534, caps: none, bound: none, locked: 1 },
    {
      name: 'a user and groups of its own',
      changes: { user: 1000, group: 2000, supplementalGroups: [3000, 4000] },
      user: 1000,
      caps: none,
      bound: none,
      locked: 1,
    },
    {
      name: 'root without capabilities',
      changes: { user: 0, group: 0 },
      user: 0,
      caps: none,
      bound: none,
      locked: 1,
    },
    {
      name: 'one capability for a plain user',
      changes: { capabilities: { add: ['NET_ADMIN'], drop: ['ALL'] } },
      user: 65534,
      caps: netAdmin,
      bound: netAdmin,
      locked: 1,
    },
    {
      name: 'escalation where it is allowed',
      changes: { allowPrivilegeEscalation: true },
      user: 65534,
      caps: none,
      bound: none,
      locked: 0,
    },
  ];

  for (const [index, { name, changes, user, caps, bound, locked }] of table.entries()) {
    test(`[K14] ${name}`, async () => {
      const spec = container('a', status, { ...changes, name: `rights-${index}` });
      const { output } = await runToEnd(runtime, spec);
      const values = Object.fromEntries(
        output.split('\n').map((line) => line.split(':').map((part) => part.trim())),
      ) as Record<string, string>;
      assert.equal(values.Uid, Array(4).fill(user).join('\t'));
      assert.equal(values.Gid, Array(4).fill(spec.group).join('\t'));
      assert.equal(values.Groups, spec.supplementalGroups.join(' '));
      assert.deepEqual([values.CapEff, values.CapBnd], [caps, bound]);
      assert.equal(values.NoNewPrivs, String(locked));
    });
  }

  test('[K14] privileged: every capability, and the devices of the host', async () => {
    const script = 'grep CapEff /proc/self/status; test -e /dev/kmsg && echo devices';
    const spec = container('a', script, { name: 'god', user: 0, group: 0, privileged: true });
    const { output } = await runToEnd(runtime, spec);
    assert.equal(output, `${shell('grep CapEff /proc/self/status')}\ndevices\n`);
  });

  test('[K14] root without rights cannot change the kernel or reach a disk', async () => {
    const script =
      'echo 1 >/proc/sys/kernel/panic; echo 1 >/proc/sys/vm/drop_caches; ls /dev | wc -l; exit 0';
    const spec = container('a', script, { name: 'weak-root', user: 0, group: 0 });
    const { output, errors } = await runToEnd(runtime, spec);
    assert.equal(errors.match(/Read-only file system/g)?.length, 2);
    assert.ok(Number(output) < 20);
  });

  test('[K14] a variable for the loader takes effect after the rights are gone', async () => {
    const env = { LD_PRELOAD: '/tmp/none.so', 'dotted.name': 'x', PLAIN: 'y' };
    const spec = container('a', 'env', { name: 'env', env });
    const { output, errors } = await runToEnd(runtime, spec);
    for (const line of ['LD_PRELOAD=/tmp/none.so', 'dotted.name=x', 'PLAIN=y']) {
      assert.ok(output.split('\n').includes(line) || line.startsWith('dotted'), line);
    }
    // The loader complains for env(1) at the earliest: sh and the command, not setpriv or mount.
    assert.ok((errors.match(/cannot be preloaded/g)?.length ?? 0) <= 2);
  });
});

describe('life of a container', () => {
  const ends = [
    { name: 'an exit code', script: 'exit 7', exitCode: 7 },
    { name: 'success', script: 'true', exitCode: 0 },
    { name: 'a signal', script: 'kill -9 $$', exitCode: 137 },
  ];

  for (const [index, { name, script, exitCode }] of ends.entries()) {
    test(`[K16] it ends with ${name}`, async () => {
      const result = await runToEnd(runtime, container('a', script, { name: `end-${index}` }));
      assert.equal(result.exitCode, exitCode);
      assert.ok(result.state.kind === 'exited');
      assert.ok(result.state.finishedAt >= result.state.startedAt);
    });
  }

  test('[K19] TERM reaches the command, KILL takes all of it', async () => {
    const script = "trap 'echo got it; exit 3' TERM; echo up; while :; do sleep .05; done";
    await runtime.start(container('a', script, { name: 'polite' }));
    const { stdout } = runtime.rawLogs('a/polite/0');
    await eventually('it is up', () => readFileSync(stdout, 'utf8') === 'up\n');
    await runtime.signal('a/polite/0', 'SIGTERM');
    await eventually('it ends', () => runtime.state('a/polite/0')?.kind === 'exited');
    assert.equal(readFileSync(stdout, 'utf8'), 'up\ngot it\n');
    const state = runtime.state('a/polite/0')!;
    assert.equal(state.kind === 'exited' && state.exitCode, 3);

    await runtime.start(container('a', "trap '' TERM; sleep 4242 & wait", { name: 'rude' }));
    await eventually('sleep runs', () => attempt('pgrep -x -f "sleep 4242"') !== '');
    await runtime.signal('a/rude/0', 'SIGKILL');
    await eventually('it ends', () => runtime.state('a/rude/0')?.kind === 'exited');
    await eventually('its child too', () => attempt('pgrep -x -f "sleep 4242"') === '');
  });

  test('[K19] TERM right after the start is not lost', async () => {
    await runtime.start(container('a', 'exec sleep 1000', { name: 'early' }));
    await runtime.signal('a/early/0', 'SIGTERM');
    await eventually('it ends', () => runtime.state('a/early/0')?.kind === 'exited');
    const state = runtime.state('a/early/0')!;
    assert.equal(state.kind === 'exited' && state.exitCode, 143);
  });

  const failures = [
    {
      name: 'a missing program',
      changes: { command: ['no-such-program'] },
      text: /"no-such-program" is not an executable/,
    },
    { name: 'no command', changes: { command: [] }, text: /it has no command/ },
    {
      name: 'a missing directory',
      changes: { workingDir: '/nowhere' },
      text: /working directory "\/nowhere"/,
    },
    {
      name: 'a missing source',
      changes: { mounts: [{ source: '/nowhere', target: '/x', readOnly: true }] },
      text: /nowhere/,
    },
  ];

  for (const { name, changes, text } of failures) {
    test(`${name} is refused with its reason`, async () => {
      await assert.rejects(runtime.start(container('a', '', { name: 'bad', ...changes })), text);
      assert.equal(runtime.state('a/bad/0'), undefined);
    });
  }
});

describe('exec', () => {
  const id = 'a/idle/0';

  test('[K25] input, output, errors and the exit code come through', async () => {
    const script = 'cat; echo bad >&2; exit 5';
    const result = await runInside(runtime, id, script, { input: 'hello\n' });
    assert.deepEqual(result, { exitCode: 5, stdout: 'hello\n', stderr: 'bad\n' });
  });

  test('[K25] large output arrives whole', async () => {
    const { stdout } = await runInside(runtime, id, 'head -c 3000000 /dev/zero | tr "\\0" x');
    assert.equal(stdout.length, 3_000_000);
  });

  test('[K25] /dev/stdout can be opened', async () => {
    const { stdout } = await runInside(runtime, id, 'echo again >/dev/stdout');
    assert.equal(stdout, 'again\n');
  });

  test('[K25] it runs as the user and in the namespaces of the container', async () => {
    const script = 'id -u; hostname; grep -c . /proc/1/comm; grep CapBnd /proc/self/status';
    const { stdout } = await runInside(runtime, id, script);
    assert.equal(stdout, '65534\npod-a\n1\nCapBnd:\t0000000000000000\n');
  });

  test('[K25] a terminal has a size and a name', async () => {
    const session = await runtime.exec(id, { command: ['sh'], tty: true, stdin: true });
    let screen = '';
    session.stdout.on('data', (chunk: Buffer) => (screen += chunk.toString()));
    session.resize({ columns: 132, rows: 43 });
    session.stdin!.write('stty size; tty; exit 4\n');
    assert.equal(await session.exit, 4);
    await eventually('the screen shows it', () => screen.includes('/dev/pts/0'));
    assert.match(screen, /43 132\r\n/);
    session.resize({ columns: 80, rows: 25 });
  });

  test('[K25] a killed command ends', async () => {
    const session = await runtime.exec(id, { command: ['sleep', '100'], tty: false, stdin: false });
    session.kill();
    assert.equal(await session.exit, 137);
  });

  test('a container that has ended refuses', async () => {
    await assert.rejects(runInside(runtime, 'a/end-0/0', 'true'), /it does not run/);
  });
});
