/** DNS over UDP in several threads: each has a socket of its own on the same port, the kernel spreads clients. */
import { Worker } from 'node:worker_threads';

import { WorldError } from '../../lib/errors.ts';
import type { SocketCounts } from '../counters.ts';
import type { AnswerKeeper } from '../kept/keeper.ts';
import type { Handle, Listener } from '../udp.ts';
import type { Asked, FromWorker, Reply, ToWorker, WorkerStart } from './protocol.ts';

export type WorkersOptions = {
  readonly host: string;
  readonly port: number;
  readonly workers: number;
  readonly handle: Handle;
  readonly counters: SocketCounts;
  /** What is not kept comes to this thread. */
  readonly kept: readonly (Omit<WorkerStart['kept'][number], 'memory'> & {
    readonly keeper: AnswerKeeper;
  })[];
};

/** Settles when all of them listen. */
export async function listenUdpInWorkers(options: WorkersOptions): Promise<Listener> {
  // Alone at first: another program on the port must not share it unnoticed.
  const first = await WorkerThread.start(options, { port: options.port, reusePort: false });
  const threads = [first];
  try {
    first.share();
    for (let more = 1; more < options.workers; more += 1) {
      threads.push(await WorkerThread.start(options, { port: first.port, reusePort: true }));
    }
  } catch (error) {
    await Promise.all(threads.map((thread) => thread.close()));
    throw error;
  }
  return {
    port: first.port,
    close: async () => {
      await Promise.all(threads.map((thread) => thread.close()));
    },
  };
}

/** Bundled, everything is JavaScript in one folder. */
const file = import.meta.url.endsWith('.ts') ? './udp-worker.ts' : './udp-worker.cjs';

/** It copies answers: what it holds is shared memory and the buffers of one batch. */
const resourceLimits = { maxOldGenerationSizeMb: 64, maxYoungGenerationSizeMb: 4 };

class WorkerThread {
  readonly port: number;
  readonly #worker: Worker;
  readonly #handle: Handle;
  readonly #open = new Set<Promise<void>>();
  #closing = false;

  static async start(
    options: WorkersOptions,
    at: { readonly port: number; readonly reusePort: boolean },
  ): Promise<WorkerThread> {
    const { host, kept, counters } = options;
    const workerData: WorkerStart = {
      host,
      ...at,
      kept: kept.map(({ keeper, shuffles, udpBytesMax }) => {
        return { memory: keeper.store.memory, shuffles, udpBytesMax };
      }),
      counts: counters.forWorker().memory,
      timeOrigin: performance.timeOrigin,
    };
    const worker = new Worker(new URL(file, import.meta.url), { workerData, resourceLimits });
    const told = await new Promise<FromWorker>((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
    });
    if (told.kind !== 'listening') {
      await worker.terminate();
      throw told.kind === 'failed'
        ? listenError(told.error)
        : new TypeError('a worker asked first');
    }
    return new WorkerThread(worker, told.port, options.handle);
  }

  private constructor(worker: Worker, port: number, handle: Handle) {
    this.port = port;
    this.#worker = worker;
    this.#handle = handle;
    worker.on('message', (message: FromWorker) => {
      if (message.kind === 'asked') this.#answer(message.questions);
    });
    // A bug there is one here: the process ends, and is started again.
    worker.on('error', (error) => {
      queueMicrotask(() => {
        throw error;
      });
    });
  }

  share(): void {
    this.#tell({ kind: 'share' });
  }

  #tell(message: ToWorker): void {
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
    this.#worker.postMessage(message);
  }

  #answer(questions: readonly Asked[]): void {
    const replies: Reply[] = [];
    for (const { packet, from, sender } of questions) {
      const reply = this.#handle(Buffer.from(packet.buffer), 'udp', from);
      if (reply instanceof Promise) this.#later(sender, reply);
      else replies.push({ sender, bytes: reply });
    }
    if (replies.length > 0) this.#tell({ kind: 'replies', replies });
  }

  #later(sender: Reply['sender'], reply: Promise<Buffer | undefined>): void {
    const work = reply.then((bytes) => {
      this.#tell({ kind: 'replies', replies: [{ sender, bytes }] });
    });
    this.#open.add(work);
    void work.finally(() => this.#open.delete(work));
  }

  /** Each reply takes a limited time. */
  async close(): Promise<void> {
    if (this.#closing) return;
    this.#closing = true;
    await Promise.all(this.#open);
    const gone = new Promise((resolve) => this.#worker.once('exit', resolve));
    this.#tell({ kind: 'stop' });
    await gone;
  }
}

/** What was thrown there arrives as a copy without its class. */
function listenError(error: unknown): WorldError {
  const text = error instanceof Error ? error.message : String(error);
  return new WorldError('DNS_LISTEN', text, { cause: error });
}
