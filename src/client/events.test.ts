import assert from 'node:assert/strict';
import { test } from 'node:test';
import { resources } from '../api/resources.ts';
import { failure } from '../api/status.ts';
import type { Event, Pod } from '../api/types.ts';
import { startApiServer } from '../apiserver/server.ts';
import { createMemoryStore } from '../store/store.ts';
import type { Client } from './client.ts';
import { createEventRecorder } from './events.ts';

const pod: Pod = {
  metadata: { name: 'web', namespace: 'default', uid: 'uid-web' },
  spec: { containers: [] },
};

test('[K40] the same event again raises the count of the first one', async () => {
  const { client } = await startApiServer({
    store: createMemoryStore(),
    serviceCidrs: ['10.96.0.0/16'],
  });
  const recorder = createEventRecorder({ client, component: 'default-scheduler', host: 'node-1' });
  const text = { type: 'Warning', reason: 'FailedScheduling', message: 'no node' } as const;
  recorder.record(resources.pods, pod, text);
  await recorder.idle();
  for (let index = 0; index < 10; index += 1) recorder.record(resources.pods, pod, text);
  recorder.record(resources.pods, pod, { ...text, message: 'still none' });
  await recorder.idle();
  const { items } = await client.list<Event>(resources.events, { namespace: 'default' });
  const counts = Object.fromEntries(items.map((held) => [held.message, held.count]));
  assert.deepEqual(counts, { 'no node': 11, 'still none': 1 });
  const [event] = items;
  assert.deepEqual(event?.source, { component: 'default-scheduler', host: 'node-1' });
  assert.equal(event?.involvedObject.kind, 'Pod');
  assert.equal(event?.involvedObject.uid, 'uid-web');
});

test('[K40] an event that ran out of time begins anew', async () => {
  const { client } = await startApiServer({
    store: createMemoryStore(),
    serviceCidrs: ['10.96.0.0/16'],
  });
  const recorder = createEventRecorder({ client, component: 'test' });
  const text = { type: 'Normal', reason: 'Pulled', message: 'again' } as const;
  recorder.record(resources.pods, pod, text);
  await recorder.idle();
  const [first] = (await client.list<Event>(resources.events)).items;
  await client.delete(resources.events, { namespace: 'default', name: first!.metadata.name });
  recorder.record(resources.pods, pod, text);
  await recorder.idle();
  await new Promise((resolve) => {
    setTimeout(resolve, 50);
  });
  assert.equal((await client.list<Event>(resources.events)).items.length, 1);
});

test('[K40] events of things without a namespace live in default', async () => {
  const { client } = await startApiServer({
    store: createMemoryStore(),
    serviceCidrs: ['10.96.0.0/16'],
  });
  const recorder = createEventRecorder({ client, component: 'node-controller' });
  const node = { metadata: { name: 'node-1', uid: 'u' } };
  recorder.record(resources.nodes, node, { type: 'Normal', reason: 'NodeReady', message: 'up' });
  await recorder.idle();
  const { items } = await client.list<Event>(resources.events, { namespace: 'default' });
  assert.equal(items[0]?.involvedObject.name, 'node-1');
});

test('[K40] an event is written for a name of any length', async () => {
  const { client } = await startApiServer({
    store: createMemoryStore(),
    serviceCidrs: ['10.96.0.0/16'],
  });
  const recorder = createEventRecorder({ client, component: 'test' });
  // 253 bytes, the longest name there is.
  const name = Array.from({ length: 4 }, () => 'a'.repeat(63))
    .join('.')
    .slice(0, 253);
  const long = { ...pod, metadata: { ...pod.metadata, name } };
  recorder.record(resources.pods, long, { type: 'Normal', reason: 'Pulled', message: 'here' });
  await recorder.idle();
  recorder.stop();
  const { items } = await client.list<Event>(resources.events);
  assert.deepEqual(
    items.map((event) => event.involvedObject.name),
    [name],
  );
});

test('[K40] an event that the server does not want is not sent again and again', async () => {
  let sent = 0;
  const client = {
    async create() {
      sent += 1;
      throw failure(422, 'Invalid', 'the event is invalid');
    },
  } as unknown as Client;
  const recorder = createEventRecorder({ client, component: 'test' });
  recorder.record(resources.pods, pod, { type: 'Normal', reason: 'Pulled', message: 'here' });
  await recorder.idle();
  await new Promise((resolve) => {
    setTimeout(resolve, 50);
  });
  recorder.stop();
  assert.equal(sent, 1);
});
