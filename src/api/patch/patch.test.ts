import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { KubeObject } from '../meta.ts';
import { resources } from '../resources.ts';
import { ApiError } from '../status.ts';
import { applyPatch, patchKindOf, type PatchKind } from './index.ts';
import { applyJsonPatch } from './json.ts';
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

// RFC 6902, appendix A; `undefined`: the patch does not apply.
const rfc6902: [name: string, document: object, patch: object[], want: unknown][] = [
  ['A.1', { foo: 'bar' }, [{ op: 'add', path: '/baz', value: 'qux' }], { baz: 'qux', foo: 'bar' }],
  [
    'A.2',
    { foo: ['bar', 'baz'] },
    [{ op: 'add', path: '/foo/1', value: 'qux' }],
    { foo: ['bar', 'qux', 'baz'] },
  ],
  ['A.3', { baz: 'qux', foo: 'bar' }, [{ op: 'remove', path: '/baz' }], { foo: 'bar' }],
  [
    'A.4',
    { foo: ['bar', 'qux', 'baz'] },
    [{ op: 'remove', path: '/foo/1' }],
    { foo: ['bar', 'baz'] },
  ],
  [
    'A.5',
    { baz: 'qux', foo: 'bar' },
    [{ op: 'replace', path: '/baz', value: 'boo' }],
    { baz: 'boo', foo: 'bar' },
  ],
  [
    'A.6',
    { foo: { bar: 'baz', waldo: 'fred' }, qux: { corge: 'grault' } },
    [{ op: 'move', from: '/foo/waldo', path: '/qux/thud' }],
    { foo: { bar: 'baz' }, qux: { corge: 'grault', thud: 'fred' } },
  ],
  [
    'A.7',
    { foo: ['all', 'grass', 'cows', 'eat'] },
    [{ op: 'move', from: '/foo/1', path: '/foo/3' }],
    { foo: ['all', 'cows', 'eat', 'grass'] },
  ],
  [
    'A.8',
    { baz: 'qux', foo: ['a', 2, 'c'] },
    [
      { op: 'test', path: '/baz', value: 'qux' },
      { op: 'test', path: '/foo/1', value: 2 },
    ],
    { baz: 'qux', foo: ['a', 2, 'c'] },
  ],
  ['A.9', { baz: 'qux' }, [{ op: 'test', path: '/baz', value: 'bar' }], undefined],
  [
    'A.10',
    { foo: 'bar' },
    [{ op: 'add', path: '/child', value: { grandchild: {} } }],
    { foo: 'bar', child: { grandchild: {} } },
  ],
  [
    'A.11',
    { foo: 'bar' },
    [{ op: 'add', path: '/baz', value: 'qux', xyz: 123 }],
    { foo: 'bar', baz: 'qux' },
  ],
  ['A.12', { foo: 'bar' }, [{ op: 'add', path: '/baz/bat', value: 'qux' }], undefined],
  ['A.14', { '/': 9, '~1': 10 }, [{ op: 'test', path: '/~01', value: 10 }], { '/': 9, '~1': 10 }],
  ['A.15', { '/': 9, '~1': 10 }, [{ op: 'test', path: '/~01', value: '10' }], undefined],
  [
    'A.16',
    { foo: ['bar'] },
    [{ op: 'add', path: '/foo/-', value: ['abc', 'def'] }],
    { foo: ['bar', ['abc', 'def']] },
  ],
  ['§4.4: into itself', { a: { b: 1 } }, [{ op: 'move', from: '/a', path: '/a/b' }], undefined],
  ['§4.1: past the end', { a: [1] }, [{ op: 'add', path: '/a/2', value: 3 }], undefined],
  ['§4.1: the whole', { a: [1] }, [{ op: 'add', path: '', value: 3 }], 3],
  ['§4.2: no such item', { a: [1] }, [{ op: 'remove', path: '/a/-' }], undefined],
  ['RFC 6901 §4: leading zero', { a: [1, 2] }, [{ op: 'remove', path: '/a/01' }], undefined],
  ['no value', {}, [{ op: 'add', path: '/a' }], undefined],
];
for (const [name, document, patch, want] of rfc6902) {
  test(`[A58] RFC 6902 ${name}`, () => {
    const apply = () => applyJsonPatch(structuredClone(document), patch);
    if (want === undefined) assert.throws(apply, /does not apply/);
    else assert.deepEqual(apply(), want);
  });
}

const outside = ['__proto__', 'constructor/prototype', 'toString', 'hasOwnProperty'];
for (const name of outside) {
  test(`[A58] a JSON patch does not reach ${name}`, () => {
    const patch = [{ op: 'add', path: `/metadata/${name}/polluted`, value: 'yes' }];
    assert.throws(() => applyPatch(resources.pods, 'json', pod, patch), /does not apply/);
    // oxlint-disable-next-line typescript/unbound-method -- looked at, not called
    for (const shared of [{}, {}.toString, {}.hasOwnProperty]) {
      assert.equal((shared as { polluted?: string }).polluted, undefined);
    }
  });
}

test('[A58] copies of copies are bounded', () => {
  const copies = Array.from({ length: 40 }, (_, index) => ({
    op: 'copy',
    from: '/metadata',
    path: `/metadata/copy${index}`,
  }));
  const patch = [{ op: 'add', path: '/metadata/x', value: 'x'.repeat(1000) }, ...copies];
  assert.throws(() => applyPatch(resources.pods, 'json', pod, patch), /does not apply/);
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
