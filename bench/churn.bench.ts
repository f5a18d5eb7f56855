/**
 * How fast the kernel follows: from a pod's readiness change in the API to the rule on every node; and
 * how many of 500 requests a second are lost while backend pods are deleted gracefully.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { resources } from '../src/api/resources.ts';
import type { Deployment, Pod, Service } from '../src/api/types.ts';
import type { Client } from '../src/client/client.ts';
import { createHttpClient } from '../src/client/http-client.ts';
import { loadKubeconfig } from '../src/client/kubeconfig.ts';
import { monitorRuleset } from '../src/kernel/nftables/index.ts';
import { within } from '../src/kernel/namespace/within.ts';
import type { LabConfig } from '../src/lab/config.ts';
import { applyShop, playChurn } from '../src/lab/demo.ts';
import { labPaths, nodeNamespaces } from '../src/lab/paths.ts';
import { quantile, report, type Figure } from './report.ts';

const changes = 200;
const gate = 'bench.fairlead/ready';
const namespace = 'default';
const name = 'gated';
const load = { perSecond: 500, seconds: 12 };
const program = join(import.meta.dirname, '..', 'bin', 'fairlead');
const home = mkdtempSync(join(tmpdir(), 'fairlead-bench-'));
process.env.FAIRLEAD_ROOT = join(home, 'root');

async function main(): Promise<void> {
  try {
    const up = run('up', '--nodes', '3', '--json');
    const { lab, kubeconfig } = JSON.parse(up) as { lab: LabConfig; kubeconfig: string };
    try {
      using client = createHttpClient(await loadKubeconfig(kubeconfig));
      const figures = [
        ...(await measureReadiness(lab, client)),
        ...(await measureLoss(lab, client)),
      ];
      report('churn', figures, process.argv.includes('--json'));
    } finally {
      run('down');
    }
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
}

/** A readiness gate stands for the probe: its change is the moment the pod's readiness changes. */
async function measureReadiness(lab: LabConfig, client: Client): Promise<Figure[]> {
  await client.create(resources.deployments, gatedDeployment());
  await client.create<Service>(resources.services, {
    metadata: { name, namespace },
    spec: { selector: { app: name }, ports: [{ port: 80, targetPort: 8080 }] },
  });
  const pods = await runningPods(client);
  for (const pod of pods) await setGate(client, pod, true);
  const commits = new Commits(lab);
  // Every node is quiet before the first change is timed.
  await sleep(2000);
  const samples: number[] = [];
  for (let change = 0; change < changes; change += 1) {
    const started = performance.now();
    const done = commits.next(started);
    await setGate(client, pods[0]!, change % 2 === 1);
    samples.push((await done) - started);
    await sleep(20);
  }
  commits.stop();
  const sorted = samples.toSorted((a, b) => a - b);
  const figure = (label: string, q: number, goal?: string): Figure => ({
    name: `readiness change to rule on all ${lab.nodes.length} nodes, ${label} of ${changes}`,
    value: quantile(sorted, q),
    unit: 'ms',
    ...(goal === undefined ? {} : { goal }),
  });
  return [figure('median', 0.5), figure('p99', 0.99, '< 50'), figure('maximum', 1)];
}

/** Listens to the ruleset of every node. */
class Commits {
  readonly #monitors: Disposable[];
  readonly #last: number[];
  #waiting: { since: number; resolve: (at: number) => void } | undefined;

  constructor(lab: LabConfig) {
    const paths = labPaths(lab.name);
    this.#last = lab.nodes.map(() => 0);
    this.#monitors = lab.nodes.map((node, at) =>
      within({ net: nodeNamespaces(paths, node.name).net }, () =>
        monitorRuleset((event) => {
          if (event.kind === 'generation') this.#see(at);
        }),
      ),
    );
  }

  /** When the last node has committed something after `since`. */
  next(since: number): Promise<number> {
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    this.#waiting = { since, resolve };
    const timer = setTimeout(
      () => reject(new Error('no commit on every node within 10 s')),
      10_000,
    );
    return promise.finally(() => clearTimeout(timer));
  }

  #see(at: number): void {
    this.#last[at] = performance.now();
    const { since, resolve } = this.#waiting ?? {
      since: Number.POSITIVE_INFINITY,
      resolve: () => undefined,
    };
    if (this.#last.every((time) => time > since)) resolve(Math.max(...this.#last));
  }

  stop(): void {
    for (const monitor of this.#monitors) monitor[Symbol.dispose]();
  }
}

/** The shop's backend under load, each of its three pods deleted in turn. */
async function measureLoss(lab: LabConfig, client: Client): Promise<Figure[]> {
  const demo = { lab, client, paths: labPaths(lab.name) };
  await applyShop(demo);
  const churn = await playChurn(demo, load.perSecond, load.seconds);
  return [
    {
      name: `requests at ${load.perSecond}/s while each of 3 pods is deleted`,
      value: churn.sent,
      unit: '',
    },
    { name: 'of them lost', value: churn.failed, unit: '', goal: '= 0' },
  ];
}

function gatedDeployment(): Deployment {
  const labels = { app: name };
  return {
    metadata: { name, namespace },
    spec: {
      replicas: 3,
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: {
          readinessGates: [{ conditionType: gate }],
          containers: [{ name, image: 'fairlead/echo', ports: [{ containerPort: 8080 }] }],
        },
      },
    },
  };
}

async function runningPods(client: Client): Promise<readonly Pod[]> {
  for (;;) {
    const { items } = await client.list<Pod>(resources.pods, {
      namespace,
      labelSelector: `app=${name}`,
    });
    if (items.length === 3 && items.every((pod) => pod.status?.phase === 'Running')) return items;
    await sleep(20);
  }
}

async function setGate(client: Client, pod: Pod, ready: boolean): Promise<void> {
  const condition = { type: gate, status: ready ? 'True' : 'False' };
  await client.patch(
    resources.pods,
    { namespace, name: pod.metadata.name },
    { status: { conditions: [condition] } },
    { type: 'strategic', subresource: 'status' },
  );
}

function run(...args: string[]): string {
  const result = spawnSync(program, args, { encoding: 'utf8' });
  if (result.status !== 0) throw new Error(`fairlead ${args.join(' ')} failed: ${result.stderr}`);
  return result.stdout;
}

await main();
