/** What is read from a Node, and how long one is waited for. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { resources } from '../../api/resources.ts';
import type { Node } from '../../api/types.ts';
import { startApiServer } from '../../apiserver/server.ts';
import { Informer } from '../../client/informer.ts';
import type { Clock } from '../../lib/clock.ts';
import { createLogger } from '../../lib/log.ts';
import { createMemoryStore } from '../../store/store.ts';
import { loadConfig } from './config.ts';
import { checkKernelVersion } from './kernel-version.ts';
import { nodeAddresses, usableFamilies, waitForNode } from './node-facts.ts';

type Addresses = NonNullable<NonNullable<Node['status']>['addresses']>;
const internal = (address: string) => ({ type: 'InternalIP' as const, address });
const external = (address: string) => ({ type: 'ExternalIP' as const, address });

const cases: {
  name: string;
  has: Addresses;
  bind?: string;
  primary: string;
  addresses: string[];
}[] = [
  {
    name: '[P137] IPv4 alone',
    has: [internal('10.0.0.5')],
    primary: 'ipv4',
    addresses: ['10.0.0.5'],
  },
  {
    name: '[P137] IPv6 alone is primary',
    has: [internal('fd00::5')],
    primary: 'ipv6',
    addresses: ['fd00::5'],
  },
  {
    name: '[P137] the first one decides',
    has: [internal('fd00::5'), internal('10.0.0.5')],
    primary: 'ipv6',
    addresses: ['fd00::5', '10.0.0.5'],
  },
  {
    name: 'internal before external',
    has: [external('203.0.113.5'), internal('10.0.0.5')],
    primary: 'ipv4',
    addresses: ['10.0.0.5'],
  },
  {
    name: 'external where there is no other',
    has: [external('203.0.113.5')],
    primary: 'ipv4',
    addresses: ['203.0.113.5'],
  },
  {
    name: 'the first of each family',
    has: [internal('10.0.0.5'), internal('10.0.0.6'), external('fd00::5')],
    primary: 'ipv4',
    addresses: ['10.0.0.5', 'fd00::5'],
  },
  {
    name: '[P137] bindAddress takes the place of its family',
    has: [internal('10.0.0.5'), internal('fd00::5')],
    bind: '192.0.2.7',
    primary: 'ipv4',
    addresses: ['192.0.2.7', 'fd00::5'],
  },
  {
    name: '[P137] bindAddress makes its family primary',
    has: [internal('10.0.0.5')],
    bind: 'fd00::7',
    primary: 'ipv6',
    addresses: ['fd00::7', '10.0.0.5'],
  },
  {
    name: '[P137] an unspecified one does not',
    has: [internal('10.0.0.5')],
    bind: '::',
    primary: 'ipv4',
    addresses: ['10.0.0.5'],
  },
  {
    name: '[P131] without any: IPv4, and loopback',
    has: [],
    primary: 'ipv4',
    addresses: ['127.0.0.1', '::1'],
  },
];

for (const { name, has, bind = '0.0.0.0', ...want } of cases) {
  test(name, () => {
    const node: Node = { metadata: { name: 'node-1' }, status: { addresses: has } };
    assert.deepEqual(nodeAddresses(node, bind), want);
  });
}

test('[P137] both families where the machine has both, a missing secondary one is fine', () => {
  assert.deepEqual(usableFamilies('ipv4', import.meta.filename), ['ipv4', 'ipv6']);
  assert.deepEqual(usableFamilies('ipv6', import.meta.filename), ['ipv6', 'ipv4']);
  assert.deepEqual(usableFamilies('ipv4', '/nonexistent'), ['ipv4']);
});

test('[P137] a missing primary family is fatal', () => {
  assert.throws(() => usableFamilies('ipv6', '/nonexistent'), { code: 'PROXY_FAMILY' });
});

/** Timers that end when told to. */
function handClock(): { clock: Clock; expire: (ms: number) => void } {
  const timers = new Map<() => void, number>();
  return {
    clock: {
      now: () => 0,
      monotonicMs: () => 0,
      after(delayMs, go) {
        timers.set(go, delayMs);
        return () => timers.delete(go);
      },
    },
    expire(ms) {
      for (const [go, delayMs] of timers) if (delayMs <= ms) go();
    },
  };
}

async function waiting(mode: 'ClusterCIDR' | 'NodeCIDR') {
  const { client } = await startApiServer({
    store: createMemoryStore(),
    serviceCidrs: ['10.96.0.0/16'],
  });
  const nodes = new Informer<Node>({ client, resource: resources.nodes }).start();
  const { config } = await loadConfig(undefined, { 'detect-local-mode': mode });
  const { clock, expire } = handClock();
  const log = createLogger('proxy', 'silent');
  let outcome: unknown = 'waiting';
  const options = { nodes, nodeName: 'node-1', config, clock, log };
  const done = waitForNode(options).then(
    (node) => (outcome = node),
    (error: Error) => (outcome = error),
  );
  await nodes.synced;
  await settle();
  return { client, nodes, expire, done, outcome: () => outcome };
}

const settle = () => new Promise((resolve) => setTimeout(resolve, 20));

const plain = { metadata: { name: 'node-1' } };
const addressed = { status: { addresses: [internal('10.0.0.5')] } };

test('[P131] it waits until the node has addresses', async () => {
  const { client, nodes, done, outcome } = await waiting('ClusterCIDR');
  assert.equal(outcome(), 'waiting');
  const node = await client.create<Node>(resources.nodes, plain);
  await settle();
  assert.equal(outcome(), 'waiting');
  await client.update(resources.nodes, { ...node, ...addressed }, { subresource: 'status' });
  await done;
  assert.equal((outcome() as Node).status?.addresses?.[0]?.address, '10.0.0.5');
  nodes.stop();
});

test('[P131] after half a minute it goes on without', async () => {
  const { nodes, expire, done, outcome } = await waiting('ClusterCIDR');
  expire(29_000);
  await settle();
  assert.equal(outcome(), 'waiting');
  expire(30_000);
  await done;
  assert.equal(outcome(), undefined);
  nodes.stop();
});

test('[P131] mode NodeCIDR waits for pod prefixes, and does not go on without', async () => {
  const { client, nodes, expire, done, outcome } = await waiting('NodeCIDR');
  const node = await client.create<Node>(resources.nodes, plain);
  await client.update(resources.nodes, { ...node, ...addressed }, { subresource: 'status' });
  await settle();
  expire(30_000);
  await settle();
  assert.equal(outcome(), 'waiting');
  expire(300_000);
  await done;
  assert.match(String(outcome()), /node "node-1" was given no range for pods/);
  nodes.stop();
});

const kernels: { release: string; env?: Record<string, string>; ok: boolean }[] = [
  { release: '6.18.0', ok: true },
  { release: '5.13.0-generic', ok: true },
  { release: '6.1', ok: true },
  { release: '5.12.19', ok: false },
  { release: '4.18.0-553.el8.x86_64', ok: false },
  { release: '4.18.0-553.el8.x86_64', env: { FAIRLEAD_SKIP_KERNEL_CHECK: '1' }, ok: true },
];

for (const { release, env = {}, ok } of kernels) {
  test(`[P117] Linux ${release}${env.FAIRLEAD_SKIP_KERNEL_CHECK ? ', not checked' : ''}`, () => {
    const check = () => checkKernelVersion(release, env);
    if (ok) check();
    else assert.throws(check, { code: 'NOT_SUPPORTED', message: /needs Linux 5\.13/ });
  });
}
