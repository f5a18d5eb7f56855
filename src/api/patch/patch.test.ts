import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { KubeObject } from '../meta.ts';
import { resources } from '../resources.ts';
import { ApiError } from '../status.ts';
import { applyPatch, patchKindOf, type PatchKind } from './index.ts';
import { mergePatch } from './merge.ts';

// RFC 7386, appendix A.
const rfc7386: [target: unknown, patch: unknown, want: unknown][] = [
  [{ a: 'b' }, { a: 'c' }, { a: 'c' }],
  [{ a: 'b' }, { b: 'c' }, { a: 'b', b: 'c' }],
  [{ a: 'b' }, { a: null }, {}],
  [{ a: 'b', b: 'c' }, { a: null }, { b: 'c' }],
  [{ a: ['b'] }, { a: 'c' }, { a: 'c' }],
  [{ a: 'c' }, { a: ['b'] }, { a: ['b'] }],
  [{ a: { b: 'c' } }, { a: { b: 'd', c: null } }, { a: { b: 'd' } }],
  [{ a: [{ b: 'c' }] }, { a: [1] }, { a: [1] }],
  [
    ['a', 'b'],
    ['c', 'd'],
    ['c', 'd'],
  ],
  [{ a: 'b' }, ['c'], ['c']],
  [{ a: 'foo' }, null, null],
  [{ a: 'foo' }, 'bar', 'bar'],
  [{ e: null }, { a: 1 }, { e: null, a: 1 }],
  [[1, 2], { a: 'b', c: null }, { a: 'b' }],
  [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
];
for (const [index, [target, patch, want]] of rfc7386.entries()) {
  test(`[A59] RFC 7386 example ${index + 1}`, () => {
    assert.deepEqual(mergePatch(structuredClone(target), patch), want);
  });
}

test('a patch cannot reach a prototype', () => {
  const patch = JSON.parse('{"metadata":{"labels":{"__proto__":"x"}}}') as object;
  const object: KubeObject = { metadata: { name: 'a' } };
  for (const kind of ['merge', 'strategic'] as const) {
    const patched = applyPatch(resources.configmaps, kind, object, patch);
    assert.equal(Object.getPrototypeOf(patched.metadata.labels), Object.prototype);
    assert.equal(({} as { x?: string }).x, undefined);
  }
});

const pod = {
  metadata: { name: 'p' },
  spec: { containers: [{ name: 'a', image: 'i' }] },
} as KubeObject;

const refused: [name: string, kind: PatchKind, patch: unknown, code: number, message: RegExp][] = [
  ['a list as merge patch', 'merge', [], 400, /the patch is no JSON object/],
  ['a map as JSON patch', 'json', {}, 400, /must be a list of operations/],
  ['an unknown operation', 'json', [{ op: 'swap', path: '/a' }], 400, /is no operation/],
  [
    'a missing path',
    'json',
    [{ op: 'remove', path: '/spec/x' }],
    422,
    /"remove" does not apply to "\/spec\/x"/,
  ],
  [
    'a test that fails',
    'json',
    [{ op: 'test', path: '/metadata/name', value: 'q' }],
    422,
    /"test" does not apply/,
  ],
  [
    'too many operations',
    'json',
    Array.from({ length: 10_001 }, () => ({ op: 'remove', path: '/a' })),
    413,
    /maximum operations in a JSON patch is 10000, got 10001/,
  ],
  ['metadata gone', 'json', [{ op: 'remove', path: '/metadata' }], 400, /no object with metadata/],
  ['an unknown directive', 'strategic', { spec: { $patch: 'x' } }, 400, /Unknown patch type: x/],
  [
    'no merge key',
    'strategic',
    { spec: { containers: [{ image: 'j' }] } },
    400,
    /does not contain declared merge key: name/,
  ],
  [
    'an order that misses an item',
    'strategic',
    { spec: { '$setElementOrder/containers': [{ name: 'a' }], containers: [{ name: 'b' }] } },
    400,
    /doesn't match \$setElementOrder list/,
  ],
];
for (const [name, kind, patch, code, message] of refused) {
  test(`[A58] [A61] refuses ${name}`, () => {
    assert.throws(
      () => applyPatch(resources.pods, kind, pod, patch),
      (error) => error instanceof ApiError && error.code === code && message.test(error.message),
    );
  });
}

test('frozen objects can be patched', () => {
  const frozen = Object.freeze({
    metadata: Object.freeze({ name: 'p', labels: Object.freeze({ a: '1' }) }),
  });
  const patched = applyPatch(resources.pods, 'merge', frozen as KubeObject, {
    metadata: { labels: { b: '2' } },
  });
  assert.deepEqual(patched.metadata.labels, { a: '1', b: '2' });
});

test('[A21] content types', () => {
  assert.equal(patchKindOf('application/json-patch+json'), 'json');
  assert.equal(patchKindOf('application/merge-patch+json; charset=utf-8'), 'merge');
  assert.equal(patchKindOf('application/strategic-merge-patch+json'), 'strategic');
  assert.equal(patchKindOf('application/apply-patch+yaml'), undefined);
  assert.equal(patchKindOf(undefined), undefined);
});
