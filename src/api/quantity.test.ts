import assert from 'node:assert/strict';
import { test } from 'node:test';

import { canonicalQuantity } from './quantity.ts';

// From the doc comment and tests of apimachinery/pkg/api/resource.
const cases: [text: string, want: string | undefined][] = [
  ['0', '0'],
  ['0Ki', '0'],
  ['1', '1'],
  ['1000m', '1'],
  ['1500m', '1500m'],
  ['1.5', '1500m'],
  ['0.5', '500m'],
  ['.5', '500m'],
  ['1.', '1'],
  ['-1', '-1'],
  ['+1', '1'],
  ['1000', '1k'],
  ['1024', '1024'],
  ['1Ki', '1Ki'],
  ['1.5Gi', '1536Mi'],
  ['0.5Ki', '512'],
  ['1024Mi', '1Gi'],
  ['1000Ki', '1000Ki'],
  ['100k', '100k'],
  ['1e3', '1e3'],
  ['1E6', '1e6'],
  ['12e1', '120'],
  ['1n', '1n'],
  ['0.1n', '1n'],
  ['1000n', '1u'],
  ['1E', '1E'],
  ['5Ei', '5Ei'],
  ['', undefined],
  ['.', undefined],
  ['1K', undefined],
  ['1ki', undefined],
  ['1 Gi', undefined],
  ['abc', undefined],
  ['1mm', undefined],
];
for (const [text, want] of cases) {
  test(`quantity "${text}"`, () => assert.equal(canonicalQuantity(text), want));
}
