import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { EndpointSlice } from '../api/types.ts';
import type { Clock } from '../lib/clock.ts';
import { Moves } from './moves.ts';

type Family = 'IPv4' | 'IPv6';

/** Slices of one Service, as an informer would have them, and time that moves when told to. */
function world() {
  let now = 0;
  const timers = new Map<() => void, number>();
  const clock: Clock = {
    now: () => now,
    monotonicMs: () => now,
    after(delayMs, go) {
      timers.set(go, now + delayMs);
      return () => timers.delete(go);
    },
  };
  const slices = new Map<string, EndpointSlice>();
  const noted: string[] = [];
  const moves = new Moves({ clock, slicesOf: () => [...slices.values()] });
  const put = (name: string, count: number, addressType: Family = 'IPv4') => {
    const old = slices.get(name);
    const current: EndpointSlice = {
      metadata: { namespace: 'shop', name, labels: { 'kubernetes.io/service-name': 'web' } },
      addressType,
      endpoints: Array.from({ length: count }, () => ({ addresses: ['10.0.0.1'] })),
    };
    slices.set(name, current);
    moves.note(old, current, () => noted.push(`${name} ${count} at ${now}`));
  };
  const remove = (name: string) => {
    const old = slices.get(name);
    slices.delete(name);
    moves.note(old, undefined, () => noted.push(`${name} gone at ${now}`));
  };
  const pass = (ms: number) => {
    now += ms;
    for (const [go, at] of timers) {
      if (at > now) continue;
      timers.delete(go);
      go();
    }
  };
  return { put, remove, pass, noted, moves };
}

test('[P12] the last endpoint that goes is waited for, then told', () => {
  const { put, pass, noted } = world();
  put('a', 1);
  put('a', 0);
  assert.deepEqual(noted, ['a 1 at 0']);
  pass(199);
  assert.equal(noted.length, 1);
  pass(1);
  assert.deepEqual(noted, ['a 1 at 0', 'a 0 at 200']);
});

test('[P12] one that comes back in another slice calls the wait off', () => {
  const { put, pass, noted } = world();
  put('a', 1);
  put('b', 0);
  for (let round = 0; round < 30; round += 1) {
    const [from, to] = round % 2 === 0 ? ['a', 'b'] : ['b', 'a'];
    put(from, 0);
    pass(3);
    put(to, 1);
    pass(10);
  }
  pass(1000);
  const empties = noted.filter((text) => / 0 at [1-9]/.test(text));
  assert.deepEqual(empties, [], 'never told of a Service without anybody');
});

test('[P12] empty slices that come or go meanwhile do not cut the wait short', () => {
  const { put, remove, pass, noted } = world();
  put('a', 1);
  put('a', 0);
  pass(100);
  put('b', 0);
  remove('a');
  pass(100);
  assert.deepEqual(noted, ['a 1 at 0']);
  put('b', 1);
  pass(1000);
  assert.deepEqual(noted, ['a 1 at 0', 'b 1 at 200']);
});

test('[P12] others that stay, another family, a slice that goes', () => {
  const { put, remove, pass, noted } = world();
  put('a', 1);
  put('b', 2);
  put('a', 0);
  assert.equal(noted.at(-1), 'a 0 at 0', 'b has some: told at once');
  put('six', 1, 'IPv6');
  remove('b');
  assert.equal(noted.at(-1), 'six 1 at 0', 'those of IPv6 do not help IPv4');
  pass(200);
  assert.equal(noted.at(-1), 'b gone at 200');
});

test('a stopped one tells nothing', () => {
  const { put, pass, noted, moves } = world();
  put('a', 1);
  put('a', 0);
  moves[Symbol.dispose]();
  pass(1000);
  assert.deepEqual(noted, ['a 1 at 0']);
});
