/** One transaction in the making: decides writes in order, each seeing those before it. */
import { isDeepStrictEqual } from 'node:util';

import type { Key, KubeObject } from '../api/meta.ts';
import { type Resource, qualifiedName } from '../api/resources.ts';
import { failure } from '../api/status.ts';
import { limits } from '../lib/limits.ts';
import { deepFreeze } from './freeze.ts';
import type { KindState } from './kind-state.ts';
import type { Change, Decision, Mutation, Row, Stored, Transaction, WriteResult } from './store.ts';

type Write = {
  readonly resource: Resource;
  readonly key: Key;
  readonly mutate: Mutation;
  readonly dryRun: boolean;
};

const encoder = new TextEncoder();

export class Stage {
  readonly rows: Row[] = [];
  readonly #kindOf: (resource: Resource) => KindState;
  /** Staged state per `resource/namespace/name`; null stands for deleted. */
  readonly #overlay = new Map<string, Stored | null>();
  readonly #changes = new Map<KindState, Change[]>();
  readonly #undo: (() => void)[] = [];
  revision: number;

  constructor(revision: number, kindOf: (resource: Resource) => KindState) {
    this.revision = revision;
    this.#kindOf = kindOf;
  }

  /** Decides one write; what it throws refuses this write only. */
  run(write: Write): WriteResult {
    const undo: (() => void)[] = [];
    const transaction: Transaction = {
      get: (resource, key) => this.#get(resource, key),
      onAbort: (callback) => void undo.push(callback),
    };
    const current = this.#get(write.resource, write.key);
    try {
      const decision = write.mutate(current, transaction);
      const result = this.#decide(write, current, decision);
      if (write.dryRun) rollBack(undo);
      else this.#undo.push(...undo);
      return result;
    } catch (error) {
      rollBack(undo);
      throw error;
    }
  }

  /** The transaction failed: undoes the side effects of its writes. */
  abort(): void {
    rollBack(this.#undo);
  }

  /** The transaction is durable: takes it over into memory, then tells the watchers. */
  publish(): void {
    for (const [kind, changes] of this.#changes) kind.apply(changes);
    for (const [kind, changes] of this.#changes) kind.notify(changes);
  }

  #get(resource: Resource, key: Key): Stored | undefined {
    const staged = this.#overlay.get(overlayKey(resource, key));
    if (staged !== undefined) return staged ?? undefined;
    return this.#kindOf(resource).get(key.namespace ?? '', key.name);
  }

  #decide(write: Write, current: Stored | undefined, decision: Decision): WriteResult {
    if (decision.kind === 'keep') return { stored: current, change: undefined };
    if (decision.kind === 'delete') {
      if (current === undefined) return { stored: undefined, change: undefined };
      return this.#stage(write, 'DELETED', decision.object ?? current.object, current);
    }
    if (current !== undefined && sameButVersion(current.object, decision.object)) {
      return { stored: current, change: undefined };
    }
    return this.#stage(write, current ? 'MODIFIED' : 'ADDED', decision.object, current);
  }

  #stage(
    write: Write,
    type: Change['type'],
    object: KubeObject,
    previous: Stored | undefined,
  ): WriteResult {
    const { resource, key } = write;
    const revision = this.revision + 1;
    const stored = storedFrom(resource, key, object, revision);
    if (write.dryRun) {
      // What was not written has no version of its own; kube-apiserver answers the old one.
      const version = previous?.object.metadata.resourceVersion;
      return { stored: storedFrom(resource, key, object, version), change: type };
    }
    this.revision = revision;
    const change: Change = { type, stored, previous };
    const kind = this.#kindOf(resource);
    const changes = this.#changes.get(kind);
    if (changes === undefined) this.#changes.set(kind, [change]);
    else changes.push(change);
    this.#overlay.set(overlayKey(resource, key), type === 'DELETED' ? null : stored);
    const bytes = type === 'DELETED' ? undefined : stored.bytes;
    const { namespace, name } = stored;
    this.rows.push({ resource: qualifiedName(resource), namespace, name, revision, bytes });
    return { stored, change: type };
  }
}

/** Freezes the object with its version and encodes it. `undefined` version: none. */
function storedFrom(
  resource: Resource,
  key: Key,
  object: KubeObject,
  version: number | string | undefined,
): Stored {
  const { resourceVersion: _, ...metadata } = object.metadata;
  const versioned = {
    ...object,
    metadata: version === undefined ? metadata : { ...metadata, resourceVersion: String(version) },
  };
  const bytes = encoder.encode(JSON.stringify(versioned));
  if (bytes.length > limits.objectBytesMax) {
    const text = `${qualifiedName(resource)} "${key.name}" has ${bytes.length} bytes of JSON; at most ${limits.objectBytesMax} are stored`;
    throw failure(413, 'RequestEntityTooLarge', `Request entity too large: ${text}`);
  }
  return {
    namespace: key.namespace ?? '',
    name: key.name,
    revision: Number(version ?? 0),
    object: deepFreeze(versioned),
    bytes,
  };
}

/** A37: a write that changes nothing keeps the version. */
function sameButVersion(a: KubeObject, b: KubeObject): boolean {
  if (a === b) return true;
  return isDeepStrictEqual(withoutVersion(a), withoutVersion(b));
}

function withoutVersion(object: KubeObject): KubeObject {
  const { resourceVersion: _, ...metadata } = object.metadata;
  return { ...object, metadata };
}

function rollBack(undo: (() => void)[]): void {
  while (undo.length > 0) undo.pop()!();
}

function overlayKey(resource: Resource, key: Key): string {
  return `${qualifiedName(resource)}/${key.namespace ?? ''}/${key.name}`;
}
