/**
 * LoadBalancer Services: how soon an address answers, what the way through the balancer costs beside
 * the node port alone, and how long a dead node is felt.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { resources } from '../src/api/resources.ts';
import type { Lease, Pod, Service } from '../src/api/types.ts';
import type { Client } from '../src/client/client.ts';
import { createHttpClient } from '../src/client/http-client.ts';
import { loadKubeconfig } from '../src/client/kubeconfig.ts';
import type { LabConfig } from '../src/lab/config.ts';
import { quantile, report, type Figure } from './report.ts';

const namespace = 'default';
const warmServices = 20;
const connects = 3000;
const kills = 3;
const program = join(import.meta.dirname, '..', 'bin', 'fairlead');
const home = mkdtempSync(join(tmpdir(), 'fairlead-bench-'));
process.env.FAIRLEAD_ROOT = join(home, 'root');

type Bench = { readonly lab: LabConfig; readonly client: Client };

async function main(): Promise<void> {
  const figures: Figure[] = [];
  try {
    for (const kind of ['edge', 'layer2'] as const) {
      const up = run('up', '--load-balancer', kind, '--json');
      const { lab, kubeconfig } = JSON.parse(up) as { lab: LabConfig; kubeconfig: string };
      try {
        using client = createHttpClient(await loadKubeconfig(kubeconfig));
        const bench = { lab, client };
        await startPods(bench);
        figures.push(...(await measureFirstAnswer(bench, kind)));
        figures.push(...(await measureConnects(bench, kind)));
        figures.push(await measureKills(bench, kind));
      } finally {
        run('down');
      }
    }
    report('balancer', figures, process.argv.includes('--json'));
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
}

async function startPods({ lab, client }: Bench): Promise<void> {
  for (const node of lab.nodes) {
    await client.create<Pod>(resources.pods, {
      metadata: { namespace, name: `web-${node.name}`, labels: { app: 'web' } },
      spec: { nodeName: node.name, containers: [{ name: 'echo', image: 'fairlead/echo' }] },
    });
  }
  await readyPods(client);
}

async function readyPods(client: Client): Promise<void> {
  for (;;) {
    const { items } = await client.list<Pod>(resources.pods, { namespace });
    const isReady = ({ status }: Pod) =>
      status?.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True');
    if (items.every(isReady)) return;
    await sleep(50);
  }
}

/** From the request that creates the Service to the first connection that the client opened to it. */
async function measureFirstAnswer(bench: Bench, kind: string): Promise<Figure[]> {
  const times: number[] = [];
  for (let at = 0; at <= warmServices; at += 1) {
    const started = performance.now();
    const address = await addressOf(bench, `s${at}`);
    while ((await connectMs(address, 80, 300)) === undefined);
    times.push(performance.now() - started);
    if (at > 0) await bench.client.delete(resources.services, { namespace, name: `s${at}` });
  }
  const [first = Number.NaN, ...rest] = times;
  const sorted = rest.toSorted((a, b) => a - b);
  const unit = 'ms';
  return [
    { name: `${kind}: the first Service, created to answering`, value: first, unit },
    {
      name: `${kind}: another Service, median of ${warmServices}`,
      value: quantile(sorted, 0.5),
      unit,
    },
  ];
}

/** Connections one after the other, to the node port of a node and to the address by turns. */
async function measureConnects(bench: Bench, kind: string): Promise<Figure[]> {
  const address = await addressOf(bench, 's0');
  const { spec } = await bench.client.get<Service>(resources.services, { namespace, name: 's0' });
  const nodePort = spec.ports?.[0]?.nodePort ?? 0;
  const samples: Record<'node' | 'balanced', number[]> = { node: [], balanced: [] };
  for (let at = 0; at < connects; at += 1) {
    const node = bench.lab.nodes[at % bench.lab.nodes.length]!.ips[0]!;
    samples.node.push((await connectMs(node, nodePort, 1000)) ?? 1000);
    samples.balanced.push((await connectMs(address, 80, 1000)) ?? 1000);
  }
  const unit = 'us';
  return (['node', 'balanced'] as const).flatMap((what) => {
    const sorted = samples[what].toSorted((a, b) => a - b);
    const name = `${kind}: to connect to ${what === 'node' ? 'a node port' : 'the address'}`;
    return [
      { name: `${name}, median of ${connects}`, value: quantile(sorted, 0.5) * 1000, unit },
      { name: `${name}, p99`, value: quantile(sorted, 0.99) * 1000, unit },
    ];
  });
}

/**
 * A connection each 10 ms while a node loses its power; the worst of some kills counts. Policy Local: with
 * Cluster the living nodes would go on choosing the pod of the dead one until its endpoint is taken away.
 */
async function measureKills(bench: Bench, kind: 'edge' | 'layer2'): Promise<Figure> {
  const address = await addressOf(bench, 'local', { externalTrafficPolicy: 'Local' });
  let worst = 0;
  for (let at = 0; at < kills; at += 1) {
    let node = kind === 'edge' ? 'node-3' : '';
    while (node === '') node = await holderOf(bench, address);
    while ((await connectMs(address, 80, 300)) === undefined);
    worst = Math.max(worst, await failsFor(address, node));
    run('node', 'start', node);
    // Its agent is up and has said so before its pods are counted.
    await sleep(2000);
    await readyPods(bench.client);
  }
  return {
    name: `${kind}: last failed connection after a kill, worst of ${kills}`,
    value: worst,
    unit: 'ms',
    goal: kind === 'edge' ? '< 2000' : '< 6000',
  };
}

/** Milliseconds from the kill command to the last attempt that failed; it watches for six seconds. */
async function failsFor(address: string, node: string): Promise<number> {
  let last = 0;
  const pending = new Set<Promise<void>>();
  let since = performance.now();
  const timer = setInterval(() => {
    const at = performance.now();
    const attempt = connectMs(address, 80, 500).then((ms) => {
      if (ms === undefined) last = Math.max(last, at);
      pending.delete(attempt);
    });
    pending.add(attempt);
  }, 10);
  await sleep(300);
  since = performance.now();
  await once(spawn(program, ['node', 'kill', node], { stdio: 'ignore' }), 'exit');
  await sleep(6000);
  clearInterval(timer);
  await Promise.all(pending);
  return Math.max(0, last - since);
}

async function holderOf({ client }: Bench, address: string): Promise<string> {
  const { items } = await client.list<Lease>(resources.leases, { namespace: 'kube-system' });
  const lease = items.find(
    ({ metadata }) => metadata.annotations?.['fairlead.dev/address'] === address,
  );
  return lease?.spec?.holderIdentity ?? '';
}

/** The address of the Service, which is made if it is not there. */
async function addressOf(
  { client }: Bench,
  name: string,
  more: Partial<Service['spec']> = {},
): Promise<string> {
  const { items } = await client.list<Service>(resources.services, { namespace });
  if (!items.some(({ metadata }) => metadata.name === name)) {
    await client.create<Service>(resources.services, {
      metadata: { namespace, name },
      spec: {
        type: 'LoadBalancer',
        selector: { app: 'web' },
        ports: [{ port: 80, targetPort: 8080 }],
        ...more,
      },
    });
  }
  for (;;) {
    const { status } = await client.get<Service>(resources.services, { namespace, name });
    const ip = status?.loadBalancer?.ingress?.[0]?.ip;
    if (ip !== undefined) return ip;
    await sleep(2);
  }
}

/** How long a connection took to open; undefined when it did not in time. */
async function connectMs(host: string, port: number, timeoutMs: number) {
  const started = performance.now();
  const socket = connect({ host, port });
  const { promise, resolve } = Promise.withResolvers<number | undefined>();
  const timer = setTimeout(() => resolve(undefined), timeoutMs);
  socket.on('connect', () => resolve(performance.now() - started));
  socket.on('error', () => resolve(undefined));
  const ms = await promise;
  clearTimeout(timer);
  socket.destroy();
  return ms;
}

function run(...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`fairlead ${args.join(' ')}: ${stderr}`);
  return stdout;
}

await main();
