import assert from 'node:assert/strict';
import { test } from 'node:test';

import { dnsLimits } from '../limits.ts';
import { CLASS, FLAG, TYPE, type Message } from '../wire/message.ts';
import { nameOf, root } from '../wire/name.ts';
import { MessageCache } from './message-cache.ts';

const settings = { ...dnsLimits.cache, zones: [root] };

function textMessage(name: string, bytes: number): Message {
  const question = { name: nameOf([name])!, type: TYPE.TXT, class: CLASS.IN };
  return {
    id: 0,
    flags: FLAG.QR,
    questions: [question],
    answers: [{ ...question, ttl: 30, data: [new Uint8Array(bytes)] }],
    authorities: [],
    additionals: [],
  };
}

test('long answers push out the oldest before they take all memory', () => {
  const cache = new MessageCache(settings, () => 0);
  const size = 60_000;
  const fitting = Math.floor(dnsLimits.cacheBytesMax / size) - 1;
  for (let index = 0; index < fitting * 3; index += 1) {
    cache.put(`k${index}`, textMessage(`n${index}`, size));
  }
  assert.ok(cache.size.success * size <= dnsLimits.cacheBytesMax);
  assert.ok(cache.size.success >= fitting - 1);
  assert.equal(cache.get('k0'), undefined);
  assert.notEqual(cache.get(`k${fitting * 3 - 1}`), undefined);
  assert.equal(cache.evictions, fitting * 3 - cache.size.success);
});

test('what runs out or is replaced makes room', () => {
  let now = 0;
  const cache = new MessageCache(settings, () => now);
  for (let round = 0; round < 2000; round += 1) {
    cache.put('same', textMessage('same', 60_000));
    cache.put(`other${round % 2}`, textMessage('other', 60_000));
    now += 31_000;
    assert.equal(cache.get('same'), undefined);
    cache.get('other0');
    cache.get('other1');
  }
  assert.equal(cache.evictions, 0);
});
