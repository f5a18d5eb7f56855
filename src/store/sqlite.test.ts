import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';

import { resources } from '../api/resources.ts';
import { UserError } from '../lib/errors.ts';
import { openSqliteStore } from './sqlite.ts';
import type { Store } from './store.ts';

const folder = mkdtempSync(join(tmpdir(), 'sqlite-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
const file = (name: string) => join(folder, name);

const { configmaps } = resources;

function put(store: Store, name: string): Promise<unknown> {
  const metadata = { name, namespace: 'default' };
  return store.write(configmaps, metadata, () => ({ kind: 'put', object: { metadata } }));
}

test('everything is there after closing and opening', async () => {
  const path = file('again.db');
  {
    using store = openSqliteStore({ path });
    await put(store, 'a');
    await put(store, 'b');
    const key = { namespace: 'default', name: 'b' };
    await store.write(configmaps, key, () => ({ kind: 'delete' }));
  }
  using store = openSqliteStore({ path });
  assert.deepEqual(
    store.list(configmaps).map(({ name }) => name),
    ['a'],
  );
  // The version of a deletion is not given out twice.
  assert.equal(store.revision, 3);
  assert.throws(() => store.watch(configmaps, { since: 2 }, () => undefined), /too old/);
});

const refused: { name: string; code: string; text: RegExp; make: (path: string) => void }[] = [
  {
    name: 'a file that is no database',
    code: 'DATABASE_CORRUPT',
    text: /it does not start as an SQLite file does/,
    make: (path) => writeFileSync(path, 'hello, this is my diary\n'),
  },
  {
    name: 'a database cut short',
    code: 'DATABASE_CORRUPT',
    text: /Cannot open database ".*"/,
    make(path) {
      makeDatabase(path);
      writeFileSync(path, readFileSync(path).subarray(0, 5000));
    },
  },
  {
    name: 'a database with bytes overwritten',
    code: 'DATABASE_CORRUPT',
    text: /Cannot open database ".*"/,
    make(path) {
      makeDatabase(path);
      const bytes = readFileSync(path);
      bytes.fill(0xaa, 4096);
      writeFileSync(path, bytes);
    },
  },
  {
    name: 'the database of another program',
    code: 'DATABASE_CORRUPT',
    text: /the SQLite file of another program \(application id 0\)/,
    make(path) {
      const database = new DatabaseSync(path);
      database.exec('CREATE TABLE songs (title TEXT)');
      database.close();
    },
  },
  {
    name: 'a database of a newer version',
    code: 'DATABASE_VERSION',
    text: /it has schema version 2, this program knows 1/,
    make(path) {
      makeDatabase(path);
      const database = new DatabaseSync(path);
      database.exec('PRAGMA user_version = 2');
      database.close();
    },
  },
];

for (const [what, path] of [
  ['a folder that is not there', join(folder, 'nowhere', 'a.db')],
  ['a folder in place of the file', folder],
] as const) {
  test(`${what} is no corrupt database`, () => {
    assert.throws(
      () => openSqliteStore({ path }),
      (error) =>
        error instanceof UserError &&
        error.code === 'DATABASE_UNREADABLE' &&
        error.message.includes(path),
    );
  });
}

function makeDatabase(path: string): void {
  openSqliteStore({ path }).close();
}

for (const [index, { name, code, text, make }] of refused.entries()) {
  test(`${name} is refused by name and left as it is`, () => {
    const path = file(`refused-${index}.db`);
    make(path);
    const before = readFileSync(path);
    assert.throws(
      () => openSqliteStore({ path }),
      (error) =>
        error instanceof UserError &&
        error.code === code &&
        text.test(error.message) &&
        error.message.includes(path),
    );
    assert.deepEqual(readFileSync(path), before);
  });
}

test('a database in use is refused', () => {
  const path = file('used.db');
  // Made before: the one that uses it has not written to it yet.
  makeDatabase(path);
  using _store = openSqliteStore({ path });
  assert.throws(
    () => openSqliteStore({ path }),
    (error) => error instanceof UserError && error.code === 'DATABASE_IN_USE',
  );
});

/** Writes without end and prints each name once its write is acknowledged. */
const writer = `
  import { openSqliteStore } from ${JSON.stringify(join(import.meta.dirname, 'sqlite.ts'))};
  import { writeSync } from 'node:fs';
  const store = openSqliteStore({ path: process.argv[1] });
  const resource = ${JSON.stringify(configmaps)};
  for (let n = store.revision; ; n += 1) {
    const metadata = { name: 'n' + n, namespace: 'default' };
    void store.write(resource, metadata, () => ({ kind: 'put', object: { metadata } })).then(() => {
      writeSync(1, metadata.name + '\\n');
    });
    if (n % 3 === 0) await new Promise((resolve) => setImmediate(resolve));
  }`;

test('kill -9 at any moment loses no acknowledged write', async () => {
  const path = file('killed.db');
  const acknowledged: string[] = [];
  for (let round = 0; round < 12; round += 1) {
    const child = spawn(process.execPath, ['--input-type=module', '-e', writer, path]);
    let text = '';
    let errors = '';
    child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()));
    await once(child.stdout, 'data');
    await new Promise((resolve) => setTimeout(resolve, round * 7));
    child.kill('SIGKILL');
    await once(child, 'close');
    assert.equal(errors, '');
    acknowledged.push(...text.split('\n').slice(0, -1));
    using store = openSqliteStore({ path });
    const there = new Set(store.list(configmaps).map(({ name }) => name));
    const lost = acknowledged.filter((name) => !there.has(name));
    assert.deepEqual(lost, []);
    assert.ok(store.revision >= acknowledged.length);
  }
  assert.ok(acknowledged.length > 100, `only ${acknowledged.length} writes`);
});
