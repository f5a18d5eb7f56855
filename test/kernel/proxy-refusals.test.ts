/** What the kernel refuses stays with the one who asked for it: a Service, a family, a chain. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, before, beforeEach, test } from 'node:test';

import type { KubeObject } from '../../src/api/meta.ts';
import { resources, type Resource } from '../../src/api/resources.ts';
import type { Event, Service } from '../../src/api/types.ts';
import { startApiServer } from '../../src/apiserver/server.ts';
import type { Client } from '../../src/client/client.ts';
import { Informer, Informers } from '../../src/client/informer.ts';
import { addTable, NftConnection } from '../../src/kernel/nftables/index.ts';
import { messageOf } from '../../src/lib/errors.ts';
import { sampleContext, sampleService, sampleSlice } from '../../src/plan/samples.ts';
import { planService } from '../../src/plan/service.ts';
import type { ServicePlan } from '../../src/plan/types.ts';
import { NftablesBackend, type FamilyCommit } from '../../src/proxy/nftables/backend.ts';
import { FEATURES, missingFeatures, notSupported } from '../../src/proxy/nftables/requirements.ts';
import { DEFAULT_SETTINGS } from '../../src/proxy/nftables/rule-parts.ts';
import { FamilyTable } from '../../src/proxy/nftables/table.ts';
import { startProxy } from '../../src/proxy/service-proxy.ts';
import { createMemoryStore } from '../../src/store/store.ts';
import { DROP_MS } from './proxy-peer.ts';
import { ADDRESSES, buildTopology, type Topology } from './proxy-topology.ts';

const log = { error() {}, warn() {}, info() {}, debug() {} } as never;
const { local, local2 } = ADDRESSES.ipv4;
/** Longer than the kernel's clock can count (nf_msecs_to_jiffies64: ERANGE). */
const ENDLESS_SECONDS = 2e10;

let topology: Topology;

before(async () => {
  topology = await buildTopology();
});
after(() => topology[Symbol.dispose]());
beforeEach(() => execFileSync('nft', ['flush', 'ruleset']));

function openBackend(): NftablesBackend {
  const backend = new NftablesBackend({ log, random: () => Math.floor(Math.random() * 2 ** 32) });
  backend.open();
  backend.sweep();
  return backend;
}

/** Service `shop/NAME` at 10.96.0.N, with these endpoints. */
function planOf(name: string, number: number, endpoints: readonly string[]): ServicePlan {
  const clusterIPs = [`10.96.0.${number}`, `fd00:10:96::${number}`];
  const service = sampleService({ clusterIP: clusterIPs[0]!, clusterIPs }, { name });
  const slices = endpoints.map((address, index) =>
    sampleSlice([`${address}@node-1`], { name: `${name}-${index}`, service: name }),
  );
  return planService(service, slices, sampleContext())!;
}

function spoilt(plan: ServicePlan): ServicePlan {
  const ports = plan.ports.map((port) => ({ ...port, affinitySeconds: ENDLESS_SECONDS }));
  return { ...plan, ports };
}

async function serverAt(address: string, timeoutMs = 5000): Promise<string> {
  const [reply] = await topology.outside.ask({ protocol: 'TCP', address, port: 80, timeoutMs });
  return 'server' in reply! ? reply.server : reply!.error;
}

test('of many changed Services only the one is left out that the kernel refuses', async () => {
  using backend = openBackend();
  const { ipv6 } = ADDRESSES;
  for (let number = 20; number < 60; number += 1) {
    const plan = planOf(`web-${number}`, number, [local, ipv6.local]);
    backend.setService(plan.service, number === 33 ? spoilt(plan) : plan);
  }
  assert.throws(() => backend.commit(), /ERANGE/);
  assert.deepEqual(backend.failing, ['ipv4', 'ipv6']);
  assert.equal(
    await serverAt('10.96.0.20', DROP_MS),
    'ETIMEDOUT',
    'a transaction is written as a whole',
  );
  const refused = backend.retry();
  assert.deepEqual(
    refused.map(({ service, error }) => [service, /ERANGE/.test(String(error))]),
    [
      ['shop/web-33', true],
      ['shop/web-33', true],
    ],
  );
  assert.deepEqual(backend.failing, []);
  for (const number of [20, 32, 34, 59]) assert.equal(await serverAt(`10.96.0.${number}`), local);
  assert.equal(await serverAt('10.96.0.33', DROP_MS), 'ETIMEDOUT');
  // Once it is mended, it is served like any other.
  backend.setService('shop/web-33', planOf('web-33', 33, [local]));
  backend.commit();
  assert.equal(await serverAt('10.96.0.33'), local);
});

test('a Service whose change is refused keeps the rules it had', async () => {
  using backend = openBackend();
  backend.setService('shop/web', planOf('web', 20, [local]));
  backend.setService('shop/api', planOf('api', 21, [local]));
  backend.commit();
  backend.setService('shop/web', spoilt(planOf('web', 20, [local2])));
  backend.setService('shop/api', planOf('api', 21, [local2]));
  assert.throws(() => backend.commit(), /ERANGE/);
  assert.equal(await serverAt('10.96.0.21'), local);
  assert.deepEqual(
    backend.retry().map(({ service }) => service),
    ['shop/web'],
    'IPv6 has no endpoints, and so no affinity to be refused',
  );
  assert.equal(await serverAt('10.96.0.21'), local2);
  assert.equal(await serverAt('10.96.0.20'), local);
});

test('what nobody is to blame for is not blamed on anybody', () => {
  using backend = openBackend();
  backend.setService('shop/web', planOf('web', 20, [local]));
  using owner = new NftConnection();
  owner.apply([addTable({ family: 'ip', name: 'fairlead', flags: ['owner'] })]);
  assert.throws(() => backend.commit());
  assert.deepEqual(backend.retry(), []);
  assert.deepEqual(backend.failing, ['ipv4']);
});

test('what is refused for no fault of a Service is written once it can be', async () => {
  /** As a kernel that is out of memory for a while. */
  class Starved extends NftConnection {
    isStarved = true;

    override apply(...given: Parameters<NftConnection['apply']>): void {
      if (this.isStarved) throw new Error('ENOMEM');
      super.apply(...given);
    }
  }
  using connection = new Starved();
  const table = new FamilyTable({ ...DEFAULT_SETTINGS, family: 'ipv4' }, () => 7);
  table.open(connection);
  table.program.sweep();
  table.setService('shop/web', planOf('web', 20, [local]));
  assert.throws(() => table.commit(connection), /ENOMEM/);
  assert.throws(() => table.commitByHalves(connection), /ENOMEM/);
  connection.isStarved = false;
  table.open(connection);
  table.program.sweep();
  table.commit(connection);
  assert.equal(await serverAt('10.96.0.20'), local);
});

test('[P136] one family that fails does not stop the other, and comes back by itself', async (t) => {
  const { client } = await startApi();
  const owner = new NftConnection();
  t.after(() => owner[Symbol.dispose]());
  owner.apply([addTable({ family: 'ip', name: 'fairlead', flags: ['owner'] })]);
  const failures: string[] = [];
  const proxy = await startProxy({
    ...proxyOptions(client),
    observer: {
      ...silent,
      synced: ({ family, error }) =>
        error !== undefined && failures.push(`${family} ${messageOf(error)}`),
    },
  });
  t.after(() => proxy.stop());
  await proxy.ready;
  await putService(client, { name: 'web', ip: '10.96.0.20', endpoint: local });
  const family6 = ADDRESSES.ipv6.local;
  await putService(client, { name: 'web6', ip: 'fd00:10:96::20', endpoint: family6 });
  await eventually(() => serverAt('fd00:10:96::20', DROP_MS), family6);
  assert.equal(await serverAt('10.96.0.20', DROP_MS), 'ETIMEDOUT');
  assert.match(failures.join('\n'), /ipv4 .*owns it/);
  assert(!failures.join().includes('ipv6'), failures.join('\n'));
  // Nor does it keep the other from being mended.
  execFileSync('nft', ['delete', 'table', 'ip6', 'fairlead']);
  await eventually(() => serverAt('fd00:10:96::20'), family6);
  // The table goes with its owner.
  owner[Symbol.dispose]();
  await eventually(() => serverAt('10.96.0.20', DROP_MS), local);
});

test('a Service that the kernel refuses has an event; all others are served', async (t) => {
  const { client } = await startApi();
  const informers = new TamperedInformers(client);
  t.after(() => informers.of<Service>(resources.services).stop());
  const proxy = await startProxy({ ...proxyOptions(client), informers });
  t.after(() => proxy.stop());
  await proxy.ready;
  await putService(client, { name: 'bad', ip: '10.96.0.21', endpoint: local });
  await putService(client, { name: 'good', ip: '10.96.0.22', endpoint: local2 });
  await eventually(() => serverAt('10.96.0.22', DROP_MS), local2);
  await eventually(async () => {
    const { items } = await client.list<KubeObject>(resources.events, { namespace: 'shop' });
    const event = (items as unknown as Event[]).find(({ reason }) => reason === 'RulesRefused');
    return `${event?.type} ${event?.involvedObject.name} ${event?.message}`;
  }, /^Warning bad node node-1 keeps the rules it had: .*ERANGE/);
  assert.equal(await serverAt('10.96.0.21'), 'ECONNREFUSED', 'as before it had endpoints');
});

test('[P126] a chain that cannot go yet stays, and nothing else waits for it', async () => {
  using backend = openBackend();
  const ends = (count: number) => Array.from({ length: count }, (_, i) => `10.244.9.${i + 1}`);
  // 64 classes are kept for later; more are let go.
  for (let count = 1; count <= 64; count += 1) {
    backend.setService('shop/web', planOf('web', 20, ends(count)));
    backend.commit();
  }
  const chains = () => execFileSync('nft', ['list', 'chains', 'ip'], { encoding: 'utf8' });
  assert.match(chains(), /outsiders-all-1 /);
  const rule = ['-e', '-a', 'add', 'rule', 'ip', 'fairlead', 'nat-prerouting'];
  const added = execFileSync('nft', [...rule, 'jump', 'outsiders-all-1'], { encoding: 'utf8' });
  const handle = /handle (\d+)/.exec(added)![1]!;
  const failed: FamilyCommit[] = [];
  for (const count of [65, 66]) {
    backend.setService('shop/web', planOf('web', 20, ends(count)));
    backend.commit((commit) => {
      if (commit.cleanupFailed === true) failed.push(commit);
    });
  }
  assert.match(chains(), /outsiders-all-66 /, 'the new endpoints are served');
  assert.match(chains(), /outsiders-all-1 /, 'somebody leads to it');
  assert.equal(failed.length, 1, 'counted once, then left alone for a second');
  execFileSync('nft', ['delete', 'rule', 'ip', 'fairlead', 'nat-prerouting', 'handle', handle]);
  // It is tried again after a second, with whatever is written next.
  let count = 66;
  await eventually(async () => {
    count += 1;
    backend.setService('shop/web', planOf('web', 20, ends(count)));
    backend.commit();
    await new Promise((resolve) => setTimeout(resolve, 100));
    return chains().includes('outsiders-all-1 ') ? 'there' : 'gone';
  }, 'gone');
});

test('what this kernel lacks is named, with the version that has it', () => {
  using connection = new NftConnection();
  for (const family of ['ipv4', 'ipv6'] as const) {
    assert.deepEqual(missingFeatures(connection, family), []);
  }
  const teleport = { kind: 'unknown', name: 'teleport', data: new Uint8Array() } as const;
  const unheard = { name: 'teleportation', since: '9.9', expressions: [teleport] };
  const missing = missingFeatures(connection, 'ipv4', [...FEATURES, unheard]);
  assert.deepEqual(missing, [unheard]);
  const error = notSupported(missing);
  assert.equal(error?.code, 'NOT_SUPPORTED');
  assert.match(error.message, /teleportation.*9\.9/);
  assert.equal(connection.tables().length, 0, 'nothing remains of the probes');
});

// ---- an API with a Service

const silent = {
  serviceChanged() {},
  sliceChanged() {},
  planned() {},
  cleaned() {},
};

async function startApi(): Promise<{ client: Client }> {
  const serviceCidrs = ['10.96.0.0/16', 'fd00:10:96::/112'];
  const { client } = await startApiServer({ store: createMemoryStore(), serviceCidrs });
  await client.create(resources.namespaces, object({ metadata: { name: 'shop' } }));
  return { client };
}

function proxyOptions(client: Client) {
  return {
    client,
    nodeName: 'node-1',
    nodeIPs: [ADDRESSES.ipv4.node, ADDRESSES.ipv6.node],
    detectLocal: { mode: 'ClusterCIDR', cidrs: ['10.244.0.0/16', 'fd00:10:244::/56'] } as const,
    serviceCidrs: [],
    log,
  };
}

function object(fields: Record<string, unknown>): KubeObject {
  return fields as unknown as KubeObject;
}

async function putService(
  client: Client,
  { name, ip, endpoint }: { name: string; ip: string; endpoint: string },
): Promise<void> {
  const ports = [{ name: 'http', protocol: 'TCP', port: 80, targetPort: 8080 }];
  const ipFamilies = [ip.includes(':') ? 'IPv6' : 'IPv4'];
  const spec = { clusterIP: ip, clusterIPs: [ip], ipFamilies, ports, sessionAffinity: 'ClientIP' };
  await client.create(resources.services, object({ metadata: { namespace: 'shop', name }, spec }));
  const slice = sampleSlice([`${endpoint}@node-1`], { name, service: name });
  await client.create(resources.endpointslices, slice);
}

/** As if another writer had left a timeout in the Service `bad` that no API server allows. */
class TamperedInformers extends Informers {
  readonly #services: Informer<Service>;

  constructor(client: Client) {
    super({ client });
    this.#services = new Informer({ client, resource: resources.services, trim: spoil });
  }

  override of<T extends KubeObject>(resource: Resource): Informer<T> {
    if (resource !== resources.services) return super.of<T>(resource);
    return this.#services as unknown as Informer<T>;
  }
}

function spoil(service: Service): Service {
  if (service.metadata.name !== 'bad') return service;
  const clientIP = { timeoutSeconds: ENDLESS_SECONDS };
  return { ...service, spec: { ...service.spec, sessionAffinityConfig: { clientIP } } };
}

async function eventually(read: () => Promise<string>, want: string | RegExp): Promise<void> {
  const end = performance.now() + 10_000;
  for (;;) {
    const found = await read();
    if (typeof want === 'string' ? found === want : want.test(found)) return;
    assert(performance.now() < end, `still ${found}, not ${want}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
