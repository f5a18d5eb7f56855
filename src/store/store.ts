/**
 * The state of a cluster: every object in memory, frozen, with its JSON ready to send; a backend
 * makes writes durable. One global, growing resourceVersion. Reads and watches never wait.
 *
 * A write is a function from the current object to a decision. Writes that arrive while a commit
 * runs form the next one (group commit), so a mutation always sees the latest state and needs no
 * retry; it is acknowledged, and shown to watchers, only after the backend has it.
 */
import type { Key, KubeObject } from '../api/meta.ts';
import { type Resource, qualifiedName } from '../api/resources.ts';
import { assert } from '../lib/errors.ts';
import { KindState } from './kind-state.ts';
import { Stage } from './stage.ts';

/** One version of an object as stored. `object` is frozen; `bytes` is its JSON in UTF-8. */
export type Stored = {
  readonly namespace: string;
  readonly name: string;
  readonly revision: number;
  readonly object: KubeObject;
  readonly bytes: Uint8Array;
};

/** What happened to an object. After DELETED, `stored` is its last state with the deletion's version. */
export type Change = {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly stored: Stored;
  readonly previous: Stored | undefined;
};

/** What a write wants. `delete` may carry a last state; `keep` leaves everything as it is. */
export type Decision =
  | { readonly kind: 'put'; readonly object: KubeObject }
  | { readonly kind: 'delete'; readonly object?: KubeObject }
  | { readonly kind: 'keep' };

/** The view of a write: the state as of all writes before it, committed or about to be. */
export type Transaction = {
  get(resource: Resource, key: Key): Stored | undefined;
  /** Undoes a side effect (an allocated address) when the write does not come to pass. */
  onAbort(undo: () => void): void;
};

export type Mutation = (current: Stored | undefined, transaction: Transaction) => Decision;

export type WriteResult = {
  /** The object after the write; its last state when it is gone; undefined when there was none. */
  readonly stored: Stored | undefined;
  readonly change: Change['type'] | undefined;
};

export type WatchFilter = {
  readonly namespace?: string;
  readonly name?: string;
};

/** A running subscription; `backlog` holds the changes between the asked version and now. */
export type Subscription = { readonly backlog: readonly Change[]; close(): void };

/** One row to make durable; `bytes` absent: delete it. */
export type Row = {
  readonly resource: string;
  readonly namespace: string;
  readonly name: string;
  readonly revision: number;
  readonly bytes: Uint8Array | undefined;
};

export type LoadedRow = Row & { readonly bytes: Uint8Array };

/** Durable memory. `commit` is all or nothing; it throws (or rejects) when nothing was written. */
export interface Backend {
  load(): { readonly revision: number; readonly rows: Iterable<LoadedRow> };
  commit(rows: readonly Row[], revision: number): void | Promise<void>;
  close(): void;
}

type PendingWrite = {
  readonly resource: Resource;
  readonly key: Key;
  readonly mutate: Mutation;
  readonly dryRun: boolean;
  readonly resolve: (result: WriteResult) => void;
  readonly reject: (error: unknown) => void;
};

/** Writes per transaction at most, so that one commit never holds the loop for long. */
const BATCH_MAX = 256;

export class Store {
  readonly #backend: Backend;
  readonly #kinds = new Map<string, KindState>();
  #queue: PendingWrite[] = [];
  readonly #loadedRevision: number;
  #revision: number;
  #scheduled = false;
  #committing = false;
  #closed = false;

  /** Reads everything the backend has. Throws what the backend throws when it cannot be read. */
  constructor(backend: Backend) {
    this.#backend = backend;
    const { revision, rows } = backend.load();
    this.#revision = revision;
    this.#loadedRevision = revision;
    for (const row of rows) this.#kindNamed(row.resource).load(row);
  }

  /** The version of the last committed write. */
  get revision(): number {
    return this.#revision;
  }

  get(resource: Resource, key: Key): Stored | undefined {
    return this.#kind(resource).get(key.namespace ?? '', key.name);
  }

  /** All objects ordered by namespace and name (A78). */
  list(resource: Resource, namespace?: string): Stored[] {
    return this.#kind(resource).list(namespace);
  }

  /** As `list`, as it was at an earlier version; throws Expired when history no longer reaches it. */
  listAt(resource: Resource, revision: number, namespace?: string): Stored[] {
    return this.#kind(resource).listAt(revision, namespace);
  }

  /** The oldest version a watch may start from. */
  oldestRevision(resource: Resource): number {
    return this.#kind(resource).compactedRevision;
  }

  /**
   * Calls back with every later change, one call per commit, in version order, in the tick of the
   * commit. `since` undefined: only changes from now on. Throws Expired past the history.
   */
  watch(
    resource: Resource,
    options: WatchFilter & { readonly since?: number },
    onChanges: (changes: readonly Change[]) => void,
  ): Subscription {
    return this.#kind(resource).subscribe(options, onChanges);
  }

  /** With `dryRun` everything is decided and answered as usual, and nothing is kept (A45). */
  write(
    resource: Resource,
    key: Key,
    mutate: Mutation,
    options: { readonly dryRun?: boolean } = {},
  ): Promise<WriteResult> {
    assert(!this.#closed, 'write to a closed store');
    return new Promise((resolve, reject) => {
      const dryRun = options.dryRun ?? false;
      this.#queue.push({ resource, key, mutate, dryRun, resolve, reject });
      this.#schedule();
    });
  }

  /** Commits what is queued, then lets go of the backend. */
  close(): void {
    if (this.#closed) return;
    while (this.#queue.length > 0 && !this.#committing) this.#flush();
    this.#closed = true;
    this.#backend.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #kind(resource: Resource): KindState {
    return this.#kindNamed(qualifiedName(resource));
  }

  #kindNamed(name: string): KindState {
    let kind = this.#kinds.get(name);
    if (kind === undefined) {
      kind = new KindState(this.#loadedRevision);
      this.#kinds.set(name, kind);
    }
    return kind;
  }

  /** `setImmediate`: every request the loop has read in this turn joins the same commit. */
  #schedule(): void {
    if (this.#scheduled || this.#committing) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      if (!this.#closed) this.#flush();
    });
  }

  #flush(): void {
    const batch = this.#queue.splice(0, BATCH_MAX);
    const stage = new Stage(this.#revision, (resource) => this.#kind(resource));
    const done: { write: PendingWrite; result: WriteResult }[] = [];
    for (const write of batch) {
      try {
        done.push({ write, result: stage.run(write) });
      } catch (error) {
        write.reject(error);
      }
    }
    const fail = (error: unknown) => {
      stage.abort();
      for (const { write } of done) write.reject(error);
    };
    const succeed = () => {
      this.#revision = stage.revision;
      for (const { write, result } of done) write.resolve(result);
      stage.publish();
    };
    this.#commit(stage, succeed, fail);
  }

  #commit(stage: Stage, succeed: () => void, fail: (error: unknown) => void): void {
    let outcome: void | Promise<void> = undefined;
    try {
      if (stage.rows.length > 0) outcome = this.#backend.commit(stage.rows, stage.revision);
    } catch (error) {
      fail(error);
      if (this.#queue.length > 0) this.#schedule();
      return;
    }
    if (outcome === undefined) {
      succeed();
      if (this.#queue.length > 0) this.#schedule();
      return;
    }
    this.#committing = true;
    void outcome.then(succeed, fail).finally(() => {
      this.#committing = false;
      if (this.#queue.length > 0) this.#schedule();
    });
  }
}

/** A store that forgets everything with its process: for tests and throw-away servers. */
export function createMemoryStore(): Store {
  return new Store({
    load: () => ({ revision: 0, rows: [] }),
    commit: () => undefined,
    close: () => undefined,
  });
}
