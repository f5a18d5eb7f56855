/** What we make, ip(8) shows; what ip makes, we read; changes are told; refusals are explained. */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { after, test } from 'node:test';
import { NetlinkError } from '../../src/kernel/netlink/netlink-error.ts';
import {
  addAddress,
  addLink,
  addRoute,
  addRoutingRule,
  deleteAddress,
  deleteLink,
  deleteNeighbour,
  deleteRoute,
  deleteRoutingRule,
  monitorRoutes,
  readSysctl,
  replaceNeighbour,
  replaceRoute,
  RouteConnection,
  RTPROT_FAIRLEAD,
  setBridgePort,
  setLink,
  writeSysctl,
  type Route,
  type RouteEvent,
} from '../../src/kernel/route/index.ts';

const connection = new RouteConnection();
after(() => connection[Symbol.dispose]());

type Shown = { readonly [field: string]: unknown };

/** What `ip -j …` shows. */
function ip(...command: string[]): Shown[] {
  const text = execFileSync('ip', ['-j', '-d', ...command], { encoding: 'utf8' });
  return text.trim() === '' ? [] : (JSON.parse(text) as Shown[]);
}

/** The index of a link that must be there. */
function indexOf(name: string): number {
  const link = connection.link(name);
  assert.ok(link !== undefined, name);
  return link.index;
}

test('loopback goes down and comes up', () => {
  connection.apply(setLink('lo', { up: false }));
  assert.equal(connection.link('lo')?.up, false);
  connection.apply(setLink('lo', { up: true }));
  assert.equal(connection.link('lo')?.up, true);
  assert.ok(connection.link(1)?.loopback);
});

test('a bridge with a veth port, as ip shows it', () => {
  connection.apply(addLink({ name: 'br0', kind: { kind: 'bridge' }, up: true }));
  const peer = { name: 'v1', address: '02:00:00:00:00:03' };
  connection.apply(
    addLink({
      name: 'v0',
      kind: { kind: 'veth', peer },
      mtu: 1400,
      address: '02:00:00:00:00:02',
      masterIndex: indexOf('br0'),
    }),
  );
  connection.apply(setLink('v0', { up: true }));
  connection.apply(setLink('v1', { up: true, promiscuous: true }));
  connection.apply(setBridgePort(indexOf('v0'), { hairpin: true, isolated: true }));
  const [v0] = ip('link', 'show', 'v0');
  assert.partialDeepStrictEqual(v0, {
    ifname: 'v0',
    link: 'v1',
    mtu: 1400,
    master: 'br0',
    address: '02:00:00:00:00:02',
    operstate: 'UP',
    linkinfo: { info_kind: 'veth', info_slave_data: { hairpin: true, isolated: true } },
  });
  assert.ok((ip('link', 'show', 'v1')[0]?.flags as string[] | undefined)?.includes('PROMISC'));
  assert.partialDeepStrictEqual(ip('link', 'show', 'br0')[0], {
    linkinfo: { info_data: { forward_delay: 0, stp_state: 0 } },
  });
});

test('we read the links that ip made', () => {
  execFileSync('ip', ['link', 'add', 'theirs', 'mtu', '1300', 'type', 'veth', 'peer', 'name', 'p']);
  const link = connection.links().find(({ name }) => name === 'theirs');
  assert.partialDeepStrictEqual(link, { kind: 'veth', mtu: 1300, up: false, running: false });
  assert.equal(link?.peerIndex, indexOf('p'));
  connection.apply(setLink('theirs', { mtu: 1280 }));
  connection.apply(setLink(indexOf('theirs'), { name: 'ours' }));
  assert.equal(ip('link', 'show', 'ours')[0]?.mtu, 1280);
  connection.apply(deleteLink('ours'));
  assert.equal(connection.link('p'), undefined);
});

test('the other end of a veth goes to another namespace, and comes back', async () => {
  const other = spawn('unshare', ['-n', 'sh', '-c', 'echo ready; read line'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  await new Promise((resolve) => other.stdout.once('data', resolve));
  const fd = openSync(`/proc/${other.pid}/ns/net`, 'r');
  const own = openSync('/proc/self/ns/net', 'r');
  try {
    const peer = { name: 'inside', netnsFd: fd };
    connection.apply(addLink({ name: 'outside', kind: { kind: 'veth', peer } }));
    assert.equal(connection.link('inside'), undefined);
    assert.notEqual(connection.link('outside')?.peerNetnsId, undefined);
    const there = execFileSync('nsenter', [`--net=/proc/${other.pid}/ns/net`, 'ip', '-o', 'link']);
    assert.match(there.toString(), /inside@/);
    connection.apply(deleteLink('outside'));
  } finally {
    closeSync(fd);
    closeSync(own);
    other.stdin.end();
    await new Promise((resolve) => other.once('exit', resolve));
  }
});

const families = [
  {
    label: 'IPv4',
    own: '172.29.0.1',
    bits: 24,
    gateway: '172.29.0.11',
    gateway2: '172.29.0.12',
    offLink: '169.254.1.1',
    pods: '10.244.1.0/24',
    pod: '10.244.2.7/32',
    within: '10.244.1.9',
    nowhere: '203.0.113.1',
    any: '0.0.0.0/0',
    flag: '-4',
  },
  {
    label: 'IPv6',
    own: 'fd00:172:29::1',
    bits: 64,
    gateway: 'fd00:172:29::11',
    gateway2: 'fd00:172:29::12',
    offLink: 'fe80::1',
    pods: 'fd00:10:244:1::/64',
    pod: 'fd00:10:244:2::7/128',
    within: 'fd00:10:244:1::9',
    nowhere: '2001:db8::1',
    any: '::/0',
    flag: '-6',
  },
] as const;

/** As ip writes it: hosts without their length, the default by name. */
function shownAs(destination: string): string {
  if (destination.endsWith('/0')) return 'default';
  return destination.replace(/\/(32|128)$/, '');
}

for (const family of families) {
  const { label, own, bits, gateway, gateway2, offLink, pods, pod, flag } = family;

  test(`${label} addresses, as ip shows them`, () => {
    const address = { linkIndex: indexOf('br0'), address: own, prefixLength: bits };
    connection.apply(addAddress({ ...address, noDad: true }));
    assert.throws(() => connection.apply(addAddress(address)), NetlinkError);
    connection.ensure(addAddress(address));
    const [link] = ip('address', 'show', 'br0');
    const shown = (link?.addr_info as Shown[] | undefined)?.find(({ local }) => local === own);
    assert.partialDeepStrictEqual(shown, { prefixlen: bits, scope: 'global' });
    assert.ok(shown?.tentative === undefined, 'no duplicate address detection');
    const read = connection.addresses(indexOf('br0')).find((each) => each.address === own);
    assert.partialDeepStrictEqual(read, { ...address, permanent: true, tentative: false });
  });

  const routes: [name: string, route: () => Route, shown: () => Shown][] = [
    [
      'by a gateway',
      () => ({ destination: pods, via: gateway }),
      () => ({ gateway, dev: 'br0', protocol: '70' }),
    ],
    [
      'to a link',
      () => ({ destination: pod, linkIndex: indexOf('v1') }),
      () => ({ dev: 'v1', protocol: '70' }),
    ],
    [
      'by a gateway that no address of the link covers',
      () => ({ destination: family.any, via: offLink, linkIndex: indexOf('v1'), onlink: true }),
      () => ({ gateway: offLink, dev: 'v1' }),
    ],
    [
      'with a metric, a source and a size',
      () => ({ destination: pods, via: gateway2, metric: 9, source: own, mtu: 1280 }),
      () => ({ gateway: gateway2, metric: 9, prefsrc: own, metrics: [{ mtu: 1280 }] }),
    ],
    [
      'in a table of its own',
      () => ({ destination: pods, type: 'unreachable', table: 1000 }),
      () => ({ type: 'unreachable', table: '1000' }),
    ],
  ];

  for (const [name, route, want] of routes) {
    test(`a ${label} route ${name}, as ip shows it`, () => {
      const one = route();
      connection.apply(addRoute(one));
      const shown = ip(flag, 'route', 'show', 'table', String(one.table ?? 'main'));
      const entry = shown.find(
        (each) =>
          each.dst === shownAs(one.destination) &&
          (one.metric === undefined || each.metric === one.metric),
      );
      const { table: _, ...rest } = want();
      assert.partialDeepStrictEqual(entry, rest);
      const ours = connection.routes({
        protocol: RTPROT_FAIRLEAD,
        ...(one.table && { table: one.table }),
      });
      const read = ours.find(
        (each) =>
          each.destination === one.destination &&
          (one.metric === undefined || each.metric === one.metric),
      );
      assert.partialDeepStrictEqual(read, one);
      connection.apply(deleteRoute(one));
      connection.ensure(deleteRoute(one));
      assert.throws(() => connection.apply(deleteRoute(one)), NetlinkError);
    });
  }

  test(`a ${label} route is replaced, looked up and read`, () => {
    connection.apply(addRoute({ destination: pods, via: gateway }));
    connection.apply(replaceRoute({ destination: pods, via: gateway2 }));
    assert.equal(connection.routeTo(family.within)?.via, gateway2);
    assert.equal(connection.routeTo(family.nowhere), undefined);
    const foreign = connection.routes({ table: 254 }).filter((each) => each.protocol !== 70);
    assert.ok(foreign.length > 0 && connection.routes({ table: 4711 }).length === 0);
    connection.apply(deleteRoute({ destination: pods }));
  });

  test(`${label} neighbours, as ip shows them`, () => {
    const linkIndex = indexOf('v1');
    const mac = '02:00:00:00:00:99';
    connection.apply(replaceNeighbour({ linkIndex, address: offLink, mac }));
    connection.apply(replaceNeighbour({ linkIndex, address: gateway, proxy: true }));
    const shown = ip(flag, 'neighbour', 'show', 'dev', 'v1').find(({ dst }) => dst === offLink);
    assert.partialDeepStrictEqual(shown, { lladdr: mac, state: ['PERMANENT'] });
    assert.ok(ip(flag, 'neighbour', 'show', 'proxy').some(({ dst }) => dst === gateway));
    const read = connection.neighbours({ linkIndex }).find(({ address }) => address === offLink);
    assert.deepEqual(read, { linkIndex, address: offLink, mac, permanent: true });
    const [proxy] = connection
      .neighbours({ proxy: true })
      .filter((each) => each.address === gateway);
    assert.partialDeepStrictEqual(proxy, { linkIndex, proxy: true });
    connection.apply(deleteNeighbour({ linkIndex, address: offLink }));
    connection.apply(deleteNeighbour({ linkIndex, address: gateway, proxy: true }));
    assert.ok(!connection.neighbours({ linkIndex }).some(({ address }) => address === offLink));
    assert.deepEqual(connection.neighbours({ proxy: true }), []);
  });

  test(`${label} routing rules, as ip shows them`, () => {
    const name = label === 'IPv4' ? 'ipv4' : 'ipv6';
    const rule = {
      family: name,
      priority: 100,
      table: 1000,
      mark: 0x4000,
      mask: 0x4000,
      to: pods,
    } as const;
    connection.apply(addRoutingRule(rule));
    const shown = ip(flag, 'rule', 'show').find(({ priority }) => priority === 100);
    assert.partialDeepStrictEqual(shown, { fwmark: '0x4000', fwmask: '0x4000', table: '1000' });
    const read = connection.routingRules().find((each) => each.priority === 100);
    assert.deepEqual(read, { ...rule, protocol: RTPROT_FAIRLEAD });
    connection.apply(deleteRoutingRule(rule));
    assert.ok(!connection.routingRules().some(({ priority }) => priority === 100));
  });

  test(`${label} addresses go`, () => {
    const address = { linkIndex: indexOf('br0'), address: own, prefixLength: bits };
    connection.apply(deleteAddress(address));
    assert.throws(() => connection.apply(deleteAddress(address)), { errnoName: 'EADDRNOTAVAIL' });
    connection.ensure(deleteAddress(address));
  });
}

test('a route with several ways, as ip shows it', () => {
  const linkIndex = indexOf('br0');
  connection.apply(addAddress({ linkIndex, address: '172.29.0.1', prefixLength: 24 }));
  const nextHops = [
    { via: '172.29.0.12', linkIndex, weight: 1 },
    { via: '172.29.0.13', linkIndex, weight: 3 },
  ];
  connection.apply(addRoute({ destination: '10.99.0.0/16', nextHops }));
  const [shown] = ip('-4', 'route', 'show', '10.99.0.0/16');
  assert.partialDeepStrictEqual(shown?.nexthops, [
    { gateway: '172.29.0.12', weight: 1 },
    { gateway: '172.29.0.13', weight: 3 },
  ]);
  const read = connection.routes().find((each) => each.destination === '10.99.0.0/16');
  assert.deepEqual(read?.nextHops, nextHops);
});

/** What the kernel says when it refuses. */
const refusals: [name: string, change: () => void, message: RegExp][] = [
  [
    'a gateway out of reach',
    () =>
      connection.apply(addRoute({ destination: '10.1.0.0/16', via: '192.0.2.1' }), 'add the route'),
    /^Cannot add the route: the kernel answered ENETUNREACH, "Nexthop has invalid gateway"$/,
  ],
  [
    'a link that is there already',
    () => connection.apply(addLink({ name: 'br0', kind: { kind: 'bridge' } }), 'add link "br0"'),
    /^Cannot add link "br0": the kernel answered EEXIST$/,
  ],
  [
    'a link that is not there',
    () => connection.apply(setLink('nope', { up: true }), 'set up link "nope"'),
    /^Cannot set up link "nope": the kernel answered ENODEV$/,
  ],
  [
    'a size below what a link allows',
    () => connection.apply(setLink('br0', { mtu: 1 }), 'change link "br0"'),
    /EINVAL, "mtu less than device minimum"/,
  ],
];

for (const [name, change, message] of refusals) {
  test(`refuses ${name}`, () => assert.throws(change, { name: 'NetlinkError', message }));
}

test('ensure lets other refusals pass', () => {
  assert.throws(() => connection.ensure(setLink('br0', { mtu: 1 })), { errnoName: 'EINVAL' });
});

test('the monitor tells of links, addresses, routes and neighbours', async () => {
  const events: RouteEvent[] = [];
  const last = Promise.withResolvers<void>();
  using _monitor = monitorRoutes(['link', 'address', 'route', 'neighbour'], (event) => {
    events.push(event);
    if (event.kind === 'link' && event.deleted && event.link.name === 'w0') last.resolve();
  });
  const script = [
    'ip link add w0 type veth peer name w1',
    'ip link set w0 up',
    'ip address add 10.3.0.1/24 dev w0',
    'ip route add 10.4.0.0/24 dev w0',
    'ip neighbour add 10.3.0.2 lladdr 02:00:00:00:00:01 dev w0',
    'ip route delete 10.4.0.0/24',
    'ip link delete w0',
  ];
  execFileSync('sh', ['-c', script.join('; ')]);
  await last.promise;
  const told = (want: object) =>
    assert.ok(
      events.some((event) => {
        try {
          assert.partialDeepStrictEqual(event, want);
          return true;
        } catch {
          return false;
        }
      }),
      JSON.stringify(want),
    );
  told({ kind: 'link', deleted: false, link: { name: 'w0', up: true } });
  told({ kind: 'address', deleted: false, address: { address: '10.3.0.1', prefixLength: 24 } });
  told({ kind: 'route', deleted: false, route: { destination: '10.4.0.0/24' } });
  told({ kind: 'route', deleted: true, route: { destination: '10.4.0.0/24' } });
  told({ kind: 'neighbour', deleted: false, neighbour: { address: '10.3.0.2' } });
});

test('a port that leaves its bridge is no link that goes', async () => {
  const events: RouteEvent[] = [];
  const last = Promise.withResolvers<void>();
  using _monitor = monitorRoutes(['link'], (event) => {
    events.push(event);
    if (event.kind === 'link' && event.deleted && event.link.name === 'bm0') last.resolve();
  });
  const script = [
    'ip link add bm0 type bridge',
    'ip link add bm1 type veth peer name bm2',
    'ip link set bm1 master bm0',
    'ip link set bm1 nomaster',
    'ip link delete bm0',
  ];
  execFileSync('sh', ['-c', script.join('; ')]);
  await last.promise;
  const gone = events.filter((event) => event.kind === 'link' && event.deleted);
  assert.deepEqual(
    gone.map((event) => event.kind === 'link' && event.link.name),
    ['bm0'],
  );
  execFileSync('ip', ['link', 'delete', 'bm1']);
});

test('settings of this namespace are read and written', () => {
  assert.equal(readSysctl('net.ipv4.ip_forward'), '0');
  writeSysctl('net.ipv4.ip_forward', 1);
  assert.equal(readSysctl('net/ipv4/ip_forward'), '1');
  assert.throws(() => readSysctl('net/../../etc/passwd'), RangeError);
  assert.throws(() => readSysctl('net.nonsense'), { code: 'ENOENT' });
});
