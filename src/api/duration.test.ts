import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ageOf, humanDuration } from './duration.ts';

const [s, m, h, d, y] = [1, 60, 3600, 86_400, 31_536_000];

// The rows of apimachinery/pkg/util/duration and of A121.
const cases: [seconds: number, want: string][] = [
  [-2.1, '<invalid>'],
  [-1, '0s'],
  [0, '0s'],
  [119 * s, '119s'],
  [2 * m, '2m'],
  [5 * m + 3, '5m3s'],
  [10 * m - 1, '9m59s'],
  [10 * m, '10m'],
  [3 * h - 1, '179m'],
  [3 * h, '3h'],
  [3 * h + m, '3h1m'],
  [8 * h - 1, '7h59m'],
  [8 * h, '8h'],
  [2 * d - 1, '47h'],
  [2 * d, '2d'],
  [2 * d + h, '2d1h'],
  [8 * d - 1, '7d23h'],
  [8 * d, '8d'],
  [2 * y - 1, '729d'],
  [2 * y, '2y'],
  [2 * y + d, '2y1d'],
  [8 * y - 1, '7y364d'],
  [8 * y, '8y'],
];
for (const [seconds, want] of cases) {
  test(`[A121] ${seconds} s is ${want}`, () => assert.equal(humanDuration(seconds * 1000), want));
}

test('[A121] an absent time is <unknown>', () => {
  assert.equal(ageOf(undefined, 0), '<unknown>');
  assert.equal(ageOf(null, 0), '<unknown>');
  assert.equal(ageOf('1970-01-01T00:00:00Z', 5000), '5s');
});
