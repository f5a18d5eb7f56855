/** The logs of every container run on the node (K24). */
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Clock } from '../../lib/clock.ts';
import { LogPipe } from './log-pipe.ts';

/** Where the log of one run is, and the pipe that still writes it. */
export type LogPlace = { readonly path: string; readonly pipe: LogPipe | undefined };

/** Runs are named as the runtime names them: `<pod uid>/<container>/<attempt>`. */
export class LogStore {
  readonly #dir: string;
  readonly #clock: Clock;
  readonly #pipes = new Map<string, LogPipe>();

  constructor(dir: string, clock: Clock) {
    this.#dir = dir;
    this.#clock = clock;
  }

  /** Begins to take in the output of a run, or goes on where an earlier agent stopped. */
  follow(id: string, raw: { readonly stdout: string; readonly stderr: string }): void {
    if (this.#pipes.has(id)) return;
    this.#pipes.set(id, new LogPipe({ raw, path: this.#pathOf(id), clock: this.#clock }));
  }

  /** The run is over; its log stays. */
  finish(id: string): void {
    this.#pipes.get(id)?.finish();
    this.#pipes.delete(id);
  }

  /** Undefined when there is no log of that run. */
  place(id: string): LogPlace | undefined {
    const pipe = this.#pipes.get(id);
    const path = this.#pathOf(id);
    return pipe === undefined && !existsSync(path) ? undefined : { path, pipe };
  }

  remove(id: string): void {
    this.finish(id);
    const path = this.#pathOf(id);
    for (const file of [path, `${path}.1`]) rmSync(file, { force: true });
  }

  removePod(podUid: string): void {
    for (const id of this.#pipes.keys()) if (id.startsWith(`${podUid}/`)) this.finish(id);
    rmSync(join(this.#dir, podUid), { recursive: true, force: true });
  }

  /** Pods that have logs here. */
  pods(): string[] {
    return existsSync(this.#dir) ? readdirSync(this.#dir) : [];
  }

  /** Leaves everything to the next agent. */
  close(): void {
    for (const pipe of this.#pipes.values()) pipe.close();
    this.#pipes.clear();
  }

  #pathOf(id: string): string {
    return `${join(this.#dir, id)}.log`;
  }
}
