/** What the rules do to single packets, and what they leave alone. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { connect } from 'node:net';
import { after, before, test } from 'node:test';

import type { EndpointSlice, Service, ServiceSpec } from '../../src/api/types.ts';
import { sampleContext, sampleService, sampleSlice } from '../../src/plan/samples.ts';
import { planService } from '../../src/plan/service.ts';
import { NftablesBackend } from '../../src/proxy/nftables/backend.ts';
import { DEFAULT_SETTINGS } from '../../src/proxy/nftables/rule-parts.ts';
import { ask, DROP_MS, listen, type Ask, type Reply } from './proxy-peer.ts';
import { ADDRESSES, buildTopology, TARGET_PORT, type Topology } from './proxy-topology.ts';
import { crc32c, RawSockets, type FirstPacket, type Refusal } from './raw-packets.ts';

const FAMILIES = ['ipv4', 'ipv6'] as const;
type Family = (typeof FAMILIES)[number];
const PROTOCOLS = ['TCP', 'UDP', 'SCTP'] as const;
const NODE_PORT = 30_007;
const VIPS = {
  ipv4: { clusterIP: '10.96.0.20', external: '192.0.2.2', balancer: '192.0.2.1' },
  ipv6: { clusterIP: 'fd00:10:96::20', external: '2001:db8::2', balancer: '2001:db8::1' },
};
const log = { error: console.error, warn: console.warn, info() {}, debug() {} } as never;

let topology: Topology;
let sockets: RawSockets;
let backend: NftablesBackend;

before(async () => {
  topology = await buildTopology();
  sockets = new RawSockets();
  open();
});
after(() => {
  backend.close();
  sockets[Symbol.dispose]();
  topology[Symbol.dispose]();
});

function open(settings = DEFAULT_SETTINGS): void {
  backend?.close();
  const random = () => Math.floor(Math.random() * 2 ** 32);
  backend = new NftablesBackend({ log, random, settings });
  backend.open();
  backend.sweep();
}

type Where = 'local' | 'local2' | 'remote' | 'node';

function service(
  spec: Partial<ServiceSpec> = {},
  more: Parameters<typeof sampleService>[1] = {},
): Service {
  const ports = PROTOCOLS.map((protocol) => ({
    name: protocol.toLowerCase(),
    protocol,
    port: 80,
    nodePort: NODE_PORT,
  }));
  const externalIPs = FAMILIES.map((family) => VIPS[family].external);
  const ingress = FAMILIES.map((family) => ({ ip: VIPS[family].balancer }));
  return sampleService({ type: 'LoadBalancer', ports, externalIPs, ...spec }, { ingress, ...more });
}

function slicesFor(places: readonly Where[], names = PROTOCOLS.map(portName)): EndpointSlice[] {
  const ports = PROTOCOLS.map((protocol, index) => ({
    name: names[index]!,
    protocol,
    port: TARGET_PORT,
  }));
  return FAMILIES.map((family) =>
    sampleSlice(
      places.map((one) => `${ADDRESSES[family][one]}@${one === 'remote' ? 'node-2' : 'node-1'}`),
      { name: family, ports, addressType: family === 'ipv4' ? 'IPv4' : 'IPv6' },
    ),
  );
}

function portName(protocol: string): string {
  return protocol.toLowerCase();
}

function put(one: Service, slices: readonly EndpointSlice[]): void {
  const context = sampleContext();
  backend.setRanges(context.options);
  backend.setService(`shop/${one.metadata.name}`, planService(one, slices, context));
  backend.commit();
}

function program(spec: Partial<ServiceSpec>, ...places: Where[]): void {
  put(service(spec), slicesFor(places));
  forgetFlows();
}

/** A flow of an earlier test would keep a client that happens to have the same port. */
function forgetFlows(): void {
  execFileSync('conntrack', ['-F'], { stdio: 'ignore' });
}

function textOf(reply: Reply | undefined): string {
  return 'server' in reply! ? reply.server : (reply?.error ?? '');
}

async function from(who: 'local' | 'local2' | 'outside' | 'node', one: Ask): Promise<string> {
  if (who === 'node') return textOf(await ask(one));
  return textOf((await topology[who].ask(one))[0]);
}

type Chain = { name: string; type?: string; hook?: string; prio?: number };

function baseChains(family: Family): Record<string, string> {
  const nft = family === 'ipv4' ? 'ip' : 'ip6';
  const text = execFileSync('nft', ['-j', 'list', 'chains', nft], { encoding: 'utf8' });
  const { nftables } = JSON.parse(text) as { nftables: { chain?: Chain & { table: string } }[] };
  const ours = nftables.flatMap(({ chain }) => (chain?.table === 'fairlead' ? [chain] : []));
  return Object.fromEntries(
    ours
      .filter(({ hook }) => hook !== undefined)
      .map(({ name, type, hook, prio }) => [name, `${type} ${hook} ${prio}`]),
  );
}

for (const family of FAMILIES) {
  const { node, local, local2, remote, outside } = ADDRESSES[family];
  const { clusterIP, external, balancer } = VIPS[family];
  const nodePort = { address: node, port: NODE_PORT };

  test(`[P24, P97, P135] where the rules sit, ${family}`, () => {
    program({}, 'local');
    assert.deepEqual(baseChains(family), {
      'nat-prerouting': 'nat prerouting -100',
      'nat-output': 'nat output -100',
      'nat-postrouting': 'nat postrouting 100',
      'filter-input': 'filter input 0',
      'filter-forward': 'filter forward 0',
      'filter-output': 'filter output 0',
    });
  });

  test(`[P28] ping to a cluster IP is refused, to the node it is answered, ${family}`, async () => {
    program({}, 'local');
    await topology.outside.tell({ kind: 'refusals' });
    const ping = (destination: string, sourcePort: number): FirstPacket => ({
      protocol: 'ICMP',
      source: outside,
      sourcePort,
      destination,
      port: 0,
    });
    await topology.outside.tell({ kind: 'send', packets: [ping(clusterIP, 7)] });
    const refusals = (await topology.outside.tell({ kind: 'refusals' })) as Refusal[];
    const { type, code } = refusals.find(({ sourcePort }) => sourcePort === 7)!;
    assert.deepEqual([type, code], family === 'ipv4' ? [3, 3] : [1, 4]);
    await topology.outside.tell({ kind: 'send', packets: [ping(node, 8)] });
    const types = (await topology.outside.tell({ kind: 'icmpTypes', family })) as number[];
    assert(types.includes(family === 'ipv4' ? 0 : 129), types.join());
  });

  test(`[P20] a port is renamed: no connection is lost, ${family}`, async () => {
    program({}, 'local', 'remote');
    const one = { protocol: 'TCP' as const, address: clusterIP, port: 80, timeoutMs: 5000 };
    const asks = Array.from({ length: 300 }, () => one);
    const replies = topology.outside.ask(...asks);
    let round = 0;
    const renaming = setInterval(() => {
      round += 1;
      const names = PROTOCOLS.map((protocol) => `${portName(protocol)}-${round}`);
      const ports = PROTOCOLS.map((protocol, index) => ({
        name: names[index]!,
        protocol,
        port: 80,
        nodePort: NODE_PORT,
      }));
      put(service({ ports }), slicesFor(['local', 'remote'], names));
    }, 1);
    await replies.finally(() => clearInterval(renaming));
    assert(round > 10, `only ${round} changes`);
    const servers = new Set((await replies).map(textOf));
    assert.deepEqual([...servers].sort(), [local, remote].sort());
  });

  test(`[P35, P37] localhost: refused and counted, unless a process listens, ${family}`, async () => {
    program({}, 'local');
    const loopback = family === 'ipv4' ? '127.0.0.1' : '::1';
    const before = backend.localhostRejected();
    for (const protocol of ['TCP', 'UDP'] as const) {
      const one = { protocol, address: loopback, port: NODE_PORT };
      assert.equal(await from('node', one), 'ECONNREFUSED', protocol);
    }
    assert.equal(backend.localhostRejected() - before, 2);
    await listen(loopback, NODE_PORT);
    await listen(node, NODE_PORT);
    for (const protocol of ['TCP', 'UDP'] as const) {
      const one = { protocol, address: loopback, port: NODE_PORT };
      assert.equal(await from('node', one), loopback, `${protocol} to the process`);
      assert.equal(await from('outside', { protocol, ...nodePort }), local, 'ours all the same');
      assert.equal(await from('node', { protocol, ...nodePort }), local, 'ours all the same');
    }
    assert.equal(backend.localhostRejected() - before, 2);
  });

  test(`[P38] any number serves as a node port, ${family}`, async () => {
    for (const number of [1, 65_535]) {
      const ports = [{ name: 'tcp', protocol: 'TCP' as const, port: 80, nodePort: number }];
      program({ ports }, 'local');
      assert.equal(await from('outside', { protocol: 'TCP', address: node, port: number }), local);
    }
  });

  test(`[P41] a firewall that drops forwarded packets is not overruled, ${family}`, async () => {
    program({}, 'local');
    const nft = (...words: string[]) => execFileSync('nft', words);
    nft('add', 'table', 'inet', 'admin');
    nft(
      'add',
      'chain',
      'inet',
      'admin',
      'f',
      '{ type filter hook forward priority 10; policy drop; }',
    );
    try {
      const impatient = { protocol: 'TCP' as const, ...nodePort, timeoutMs: DROP_MS };
      assert.equal(await from('outside', impatient), 'ETIMEDOUT');
      nft('add', 'rule', 'inet', 'admin', 'f', 'ct', 'status', 'dnat', 'accept');
      assert.equal(await from('outside', { protocol: 'TCP', ...nodePort }), local);
    } finally {
      nft('delete', 'table', 'inet', 'admin');
    }
  });

  test(`[P43, P56] no address is put on an interface; one that leaves leads nowhere, ${family}`, async () => {
    const addresses = () => execFileSync('ip', ['-j', 'address'], { encoding: 'utf8' });
    const before = addresses();
    program({}, 'local');
    const goals = [external, balancer].map((address) => ({
      protocol: 'TCP' as const,
      address,
      port: 80,
    }));
    for (const goal of goals) assert.equal(await from('outside', goal), local, goal.address);
    assert.equal(addresses(), before);
    put(service({}, { ingress: [] }), slicesFor(['local']));
    assert.equal(await from('outside', { ...goals[1]!, timeoutMs: DROP_MS }), 'ETIMEDOUT');
    assert.equal(await from('outside', goals[0]!), local);
    assert.equal(await from('outside', { protocol: 'TCP', ...nodePort }), local);
    assert.equal(
      await from('local2', { protocol: 'TCP', address: clusterIP, port: 80 }),
      local,
      'cluster IP',
    );
  });

  test(`[P45] two Services share an address; one leaves, the other stays, ${family}`, async () => {
    program({}, 'local');
    const clusterIPs = ['10.96.0.21', 'fd00:10:96::21'];
    const ports = [{ name: 'tcp', protocol: 'TCP' as const, port: 443 }];
    const other = service({ clusterIP: clusterIPs[0]!, clusterIPs, ports }, { name: 'other' });
    const slices = slicesFor(['local2']).map((slice) => ({
      ...slice,
      metadata: { ...slice.metadata, labels: { 'kubernetes.io/service-name': 'other' } },
    }));
    put(other, slices);
    const at = (port: number, timeoutMs = 5000) =>
      from('outside', { protocol: 'TCP' as const, address: external, port, timeoutMs });
    assert.deepEqual([await at(80), await at(443)], [local, local2]);
    backend.setService('shop/other', undefined);
    backend.commit();
    assert.deepEqual([await at(80), await at(443, DROP_MS)], [local, 'ETIMEDOUT']);
  });

  test(`[P72] another policy is for new flows, ${family}`, async () => {
    program({}, 'remote');
    const old = { protocol: 'UDP' as const, ...nodePort, sourcePort: 40_001 };
    assert.equal(await from('outside', old), remote);
    put(service({ externalTrafficPolicy: 'Local' }), slicesFor(['local', 'remote']));
    for (let round = 0; round < 8; round += 1) {
      assert.equal(await from('outside', old), remote, 'a flow stays where it is');
      const fresh = { ...old, sourcePort: 40_010 + round };
      assert.equal(await from('outside', fresh), local);
    }
  });

  test(`[P96] flows outlive the last endpoint; new ones are refused, ${family}`, async () => {
    program({}, 'local');
    const old = { protocol: 'UDP' as const, address: clusterIP, port: 80, sourcePort: 40_100 };
    assert.equal(await from('outside', old), local);
    const client = connect({ host: clusterIP, port: 80, allowHalfOpen: true });
    await new Promise((resolve) => client.once('end', resolve).resume());
    put(service({}), slicesFor([]));
    assert.equal(await from('outside', old), local);
    assert.equal(await from('outside', { ...old, sourcePort: 40_101 }), 'ECONNREFUSED');
    // The other end must have seen our FIN for this state to be reached.
    const { localPort } = client;
    client.end('bye');
    await eventually(
      () =>
        execFileSync('conntrack', ['-L', '-f', family, '-p', 'tcp'], {
          encoding: 'utf8',
          stdio: ['ignore', 'pipe', 'ignore'],
        }),
      new RegExp(`TIME_WAIT.* dst=${clusterIP} sport=${localPort} `),
    );
  });

  test(`[P67] the mark asks for masquerading and is gone afterwards, ${family}`, async () => {
    for (const masqueradeBit of [14, 3]) {
      open({ masqueradeBit });
      program({}, 'remote');
      await checkMarks(family, 2 ** masqueradeBit);
    }
    open();
  });

  test(`[P138] SCTP goes to an endpoint, its port rewritten, its checksum right, ${family}`, async () => {
    program({}, 'local');
    const goals = [
      { destination: clusterIP, port: 80 },
      { destination: balancer, port: 80 },
      { destination: external, port: 80 },
      { destination: node, port: NODE_PORT },
    ];
    for (const goal of goals) {
      await topology.local.tell({ kind: 'sctp', family });
      const packet = { protocol: 'SCTP', source: outside, sourcePort: 5000, ...goal } as const;
      await topology.outside.tell({ kind: 'send', packets: [packet] });
      const [text] = (await topology.local.tell({ kind: 'sctp', family })) as string[];
      assert(text !== undefined, `nothing came for ${goal.destination}`);
      const bytes = Uint8Array.fromHex(text);
      const view = new DataView(bytes.buffer);
      assert.equal(view.getUint16(2), TARGET_PORT);
      const sum = view.getUint32(8, true);
      view.setUint32(8, 0);
      assert.equal(sum, crc32c(bytes));
    }
    program({});
    const packet = { protocol: 'SCTP', source: outside, sourcePort: 5001, ...goals[3]! } as const;
    await topology.outside.tell({ kind: 'refusals' });
    await topology.outside.tell({ kind: 'send', packets: [packet] });
    const refusals = (await topology.outside.tell({ kind: 'refusals' })) as Refusal[];
    const { type, code } = refusals.find(({ sourcePort }) => sourcePort === 5001)!;
    assert.deepEqual([type, code], family === 'ipv4' ? [3, 3] : [1, 4], '[P95]');
  });
}

/** A table of somebody else sees packets before and after us. */
async function checkMarks(family: Family, bit: number): Promise<void> {
  const FOREIGN = 0x40_0000;
  execFileSync('nft', ['-f', '-'], {
    input: `
      table inet spy {
        chain before { type filter hook prerouting priority -150; iifname "outside" meta mark set ${FOREIGN}; }
        chain asked { type filter hook forward priority 10; iifname "outside" ct state new meta mark & ${bit} != 0 counter; }
        chain after { type filter hook postrouting priority 150; iifname "outside" ct state new meta mark ${FOREIGN} counter; }
      }`,
  });
  try {
    const first = 20_000;
    const asks = Array.from({ length: 20 }, (_, index) => ({
      protocol: 'UDP' as const,
      address: ADDRESSES[family].node,
      port: NODE_PORT,
      sourcePort: first + index,
    }));
    const replies = await topology.outside.ask(...asks);
    assert.deepEqual(new Set(replies.map(textOf)), new Set([ADDRESSES[family].remote]));
    const rules = execFileSync('nft', ['list', 'table', 'inet', 'spy'], { encoding: 'utf8' });
    const counts = [...rules.matchAll(/counter packets (\d+)/g)].map((match) => Number(match[1]));
    assert.deepEqual(counts, [20, 20], rules);
    // Fully random ports: those of the client would be kept otherwise.
    const flows = execFileSync('conntrack', ['-L', '-f', family, '-p', 'udp'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const ports = [...flows.matchAll(/sport=(\d+) dport=30007 .* dport=(\d+)/g)];
    assert.equal(ports.length, 20, flows);
    const kept = ports.filter(([, before, after]) => before === after);
    assert(kept.length <= 2, `${kept.length} of 20 ports were kept`);
  } finally {
    execFileSync('nft', ['delete', 'table', 'inet', 'spy']);
  }
}

test('[X6] one more Service costs as much among 2,000 as among 10', () => {
  const nft = (...words: string[]) => execFileSync('nft', words, { encoding: 'utf8' });
  const chains = () => Object.keys(JSON.parse(nft('-j', 'list', 'chains', 'ip')).nftables).length;
  const add = (number: number) => {
    const clusterIPs = [`10.96.${number >> 8}.${number & 255}`];
    const ports = [{ name: 'tcp', port: 80 }];
    const one = sampleService(
      { clusterIP: clusterIPs[0]!, clusterIPs, ports },
      { name: `s${number}` },
    );
    const [slice] = slicesFor(['local', 'remote']);
    backend.setService(`shop/s${number}`, planService(one, [slice!], sampleContext()));
  };
  const oneMore = (number: number) => {
    add(number);
    return backend.commit();
  };
  for (let number = 1000; number < 1010; number += 1) add(number);
  backend.commit();
  const few = { writes: oneMore(1010), chains: chains() };
  for (let number = 1011; number < 3000; number += 1) add(number);
  backend.commit();
  const many = { writes: oneMore(3000), chains: chains() };
  assert.deepEqual(many, few);
  assert(!nft('list', 'sets').includes('__set'), 'no anonymous sets');
  assert(!nft('list', 'maps').includes('__map'), 'no anonymous maps');
});

async function eventually(read: () => string, want: RegExp): Promise<void> {
  const end = performance.now() + 5000;
  for (let found = read(); !want.test(found); found = read()) {
    assert(performance.now() < end, `still ${found}, not ${want}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
