/** When the proxy writes, and how much: the start, the pace, failures, the hour. On a real kernel. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import type { KubeObject } from '../../src/api/meta.ts';
import { resources, type Resource } from '../../src/api/resources.ts';
import type { Event, Service } from '../../src/api/types.ts';
import { startApiServer } from '../../src/apiserver/server.ts';
import type { Client, List, ListOptions } from '../../src/client/client.ts';
import { NftConnection } from '../../src/kernel/nftables/index.ts';
import { systemClock, type Clock } from '../../src/lib/clock.ts';
import { createLogger } from '../../src/lib/log.ts';
import type {
  FamilySync,
  Proxy,
  ProxyObserver,
  ProxyOptions,
  Sync,
} from '../../src/proxy/options.ts';
import { familiesOfKernel } from '../../src/proxy/standalone/check-mode.ts';
import { startProxy } from '../../src/proxy/service-proxy.ts';
import { createMemoryStore } from '../../src/store/store.ts';

const SERVICES = 40;
const log = createLogger('proxy', 'silent');

let client: Client;
let proxy: Proxy | undefined;
let syncs: Sync[] = [];
let told: FamilySync[] = [];
const planned: string[] = [];

const observer: ProxyObserver = {
  serviceChanged() {},
  sliceChanged() {},
  planned: (service) => planned.push(service),
  synced: (sync) => told.push(sync),
  cleaned() {},
};

/** Time that can be put forward. */
let offsetMs = 0;
const clock: Clock = {
  ...systemClock,
  monotonicMs: () => systemClock.monotonicMs() + offsetMs,
};

before(async () => {
  const serviceCidrs = ['10.96.0.0/16', 'fd00:10:96::/112'];
  client = (await startApiServer({ store: createMemoryStore(), serviceCidrs })).client;
  await client.create(resources.namespaces, { metadata: { name: 'shop' } });
  for (let index = 1; index <= SERVICES; index += 1) {
    await putService(index);
    await putSlice(index, ['10.244.1.5']);
  }
});
after(() => proxy?.stop());

async function putService(index: number): Promise<void> {
  const ports = [{ name: 'http', protocol: 'TCP', port: 80 }];
  await client.create(resources.services, {
    metadata: { namespace: 'shop', name: `web-${index}` },
    spec: { clusterIP: `10.96.1.${index}`, clusterIPs: [`10.96.1.${index}`], ports },
  } as KubeObject);
}

async function putSlice(index: number, addresses: string[]): Promise<void> {
  const key = { namespace: 'shop', name: `web-${index}` };
  const fields = {
    metadata: { ...key, labels: { 'kubernetes.io/service-name': key.name } },
    addressType: 'IPv4',
    endpoints: addresses.map((address) => ({ addresses: [address], nodeName: 'node-1' })),
    ports: [{ name: 'http', protocol: 'TCP', port: 8080 }],
  };
  const known = await client.list(resources.endpointslices, { namespace: 'shop' });
  if (known.items.some((slice) => slice.metadata.name === key.name)) {
    await client.patch(resources.endpointslices, key, fields, { type: 'merge' });
  } else {
    await client.create(resources.endpointslices, fields);
  }
}

function begin(more: Partial<ProxyOptions> = {}): Promise<Proxy> {
  syncs = [];
  told = [];
  return startProxy({
    client,
    nodeName: 'node-1',
    nodeIPs: ['172.29.0.11', 'fd00:172:29::11'],
    detectLocal: { mode: 'ClusterCIDR', cidrs: ['10.244.0.0/16'] },
    serviceCidrs: [],
    observer,
    clock,
    log,
    onSync: (sync) => syncs.push(sync),
    ...more,
  });
}

/** The kernel's number of the ruleset; every transaction raises it. */
function generation(): number {
  using connection = new NftConnection();
  return connection.generation().id;
}

function nft(...args: string[]): string {
  return execFileSync('nft', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
}

async function eventually(what: string, check: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + 10_000;
  while (!(await check())) {
    assert(performance.now() < end, `not in time: ${what}`);
    await sleep(10);
  }
}

/** A client whose first list of one resource comes when `go` is called. */
function holding(resource: Resource): { held: Client; go: () => void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  const held: Client = {
    ...client,
    get: client.get.bind(client),
    watch: client.watch.bind(client),
    create: client.create.bind(client),
    update: client.update.bind(client),
    patch: client.patch.bind(client),
    delete: client.delete.bind(client),
    post: client.post.bind(client),
    async list<T extends KubeObject>(of: Resource, options?: ListOptions) {
      if (of === resource) await promise;
      return client.list<T>(of, options);
    },
  };
  return { held, go: resolve };
}

test('[P137] [P141] the kernel is tried for both families, and nothing of it remains', () => {
  assert.deepEqual(familiesOfKernel(['ipv6', 'ipv4'], log), ['ipv6', 'ipv4']);
  assert.equal(nft('list', 'tables'), '');
  nft('add', 'table', 'ip', 'fairlead');
  const before = generation();
  assert.deepEqual(familiesOfKernel(['ipv4'], log), ['ipv4']);
  assert.equal(generation(), before, 'a table of ours says that it was tried before');
  nft('delete', 'table', 'ip', 'fairlead');
});

for (const name of ['services', 'endpointslices'] as const) {
  test(`[P125] nothing is written before ${name} are listed; what an earlier run left serves`, async () => {
    nft('add', 'table', 'ip', 'fairlead');
    const start = generation();
    const { held, go } = holding(resources[name]);
    proxy = await begin({ client: held });
    await sleep(300);
    assert.equal(generation(), start);
    assert.deepEqual(told, []);
    go();
    await proxy.ready;
    assert.match(nft('list', 'map', 'ip', 'fairlead', 'frontends'), /10\.96\.1\.1 /);
    await proxy.stop();
    nft('delete', 'table', 'ip', 'fairlead');
  });
}

test('[P100] [P128] the first sync is a full one, of both families', async () => {
  proxy = await begin();
  await proxy.ready;
  assert.deepEqual(
    told.map(({ family, full, error }) => [family, full, error]),
    [
      ['ipv4', true, undefined],
      ['ipv6', true, undefined],
    ],
  );
  assert.equal(proxy.health.healthy, true);
});

test('[P128] a change of one Service plans and writes that one alone', async () => {
  planned.length = 0;
  told = [];
  await putSlice(7, ['10.244.1.5', '10.244.1.6']);
  await eventually('a sync', () => syncs.at(-1)?.services === 1);
  assert.deepEqual([...new Set(planned)], ['shop/web-7']);
  assert(syncs.at(-1)!.writes < 10, JSON.stringify(syncs.at(-1)));
  assert(told.every(({ full }) => !full));
});

test('[P128] [P127] a sync that fails is told, tried again, and the next one is full', async () => {
  told = [];
  // Gone behind its back, and noticed by the next change before the watch of the ruleset does.
  nft('delete', 'table', 'ip', 'fairlead');
  await putSlice(8, ['10.244.1.6']);
  await eventually('the rules', () => told.some(({ full, error }) => full && error === undefined));
  assert.match(nft('list', 'map', 'ip', 'fairlead', 'endpoints'), /10\.244\.1\.6/);
  const first = told.find(({ family }) => family === 'ipv4');
  // Either the change met the missing table, or the watch was quicker: both end in a full sync.
  if (first?.error !== undefined) {
    const next = told.find(({ family, error }) => family === 'ipv4' && error === undefined);
    assert.equal(next?.full, true);
  }
  await eventually('health', () => proxy!.health.healthy);
});

test('[P127] [P128] once an hour everything is compared, and nothing is written that is right', async () => {
  await sleep(100);
  told = [];
  const before = generation();
  offsetMs += 3_600_000;
  await eventually('a full sync', () => told.filter(({ full }) => full).length === 2);
  assert.equal(generation(), before);
  await proxy!.stop();
});

test('[P127] changes that come within the pause are written together, after it', async () => {
  const pauseMs = 500;
  proxy = await begin({ minSyncPeriodMs: pauseMs });
  await proxy.ready;
  await sleep(pauseMs);
  const from = syncs.length;
  const began = performance.now();
  const times: number[] = [];
  for (let round = 0; round < 10; round += 1) {
    await putSlice(1 + round, [`10.244.1.${20 + round}`]);
    const count = syncs.length - from;
    if (count > times.length) times.push(performance.now() - began);
    await sleep(20);
  }
  const elements = () => nft('list', 'map', 'ip', 'fairlead', 'endpoints');
  await eventually('all of them', () => elements().includes('10.244.1.29'));
  const mine = syncs.slice(from);
  assert(mine.length >= 2 && mine.length <= 3, `${mine.length} syncs for 10 changes`);
  for (const [index, sync] of mine.entries()) {
    const last = mine[index - 1];
    // Date.now, which `at` is of, has whole milliseconds.
    if (last !== undefined) assert(sync.at - last.at >= pauseMs - 2, `${sync.at - last.at} ms`);
  }
  await proxy.stop();
});

test('[P127] one Service that cannot be planned holds nobody up, and an event tells of it', async () => {
  // Written by somebody whose server checks nothing.
  const broken = {
    metadata: { namespace: 'shop', name: 'broken', uid: 'u', resourceVersion: '1' },
    spec: { clusterIP: '10.96.1.200', ports: 5 },
  };
  const loose: Client = {
    ...holding(resources.nodes).held,
    async list<T extends KubeObject>(of: Resource, options?: ListOptions): Promise<List<T>> {
      const list = await client.list<T>(of, options);
      if (of !== resources.services) return list;
      return { ...list, items: [broken as unknown as T, ...list.items] };
    },
  };
  await putSlice(1, ['10.244.1.99']);
  proxy = await begin({ client: loose });
  await proxy.ready;
  assert.match(nft('list', 'map', 'ip', 'fairlead', 'endpoints'), /10\.244\.1\.99/);
  await eventually('an event', async () => {
    const { items } = await client.list<Event>(resources.events);
    return items.some(({ reason }) => reason === 'FailedToPlanService');
  });
  const service = await client.get<Service>(resources.services, {
    namespace: 'shop',
    name: 'web-1',
  });
  assert.equal(service.spec.clusterIP, '10.96.1.1');
});
