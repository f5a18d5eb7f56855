/**
 * A live copy of one resource: list once, then follow the watch. It resumes after a broken stream
 * from the last version it saw, and lists again only when the server says that version is gone.
 */
import { keyOf, keyText, type Key, type KubeObject } from '../api/meta.ts';
import type { Resource } from '../api/resources.ts';
import { ApiError } from '../api/status.ts';
import { systemClock, type Clock } from '../lib/clock.ts';
import { messageOf } from '../lib/errors.ts';
import { limits } from '../lib/limits.ts';
import type { Logger } from '../lib/log.ts';
import type { Client, ListOptions, WatchEvent } from './client.ts';

export type InformerOptions<T extends KubeObject> = ListOptions & {
  readonly client: Client;
  readonly resource: Resource;
  readonly clock?: Clock;
  /** Between 0 and 1, for the jitter of the back-off. */
  readonly random?: () => number;
  readonly log?: Logger;
  /** Drops what the reader never looks at, before the object is kept. */
  readonly trim?: (object: T) => T;
};

/**
 * `old` is undefined for a new object, `new` for a deleted one. An object replaced by one of the
 * same name is told as a deletion and a creation. Listeners only note work: they must not throw.
 */
export type ChangeListener<T> = (old: T | undefined, current: T | undefined) => void;

type Index<T> = { keysOf: (object: T) => readonly string[]; entries: Map<string, Map<string, T>> };

export class Informer<T extends KubeObject> {
  readonly resource: Resource;
  /** Settles when the first list has been taken in. */
  readonly synced: Promise<void>;
  #hasSynced = false;
  readonly #options: InformerOptions<T>;
  readonly #clock: Clock;
  readonly #objects = new Map<string, T>();
  readonly #indexes = new Map<string, Index<T>>();
  readonly #listeners = new Set<ChangeListener<T>>();
  readonly #abort = new AbortController();
  /** The last version seen; undefined before the first list. */
  #version: string | undefined;
  /** The watch cannot go on from there. */
  #mustList = true;
  /** The server went back to older versions: its list counts whatever our copy says. */
  #rewound = false;
  #started = false;
  #settleSynced: () => void;
  #wake: (() => void) | undefined;

  constructor(options: InformerOptions<T>) {
    this.#options = options;
    this.resource = options.resource;
    this.#clock = options.clock ?? systemClock;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.synced = promise;
    this.#settleSynced = resolve;
  }

  get hasSynced(): boolean {
    return this.#hasSynced;
  }

  /** How many objects the copy holds. */
  get size(): number {
    return this.#objects.size;
  }

  /** Begins to list and watch; a second call does nothing. */
  start(): this {
    if (!this.#started) {
      this.#started = true;
      void this.#run();
    }
    return this;
  }

  stop(): void {
    this.#abort.abort();
    this.#wake?.();
  }

  [Symbol.dispose](): void {
    this.stop();
  }

  /** The object, or undefined when there is none; a text key is `namespace/name`. */
  get(key: Key | string): T | undefined {
    return this.#objects.get(typeof key === 'string' ? key : keyText(key));
  }

  /** Every object, or those of one namespace. */
  list(namespace?: string): T[] {
    if (namespace === undefined) return [...this.#objects.values()];
    // Made at the first call: many informers are never asked this.
    this.addIndex('namespace', (object) => [object.metadata.namespace ?? '']);
    return this.byIndex('namespace', namespace);
  }

  /** Objects can then be found by any of the texts `keysOf` gives for them. A known name is kept. */
  addIndex(name: string, keysOf: (object: T) => readonly string[]): this {
    if (this.#indexes.has(name)) return this;
    const index: Index<T> = { keysOf, entries: new Map() };
    this.#indexes.set(name, index);
    for (const [key, object] of this.#objects) enter(index, key, object);
    return this;
  }

  byIndex(name: string, value: string): T[] {
    const entries = this.#indexes.get(name)?.entries.get(value);
    return entries === undefined ? [] : [...entries.values()];
  }

  /** Tells every change from now on, and every object already here as new. Returns the way out. */
  onChange(listener: ChangeListener<T>): () => void {
    this.#listeners.add(listener);
    for (const object of this.#objects.values()) callSafely(listener, undefined, object);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Takes in the answer to one's own write before the watch brings it, so that the next decision
   * sees it. Versions are global and growing, hence an answer the watch has passed is ignored.
   */
  observe(object: T): void {
    if (this.#version === undefined) return;
    if (versionOf(object) > Number(this.#version)) this.#put(object);
  }

  async #run(): Promise<void> {
    let failures = 0;
    while (!this.#abort.signal.aborted) {
      const startedAt = this.#clock.monotonicMs();
      try {
        if (this.#mustList) {
          await this.#relist();
          this.#wakeOthers();
        }
        if (await this.#follow()) failures = 0;
      } catch (error) {
        if (this.#abort.signal.aborted) return;
        this.#note(error);
      }
      if (this.#abort.signal.aborted) return;
      if (this.#clock.monotonicMs() - startedAt >= limits.watchSettledMs) failures = 0;
      else failures += 1;
      if (failures > 0) await this.#pause(failures);
    }
  }

  #note(error: unknown): void {
    const name = this.resource.resource;
    if (versionIsAhead(error)) this.#rewound = true;
    if (versionIsGone(error) || this.#rewound) this.#mustList = true;
    this.#options.log?.debug({ resource: name, error: messageOf(error) }, 'watch broke off');
  }

  async #relist(): Promise<void> {
    const { client, trim } = this.#options;
    const { items, resourceVersion } = await client.list<T>(this.resource, {
      ...this.#selection(),
      ...(trim === undefined ? {} : { trim }),
    });
    const present = new Set<string>();
    for (const item of items) {
      present.add(keyText(keyOf(item)));
      this.#put(item);
    }
    for (const [key, object] of this.#objects) {
      // An own write that is newer than the list is not a deletion.
      const newer = !this.#rewound && versionOf(object) > Number(resourceVersion);
      if (!newer && !present.has(key)) this.#remove(key);
    }
    this.#rewound = false;
    this.#mustList = false;
    this.#version = resourceVersion;
    this.#hasSynced = true;
    this.#settleSynced();
  }

  /** Applies events until the stream ends; says whether there were any. */
  async #follow(): Promise<boolean> {
    const { client } = this.#options;
    const events = client.watch<T>(this.resource, {
      ...this.#selection(),
      resourceVersion: this.#version ?? '0',
      signal: this.#abort.signal,
    });
    let any = false;
    for await (const event of events) {
      if (this.#abort.signal.aborted) return any;
      if (!any) this.#wakeOthers();
      any = true;
      this.#apply(event);
    }
    return any;
  }

  #apply(event: WatchEvent<T>): void {
    const { object } = event;
    this.#version = object.metadata.resourceVersion ?? this.#version;
    if (event.type === 'BOOKMARK') return;
    if (event.type === 'DELETED') {
      const key = keyText(keyOf(object));
      const held = this.#objects.get(key);
      // A successor of the same name, taken in by `observe`, outlives this news.
      if (held?.metadata.uid === object.metadata.uid) this.#remove(key, object);
    } else {
      this.#put(object);
    }
  }

  #put(object: T): void {
    const key = keyText(keyOf(object));
    const old = this.#objects.get(key);
    if (old !== undefined && versionOf(old) >= versionOf(object) && !this.#rewound) return;
    if (old !== undefined && old.metadata.uid !== object.metadata.uid) this.#remove(key);
    const kept = this.#options.trim?.(object) ?? object;
    const before = this.#objects.get(key);
    this.#objects.set(key, kept);
    for (const index of this.#indexes.values()) {
      if (before !== undefined) leave(index, key, before);
      enter(index, key, kept);
    }
    this.#tell(before, kept);
  }

  /** `last` is the state at deletion, when the server told it. */
  #remove(key: string, last?: T): void {
    const old = this.#objects.get(key);
    if (old === undefined) return;
    this.#objects.delete(key);
    for (const index of this.#indexes.values()) leave(index, key, old);
    this.#tell(last ?? old, undefined);
  }

  #tell(old: T | undefined, current: T | undefined): void {
    for (const listener of this.#listeners) callSafely(listener, old, current);
  }

  #selection(): ListOptions {
    const { namespace, labelSelector, fieldSelector } = this.#options;
    return {
      ...(namespace === undefined ? {} : { namespace }),
      ...(labelSelector === undefined ? {} : { labelSelector }),
      ...(fieldSelector === undefined ? {} : { fieldSelector }),
    };
  }

  /** 10 ms doubling to some seconds, of which a random half is waited. */
  async #pause(failures: number): Promise<void> {
    const random = this.#options.random ?? Math.random;
    const fullMs = Math.min(limits.watchRetryMsMax, limits.watchRetryMs * 2 ** (failures - 1));
    const { promise, resolve } = Promise.withResolvers<void>();
    const cancel = this.#clock.after(fullMs * (0.5 + random() / 2), resolve);
    const sleepers = sleepersOf(this.#options.client);
    sleepers.add(resolve);
    this.#wake = resolve;
    await promise;
    this.#wake = undefined;
    sleepers.delete(resolve);
    cancel();
  }

  /**
   * The server is back for one: it is back for all. After a time without it, a node must not end the
   * pods it lost seconds before its rules stop leading to them.
   */
  #wakeOthers(): void {
    for (const wake of sleepersOf(this.#options.client)) wake();
  }
}

/** Informers that wait before they try the server again, by their connection to it. */
const sleepersByClient = new WeakMap<Client, Set<() => void>>();

function sleepersOf(client: Client): Set<() => void> {
  const known = sleepersByClient.get(client);
  if (known !== undefined) return known;
  const made = new Set<() => void>();
  sleepersByClient.set(client, made);
  return made;
}

/** One informer per resource, shared by everything in a process. */
export class Informers {
  readonly #informers = new Map<Resource, Informer<KubeObject>>();
  readonly #options: { client: Client; clock?: Clock; log?: Logger };

  constructor(options: { client: Client; clock?: Clock; log?: Logger }) {
    this.#options = options;
  }

  /** The informer of the resource; made at the first call, begun by `start`. */
  of<T extends KubeObject>(resource: Resource): Informer<T> {
    const known = this.#informers.get(resource);
    if (known !== undefined) return known as unknown as Informer<T>;
    const made = new Informer<T>({ ...this.#options, resource });
    this.#informers.set(resource, made as unknown as Informer<KubeObject>);
    return made;
  }

  /** Begins all informers made so far; settles when each has its first list. */
  async start(): Promise<void> {
    await Promise.all([...this.#informers.values()].map((informer) => informer.start().synced));
  }

  stop(): void {
    for (const informer of this.#informers.values()) informer.stop();
  }

  [Symbol.dispose](): void {
    this.stop();
  }
}

function versionIsGone(error: unknown): boolean {
  return error instanceof ApiError && error.code === 410;
}

/** A server that lost its store, or went back to a copy of it, knows only smaller versions. */
function versionIsAhead(error: unknown): boolean {
  if (!(error instanceof ApiError)) return false;
  return error.status.details?.causes?.some((c) => c.reason === 'ResourceVersionTooLarge') ?? false;
}

function versionOf(object: KubeObject): number {
  return Number(object.metadata.resourceVersion ?? 0);
}

/** A listener's error is a bug: it must stop the process, not pass for a broken stream. */
function callSafely<T>(listener: ChangeListener<T>, old: T | undefined, current: T | undefined) {
  try {
    listener(old, current);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

function enter<T>(index: Index<T>, key: string, object: T): void {
  for (const value of index.keysOf(object)) {
    const entries = index.entries.get(value);
    if (entries === undefined) index.entries.set(value, new Map([[key, object]]));
    else entries.set(key, object);
  }
}

function leave<T>(index: Index<T>, key: string, object: T): void {
  for (const value of index.keysOf(object)) {
    const entries = index.entries.get(value);
    entries?.delete(key);
    if (entries?.size === 0) index.entries.delete(value);
  }
}
