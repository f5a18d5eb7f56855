/** A disk that fills up, for real: a small tmpfs in this process's own mount namespace. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { resources } from '../../src/api/resources.ts';
import { ApiError } from '../../src/api/status.ts';
import { startApiServer } from '../../src/apiserver/server.ts';
import { UserError } from '../../src/lib/errors.ts';
import { openSqliteStore } from '../../src/store/sqlite.ts';

const { configmaps } = resources;

test('a full disk refuses the write, the store stays whole and goes on', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'disk-full-'));
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', folder]);
  t.after(() => {
    execFileSync('umount', [folder]);
    rmSync(folder, { recursive: true });
  });
  const path = join(folder, 'state.db');
  const acknowledged: string[] = [];
  {
    using store = openSqliteStore({ path });
    const { client } = await startApiServer({ store, serviceCidrs: ['10.96.0.0/16'] });
    const put = async (name: string) => {
      const metadata = { name, namespace: 'default' };
      await client.create(configmaps, { metadata, data: { text: 'x'.repeat(20_000) } } as never);
      acknowledged.push(name);
    };
    const refusal = await (async () => {
      for (let n = 0; ; n += 1) {
        try {
          await put(`n${n}`);
        } catch (error) {
          return error;
        }
      }
    })();
    assert.ok(refusal instanceof ApiError);
    assert.equal(refusal.code, 507);
    assert.match(refusal.message, /Cannot store the object: the disk is full/);
    // Reads go on, and show exactly what was acknowledged.
    const { items } = await client.list(configmaps, { namespace: 'default' });
    assert.deepEqual(items.map(({ metadata }) => metadata.name).sort(), [...acknowledged].sort());
    // Room again: writes go on without a restart.
    execFileSync('mount', ['-o', 'remount,size=4m', folder]);
    await put('after');
    writeFileSync(join(folder, 'other'), 'x');
  }
  using store = openSqliteStore({ path });
  const there = store.list(configmaps, 'default').map(({ name }) => name);
  assert.deepEqual(there.sort(), acknowledged.sort());
});

test('a server starts on a full disk', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'disk-full-'));
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', folder]);
  t.after(() => {
    execFileSync('umount', [folder]);
    rmSync(folder, { recursive: true });
  });
  const path = join(folder, 'state.db');
  const key = { name: 'a', namespace: 'default' };
  {
    using store = openSqliteStore({ path });
    await store.write(configmaps, key, () => ({ kind: 'put', object: { metadata: key } }));
  }
  assert.throws(() => writeFileSync(join(folder, 'filler'), Buffer.alloc(1024 * 1024)), /ENOSPC/);
  {
    using store = openSqliteStore({ path });
    assert.equal(store.get(configmaps, key)?.name, 'a');
  }
  assert.throws(
    () => openSqliteStore({ path: join(folder, 'new.db') }),
    (error) => error instanceof UserError && error.code === 'DATABASE_FULL',
  );
});
