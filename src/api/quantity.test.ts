import assert from 'node:assert/strict';
import { test } from 'node:test';

import { assert as check, constantFrom, integer, nat, property } from 'fast-check';

import { canonicalQuantity, quantityNanos } from './quantity.ts';

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

test('property: the canonical spelling means the same and stays as it is', () => {
  const suffix = constantFrom('', 'm', 'k', 'M', 'G', 'Ki', 'Mi', 'Gi', 'e3');
  check(
    property(integer({ min: -5000, max: 5000 }), nat(999), suffix, (whole, fraction, unit) => {
      const text = `${whole}.${fraction}${unit}`;
      const canonical = canonicalQuantity(text) ?? '';
      assert.equal(canonicalQuantity(canonical), canonical, text);
      // Only the binary form rounds, and only up to the next whole number.
      const change = (quantityNanos(canonical) ?? 0n) - (quantityNanos(text) ?? 0n);
      const most = unit.endsWith('i') ? 1_000_000_000n : 0n;
      assert.ok((change < 0n ? -change : change) <= most, `${text} became ${canonical}`);
    }),
  );
});
