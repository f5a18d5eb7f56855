/**
 * Containers that read: run -i, run -it, attach and port-forward on a running lab, with every
 * kubectl of this machine. script(1) of util-linux gives kubectl a terminal of its own.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import {
  Cluster,
  componentPids,
  environment,
  eventually,
  kubectlBinaries,
  removeHome,
  run,
  start,
} from './harness.ts';

const lab = 'interactive';
let cluster: Cluster;
before(async () => {
  cluster = await Cluster.up(lab, '--nodes', '1');
  Object.assign(environment, { KUBECONFIG: cluster.kubeconfig });
});
after(async () => {
  await cluster.down();
  removeHome();
});

const host = ['--image=host', '--restart=Never'];

/** A command that is typed at, and what it has said so far. */
class Session {
  readonly #child;
  #text = '';

  constructor(command: string, ...args: readonly string[]) {
    this.#child = start(command, args);
    this.#child.stdout!.on('data', (chunk: Buffer) => (this.#text += chunk.toString()));
    this.#child.stderr!.on('data', (chunk: Buffer) => (this.#text += chunk.toString()));
    this.#child.stdin!.on('error', () => {});
  }

  /** On a terminal, in a window of 91 columns and 37 rows. */
  static onTerminal(line: string): Session {
    return new Session('script', '-qec', `stty cols 91 rows 37; ${line}`, '/dev/null');
  }

  get text(): string {
    return this.#text;
  }

  type(text: string): void {
    this.#child.stdin!.write(text);
  }

  endInput(): void {
    this.#child.stdin!.end();
  }

  async says(pattern: RegExp): Promise<void> {
    try {
      await eventually(`${pattern} is said`, () => pattern.test(this.#text));
    } catch (error) {
      throw new Error(`it said: ${JSON.stringify(this.#text)}`, { cause: error });
    }
  }

  async code(): Promise<number> {
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), 15_000);
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      await once(this.#child, 'close');
    }
    clearTimeout(timer);
    return this.#child.exitCode ?? 137;
  }

  async kill(): Promise<void> {
    this.#child.kill('SIGTERM');
    await this.code();
  }
}

/** A pod whose container has the given fields, running. */
async function makePod(name: string, fields: Record<string, unknown>): Promise<void> {
  const container = { name: 'main', image: 'host', ...fields };
  const spec = {
    restartPolicy: 'Never',
    terminationGracePeriodSeconds: 0,
    containers: [container],
  };
  const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name, labels: { app: name } }, spec };
  await cluster.apply(JSON.stringify(pod));
  await cluster.kubectlOk('wait', '--for=condition=Ready', `pod/${name}`);
}

async function stateOf(pod: string): Promise<Record<string, { exitCode?: number }>> {
  type Pod = { status: { containerStatuses?: { state: Record<string, { exitCode?: number }> }[] } };
  const { status } = await cluster.json<Pod>('pod', pod);
  return status.containerStatuses?.[0]?.state ?? {};
}

const binaries = kubectlBinaries();
test('there is a kubectl to test with', () => assert.ok(binaries.length > 0));

for (const { version, path } of binaries) {
  const named = (name: string) => `${name}-${version.replaceAll('.', '-').toLowerCase()}`;

  describe(version, () => {
    test('[K25] run -i: input arrives whole, its end too', async () => {
      const input = randomBytes(200_000).toString('hex');
      const args = ['run', '-i', '--rm', '--quiet', named('cat'), ...host, '--', 'cat'];
      const ran = await run(path, args, input);
      assert.equal(ran.code, 0, ran.stderr);
      assert.ok(ran.stdout.startsWith(input), `${ran.stdout.length} characters came back`);
    });

    test('[K25] run -i: both outputs and the exit code', async () => {
      const script = 'read -r line; echo "out $line"; echo err >&2; exit 3';
      const args = [
        'run',
        '-i',
        '--rm',
        '--quiet',
        named('code'),
        ...host,
        '--',
        'sh',
        '-c',
        script,
      ];
      const ran = await run(path, args, 'word\n');
      assert.match(ran.stdout, /^out word\n/);
      assert.match(ran.stderr, /^err$/m);
      assert.equal(ran.code, 3);
    });

    test('[K25] run -it: a prompt, a terminal with a size that changes, the exit code', async () => {
      const command = `run -it --rm ${named('sh')} ${host.join(' ')} --env=PS1=ready: -- sh`;
      const resize = '(while ! [ -e $TMPDIR/resize ]; do sleep 0.05; done; stty cols 70 rows 20)';
      const session = Session.onTerminal(`${resize} < /dev/tty & ${path} ${command}`);
      await session.says(/ready:/);
      session.type('tty; echo $TERM; stty size\n');
      await session.says(/\/dev\/pts\/0\r?\nxterm\r?\n37 91/);
      session.type('trap "stty size" WINCH; sleep 0.1 && echo set\n');
      await session.says(/\nset/);
      await run('touch', [`${environment.TMPDIR}/resize`]);
      await eventually('the new size', () => {
        session.type('stty size\n');
        return session.text.includes('20 70');
      });
      await run('rm', [`${environment.TMPDIR}/resize`]);
      session.type('exit 5\n');
      assert.equal(await session.code(), 5);
    });

    test('[K25] run -it: Ctrl-C reaches the command, Ctrl-D ends the shell', async () => {
      const command = `run -it --rm ${named('keys')} ${host.join(' ')} --env=PS1=ready: -- sh`;
      const session = Session.onTerminal(`${path} ${command}`);
      await session.says(/ready:/);
      session.type('sleep 1000; echo "ended $?"\n');
      await session.says(/ended/);
      session.type('\x03');
      await session.says(/\^C/);
      session.type('echo still $((1 + 1))\n');
      await session.says(/still 2/);
      session.type('\x04');
      assert.equal(await session.code(), 0);
    });

    test('[K25] attach -it: later clients meet the same shell', async () => {
      const name = named('shell');
      await makePod(name, { command: ['sh'], stdin: true, tty: true });
      const first = Session.onTerminal(`${path} attach -it ${name}`);
      await first.says(/\$ /);
      first.type('word=kept; echo "it is $word"\n');
      await first.says(/it is kept/);
      await first.kill();
      const second = Session.onTerminal(`${path} attach -it ${name}`);
      await eventually('an answer', () => {
        second.type('echo "still $word"\n');
        return second.text.includes('still kept');
      });
      assert.doesNotMatch(second.text, /it is kept/);
      second.type('exit\n');
      assert.equal(await second.code(), 0);
      await eventually('it has ended', async () => (await stateOf(name))['terminated']);
    });

    test('[K25] attach -i: input without stdinOnce stays open, with it it ends', async () => {
      const script = 'while read -r line; do echo "got $line"; done; exit 4';
      const names = { open: named('open'), once: named('once') };
      const common = { command: ['sh', '-c', script], stdin: true };
      await makePod(names.open, common);
      await makePod(names.once, { ...common, stdinOnce: true });
      for (const word of ['one', 'two']) {
        const session = new Session(path, 'attach', '-i', names.open);
        session.type(`${word}\n`);
        await session.says(new RegExp(`got ${word}`));
        await session.kill();
      }
      const session = new Session(path, 'attach', '-i', names.once);
      session.type('last\n');
      await session.says(/got last/);
      await session.kill();
      const ended = await eventually(
        'it has ended',
        async () => (await stateOf(names.once))['terminated'],
      );
      assert.equal(ended.exitCode, 4);
      assert.ok((await stateOf(names.open))['running']);
      assert.equal(await cluster.kubectlOk('logs', names.open), 'got one\ngot two\n');
    });

    for (const address of ['127.0.0.1', '::1']) {
      test(`[K25] [A108] [A109] port-forward reaches ${address} of the pod`, async () => {
        const name = named(address === '::1' ? 'local6' : 'local4');
        const serve = ['python3', '-m', 'http.server', '8000', '--bind', address];
        const url = `http://${address === '::1' ? '[::1]' : address}:8000/`;
        const readinessProbe = { exec: { command: ['curl', '-sf', url] }, periodSeconds: 1 };
        await makePod(name, { command: serve, workingDir: '/usr/share', readinessProbe });
        await cluster.kubectlOk('expose', 'pod', name, '--port=80', '--target-port=8000');
        for (const what of [
          [`pod/${name}`, ':8000'],
          [`svc/${name}`, ':80'],
        ]) {
          const forward = new Session(path, 'port-forward', ...what);
          await forward.says(/127\.0\.0\.1:\d+ ->/);
          const port = /127\.0\.0\.1:(\d+) ->/.exec(forward.text)?.[1];
          const answers = await Promise.all(
            Array.from({ length: 5 }, () => run('curl', ['-sS', `http://127.0.0.1:${port}/`])),
          );
          for (const { stdout, stderr } of answers)
            assert.match(stdout, /Directory listing/, stderr);
          await forward.kill();
        }
      });
    }

    test('[K25] [A108] port-forward to a port where nobody listens says so', async () => {
      const name = named('nobody');
      await makePod(name, { image: 'fairlead/pause' });
      const forward = new Session(path, 'port-forward', `pod/${name}`, ':9');
      await forward.says(/127\.0\.0\.1:\d+ ->/);
      const port = /127\.0\.0\.1:(\d+) ->/.exec(forward.text)?.[1];
      await run('curl', ['-sS', `http://127.0.0.1:${port}/`]);
      await forward.says(/ECONNREFUSED/);
      await forward.kill();
    });
  });
}

describe('an agent that is killed', () => {
  test('[K6] [K25] leaves a terminal as it is, and its shell goes on', async () => {
    await makePod('survivor', { command: ['sh'], stdin: true, tty: true });
    const first = Session.onTerminal(`${cluster.kubectlPath} attach -it survivor`);
    await first.says(/\$ /);
    first.type('word=kept; (sleep 1; echo "said while nobody looked") &\n');
    await first.says(/nobody looked/);
    await restartAgent('survivor');
    await first.code();
    const second = Session.onTerminal(`${cluster.kubectlPath} attach -it survivor`);
    await eventually('an answer', () => {
      second.type('echo "still $word"\n');
      return second.text.includes('still kept');
    });
    second.type('wait; exit 6\n');
    await second.code();
    const ended = await eventually(
      'it ends',
      async () => (await stateOf('survivor'))['terminated'],
    );
    assert.equal(ended.exitCode, 6);
    assert.match(await cluster.kubectlOk('logs', 'survivor'), /said while nobody looked\r?$/m);
  });

  test('[K6] [K25] ends the input of its client, and no other', async () => {
    const common = { command: ['sh', '-c', 'cat; exit 7'], stdin: true, stdinOnce: true };
    await makePod('attended', common);
    await makePod('unattended', common);
    const session = new Session(cluster.kubectlPath, 'attach', '-i', 'attended');
    session.type('here\n');
    await session.says(/here/);
    await restartAgent('unattended');
    const ended = await eventually(
      'it ends',
      async () => (await stateOf('attended'))['terminated'],
    );
    assert.equal(ended.exitCode, 7);
    assert.ok((await stateOf('unattended'))['running']);
    await session.code();
  });
});

/** Kills the node's agent; its supervisor starts the next one, which knows the pod. */
async function restartAgent(pod: string): Promise<void> {
  const before = componentPids(lab, 'node-1').main;
  process.kill(before, 'SIGKILL');
  await eventually('another agent', () => componentPids(lab, 'node-1').main !== before);
  await eventually(
    'it answers',
    async () => (await cluster.kubectl('exec', pod, '--', 'true')).code === 0,
  );
}
