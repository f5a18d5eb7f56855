/** Brings a pod's status to the API: the newest one, one write at a time, until it is there. */
import { isReason } from '../../api/status.ts';
import { resources } from '../../api/resources.ts';
import type { Condition } from '../../api/meta.ts';
import type { Pod, PodStatus } from '../../api/types.ts';
import type { Client } from '../../client/client.ts';
import type { Clock } from '../../lib/clock.ts';
import { messageOf } from '../../lib/errors.ts';
import type { Logger } from '../../lib/log.ts';

const retryMs = 20;
const retryMsMax = 5000;

export class StatusWriter {
  readonly #client: Client;
  readonly #clock: Clock;
  readonly #log: Logger;
  #pod: Pod;
  /** What the API is known to hold, field by field, as JSON. */
  readonly #sent = new Map<string, string>();
  #conditions: readonly Condition[];
  #wanted: PodStatus | undefined;
  /** The last status that the API took, and its version then. */
  #told: PodStatus | undefined;
  #toldVersion = 0;
  #busy: Promise<void> | undefined;
  #stopped = false;
  #wake: (() => void) | undefined;

  constructor(options: { client: Client; clock: Clock; log: Logger; pod: Pod }) {
    this.#client = options.client;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#pod = options.pod;
    this.#conditions = options.pod.status?.conditions ?? [];
  }

  /**
   * The object as the API has it now; conditions of others are read from it. Ours are set right where
   * somebody else wrote them, as when the node was out of reach for a while and counted as lost.
   */
  observe(pod: Pod): void {
    this.#pod = pod;
    const told = this.#told;
    if (told === undefined || this.#busy !== undefined) return;
    // News from before our last write say nothing.
    if (Number(pod.metadata.resourceVersion ?? 0) < this.#toldVersion) return;
    if (!isOverwritten(told.conditions ?? [], pod.status?.conditions ?? [])) return;
    this.#sent.delete('conditions');
    this.write(told);
  }

  /** Notes the status; it is written at once, or right after the write under way. */
  write(status: PodStatus): void {
    if (this.#stopped) return;
    this.#wanted = status;
    this.#busy ??= this.#run().finally(() => {
      this.#busy = undefined;
    });
  }

  /** Settles when the last status noted is in the API, or will never be. */
  async flushed(): Promise<void> {
    while (this.#busy !== undefined) await this.#busy;
  }

  stop(): void {
    this.#stopped = true;
    this.#wake?.();
  }

  async #run(): Promise<void> {
    let pauseMs = retryMs;
    while (this.#wanted !== undefined && !this.#stopped) {
      const status = this.#wanted;
      this.#wanted = undefined;
      const changed = this.#changesIn(status);
      if (changed.length === 0) continue;
      try {
        await this.#send(status, changed);
        pauseMs = retryMs;
      } catch (error) {
        if (isReason(error, 'NotFound') || this.#isOther(error)) return;
        this.#log.debug(
          { pod: this.#pod.metadata.name, error: messageOf(error) },
          'status refused',
        );
        this.#wanted ??= status;
        await this.#pause(pauseMs);
        pauseMs = Math.min(pauseMs * 2, retryMsMax);
      }
    }
  }

  #changesIn(status: PodStatus): (keyof PodStatus)[] {
    const keys = Object.keys(status) as (keyof PodStatus)[];
    return keys.filter((key) => this.#sent.get(key) !== JSON.stringify(status[key]));
  }

  async #send(status: PodStatus, changed: readonly (keyof PodStatus)[]): Promise<void> {
    const { namespace = '', name, uid } = this.#pod.metadata;
    const part: Record<string, unknown> = {};
    for (const key of changed) part[key] = status[key];
    if (status.conditions !== undefined && 'conditions' in part) {
      part['conditions'] = status.conditions.map((condition) => this.#withRemovals(condition));
    }
    const written = await this.#client.patch<Pod>(
      resources.pods,
      { namespace, name },
      // The uid makes the API refuse the patch when the name has gone to another pod.
      { metadata: { uid }, status: part },
      { type: 'strategic', subresource: 'status' },
    );
    for (const key of changed) this.#sent.set(key, JSON.stringify(status[key]));
    this.#conditions = status.conditions ?? this.#conditions;
    this.#told = status;
    this.#toldVersion = Number(written.metadata.resourceVersion ?? 0);
  }

  /** Conditions merge by type, so that a text which is gone must be named as null. */
  #withRemovals(condition: Condition): Record<string, unknown> {
    const held = [...this.#conditions, ...(this.#pod.status?.conditions ?? [])];
    const before = held.filter(({ type }) => type === condition.type);
    const removed: Record<string, null> = {};
    for (const field of ['reason', 'message'] as const) {
      const had = before.some((old) => old[field] !== undefined);
      if (had && condition[field] === undefined) removed[field] = null;
    }
    return { ...condition, ...removed };
  }

  /** A conflict of a patch without a version can only be about the uid. */
  #isOther(error: unknown): boolean {
    return isReason(error, 'Conflict') && /uid/i.test(messageOf(error));
  }

  async #pause(ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const cancel = this.#clock.after(ms, resolve);
    this.#wake = resolve;
    await promise;
    this.#wake = undefined;
    cancel();
  }
}

function isOverwritten(told: readonly Condition[], found: readonly Condition[]): boolean {
  return told.some(({ type, status }) =>
    found.some((other) => other.type === type && other.status !== status),
  );
}
