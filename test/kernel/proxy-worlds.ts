/** Random Services, slices, node settings and packets around the topology of the proxy tests. */
import type { Endpoint, EndpointSlice, Service } from '../../src/api/types.ts';
import { sampleContext, sampleService, sampleSlice } from '../../src/plan/samples.ts';
import type { PlanContext } from '../../src/plan/service.ts';
import { BALANCINGS, type PlanOptions } from '../../src/plan/types.ts';
import type { RuleSettings } from '../../src/proxy/nftables/rule-parts.ts';
import type { FirstPacket } from './raw-packets.ts';
import { ADDRESSES, TARGET_PORT, type PeerName } from './proxy-topology.ts';

export const SERVICE_NAMES = ['web', 'api', 'db'] as const;
/** The node has these besides, on a link that nobody uses. */
export const SECOND_NODE_ADDRESS = { ipv4: '172.29.0.12', ipv6: 'fd00:172:29::12' } as const;

const FAMILIES = ['ipv4', 'ipv6'] as const;
const PROTOCOLS = ['TCP', 'UDP', 'SCTP'] as const;
const SHARED_VIP = { ipv4: '192.0.2.2', ipv6: '2001:db8::2' };
const UNALLOCATED = { ipv4: '10.96.0.99', ipv6: 'fd00:10:96::99' };
const clusterIP = {
  ipv4: (index: number) => `10.96.0.${20 + index}`,
  ipv6: (index: number) => `fd00:10:96::${20 + index}`,
};
const balancerIP = {
  ipv4: (index: number) => `192.0.2.${101 + index}`,
  ipv6: (index: number) => `2001:db8::10${index}`,
};

export type World = {
  readonly services: readonly Service[];
  readonly slices: readonly EndpointSlice[];
  readonly context: PlanContext;
  readonly settings: RuleSettings;
};

/** A packet and who sends it. */
export type Question = Omit<FirstPacket, 'sourcePort' | 'protocol'> & {
  readonly from: PeerName | 'node';
  readonly protocol: (typeof PROTOCOLS)[number];
};

/** Decisions that a seed repeats. */
export type Chances = {
  readonly number: () => number;
  readonly chance: (probability: number) => boolean;
  readonly pick: <T>(items: readonly T[]) => T;
  readonly some: <T>(items: readonly T[], probability: number) => T[];
};

/** mulberry32: small, and good enough to draw lots. */
export function chancesOf(seed: number): Chances {
  let state = seed;
  const number = () => {
    state = (state + 0x6d2b79f5) | 0;
    let value = Math.imul(state ^ (state >>> 15), state | 1);
    value ^= value + Math.imul(value ^ (value >>> 7), value | 61);
    return ((value ^ (value >>> 14)) >>> 0) / 2 ** 32;
  };
  const chance = (probability: number) => number() < probability;
  return {
    number,
    chance,
    pick: (items) => items[Math.floor(number() * items.length)]!,
    some: (items, probability) => items.filter(() => chance(probability)),
  };
}

export function randomWorld(chances: Chances): World {
  const { chance, pick, some } = chances;
  const { podInterface, podCidrs } = randomDetection(chances);
  const options: PlanOptions = {
    podCidrs,
    ...(podInterface === undefined ? {} : { podInterface }),
    masqueradeAll: chance(0.2),
    serviceCidrs: chance(0.8) ? sampleContext().options.serviceCidrs : [],
    balancing: pick(BALANCINGS),
  };
  const own = FAMILIES.flatMap((family) => [ADDRESSES[family].node, SECOND_NODE_ADDRESS[family]]);
  const node = {
    addresses: [...own, '127.0.0.1', '::1'],
    nodePortAddresses: some(own, 0.7),
  };
  return {
    services: SERVICE_NAMES.map((name, index) => randomService(chances, name, index)),
    slices: SERVICE_NAMES.flatMap((name) => randomSlices(chances, name)),
    context: sampleContext({ options, node }),
    settings: {
      masqueradeBit: pick([14, 0, 31]),
      ...(podInterface === undefined ? {} : { podInterface }),
    },
  };
}

function randomDetection({
  number,
  pick,
}: Chances): Pick<PlanOptions, 'podCidrs' | 'podInterface'> {
  const both = sampleContext().options.podCidrs;
  const kind = number();
  if (kind < 0.6) return { podCidrs: both };
  if (kind < 0.8) {
    return {
      podCidrs: [],
      podInterface: pick([
        { kind: 'name', text: 'local2' },
        { kind: 'prefix', text: 'local' },
      ] as const),
    };
  }
  return { podCidrs: pick([[], both.slice(0, 1), both.slice(1)]) };
}

function randomService({ chance, pick, some }: Chances, name: string, index: number): Service {
  const clusterIPs = FAMILIES.map((family) => clusterIP[family](index));
  const ports = some(PROTOCOLS, 0.9).map((protocol) => ({
    name: protocol.toLowerCase(),
    protocol,
    port: 80,
    nodePort: chance(0.7) ? 30_007 + index : 0,
  }));
  const ranges = some(['198.51.100.0/24', '10.244.0.0/16', '2001:db8:1::/48'], 0.5);
  const annotations = chance(0.5) ? { 'fairlead.dev/balancing': pick(BALANCINGS) } : {};
  return sampleService(
    {
      type: 'LoadBalancer',
      clusterIP: clusterIPs[0]!,
      clusterIPs,
      ports,
      externalIPs: chance(0.5) ? Object.values(SHARED_VIP) : [],
      externalTrafficPolicy: chance(0.5) ? 'Local' : 'Cluster',
      internalTrafficPolicy: chance(0.3) ? 'Local' : 'Cluster',
      sessionAffinity: chance(0.3) ? 'ClientIP' : 'None',
      loadBalancerSourceRanges: chance(0.4) ? ranges : [],
    },
    {
      name,
      annotations,
      created: `2026-01-0${pick([1, 2, 3])}T00:00:00Z`,
      ingress: FAMILIES.map((family) => ({
        ip: balancerIP[family](index),
        ipMode: chance(0.9) ? ('VIP' as const) : ('Proxy' as const),
      })),
    },
  );
}

function randomSlices(chances: Chances, service: string): EndpointSlice[] {
  const places = chances.some(['local', 'local2', 'remote', 'node'] as const, 0.4);
  const ports = PROTOCOLS.map((protocol) => ({
    name: protocol.toLowerCase(),
    protocol,
    port: TARGET_PORT,
  }));
  const hinted = chances.pick(['nothing', 'zones', 'nodes', 'some'] as const);
  return FAMILIES.map((family) => {
    const endpoints = places.map((place) => ({
      addresses: [ADDRESSES[family][place]],
      nodeName: place === 'remote' ? 'node-2' : 'node-1',
      ...randomState(chances),
      ...randomHints(chances, hinted),
    }));
    const addressType = family === 'ipv4' ? 'IPv4' : 'IPv6';
    return sampleSlice(endpoints, { name: `${service}-${family}`, service, ports, addressType });
  });
}

function randomState({ chance }: Chances): Pick<Endpoint, 'conditions'> {
  const ready = chance(0.7);
  return {
    conditions: { ready, serving: ready || chance(0.7), terminating: !ready && chance(0.7) },
  };
}

function randomHints(
  { chance, pick }: Chances,
  hinted: 'nothing' | 'zones' | 'nodes' | 'some',
): Pick<Endpoint, 'hints'> {
  if (hinted === 'nothing' || (hinted === 'some' && chance(0.5))) return {};
  if (hinted === 'nodes') return { hints: { forNodes: [{ name: pick(['node-1', 'node-2']) }] } };
  return { hints: { forZones: [{ name: pick(['zone-a', 'zone-b']) }] } };
}

const SOURCES = ['local', 'local2', 'remote', 'outside', 'node'] as const;

export function randomPacket({ chance, pick }: Chances): Question {
  const family = pick(FAMILIES);
  const from = pick(SOURCES);
  const index = pick(SERVICE_NAMES.map((_, number) => number));
  const second = SECOND_NODE_ADDRESS[family];
  const usual = [
    { destination: clusterIP[family](index), port: 80 },
    { destination: balancerIP[family](index), port: 80 },
    { destination: SHARED_VIP[family], port: 80 },
    { destination: ADDRESSES[family].node, port: 30_007 + index },
    { destination: second, port: 30_007 + index },
  ];
  const odd = [
    { destination: clusterIP[family](index), port: 81 },
    { destination: UNALLOCATED[family], port: 80 },
    { destination: ADDRESSES[family].local, port: TARGET_PORT },
  ];
  const own = ADDRESSES[family][from];
  return {
    from,
    source: from === 'node' && chance(0.3) ? second : own,
    protocol: pick(PROTOCOLS),
    ...pick(chance(0.9) ? usual : odd),
  };
}
