/**
 * What the whole way costs in a large cluster: thousands of nodes and pods that exist in the API alone,
 * one real node that follows them. From a pod's readiness in the API to its slice, and to the rule.
 *
 *     npm run bench -- through-api [--nodes 1000] [--pods 5000] [--services 200] [--json]
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { resources } from '../src/api/resources.ts';
import type { EndpointSlice } from '../src/api/types.ts';
import type { Client } from '../src/client/client.ts';
import { createHttpClient } from '../src/client/http-client.ts';
import { loadKubeconfig } from '../src/client/kubeconfig.ts';
import { within } from '../src/kernel/namespace/within.ts';
import { monitorRuleset } from '../src/kernel/nftables/index.ts';
import type { LabConfig } from '../src/lab/config.ts';
import { labPaths, nodeNamespaces } from '../src/lab/paths.ts';
import { findComponent } from '../src/lab/processes.ts';
import { cpuSeconds, memory } from './proxy-sync/processes.ts';
import { quantile, report, type Figure } from './report.ts';

const { values: options } = parseArgs({
  options: {
    nodes: { type: 'string', default: '1000' },
    pods: { type: 'string', default: '5000' },
    services: { type: 'string', default: '200' },
    json: { type: 'boolean', default: false },
  },
});
const CHANGES = 100;
const PATIENCE_MS = 600_000;
const COMPONENTS = ['server', 'fakes', 'node-1'];
const namespace = 'fake';
const pods = Number(options.pods);
const program = join(import.meta.dirname, '..', 'bin', 'fairlead');
const home = mkdtempSync(join(tmpdir(), 'fairlead-bench-'));
process.env.FAIRLEAD_ROOT = join(home, 'root');
const figures: Figure[] = [];

try {
  const { nodes, services } = options;
  const fakes = ['--fake-nodes', nodes, '--fake-pods', options.pods, '--fake-services', services];
  const up = JSON.parse(run('up', '--nodes', '1', ...fakes, '--json')) as {
    lab: LabConfig;
    kubeconfig: string;
  };
  try {
    using client = createHttpClient(await loadKubeconfig(up.kubeconfig));
    await fill(up.lab, client);
    await changeOne(up.lab, client);
    await rest(up.lab);
  } finally {
    run('down');
  }
} finally {
  rmSync(home, { recursive: true, force: true });
}
report(`through-api`, figures, options.json);

/** Until every pod is an endpoint and the kernel has been told. */
async function fill(lab: LabConfig, client: Client): Promise<void> {
  const startedAt = performance.now();
  while ((await readyEndpoints(client)) < pods) {
    if (performance.now() - startedAt > PATIENCE_MS) throw new Error('the pods were not made');
    await sleep(500);
  }
  const seconds = (performance.now() - startedAt) / 1000;
  const label = `${options.nodes} nodes, ${pods} pods, ${options.services} Services`;
  note(`${label}: until all are endpoints`, seconds, 's');
  note('pods a second', pods / seconds, '');
  costs(lab, 'while they come');
}

async function readyEndpoints(client: Client): Promise<number> {
  const { items } = await client.list<EndpointSlice>(resources.endpointslices, { namespace });
  return items.reduce(
    (sum, slice) => sum + slice.endpoints.filter((end) => end.conditions?.ready).length,
    0,
  );
}

/** A pod's readiness goes and comes back. */
async function changeOne(lab: LabConfig, client: Client): Promise<void> {
  await sleep(3000);
  const { net } = nodeNamespaces(labPaths(lab.name), 'node-1');
  const before = cpuOf(lab);
  const slice: number[] = [];
  const rule: number[] = [];
  const abort = new AbortController();
  const { resourceVersion } = await client.list(resources.endpointslices);
  let onSlice: ((at: number) => void) | undefined;
  let onRule: ((at: number) => void) | undefined;
  const events = client.watch(resources.endpointslices, { resourceVersion, signal: abort.signal });
  const watching = (async () => {
    for await (const { type } of events) if (type !== 'BOOKMARK') onSlice?.(performance.now());
  })();
  using _monitor = within({ net }, () =>
    monitorRuleset((event) => {
      if (event.kind === 'generation') onRule?.(performance.now());
    }),
  );
  for (let round = 0; round < CHANGES; round += 1) {
    const sliced = new Promise<number>((resolve) => (onSlice = resolve));
    const ruled = new Promise<number>((resolve) => (onRule = resolve));
    const startedAt = performance.now();
    await setReady(client, `pod-${Math.floor(round / 2) * 7}`, round % 2 === 1);
    slice.push((await sliced) - startedAt);
    rule.push((await ruled) - startedAt);
    await sleep(10);
  }
  abort.abort();
  await watching;
  spread("a pod's readiness to its slice", slice);
  spread("a pod's readiness to the rule", rule);
  for (const [at, component] of COMPONENTS.entries()) {
    const ms = ((cpuOf(lab)[at]! - before[at]!) / CHANGES) * 1000;
    note(`${component}: CPU of one change`, ms, 'ms');
  }
}

async function setReady(client: Client, name: string, ready: boolean): Promise<void> {
  const condition = { type: 'Ready', status: ready ? 'True' : 'False' };
  await client.patch(
    resources.pods,
    { namespace, name },
    { status: { conditions: [condition] } },
    { type: 'strategic', subresource: 'status' },
  );
}

async function rest(lab: LabConfig): Promise<void> {
  await sleep(2000);
  const before = cpuOf(lab);
  await sleep(10_000);
  for (const [at, component] of COMPONENTS.entries()) {
    note(`${component}: CPU at rest`, (cpuOf(lab)[at]! - before[at]!) * 10, '% of a core');
  }
  costs(lab, 'at the end');
}

function costs(lab: LabConfig, when: string): void {
  for (const [at, component] of COMPONENTS.entries()) {
    note(`${component}: CPU so far, ${when}`, cpuOf(lab)[at]!, 's');
    note(`${component}: memory, ${when}`, memory(pidOf(lab, component)).now, 'MB');
  }
}

function cpuOf(lab: LabConfig): number[] {
  return COMPONENTS.map((component) => cpuSeconds(pidOf(lab, component)));
}

function pidOf(lab: LabConfig, component: string): number {
  const { main } = findComponent(labPaths(lab.name), component);
  if (main === undefined) throw new Error(`${component} does not run`);
  return main;
}

function note(name: string, value: number, unit: string): void {
  figures.push({ name, value, unit });
}

function spread(name: string, samples: readonly number[]): void {
  const sorted = samples.toSorted((a, b) => a - b);
  note(`${name}, median of ${samples.length}`, quantile(sorted, 0.5), 'ms');
  note(`${name}, p99`, quantile(sorted, 0.99), 'ms');
}

function run(...args: string[]): string {
  const result = spawnSync(program, args, { encoding: 'utf8' });
  if (result.status !== 0) throw new Error(`fairlead ${args.join(' ')} failed: ${result.stderr}`);
  return result.stdout;
}
