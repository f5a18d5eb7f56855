/** The controller on the real API server in memory; only the provider, the edge to the network, is ours. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { resources } from '../api/resources.ts';
import type { Event, Service } from '../api/types.ts';
import { startApiServer } from '../apiserver/server.ts';
import { Informers } from '../client/informer.ts';
import { createLogger } from '../lib/log.ts';
import { createMemoryStore } from '../store/store.ts';
import { startBalancerController, type BalancerController } from './controller.ts';
import { createPool } from './pool.ts';
import type { Provider } from './provider.ts';

const server = await startApiServer({
  store: createMemoryStore(),
  serviceCidrs: ['10.96.0.0/16', 'fd00:10:96::/112'],
});
const { client } = server;
const log = createLogger('test', process.env['FAIRLEAD_LOG'] ?? 'silent');

/** What the provider was told; it fails as often as asked to. */
const served = new Map<string, string>();
let settled = 0;
let failures = 0;
const provider: Provider = {
  name: 'edge',
  serve({ metadata }, { ips, ipMode }) {
    if (failures > 0) {
      failures -= 1;
      throw new Error('no room');
    }
    served.set(`${metadata.namespace}/${metadata.name}`, `${ips.join(' ')} ${ipMode}`);
  },
  release: (service) => void served.delete(service),
  settle: () => void (settled += 1),
  stop: () => undefined,
};

let informers: Informers;
let controller: BalancerController;

function begin(): void {
  informers = new Informers({ client, log });
  controller = startBalancerController({
    client,
    informers,
    providers: [provider],
    byDefault: 'edge',
    pool: createPool(['192.0.2.0/30', 'fd00:2::/126']),
    log,
  });
  void informers.start();
}

function end(): void {
  controller.stop();
  informers.stop();
}

begin();
after(async () => {
  end();
  await server.close();
});

const key = (name: string) => ({ namespace: 'default', name });
const get = (name: string) => client.get<Service>(resources.services, key(name));

type Spec = Partial<Service['spec']>;

async function create(name: string, spec: Spec = {}, annotations = {}): Promise<void> {
  await client.create<Service>(resources.services, {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { ...key(name), annotations },
    spec: { type: 'LoadBalancer', ports: [{ port: 80 }], selector: { app: name }, ...spec },
  });
}

async function patch(name: string, change: unknown): Promise<void> {
  await client.patch(resources.services, key(name), change, { type: 'merge' });
}

async function until<T>(what: string, look: () => Promise<T | undefined | false>): Promise<T> {
  const deadline = performance.now() + 5000;
  let last: unknown;
  while (performance.now() < deadline) {
    try {
      const found = await look();
      if (found !== undefined && found !== false) return found;
    } catch (error) {
      last = error;
    }
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  throw new Error(`not in time: ${what}`, { cause: last });
}

const inOrder = () => [...served].toSorted(([a], [b]) => a.localeCompare(b));

const ipsOf = ({ status }: Service) =>
  (status?.loadBalancer?.ingress ?? []).map(({ ip }) => ip).join(' ');

async function untilIps(name: string, want: string | RegExp): Promise<Service> {
  return await until(`${name} has ${String(want)}`, async () => {
    const service = await get(name);
    const ips = ipsOf(service);
    return (typeof want === 'string' ? ips === want : want.test(ips)) && service;
  });
}

async function untilEvent(name: string, want: RegExp): Promise<string[]> {
  return await until(`${name} is told ${want}`, async () => {
    const texts = await eventsOf(name);
    return texts.some((text) => want.test(text)) && texts;
  });
}

async function eventsOf(name: string): Promise<string[]> {
  const { items } = await client.list<Event>(resources.events, { namespace: 'default' });
  return items
    .filter(({ involvedObject }) => involvedObject.name === name)
    .map(({ type, reason, message, count }) => `${type} ${reason} ${count} ${message}`);
}

test('balancer: an address is served first and shown then, and a finalizer holds it', async () => {
  await create('first');
  const { metadata, status } = await untilIps('first', '192.0.2.0');
  assert.equal(served.get('default/first'), '192.0.2.0 VIP');
  assert.deepEqual(metadata.finalizers, ['service.kubernetes.io/load-balancer-cleanup']);
  assert.deepEqual(status?.loadBalancer, { ingress: [{ ip: '192.0.2.0', ipMode: 'VIP' }] });
  await untilEvent('first', /^Normal IPAllocated 1 Assigned 192\.0\.2\.0 \(edge\)$/);
  await until('settled', async () => settled === 1);
});

test('balancer: the ipMode of the annotation, and a change of it', async () => {
  const name = 'fairlead.dev/load-balancer-ip-mode';
  await patch('first', { metadata: { annotations: { [name]: 'Proxy' } } });
  await until('Proxy', async () => {
    return (await get('first')).status?.loadBalancer?.ingress?.[0]?.ipMode === 'Proxy';
  });
  assert.equal(served.get('default/first'), '192.0.2.0 Proxy');
  await patch('first', { metadata: { annotations: { [name]: null } } });
  await until('VIP', async () => served.get('default/first') === '192.0.2.0 VIP');
});

test('balancer: a second family is added and taken away, the first address stays', async () => {
  await patch('first', { spec: { ipFamilyPolicy: 'PreferDualStack' } });
  await untilIps('first', '192.0.2.0 fd00:2::');
  await patch('first', { spec: { ipFamilyPolicy: 'SingleStack' } });
  await untilIps('first', '192.0.2.0');
});

test('balancer: who has no address is told once, and gets the next that comes free', async () => {
  for (const name of ['second', 'third', 'fourth']) await create(name);
  for (const name of ['second', 'third', 'fourth']) await untilIps(name, /192/);
  await create('fifth');
  const full = /^Warning AllocationFailed \d No address yet: no ipv4 address is left/;
  await untilEvent('fifth', full);
  // Nothing that others do makes it said again.
  await patch('second', { metadata: { labels: { a: 'b' } } });
  await controller.idle();
  assert.equal((await eventsOf('fifth')).filter((text) => full.test(text)).length, 1);
  assert.match((await eventsOf('fifth')).join(), /AllocationFailed 1 /);
  assert.equal((await get('fifth')).metadata.finalizers, undefined);
  const freed = ipsOf(await get('third'));
  await client.delete(resources.services, key('third'));
  await untilIps('fifth', freed);
  assert.equal(served.has('default/third'), false);
  await assert.rejects(get('third'));
});

test('balancer: a request that cannot be met takes the address away, with the reason', async () => {
  await patch('second', { spec: { loadBalancerIP: '198.51.100.1' } });
  await untilIps('second', '');
  assert.equal(served.has('default/second'), false);
  await untilEvent('second', /198\.51\.100\.1 is asked for, which is not in the pool/);
  await patch('second', { spec: { loadBalancerIP: null } });
  await untilIps('second', /192/);
});

test('balancer: another type frees the address and the finalizer; others of it stay', async () => {
  const finalizers = ['example.com/mine', 'service.kubernetes.io/load-balancer-cleanup'];
  await patch('fourth', { metadata: { finalizers } });
  await patch('fourth', { spec: { type: 'NodePort' } });
  const service = await until('the finalizer goes', async () => {
    const held = await get('fourth');
    return held.metadata.finalizers?.length === 1 && held;
  });
  assert.deepEqual(service.metadata.finalizers, ['example.com/mine']);
  assert.deepEqual(service.status, { loadBalancer: {} });
  assert.equal(served.has('default/fourth'), false);
});

test('balancer: a provider that fails is tried again, and the Service is told', async () => {
  failures = 2;
  await create('bumpy');
  await untilIps('bumpy', /192/);
  await untilEvent('bumpy', /^Warning SyncLoadBalancerFailed 2 Cannot set up 192\S+: no room$/);
});

test('balancer: the class of somebody else is left alone, its finalizer too', async () => {
  await create('foreign', { loadBalancerClass: 'example.com/lb' });
  await untilEvent('foreign', /^Normal OtherLoadBalancerClass 1 /);
  const finalizers = ['service.kubernetes.io/load-balancer-cleanup'];
  await patch('foreign', { metadata: { finalizers } });
  await client.delete(resources.services, key('foreign'));
  await controller.idle();
  assert.deepEqual((await get('foreign')).metadata.finalizers, finalizers);
});

test('balancer: the next run keeps every address, and serves it before it settles', async () => {
  const before = inOrder();
  end();
  served.clear();
  await client.delete(resources.services, key('second'));
  begin();
  await until('settled', async () => settled === 2);
  assert.deepEqual(
    inOrder(),
    before.filter(([name]) => name !== 'default/second'),
  );
  await until('second is gone', async () => (await get('second').catch(() => 'gone')) === 'gone');
});
