import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import {
  array,
  assert as assertProperty,
  asyncProperty,
  constantFrom,
  option,
  record,
} from 'fast-check';

import type { KubeObject } from '../api/meta.ts';
import { resources } from '../api/resources.ts';
import { failure, isReason } from '../api/status.ts';
import type { ConfigMap } from '../api/types.ts';
import { limits } from '../lib/limits.ts';
import { openSqliteStore } from './sqlite.ts';
import { type Change, Store, type Stored, createMemoryStore } from './store.ts';

const { configmaps } = resources;

function configMap(name: string, value: string): ConfigMap {
  return { metadata: { name, namespace: 'default' }, data: { value } };
}

const key = (name: string) => ({ namespace: 'default', name });
const put = (store: Store, name: string, value: string) =>
  store.write(configmaps, key(name), () => ({ kind: 'put', object: configMap(name, value) }));
const remove = (store: Store, name: string) =>
  store.write(configmaps, key(name), () => ({ kind: 'delete' }));
const names = (stored: readonly Stored[]) => stored.map(({ name }) => name);
const texts = (changes: readonly Change[]) =>
  changes.map(({ type, stored }) => `${type} ${stored.name} ${stored.revision}`);

const folder = mkdtempSync(join(tmpdir(), 'store-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
let files = 0;
const nextFile = () => join(folder, `${(files += 1)}.db`);

const stores: { name: string; open: () => Store }[] = [
  { name: 'memory', open: createMemoryStore },
  { name: 'sqlite', open: () => openSqliteStore({ path: nextFile() }) },
  { name: 'sqlite, full', open: () => openSqliteStore({ path: nextFile(), durability: 'full' }) },
];

for (const { name, open } of stores) {
  test(`${name}: a write is there with the next version`, async () => {
    using store = open();
    const { stored, change } = await put(store, 'a', '1');
    assert.equal(change, 'ADDED');
    assert.equal(stored?.object.metadata.resourceVersion, '1');
    assert.equal(store.revision, 1);
    assert.deepEqual(store.get(configmaps, key('a'))?.object, stored.object);
    assert.deepEqual(JSON.parse(Buffer.from(stored.bytes).toString()), stored.object);
  });

  test(`${name}: [A37] a write that changes nothing keeps the version and tells nobody`, async () => {
    using store = open();
    await put(store, 'a', '1');
    const seen: Change[] = [];
    store.watch(configmaps, {}, (changes) => seen.push(...changes));
    const { stored, change } = await put(store, 'a', '1');
    assert.equal(change, undefined);
    assert.equal(stored?.revision, 1);
    assert.deepEqual(seen, []);
  });

  test(`${name}: writes of one turn see each other in order`, async () => {
    using store = open();
    await Promise.all([put(store, 'a', '1'), put(store, 'a', '2'), remove(store, 'a')]);
    assert.equal(store.get(configmaps, key('a')), undefined);
    assert.equal(store.revision, 3);
  });

  test(`${name}: a refused write refuses itself only, and undoes what it took`, async () => {
    using store = open();
    const undone: string[] = [];
    const refused = store.write(configmaps, key('b'), (_, transaction) => {
      transaction.onAbort(() => undone.push('b'));
      throw failure(409, 'Conflict', 'no');
    });
    const kept = store.write(configmaps, key('a'), (_, transaction) => {
      transaction.onAbort(() => undone.push('a'));
      return { kind: 'put', object: configMap('a', '1') };
    });
    await assert.rejects(refused, (error) => isReason(error, 'Conflict'));
    await kept;
    assert.deepEqual(undone, ['b']);
    assert.equal(store.revision, 1);
  });

  test(`${name}: [A45] a dry run answers as usual and leaves nothing`, async () => {
    using store = open();
    let undone = 0;
    const { stored } = await store.write(
      configmaps,
      key('a'),
      (_, transaction) => {
        transaction.onAbort(() => (undone += 1));
        return { kind: 'put', object: configMap('a', '1') };
      },
      { dryRun: true },
    );
    assert.equal(stored?.name, 'a');
    assert.equal(undone, 1);
    assert.equal(store.revision, 0);
    assert.equal(store.get(configmaps, key('a')), undefined);
  });

  test(`${name}: [A84] a deletion carries the last state and its own version`, async () => {
    using store = open();
    await put(store, 'a', '1');
    const seen: Change[] = [];
    store.watch(configmaps, {}, (changes) => seen.push(...changes));
    await remove(store, 'a');
    assert.deepEqual(texts(seen), ['DELETED a 2']);
    assert.equal(seen[0]?.stored.object.metadata.resourceVersion, '2');
  });

  test(`${name}: [A78] lists are ordered by namespace and name`, async () => {
    using store = open();
    for (const item of ['c', 'a', 'b']) await put(store, item, '1');
    const other: KubeObject = { metadata: { name: 'z', namespace: 'another' } };
    await store.write(configmaps, { namespace: 'another', name: 'z' }, () => ({
      kind: 'put',
      object: other,
    }));
    assert.deepEqual(names(store.list(configmaps)), ['z', 'a', 'b', 'c']);
    assert.deepEqual(names(store.list(configmaps, 'default')), ['a', 'b', 'c']);
    assert.deepEqual(names(store.list(configmaps, 'none')), []);
  });

  test(`${name}: [A82] a watch from a version gets what came after, then the rest`, async () => {
    using store = open();
    await put(store, 'a', '1');
    await put(store, 'b', '1');
    await put(store, 'a', '2');
    const seen: Change[] = [];
    const watch = store.watch(configmaps, { since: 1 }, (c) => seen.push(...c));
    assert.deepEqual(texts(watch.backlog), ['ADDED b 2', 'MODIFIED a 3']);
    await put(store, 'c', '1');
    watch.close();
    await put(store, 'd', '1');
    assert.deepEqual(texts(seen), ['ADDED c 4']);
  });

  test(`${name}: watches of a namespace or a name see only that`, async () => {
    using store = open();
    const seen: string[] = [];
    store.watch(configmaps, { namespace: 'other' }, () => seen.push('other'));
    store.watch(configmaps, { name: 'b' }, (c) => seen.push(...texts(c)));
    store.watch(resources.secrets, {}, () => seen.push('secrets'));
    await Promise.all([put(store, 'a', '1'), put(store, 'b', '1')]);
    assert.deepEqual(seen, ['ADDED b 2']);
  });

  test(`${name}: [A85] a watch from before the history is Expired`, async () => {
    using store = open();
    await put(store, 'a', '0');
    for (let value = 0; value <= limits.historyEventsMax; value += 1) {
      await put(store, 'a', String(value + 1));
    }
    const text = /too old resource version: 1 \(\d+\)/;
    assert.throws(() => store.watch(configmaps, { since: 1 }, () => undefined), text);
    assert.throws(() => store.listAt(configmaps, 1), text);
    assert.doesNotThrow(() => store.watch(configmaps, { since: store.revision }, () => undefined));
  });

  test(`${name}: [A44] an object too large to store is refused`, async () => {
    using store = open();
    const write = put(store, 'a', 'x'.repeat(limits.objectBytesMax));
    await assert.rejects(write, (error) => isReason(error, 'RequestEntityTooLarge'));
    assert.equal(store.revision, 0);
  });
}

test('what is shared is frozen', async () => {
  using store = createMemoryStore();
  const { stored } = await put(store, 'a', '1');
  assert.throws(() => ((stored!.object as ConfigMap).data!.value = '2'), TypeError);
});

test('a commit that fails refuses its writes, undoes them, and the store goes on', async () => {
  let full = true;
  const store = new Store({
    load: () => ({ revision: 0, rows: [] }),
    commit() {
      if (full) throw failure(507, 'InternalError', 'full');
    },
    close: () => undefined,
  });
  const undone: string[] = [];
  const write = () =>
    store.write(configmaps, key('a'), (_, transaction) => {
      transaction.onAbort(() => undone.push('a'));
      return { kind: 'put', object: configMap('a', '1') };
    });
  await assert.rejects(write(), /full/);
  assert.deepEqual(undone, ['a']);
  assert.equal(store.list(configmaps).length, 0);
  full = false;
  assert.equal((await write()).stored?.revision, 1);
  store.close();
});

test('with a backend that takes its time, writes wait for the commit and share the next one', async () => {
  const commits: number[] = [];
  const waiting: (() => void)[] = [];
  const store = new Store({
    load: () => ({ revision: 0, rows: [] }),
    commit(rows) {
      commits.push(rows.length);
      return new Promise((resolve) => waiting.push(resolve));
    },
    close: () => undefined,
  });
  const turn = () => new Promise((resolve) => setImmediate(resolve));
  const first = put(store, 'a', '1');
  await turn();
  const others = [put(store, 'b', '1'), put(store, 'c', '1')];
  await turn();
  assert.deepEqual(commits, [1]);
  assert.equal(store.revision, 0);
  waiting.shift()?.();
  await first;
  await turn();
  await turn();
  assert.deepEqual(commits, [1, 2]);
  waiting.shift()?.();
  await Promise.all(others);
  assert.equal(store.revision, 3);
  store.close();
});

/** One turn's worth of writes on a handful of names. */
const batches = array(
  array(
    record({
      name: constantFrom('a', 'b', 'c'),
      value: option(constantFrom('1', '2'), { nil: undefined }),
    }),
    { maxLength: 4 },
  ),
  { maxLength: 12 },
);

test('property: the store is a map, its history leads from any version to the present', async () => {
  await assertProperty(
    asyncProperty(batches, async (turns) => {
      using store = createMemoryStore();
      const model = new Map<string, string>();
      const snapshots: { revision: number; state: [string, string][] }[] = [];
      for (const turn of turns) {
        await Promise.all(
          turn.map(({ name, value }) =>
            value === undefined ? remove(store, name) : put(store, name, value),
          ),
        );
        for (const { name, value } of turn) {
          if (value === undefined) model.delete(name);
          else model.set(name, value);
        }
        const state = sorted(model);
        assert.deepEqual(stateOf(store.list(configmaps)), state);
        snapshots.push({ revision: store.revision, state });
      }
      for (const { revision, state } of snapshots) {
        assert.deepEqual(stateOf(store.listAt(configmaps, revision)), state);
        const replayed = new Map(state);
        const { backlog } = store.watch(configmaps, { since: revision }, () => undefined);
        for (const { type, stored } of backlog) {
          if (type === 'DELETED') replayed.delete(stored.name);
          else replayed.set(stored.name, valueOf(stored));
        }
        assert.deepEqual(sorted(replayed), sorted(model));
      }
    }),
  );
});

function sorted(map: ReadonlyMap<string, string>): [string, string][] {
  return [...map].sort(([a], [b]) => (a < b ? -1 : 1));
}

function stateOf(stored: readonly Stored[]): [string, string][] {
  return stored.map((item) => [item.name, valueOf(item)]);
}

function valueOf({ object }: Stored): string {
  return (object as ConfigMap).data?.value ?? '';
}
