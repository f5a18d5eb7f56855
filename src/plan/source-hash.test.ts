/** Balancing by source address: the kernel's hash, an even table, and few clients that move. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { jhash, sourceSlotCount, sourceTable, sourceTarget } from './source-hash.ts';
import type { Target } from './types.ts';

/** What driver5() of lookup3.c prints for hashlittle(), which linux/jhash.h copies. */
const vectors: { text: string; seed: number; want: number }[] = [
  { text: '', seed: 0, want: 0xdeadbeef },
  { text: '', seed: 0xdeadbeef, want: 0xbd5b7dde },
  { text: 'Four score and seven years ago', seed: 0, want: 0x17770551 },
  { text: 'Four score and seven years ago', seed: 1, want: 0xcd628161 },
];

for (const { text, seed, want } of vectors) {
  test(`jhash of "${text}" with seed ${seed}`, () => {
    assert.equal(jhash(new TextEncoder().encode(text), seed).toString(16), want.toString(16));
  });
}

function targets(count: number): Target[] {
  return Array.from({ length: count }, (_, index) => ({
    address: `10.244.${index >> 8}.${index & 255}`,
    port: 8080,
    local: false,
  }));
}

for (const count of [1, 2, 3, 10, 64, 65, 300]) {
  test(`${count} targets have the same number of slots, but for one or two`, () => {
    const table = sourceTable(targets(count));
    assert.equal(table.length, sourceSlotCount(count));
    const counts = new Uint32Array(count);
    for (const index of table) counts[index]! += 1;
    assert(Math.max(...counts) - Math.min(...counts) <= 1, [...counts].join());
  });
}

test('the order of targets does not matter', () => {
  const some = targets(9);
  const clients = Array.from({ length: 200 }, (_, index) => `198.51.100.${index}`);
  const reversed = some.toReversed();
  for (const client of clients) {
    assert.equal(sourceTarget(some, client)!.address, sourceTarget(reversed, client)!.address);
  }
});

test('no targets, no choice', () => assert.equal(sourceTarget([], '192.0.2.1'), undefined));

for (const count of [3, 10, 50]) {
  test(`one of ${count} targets leaves: hardly more than its own slots move`, () => {
    const all = targets(count);
    const before = sourceTable(all);
    for (const gone of [0, Math.floor(count / 2), count - 1]) {
      const rest = all.toSpliced(gone, 1);
      const after = sourceTable(rest);
      const moved = before.reduce(
        (sum, owner, slot) => sum + (all[owner] === rest[after[slot]!] ? 0 : 1),
        0,
      );
      const share = before.filter((owner) => owner === gone).length;
      // Fig. 12 of the paper: with 100 slots for each the others lose a few percent at most.
      assert(moved >= share && moved - share <= 0.1 * before.length, `${moved}, share ${share}`);
    }
  });
}
