import assert from 'node:assert/strict';
import { test } from 'node:test';
import { resources } from '../api/resources.ts';
import { failure } from '../api/status.ts';
import type { ConfigMap } from '../api/types.ts';
import { systemClock, type Clock } from '../lib/clock.ts';
import type { Client, List, WatchEvent, WatchOptions } from './client.ts';
import { Informer } from './informer.ts';

const namespace = 'default';

function config(
  name: string,
  version: number,
  more: { uid?: string; data?: string } = {},
): ConfigMap {
  const { uid = `uid-${name}`, data = '' } = more;
  return { metadata: { name, namespace, uid, resourceVersion: String(version) }, data: { data } };
}

type Script = {
  lists: List<ConfigMap>[];
  /** One per watch: events, then how it ends. */
  watches: { events: WatchEvent<ConfigMap>[]; end: 'close' | 'stay' | Error }[];
};

/** The edge, scripted: what the server answers, one after the other. */
function scripted(script: Script): { client: Client; asked: string[] } {
  const asked: string[] = [];
  const client = {
    async list() {
      asked.push('list');
      const next = script.lists.shift();
      if (next === undefined) throw failure(500, 'InternalError', 'no list left');
      return next;
    },
    async *watch(_: unknown, { resourceVersion, signal }: WatchOptions) {
      asked.push(`watch ${resourceVersion}`);
      const { events, end } = script.watches.shift() ?? { events: [], end: 'stay' as const };
      yield* events;
      if (end instanceof Error) throw end;
      if (end === 'stay') {
        await new Promise<void>((resolve) => {
          signal.addEventListener('abort', () => resolve());
        });
      }
    },
  };
  return { client: client as unknown as Client, asked };
}

function start(script: Script) {
  const { client, asked } = scripted(script);
  const informer = new Informer<ConfigMap>({
    client,
    resource: resources.configmaps,
    random: () => 0,
  });
  const told: string[] = [];
  informer.onChange((old, current) => {
    const name = (object: ConfigMap | undefined) =>
      object === undefined ? '-' : `${object.metadata.name}@${object.metadata.resourceVersion}`;
    told.push(`${name(old)} ${name(current)}`);
  });
  informer.start();
  return { informer, asked, told };
}

async function until(check: () => boolean): Promise<void> {
  const deadline = Date.now() + 2000;
  while (!check()) {
    assert.ok(Date.now() < deadline, 'the check never came true');
    await new Promise((resolve) => {
      setTimeout(resolve, 1);
    });
  }
}

const list = (version: number, ...items: ConfigMap[]): List<ConfigMap> => ({
  items,
  resourceVersion: String(version),
});
const event = (type: WatchEvent<ConfigMap>['type'], object: ConfigMap) => ({ type, object });
const expired = failure(410, 'Expired', 'too old resource version');

type Row = { name: string; script: Script; told: string[]; asked: string[] };
const rows: Row[] = [
  {
    name: 'lists, then follows the watch',
    script: {
      lists: [list(5, config('a', 3))],
      watches: [
        {
          events: [
            event('ADDED', config('b', 6)),
            event('MODIFIED', config('a', 7)),
            event('DELETED', config('b', 8)),
          ],
          end: 'stay',
        },
      ],
    },
    told: ['- a@3', '- b@6', 'a@3 a@7', 'b@8 -'],
    asked: ['list', 'watch 5'],
  },
  {
    name: 'goes on from the last version when the stream ends',
    script: {
      lists: [list(5)],
      watches: [
        { events: [event('ADDED', config('a', 6))], end: 'close' },
        { events: [event('MODIFIED', config('a', 7))], end: 'stay' },
      ],
    },
    told: ['- a@6', 'a@6 a@7'],
    asked: ['list', 'watch 5', 'watch 6'],
  },
  {
    name: 'a bookmark moves the version and tells nothing',
    script: {
      lists: [list(5)],
      watches: [
        { events: [event('BOOKMARK', config('', 90))], end: new Error('broken') },
        { events: [event('ADDED', config('a', 91))], end: 'stay' },
      ],
    },
    told: ['- a@91'],
    asked: ['list', 'watch 5', 'watch 90'],
  },
  {
    name: 'lists again when the version is gone, and tells the differences only',
    script: {
      lists: [
        list(5, config('a', 1), config('b', 2), config('c', 3)),
        list(20, config('a', 1), config('b', 15)),
      ],
      watches: [
        { events: [], end: expired },
        { events: [], end: 'stay' },
      ],
    },
    told: ['- a@1', '- b@2', '- c@3', 'b@2 b@15', 'c@3 -'],
    asked: ['list', 'watch 5', 'list', 'watch 20'],
  },
  {
    name: 'a successor of the same name is a deletion and a creation',
    script: {
      lists: [list(5, config('a', 1)), list(20, config('a', 15, { uid: 'other' }))],
      watches: [
        { events: [], end: expired },
        { events: [], end: 'stay' },
      ],
    },
    told: ['- a@1', 'a@1 -', '- a@15'],
    asked: ['list', 'watch 5', 'list', 'watch 20'],
  },
  {
    name: 'a server that lost its store is believed',
    script: {
      lists: [list(500, config('a', 400)), list(3, config('b', 2))],
      watches: [
        {
          events: [],
          end: failure(504, 'Timeout', 'Too large resource version', {
            causes: [{ reason: 'ResourceVersionTooLarge' }],
          }),
        },
        { events: [], end: 'stay' },
      ],
    },
    told: ['- a@400', '- b@2', 'a@400 -'],
    asked: ['list', 'watch 500', 'list', 'watch 3'],
  },
];

for (const row of rows) {
  test(row.name, async () => {
    const asked = [...row.asked];
    const started = start(row.script);
    using informer = started.informer;
    await informer.synced;
    await until(
      () => started.asked.length >= asked.length && started.told.length >= row.told.length,
    );
    assert.deepEqual(started.told, row.told);
    assert.deepEqual(started.asked, asked);
  });
}

test('a failing server is asked again, with pauses', async () => {
  const { informer, asked } = start({ lists: [], watches: [] });
  await until(() => asked.length >= 4);
  informer.stop();
  assert.ok(asked.every((what) => what === 'list'));
  assert.equal(informer.hasSynced, false);
});

test('once the server is back for one informer, it is asked for all at once', async () => {
  let back = false;
  const pauses: (() => void)[] = [];
  const client = {
    async list() {
      if (!back) throw failure(503, 'ServiceUnavailable', 'away');
      return { items: [], resourceVersion: '1' };
    },
    async *watch(_: unknown, { signal }: WatchOptions) {
      yield* [];
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
    },
  } as unknown as Client;
  const clock: Clock = {
    ...systemClock,
    after(_ms, callback) {
      pauses.push(callback);
      return () => undefined;
    },
  };
  using first = new Informer<ConfigMap>({ client, resource: resources.configmaps, clock });
  using second = new Informer<ConfigMap>({ client, resource: resources.configmaps, clock });
  first.start();
  second.start();
  await until(() => pauses.length === 2);
  back = true;
  // Only the first one's pause is over; the second one's never would be.
  pauses[0]!();
  await until(() => first.hasSynced && second.hasSynced);
});

test('an own write is seen at once, and not undone by older news', async () => {
  const gate = Promise.withResolvers<void>();
  const { client } = scripted({ lists: [list(5)], watches: [] });
  const watch = async function* () {
    yield event('ADDED', config('other', 6));
    await gate.promise;
    yield event('ADDED', config('mine', 7, { data: 'first' }));
    yield event('MODIFIED', config('mine', 8, { data: 'second' }));
    yield event('DELETED', config('mine', 9));
  };
  const edge = { ...client, watch } as unknown as Client;
  using informer = new Informer<ConfigMap>({
    client: edge,
    resource: resources.configmaps,
  }).start();
  await until(() => informer.get('default/other') !== undefined);
  informer.observe(config('mine', 8, { data: 'second' }));
  assert.equal(informer.get('default/mine')?.data?.data, 'second');
  gate.resolve();
  await until(() => informer.get('default/mine') === undefined);
  // The answer to a write may come after the watch has told of the deletion.
  informer.observe(config('mine', 8));
  assert.equal(informer.get('default/mine'), undefined);
});

test('an own write is seen at once while the list is taken anew', async () => {
  const gate = Promise.withResolvers<void>();
  const script: Script = {
    lists: [list(5, config('a', 1)), list(6, config('a', 1))],
    watches: [
      { events: [], end: expired },
      { events: [event('MODIFIED', config('mine', 9))], end: 'stay' },
    ],
  };
  const { client, asked } = scripted(script);
  const slow = {
    ...client,
    async list() {
      const found = await client.list<ConfigMap>(resources.configmaps);
      if (asked.length > 1) await gate.promise;
      return found;
    },
  } as unknown as Client;
  using informer = new Informer<ConfigMap>({ client: slow, resource: resources.configmaps });
  informer.start();
  await until(() => asked.length === 3);
  informer.observe(config('mine', 7));
  assert.notEqual(informer.get('default/mine'), undefined);
  gate.resolve();
  await until(() => asked.length === 4);
  assert.notEqual(informer.get('default/mine'), undefined);
  await until(() => informer.get('default/mine')?.metadata.resourceVersion === '9');
});

test('indexes follow the objects', async () => {
  const { informer } = start({
    lists: [list(5, config('a', 1, { data: 'x' }), config('b', 2, { data: 'y' }))],
    watches: [{ events: [event('MODIFIED', config('a', 6, { data: 'y' }))], end: 'stay' }],
  });
  using _ = informer;
  informer.addIndex('data', (object) => [object.data?.data ?? '']);
  await until(() => informer.get('default/a')?.metadata.resourceVersion === '6');
  const names = (value: string) => informer.byIndex('data', value).map((o) => o.metadata.name);
  assert.deepEqual(names('x'), []);
  assert.deepEqual(names('y').toSorted(), ['a', 'b']);
  assert.equal(informer.list(namespace).length, 2);
  assert.equal(informer.list('other').length, 0);
});
