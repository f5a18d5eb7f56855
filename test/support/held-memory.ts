/**
 * What a process under test holds. Preloaded into it (`node --import`), it answers each message of its
 * parent once everything unreachable is collected: what is left then is held, and not merely not yet
 * collected.
 */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { queryObjects, setFlagsFromString } from 'node:v8';
import { isMainThread } from 'node:worker_threads';
import { runInNewContext } from 'node:vm';

export type HeldMemory = {
  /** Reachable objects, and the buffers that belong to them. */
  readonly bytes: number;
  /** Of TCP, open or merely not forgotten. */
  readonly sockets: number;
  /** Of the whole process, with what the allocators keep for later. */
  readonly residentBytes: number;
};

/** Asks a process that was started with this file and an `ipc` channel. */
export async function heldMemory(child: ChildProcess): Promise<HeldMemory> {
  const reply = once(child, 'message', { signal: AbortSignal.timeout(30_000) });
  child.send('held memory');
  const [held] = (await reply) as [HeldMemory];
  return held;
}

async function measure(): Promise<HeldMemory> {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  let bytes = Infinity;
  // The least of some: what is under way is done then, and what a finalizer let go of is collected.
  for (let times = 0; times < 4; times += 1) {
    await sleep(50);
    collect();
    const { heapUsed, external } = process.memoryUsage();
    bytes = Math.min(bytes, heapUsed + external);
  }
  const sockets = queryObjects(Socket, { format: 'count' });
  return { bytes, sockets, residentBytes: process.memoryUsage.rss() };
}

if (process.execArgv.includes(import.meta.filename) && isMainThread) {
  process.on('message', () => void measure().then((held) => process.send?.(held)));
  process.channel?.unref();
}
