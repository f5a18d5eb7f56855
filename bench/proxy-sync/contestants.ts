/** The proxies that are measured, each a process fed by the same objects. */
import { fork, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { build } from 'esbuild';
import type { Sync } from '../../src/proxy/options.ts';
import type { Feed } from './feed.ts';
import { NODE, NODE_IP, POD_CIDR } from './objects.ts';
import type { Told } from './ours.ts';

export type Running = {
  readonly child: ChildProcess;
  /** Settles when the kernel holds the rules of everything listed. */
  readonly ready: Promise<void>;
  /** Our own proxy tells what it did since the last call. */
  readonly syncs?: () => Promise<readonly Sync[]>;
};

export type Contestant = {
  readonly name: string;
  /** iptables-restore commits table by table: the last one counts. */
  readonly severalCommits?: true;
  start(feed: Feed, home: string): Running;
};

/** Our proxy runs from one file, as `bin/fairlead` runs it: the sources would count as its memory. */
export const bundle = join(import.meta.dirname, '../../node_modules/.cache/bench/proxy-sync.js');

export async function bundleOurs(): Promise<void> {
  await build({
    entryPoints: [join(import.meta.dirname, 'ours.ts')],
    outfile: bundle,
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node26',
    external: ['koffi', 'yaml'],
    logLevel: 'warning',
    banner: {
      js: "import { createRequire as createRequireOfBundle } from 'node:module'; const require = createRequireOfBundle(import.meta.url);",
    },
  });
}

export const ours: Contestant = {
  name: 'fairlead',
  start(feed) {
    const flags = process.argv.filter((flag) => /^--(cpu|heap)-prof$/.test(flag));
    const child = fork(bundle, { execArgv: flags });
    child.send({ server: feed.url, ca: feed.ca.cert });
    return {
      child,
      ready: once(child, 'message').then(() => undefined),
      async syncs() {
        child.send('syncs');
        const [told] = (await once(child, 'message')) as [Told];
        return told.syncs;
      },
    };
  },
};

/** kube-proxy where its binary is: `$KUBE_PROXY`, or on the PATH. */
export function kubeProxies(): Contestant[] {
  const binary = findKubeProxy();
  if (binary === undefined) return [];
  return (['nftables', 'iptables'] as const).map((mode) => ({
    name: `kube-proxy ${mode}`,
    ...(mode === 'iptables' ? { severalCommits: true as const } : {}),
    start: (feed, home) => startKubeProxy(binary, mode, feed, home),
  }));
}

function findKubeProxy(): string | undefined {
  const named = process.env.KUBE_PROXY;
  if (named !== undefined) return named;
  const folders = (process.env.PATH ?? '').split(delimiter);
  return folders.map((folder) => join(folder, 'kube-proxy')).find((file) => existsSync(file));
}

function startKubeProxy(binary: string, mode: string, feed: Feed, home: string): Running {
  const kubeconfig = join(home, 'kubeconfig');
  writeFileSync(
    kubeconfig,
    JSON.stringify({
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': 'feed',
      contexts: [{ name: 'feed', context: { cluster: 'feed', user: 'feed' } }],
      clusters: [{ name: 'feed', cluster: { server: feed.url, 'insecure-skip-tls-verify': true } }],
      users: [{ name: 'feed', user: { token: 'none' } }],
    }),
  );
  const config = join(home, 'kube-proxy.json');
  writeFileSync(
    config,
    JSON.stringify({
      apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
      kind: 'KubeProxyConfiguration',
      mode,
      hostnameOverride: NODE,
      bindAddress: NODE_IP,
      clusterCIDR: POD_CIDR,
      clientConnection: { kubeconfig, contentType: 'application/json', qps: 1000, burst: 1000 },
      // As fast as it can: its defaults wait up to a second.
      nftables: { minSyncPeriod: '1ms' },
      iptables: { minSyncPeriod: '1ms' },
      conntrack: { maxPerCore: 0, min: 0 },
    }),
  );
  const child = spawn(binary, ['--config', config, '--v', '0'], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let errors = '';
  child.stderr.on('data', (text: Buffer) => (errors = (errors + text.toString()).slice(-4000)));
  return { child, ready: synced(child, () => errors) };
}

/** kube-proxy says by its metrics when it has synced. */
async function synced(child: ChildProcess, errors: () => string): Promise<void> {
  for (;;) {
    if (child.exitCode !== null) throw new Error(`kube-proxy ended: ${errors()}`);
    const text = await fetch('http://127.0.0.1:10249/metrics').then(
      (answer) => answer.text(),
      () => '',
    );
    const count = /^kubeproxy_sync_proxy_rules_last_timestamp_seconds(?:\{.*\})? (\S+)/m.exec(text);
    if (Number(count?.[1] ?? 0) > 0) return;
    await sleep(20);
  }
}

/** Empties the namespace's ruleset, whoever made it. */
export function flushRuleset(): void {
  const { status, stderr } = spawnSync('nft', ['flush', 'ruleset'], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`nft flush ruleset failed: ${stderr}`);
}
