import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { TextTable, WordTable, type ElementTable } from './element-tables.ts';

type Step =
  | { kind: 'set'; key: string; data: string }
  | { kind: 'delete' | 'claim'; key: string }
  | { kind: 'unclaimAll' };

/** Few keys, so that they meet again. */
function steps(keyWords: number, dataWords: number) {
  const word = fc.nat(40).map((value) => (value * 0x1f1f1f1f) >>> 0);
  const text = (words: number) =>
    fc
      .array(word, { minLength: words, maxLength: words })
      .map((all) => all.map((one) => one.toString(16).padStart(8, '0')).join(''));
  const key = text(keyWords);
  return fc.array<Step>(
    fc.oneof(
      { weight: 6, arbitrary: fc.record({ kind: fc.constant('set'), key, data: text(dataWords) }) },
      { weight: 4, arbitrary: fc.record({ kind: fc.constant('delete'), key }) },
      { weight: 2, arbitrary: fc.record({ kind: fc.constant('claim'), key }) },
      { weight: 1, arbitrary: fc.constant({ kind: 'unclaimAll' }) },
    ) as fc.Arbitrary<Step>,
    { maxLength: 400 },
  );
}

function play(table: ElementTable, step: Step): void {
  if (step.kind === 'set') table.set(step.key, step.data);
  else if (step.kind === 'unclaimAll') table.unclaimAll();
  else table[step.kind](step.key);
}

for (const [keyWords, dataWords] of [
  [1, 0],
  [2, 3],
  [6, 5],
] as const) {
  test(`a table of ${keyWords} words to ${dataWords} does what a Map does`, () => {
    fc.assert(
      fc.property(steps(keyWords, dataWords), (all) => {
        const table = new WordTable();
        const model = new Map<string, string>();
        let unclaimed = new Set<string>();
        for (const step of all) {
          play(table, step);
          if (step.kind === 'set') model.set(step.key, step.data);
          if (step.kind === 'delete') model.delete(step.key);
          if (step.kind === 'unclaimAll') unclaimed = new Set(model.keys());
          else if (step.kind !== 'set') unclaimed.delete(step.key);
          assert.equal(table.size, model.size);
          if (step.kind !== 'unclaimAll') {
            assert.equal(table.get(step.key), model.get(step.key));
          }
        }
        for (const [key, data] of model) assert.equal(table.get(key), data);
        assert.deepEqual(new Map(table.entries()), model);
        assert.deepEqual(table.unclaimed().toSorted(), [...unclaimed].toSorted());
      }),
    );
  });
}

test('a table keeps 100,000 elements, in less than 64 bytes each', () => {
  const table = new WordTable();
  const hex = (value: number) => value.toString(16).padStart(8, '0');
  const before = process.memoryUsage().arrayBuffers;
  for (let at = 0; at < 100_000; at += 1) table.set(hex(at) + hex(at % 7), hex(at * 3));
  for (let at = 0; at < 100_000; at += 1)
    assert.equal(table.get(hex(at) + hex(at % 7)), hex(at * 3));
  assert.equal(table.get(hex(1) + hex(2)), undefined);
  const bytes = process.memoryUsage().arrayBuffers - before;
  assert.ok(bytes < 64 * 100_000, `${bytes} bytes`);
});

test('another width is a mistake, not an element', () => {
  const table = new WordTable();
  table.set('0000000100000002', '00000003');
  assert.throws(() => table.get('00000001'), /another width/);
  assert.throws(() => table.set('0000000100000002', ''), /another width/);
});

test('a table of names does the same', () => {
  const table = new TextTable();
  table.set('00000001', 'plain-all-2');
  table.set('00000002', 'plain-all-3');
  table.unclaimAll();
  table.claim('00000001');
  assert.deepEqual(table.unclaimed(), ['00000002']);
  table.delete('00000002');
  assert.deepEqual([table.unclaimed(), table.size], [[], 1]);
});
