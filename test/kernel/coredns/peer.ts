/** CoreDNS as a process beside us, where its binary is present: `COREDNS`, or the first on the PATH. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import type { TestServer } from '../../../src/apiserver/test-server.ts';
import type { Asked } from '../dns-harness.ts';

export type Peer = { readonly at: Asked; stop(): Promise<void> };

export type PeerOptions = {
  readonly api: TestServer;
  readonly pods: string;
  /** An address of this machine; all are bound, since CoreDNS forgets its own with `bind`. */
  readonly host: string;
  /** Where names outside go; absent: nowhere. */
  readonly upstream?: string | undefined;
};

/** Undefined where there is no CoreDNS. */
export function corednsBinary(): string | undefined {
  const path = process.env.COREDNS ?? 'coredns';
  return spawnSync(path, ['-version']).status === 0 ? path : undefined;
}

/** Settles when it is ready, which is when it knows the whole cluster. */
export async function startCoredns(binary: string, options: PeerOptions): Promise<Peer> {
  const folder = mkdtempSync(join(tmpdir(), 'fairlead-coredns-'));
  const [port, ready] = [nextPort(), nextPort()];
  const file = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  const { api } = options;
  const tls = [file('cert', api.admin.cert), file('key', api.admin.key), file('ca', api.ca.cert)];
  const corefile = file('Corefile', corefileOf({ ...options, port, ready, tls }));
  const child = spawn(binary, ['-conf', corefile], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  child.stdout.on('data', (text: Buffer) => (output += text.toString()));
  child.stderr.on('data', (text: Buffer) => (output += text.toString()));
  const stop = async () => {
    await ended(child);
    rmSync(folder, { recursive: true, force: true });
  };
  const deadline = Date.now() + 30_000;
  // Ready says that it knows the cluster, not yet that it listens.
  while (!(await isReady(ready)) || !(await connects({ host: options.host, port }))) {
    if (child.exitCode !== null || Date.now() > deadline) {
      await stop();
      throw new Error(`CoreDNS is not ready:\n${output}`);
    }
    await sleep(20);
  }
  return { at: { host: options.host, port }, stop };
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await exit;
}

async function isReady(port: number): Promise<boolean> {
  try {
    return (await fetch(`http://127.0.0.1:${port}/ready`)).ok;
  } catch {
    return false;
  }
}

function connects(at: Asked): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(at, () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });
}

let lastPort = 5300;

/** Below the range that connections take theirs from: free over UDP and TCP in a network of our own. */
export function nextPort(): number {
  lastPort += 1;
  return lastPort;
}

type CorefileOptions = PeerOptions & {
  readonly port: number;
  readonly ready: number;
  readonly tls: readonly string[];
};

function corefileOf({ api, pods, upstream, port, ready, tls }: CorefileOptions): string {
  const outside = upstream === undefined ? '' : `forward . ${upstream}`;
  return `.:${port} {
    ready 127.0.0.1:${ready}
    kubernetes cluster.local in-addr.arpa ip6.arpa {
      endpoint ${api.url}
      tls ${tls.join(' ')}
      pods ${pods}
      ttl 30
      ${upstream === undefined ? '' : 'fallthrough in-addr.arpa ip6.arpa'}
    }
    loadbalance
    ${outside}
}
`;
}
