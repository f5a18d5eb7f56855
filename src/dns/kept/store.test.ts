import assert from 'node:assert/strict';
import { test } from 'node:test';

import { CONTROL, openStore, StoreWriter, entryPrefixBytes } from './store.ts';

/** Sizes that come near every end of a ring, and do not divide it. */
function sizeOf(index: number): number {
  return 64 + ((index * 2_654_435_761) % 4000);
}

for (const ring of ['answers', 'denials'] as const) {
  test(`ring of ${ring}: no entry lies over another one or past the end, many times around`, () => {
    const store = openStore();
    const writer = new StoreWriter(store);
    const ends = { answers: 24, denials: 32 } as const;
    const limit = ends[ring] * 1024 * 1024 + 8;
    // Newest first: what still lies there unharmed.
    const newest: { at: number; end: number }[] = [];
    let last = 0;
    let turns = 0;
    for (let index = 0; index < 120_000; index += 1) {
      const bytes = sizeOf(index);
      writer.add(ring, index, bytes, (at) => {
        assert.ok(
          at + bytes <= limit,
          `entry ${index} ends at ${at + bytes}, the ring at ${limit}`,
        );
        const clash = newest.find((other) => at < other.end && other.at < at + bytes);
        assert.equal(clash, undefined, `entry ${index} lies over one of the last hundred`);
        newest.unshift({ at: at - entryPrefixBytes, end: at + bytes });
        newest.splice(100);
        if (at < last) turns += 1;
        last = at;
      });
    }
    assert.ok(turns >= 5, `${turns} times around`);
    assert.equal(store.control[CONTROL.writes]! % 2, 0, 'no write is under way');
  });
}
