import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import type { Clock } from '../../lib/clock.ts';
import { WorkLoop } from './work-loop.ts';

/** Time stands still but for `pass`; a loop that takes what `look` gives, one each time. */
function world(looks: (() => void | Promise<void>)[] = []) {
  let nowMs = 0;
  let timers: { dueMs: number; call: () => void }[] = [];
  const clock: Clock = {
    now: () => nowMs,
    monotonicMs: () => nowMs,
    after(ms, call) {
      const timer = { dueMs: nowMs + ms, call };
      timers.push(timer);
      return () => (timers = timers.filter((other) => other !== timer));
    },
  };
  const seen = { looks: 0, failures: 0, looked: 0 };
  const loop = new WorkLoop({
    clock,
    async look() {
      seen.looks += 1;
      await looks.shift()?.();
    },
    failed: () => (seen.failures += 1),
    looked: () => (seen.looked += 1),
  });
  return {
    loop,
    seen,
    due: () => timers.map(({ dueMs }) => dueMs - nowMs),
    pass: async (ms: number) => {
      nowMs += ms;
      const over = timers.filter(({ dueMs }) => dueMs <= nowMs);
      timers = timers.filter((timer) => !over.includes(timer));
      for (const { call } of over) call();
      await turn();
    },
  };
}

const fail = () => {
  throw new Error('not yet');
};

test('many notes before a look are one look; one during a look is one more', async () => {
  const { loop, seen } = world([() => loop.note()]);
  loop.note();
  loop.note();
  await turn();
  assert.deepEqual(seen, { looks: 2, failures: 0, looked: 2 });
});

test('what fails is tried again, more seldom each time, and soon again after a success', async () => {
  const { loop, seen, due, pass } = world([
    ...Array.from({ length: 9 }, () => fail),
    () => {},
    fail,
  ]);
  loop.note();
  await turn();
  const waits: number[] = [];
  for (let [next] = due(); next !== undefined; [next] = due()) {
    waits.push(next);
    await pass(next);
  }
  assert.deepEqual(waits, [50, 100, 200, 400, 800, 1600, 3200, 6400, 10_000]);
  loop.note();
  await turn();
  assert.deepEqual(due(), [50]);
  assert.equal(seen.failures, 10);
});

test('the earliest of all wishes counts', async () => {
  const { loop, seen, due, pass } = world();
  loop.noteIn(5000);
  loop.noteIn(300);
  loop.noteIn(4000);
  assert.deepEqual(due(), [300]);
  await pass(300);
  assert.equal(seen.looks, 1);
  loop.noteIn(1e12);
  assert.deepEqual(due(), [2 ** 31 - 1]);
});

test('stopped: the look under way ends, none follows, and nothing is told', async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const { loop, seen, due } = world([() => promise]);
  loop.note();
  loop.noteIn(1000);
  await turn();
  loop.note();
  loop.stop();
  const idle = loop.idle();
  resolve();
  await idle;
  loop.note();
  await turn();
  assert.deepEqual(seen, { looks: 1, failures: 0, looked: 0 });
  assert.deepEqual(due(), []);
});
