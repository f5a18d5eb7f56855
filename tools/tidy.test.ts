import assert from 'node:assert/strict';
import { test } from 'node:test';
import { problemsIn } from './tidy.ts';

const cases: { name: string; file: string; source: string; want: number }[] = [
  { name: 'clean code passes', file: 'src/lib/a.ts', source: 'export const a = 1;', want: 0 },
  {
    name: 'an empty catch is refused',
    file: 'src/lib/a.ts',
    source: 'try { f(); } catch {}',
    want: 1,
  },
  {
    name: 'a leftover without an issue is refused',
    file: 'src/lib/a.ts',
    source: '// TODO: later',
    want: 1,
  },
  {
    name: 'a leftover with its issue passes',
    file: 'src/lib/a.ts',
    source: '// TODO #12: later',
    want: 0,
  },
  {
    name: 'the product may not run nft',
    file: 'src/proxy/a.ts',
    source: "spawnSync('nft', ['list']);",
    want: 1,
  },
  {
    name: 'a test may run nft',
    file: 'test/kernel/a.test.ts',
    source: "spawnSync('nft', ['list']);",
    want: 0,
  },
  {
    name: 'a lonely test is refused',
    file: 'src/lib/a.test.ts',
    source: "test.only('x', () => {});",
    want: 1,
  },
  { name: 'a camel-case file is refused', file: 'src/lib/myFile.ts', source: '', want: 1 },
];

for (const { name, file, source, want } of cases) {
  test(name, () => assert.equal(problemsIn(file, source).length, want));
}
