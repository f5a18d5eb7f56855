/** dnsperf against a running server, and what the server's processes used meanwhile. */
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

import { pssOf } from '../../src/lab/status.ts';
import { quantile } from '../report.ts';
import { port } from './servers.ts';

export type Load = {
  /** The file with the questions. */
  readonly file: string;
  readonly seconds: number;
  readonly tcp?: boolean;
  /** Ask with a room of 4096 bytes. */
  readonly edns?: boolean;
  /** Each question once, whatever time that takes. */
  readonly once?: boolean;
};

export type Cost = {
  readonly queries: number;
  readonly lost: number;
  readonly perSecond: number;
  /** CPU seconds of the server's processes for a million queries. */
  readonly cpuPerMillion: number;
  readonly rcodes: string;
};

/** Asks as fast as the server answers. */
export async function saturate(pid: number, load: Load): Promise<Cost> {
  const before = cpuSeconds(pid);
  const text = await dnsperf([
    ...common(load),
    ...(load.once === true ? ['-n', '1'] : ['-l', String(load.seconds)]),
  ]);
  const cpu = cpuSeconds(pid) - before;
  const number = (pattern: RegExp) => Number(pattern.exec(text)?.[1] ?? Number.NaN);
  const queries = number(/Queries completed:\s+(\d+)/);
  return {
    queries,
    lost: number(/Queries lost:\s+(\d+)/),
    perSecond: number(/Queries per second:\s+([\d.]+)/),
    cpuPerMillion: (cpu / queries) * 1e6,
    rcodes: /Response codes:\s+(.*)/.exec(text)?.[1] ?? '',
  };
}

/** Asks at a rate that every server can take; milliseconds from question to answer. */
export async function latency(
  load: Load,
  perSecond: number,
): Promise<{ p50: number; p99: number }> {
  const args = [...common(load), '-l', String(load.seconds), '-Q', String(perSecond), '-v'];
  const text = await dnsperf(args);
  const times = [...text.matchAll(/^> \S+ \S+ \S+ ([\d.]+)$/gm)].map((match) => Number(match[1]));
  const sorted = times.toSorted((a, b) => a - b);
  return { p50: quantile(sorted, 0.5) * 1000, p99: quantile(sorted, 0.99) * 1000 };
}

function common({ file, tcp, edns }: Load): string[] {
  const where = ['-s', '127.0.0.1', '-p', String(port), '-d', file];
  return [...where, '-c', '16', ...(tcp === true ? ['-m', 'tcp'] : []), ...(edns ? ['-e'] : [])];
}

function dnsperf(args: readonly string[]): Promise<string> {
  const child = spawn('dnsperf', args, { stdio: ['ignore', 'pipe', 'ignore'] });
  const chunks: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', () => resolve(Buffer.concat(chunks).toString()));
  });
}

/** The process and all that it started. */
function family(pid: number): number[] {
  const children = readdirSync(`/proc/${pid}/task`).flatMap((task) =>
    readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').split(' ').filter(Boolean),
  );
  return [pid, ...children.flatMap((child) => family(Number(child)))];
}

/** By the scheduler's own clock: exact where ticks of 10 ms are not. */
export function cpuSeconds(pid: number): number {
  const nanoseconds = family(pid).flatMap((member) =>
    readdirSync(`/proc/${member}/task`).map((task) =>
      Number(readFileSync(`/proc/${member}/task/${task}/schedstat`, 'utf8').split(' ')[0]),
    ),
  );
  return nanoseconds.reduce((sum, count) => sum + count, 0) / 1e9;
}

/** Megabytes, shared pages counted in part. */
export function memoryOf(pid: number): number {
  return family(pid).reduce((sum, member) => sum + pssOf(member), 0) / 1_048_576;
}
