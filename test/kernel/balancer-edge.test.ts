/** The balancer host's rules and addresses are put right again, whatever kept us from it. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { after, before, test } from 'node:test';

import type { KubeObject } from '../../src/api/meta.ts';
import { resources } from '../../src/api/resources.ts';
import type { Service } from '../../src/api/types.ts';
import { startApiServer } from '../../src/apiserver/server.ts';
import { HostAddresses } from '../../src/balancer/edge/addresses.ts';
import { createEdge, type EdgeHost } from '../../src/balancer/edge/edge.ts';
import { Answering } from '../../src/balancer/layer2/answering.ts';
import type { Provider } from '../../src/balancer/provider.ts';
import { Informers } from '../../src/client/informer.ts';
import { createLogger } from '../../src/lib/log.ts';
import { createMemoryStore } from '../../src/store/store.ts';

const link = 'edge0';
const ip = '192.0.2.7';
const run = (command: string) => {
  const [name = '', ...args] = command.split(' ');
  return execFileSync(name, args, { encoding: 'utf8' });
};

/** What the machine refuses. */
let broken: 'create' | 'enter' | undefined;
/** The network that the test is in. */
const host: EdgeHost = {
  create() {
    if (broken === 'create') throw new Error('the machine cannot be made');
  },
  enter(work) {
    if (broken === 'enter') throw new Error('the machine cannot be entered');
    return work();
  },
  link,
  ips: [],
};

let edge: Provider;
let informers: Informers;

const service = {
  metadata: { namespace: 'shop', name: 'web', resourceVersion: '1' },
  spec: { type: 'LoadBalancer', ports: [{ port: 80, nodePort: 30_080 }] },
} as unknown as Service;

before(async () => {
  run('ip link set lo up');
  run(`ip link add ${link} type bridge`);
  run(`ip link set ${link} up`);
  const { client } = await startApiServer({ store: createMemoryStore(), serviceCidrs: [] });
  await client.create(resources.nodes, {
    metadata: { name: 'node-1' },
    status: { addresses: [{ type: 'InternalIP', address: '127.0.0.1' }] },
  } as unknown as KubeObject);
  const log = createLogger('test', 'silent');
  informers = new Informers({ client, log });
  edge = createEdge({ host, informers, log });
  await informers.start();
  edge.settle();
});
after(() => {
  edge.stop();
  informers.stop();
});

const hasRules = () => {
  const tables = run('nft list tables');
  return tables.includes('ip fairlead') && run('nft list map ip fairlead frontends').includes(ip);
};
const hasAddress = () => run(`ip -4 address show ${link}`).includes(ip);

async function eventually(what: string, look: () => boolean): Promise<void> {
  const end = performance.now() + 10_000;
  while (!look()) {
    assert(performance.now() < end, `not in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

test('rules that somebody flushed come back, also when the first try fails', async () => {
  edge.serve(service, { ips: [ip], ipMode: 'VIP' });
  assert(hasRules() && hasAddress());
  broken = 'create';
  run('nft flush ruleset');
  // Long enough for a round of health checks, which looks at the rules too.
  await new Promise((resolve) => setTimeout(resolve, 1500));
  assert(!hasRules());
  broken = undefined;
  await eventually('the rules', hasRules);
});

test('what finds no link leaves no descriptor open, however often it is tried', () => {
  const open = () => readdirSync('/proc/self/fd').length;
  const before = open();
  assert.throws(() => new HostAddresses('nowhere', []));
  assert.throws(() => new Answering('nowhere', ['ipv4']));
  assert.equal(open(), before);
});

test('an address that could not be taken away goes with the next try', () => {
  assert(hasAddress());
  broken = 'enter';
  assert.throws(() => edge.release('shop/web'), /cannot be entered/);
  broken = undefined;
  assert(hasAddress());
  edge.release('shop/web');
  assert(!hasAddress() && !hasRules());
});
