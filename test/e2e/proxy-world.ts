/**
 * A node with nothing of ours on it but `fairlead proxy`: an API server that others write to, a
 * relay in front of it that can be cut, pods made by hand, and the proxy as a process.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { get } from 'node:http';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { kubeconfigText } from '../../src/apiserver/pki/kubeconfig.ts';
import { startTestServer, type TestServer } from '../../src/apiserver/test-server.ts';
import { newestKubectl, run } from './harness.ts';

const program = join(import.meta.dirname, '..', '..', 'bin', 'fairlead');

/** Passes TCP on, until it is cut: then it refuses, as a server that is down. */
export class Relay {
  readonly #target: number;
  readonly #sockets = new Set<Socket>();
  #server: Server | undefined;
  port = 0;

  constructor(target: number) {
    this.#target = target;
  }

  async open(): Promise<void> {
    const server = createServer((near) => {
      const far = connect(this.#target, '127.0.0.1');
      for (const [one, other] of [
        [near, far],
        [far, near],
      ] as const) {
        this.#sockets.add(one);
        one.on('error', () => other.destroy());
        one.on('close', () => this.#sockets.delete(one));
        one.pipe(other);
      }
    });
    await once(server.listen(this.port, '127.0.0.1'), 'listening');
    this.port = (server.address() as { port: number }).port;
    this.#server = server;
  }

  cut(): void {
    this.#server?.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}

const running = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/** One run of `fairlead proxy`. */
export class ProxyProcess {
  readonly #child: ChildProcess;
  log = '';
  readonly exited: Promise<number | null>;

  /** `through` is a command that runs it. */
  constructor(args: readonly string[], { through = [] }: { through?: readonly string[] } = {}) {
    const [command = program, ...more] = [...through, program, 'proxy', ...args];
    this.#child = spawn(command, more, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, NODE_TEST_CONTEXT: undefined },
    });
    for (const stream of [this.#child.stdout!, this.#child.stderr!]) {
      stream.setEncoding('utf8').on('data', (text: string) => (this.log += text));
    }
    this.exited = once(this.#child, 'exit').then(([code]) => code as number | null);
    running.add(this.#child);
  }

  /** The launcher becomes the program, so this is the program's. */
  get pid(): number {
    return this.#child.pid!;
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  async end(): Promise<number | null> {
    this.kill('SIGTERM');
    return this.exited;
  }
}

export type World = {
  readonly api: TestServer;
  readonly relay: Relay;
  readonly dir: string;
  /** Leads through the relay. */
  readonly kubeconfig: string;
  /** `kubectl` straight to the API server, as others use it; throws unless it succeeds. */
  kubectl(input: string, ...args: string[]): Promise<string>;
  stop(): Promise<void>;
};

export async function startWorld(): Promise<World> {
  const api = await startTestServer({ serviceCidrs: ['10.96.0.0/16', 'fd00:10:96::/112'] });
  const relay = new Relay(Number(new URL(api.url).port));
  await relay.open();
  const dir = mkdtempSync(join(tmpdir(), 'fairlead-standalone-'));
  const write = (name: string, server: string) => {
    const path = join(dir, name);
    const text = kubeconfigText({ name: 'foreign', server, ca: api.ca.cert, client: api.admin });
    writeFileSync(path, text);
    return path;
  };
  const direct = write('direct.conf', api.url);
  const kubectlPath = newestKubectl();
  return {
    api,
    relay,
    dir,
    kubeconfig: write('kubeconfig.conf', `https://127.0.0.1:${relay.port}`),
    async kubectl(input, ...args) {
      const { code, stdout, stderr } = await run(
        kubectlPath,
        ['--kubeconfig', direct, ...args],
        input,
      );
      if (code !== 0) throw new Error(`kubectl ${args.join(' ')}: ${stderr}`);
      return stdout;
    },
    async stop() {
      relay.cut();
      await api.stop();
      rmSync(dir, { recursive: true });
    },
  };
}

export type Page = { readonly code: number; readonly text: string };

/** A page on loopback; code 0 when nothing answers. */
export function page(port: number, path: string, host = '127.0.0.1'): Promise<Page> {
  return new Promise((resolve) => {
    const question = get({ host, port, path, agent: false, timeout: 2000 }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
      response.on('end', () => resolve({ code: response.statusCode ?? 0, text }));
    });
    question.on('timeout', () => question.destroy());
    question.on('error', (error) => resolve({ code: 0, text: String(error) }));
  });
}
