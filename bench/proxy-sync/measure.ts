/** One contestant, one size: what each kind of change costs. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants, setPriority } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Sync } from '../../src/proxy/options.ts';
import { quantile, type Figure } from '../report.ts';
import { Commits, generation } from './commits.ts';
import { flushRuleset, type Contestant, type Running } from './contestants.ts';
import { Feed } from './feed.ts';
import { clusterNode, clusterService, clusterSlice, SERVICE_CIDR, type Size } from './objects.ts';
import { cpuSeconds, kill, memory } from './processes.ts';

/** How often each change is made. */
export type Rounds = { readonly changes: number; readonly services: number };

type Bench = {
  readonly contestant: Contestant;
  readonly size: Size;
  readonly rounds: Rounds;
  readonly feed: Feed;
  readonly home: string;
  readonly figures: Figure[];
  readonly probe: LockProbe;
};

const CHANGED_AT_ONCE = 1000;
const BATCHES = 3;

/** Runs the contestant through everything; the ruleset is empty before and after. */
export async function measure(
  contestant: Contestant,
  options: { size: Size; rounds: Rounds; home: string },
): Promise<Figure[]> {
  const { size } = options;
  using feed = disposable(new Feed(), (one) => one.close());
  feed.value.put('nodes', clusterNode());
  feed.value.put('servicecidrs', serviceCidr());
  for (let index = 0; index < size.services; index += 1) {
    feed.value.put('services', clusterService(index));
    feed.value.put('endpointslices', clusterSlice(index, size));
  }
  await feed.value.listen();
  flushRuleset();
  using probe = new LockProbe();
  const figures: Figure[] = [];
  const bench: Bench = { contestant, ...options, feed: feed.value, figures, probe };
  const running = await coldStart(bench);
  try {
    await changeOne(bench, running);
    await addAndRemove(bench);
    await changeMany(bench, running);
    // What is still under way would be work for the restart.
    await sleep(2000);
    note(bench, 'memory at rest', memory(running.child.pid!).now, 'MB');
  } finally {
    await kill(running.child);
  }
  await restart(bench);
  flushRuleset();
  return figures;
}

async function coldStart(bench: Bench): Promise<Running> {
  const { size, probe } = bench;
  await probe.longestMs();
  const before = generation();
  const startedAt = performance.now();
  const running = start(bench);
  await running.ready;
  const big = size.services * size.endpoints >= 250_000;
  const goal = running.syncs !== undefined && big;
  note(bench, 'cold start', (performance.now() - startedAt) / 1000, 's', goal ? '<= 5' : '');
  note(bench, 'cold start: CPU', cpuSeconds(running.child.pid!), 's');
  note(bench, 'cold start: transactions', generation() - before, '');
  const { peak } = memory(running.child.pid!);
  note(bench, 'cold start: peak memory', peak, 'MB', goal ? '<= 300' : '');
  const syncs = await running.syncs?.();
  if (syncs !== undefined) {
    const longest = Math.max(...syncs.map(({ sent }) => sent.msMax));
    const largest = Math.max(...syncs.map(({ sent }) => sent.bytesMax));
    note(bench, 'cold start: longest transaction', longest, 'ms', '<= 50');
    note(bench, 'cold start: largest transaction', largest / 1024, 'KB');
  }
  note(bench, 'cold start: longest wait of another writer', await probe.longestMs(), 'ms');
  // Whatever it does after its first sync is done before it is given work.
  await sleep(1000);
  return running;
}

/** Before whatever else this machine does, so that one can tell a slow proxy from a busy machine. */
function start({ contestant, feed, home }: Bench): Running {
  const running = contestant.start(feed, home);
  setPriority(running.child.pid!, constants.priority.PRIORITY_HIGHEST);
  setPriority(0, constants.priority.PRIORITY_HIGHEST);
  return running;
}

/** In batches, of which the quietest counts: a machine with other work to do shows that first. */
async function changeOne(bench: Bench, running: Running): Promise<void> {
  const { rounds } = bench;
  const cpu = cpuSeconds(running.child.pid!);
  const batches: Batch[] = [];
  for (let batch = 1; batch <= BATCHES; batch += 1) {
    batches.push(await changeBatch(bench, running, batch));
  }
  const changes = rounds.changes * BATCHES;
  const cpuMs = ((cpuSeconds(running.child.pid!) - cpu) / changes) * 1000;
  const quietest = batches.toSorted((a, b) => p99Of(a.samples) - p99Of(b.samples))[0]!;
  spread(bench, 'one endpoint changed, from sent to committed', quietest.samples);
  note(bench, 'one endpoint changed: CPU', cpuMs, 'ms');
  const inside = batches.toSorted((a, b) => p99Of(a.latencies) - p99Of(b.latencies))[0]!;
  if (inside.syncs.length > 0) noteInside(bench, inside);
  const wait = await bench.probe.longestMs();
  note(bench, 'one endpoint changed: longest wait of another writer', wait, 'ms');
}

type Batch = {
  /** From sent to committed. */
  readonly samples: readonly number[];
  readonly syncs: readonly Sync[];
  /** From arrived to committed. */
  readonly latencies: readonly number[];
};

async function changeBatch(bench: Bench, running: Running, batch: number): Promise<Batch> {
  const { size, rounds, feed } = bench;
  const samples: number[] = [];
  using commits = new Commits();
  await running.syncs?.();
  for (let round = 0; round < rounds.changes; round += 1) {
    const index = Math.floor((round * size.services) / rounds.changes);
    samples.push(
      await timed(bench, commits, () =>
        feed.put('endpointslices', clusterSlice(index, size, batch)),
      ),
    );
    await sleep(5);
  }
  const syncs = (await running.syncs?.()) ?? [];
  return { samples, syncs, latencies: syncs.map(({ latencyMs }) => latencyMs) };
}

function p99Of(samples: readonly number[]): number {
  return quantile(
    samples.toSorted((a, b) => a - b),
    0.99,
  );
}

function noteInside(bench: Bench, { syncs, latencies }: Batch): void {
  spread(bench, 'one endpoint changed, from arrived to committed', latencies, '<= 2');
  const bytes = Math.max(...syncs.map(({ sent }) => sent.bytesMax));
  const messages = Math.max(...syncs.map(({ sent }) => sent.messages));
  note(bench, 'one endpoint changed: bytes to the kernel', bytes, 'B');
  note(bench, 'one endpoint changed: messages to the kernel', messages, '');
}

async function addAndRemove(bench: Bench): Promise<void> {
  const { size, rounds, feed } = bench;
  const added: number[] = [];
  const removed: number[] = [];
  using commits = new Commits();
  for (let round = 0; round < rounds.services; round += 1) {
    const index = size.services + round;
    const service = clusterService(index);
    const slice = clusterSlice(index, size);
    added.push(
      await timed(bench, commits, () => {
        feed.put('endpointslices', slice);
        feed.put('services', service);
      }),
    );
    await sleep(30);
    removed.push(
      await timed(bench, commits, () => {
        feed.delete('services', service);
        feed.delete('endpointslices', slice);
      }),
    );
    await sleep(30);
  }
  spread(bench, 'one Service added', added);
  spread(bench, 'one Service removed', removed);
}

async function changeMany(bench: Bench, running: Running): Promise<void> {
  const { size, feed } = bench;
  const count = Math.min(CHANGED_AT_ONCE, size.services);
  const cpu = cpuSeconds(running.child.pid!);
  using commits = new Commits();
  const done = commits.last();
  const startedAt = performance.now();
  for (let index = 0; index < count; index += 1) {
    feed.put('endpointslices', clusterSlice(index, size, BATCHES + 1));
  }
  const ms = (await done) - startedAt;
  note(bench, `${count} endpoints changed at once`, ms, 'ms');
  note(bench, `${count} at once: CPU`, (cpuSeconds(running.child.pid!) - cpu) * 1000, 'ms');
  await bench.probe.longestMs();
}

async function restart(bench: Bench): Promise<void> {
  const before = generation();
  const startedAt = performance.now();
  const running = start(bench);
  try {
    await running.ready;
    note(bench, 'restart, nothing changed', (performance.now() - startedAt) / 1000, 's');
    await sleep(1000);
    const goal = running.syncs === undefined ? '' : '= 0';
    note(bench, 'restart: transactions', generation() - before, '', goal);
    note(bench, 'restart: peak memory', memory(running.child.pid!).peak, 'MB');
  } finally {
    await kill(running.child);
  }
}

async function timed(bench: Bench, commits: Commits, change: () => void): Promise<number> {
  const done = bench.contestant.severalCommits ? commits.last() : commits.first();
  const startedAt = performance.now();
  change();
  return (await done) - startedAt;
}

function note(bench: Bench, what: string, value: number, unit: string, goal = ''): void {
  const { contestant, size } = bench;
  const name = `${contestant.name}, ${size.services} x ${size.endpoints}: ${what}`;
  bench.figures.push({ name, value, unit, ...(goal === '' ? {} : { goal }) });
}

function spread(bench: Bench, what: string, samples: readonly number[], goal = ''): void {
  const sorted = samples.toSorted((a, b) => a - b);
  note(bench, `${what}, median of ${samples.length}`, quantile(sorted, 0.5), 'ms');
  note(bench, `${what}, p99`, quantile(sorted, 0.99), 'ms', goal);
}

function serviceCidr() {
  return { metadata: { name: 'kubernetes', uid: 'cidr' }, spec: { cidrs: [SERVICE_CIDR] } };
}

function disposable<T>(value: T, dispose: (value: T) => void) {
  return { value, [Symbol.dispose]: () => dispose(value) };
}

/** Waits for the kernel's lock again and again, in a process of its own. */
class LockProbe {
  readonly #child = spawn(process.execPath, [join(import.meta.dirname, 'lock-probe.ts')], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  readonly #lines = createInterface(this.#child.stdout);

  /** The longest wait since the last call. */
  async longestMs(): Promise<number> {
    this.#child.stdin.write('\n');
    const [line] = (await once(this.#lines, 'line')) as [string];
    return Number(line);
  }

  [Symbol.dispose](): void {
    this.#child.kill('SIGKILL');
  }
}
