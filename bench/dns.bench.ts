/**
 * What a DNS query costs: CPU of the server for a million queries, queries a second, latency, memory;
 * beside CoreDNS where its binary is (COREDNS or PATH), and beside NSD, Knot and Unbound with the same
 * records as static zones, which is the limit of what a server can do.
 *
 *   npm run bench -- dns [--services 100,50000] [--servers 'fairlead;NSD'] [--rows PTR,mix] [--seconds 1]
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { cpuSeconds, latency, memoryOf, saturate, type Cost } from './dns/load.ts';
import { questions, rows, type Row } from './dns/objects.ts';
import { serverKinds, startServer, startUpstream, type ServerKind } from './dns/servers.ts';
import { report, type Figure } from './report.ts';

const { values: flags } = parseArgs({
  options: {
    services: { type: 'string', default: '100,50000' },
    servers: { type: 'string' },
    rows: { type: 'string' },
    seconds: { type: 'string', default: '1' },
    json: { type: 'boolean', default: false },
  },
});
const seconds = Number(flags.seconds);
/** Every server takes this many a second without queueing. */
const easyRate = 5000;
const directory = mkdtempSync(join(tmpdir(), 'fairlead-bench-'));

type Measured = {
  readonly server: string;
  readonly services: number;
  readonly memory: number;
  readonly idleCpu: number;
  readonly p50: number;
  readonly p99: number;
  readonly costs: ReadonlyMap<Row, { readonly first: Cost; readonly warm: Cost }>;
};

async function main(): Promise<void> {
  requireDnsperf();
  const chosen = flags.servers?.split(';');
  const kinds = serverKinds().filter(({ name }) => chosen?.includes(name) ?? true);
  for (const { name } of kinds.filter(({ program }) => program === undefined)) {
    console.error(`${name} is not on this machine: its columns are missing`);
  }
  const present = kinds.filter(({ program }) => program !== undefined);
  const upstream = await startUpstream(directory);
  const all: Measured[] = [];
  try {
    for (const services of flags.services.split(',').map(Number)) {
      const api = await startApi(services);
      for (const kind of present) all.push(await measure(kind, services));
      api.kill('SIGKILL');
      if (!flags.json) printTable(services, all);
    }
  } finally {
    await upstream?.stop();
  }
  report('dns', goals(all), flags.json);
}

function requireDnsperf(): void {
  if (spawnSync('dnsperf', ['-h']).error === undefined) return;
  console.error('Cannot run bench "dns": dnsperf is not on this machine');
  console.error('  apt-get install dnsperf, and for the comparison: nsd knot unbound');
  process.exit(2);
}

async function startApi(services: number): Promise<ChildProcess> {
  const script = join(import.meta.dirname, 'dns', 'api.ts');
  const child = spawn(process.execPath, [script, String(services), directory], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await new Promise((resolve) => child.stdout.once('data', resolve));
  return child;
}

async function measure(kind: ServerKind, services: number): Promise<Measured> {
  const server = await startServer(kind, directory, services);
  try {
    const costs = new Map<Row, { first: Cost; warm: Cost }>();
    const wanted = flags.rows?.split(',').map((start) => start.trim());
    await warmUp(server.pid, services);
    for (const row of rows) {
      if (wanted?.every((start) => !row.startsWith(start)) || kind.lacks?.includes(row)) continue;
      const file = join(directory, 'questions');
      writeFileSync(file, questions(row, services));
      const load = { file, seconds, tcp: row.endsWith('TCP'), edns: /headless|mix/.test(row) };
      const first = await saturate(server.pid, { ...load, once: true });
      const warm = await saturate(server.pid, load);
      costs.set(row, { first, warm });
      if (warm.lost > warm.queries / 1000) {
        console.error(`${kind.name}, ${row}: ${warm.lost} of ${warm.queries} queries were lost`);
      }
    }
    const file = join(directory, 'questions');
    writeFileSync(file, questions('mix', services));
    const { p50, p99 } = await latency({ file, seconds, edns: true }, easyRate);
    const before = cpuSeconds(server.pid);
    await new Promise((resolve) => setTimeout(resolve, 1000));
    const idleCpu = (cpuSeconds(server.pid) - before) * 100;
    const memory = memoryOf(server.pid);
    return { server: kind.name, services, memory, idleCpu, p50, p99, costs };
  } finally {
    await server.stop();
  }
}

/** A server runs for weeks: what compiles code or fills tables in its first second is not its cost. */
async function warmUp(pid: number, services: number): Promise<void> {
  const file = join(directory, 'questions');
  writeFileSync(file, questions('mix', Math.min(services, 100)));
  for (const tcp of [false, true]) await saturate(pid, { file, seconds: 1, edns: true, tcp });
}

/** Below this many, start-up effects are all there is to see. */
const firstQueriesMin = 5000;

function first(costs: { readonly first: Cost } | undefined): Cost | undefined {
  return costs !== undefined && costs.first.queries >= firstQueriesMin ? costs.first : undefined;
}

/** A column for each server: CPU seconds per million queries, and thousands of queries a second. */
function printTable(services: number, all: readonly Measured[]): void {
  const measured = all.filter((one) => one.services === services);
  const cell = (cost: Cost | undefined) =>
    cost === undefined
      ? '-'
      : `${cost.cpuPerMillion.toFixed(2)} (${(cost.perSecond / 1000).toFixed(0)}k)`;
  const lines = [
    [
      `${services} services: CPU s per million queries (queries/s)`,
      ...measured.map(({ server }) => server),
    ],
    ...rows
      .filter((row) => measured.some(({ costs }) => costs.has(row)))
      .flatMap((row) => [
        [row, ...measured.map(({ costs }) => cell(costs.get(row)?.warm))],
        ['  each for the first time', ...measured.map(({ costs }) => cell(first(costs.get(row))))],
      ]),
    [
      `mix at ${easyRate}/s: p50, p99 (ms)`,
      ...measured.map(({ p50, p99 }) => `${p50.toFixed(2)}, ${p99.toFixed(2)}`),
    ],
    ['memory (PSS, MB)', ...measured.map(({ memory }) => memory.toFixed(0))],
    ['CPU when idle (% of a core)', ...measured.map(({ idleCpu }) => idleCpu.toFixed(2))],
  ];
  const widths = lines[0]!.map((_, at) => Math.max(...lines.map((line) => line[at]!.length)));
  for (const line of lines) {
    console.log(
      line
        .map((text, at) => text.padEnd(widths[at]!))
        .join('  ')
        .trimEnd(),
    );
  }
  console.log();
}

/** The figures that have a goal, and in JSON all of them. */
function goals(all: readonly Measured[]): Figure[] {
  const figures: Figure[] = [];
  for (const { services, server, costs, memory } of all) {
    const peer = (name: string) =>
      all.find((other) => other.services === services && other.server === name);
    const label = `${services} services, ${server}`;
    if (flags.json) {
      for (const [row, { warm }] of costs) {
        figures.push(
          { name: `${label}: ${row}, CPU`, value: warm.cpuPerMillion, unit: 's/million' },
          { name: `${label}: ${row}`, value: warm.perSecond, unit: 'queries/s' },
        );
      }
      figures.push({ name: `${label}: memory (PSS)`, value: memory, unit: 'MB' });
    }
    if (!server.startsWith('fairlead')) continue;
    const coredns = peer('CoreDNS');
    for (const [row, { warm }] of costs) {
      const other = coredns?.costs.get(row)?.warm.cpuPerMillion;
      if (other === undefined) continue;
      const value = warm.cpuPerMillion / other;
      figures.push({ name: `${label}: ${row}, CPU of CoreDNS`, value, unit: 'x', goal: '<= 0.33' });
    }
    const nsd = peer('NSD')?.costs.get('ClusterIP A')?.warm.cpuPerMillion;
    const own = costs.get('ClusterIP A')?.warm.cpuPerMillion;
    if (nsd !== undefined && own !== undefined) {
      const name = `${label}: ClusterIP A, CPU of NSD`;
      figures.push({ name, value: own / nsd, unit: 'x', goal: '<= 1.2' });
    }
    if (coredns !== undefined) {
      const value = memory / coredns.memory;
      figures.push({ name: `${label}: memory of CoreDNS`, value, unit: 'x', goal: '<= 1' });
    }
  }
  return figures;
}

try {
  await main();
} finally {
  rmSync(directory, { recursive: true, force: true });
}
process.exit(0);
