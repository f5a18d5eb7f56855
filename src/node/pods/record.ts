/** What the agent must remember of a pod over its own restart (K6). */
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { ContainerState } from '../../api/types.ts';
import type { BackOff } from './back-off.ts';
import { readJson, writeFileAtomically } from './files.ts';

export type Terminated = NonNullable<ContainerState['terminated']>;

export type ContainerRecord = {
  /** The run now under way or the last one; it is part of the runtime's container id. */
  attempt: number;
  /** The image of that run. */
  image: string;
  /** The runtime was told to start it, and said yes. */
  launched: boolean;
  /** Set once the run has ended. */
  terminated?: Terminated;
  /** How the run before it ended. */
  last?: Terminated;
  restarts: number;
  backOff?: BackOff;
  /** The startup probe has succeeded, and the postStart hook is through. */
  started: boolean;
  ready: boolean;
};

export type PodRecord = {
  uid: string;
  namespace: string;
  name: string;
  /** All init containers have succeeded once. */
  initialized: boolean;
  startTime: string;
  containers: Record<string, ContainerRecord>;
};

/** One file per pod, named by its uid. */
export class RecordStore {
  readonly #dir: string;

  constructor(dir: string) {
    this.#dir = dir;
  }

  read(uid: string): PodRecord | undefined {
    return readJson(this.#pathOf(uid)) as PodRecord | undefined;
  }

  write(record: PodRecord): void {
    writeFileAtomically(this.#pathOf(record.uid), JSON.stringify(record));
  }

  remove(uid: string): void {
    rmSync(this.#pathOf(uid), { force: true });
  }

  uids(): string[] {
    try {
      return readdirSync(this.#dir)
        .filter((name) => name.endsWith('.json'))
        .map((name) => name.slice(0, -'.json'.length));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw error;
    }
  }

  #pathOf(uid: string): string {
    return join(this.#dir, `${uid}.json`);
  }
}
