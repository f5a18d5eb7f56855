/** Work inside other namespaces, and the way back; /proc and `ip` say where we are. */
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import { readlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { setHostname } from '../../src/kernel/ffi/process.ts';
import { makePrivate, mountFilesystem } from '../../src/kernel/ffi/mount.ts';
import { isPinned, pinNamespace, unpinNamespace } from '../../src/kernel/namespace/pin.ts';
import { fresh, within } from '../../src/kernel/namespace/within.ts';

const directory = mkdtempSync(join(tmpdir(), 'fl-'));
after(() => rmSync(directory, { recursive: true, force: true }));

const kinds = ['net', 'uts', 'ipc', 'mnt'] as const;
const here = (kind: string) => readlinkSync(`/proc/thread-self/ns/${kind}`);

for (const kind of kinds) {
  test(`a fresh ${kind} namespace, and back`, () => {
    const before = here(kind);
    const inside = within({ [kind]: fresh }, () => here(kind));
    assert.notEqual(inside, before);
    assert.equal(here(kind), before);
  });

  test(`back from a ${kind} namespace after an error`, () => {
    const before = here(kind);
    const work = () => {
      throw new Error('inside');
    };
    assert.throws(() => within({ [kind]: fresh }, work), /inside/);
    assert.equal(here(kind), before);
  });
}

test('the directory is the same after a visit to another mount namespace', () => {
  const before = process.cwd();
  within({ mnt: fresh }, () => process.chdir('/'));
  assert.equal(process.cwd(), before);
});

test('a process started in a fresh pid namespace is number 1 there; the next one outside is not', () => {
  const pid = () => spawnSync('sh', ['-c', 'echo $$'], { encoding: 'utf8' }).stdout.trim();
  assert.equal(within({ pid: fresh }, pid), '1');
  assert.notEqual(pid(), '1');
});

test('other threads stay where they are', async () => {
  const before = await readlink('/proc/thread-self/ns/net');
  const elsewhere = within({ net: fresh }, () => ({
    during: readlink('/proc/thread-self/ns/net'),
  }));
  assert.equal(await elsewhere.during, before);
});

test('a thread started after the first visit does not stand in the way of the next', async () => {
  const child = within({ mnt: fresh }, () => spawn('sleep', ['30']));
  const worker = new Worker('setInterval(() => undefined, 1000)', { eval: true });
  await once(worker, 'online');
  const before = here('mnt');
  const path = `/proc/${child.pid}/ns/mnt`;
  assert.equal(
    within({ mnt: path }, () => here('mnt')),
    readlinkSync(path),
  );
  assert.equal(here('mnt'), before);
  child.kill();
  await worker.terminate();
});

test('work that is not synchronous is a bug', () => {
  assert.throws(() => within({ net: fresh }, () => Promise.resolve()), /must be synchronous/);
});

test('a visit within a visit is a bug', () => {
  assert.throws(() => within({ net: fresh }, () => within({ uts: fresh }, () => 1)), /must not/);
  assert.equal(
    within({ net: fresh }, () => 1),
    1,
  );
});

test('a namespace that is not there leaves no descriptor and no other directory behind', () => {
  const open = () => readdirSync('/proc/self/fd').length;
  within({ net: fresh, mnt: fresh }, () => undefined);
  const before = { fds: open(), directory: process.cwd() };
  const namespaces = { net: '/proc/self/ns/net', mnt: join(directory, 'none') };
  assert.throws(() => within(namespaces, () => undefined), /ENOENT/);
  assert.deepEqual({ fds: open(), directory: process.cwd() }, before);
});

test('a pinned namespace is found again, until it is let go', () => {
  const path = join(directory, 'uts');
  within({ uts: fresh }, () => {
    setHostname('elsewhere');
    pinNamespace('uts', path);
  });
  assert.equal(isPinned(path), true);
  const name = () => execFileSync('hostname', { encoding: 'utf8' }).trim();
  assert.equal(within({ uts: path }, name), 'elsewhere');
  assert.equal(
    execFileSync('nsenter', [`--uts=${path}`, 'hostname'], { encoding: 'utf8' }).trim(),
    'elsewhere',
  );
  assert.notEqual(name(), 'elsewhere');
  unpinNamespace(path);
  unpinNamespace(path);
  assert.equal(isPinned(path), false);
  assert.equal(existsSync(path), false);
});

test('a mount made inside does not show outside', () => {
  const inside = within({ mnt: fresh }, () => {
    makePrivate('/');
    mountFilesystem({ type: 'tmpfs', target: directory, data: 'size=64k' });
    execFileSync('touch', [join(directory, 'file')]);
    return readdirSync(directory);
  });
  assert.deepEqual(inside, ['file']);
  assert.deepEqual(readdirSync(directory), []);
});

test('a namespace that could not be left again is not entered', () => {
  // Inside a user namespace, the network namespace of before belongs to somebody else.
  const module = new URL('../../src/kernel/namespace/within.ts', import.meta.url).href;
  const program = `
    import { fresh, within } from '${module}';
    try { within({ net: fresh }, () => console.log('inside')); } catch (error) { console.log(error.message); }`;
  const { stdout } = spawnSync(
    'unshare',
    ['--user', '--map-root-user', process.execPath, '--input-type=module', '-e', program],
    { encoding: 'utf8' },
  );
  assert.match(stdout, /^Cannot enter a namespace: setns answered EPERM/);
});
