/**
 * kube-proxy itself, where its binary is present (`KUBE_PROXY`, or on the PATH): its pages beside
 * ours, and a node that changes from it to us under load and back.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { ADDRESSES, buildTopology, TARGET_PORT, type Topology } from '../kernel/proxy-topology.ts';
import { eventually } from './harness.ts';
import { page, ProxyProcess, startWorld, type World } from './proxy-world.ts';

const binary = process.env.KUBE_PROXY ?? 'kube-proxy';
const present = spawnSync(binary, ['--version']).status === 0;
const skip = present ? false : 'kube-proxy is not on this machine: nothing compared';

const { node, local, local2 } = ADDRESSES.ipv4;
const VIP = '10.96.0.20';
const PAGES = [
  [10_249, '/healthz'],
  [10_249, '/proxyMode'],
  [10_249, '/configz'],
  [10_249, '/metrics/slis'],
  [10_249, '/'],
  [10_256, '/healthz'],
  [10_256, '/livez'],
  [10_256, '/other'],
] as const;

let topology: Topology;
let world: World;
let kubeProxy: ChildProcess | undefined;
let ours: ProxyProcess | undefined;
let config: string;

before(async () => {
  if (!present) return;
  topology = await buildTopology();
  world = await startWorld();
  config = join(world.dir, 'config.yaml');
  writeFileSync(
    config,
    `apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
hostnameOverride: node-1
clientConnection: {kubeconfig: ${world.kubeconfig}}
clusterCIDR: 10.244.0.0/16
conntrack: {maxPerCore: 0, min: 0}
`,
  );
  await world.kubectl('apiVersion: v1\nkind: Node\nmetadata: {name: node-1}\n', 'apply', '-f', '-');
  await world.api.ask('PATCH /api/v1/nodes/node-1/status', {
    type: 'application/merge-patch+json',
    body: { status: { addresses: [{ type: 'InternalIP', address: node }] } },
  });
  await world.kubectl(OBJECTS, 'apply', '-f', '-');
});
after(async () => {
  kubeProxy?.kill('SIGKILL');
  await ours?.end();
  if (!present) return;
  await world.stop();
  topology[Symbol.dispose]();
});

const OBJECTS = `
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  clusterIP: ${VIP}
  ports: [{port: 80}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: "", protocol: TCP, port: ${TARGET_PORT}}]
endpoints:
- {addresses: ["${local}"], nodeName: node-1, conditions: {ready: true}}
- {addresses: ["${local2}"], nodeName: node-1, conditions: {ready: true}}
`;

async function startKubeProxy(): Promise<ChildProcess> {
  const child = spawn(binary, ['--config', config], { stdio: 'ignore' });
  await eventually('kube-proxy', async () => (await page(10_256, '/healthz')).code === 200, 60);
  await eventually('its rules', async () => (await serverOf()) !== 'ETIMEDOUT', 60);
  return child;
}

async function startOurs(): Promise<ProxyProcess> {
  const proxy = new ProxyProcess(['--config', config]);
  await eventually('our rules', () =>
    proxy.log.includes('the rules of all Services are in the kernel'),
  );
  return proxy;
}

async function serverOf(): Promise<string> {
  const [reply] = await topology.outside.ask({ protocol: 'TCP', address: VIP, port: 80 });
  return 'server' in reply! ? reply.server : reply!.error;
}

/** The names of everything in it, so that values may differ. */
function shapeOf(value: unknown, path = ''): string[] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return [path];
  return Object.entries(value).flatMap(([key, inner]) => shapeOf(inner, `${path}.${key}`));
}

type Recorded = { code: number; text: string };

async function record(): Promise<{ pages: Map<string, Recorded>; metrics: Set<string> }> {
  const pages = new Map<string, Recorded>();
  for (const [port, path] of PAGES) pages.set(`${port}${path}`, await page(port, path));
  const { text } = await page(10_249, '/metrics');
  const types = [...text.matchAll(/^# TYPE (kubeproxy_\S+ \S+)$/gm)].map(([, type]) => type!);
  return { pages, metrics: new Set(types) };
}

test(
  'the pages of kube-proxy and ours have the same codes, texts and fields',
  { skip },
  async () => {
    kubeProxy = await startKubeProxy();
    const theirs = await record();
    kubeProxy.kill('SIGKILL');
    await once(kubeProxy, 'exit');
    ours = await startOurs();
    const mine = await record();
    for (const [name, want] of theirs.pages) {
      const found = mine.pages.get(name)!;
      assert.equal(found.code, want.code, name);
      if (!want.text.startsWith('{')) continue;
      const shapes = new Set(shapeOf(JSON.parse(found.text)));
      const missing = shapeOf(JSON.parse(want.text)).filter((path) => !shapes.has(path));
      // How its log is buffered.
      const real = missing.filter(
        (path) => !/Logging\.(flushFrequency|options)|Winkernel/.test(path),
      );
      assert.deepEqual(real, [], name);
    }
    for (const name of ['10249/healthz', '10249/proxyMode', '10249/', '10256/other']) {
      assert.equal(mine.pages.get(name)?.text, theirs.pages.get(name)?.text, name);
    }
    const unknown = [...theirs.metrics].filter((type) => !mine.metrics.has(type));
    assert.deepEqual(unknown, [], 'every metric of kube-proxy');
  },
);

test('[P133] from kube-proxy to us and back: nobody is refused meanwhile', { skip }, async () => {
  await ours?.end();
  execFileSync('nft', ['flush', 'ruleset']);
  kubeProxy = await startKubeProxy();
  const servers = new Map<string, number>();
  const asking = new AbortController();
  const asked = (async () => {
    while (!asking.signal.aborted) {
      const server = await serverOf();
      servers.set(server, (servers.get(server) ?? 0) + 1);
    }
  })();
  kubeProxy.kill('SIGKILL');
  await once(kubeProxy, 'exit');
  ours = await startOurs();
  await eventually('theirs to go', () => !tables().includes('kube-proxy'));
  assert(tables().includes('fairlead'));
  await ours.end();
  kubeProxy = await startKubeProxy();
  const cleanup = new ProxyProcess(['--cleanup', 'own']);
  assert.equal(await cleanup.exited, 0);
  await new Promise((resolve) => setTimeout(resolve, 300));
  asking.abort();
  await asked;
  const total = [...servers.values()].reduce((sum, count) => sum + count, 0);
  assert(total > 100, `only ${total} asked`);
  const refused = [...servers].filter(([server]) => server !== local && server !== local2);
  assert.deepEqual(refused, []);
});

function tables(): string {
  return execFileSync('nft', ['list', 'tables'], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
}
