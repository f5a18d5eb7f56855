import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Clock } from '../lib/clock.ts';
import { Pacer } from './pacer.ts';

/** Time that moves when told to. */
function fakeClock() {
  let now = 0;
  const timers = new Set<{ at: number; go: () => void }>();
  const clock: Clock = {
    now: () => now,
    monotonicMs: () => now,
    after(delayMs, go) {
      const timer = { at: now + delayMs, go };
      timers.add(timer);
      return () => timers.delete(timer);
    },
  };
  const until = (ms: number) => {
    for (;;) {
      const [next] = [...timers].filter((one) => one.at <= ms).sort((a, b) => a.at - b.at);
      if (next === undefined) break;
      timers.delete(next);
      now = next.at;
      next.go();
    }
    now = ms;
  };
  return { clock, until };
}

function start() {
  const { clock, until } = fakeClock();
  const runs: number[] = [];
  const pacer = new Pacer({ clock, run: () => runs.push(clock.monotonicMs()) });
  return { pacer, until, runs };
}

const immediate = () => new Promise((resolve) => setImmediate(resolve));

test('[P127] what is asked for at once runs once, after this turn of the event loop', async () => {
  const { pacer, runs } = start();
  pacer.ask();
  pacer.ask();
  assert.deepEqual(runs, []);
  await immediate();
  assert.deepEqual(runs, [0]);
  assert.equal(pacer.waits, false);
});

test('[P127] the next run comes no earlier than the pause, however often it is asked for', () => {
  const { pacer, runs, until } = start();
  until(100);
  pacer.pause(1000);
  pacer.ask();
  until(600);
  pacer.ask();
  pacer.ask();
  until(5000);
  assert.deepEqual(runs, [1100]);
});

test('[P127] a failure is tried again after its delay, or sooner with news', () => {
  const { pacer, runs, until } = start();
  pacer.pause(1000);
  pacer.ask(30_000);
  until(500);
  pacer.ask();
  until(40_000);
  assert.deepEqual(runs, [1000], 'the news brought it forward, and it is not repeated');
  pacer.ask(30_000);
  until(90_000);
  assert.deepEqual(runs, [1000, 70_000]);
});

test('[P127] without a pause the next one runs at once', async () => {
  const { pacer, runs, until } = start();
  pacer.pause(0);
  until(10);
  pacer.ask();
  await immediate();
  assert.deepEqual(runs, [10]);
});

test('a stopped pacer runs nothing', async () => {
  const { pacer, runs, until } = start();
  pacer.ask(10);
  pacer.stop();
  pacer.ask();
  until(100);
  await immediate();
  assert.deepEqual(runs, []);
});
