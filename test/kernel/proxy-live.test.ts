/** What the proxy follows beside Services: addresses, ranges, its Node; and what it tells people. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { connect, createServer } from 'node:net';
import { after, before, test } from 'node:test';

import type { KubeObject } from '../../src/api/meta.ts';
import { resources } from '../../src/api/resources.ts';
import type { Event } from '../../src/api/types.ts';
import { startApiServer } from '../../src/apiserver/server.ts';
import type { Client } from '../../src/client/client.ts';
import type { FlowCleaning, Proxy, ProxyOptions, Sync } from '../../src/proxy/options.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { startProxy } from '../../src/proxy/service-proxy.ts';
import { createMemoryStore } from '../../src/store/store.ts';
import { ask, DROP_MS, type Ask } from './proxy-peer.ts';
import { ADDRESSES, buildTopology, ip, TARGET_PORT, type Topology } from './proxy-topology.ts';

const log = { error: console.error, warn() {}, info() {}, debug() {} } as never;
const NODE_PORT = 30_007;
const NEW_ADDRESS = { ipv4: '172.29.0.77', ipv6: 'fd00:172:29::77' };
const LOOPBACK = { ipv4: '127.0.0.1', ipv6: '::1' };
const FAMILIES = ['ipv4', 'ipv6'] as const;

let topology: Topology;
let client: Client;
let proxy: Proxy;
const syncs: Sync[] = [];
const cleanings: FlowCleaning[] = [];

before(async () => {
  topology = await buildTopology();
  const serviceCidrs = ['10.96.0.0/16', 'fd00:10:96::/112'];
  client = (await startApiServer({ store: createMemoryStore(), serviceCidrs })).client;
  await client.create(resources.namespaces, object({ metadata: { name: 'shop' } }));
  await client.create(resources.nodes, object({ metadata: { name: 'node-1' } }));
  proxy = await start();
  await putService('web', {
    clusterIP: '10.96.0.20',
    clusterIPs: ['10.96.0.20', 'fd00:10:96::20'],
  });
  await putEndpoints('web', ['local', 'local2', 'remote']);
});
after(async () => {
  await proxy.stop();
  topology[Symbol.dispose]();
});

type Loose = Record<string, unknown>;

function object(fields: Loose): KubeObject {
  return fields as unknown as KubeObject;
}

async function start(more: Pick<ProxyOptions, 'minSyncPeriodMs' | 'clock'> = {}): Promise<Proxy> {
  const started = await startProxy({
    client,
    nodeName: 'node-1',
    nodeIPs: [ADDRESSES.ipv4.node, ADDRESSES.ipv6.node],
    nodePortAddresses: ['0.0.0.0/0', '::/0', '127.0.0.0/8', '::1/128'],
    detectLocal: { mode: 'ClusterCIDR', cidrs: ['10.244.0.0/16', 'fd00:10:244::/56'] },
    serviceCidrs: [],
    log,
    ...more,
    onSync: (sync) => syncs.push(sync),
    observer: {
      serviceChanged() {},
      sliceChanged() {},
      planned() {},
      synced() {},
      cleaned: (cleaning) => void cleanings.push(cleaning),
    },
  });
  await started.ready;
  return started;
}

async function putService(name: string, spec: Loose): Promise<void> {
  const ports = ['TCP', 'UDP'].map((protocol) => ({
    name: protocol.toLowerCase(),
    protocol,
    port: 80,
    targetPort: TARGET_PORT,
    ...(name === 'web' ? { nodePort: NODE_PORT } : {}),
  }));
  const type = name === 'web' ? 'NodePort' : 'ClusterIP';
  const ipFamilies = ['IPv4', 'IPv6'];
  const all = { type, ipFamilies, ipFamilyPolicy: 'RequireDualStack', ports, ...spec };
  const written = await client.create(
    resources.services,
    object({ metadata: { namespace: 'shop', name }, spec: all }),
  );
  await reached(written);
}

type Where = 'local' | 'local2' | 'remote';

async function putEndpoints(service: string, places: readonly Where[]): Promise<void> {
  for (const family of FAMILIES) {
    const key = { namespace: 'shop', name: `${service}-${family}` };
    const fields = {
      metadata: { ...key, labels: { 'kubernetes.io/service-name': service } },
      addressType: family === 'ipv4' ? 'IPv4' : 'IPv6',
      endpoints: places.map((place) => ({
        addresses: [ADDRESSES[family][place]],
        nodeName: place === 'remote' ? 'node-2' : 'node-1',
      })),
      ports: ['tcp', 'udp'].map((name) => ({
        name,
        protocol: name.toUpperCase(),
        port: TARGET_PORT,
      })),
    };
    const { items } = await client.list(resources.endpointslices, { namespace: 'shop' });
    const written = items.some((slice) => slice.metadata.name === key.name)
      ? await client.patch<KubeObject>(resources.endpointslices, key, fields, { type: 'merge' })
      : await client.create(resources.endpointslices, object(fields));
    await reached(written);
  }
}

async function patchService(name: string, fields: Loose): Promise<KubeObject> {
  const key = { namespace: 'shop', name };
  return client.patch<KubeObject>(resources.services, key, fields, { type: 'merge' });
}

async function reached({ metadata }: KubeObject): Promise<void> {
  const version = Number(metadata.resourceVersion);
  await eventually(async () => proxy.resourceVersion >= version, true);
}

async function eventually<T>(read: () => Promise<T>, want: T | RegExp): Promise<void> {
  const end = performance.now() + 10_000;
  for (;;) {
    const found = await read();
    if (want instanceof RegExp ? want.test(String(found)) : found === want) return;
    assert(performance.now() < end, `still ${String(found)}, not ${String(want)}`);
    await sleep(10);
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function outside(one: Ask): Promise<string> {
  const [reply] = await topology.outside.ask(one);
  return 'server' in reply! ? reply.server : reply!.error;
}

async function onNode(one: Ask): Promise<string> {
  const reply = await ask(one);
  return 'server' in reply ? reply.server : reply.error;
}

async function events(reason: string): Promise<string[]> {
  const { items } = await client.list<KubeObject>(resources.events, { namespace: 'shop' });
  return (items as unknown as Event[])
    .filter((event) => event.reason === reason)
    .map((event) => `${event.involvedObject.name}: ${event.message}`);
}

for (const family of FAMILIES) {
  const { local, local2, remote } = ADDRESSES[family];
  const all: string[] = [local, local2, remote];

  test(`[P34, X4] a new address answers on node ports at once, ${family}`, async () => {
    const bits = family === 'ipv4' ? 32 : 128;
    const address = `${NEW_ADDRESS[family]}/${bits}`;
    const one = { protocol: 'TCP' as const, address: NEW_ADDRESS[family], port: NODE_PORT };
    ip(`addr add ${address} dev outside${family === 'ipv6' ? ' nodad' : ''}`);
    const addedAt = performance.now();
    await eventually(async () => all.includes(await outside(one)), true);
    assert(performance.now() - addedAt < 5000, 'long before the next full sync, after an hour');
    ip(`addr del ${address} dev outside`);
    const mine = () => execFileSync('nft', ['-j', 'list', 'sets'], { encoding: 'utf8' });
    await eventually(async () => mine().includes(NEW_ADDRESS[family]), false);
  });

  test(`[P36] loopback asked for by name: TCP is forwarded, UDP refused, ${family}`, async () => {
    const address = LOOPBACK[family];
    const servers = new Set<string>();
    for (let round = 0; round < 40 && servers.size < 3; round += 1) {
      servers.add(await onNode({ protocol: 'TCP', address, port: NODE_PORT }));
    }
    assert.deepEqual([...servers].sort(), [...all].sort());
    const before = proxy.localhostRejected;
    const udp = { protocol: 'UDP' as const, address, port: NODE_PORT };
    assert.equal(await onNode(udp), 'ECONNREFUSED');
    assert.equal(proxy.localhostRejected - before, 1);
  });
}

test('[P36] the forwarder passes a half-closed connection on', async (t) => {
  // Answers only once it has heard everything.
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    let heard = '';
    socket.on('data', (data) => (heard += data.toString()));
    socket.on('end', () => socket.end(`heard ${heard}`));
  });
  const { node } = ADDRESSES.ipv4;
  await new Promise<void>((resolve) => server.listen(9090, node, resolve));
  t.after(() => server.close());
  const port = { name: 'tcp', protocol: 'TCP', port: 80, nodePort: 30_008 };
  await putService('half', {
    type: 'NodePort',
    ipFamilies: ['IPv4'],
    ipFamilyPolicy: 'SingleStack',
    ports: [port],
  });
  const metadata = {
    namespace: 'shop',
    name: 'half-1',
    labels: { 'kubernetes.io/service-name': 'half' },
  };
  const slice = await client.create(
    resources.endpointslices,
    object({
      metadata,
      addressType: 'IPv4',
      endpoints: [{ addresses: [node], nodeName: 'node-1' }],
      ports: [{ name: 'tcp', protocol: 'TCP', port: 9090 }],
    }),
  );
  await reached(slice);
  const socket = connect({ host: '127.0.0.1', port: 30_008, allowHalfOpen: true });
  let answer = '';
  socket.on('data', (data) => (answer += data.toString()));
  socket.end('everything');
  await new Promise((resolve) => socket.once('end', resolve));
  assert.equal(answer, 'heard everything');
});

test('[P36] affinity holds on loopback; without endpoints nothing listens', async () => {
  const one = { protocol: 'TCP' as const, address: '127.0.0.1', port: NODE_PORT };
  await reached(await patchService('web', { spec: { sessionAffinity: 'ClientIP' } }));
  const first = await onNode(one);
  for (let round = 0; round < 8; round += 1) assert.equal(await onNode(one), first);
  await putEndpoints('web', []);
  assert.equal(await onNode(one), 'ECONNREFUSED');
  await putEndpoints('web', ['local', 'local2', 'remote']);
  assert.notEqual(await onNode(one), 'ECONNREFUSED');
  await reached(await patchService('web', { spec: { sessionAffinity: 'None' } }));
});

test('[P44, X5] an address two claim: the older has it, the other an event; then it is handed over', async () => {
  const externalIPs = ['192.0.2.9'];
  await putService('older', { externalIPs });
  await putEndpoints('older', ['local']);
  // Ages are told in seconds.
  await sleep(1100);
  await putService('younger', { externalIPs });
  await putEndpoints('younger', ['remote']);
  const one = { protocol: 'TCP' as const, address: '192.0.2.9', port: 80 };
  assert.equal(await outside(one), ADDRESSES.ipv4.local);
  await eventually(
    async () => (await events('AddressClash')).join(),
    /younger: 192\.0\.2\.9 TCP 80 is served for Service "shop\/older"/,
  );
  assert(!(await events('AddressClash')).join().includes('older:'));
  assert.deepEqual(
    proxy.clashes.map(({ winner, loser }) => `${winner} ${loser}`),
    ['shop/older shop/younger', 'shop/older shop/younger'],
  );
  await proxy.stop();
  proxy = await start();
  assert.equal(await outside(one), ADDRESSES.ipv4.local, 'as before the restart');
  await client.delete(resources.services, { namespace: 'shop', name: 'older' });
  await eventually(() => outside(one), ADDRESSES.ipv4.remote);
  assert.deepEqual(proxy.clashes, []);
});

test('[X9] ranges of one family leave the other open, and an event says so', async () => {
  await putService('ranged', {
    type: 'LoadBalancer',
    loadBalancerSourceRanges: ['203.0.113.0/24'],
  });
  const key = { namespace: 'shop', name: 'ranged' };
  const ingress = [{ ip: '192.0.2.30' }, { ip: '2001:db8::30' }];
  const status = { loadBalancer: { ingress } };
  const options = { type: 'merge', subresource: 'status' } as const;
  await client.patch(resources.services, key, { status }, options);
  await eventually(
    async () => (await events('SourceRangesOfOneFamily')).join(),
    /^ranged: .*no ipv6 range: 2001:db8::30 is open to every source$/,
  );
});

test('[P83] another zone plans everything anew; other labels of the Node cause no work', async () => {
  const key = { namespace: '', name: 'node-1' };
  const label = (labels: Record<string, string>) =>
    client.patch(resources.nodes, key, { metadata: { labels } }, { type: 'merge' });
  const slice = { namespace: 'shop', name: 'web-ipv4' };
  const endpoints = (['local', 'remote'] as const).map((place, index) => ({
    addresses: [ADDRESSES.ipv4[place]],
    nodeName: `node-${index + 1}`,
    hints: { forZones: [{ name: index === 0 ? 'east' : 'west' }] },
  }));
  await reached(
    await client.patch<KubeObject>(
      resources.endpointslices,
      slice,
      { endpoints },
      { type: 'merge' },
    ),
  );
  const one = { protocol: 'TCP' as const, address: '10.96.0.20', port: 80 };
  const seen = async () => {
    const servers = await Promise.all(Array.from({ length: 16 }, () => outside(one)));
    return [...new Set(servers)].sort().join();
  };
  const { local, remote } = ADDRESSES.ipv4;
  assert.equal(await seen(), [local, remote].sort().join());
  await label({ 'topology.kubernetes.io/zone': 'west' });
  await eventually(seen, remote);
  await label({ 'topology.kubernetes.io/zone': 'east' });
  await eventually(seen, local);
  const before = syncs.length;
  await label({ rack: '7' });
  await sleep(100);
  assert.equal(syncs.length, before);
});

test('[P18] what has no effect, and what is undone before a sync, writes nothing', async () => {
  await proxy.stop();
  proxy = await start({ minSyncPeriodMs: 500 });
  await putEndpoints('younger', ['local']);
  const before = syncs.length;
  await patchService('web', { spec: { publishNotReadyAddresses: true } });
  const metadata = { namespace: 'shop', name: 'brief' };
  const spec = { clusterIP: '10.96.0.200', ports: [{ name: 'tcp', port: 80 }] };
  await client.create(resources.services, object({ metadata, spec }));
  await client.delete(resources.services, metadata);
  await sleep(800);
  assert.deepEqual(syncs.slice(before), []);
  await proxy.stop();
  proxy = await start();
});

test('[P128] a change of one Service plans that one alone', async () => {
  const before = syncs.length;
  await putEndpoints('younger', ['local2']);
  const planned = syncs.slice(before).map((sync) => sync.services);
  assert.deepEqual(planned, [1, 1], 'a slice per family');
});

test('[P104] a client that came before its Service is not led into nothing for ever', async () => {
  const one = { protocol: 'UDP' as const, address: '10.96.0.50', port: 80, sourcePort: 41_100 };
  const impatient = { ...one, timeoutMs: DROP_MS };
  assert.equal(await outside(impatient), 'ETIMEDOUT');
  await putService('late', {
    clusterIP: '10.96.0.50',
    ipFamilies: ['IPv4'],
    ipFamilyPolicy: 'SingleStack',
  });
  await putEndpoints('late', ['local']);
  await eventually(() => outside(impatient), ADDRESSES.ipv4.local);
});

test('[P102, X2] flows to the number of a node port elsewhere are not ours to forget', async () => {
  const { local2: elsewhere, node } = ADDRESSES.ipv4;
  await topology.local2.tell({ kind: 'listen', address: elsewhere, port: NODE_PORT });
  const foreign = {
    protocol: 'UDP' as const,
    address: elsewhere,
    port: NODE_PORT,
    sourcePort: 41_200,
  };
  assert.equal(await outside(foreign), elsewhere);
  await putEndpoints('web', ['local']);
  const mine = { ...foreign, address: node, sourcePort: 41_201 };
  assert.equal(await outside(mine), ADDRESSES.ipv4.local);
  await putEndpoints('web', ['remote']);
  await eventually(() => outside(mine), ADDRESSES.ipv4.remote);
  const flows = execFileSync('conntrack', ['-L', '-p', 'udp'], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  assert.match(flows, new RegExp(`dst=${elsewhere} sport=41200 dport=${NODE_PORT}`));
});

test('[P12] endpoints move from slice to slice, and nobody is refused meanwhile', async () => {
  await proxy.stop();
  // All pauses are longer, so that a busy machine does not outlast them.
  const after = (delayMs: number, callback: () => void) =>
    systemClock.after(delayMs * 20, callback);
  proxy = await start({ clock: { ...systemClock, after } });
  const slice = (name: string) => ({ namespace: 'shop', name });
  const endpoints = [{ addresses: [ADDRESSES.ipv4.local], nodeName: 'node-1' }];
  const labels = { 'kubernetes.io/service-name': 'late' };
  const ports = [{ name: 'tcp', protocol: 'TCP', port: TARGET_PORT }];
  const other = { metadata: { ...slice('late-b'), labels }, addressType: 'IPv4', ports };
  await client.create(resources.endpointslices, object({ ...other, endpoints: [] }));
  const patch = (name: string, ends: Loose[]) =>
    client.patch(resources.endpointslices, slice(name), { endpoints: ends }, { type: 'merge' });
  const one = { protocol: 'TCP' as const, address: '10.96.0.50', port: 80, timeoutMs: 5000 };
  const asking = new AbortController();
  const asked = (async () => {
    const servers = new Map<string, number>();
    while (!asking.signal.aborted) {
      const server = await outside(one);
      servers.set(server, (servers.get(server) ?? 0) + 1);
    }
    return servers;
  })();
  for (let round = 0; round < 20; round += 1) {
    const names = ['late-ipv4', 'late-b'] as const;
    // The worst order there is.
    await patch(names[round % 2 === 0 ? 0 : 1], []);
    await sleep(3);
    await patch(names[round % 2 === 0 ? 1 : 0], endpoints);
    await sleep(10);
  }
  asking.abort();
  const servers = await asked;
  assert.deepEqual([...servers.keys()], [ADDRESSES.ipv4.local]);
  assert(servers.get(ADDRESSES.ipv4.local)! > 50, 'too few to tell');
  await proxy.stop();
  proxy = await start();
});

test('[P109, X1] flows of a deleted UDP Service are forgotten, and counted', async () => {
  const one = { protocol: 'UDP' as const, address: '192.0.2.9', port: 80, sourcePort: 41_000 };
  assert.equal(await outside(one), ADDRESSES.ipv4.local2);
  cleanings.length = 0;
  await client.delete(resources.services, { namespace: 'shop', name: 'younger' });
  await eventually(async () => cleanings.some(({ deleted }) => deleted > 0), true);
  const { family, deleted, durationMs } = cleanings.find((one) => one.deleted > 0)!;
  assert.deepEqual([family, deleted], ['ipv4', 1]);
  assert(durationMs > 0);
  const flows = execFileSync('conntrack', ['-L', '-p', 'udp'], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  assert(!flows.includes('192.0.2.9'), flows);
});
