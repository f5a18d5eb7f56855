/**
 * What a change of one Service costs the DNS server, and how soon its answer is right: from the API's
 * acknowledgement of the write to the first right answer, with 100 and 50,000 Services, while other
 * answers are kept. Then the memory: at rest, and at most while everything is listed anew because the
 * API server was started again.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { resources } from '../src/api/resources.ts';
import type { Service } from '../src/api/types.ts';
import type { Client } from '../src/client/client.ts';
import { createHttpClient } from '../src/client/http-client.ts';
import { loadKubeconfig } from '../src/client/kubeconfig.ts';
import { decodeMessage } from '../src/dns/wire/decode.ts';
import { encodeMessage } from '../src/dns/wire/encode.ts';
import { CLASS, FLAG, rcodeOf, TYPE } from '../src/dns/wire/message.ts';
import { parseName } from '../src/dns/wire/name.ts';
import { cpuSeconds, memoryOf, saturate } from './dns/load.ts';
import { questions } from './dns/objects.ts';
import { port, serverKinds, startServer } from './dns/servers.ts';
import { quantile, report, type Figure } from './report.ts';

const changes = 300;
const sizes = [100, 50_000];
const directory = mkdtempSync(join(tmpdir(), 'fairlead-bench-'));
const apiPort = 6443;

async function main(): Promise<void> {
  const figures: Figure[] = [];
  for (const services of sizes) figures.push(...(await measure(services)));
  const cpu = figures.filter(({ unit }) => unit === 'ms CPU').map(({ value }) => value);
  figures.push({
    name: `a change at ${sizes[1]} Services: CPU of one at ${sizes[0]}`,
    value: cpu[1]! / cpu[0]!,
    unit: 'x',
    goal: '<= 1.3',
  });
  report('dns-change', figures, process.argv.includes('--json'));
}

async function measure(services: number): Promise<Figure[]> {
  let api = await startApi(services);
  const kind = serverKinds().find(({ name }) => name === 'fairlead')!;
  const server = await startServer(kind, directory, services);
  try {
    const file = join(directory, 'questions');
    writeFileSync(file, questions('ClusterIP A', services));
    await saturate(server.pid, { file, seconds: 1 });
    const label = `${services} Services`;
    using client = createHttpClient(await loadKubeconfig(join(directory, 'kubeconfig')));
    const figures = await measureChanges(label, client, server.pid);
    const memory = memoryOf(server.pid);
    const resident = statusMegabytes(server.pid, 'VmRSS');
    // The highest value from here on (proc_pid_clear_refs(5)).
    writeFileSync(`/proc/${server.pid}/clear_refs`, '5');
    api.kill('SIGKILL');
    api = await startApi(services);
    const backMs = await untilListed();
    // Slices are listed beside the Services, and may take longer.
    await sleep(3000);
    const peak = statusMegabytes(server.pid, 'VmHWM') / resident;
    return [
      ...figures,
      { name: `${label}: memory (PSS) at rest`, value: memory, unit: 'MB' },
      { name: `${label}: new API server to right answer`, value: backMs, unit: 'ms' },
      { name: `${label}: most memory meanwhile`, value: peak, unit: 'x', goal: '<= 1.5' },
    ];
  } finally {
    await server.stop();
    api.kill('SIGKILL');
  }
}

/** New Services, then changes of their address, then deletions. */
async function measureChanges(label: string, client: Client, pid: number): Promise<Figure[]> {
  using asker = new Asker();
  const times: number[] = [];
  const before = cpuSeconds(pid);
  for (let change = 0; change < changes; change += 1) {
    const key = { namespace: 'ns-0', name: `bench-${Math.floor(change / 2)}` };
    const name = `${key.name}.ns-0.svc.cluster.local`;
    const ip = `10.99.0.${1 + Math.floor(change / 2)}`;
    // Asked before it is there: the denial must not outlive its truth.
    const want = change % 2 === 0 ? ip : undefined;
    await asker.ask(name);
    if (want === undefined) await client.delete(resources.services, key);
    else await client.create<Service>(resources.services, serviceOf(key, ip));
    const started = performance.now();
    while ((await asker.ask(name)) !== want);
    times.push(performance.now() - started);
  }
  const cpu = ((cpuSeconds(pid) - before) * 1000) / changes;
  const sorted = times.toSorted((a, b) => a - b);
  const figure = (name: string, value: number, goal?: string): Figure => ({
    name: `${label}: write acknowledged to right answer, ${name} of ${changes}`,
    value,
    unit: 'ms',
    ...(goal === undefined ? {} : { goal }),
  });
  return [
    figure('median', quantile(sorted, 0.5)),
    figure('p99', quantile(sorted, 0.99), '< 20'),
    figure('maximum', sorted.at(-1)!),
    {
      name: `${label}: CPU of the server for a change and its questions`,
      value: cpu,
      unit: 'ms CPU',
    },
  ];
}

async function startApi(services: number): Promise<ChildProcess> {
  const script = join(import.meta.dirname, 'dns', 'api.ts');
  const args = [script, String(services), directory, String(apiPort)];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  await new Promise((resolve) => child.stdout.once('data', resolve));
  return child;
}

/** A Service that only the new API server knows is answered: all is listed. Milliseconds until then. */
async function untilListed(): Promise<number> {
  const started = performance.now();
  using client = createHttpClient(await loadKubeconfig(join(directory, 'kubeconfig')));
  const key = { namespace: 'ns-0', name: 'afterwards' };
  await client.create<Service>(resources.services, serviceOf(key, '10.99.1.1'));
  using asker = new Asker();
  while ((await asker.ask(`${key.name}.ns-0.svc.cluster.local`)) === undefined) await sleep(20);
  return performance.now() - started;
}

function statusMegabytes(pid: number, field: string): number {
  const line = new RegExp(`^${field}:\\s+(\\d+) kB`, 'm');
  return Number(line.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) / 1024;
}

function serviceOf(key: { namespace: string; name: string }, clusterIP: string): Service {
  const ports = [{ name: 'http', port: 80, protocol: 'TCP' as const }];
  return { metadata: key, spec: { clusterIP, selector: { app: 'x' }, ports } };
}

/** Asks for the address of a name; undefined where it does not exist. */
class Asker {
  readonly #socket = createSocket('udp4');
  #id = 0;

  async ask(name: string): Promise<string | undefined> {
    this.#id = (this.#id + 1) & 0xffff;
    const query = encodeMessage({
      id: this.#id,
      flags: FLAG.RD,
      questions: [{ name: parseName(name)!, type: TYPE.A, class: CLASS.IN }],
      answers: [],
      authorities: [],
      additionals: [],
    });
    const reply = new Promise<Buffer>((resolve) => this.#socket.once('message', resolve));
    this.#socket.send(query, port, '127.0.0.1');
    const message = decodeMessage(await reply);
    if (message.id !== this.#id) throw new Error('the answer is not to this question');
    if (rcodeOf(message) !== 0) return undefined;
    return (message.answers[0]!.data[0] as Uint8Array).join('.');
  }

  [Symbol.dispose](): void {
    this.#socket.close();
  }
}

try {
  await main();
} finally {
  rmSync(directory, { recursive: true, force: true });
}
process.exit(0);
