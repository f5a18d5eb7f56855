/** `up --load-balancer layer2`: a node answers ARP and ND for an address, and another one when it dies. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Lease, Service } from '../../src/api/types.ts';
import {
  addressOf,
  addressesOf,
  hostAddress,
  Load,
  pod,
  seen,
  service,
  type Family,
} from './balanced.ts';
import {
  Cluster,
  componentPids,
  eventually,
  fairlead,
  fairleadOk,
  hostSnapshot,
  must,
  onNode,
  removeHome,
  run,
  sameHost,
} from './harness.ts';
import { knock, outside } from './places.ts';

const hostBefore = hostSnapshot();
const families = ['ipv4', 'ipv6'] as const;
let lab: Cluster;

before(async () => {
  lab = await Cluster.up('lab', '--ip-family', 'dual', '--load-balancer', 'layer2');
  await lab.apply(
    [
      ...[1, 2, 3].map((at) => pod(`web-${at}`, `node-${at}`)),
      pod('lonely', 'node-2', 'lonely'),
      service('plain'),
      service('local', 'externalTrafficPolicy: Local', '', 'lonely'),
      service('edge', 'loadBalancerClass: fairlead.dev/edge'),
      service('proxied', '', 'fairlead.dev/load-balancer-ip-mode: Proxy'),
      service('closed', 'loadBalancerSourceRanges: [198.51.100.0/24, "2001:db8::/32"]'),
    ].join('\n'),
  );
  await lab.kubectlOk('wait', 'pod', '--all', '--for=condition=Ready', '--timeout=30s');
});

after(async () => {
  await fairlead('down', '--all');
  removeHome();
});

/** The node whose name stands in the address's Lease. */
async function holderOf(address: string): Promise<string> {
  return await eventually(`a holder of ${address}`, async () => {
    const { items } = await lab.json<{ items: Lease[] }>('leases', '-n', 'kube-system');
    const lease = items.find(
      ({ metadata }) => metadata.annotations?.['fairlead.dev/address'] === address,
    );
    return lease?.spec?.holderIdentity || undefined;
  });
}

/** What the host has learnt: the link-layer address behind an address. */
async function neighbour(address: string): Promise<string | undefined> {
  const text = must(await run('ip', ['neigh', 'show', address]), 'ip neigh');
  return /lladdr (\S+)/.exec(text)?.[1];
}

async function macOf(node: string): Promise<string> {
  const link = must(await onNode('lab', node, 'ip', '-o', 'link', 'show', 'eth0'), 'ip link');
  return /link\/ether (\S+)/.exec(link)?.[1] ?? '';
}

async function answers(address: string): Promise<boolean> {
  return (await knock(outside, { address, port: 80 })).code === 0;
}

for (const family of families) {
  test(`one node answers for an address, and the Service is reached there, ${family}`, async () => {
    const address = await addressOf(lab, 'plain', family);
    const holder = await holderOf(address);
    await eventually('an answer', () => answers(address));
    assert.equal(await neighbour(address), await macOf(holder));
    assert.deepEqual(await seen(outside, address, 'pod', 30), ['web-1', 'web-2', 'web-3']);
    const speakers = await Promise.all(
      [1, 2, 3].map(async (at) => {
        const { stdout } = await onNode('lab', `node-${at}`, 'ip', 'neigh', 'show', 'proxy');
        return stdout.split('\n').some((line) => line.startsWith(`${address} `));
      }),
    );
    assert.equal(speakers.filter(Boolean).length, 1);
  });

  test(`policy Local: the node with the pod answers, and the client's address is kept, ${family} [P62]`, async () => {
    const address = await addressOf(lab, 'local', family);
    await eventually('an answer', () => answers(address));
    assert.equal(await holderOf(address), 'node-2');
    assert.deepEqual(await seen(outside, address, 'client'), [hostAddress[family]]);
  });

  test(`loadBalancerSourceRanges: others are dropped by the node, ${family} [P51]`, async () => {
    const address = await addressOf(lab, 'closed', family);
    await holderOf(address);
    assert.equal((await knock(outside, { address, port: 80 })).code, 28);
  });
}

test('a Service can ask for the other one by its class', async () => {
  const address = await addressOf(lab, 'edge', 'ipv4');
  await eventually('an answer', () => answers(address));
  assert.equal(await neighbour(address), '02:fa:1e:ad:01:00');
});

test('ipMode Proxy cannot be had from nodes, and an event says so', async () => {
  const told = await lab.kubectlOk('describe', 'service', 'proxied');
  assert.match(told, /Warning +AllocationFailed .*which needs ipMode VIP/);
});

test('the Service tells which node answers', async () => {
  const told = await lab.kubectlOk('describe', 'service', 'local');
  assert.match(told, /NodeAssigned +.* node "node-2" answers for 172\.29\.0\.\d+ \(layer2\)/);
  assert.match(
    await fairleadOk('status'),
    /load balancer: layer2, a node answers for each address/,
  );
});

test('kill -9 of the agent: the kernel goes on answering, and the node keeps the address', async () => {
  const address = await addressOf(lab, 'plain', 'ipv4');
  const holder = await holderOf(address);
  const load = new Load(address, 50);
  await sleep(200);
  process.kill(componentPids('lab', holder).main, 'SIGKILL');
  await run('ip', ['neigh', 'flush', 'dev', 'fairlead0']);
  await sleep(2500);
  await load.stop();
  assert.equal(load.results.filter(({ ok }) => !ok).length, 0);
  assert.equal(await holderOf(address), holder);
});

test('a Lease that somebody deletes is written again, and nothing is lost', async () => {
  const address = await addressOf(lab, 'plain', 'ipv4');
  const holder = await holderOf(address);
  const load = new Load(address, 50);
  const name = `fairlead-address-${address.replaceAll('.', '-')}`;
  await lab.kubectlOk('delete', 'lease', '-n', 'kube-system', name);
  assert.equal(await holderOf(address), holder);
  await sleep(300);
  await load.stop();
  assert.equal(load.results.filter(({ ok }) => !ok).length, 0);
});

test('the node dies: another one answers within seconds, and neighbours are told', async (t) => {
  const address: Record<Family, string> = {
    ipv4: await addressOf(lab, 'plain', 'ipv4'),
    ipv6: await addressOf(lab, 'plain', 'ipv6'),
  };
  for (const family of families) {
    const ip = address[family];
    // The node of the round before may not be quite there yet, and its pods still count as ready.
    await eventually('an answer', () => answers(ip));
    const holder = await holderOf(ip);
    const old = await macOf(holder);
    const since = performance.now();
    await fairleadOk('node', 'kill', holder);
    // Nobody asks: the host learns of it by what the new node says of itself.
    await eventually(
      `the host knows the new place of ${ip}`,
      async () => {
        const mac = await neighbour(ip);
        return mac !== undefined && mac !== old;
      },
      10,
    );
    const ms = performance.now() - since;
    t.diagnostic(`${family}: the host was told ${ms.toFixed(0)} ms after the kill`);
    assert.ok(ms < 6000, `${ms} ms`);
    const next = await holderOf(ip);
    assert.notEqual(next, holder);
    assert.equal(await neighbour(ip), await macOf(next));
    await fairleadOk('node', 'start', holder);
    await lab.kubectlOk('wait', 'pod', '--all', '--for=condition=Ready', '--timeout=30s');
  }
});

test('policy Local: the address goes where the pod goes', async () => {
  const address = await addressOf(lab, 'local', 'ipv4');
  await lab.apply(pod('lonely-2', 'node-3', 'lonely'));
  await lab.kubectlOk('wait', 'pod', 'lonely-2', '--for=condition=Ready', '--timeout=30s');
  await lab.kubectlOk('delete', 'pod', 'lonely', '--grace-period=1');
  await eventually('node-3 answers', async () => (await holderOf(address)) === 'node-3');
  assert.deepEqual(await seen(outside, address, 'node'), ['node-3']);
});

test('a Service that goes leaves no Lease, and no node that answers', async () => {
  const ips = await addressesOf(lab, 'local');
  await lab.kubectlOk('delete', 'service', 'local', '--timeout=10s');
  await eventually('nobody answers', async () => {
    const nodes = await Promise.all(
      [1, 2, 3].map((at) => onNode('lab', `node-${at}`, 'ip', 'neigh', 'show', 'proxy')),
    );
    const { items } = await lab.json<{ items: Lease[] }>('leases', '-n', 'kube-system');
    const text = nodes.map(({ stdout }) => stdout).join() + JSON.stringify(items);
    return !ips.some((ip) => text.includes(`${ip} `) || text.includes(`"${ip}"`));
  });
  const { items } = await lab.json<{ items: Service[] }>('services');
  assert.ok(!items.some(({ metadata }) => metadata.name === 'local'));
});

test('down leaves nothing', async () => {
  await lab.down();
  await sameHost(hostBefore);
});
