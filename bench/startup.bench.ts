/**
 * From `fairlead up` to the API answering, to DNS answering, to the first request through a virtual
 * IP, with 1 and 3 nodes; then memory and CPU of the idle cluster, and where its time went.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { LabConfig } from '../src/lab/config.ts';
import { labPaths } from '../src/lab/paths.ts';
import { findComponent } from '../src/lab/processes.ts';
import type { Step } from '../src/lab/progress.ts';
import { pssOf } from '../src/lab/status.ts';
import { processesOfNode } from '../src/lab/teardown.ts';
import { quantile, report, type Figure } from './report.ts';

const rounds = 7;
const idleSeconds = 15;
const program = join(import.meta.dirname, '..', 'bin', 'fairlead');
const home = mkdtempSync(join(tmpdir(), 'fairlead-bench-'));
process.env.FAIRLEAD_ROOT = join(home, 'root');

type Up = { readonly lab: LabConfig; readonly steps: readonly Step[] };

/** Milliseconds from the start of the command. */
type Times = {
  readonly api: number;
  readonly dns: number;
  readonly firstRequest: number;
  readonly exit: number;
  readonly steps: readonly Step[];
};

try {
  const figures: Figure[] = [];
  for (const nodes of [1, 3]) figures.push(...(await measure(nodes)));
  report('startup', figures, process.argv.includes('--json'));
} finally {
  rmSync(home, { recursive: true, force: true });
}

async function measure(nodes: number): Promise<Figure[]> {
  const all: Times[] = [];
  let idle: Figure[] = [];
  // One round, which makes the bundle and fills the page cache, is not counted.
  for (let round = 0; round <= rounds; round += 1) {
    const { lab, times } = await bringUp(nodes);
    if (round > 0) all.push(times);
    if (round === rounds) idle = await measureIdle(lab, nodes);
    run('down');
  }
  const label = `${nodes} ${nodes === 1 ? 'node' : 'nodes'}`;
  const median = (name: string, pick: (times: Times) => number, goal?: string): Figure => {
    const sorted = all.map(pick).toSorted((a, b) => a - b);
    return {
      name: `${label}: ${name}, median of ${rounds}`,
      value: quantile(sorted, 0.5),
      unit: 'ms',
      ...(goal === undefined ? {} : { goal }),
    };
  };
  const steps = all[0]!.steps.map((step, at) =>
    median(`step: ${step.name}`, (times) => times.steps[at]!.ms),
  );
  return [
    median('API answers', (times) => times.api),
    median('DNS answers', (times) => times.dns, nodes === 3 ? '<= 1000' : undefined),
    median('first request through a virtual IP', (times) => times.firstRequest),
    ...steps,
    ...idle,
  ];
}

async function bringUp(nodes: number): Promise<{ lab: LabConfig; times: Times }> {
  const started = performance.now();
  const { lab, steps } = JSON.parse(run('up', '--nodes', String(nodes), '--json')) as Up;
  const exit = performance.now() - started;
  await connectOnce(lab);
  const firstRequest = performance.now() - started;
  // Steps are timed from inside the command; what came before its first line of code is start-up.
  const last = steps.at(-1)!.sinceStartMs;
  const before = exit - last;
  const at = (name: RegExp) =>
    before + (steps.find((step) => name.test(step.name))?.sinceStartMs ?? Number.NaN);
  return {
    lab,
    times: { api: at(/API answers/), dns: at(/DNS answers/), firstRequest, exit, steps },
  };
}

/** TCP to the API's own Service: through the virtual IP 10.96.0.1:443, from outside the cluster. */
async function connectOnce(lab: LabConfig): Promise<void> {
  const host = lab.clusterDns[0]!.replace(/10$/, '1');
  for (;;) {
    const done = await new Promise<boolean>((resolve) => {
      const socket = connect({ host, port: 443 });
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
      socket.once('connect', () => socket.destroy());
    });
    if (done) return;
    await sleep(5);
  }
}

async function measureIdle(lab: LabConfig, nodes: number): Promise<Figure[]> {
  // What is left of starting settles first: V8 collects it once, some 35 s later.
  await sleep(50_000);
  const pids = processesOf(lab);
  const before = cpuSeconds(pids);
  await sleep(idleSeconds * 1000);
  const cpu = ((cpuSeconds(pids) - before) / idleSeconds) * 100;
  const pss = pids.reduce((sum, pid) => sum + pssOf(pid), 0) / 1_048_576;
  const label = `${nodes} ${nodes === 1 ? 'node' : 'nodes'}, idle`;
  return [
    {
      name: `${label}: memory (PSS) of all ${pids.length} processes`,
      value: pss,
      unit: 'MB',
      ...(nodes === 3 ? { goal: '<= 200' } : {}),
    },
    { name: `${label}: CPU`, value: cpu, unit: '% of a core', goal: '< 1' },
  ];
}

function processesOf(lab: LabConfig): number[] {
  const paths = labPaths(lab.name);
  const { supervisor, main } = findComponent(paths, 'server');
  return [supervisor, main, ...lab.nodes.flatMap((node) => processesOfNode(node, paths))].filter(
    (pid) => pid !== undefined,
  );
}

/**
 * Time on a processor, from the scheduler's own clock. The ticks of /proc/PID/stat would charge a whole
 * tick to whoever wakes up with one, which is what an idle process does.
 */
function cpuSeconds(pids: readonly number[]): number {
  const nanoseconds = pids.flatMap((pid) =>
    readdirSync(`/proc/${pid}/task`).map((task) =>
      Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]),
    ),
  );
  return nanoseconds.reduce((sum, count) => sum + count, 0) / 1e9;
}

function run(...args: string[]): string {
  const result = spawnSync(program, args, { encoding: 'utf8' });
  if (result.status !== 0) throw new Error(`fairlead ${args.join(' ')} failed: ${result.stderr}`);
  return result.stdout;
}
