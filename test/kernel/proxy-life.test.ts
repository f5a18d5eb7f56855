/** The whole proxy on a real kernel, fed by the in-process API: start, change, restart, repair. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, before, test } from 'node:test';

import type { KubeObject } from '../../src/api/meta.ts';
import { resources } from '../../src/api/resources.ts';
import { startApiServer } from '../../src/apiserver/server.ts';
import type { Client } from '../../src/client/client.ts';
import type { Proxy, Sync } from '../../src/proxy/options.ts';
import { startProxy } from '../../src/proxy/service-proxy.ts';
import { createMemoryStore } from '../../src/store/store.ts';
import { DROP_MS } from './proxy-peer.ts';
import { ADDRESSES, buildTopology, TARGET_PORT, type Topology } from './proxy-topology.ts';

const { local, local2, remote } = ADDRESSES.ipv4;
const VIP = '10.96.0.20';
const log = { error: console.error, warn() {}, info() {}, debug() {} } as never;

let topology: Topology;
let client: Client;
let proxy: Proxy;
let syncs: Sync[] = [];

before(async () => {
  topology = await buildTopology();
  const serviceCidrs = ['10.96.0.0/16', 'fd00:10:96::/112'];
  client = (await startApiServer({ store: createMemoryStore(), serviceCidrs })).client;
  await client.create(resources.namespaces, object({ metadata: { name: 'shop' } }));
  proxy = await start();
});
after(async () => {
  await proxy.stop();
  topology[Symbol.dispose]();
});

type Loose = Record<string, unknown>;

function object(fields: Loose): KubeObject {
  return fields as unknown as KubeObject;
}

async function start(): Promise<Proxy> {
  const started = await startProxy({
    client,
    nodeName: 'node-1',
    nodeIPs: [ADDRESSES.ipv4.node, ADDRESSES.ipv6.node],
    detectLocal: { mode: 'ClusterCIDR', cidrs: ['10.244.0.0/16', 'fd00:10:244::/56'] },
    serviceCidrs: ['10.96.0.0/16', 'fd00:10:96::/112'],
    log,
    onSync: (sync) => syncs.push(sync),
  });
  await started.ready;
  return started;
}

async function putService(spec: Loose = {}): Promise<void> {
  const ports = ['TCP', 'UDP'].map((protocol) => ({
    name: protocol.toLowerCase(),
    protocol,
    port: 80,
    targetPort: TARGET_PORT,
  }));
  const wanted = { clusterIP: VIP, clusterIPs: [VIP], ports, ...spec };
  await client.create(
    resources.services,
    object({ metadata: { namespace: 'shop', name: 'web' }, spec: wanted }),
  );
}

/** Makes these the endpoints, and waits until the kernel has them. */
async function putEndpoints(...addresses: string[]): Promise<void> {
  const key = { namespace: 'shop', name: 'web-1' };
  const fields = {
    metadata: { ...key, labels: { 'kubernetes.io/service-name': 'web' } },
    addressType: 'IPv4',
    endpoints: addresses.map((address) => ({
      addresses: [address],
      nodeName: address === remote ? 'node-2' : 'node-1',
    })),
    ports: ['tcp', 'udp'].map((name) => ({
      name,
      protocol: name.toUpperCase(),
      port: TARGET_PORT,
    })),
  };
  const known = await client.list(resources.endpointslices, { namespace: 'shop' });
  const written = known.items.some((slice) => slice.metadata.name === key.name)
    ? await client.patch<KubeObject>(resources.endpointslices, key, fields, { type: 'merge' })
    : await client.create(resources.endpointslices, object(fields));
  await reached(Number(written.metadata.resourceVersion));
}

async function reached(version: number): Promise<void> {
  for (let tries = 0; proxy.resourceVersion < version; tries += 1) {
    assert(tries < 200, `the proxy did not come to version ${version}`);
    await sleep(10);
  }
}

/** Flows are cleaned after the commit, some milliseconds later where nobody else is busy. */
async function eventually(read: () => Promise<string>, want: string): Promise<void> {
  const end = performance.now() + 10_000;
  for (let found = await read(); found !== want; found = await read()) {
    assert(performance.now() < end, `still ${found}, not ${want}`);
    await sleep(10);
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function serverFor(
  protocol: 'TCP' | 'UDP',
  more: { sourcePort?: number; timeoutMs?: number } = {},
) {
  const [reply] = await topology.outside.ask({ protocol, address: VIP, port: 80, ...more });
  return 'server' in reply! ? reply.server : reply!.error;
}

/** Our rules as nft sees them, without what the kernel numbers and counts. */
function ruleset(): string {
  const text = ['ip', 'ip6'].flatMap((family) =>
    ['endpoints', 'frontends', 'sticky', 'classes', 'rejected'].map((set) =>
      execFileSync(
        'nft',
        ['-j', 'list', set === 'rejected' ? 'set' : 'map', family, 'fairlead', set],
        {
          encoding: 'utf8',
        },
      ),
    ),
  );
  return text.join('').replaceAll(/"handle": \d+/g, '');
}

function generation(): string {
  return execFileSync('nft', ['-j', 'list', 'tables'], { encoding: 'utf8' });
}

test('a Service without endpoints is refused, then answered as soon as it has one', async () => {
  await putService();
  await putEndpoints();
  assert.equal(await serverFor('TCP'), 'ECONNREFUSED');
  await putEndpoints(local);
  assert.equal(await serverFor('TCP'), local);
  assert.equal(await serverFor('UDP'), local);
});

test('an endpoint that leaves gets no more connections', async () => {
  await putEndpoints(local, remote);
  await putEndpoints(remote);
  for (let round = 0; round < 10; round += 1) assert.equal(await serverFor('TCP'), remote);
});

test('[P17] a change that means nothing writes nothing', async () => {
  const before = syncs.length;
  await client.patch(
    resources.services,
    { namespace: 'shop', name: 'web' },
    { metadata: { annotations: { note: 'nothing' } } },
    { type: 'merge' },
  );
  await sleep(50);
  assert.equal(syncs.length, before);
});

test('[P129] [P132] rules stay while the proxy is away, and a restart writes nothing', async () => {
  await putEndpoints(local, remote);
  await proxy.stop();
  assert(new Set<string>([local, remote]).has(await serverFor('TCP')));
  const before = syncs.length;
  const rules = generation();
  proxy = await start();
  await sleep(50);
  assert.equal(syncs.length, before, JSON.stringify(syncs.at(-1)));
  assert.equal(generation(), rules);
});

test('[P129] what changed while the proxy was away is all that a restart writes', async () => {
  await proxy.stop();
  const key = { namespace: 'shop', name: 'web-1' };
  const endpoints = [{ addresses: [local2], nodeName: 'node-1' }];
  await client.patch(resources.endpointslices, key, { endpoints }, { type: 'merge' });
  proxy = await start();
  assert.equal(await serverFor('TCP'), local2);
  // Two ports: endpoints 1 changed and 1 gone each, frontends 1 each; one chain, class, hairpins.
  assert(syncs.at(-1)!.writes <= 12, JSON.stringify(syncs.at(-1)));
});

test('[P99] [P101] UDP flows to an endpoint that is gone move on; those of others stay', async () => {
  await putEndpoints(local);
  const sourcePort = 40_123;
  assert.equal(await serverFor('UDP', { sourcePort }), local);
  await putEndpoints(local, remote);
  for (let round = 0; round < 5; round += 1) {
    assert.equal(await serverFor('UDP', { sourcePort }), local, 'a flow is not moved');
  }
  await putEndpoints(remote);
  await eventually(() => serverFor('UDP', { sourcePort }), remote);
});

test('[P106] a UDP Service with no endpoint left refuses running flows, too', async () => {
  const sourcePort = 40_124;
  await putEndpoints(local);
  assert.equal(await serverFor('UDP', { sourcePort }), local);
  await putEndpoints();
  await eventually(() => serverFor('UDP', { sourcePort }), 'ECONNREFUSED');
  await putEndpoints(local2);
  await eventually(() => serverFor('UDP', { sourcePort }), local2);
});

test('[P110] a restart keeps UDP flows that are well', async () => {
  const sourcePort = 40_125;
  await putEndpoints(local);
  const first = await serverFor('UDP', { sourcePort });
  await putEndpoints(local, local2, remote);
  await proxy.stop();
  proxy = await start();
  for (let round = 0; round < 5; round += 1) {
    assert.equal(await serverFor('UDP', { sourcePort }), first);
  }
});

test('a foreign flush of everything is repaired within a second, other tables are untouched', async () => {
  await putEndpoints(local);
  execFileSync('nft', ['flush', 'ruleset']);
  execFileSync('nft', ['add', 'table', 'ip', 'other']);
  const flushedAt = performance.now();
  while (!['fairlead'].every((name) => generation().includes(name))) {
    assert(performance.now() - flushedAt < 1000, 'not repaired within a second');
    await sleep(20);
  }
  assert.equal(await serverFor('TCP'), local);
  assert(generation().includes('other'));
  execFileSync('nft', ['delete', 'table', 'ip', 'other']);
});

test('a foreign change of single elements and rules is repaired', async () => {
  const rules = ruleset();
  execFileSync('nft', ['flush', 'map', 'ip', 'fairlead', 'frontends']);
  execFileSync('nft', ['flush', 'chain', 'ip', 'fairlead', 'services']);
  const flushedAt = performance.now();
  while (ruleset() !== rules || (await serverFor('TCP')) !== local) {
    assert(performance.now() - flushedAt < 2000, 'not repaired');
    await sleep(20);
  }
});

test('nft lists a namespace with our rules in it without giving up', () => {
  const text = execFileSync('nft', ['list', 'ruleset'], { encoding: 'utf8', stdio: 'pipe' });
  assert(text.includes('table ip fairlead') && text.includes('table ip6 fairlead'));
});

async function clientsOf(count: number): Promise<string[]> {
  const servers: string[] = [];
  for (let round = 0; round < count; round += 1) servers.push(await serverFor('TCP'));
  return servers;
}

test('[P84] [P86] [P87] [P88] ClientIP affinity: kept, renewed, let go', async () => {
  await client.patch(
    resources.services,
    { namespace: 'shop', name: 'web' },
    {
      spec: {
        sessionAffinity: 'ClientIP',
        sessionAffinityConfig: { clientIP: { timeoutSeconds: 2 } },
      },
    },
    { type: 'merge' },
  );
  await putEndpoints(local, local2, remote);
  const [first = ''] = await clientsOf(1);
  assert.deepEqual(new Set(await clientsOf(12)), new Set([first]), '[P84] kept');
  await proxy.stop();
  proxy = await start();
  assert.deepEqual(new Set(await clientsOf(6)), new Set([first]), '[P87] kept over a restart');
  // New connections renew it: 3 s in all, never 2 s without one.
  for (let round = 0; round < 4; round += 1) {
    await sleep(750);
    assert.deepEqual(await clientsOf(1), [first], '[P86] renewed');
  }
  const others: string[] = [local, local2, remote].filter((address) => address !== first);
  await putEndpoints(...others);
  const [second = ''] = await clientsOf(1);
  assert(others.includes(second), '[P88] the endpoint is gone');
  assert.deepEqual(new Set(await clientsOf(8)), new Set([second]), '[P88] tied anew');
  await putEndpoints(local, local2, remote);
  assert.deepEqual(new Set(await clientsOf(8)), new Set([second]), '[P88] and stays');
  const seen = new Set<string>();
  for (let round = 0; round < 6 && seen.size < 2; round += 1) {
    await sleep(2300);
    for (const server of await clientsOf(1)) seen.add(server);
  }
  assert(seen.size > 1, '[P84] free after the timeout');
});

test('[P85] UDP and TCP ports of one Service are tied separately, each of them for itself', async () => {
  const tcp = new Set(await clientsOf(5));
  assert.equal(tcp.size, 1);
  const udp = new Set<string>();
  for (let round = 0; round < 5; round += 1) udp.add(await serverFor('UDP'));
  assert.equal(udp.size, 1);
});

test('a deleted Service is gone from every map', async () => {
  await client.delete(resources.services, { namespace: 'shop', name: 'web' });
  await sleep(50);
  assert.equal(await serverFor('TCP', { timeoutMs: DROP_MS }), 'ETIMEDOUT');
  assert(!ruleset().includes(remote));
});
