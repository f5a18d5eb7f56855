/** What happens, and what the clients saw of it. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Pod } from '../../src/api/types.ts';
import type { Client } from '../../src/client/client.ts';
import { within } from '../../src/kernel/namespace/within.ts';
import { monitorRuleset } from '../../src/kernel/nftables/index.ts';
import type { LabConfig } from '../../src/lab/config.ts';
import { labPaths, nodeNamespaces, nodeRuntimeDir } from '../../src/lab/paths.ts';
import { findComponent } from '../../src/lab/processes.ts';
import type { Figure } from '../report.ts';
import type { Counts, Load } from './client.ts';
import { keepBusy, rollOut, scale, untilRolledOut, type Target } from './objects.ts';

export type World = {
  readonly lab: LabConfig;
  readonly client: Client;
  readonly perSecond: number;
  readonly lostSeconds: number;
  readonly targets: readonly Target[];
  /** The pod the load comes from. */
  readonly source: Pod;
};

const NODE = 'node-1';
const KEPT = 20;
const ROUNDS = 3;
const KILLS = 5;
const COMMIT_MS_MAX = 30_000;

type Event = {
  readonly name: string;
  /** That nobody notices anything. */
  readonly goal?: string;
  readonly happen: (world: World) => Promise<Figure[]>;
};

const EVENTS: readonly Event[] = [
  { name: 'nothing', goal: '= 0', happen: nothing },
  { name: 'rolling restart', goal: '= 0', happen: rollingRestart },
  { name: 'agent restart', goal: '= 0', happen: restartAgent },
  { name: 'kill -9 while committing', goal: '= 0', happen: killAgent },
  { name: 'foreign flush', happen: flush },
  { name: 'no API server', goal: '= 0', happen: loseServer },
];

/** Lets each event happen under load, or the one whose name contains `only`. */
export async function runEvents(world: World, only = ''): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const { name, goal, happen } of EVENTS.filter((event) => event.name.includes(only))) {
    console.error(`${name} …`);
    const stop = startLoad(world);
    // All is under way before it happens, and what it does has shown before we look.
    await sleep(1000);
    const more = await happen(world);
    await sleep(1000);
    figures.push(...figuresOf(name, await stop(), goal), ...more);
  }
  return figures;
}

function figuresOf(name: string, counts: Counts, goal: string | undefined): Figure[] {
  const figure = (what: string, value: number): Figure => ({
    name: `${name}: ${what}`,
    value,
    unit: '',
    ...(goal === undefined ? {} : { goal }),
  });
  const { sent, kept, refused, cut, timedOut, misrouted, slow, keptCut } = counts;
  return [
    { name: `${name}: connections`, value: sent, unit: '' },
    figure('refused', refused),
    figure('cut or timed out', cut + timedOut),
    figure('misrouted', misrouted),
    figure('connected only at the second attempt', slow),
    figure(`cut of ${kept} connections that stay`, keptCut),
  ];
}

/** Starts the clients in the pod's network; call the result to end them. */
function startLoad({ lab, perSecond, targets, source }: World): () => Promise<Counts> {
  const pods = join(nodeRuntimeDir(labPaths(lab.name), NODE), 'pods');
  const network = join(pods, source.metadata.uid!, 'net');
  const load: Load = { perSecond, kept: KEPT / targets.length, targets };
  const file = join(import.meta.dirname, 'client.ts');
  const args = [`--net=${network}`, process.execPath, file, JSON.stringify(load)];
  const child = spawn('nsenter', args, { stdio: ['pipe', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.on('data', (data: Buffer) => (text += data.toString()));
  const closed = once(child, 'close');
  return async () => {
    child.stdin.end();
    await closed;
    return JSON.parse(text) as Counts;
  };
}

async function nothing(): Promise<Figure[]> {
  await sleep(3000);
  return [];
}

async function rollingRestart({ client }: World): Promise<Figure[]> {
  for (const name of ['web', 'other']) await rollOut(client, name);
  return [];
}

async function restartAgent({ lab }: World): Promise<Figure[]> {
  for (let round = 0; round < ROUNDS; round += 1) await endAgent(lab, 'SIGTERM');
  return [];
}

/** At random moments while thousands of elements are being written. */
async function killAgent({ lab, client }: World): Promise<Figure[]> {
  const abort = new AbortController();
  const busy = keepBusy(client, abort.signal);
  await sleep(1000);
  for (let round = 0; round < KILLS; round += 1) {
    await sleep(Math.random() * 300);
    await endAgent(lab, 'SIGKILL');
  }
  abort.abort();
  await busy;
  return [];
}

/** Ends the agent's process, and waits until its supervisor has started another. */
async function endAgent(lab: LabConfig, signal: NodeJS.Signals): Promise<void> {
  const paths = labPaths(lab.name);
  const old = findComponent(paths, NODE).main;
  if (old === undefined) throw new Error('the agent does not run');
  process.kill(old, signal);
  for (;;) {
    await sleep(20);
    const { main } = findComponent(paths, NODE);
    if (main !== undefined && main !== old) break;
  }
  // It starts, reads the kernel and follows again.
  await sleep(700);
}

async function flush({ lab }: World): Promise<Figure[]> {
  let worstMs = 0;
  for (let round = 0; round < ROUNDS; round += 1) {
    worstMs = Math.max(worstMs, await repairMs(lab));
    await sleep(1500);
  }
  const name = `foreign flush: until repaired, worst of ${ROUNDS}`;
  return [{ name, value: worstMs, unit: 'ms', goal: '<= 1000' }];
}

/** From the end of `nft flush ruleset` to the commit that follows. */
async function repairMs(lab: LabConfig): Promise<number> {
  const { net } = nodeNamespaces(labPaths(lab.name), NODE);
  nodeCommand(net, 'nft', 'flush', 'ruleset');
  return await untilCommit(net, () => undefined);
}

/** The node's way to the API server leads nowhere; meanwhile the Service gets a pod more. */
async function loseServer({ lab, client, lostSeconds }: World): Promise<Figure[]> {
  const { net } = nodeNamespaces(labPaths(lab.name), NODE);
  const node = lab.nodes.find(({ name }) => name === NODE)!;
  /** In both directions: what the server still sends would arrive otherwise. */
  const cut = (how: 'add' | 'del') => {
    nodeCommand(net, 'ip', 'route', how, 'blackhole', `${lab.hostIPs[0]}/32`);
    command('ip', 'route', how, 'blackhole', `${node.ips[0]}/32`);
  };
  cut('add');
  await sleep(lostSeconds * 1000);
  await scale(client, 'web', 5);
  // The new pod is ready, and only the node does not know.
  await sleep(1000);
  const ms = await untilCommit(net, () => cut('del'));
  await untilRolledOut(client, 'web');
  await scale(client, 'web', 4);
  await sleep(1000);
  const name = `no API server for ${lostSeconds} s: until the rules follow again`;
  return [{ name, value: ms, unit: 'ms', goal: '<= 5000' }];
}

/** From the change to the first commit after it, milliseconds. */
async function untilCommit(net: string, change: () => void): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const startedAt = performance.now();
  using _monitor = within({ net }, () =>
    monitorRuleset((event) => {
      if (event.kind === 'generation') resolve(performance.now() - startedAt);
    }),
  );
  const timer = setTimeout(() => reject(new Error('no commit came')), COMMIT_MS_MAX);
  change();
  return await promise.finally(() => clearTimeout(timer));
}

function nodeCommand(net: string, ...args: string[]): void {
  command('nsenter', `--net=${net}`, ...args);
}

function command(name: string, ...args: string[]): void {
  const { status, stderr } = spawnSync(name, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${name} ${args.join(' ')} failed: ${stderr}`);
}
