import assert from 'node:assert/strict';
import { test } from 'node:test';
import { idsClaimed, idsDefined, reasonsOpen } from './spec.ts';

test('items of lists and of tables are found once', () => {
  assert.deepEqual(
    idsDefined('- **P1** one\n| **P57** | pod |\n- **D33a** a\n- **P1** again\ntext **P9**'),
    ['P1', 'P57', 'D33a'],
  );
});

test('a test name may claim several items', () => {
  const claimed = idsClaimed([
    { file: 'a.test.ts', source: "test('[P1] x'); test('[P2, P3] y'); list[0]" },
  ]);
  assert.deepEqual([...claimed.keys()], ['P1', 'P2', 'P3']);
});

test('a contract may say why an item is open', () => {
  const reasons = reasonsOpen('- **P1** `[S]` one. Open: no such kernel\n- **P2** an Open door');
  assert.deepEqual([...reasons], [['P1', 'no such kernel']]);
});
