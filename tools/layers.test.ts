import assert from 'node:assert/strict';
import { test } from 'node:test';
import { violationsIn } from './layers.ts';

const cases: { name: string; file: string; source: string; want: number }[] = [
  {
    name: 'a folder may import what its rule names',
    file: 'src/proxy/a.ts',
    source: "import { x } from '../plan/b.ts';",
    want: 0,
  },
  {
    name: 'the plan may not touch the kernel',
    file: 'src/plan/a.ts',
    source: "import { x } from '../kernel/b.ts';",
    want: 1,
  },
  {
    name: 'a lazy import counts',
    file: 'src/lib/a.ts',
    source: "const x = await import('../api/b.ts');",
    want: 1,
  },
  {
    name: 'an export from counts',
    file: 'src/api/a.ts',
    source: "export { x } from '../store/b.ts';",
    want: 1,
  },
  {
    name: 'only ffi loads koffi',
    file: 'src/node/a.ts',
    source: "import koffi from 'koffi';",
    want: 1,
  },
  {
    name: 'ffi loads koffi',
    file: 'src/kernel/ffi/a.ts',
    source: "import koffi from 'koffi';",
    want: 0,
  },
  { name: 'an unknown folder is refused', file: 'src/misc/a.ts', source: '', want: 1 },
];

for (const { name, file, source, want } of cases) {
  test(name, () => assert.equal(violationsIn(file, source).length, want));
}
