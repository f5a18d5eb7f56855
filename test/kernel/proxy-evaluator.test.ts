/**
 * The evaluator is held against the kernel, and the kernel's rules against the evaluator: random
 * objects, random packets. `ROUNDS=1000 SEED=7` runs longer, or a run again.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, before, test } from 'node:test';

import type { Endpoint, EndpointSlice, Service } from '../../src/api/types.ts';
import { evaluate, type Outcome, type Packet } from '../../src/plan/evaluate.ts';
import { planForwarding } from '../../src/plan/forwarding.ts';
import { sampleContext, sampleService, sampleSlice } from '../../src/plan/samples.ts';
import { planService } from '../../src/plan/service.ts';
import type { ForwardingPlan } from '../../src/plan/types.ts';
import { NftablesBackend } from '../../src/proxy/nftables/backend.ts';
import { ask, type Reply } from './proxy-peer.ts';
import { ADDRESSES, buildTopology, TARGET_PORT, type Topology } from './proxy-topology.ts';

const ROUNDS = Number(process.env.ROUNDS ?? 20);
const SEED = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
const PACKETS_PER_ROUND = 60;
const FAMILIES = ['ipv4', 'ipv6'] as const;
const NAMES = ['web', 'api', 'db'] as const;

let topology: Topology;
const log = { error: console.error, warn: console.warn, info() {}, debug() {} } as never;
const random = mulberry32(SEED);
const backend = new NftablesBackend({ log, random: () => Math.floor(random() * 2 ** 32) });

before(async () => {
  topology = await buildTopology();
  backend.open();
});
after(() => {
  backend.close();
  topology[Symbol.dispose]();
});

type World = { services: Service[]; slices: EndpointSlice[]; plan: ForwardingPlan };

test(`[P57] [P62] [P89] ${ROUNDS} random worlds, seed ${SEED}`, async (t) => {
  const tally = new Map<string, number>();
  for (let round = 0; round < ROUNDS; round += 1) {
    const world = makeWorld();
    program(world);
    const packets = Array.from({ length: PACKETS_PER_ROUND }, makePacket);
    await Promise.all(packets.map((packet) => check(world, packet, tally)));
    await checkAffinity(world, tally);
  }
  t.diagnostic(`seed ${SEED}: ${JSON.stringify(Object.fromEntries(tally))}`);
  for (const kind of ['dnat', 'reject', 'drop', 'pinned']) assert(tally.has(kind), `no ${kind}`);
});

// ---- worlds

function makeWorld(): World {
  const options = {
    podCidrs: chance(0.8) ? sampleContext().options.podCidrs : [],
    masqueradeAll: chance(0.2),
  };
  const context = sampleContext({ options });
  const services = NAMES.map(makeService);
  const slices = NAMES.flatMap(makeSlices);
  return { services, slices, plan: planForwarding({ services, slices, ...context }) };
}

function makeService(name: string, index: number): Service {
  const clusterIPs = [`10.96.0.${20 + index}`, `fd00:10:96::${20 + index}`];
  const ports = (['TCP', 'UDP'] as const)
    .filter(() => chance(0.9))
    .map((protocol) => ({
      name: protocol.toLowerCase(),
      protocol,
      port: 80,
      nodePort: chance(0.7) ? 30_007 + index : 0,
    }));
  const ranges = ['198.51.100.0/24', '10.244.0.0/16', '2001:db8:1::/48'].filter(() => chance(0.5));
  return sampleService(
    {
      type: 'LoadBalancer',
      clusterIP: clusterIPs[0]!,
      clusterIPs,
      ports,
      externalIPs: chance(0.5) ? ['192.0.2.2', '2001:db8::2'] : [],
      externalTrafficPolicy: chance(0.5) ? 'Local' : 'Cluster',
      internalTrafficPolicy: chance(0.3) ? 'Local' : 'Cluster',
      sessionAffinity: chance(0.3) ? 'ClientIP' : 'None',
      loadBalancerSourceRanges: chance(0.4) ? ranges : [],
    },
    {
      name,
      created: `2026-01-0${1 + Math.floor(random() * 3)}T00:00:00Z`,
      ingress: [{ ip: `192.0.2.${101 + index}` }, { ip: `2001:db8::10${index}` }],
    },
  );
}

function makeSlices(service: string): EndpointSlice[] {
  const places = (['local', 'local2', 'remote', 'node'] as const).filter(() => chance(0.4));
  const ports = ['tcp', 'udp'].map((name) => ({
    name,
    protocol: name.toUpperCase() as 'TCP' | 'UDP',
    port: TARGET_PORT,
  }));
  return FAMILIES.map((family) => {
    const endpoints = places.map((place): Endpoint => {
      const nodeName = place === 'remote' ? 'node-2' : 'node-1';
      const ready = chance(0.7);
      const conditions = {
        ready,
        serving: ready || chance(0.7),
        terminating: !ready && chance(0.7),
      };
      const zone = chance(0.5) ? 'zone-a' : 'zone-b';
      const hints = chance(0.5) ? { hints: { forZones: [{ name: zone }] } } : {};
      return { addresses: [ADDRESSES[family][place]], nodeName, conditions, ...hints };
    });
    const addressType = family === 'ipv4' ? 'IPv4' : 'IPv6';
    return sampleSlice(endpoints, { name: `${service}-${family}`, service, ports, addressType });
  });
}

function program({ services, slices, plan }: World): void {
  backend.setRanges(plan.options);
  // Endpoints come anew, so that nobody is tied to one from an earlier world.
  for (const name of NAMES) backend.setService(`shop/${name}`, undefined);
  backend.commit();
  for (const service of services) {
    const mine = slices.filter(
      (slice) => slice.metadata.labels?.['kubernetes.io/service-name'] === service.metadata.name,
    );
    backend.setService(`shop/${service.metadata.name}`, planService(service, mine, plan));
  }
  backend.commit();
  execFileSync('conntrack', ['-F'], { stdio: 'ignore' });
}

// ---- packets

const SOURCES = ['local', 'local2', 'remote', 'outside', 'node'] as const;
type Source = (typeof SOURCES)[number];
type Question = Packet & { readonly from: Source; readonly protocol: 'TCP' | 'UDP' };

function makePacket(): Question {
  const family = pick(FAMILIES);
  const from = pick(SOURCES);
  const index = Math.floor(random() * NAMES.length);
  const v4 = family === 'ipv4';
  const goals = [
    { destination: v4 ? `10.96.0.${20 + index}` : `fd00:10:96::${20 + index}`, port: 80 },
    { destination: v4 ? `192.0.2.${101 + index}` : `2001:db8::10${index}`, port: 80 },
    { destination: v4 ? '192.0.2.2' : '2001:db8::2', port: 80 },
    { destination: ADDRESSES[family].node, port: 30_007 + index },
    { destination: v4 ? `10.96.0.${20 + index}` : `fd00:10:96::${20 + index}`, port: 81 },
    { destination: v4 ? '10.96.0.99' : 'fd00:10:96::99', port: 80 },
  ];
  const weighted = chance(0.9) ? goals.slice(0, 4) : goals.slice(4);
  const protocol = chance(0.5) ? 'TCP' : 'UDP';
  return { from, source: ADDRESSES[family][from], protocol, ...pick(weighted) };
}

async function send({ from, protocol, destination, port }: Question, timeoutMs: number) {
  const question = { protocol, address: destination, port, timeoutMs } as const;
  if (from === 'node') return ask(question);
  return (await topology[from].ask(question))[0]!;
}

async function check(
  { plan }: World,
  packet: Question,
  tally: Map<string, number>,
): Promise<Reply | undefined> {
  const outcome = evaluate(plan, packet);
  if (isOutsideTheTest(plan, packet, outcome)) return undefined;
  const reply = await send(packet, outcome.verdict === 'drop' ? 300 : 5000);
  const found = 'error' in reply ? reply.error : `${reply.server} saw ${reply.client}`;
  const want = expectations(outcome, packet);
  const text = JSON.stringify({ packet, outcome, services: [...plan.ports.values()] });
  assert(want.includes(found), `${found}, not ${want.join(' or ')}, seed ${SEED}: ${text}`);
  tally.set(outcome.verdict, (tally.get(outcome.verdict) ?? 0) + 1);
  return reply;
}

function expectations(outcome: Outcome, packet: Question): string[] {
  if (outcome.verdict === 'reject') return ['ECONNREFUSED'];
  if (outcome.verdict !== 'dnat') return ['ETIMEDOUT'];
  const { node } = ADDRESSES[packet.source.includes(':') ? 'ipv6' : 'ipv4'];
  return outcome.endpoints.map(
    (end) => `${end.address} saw ${end.masquerade ? node : packet.source}`,
  );
}

/**
 * A pod of another node that is sent back to itself gets a packet from itself: no rule of this
 * node decides what becomes of it. What is not Service traffic, such as a node port nobody has, is
 * not ours; clients with affinity are asked one after the other.
 */
function isOutsideTheTest(plan: ForwardingPlan, packet: Question, outcome: Outcome): boolean {
  if (outcome.verdict === 'pass') return true;
  if (outcome.verdict !== 'dnat') return false;
  const sticky = (plan.ports.get(outcome.frontend.portId)?.affinitySeconds ?? 0) > 0;
  return (
    (sticky && packet.pinned === undefined) ||
    outcome.endpoints.some((end) => end.address === packet.source && !end.masquerade)
  );
}

/** The first answer decides; then every frontend of the port must lead there, where it may. */
async function checkAffinity(world: World, tally: Map<string, number>): Promise<void> {
  const pins = new Map<string, { address: string; port: number }>();
  const packets = Array.from({ length: PACKETS_PER_ROUND }, makePacket);
  for (const packet of packets) {
    const outcome = evaluate(world.plan, packet);
    if (outcome.verdict !== 'dnat') continue;
    const { portId } = outcome.frontend;
    if (world.plan.ports.get(portId)?.affinitySeconds === 0) continue;
    const key = `${portId} ${packet.source}`;
    const pinned = pins.get(key) ?? { address: 'nobody', port: 0 };
    const reply = await check(world, { ...packet, pinned }, tally);
    if (reply === undefined || 'error' in reply) continue;
    if (pins.has(key)) tally.set('pinned', (tally.get('pinned') ?? 0) + 1);
    pins.set(key, { address: reply.server, port: TARGET_PORT });
  }
}

// ---- chance

function chance(probability: number): boolean {
  return random() < probability;
}

function pick<T>(items: readonly T[]): T {
  return items[Math.floor(random() * items.length)]!;
}

/** A small generator with a seed. */
function mulberry32(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let value = Math.imul(state ^ (state >>> 15), state | 1);
    value ^= value + Math.imul(value ^ (value >>> 7), value | 61);
    return ((value ^ (value >>> 14)) >>> 0) / 2 ** 32;
  };
}
