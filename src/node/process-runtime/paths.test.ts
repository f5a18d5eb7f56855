import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseContainerId, runtimePaths } from './paths.ts';

test('a container id is taken apart', () => {
  const want = { podUid: '1b4e-28ba', name: 'main', attempt: '12' };
  assert.deepEqual(parseContainerId('1b4e-28ba/main/12'), want);
});

for (const id of ['', 'a', 'a/b', 'a/b/c', 'a/b/1/2', '../b/1', 'a/../1', '/b/1', 'a b/c/1']) {
  test(`"${id}" is no container id`, () => {
    assert.throws(() => parseContainerId(id), RangeError);
  });
}

test('restarts of a container have files of their own', () => {
  const paths = runtimePaths('/run/x', '/var/x');
  const all = ['u/a/0', 'u/a/1', 'u/b/0'].flatMap((id) => [
    paths.exitFile(id),
    paths.recordFile(id),
    paths.rawLogs(id).stdout,
    paths.rawLogs(id).stderr,
  ]);
  assert.equal(new Set(all).size, all.length);
});
