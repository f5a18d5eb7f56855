/** A random cluster behind one API server, and the DNS servers that follow it. */
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';

import { resources } from '../../../src/api/resources.ts';
import { startTestServer, type TestServer } from '../../../src/apiserver/test-server.ts';
import { configurationOf } from '../../../src/dns/config/from-options.ts';
import { serve } from '../../../src/dns/server.ts';
import { parseServer } from '../../../src/dns/upstream/servers.ts';
import type { PodRecords } from '../../../src/dns/zone/zones.ts';
import type { Random } from '../../support/random.ts';
import {
  object,
  rcodes,
  startUpstream,
  type Asked,
  type Reply,
  type Upstream,
} from '../dns-harness.ts';
import { nextPort, startCoredns } from './peer.ts';
import { bytesOf, types, type Question } from './questions.ts';
import { seenBy, type Seen } from './reply.ts';
import { randomWorld, type World, type WorldObject } from './world.ts';

/** How the servers are configured: the cluster's zones alone, or with a server for all other names. */
export type Setup = { readonly pods: PodRecords; readonly outside: boolean };

export type Side = { readonly name: string; readonly at: Asked };

export type TestCluster = {
  readonly setup: Setup;
  readonly world: World;
  readonly ours: { readonly strict: Side; readonly usual: Side };
  readonly theirs: Side | undefined;
  /** Changes about a third of the objects and waits until every server has seen it. */
  change(random: Random): Promise<void>;
  stop(): Promise<void>;
};

/** Not on loopback: NS records only give addresses that others can reach (D34). */
export const ownAddress = '10.244.0.1';

/** Without `binary` there is no other side. */
export async function startTestCluster(
  random: Random,
  setup: Setup,
  binary: string | undefined,
): Promise<TestCluster> {
  const closers: (() => Promise<void> | void)[] = [];
  const stop = async () => {
    for (const close of closers.splice(0).toReversed()) await close();
  };
  try {
    return await startSides(random, { setup, binary, closers, stop });
  } catch (error) {
    await stop();
    throw error;
  }
}

async function startSides(
  random: Random,
  options: {
    readonly setup: Setup;
    readonly binary: string | undefined;
    readonly closers: (() => Promise<void> | void)[];
    readonly stop: () => Promise<void>;
  },
): Promise<TestCluster> {
  const { setup, binary, closers, stop } = options;
  const api = await startTestServer({ serviceCidrs: ['10.96.0.0/16', 'fd00:10:96::/112'] });
  closers.push(() => api.stop());
  let world = randomWorld(random);
  for (const item of world.objects) await create(api, item);
  const upstream = setup.outside ? await startUpstream(outside) : undefined;
  closers.push(() => upstream?.close());
  const start = async (strictCoredns: boolean): Promise<Side> => {
    const started = await startOurs(api, { setup, upstream, strictCoredns });
    closers.push(() => started.stop());
    return started.side;
  };
  const ours = { strict: await start(true), usual: await start(false) };
  const { pods } = setup;
  const peerOptions = { api, pods, host: ownAddress, upstream: upstream?.address };
  const peer = binary === undefined ? undefined : await startCoredns(binary, peerOptions);
  closers.push(() => peer?.stop());
  const theirs = peer === undefined ? undefined : { name: 'CoreDNS', at: peer.at };
  const sides = [ours.strict, ours.usual, ...(theirs === undefined ? [] : [theirs])];
  return {
    setup,
    get world() {
      return world;
    },
    ours,
    theirs,
    async change(random) {
      world = await changed(api, world, random);
      await Promise.all((await mark(api, setup)).map((question) => seenByAll(sides, question)));
    },
    stop,
  };
}

async function startOurs(
  api: TestServer,
  {
    setup,
    upstream,
    strictCoredns,
  }: { setup: Setup; upstream: Upstream | undefined; strictCoredns: boolean },
): Promise<{ side: Side; stop(): Promise<void> }> {
  const upstreams = upstream === undefined ? [] : [parseServer(upstream.address)];
  const configuration = configurationOf({
    domain: 'cluster.local',
    listen: [{ host: '0.0.0.0', port: nextPort() }],
    podRecords: setup.pods,
    strictCoredns,
    upstreams,
    loopProbe: false,
  });
  // Kept answers depend on what was asked before: dns-forward.test.ts looks at those.
  const blocks = configuration.blocks.map((block) => {
    const { cache, ...plugins } = block.plugins;
    assert.equal(cache === undefined, upstreams.length === 0);
    return { ...block, plugins };
  });
  const server = await serve({ blocks }, { clientFor: () => api.server.client });
  await server.synced;
  const name = strictCoredns ? 'ours, strict' : 'ours';
  const at = { port: server.addresses[0]!.port, host: ownAddress };
  return { side: { name, at }, stop: () => server.stop() };
}

async function create(api: TestServer, { resource, object }: WorldObject): Promise<void> {
  const { client } = api.server;
  const created = await client.create(resource, object);
  if (resource !== resources.pods) return;
  const { status } = object as { status?: unknown };
  const next = { ...created, status } as typeof created;
  await client.update(resource, next, { subresource: 'status' });
}

/** Takes objects away and brings new ones; namespaces stay. */
async function changed(api: TestServer, world: World, random: Random): Promise<World> {
  const isKept = (item: WorldObject) => item.resource === resources.namespaces || !random.once(3);
  const kept = world.objects.filter(isKept);
  for (const item of world.objects) {
    if (kept.includes(item)) continue;
    const { name, namespace = '' } = item.object.metadata;
    await api.server.client.delete(item.resource, { namespace, name }, { gracePeriodSeconds: 0 });
  }
  const next = randomWorld(random);
  const keyOf = ({ resource, object }: WorldObject) =>
    `${resource.resource} ${object.metadata.namespace} ${object.metadata.name}`;
  const taken = new Set(kept.map(keyOf));
  const ipsOf = ({ object }: WorldObject) =>
    (object as { spec?: { clusterIPs?: string[] } }).spec?.clusterIPs ?? [];
  const ips = new Set(kept.flatMap(ipsOf));
  const exists = new Set(['default', ...kept.map(({ object }) => object.metadata.name)]);
  const fresh = next.objects.filter(
    (item) =>
      !taken.has(keyOf(item)) &&
      ipsOf(item).every((ip) => ip === 'None' || !ips.has(ip)) &&
      (item.resource === resources.namespaces || exists.has(item.object.metadata.namespace ?? '')),
  );
  for (const item of fresh) await create(api, item);
  const addresses = [...new Set([...world.addresses, ...next.addresses])];
  return { objects: [...kept, ...fresh], labels: world.labels, addresses };
}

/** One new object of each kind, and the questions that every server answers once it knows them. */
async function mark(api: TestServer, { pods }: Setup): Promise<Question[]> {
  const ip = '10.244.250.250';
  const key = { namespace: 'default', name: 'marker' };
  const objects = [
    { resource: resources.namespaces, object: { metadata: { name: 'marker' } } },
    { resource: resources.services, object: { metadata: key, spec: { clusterIP: 'None' } } },
    {
      resource: resources.endpointslices,
      object: {
        metadata: { ...key, labels: { 'kubernetes.io/service-name': key.name } },
        addressType: 'IPv4',
        endpoints: [{ addresses: [ip] }],
      },
    },
    {
      resource: resources.pods,
      object: {
        metadata: key,
        spec: { containers: [{ name: 'main', image: 'host' }] },
        status: { phase: 'Running', podIP: ip, podIPs: [{ ip }] },
      },
    },
  ];
  for (const item of objects) await create(api, { ...item, object: object(item.object) });
  const names = ['marker.svc', 'marker.default.svc'];
  if (pods === 'verified') names.push('10-244-250-250.default.pod');
  return names.map((name) => ({
    transport: 'udp',
    opcode: 0,
    flags: 0,
    labels: [...name.split('.'), 'cluster', 'local'],
    type: types.A!,
    class: 1,
    edns: undefined,
    damage: undefined,
  }));
}

async function seenByAll(sides: readonly Side[], question: Question): Promise<void> {
  const deadline = Date.now() + 20_000;
  for (const side of sides) {
    while (!/rcode=0/.test((await seenBy(side.at, bytesOf(question, 1))).header)) {
      if (Date.now() > deadline) throw new Error(`${side.name} does not see the change`);
      await sleep(10);
    }
  }
}

const soaOf = (zone: string) => ({
  name: zone,
  type: 'SOA',
  ttl: 60,
  data: {
    mname: 'ns.example.com',
    rname: 'a.example.com',
    serial: 1,
    refresh: 1,
    retry: 1,
    expire: 1,
    minimum: 7,
  },
});

/** The world outside: RA is set, RD and CD are the asker's. */
function outside(query: Reply) {
  const { name, type } = query.questions[0]!;
  const flags = 0x0080 | (query.flag_rd ? 0x0100 : 0) | (query.flag_cd ? 0x0010 : 0);
  const a = (data: string) => ({ name, type: 'A', ttl: 300, data });
  const labels = name.toLowerCase().split('.');
  const at = labels.slice(-3).join('.');
  if (labels.length !== 3 || !at.endsWith('.example.com')) {
    // The root says it, whose name is above all.
    return { flags: flags | rcodes.NXDOMAIN, authorities: [soaOf('.')] };
  }
  if (at.startsWith('broken')) return { flags: flags | rcodes.SERVFAIL };
  if (type !== 'A' || !/^(www|many)/.test(at)) {
    return {
      flags: flags | (at.startsWith('gone') ? rcodes.NXDOMAIN : 0),
      authorities: [soaOf('example.com')],
    };
  }
  const count = at.startsWith('many') ? 20 : 2;
  return { flags, answers: Array.from({ length: count }, (_, index) => a(`192.0.2.${index + 1}`)) };
}

/** What a side says to the question. */
export function askSide(side: Side, question: Question, timeoutMs = 400): Promise<Seen> {
  const tcp = question.transport === 'tcp';
  return seenBy(side.at, bytesOf(question, randomInt(0x10000)), { tcp, timeoutMs });
}
