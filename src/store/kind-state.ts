/** All objects of one kind: current state, recent history, and who watches. */
import type { KubeObject } from '../api/meta.ts';
import { failure } from '../api/status.ts';
import { limits } from '../lib/limits.ts';
import { deepFreeze } from './freeze.ts';
import type { Change, LoadedRow, Stored, Subscription, WatchFilter } from './store.ts';

type Watcher = WatchFilter & { readonly onChanges: (changes: readonly Change[]) => void };

export class KindState {
  readonly #objects = new Map<string, Stored>();
  readonly #watchers = new Set<Watcher>();
  /** Keys in order; undefined after an object came or went. */
  #sortedKeys: string[] | undefined;
  #history: Change[] = [];
  #historyBytes = 0;
  #compacted: number;

  constructor(revision: number) {
    this.#compacted = revision;
  }

  /** History before and at this version is gone. */
  get compactedRevision(): number {
    return this.#compacted;
  }

  load(row: LoadedRow): void {
    const object = JSON.parse(Buffer.from(row.bytes).toString()) as KubeObject;
    const { namespace, name, revision, bytes } = row;
    const stored = { namespace, name, revision, bytes, object: deepFreeze(object) };
    this.#objects.set(storeKey(namespace, name), stored);
  }

  get(namespace: string, name: string): Stored | undefined {
    return this.#objects.get(storeKey(namespace, name));
  }

  list(namespace?: string): Stored[] {
    this.#sortedKeys ??= [...this.#objects.keys()].sort();
    const keys = namespace === undefined ? this.#sortedKeys : this.#range(namespace);
    return keys.map((key) => this.#objects.get(key)!);
  }

  /** Undoes the history back to the version. */
  listAt(revision: number, namespace?: string): Stored[] {
    if (revision < this.#compacted) throw expired(revision, this.#compacted);
    const state = new Map(this.list(namespace).map((s) => [storeKey(s.namespace, s.name), s]));
    for (let index = this.#history.length - 1; index >= 0; index -= 1) {
      const { stored, previous } = this.#history[index]!;
      if (stored.revision <= revision) break;
      if (namespace !== undefined && stored.namespace !== namespace) continue;
      const key = storeKey(stored.namespace, stored.name);
      if (previous === undefined) state.delete(key);
      else state.set(key, previous);
    }
    return [...state.keys()].sort().map((key) => state.get(key)!);
  }

  subscribe(
    options: WatchFilter & { readonly since?: number },
    onChanges: (changes: readonly Change[]) => void,
  ): Subscription {
    const { since } = options;
    if (since !== undefined && since < this.#compacted) throw expired(since, this.#compacted);
    const watcher: Watcher = { ...options, onChanges };
    const backlog = since === undefined ? [] : this.#since(since, options);
    this.#watchers.add(watcher);
    return { backlog, close: () => void this.#watchers.delete(watcher) };
  }

  /** Takes committed changes over into the current state and the history. */
  apply(changes: readonly Change[]): void {
    for (const { type, stored } of changes) {
      const key = storeKey(stored.namespace, stored.name);
      if (type === 'DELETED') this.#objects.delete(key);
      else this.#objects.set(key, stored);
      if (type !== 'MODIFIED') this.#sortedKeys = undefined;
    }
    this.#remember(changes);
  }

  notify(changes: readonly Change[]): void {
    for (const watcher of this.#watchers) {
      const seen = changes.filter((change) => concerns(watcher, change));
      if (seen.length > 0) watcher.onChanges(seen);
    }
  }

  #range(namespace: string): string[] {
    const keys = this.#sortedKeys!;
    const prefix = `${namespace}/`;
    const start = lowerBound(keys, prefix);
    let end = start;
    while (end < keys.length && keys[end]!.startsWith(prefix)) end += 1;
    return keys.slice(start, end);
  }

  #since(revision: number, filter: WatchFilter): Change[] {
    let start = this.#history.length;
    while (start > 0 && this.#history[start - 1]!.stored.revision > revision) start -= 1;
    return this.#history.slice(start).filter((change) => concerns(filter, change));
  }

  #remember(changes: readonly Change[]): void {
    for (const change of changes) {
      this.#history.push(change);
      this.#historyBytes += change.stored.bytes.length;
    }
    let drop = 0;
    while (
      this.#history.length - drop > limits.historyEventsMax ||
      (this.#historyBytes > limits.historyBytesMax && this.#history.length - drop > 1)
    ) {
      const { stored } = this.#history[drop]!;
      this.#historyBytes -= stored.bytes.length;
      this.#compacted = stored.revision;
      drop += 1;
    }
    if (drop > 0) this.#history.splice(0, drop);
  }
}

/** Orders as etcd's keys do: by the bytes of `namespace/name`. */
function storeKey(namespace: string, name: string): string {
  return namespace === '' ? name : `${namespace}/${name}`;
}

function concerns(filter: WatchFilter, { stored }: Change): boolean {
  if (filter.namespace !== undefined && filter.namespace !== stored.namespace) return false;
  return filter.name === undefined || filter.name === stored.name;
}

function lowerBound(keys: readonly string[], wanted: string): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (keys[middle]! < wanted) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** A85: clients look for this text and list again. */
function expired(asked: number, oldest: number): Error {
  return failure(410, 'Expired', `too old resource version: ${asked} (${oldest})`);
}
