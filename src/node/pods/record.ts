/** What the agent must remember of a pod over its own restart (K6). */
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { ContainerState, ContainerStatus, Pod } from '../../api/types.ts';
import { formatTime } from '../../lib/clock.ts';
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

/**
 * The record of a pod this node has no file of. When its status tells of runs, the machine was
 * started anew: those runs are lost, and their counts go on.
 */
export function newRecord(pod: Pod, nowMs: number): PodRecord {
  const runs = (pod.status?.containerStatuses ?? []).filter((s) => s.containerID !== undefined);
  const lost = ({ restartCount, image }: ContainerStatus): ContainerRecord => ({
    attempt: restartCount,
    image,
    launched: true,
    restarts: restartCount,
    started: false,
    ready: false,
  });
  return {
    uid: pod.metadata.uid ?? '',
    namespace: pod.metadata.namespace ?? '',
    name: pod.metadata.name,
    initialized: (pod.spec.initContainers ?? []).length === 0,
    startTime: pod.status?.startTime ?? formatTime(nowMs),
    containers: Object.fromEntries(runs.map((status) => [status.name, lost(status)])),
  };
}

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
