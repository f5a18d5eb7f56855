import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Reconciler } from './reconciler.ts';

/** Time that stands until it is moved. */
function fakeClock() {
  let now = 0;
  const timers = new Set<{ due: number; callback: () => void }>();
  return {
    clock: {
      now: () => now,
      monotonicMs: () => now,
      after(delayMs: number, callback: () => void) {
        const timer = { due: now + delayMs, callback };
        timers.add(timer);
        return () => timers.delete(timer);
      },
    },
    delays: () => [...timers].map(({ due }) => due - now),
    advance: (ms: number) => {
      now += ms;
      for (const timer of timers) {
        if (timer.due > now) continue;
        timers.delete(timer);
        timer.callback();
      }
    },
  };
}

test('many notes of one key are one run', async () => {
  const runs: string[] = [];
  using reconciler = new Reconciler({
    name: 't',
    reconcile: async (key) => void runs.push(key),
  });
  for (let index = 0; index < 100; index += 1) reconciler.add('a');
  reconciler.add('b');
  await reconciler.idle();
  assert.deepEqual(runs, ['a', 'b']);
});

test('a key noted while it runs runs once more, and never twice at a time', async () => {
  let running = 0;
  let runs = 0;
  using reconciler = new Reconciler({
    name: 't',
    async reconcile() {
      running += 1;
      runs += 1;
      assert.equal(running, 1);
      if (runs === 1) for (let index = 0; index < 5; index += 1) reconciler.add('a');
      await new Promise((resolve) => {
        setImmediate(resolve);
      });
      running -= 1;
    },
  });
  reconciler.add('a');
  await reconciler.idle();
  assert.equal(runs, 2);
});

test('no more keys at a time than allowed', async () => {
  let running = 0;
  let most = 0;
  using reconciler = new Reconciler({
    name: 't',
    concurrency: 3,
    async reconcile() {
      running += 1;
      most = Math.max(most, running);
      await new Promise((resolve) => {
        setImmediate(resolve);
      });
      running -= 1;
    },
  });
  for (let index = 0; index < 20; index += 1) reconciler.add(`k${index}`);
  await reconciler.idle();
  assert.equal(most, 3);
});

test('pauses double with each failure and end with a success', async () => {
  const { clock, delays, advance } = fakeClock();
  let fail = true;
  const errors: unknown[] = [];
  using reconciler = new Reconciler({
    name: 't',
    clock,
    async reconcile() {
      if (fail) throw new Error('no');
    },
    onRun: ({ error }) => errors.push(error),
  });
  const waited: number[] = [];
  reconciler.add('a');
  for (let index = 0; index < 14; index += 1) {
    await reconciler.idle();
    waited.push(...delays());
    advance(delays()[0]!);
  }
  assert.deepEqual(waited.slice(0, 4), [10, 20, 40, 80]);
  assert.equal(waited.at(-1), 30_000);
  fail = false;
  await reconciler.idle();
  fail = true;
  advance(30_000);
  await reconciler.idle();
  assert.ok(errors.length >= 14);
});

test('of several delayed notes the earliest counts', async () => {
  const { clock, delays, advance } = fakeClock();
  let runs = 0;
  using reconciler = new Reconciler({ name: 't', clock, reconcile: async () => void (runs += 1) });
  reconciler.addAfter('a', 100);
  reconciler.addAfter('a', 50);
  reconciler.addAfter('a', 70);
  assert.deepEqual(delays(), [50]);
  advance(50);
  await reconciler.idle();
  advance(100);
  await reconciler.idle();
  assert.equal(runs, 1);
});

test('a run may ask for the next one', async () => {
  const { clock, delays } = fakeClock();
  using reconciler = new Reconciler({ name: 't', clock, reconcile: async () => ({ afterMs: 25 }) });
  reconciler.add('a');
  await reconciler.idle();
  assert.deepEqual(delays(), [25]);
});

test('nothing runs while held back', async () => {
  const runs: string[] = [];
  using reconciler = new Reconciler({ name: 't', reconcile: async (key) => void runs.push(key) });
  reconciler.pause();
  reconciler.add('a');
  await Promise.resolve();
  assert.deepEqual(runs, []);
  reconciler.resume();
  await reconciler.idle();
  assert.deepEqual(runs, ['a']);
});
