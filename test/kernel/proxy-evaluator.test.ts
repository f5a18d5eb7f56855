/**
 * The evaluator is held against the kernel, and the kernel's rules against the evaluator: random
 * objects, random packets. What became of a packet is read from conntrack, by conntrack(8), and
 * from the ICMP errors that came back.
 *
 * `ROUNDS=1000 SEED=7` runs longer, or a run again; `MINUTES=120` goes on for that long.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, before, test } from 'node:test';

import { evaluate, type Outcome, type Packet } from '../../src/plan/evaluate.ts';
import { planForwarding } from '../../src/plan/forwarding.ts';
import { planService } from '../../src/plan/service.ts';
import type { ForwardingPlan } from '../../src/plan/types.ts';
import { NftablesBackend } from '../../src/proxy/nftables/backend.ts';
import {
  chancesOf,
  randomPacket,
  randomWorld,
  SECOND_NODE_ADDRESS,
  SERVICE_NAMES,
  type Question,
  type World,
} from './proxy-worlds.ts';
import { RawSockets, type Refusal } from './raw-packets.ts';
import { ADDRESSES, buildTopology, ip, type PeerName, type Topology } from './proxy-topology.ts';

const ROUNDS = Number(process.env.ROUNDS ?? 24);
const MINUTES = Number(process.env.MINUTES ?? 0);
const SEED = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
const PACKETS_PER_ROUND = 500;
/** Packets are told apart by their source port. */
const FIRST_PORT = 10_000;
/** The kernel is done with a packet when it is sent; ICMP errors come a little later. */
const PATIENCE_MS = 5000;
const PEERS = ['local', 'local2', 'remote', 'outside'] as const;

/** Where a packet went, and as whose. */
type Flow = { readonly server: string; readonly serverPort: number; readonly client: string };
type Sent = Question & { readonly sourcePort: number };

let topology: Topology;
let sockets: RawSockets;
let backend: NftablesBackend;
const log = { error: console.error, warn: console.warn, info() {}, debug() {} } as never;
const chances = chancesOf(SEED);
const random = () => Math.floor(chances.number() * 2 ** 32);
const tally = new Map<string, number>();

before(async () => {
  topology = await buildTopology();
  ip('link add spare type veth peer name spare2');
  ip('link set spare up');
  ip(`addr add ${SECOND_NODE_ADDRESS.ipv4}/32 dev spare`);
  ip(`addr add ${SECOND_NODE_ADDRESS.ipv6}/128 dev spare nodad`);
  sockets = new RawSockets();
  backend = new NftablesBackend({ log, random });
  backend.open();
});
after(() => {
  backend.close();
  sockets[Symbol.dispose]();
  topology[Symbol.dispose]();
});

test(`[P57, P62, P89] random worlds and packets, seed ${SEED}`, async (t) => {
  const end = performance.now() + MINUTES * 60_000;
  let rounds = 0;
  for (; rounds < ROUNDS || performance.now() < end; rounds += 1) {
    const world = randomWorld(chances);
    program(world);
    const plan = planForwarding({ ...world.context, ...world });
    const packets = Array.from({ length: PACKETS_PER_ROUND }, (_, index) => ({
      ...randomPacket(chances),
      sourcePort: FIRST_PORT + index,
    }));
    const observed = await sendAll(packets, plan);
    checkAll(plan, packets, observed);
  }
  const counts = JSON.stringify(Object.fromEntries(tally));
  t.diagnostic(`seed ${SEED}, ${rounds} worlds, ${rounds * PACKETS_PER_ROUND} packets: ${counts}`);
  for (const kind of ['dnat', 'masqueraded', 'reject', 'drop', 'pass', 'pinned', 'hashed']) {
    assert((tally.get(kind) ?? 0) > 10, `hardly any ${kind}: ${counts}`);
  }
});

/** Endpoints come anew, so that nobody is tied to one from an earlier world. */
function program({ services, slices, context, settings }: World): void {
  for (const name of SERVICE_NAMES) backend.setService(`shop/${name}`, undefined);
  backend.commit();
  backend.close();
  backend = new NftablesBackend({ log, random, settings });
  backend.open();
  backend.setRanges(context.options);
  for (const service of services) {
    const { name } = service.metadata;
    const mine = slices.filter(
      (slice) => slice.metadata.labels?.['kubernetes.io/service-name'] === name,
    );
    backend.setService(`shop/${name}`, planService(service, mine, context));
  }
  backend.sweep();
  backend.commit();
  execFileSync('conntrack', ['-F'], { stdio: 'ignore' });
}

// ---- what the kernel did

type Observed = { readonly flows: Map<string, Flow>; readonly refusals: Map<string, Refusal> };

/** Sends in order, client by client, and reads until everything wanted has been seen. */
async function sendAll(packets: readonly Sent[], plan: ForwardingPlan): Promise<Observed> {
  await takeRefusals();
  for (const packet of packets) if (packet.from === 'node') sockets.send(packet);
  await Promise.all(
    PEERS.map((peer) => {
      const mine = packets.filter((packet) => packet.from === peer);
      return topology[peer].tell({ kind: 'send', packets: mine });
    }),
  );
  const end = performance.now() + PATIENCE_MS;
  const refusals = new Map<string, Refusal>();
  const wanted = packets.filter((one) => evaluate(plan, packetOf(one)).verdict === 'reject');
  for (;;) {
    for (const refusal of await takeRefusals()) refusals.set(keyOf(refusal), refusal);
    if (wanted.every((one) => refusals.has(keyOf(one))) || performance.now() > end) break;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return { flows: readFlows(), refusals };
}

async function takeRefusals(): Promise<Refusal[]> {
  const ofPeers = await Promise.all(PEERS.map((peer) => topology[peer].tell({ kind: 'refusals' })));
  const all = [...(ofPeers as Refusal[][]).flat(), ...sockets.refusals()];
  return all.filter(({ type, code }) => (type === 3 && code === 3) || (type === 1 && code === 4));
}

function keyOf({ source, sourcePort }: { source: string; sourcePort: number }): string {
  return `${source} ${sourcePort}`;
}

/** By source of the first packet: whom the answer comes from, and whom it goes to. */
function readFlows(): Map<string, Flow> {
  const flows = new Map<string, Flow>();
  for (const family of ['ipv4', 'ipv6']) {
    const text = execFileSync('conntrack', ['-L', '-f', family], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
      maxBuffer: 64 * 1024 * 1024,
    });
    for (const line of text.split('\n')) {
      const words = [...line.matchAll(/(src|dst|sport|dport)=(\S+)/g)].map((match) => match[2]!);
      if (words.length < 8) continue;
      const [source = '', , sourcePort, , server = '', client = '', serverPort] = words;
      const flow = { server, serverPort: Number(serverPort), client };
      flows.set(keyOf({ source, sourcePort: Number(sourcePort) }), flow);
    }
  }
  return flows;
}

// ---- what it should have done

function packetOf(sent: Sent, pinned?: string): Packet {
  const { from, source, destination, protocol, port } = sent;
  return {
    source,
    destination,
    protocol,
    port,
    ...(from === 'node' ? {} : { inputInterface: from satisfies PeerName }),
    ...(pinned === undefined ? {} : { pinned: { address: pinned, port: 8080 } }),
  };
}

/** In the order of sending, since the first answer ties a client. */
function checkAll(plan: ForwardingPlan, packets: readonly Sent[], observed: Observed): void {
  const pins = new Map<string, string>();
  for (const sent of packets) {
    const flow = observed.flows.get(keyOf(sent));
    const frontend = plan.frontends.get(`${sent.destination} ${sent.protocol} ${sent.port}`);
    const port = frontend && plan.ports.get(frontend.portId);
    const pinKey = `${frontend?.portId} ${sent.source}`;
    const pinned = port?.affinitySeconds ? pins.get(pinKey) : undefined;
    const outcome = evaluate(plan, packetOf(sent, pinned));
    const found = describe(sent, flow, observed.refusals.get(keyOf(sent)), outcome);
    const wanted = expectations(outcome, sent);
    if (!wanted.includes(found)) {
      const text = JSON.stringify({ sent, pinned, outcome, port, options: plan.options });
      assert.fail(`${found}, not ${wanted.join(' or ')}; seed ${SEED}: ${text}`);
    }
    count(outcome.verdict);
    if (flow === undefined || outcome.verdict === 'pass') continue;
    if (flow.client !== sent.source) count('masqueraded');
    if (port?.balancing === 'sourceHash') count('hashed');
    if (pinned === flow.server) count('pinned');
    pins.set(pinKey, flow.server);
  }
}

function count(kind: string): void {
  tally.set(kind, (tally.get(kind) ?? 0) + 1);
}

function describe(
  sent: Sent,
  flow: Flow | undefined,
  refusal: Refusal | undefined,
  outcome: Outcome,
): string {
  const isNatted = flow?.server !== sent.destination || flow.serverPort !== sent.port;
  if (flow !== undefined && isNatted) {
    return `${flow.server} saw ${flow.client}`;
  }
  // What is not Service traffic may be refused by whoever has the address.
  if (outcome.verdict === 'pass') return 'left alone';
  if (flow !== undefined) return `left alone by the rules, as ${flow.client}`;
  return refusal === undefined ? 'nothing' : 'refused';
}

function expectations(outcome: Outcome, { source }: Sent): string[] {
  if (outcome.verdict === 'pass') return ['left alone'];
  if (outcome.verdict !== 'dnat') return [outcome.verdict === 'reject' ? 'refused' : 'nothing'];
  const { node } = ADDRESSES[source.includes(':') ? 'ipv6' : 'ipv4'];
  return outcome.endpoints.map((end) => `${end.address} saw ${end.masquerade ? node : source}`);
}
