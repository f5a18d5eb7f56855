import assert from 'node:assert/strict';
import { test } from 'node:test';

import { explainName } from './explain.ts';
import { candidates, resolverOf, type Libc, type Status } from './expansion.ts';
import type { Step } from './trace.ts';

const searches = ['shop.svc.cluster.local', 'svc.cluster.local', 'cluster.local'];
const pod = resolverOf({ nameservers: ['10.96.0.10'], searches, options: ['ndots:5'] });

/** test/kernel/dns-search.test.ts holds the rows of glibc against the real one. */
const rows: [libc: Libc, name: string, ndots: number, want: string[]][] = [
  [
    'glibc',
    'web',
    5,
    ['web.shop.svc.cluster.local.', 'web.svc.cluster.local.', 'web.cluster.local.', 'web.'],
  ],
  ['glibc', 'web.', 5, ['web.']],
  ['glibc', 'a.b', 1, ['a.b.', ...searches.map((zone) => `a.b.${zone}.`)]],
  ['musl', 'a.b', 1, ['a.b.']],
  ['musl', 'a.b', 2, [...searches.map((zone) => `a.b.${zone}.`), 'a.b.']],
  ['musl', 'a.b.', 2, ['a.b.']],
];

for (const [libc, name, ndots, want] of rows) {
  test(`${libc} asks for "${name}" with ndots:${ndots}`, () => {
    assert.deepEqual(candidates(name, { ...pod, ndots }, libc), want);
  });
}

test('ndots is 1 where nobody says more, 15 at most, and the last option counts', () => {
  const ndots = (...options: string[]) => resolverOf({ ...pod, options }).ndots;
  assert.deepEqual(
    [ndots(), ndots('ndots:99'), ndots('ndots:2', 'rotate', 'ndots:3'), ndots('ndots:x')],
    [1, 15, 3, 1],
  );
});

/** Names with what comes of them; all others are missing. */
function world(known: Record<string, Status>) {
  return async (name: string): Promise<readonly Step[]> => {
    const status = known[name] ?? 'missing';
    return [{ name, type: 'A', status, rcode: '', records: [], sources: [] }];
  };
}

const walks: [what: string, known: Record<string, Status>, glibc: string, musl: string][] = [
  [
    'the first answer ends it',
    { 'web.svc.cluster.local.': 'answered' },
    '2 answered',
    '2 answered',
  ],
  ['nothing is there', {}, '4 missing', '4 missing'],
  [
    'musl takes an empty answer for the last word',
    { 'web.shop.svc.cluster.local.': 'empty', 'web.svc.cluster.local.': 'answered' },
    '2 answered',
    '1 empty',
  ],
  [
    'and a failure too',
    { 'web.shop.svc.cluster.local.': 'failed', 'web.svc.cluster.local.': 'answered' },
    '2 answered',
    '1 failed',
  ],
];

for (const [what, known, glibc, musl] of walks) {
  test(`search list: ${what}`, async () => {
    const explanation = await explainName('web', pod, world(known));
    const said = explanation.walks.map(({ asked, status }) => `${asked.length} ${status}`);
    assert.deepEqual(said, [glibc, musl]);
    const names = explanation.steps.map(({ name }) => name);
    assert.equal(new Set(names).size, names.length, 'each question once');
  });
}
