import assert from 'node:assert/strict';
import { test } from 'node:test';
import { lookAfterMs } from './namespaces.ts';

const cases = [
  { leaving: 0, want: 500 },
  { leaving: 2000, want: 500 },
  { leaving: 10_000, want: 2500 },
  { leaving: 60_000, want: 15_000 },
  { leaving: 3_600_000, want: 30_000 },
  // A clock that was set back.
  { leaving: -5000, want: 500 },
];
for (const { leaving, want } of cases) {
  test(`a namespace on its way out for ${leaving} ms is looked at again after ${want} ms`, () =>
    assert.equal(lookAfterMs(leaving), want));
}
