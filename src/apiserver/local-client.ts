/** The API server called in process: no encoding, shared frozen objects. For controllers beside it. */
import { type Key, type KubeObject, keyOf } from '../api/meta.ts';
import type { Resource } from '../api/resources.ts';
import { failure } from '../api/status.ts';
import type { Client, List, ListOptions, WatchEvent, WatchOptions } from '../client/client.ts';
import { limits } from '../lib/limits.ts';
import type { Change } from '../store/store.ts';
import { type AnyObject, type ApiContext, copyOf, systemCaller } from './context.ts';
import { deleteObject } from './deletion.ts';
import { patchObject } from './patching.ts';
import { createObject, getObject } from './registry.ts';
import {
  type SelectedChange,
  type Selection,
  parseSelection,
  select,
  translate,
} from './selection.ts';
import { postSubresource, putObject } from './subresources.ts';

export function createLocalClient(context: ApiContext): Client {
  return {
    async get<T extends KubeObject>(resource: Resource, key: Key) {
      return getObject(context, resource, key).object as T;
    },
    async list<T extends KubeObject>(resource: Resource, options: ListOptions = {}) {
      const { store } = context;
      const selection = parseSelection(resource, options);
      const items = select(store.list(resource, selection.namespace), selection);
      const list: List<T> = {
        items: items.map(({ object }) => object as T),
        resourceVersion: String(store.revision),
      };
      return list;
    },
    watch<T extends KubeObject>(resource: Resource, options: WatchOptions) {
      return watchLocally<T>(context, resource, options);
    },
    async create<T extends KubeObject>(resource: Resource, object: T) {
      const { namespace } = object.metadata;
      const stored = await createObject(context, resource, namespace, copyOf<AnyObject>(object));
      return stored.object as T;
    },
    async update<T extends KubeObject>(
      resource: Resource,
      object: T,
      options: { subresource?: string } = {},
    ) {
      const body = copyOf<AnyObject>(object);
      const { stored } = await putObject(context, resource, keyOf(object), body, options);
      return stored.object as T;
    },
    async patch<T extends KubeObject>(
      resource: Resource,
      key: Key,
      patch: unknown,
      options: { type: 'json' | 'merge' | 'strategic'; subresource?: string },
    ) {
      const { stored } = await patchObject(context, resource, key, patch, options);
      return stored.object as T;
    },
    async delete(resource, key, options = {}) {
      await deleteObject(context, resource, key, options);
    },
    async post<T>(resource: Resource, key: Key, subresource: string, body: unknown) {
      const request = { resource, key, subresource, body: copyOf(body), caller: systemCaller };
      return (await postSubresource(context, request)) as T;
    },
  };
}

async function* watchLocally<T extends KubeObject>(
  context: ApiContext,
  resource: Resource,
  options: WatchOptions,
): AsyncGenerator<WatchEvent<T>> {
  const { signal } = options;
  if (signal.aborted) return;
  const selection = parseSelection(resource, options);
  const queue: WatchEvent<T>[] = [];
  let wake = () => {};
  const overrun = new AbortController();
  let queueMax: number = limits.localWatchEventsMax;
  const take = (changes: readonly Change[]) => {
    for (const change of changes) {
      const selected = translate(change, selection);
      if (selected !== undefined) queue.push(eventOf<T>(selected));
    }
    // A consumer this far behind would do better to list again.
    if (queue.length > queueMax) overrun.abort();
    wake();
  };
  const since = sinceOf(options.resourceVersion);
  const subscription = context.store.watch(
    resource,
    { ...filterOf(selection), ...(since === undefined ? {} : { since }) },
    take,
  );
  if (since === undefined) {
    const existing = select(context.store.list(resource, selection.namespace), selection);
    for (const { object } of existing) queue.push({ type: 'ADDED', object: object as T });
    queueMax += existing.length;
  }
  take(subscription.backlog);
  const stop = () => wake();
  signal.addEventListener('abort', stop);
  try {
    while (!signal.aborted && !overrun.signal.aborted) {
      const event = queue.shift();
      if (event === undefined) await new Promise<void>((resolve) => (wake = resolve));
      else yield event;
    }
  } finally {
    signal.removeEventListener('abort', stop);
    subscription.close();
  }
}

function filterOf({ namespace, name }: Selection): { namespace?: string; name?: string } {
  return {
    ...(namespace === undefined ? {} : { namespace }),
    ...(name === undefined ? {} : { name }),
  };
}

/** `0` and nothing both mean: start with what there is (A82). */
function sinceOf(resourceVersion: string | undefined): number | undefined {
  if (resourceVersion === undefined || resourceVersion === '' || resourceVersion === '0') {
    return undefined;
  }
  const since = Number(resourceVersion);
  if (Number.isSafeInteger(since) && since > 0) return since;
  throw failure(400, 'BadRequest', `invalid resource version: "${resourceVersion}"`);
}

function eventOf<T extends KubeObject>({ type, stored, version }: SelectedChange): WatchEvent<T> {
  const { object } = stored;
  if (version === stored.revision) return { type, object: object as T };
  const metadata = { ...object.metadata, resourceVersion: String(version) };
  return { type, object: { ...object, metadata } as T };
}
