/**
 * Services of type LoadBalancer, from the host through the balancer and a node port to a pod, and what
 * kubectl shows of them: one lab of both families, and one whose addresses are few and elsewhere.
 */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Pod, Service } from '../../src/api/types.ts';
import {
  Cluster,
  environment,
  eventually,
  fairleadOk,
  fairlead,
  hostSnapshot,
  must,
  removeHome,
  run,
  sameHost,
} from './harness.ts';
import {
  addressesOf,
  addressOf,
  fieldOf,
  hostAddress,
  pod,
  seen,
  service,
  type Family,
} from './balanced.ts';
import { at, hostPort, inPod, knock, onNode, outside, udpAnswers, type Place } from './places.ts';

const hostBefore = hostSnapshot();
const families = ['ipv4', 'ipv6'] as const;

const TIMED_OUT = 28;
const REFUSED = 7;

const proxied = 'fairlead.dev/load-balancer-ip-mode: Proxy';

let lab: Cluster;

before(async () => {
  lab = await Cluster.up('lab', '--ip-family', 'dual');
  await lab.apply(
    [
      pod('web-1', 'node-1'),
      pod('web-2', 'node-2'),
      pod('client', 'node-2', 'client'),
      pod('far', 'node-3', 'far'),
      service('plain'),
      service('local', 'externalTrafficPolicy: Local'),
      service('sticky', 'sessionAffinity: ClientIP'),
      service('bare', 'allocateLoadBalancerNodePorts: false'),
      service('bare-local', 'allocateLoadBalancerNodePorts: false\n  externalTrafficPolicy: Local'),
      service('proxied', '', proxied),
      service('proxied-local', 'externalTrafficPolicy: Local', proxied),
      service('open', 'loadBalancerSourceRanges: [172.29.0.1/32, "fd00:172:29::1/128"]'),
      service('closed', 'loadBalancerSourceRanges: [198.51.100.0/24, "2001:db8::/32"]'),
      service('classed', 'loadBalancerClass: fairlead.dev/edge'),
      service('nobody', '', '', 'nobody'),
    ].join('\n'),
  );
  await lab.kubectlOk('wait', 'pod', '--all', '--for=condition=Ready', '--timeout=30s');
});

after(async () => {
  await fairlead('down', '--all');
  removeHome();
});

const isFamily = (address: string, family: Family) => address.includes(':') === (family === 'ipv6');

async function place(name: string): Promise<Place> {
  return inPod(lab, await lab.json<Pod>('pod', name));
}

test('kubectl shows the addresses, the finalizer and the event', async () => {
  await addressesOf(lab, 'plain');
  const shown = await lab.kubectlOk('get', 'service', 'plain');
  assert.match(shown, /plain +LoadBalancer +\S+ +172\.29\.0\.\d+,fd00:172:29::1:\w+ +80:3\d+\/TCP/);
  const { metadata, status } = await lab.json<Service>('service', 'plain');
  assert.deepEqual(metadata.finalizers, ['service.kubernetes.io/load-balancer-cleanup']);
  assert.deepEqual(
    status?.loadBalancer?.ingress?.map(({ ipMode }) => ipMode),
    ['VIP', 'VIP'],
  );
  const told = await lab.kubectlOk('describe', 'service', 'plain');
  assert.match(told, /Normal +IPAllocated .* Assigned 172\.29\.0\.\d+, fd00:\S+ \(edge\)/);
});

// What the pod sees of a client on the host. The rows of P62, by way of the balancer.
const rows: { name: string; keeps: boolean; pods: string[]; id: string }[] = [
  { name: 'plain', keeps: false, pods: ['web-1', 'web-2'], id: 'P62' },
  { name: 'local', keeps: true, pods: ['web-1', 'web-2'], id: 'P62' },
  { name: 'sticky', keeps: false, pods: ['web-1'], id: 'P84' },
  { name: 'bare', keeps: false, pods: ['web-1', 'web-2'], id: 'P50' },
  { name: 'bare-local', keeps: true, pods: ['web-1', 'web-2'], id: 'P50' },
  { name: 'proxied', keeps: false, pods: ['web-1', 'web-2'], id: 'P48' },
  { name: 'proxied-local', keeps: true, pods: ['web-1', 'web-2'], id: 'P48' },
  { name: 'open', keeps: false, pods: ['web-1', 'web-2'], id: 'P51' },
];
for (const { name, keeps, pods, id } of rows) {
  for (const family of families) {
    test(`${name}, ${family}: the client's address is ${keeps ? 'kept' : 'lost'} [${id}]`, async () => {
      const address = await addressOf(lab, name, family);
      const clients = await seen(outside, address, 'client');
      if (keeps) assert.deepEqual(clients, [hostAddress[family]]);
      else assert.ok(!clients.includes(hostAddress[family]), clients.join());
      const found = await seen(outside, address, 'pod', 24);
      if (name === 'sticky') assert.equal(found.length, 1);
      else assert.deepEqual(found, pods);
      const [answer = ''] = await udpAnswers(outside, { address, port: 80 }, 'hello');
      assert.match(answer, /pod=web-[12] .*protocol=udp/);
      if (keeps) assert.equal(fieldOf(answer, 'client'), hostAddress[family]);
    });
  }
}

for (const family of families) {
  test(`pods and nodes are served by their own node, or go by way of the balancer, ${family} [P48, P49, P58, P60]`, async () => {
    const { status } = await lab.json<Pod>('pod', 'far');
    const own = status?.podIPs?.map(({ ip }) => ip).find((ip) => isFamily(ip, family)) ?? '';
    // Of node-3, where both clients are, and of the balancer.
    const node = { ipv4: '172.29.0.13', ipv6: 'fd00:172:29::d' }[family];
    const balancer = { ipv4: '172.29.0.2', ipv6: 'fd00:172:29::2' }[family];
    const wanted: [name: string, pod: string, process: string][] = [
      ['plain', node, node],
      ['classed', node, node],
      ['local', own, node],
      ['bare', node, node],
    ];
    const clients = [await place('far'), onNode(lab, 'node-3')] as const;
    for (const [name, ...sources] of wanted) {
      const address = await addressOf(lab, name, family);
      for (const [index, from] of clients.entries()) {
        const what = `${name} from ${from.name}`;
        assert.deepEqual(await seen(from, address, 'client'), [sources[index]], what);
        assert.deepEqual(await seen(from, address, 'pod', 20), ['web-1', 'web-2'], what);
      }
    }
    // Its node takes the balancer's packets for anybody's (policy Cluster), or passes them on.
    const through = await addressOf(lab, 'proxied-local', family);
    for (const from of [...clients, await place('client')]) {
      assert.deepEqual(await seen(from, through, 'client', 20), [balancer], from.name);
      assert.deepEqual(await seen(from, through, 'pod', 20), ['web-1', 'web-2'], from.name);
    }
  });

  test(`loadBalancerSourceRanges: others are dropped, ${family} [P51]`, async () => {
    const address = await addressOf(lab, 'closed', family);
    assert.equal((await knock(outside, { address, port: 80 })).code, TIMED_OUT);
    // Node ports are not subject to them (P39).
    const { spec } = await lab.json<Service>('service', 'closed');
    const node = { ipv4: '172.29.0.12', ipv6: 'fd00:172:29::c' }[family];
    const port = spec.ports?.[0]?.nodePort ?? 0;
    assert.equal((await knock(outside, { address: node, port })).code, 0);
    // Of the ranges of another Service nothing has stayed.
    const open = await addressOf(lab, 'open', family);
    assert.equal((await knock(onNode(lab, 'node-1'), { address: open, port: 80 })).code, TIMED_OUT);
  });

  test(`without endpoints, and at a port that no Service has: refused, ${family}`, async () => {
    const address = await addressOf(lab, 'nobody', family);
    for (const port of [80, 81]) {
      const { code } = await knock(outside, { address, port }, 3);
      assert.equal(code, REFUSED, `port ${port}`);
    }
  });
}

test('two Services share an address, each with its port; deleting one leaves the other [P45]', async () => {
  const share = 'metallb.io/allow-shared-ip: us';
  const one = service('one', '', share).replaceAll('port: 80,', 'port: 8001,');
  const two = service('two', '', share).replaceAll('port: 80,', 'port: 8002,');
  await lab.apply(one + two);
  const ips = await addressesOf(lab, 'one');
  assert.deepEqual(await addressesOf(lab, 'two'), ips);
  const client = await place('client');
  for (const address of ips) {
    for (const port of [8001, 8002])
      for (const from of [outside, client])
        assert.equal((await knock(from, { address, port })).code, 0, `${from.name} ${address}`);
  }
  await lab.kubectlOk('delete', 'service', 'one');
  for (const address of ips) {
    assert.equal((await knock(outside, { address, port: 8001 })).code, REFUSED);
    assert.equal((await knock(outside, { address, port: 8002 })).code, 0);
    assert.equal((await knock(client, { address, port: 8002 })).code, 0);
  }
  await lab.kubectlOk('delete', 'service', 'two');
});

test('an address comes free when the type changes, and when the Service is deleted', async () => {
  await lab.apply(service('changing'));
  const ips = await addressesOf(lab, 'changing');
  await lab.kubectlOk('patch', 'service', 'changing', '-p', '{"spec":{"type":"ClusterIP"}}');
  const { metadata, status } = await eventually('the finalizer goes', async () => {
    const changed = await lab.json<Service>('service', 'changing');
    return changed.metadata.finalizers === undefined && changed;
  });
  assert.equal(metadata.deletionTimestamp, undefined);
  assert.deepEqual(status, { loadBalancer: {} });
  for (const address of ips) assert.notEqual((await knock(outside, { address, port: 80 })).code, 0);
  await lab.apply(service('heir'));
  assert.deepEqual(await addressesOf(lab, 'heir'), ips);
  assert.equal((await knock(outside, { address: ips[0]!, port: 80 })).code, 0);
  await lab.kubectlOk('delete', 'service', 'heir', 'changing', '--timeout=10s');
});

test('the class of somebody else is left alone, and an event says so', async () => {
  await lab.apply(service('foreign', 'loadBalancerClass: example.com/lb'));
  const told = await eventually('an event', async () => {
    const text = await lab.kubectlOk('describe', 'service', 'foreign');
    return text.includes('OtherLoadBalancerClass') && text;
  });
  assert.match(
    told,
    /Normal +OtherLoadBalancerClass .* Left to whoever serves class "example.com\/lb"/,
  );
  assert.match(await lab.kubectlOk('get', 'service', 'foreign'), / <pending> /);
  const { metadata } = await lab.json<Service>('service', 'foreign');
  assert.equal(metadata.finalizers, undefined);
  await lab.kubectlOk('delete', 'service', 'foreign');
});

test('status shows the balancer and its addresses', async () => {
  const [plain = ''] = await addressesOf(lab, 'plain');
  const text = await fairleadOk('status');
  assert.match(
    text,
    /load balancer: edge at 172\.29\.0\.2 fd00:172:29::2, addresses from 172\.29\.0\.192\/27/,
  );
  assert.match(text, new RegExp(`${plain.replaceAll('.', '\\.')} +default/plain`));
});

test('addresses of another lab: elsewhere, few, and told why there is none', async () => {
  const flags = ['--nodes', '1', '--load-balancer-cidr', '203.0.113.4/30'];
  const other = await Cluster.up('other', ...flags);
  assert.match(must(await run('ip', ['route']), 'ip route'), /203\.0\.113\.4\/30 dev fairlead1/);
  const tiny = (name: string, more = '') =>
    service(name, more).replace('PreferDualStack', 'SingleStack');
  await other.apply(
    pod('web-1', 'node-1') +
      tiny('asked', 'loadBalancerIP: 203.0.113.6\n  externalTrafficPolicy: Local'),
  );
  await other.kubectlOk('wait', 'pod', 'web-1', '--for=condition=Ready', '--timeout=30s');
  assert.deepEqual(await addressesOf(other, 'asked'), ['203.0.113.6']);
  await eventually('an answer', async () => {
    return (await knock(outside, { address: '203.0.113.6', port: 80 })).code === 0;
  });
  const { spec } = await other.json<Service>('service', 'asked');
  const health = `http://172.29.1.11:${spec.healthCheckNodePort}/`;
  const { stdout } = await at(
    outside,
    'curl',
    '-s',
    '-m',
    '2',
    '-o',
    '/dev/null',
    '-w',
    '%{http_code}',
    health,
  );
  assert.equal(stdout, '200');
  await other.apply(
    [
      tiny('taken', 'loadBalancerIP: 203.0.113.6'),
      tiny('strange', 'loadBalancerIP: 192.0.2.1'),
      ...['a', 'b', 'c', 'd'].map((name) => tiny(name)),
    ].join('\n'),
  );
  const why = (name: string, text: RegExp) =>
    eventually(`why ${name} waits`, async () =>
      text.test(await other.kubectlOk('describe', 'service', name)),
    );
  await why(
    'taken',
    /AllocationFailed .*203\.0\.113\.6 is asked for, but Service default\/asked has it/,
  );
  await why(
    'strange',
    /AllocationFailed .*192\.0\.2\.1 is asked for, which is not in the pool 203\.0\.113\.4\/30/,
  );
  for (const name of ['a', 'b', 'c']) await addressesOf(other, name);
  await why('d', /AllocationFailed .*no ipv4 address is left: all of 203\.0\.113\.4\/30 are taken/);
  assert.match(await other.kubectlOk('get', 'service', 'd'), / <pending> /);
  const [freed = ''] = await addressesOf(other, 'b');
  await other.kubectlOk('delete', 'service', 'b');
  assert.deepEqual(await addressesOf(other, 'd'), [freed]);
  await other.kubectlOk('delete', 'service', 'asked');
  assert.deepEqual(await addressesOf(other, 'taken'), ['203.0.113.6']);
  // The first lab's balancer has other addresses, and does not mind.
  assert.equal(
    (await knock(outside, { address: await addressOf(lab, 'plain', 'ipv4'), port: 80 })).code,
    0,
  );
  await other.down();
  assert.doesNotMatch(must(await run('ip', ['route']), 'ip route'), /203\.0\.113/);
});

test('up --load-balancer none: nobody gives an address, and no balancer is made', async () => {
  const none = await Cluster.up('none', '--nodes', '1', '--load-balancer', 'none');
  await none.apply(service('waits').replace('PreferDualStack', 'SingleStack'));
  await sleep(500);
  assert.match(await none.kubectlOk('get', 'service', 'waits'), / <pending> /);
  assert.ok(!existsSync(join(environment.FAIRLEAD_ROOT, 'run', 'none', 'balancer')));
  assert.doesNotMatch(await fairleadOk('status', '--name', 'none'), /load balancer/);
  await none.down();
});

test('an address range that the host routes elsewhere is refused before anything is touched', async () => {
  const { code, stderr } = await fairlead(
    'up',
    '--name',
    'third',
    '--load-balancer-cidr',
    '172.29.0.0/24',
  );
  assert.equal(code, 2);
  assert.match(
    stderr,
    /--load-balancer-cidr 172\.29\.0\.0\/24 overlaps .* fairlead0.*\[RANGE_OVERLAP\]/s,
  );
});

test('down leaves nothing', async () => {
  const { stdout } = await at(
    outside,
    'curl',
    '-gs',
    '-m',
    '2',
    `http://${hostPort(await addressOf(lab, 'plain', 'ipv6'), 80)}/`,
  );
  assert.match(stdout, /pod=web-/);
  await lab.down();
  await sameHost(hostBefore);
});
