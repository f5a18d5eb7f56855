/** The rules against real packets: every row of the traffic table, hairpin, refusals. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, before, test } from 'node:test';

import type { EndpointSlice, Service, ServiceSpec } from '../../src/api/types.ts';
import { sampleContext, sampleService, sampleSlice } from '../../src/plan/samples.ts';
import { planService } from '../../src/plan/service.ts';
import {
  trafficRows,
  type TrafficPolicy,
  type TrafficSetting,
  type TrafficSource,
} from '../../src/plan/traffic.cases.ts';
import type { PlanOptions } from '../../src/plan/types.ts';
import { NftablesBackend } from '../../src/proxy/nftables/backend.ts';
import { ask, DROP_MS, type Ask, type Reply } from './proxy-peer.ts';
import { ADDRESSES, buildTopology, ip, TARGET_PORT, type Topology } from './proxy-topology.ts';

const POLICIES: Record<TrafficPolicy, Partial<ServiceSpec>> = {
  cluster: {},
  externalLocal: { externalTrafficPolicy: 'Local' },
  internalLocal: { internalTrafficPolicy: 'Local' },
};
const SETTINGS: Record<TrafficSetting, Partial<PlanOptions>> = {
  detector: {},
  noDetector: { podCidrs: [] },
  masqueradeAll: { masqueradeAll: true },
  masqueradeAllNoDetector: { masqueradeAll: true, podCidrs: [] },
};
const FAMILIES = ['ipv4', 'ipv6'] as const;
const PROTOCOLS = ['TCP', 'UDP'] as const;
const VIPS = {
  ipv4: { clusterIP: '10.96.0.20', external: '192.0.2.2', balancer: '192.0.2.1' },
  ipv6: { clusterIP: 'fd00:10:96::20', external: '2001:db8::2', balancer: '2001:db8::1' },
};

let topology: Topology;
const log = { error: console.error, warn: console.warn, info() {}, debug() {} } as never;
const backend = new NftablesBackend({ log, random: () => Math.floor(Math.random() * 2 ** 32) });

before(async () => {
  topology = await buildTopology();
  backend.open();
});
after(() => {
  backend.close();
  topology[Symbol.dispose]();
});

function service(spec: Partial<ServiceSpec>): Service {
  const ports = PROTOCOLS.map((protocol) => ({
    name: protocol.toLowerCase(),
    protocol,
    port: 80,
    nodePort: 30007,
  }));
  return sampleService(
    { type: 'LoadBalancer', ports, externalIPs: ['192.0.2.2', '2001:db8::2'], ...spec },
    {
      ingress: [{ ip: '192.0.2.1' }, { ip: '2001:db8::1' }],
      annotations: { 'fairlead.dev/balancing': 'roundRobin' },
    },
  );
}

type Where = 'local' | 'local2' | 'remote' | 'node';

function slicesFor(...where: Where[]): EndpointSlice[] {
  const ports = PROTOCOLS.map((protocol) => ({
    name: protocol.toLowerCase(),
    protocol,
    port: TARGET_PORT,
  }));
  return FAMILIES.map((family) =>
    sampleSlice(
      where.map((one) => `${ADDRESSES[family][one]}@${one === 'remote' ? 'node-2' : 'node-1'}`),
      { name: family, ports, addressType: family === 'ipv4' ? 'IPv4' : 'IPv6' },
    ),
  );
}

function program(spec: Partial<ServiceSpec>, where: Where[], options: Partial<PlanOptions> = {}) {
  const context = sampleContext({ options });
  backend.setRanges(context.options);
  const plan = planService(service(spec), slicesFor(...where), context);
  backend.setService('shop/web', plan);
  backend.commit();
  // Flows of an earlier test would keep UDP clients that happen to have the same port.
  execFileSync('conntrack', ['-F'], { stdio: 'ignore' });
}

async function askFrom(source: TrafficSource, asks: Ask[]): Promise<Reply[]> {
  if (source === 'node') return Promise.all(asks.map(ask));
  return (source === 'pod' ? topology.local2 : topology.outside).ask(...asks);
}

/** Endpoints take turns here, so that each is seen; the evaluator's test has them at random. */
const ROUNDS = 4;

for (const row of trafficRows) {
  const { id, setting, source, destination, policy, reaches, masquerade } = row;
  test(`${id} ${setting}: ${source} to ${destination}, ${policy}`, async () => {
    program(POLICIES[policy], ['local', 'remote'], SETTINGS[setting]);
    for (const family of FAMILIES) {
      const { node, local, remote, local2, outside } = ADDRESSES[family];
      const { clusterIP, external, balancer } = VIPS[family];
      const goals =
        destination === 'clusterIP'
          ? [{ address: clusterIP, port: 80 }]
          : [
              { address: node, port: 30007 },
              { address: external, port: 80 },
              { address: balancer, port: 80 },
            ];
      const own = { pod: local2, node, outside }[source];
      for (const protocol of PROTOCOLS) {
        for (const goal of goals) {
          const asks = Array.from({ length: ROUNDS }, () => ({
            protocol,
            ...goal,
            timeoutMs: 3000,
          }));
          const replies = await askFrom(source, asks);
          const text = `${family} ${protocol} ${goal.address}:${goal.port} ${JSON.stringify(replies[0])}`;
          const servers = new Set(
            replies.map((reply) => ('server' in reply ? reply.server : reply.error)),
          );
          assert.deepEqual(
            [...servers].sort(),
            reaches === 'L' ? [local] : [local, remote].sort(),
            text,
          );
          const clients = new Set(replies.map((reply) => ('client' in reply ? reply.client : '')));
          assert.deepEqual([...clients], [masquerade ? node : own], text);
        }
      }
    }
  });
}

/** What one connection meets, as a word. */
async function meets(source: TrafficSource | 'self', question: Omit<Ask, 'protocol'>) {
  const replies = await Promise.all(
    PROTOCOLS.map((protocol) => {
      const asks = [{ protocol, ...question }];
      return source === 'self' ? topology.local.ask(...asks) : askFrom(source, asks);
    }),
  );
  const answers = replies.map(([reply]) =>
    'error' in reply! ? reply.error : `${reply!.server} ${reply!.client}`,
  );
  return [...new Set(answers)].join(' or ');
}

async function unanswered(source: TrafficSource, question: Omit<Ask, 'protocol'>) {
  const text = `${source} to ${question.address}`;
  assert.equal(await meets(source, { ...question, timeoutMs: DROP_MS }), 'ETIMEDOUT', text);
}

/**
 * A TCP client on IPv6 that shares the machine with the router is told while its socket is still
 * busy connecting; the kernel lets that pass and listens only after the second SYN, 1 s later.
 */
async function refused(source: TrafficSource, question: Omit<Ask, 'protocol'>, text: string) {
  assert.equal(await meets(source, question), 'ECONNREFUSED', text);
}

for (const family of FAMILIES) {
  const { node, local, remote, local2, outside } = ADDRESSES[family];
  const { clusterIP, external, balancer } = VIPS[family];
  const inside = { address: clusterIP, port: 80 };
  const nodePort = { address: node, port: 30007 };
  const sources = ['pod', 'node', 'outside'] as const;

  test(`[P26] hairpin: a pod reaches itself by every address, ${family}`, async () => {
    for (const spec of Object.values(POLICIES)) {
      program(spec, ['local']);
      for (const goal of [inside, nodePort, { address: external, port: 80 }]) {
        assert.equal(await meets('self', goal), `${local} ${node}`, goal.address);
      }
    }
  });

  test(`[P22] [P27] a node process reaches an endpoint on the node itself, ${family}`, async () => {
    program({}, ['node']);
    assert.equal(await meets('node', inside), `${node} ${node}`);
    assert.equal(await meets('pod', inside), `${node} ${local2}`);
    // It never leaves the node again, so nothing rewrites its source.
    assert.equal(await meets('outside', nodePort), `${node} ${outside}`);
  });

  test(`[P93] [P95] no endpoint: everybody is refused at once, ${family}`, async () => {
    program({ externalTrafficPolicy: 'Local' }, []);
    const goals = [inside, nodePort, { address: balancer, port: 80 }];
    await Promise.all(
      sources.flatMap((source) =>
        goals.map((goal) => refused(source, goal, `${source} ${goal.address}`)),
      ),
    );
  });

  test(`[P69, P94, X8] eTP Local without local endpoint: outside times out, ${family}`, async () => {
    program({ externalTrafficPolicy: 'Local' }, ['remote']);
    await unanswered('outside', nodePort);
    assert.equal(await meets('pod', nodePort), `${remote} ${local2}`);
    assert.equal(await meets('node', nodePort), `${remote} ${node}`);
  });

  test(`[P70] [P94] iTP Local without local endpoint: the cluster IP times out, ${family}`, async () => {
    program({ internalTrafficPolicy: 'Local' }, ['remote']);
    await Promise.all(sources.map((source) => unanswered(source, inside)));
    assert.equal(await meets('outside', nodePort), `${remote} ${node}`);
  });

  test(`[P91] [P92] undefined ports are refused, unallocated addresses dropped, ${family}`, async () => {
    program({}, ['local']);
    const nobody = family === 'ipv4' ? '10.96.7.7' : 'fd00:10:96::77';
    await Promise.all(
      sources.flatMap((source) => [
        refused(source, { address: clusterIP, port: 81 }, source),
        unanswered(source, { address: nobody, port: 80 }),
      ]),
    );
  });

  test(`[P51] [P39] source ranges of a balancer address, ${family}`, async () => {
    const range = family === 'ipv4' ? '198.51.100.0/24' : '2001:db8:1::/48';
    program({ loadBalancerSourceRanges: [range] }, ['local']);
    const goal = { address: balancer, port: 80 };
    assert.equal(await meets('outside', goal), `${local} ${node}`);
    await unanswered('pod', goal);
    assert.equal(await meets('pod', nodePort), `${local} ${node}`);
    program({ loadBalancerSourceRanges: [range] }, []);
    await unanswered('pod', goal);
    await refused('outside', goal, '[P54]');
    program({}, ['local']);
    assert.equal(await meets('pod', goal), `${local} ${node}`, '[P55]');
  });

  test(`[P52] a node inside the ranges may have the balancer address itself, ${family}`, async () => {
    const bits = family === 'ipv4' ? 32 : 128;
    ip(`addr add ${balancer}/${bits} dev lo${family === 'ipv6' ? ' nodad' : ''}`);
    try {
      const goal = { address: balancer, port: 80, source: balancer };
      program({ loadBalancerSourceRanges: [`${node}/${bits}`] }, ['local']);
      assert.equal(await meets('node', goal), `${local} ${node}`);
      await unanswered('outside', { ...goal, source: outside });
      program({ loadBalancerSourceRanges: [`${outside}/${bits}`] }, ['local']);
      await unanswered('node', goal);
    } finally {
      ip(`addr del ${balancer}/${bits} dev lo`);
    }
  });
}
