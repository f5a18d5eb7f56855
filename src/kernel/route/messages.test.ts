/** Our bytes against those that ip(8) sent: `tools/record/netlink.ts` recorded them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hexDump, readGolden } from '../../../test/golden/read.ts';
import { NLM_F_ACK, NLM_F_REQUEST } from '../netlink/constants.ts';
import type { Message } from '../netlink/message.ts';
import { addAddress, decodeAddress, deleteAddress } from './addresses.ts';
import { addLink, decodeLink, deleteLink, setBridgePort, setLink } from './links.ts';
import { decodeNeighbour, deleteNeighbour, replaceNeighbour } from './neighbours.ts';
import { addRoute, decodeRoute, deleteRoute, replaceRoute } from './routes.ts';
import { addRoutingRule, decodeRoutingRule, deleteRoutingRule } from './rules.ts';

const golden = readGolden('ip.txt');

const mac = '02:00:00:00:00:99';
const wide = { family: 'ipv4', priority: 101, table: 100, inputLink: 'lo' } as const;
const prefixes = { from: '10.0.0.0/8', to: '10.1.0.0/16' };

/** Indexes are those of the recording: 1 lo, 2 br0, 3 d0, 4 v1 (later eth0), 5 v0. */
const cases: [command: string, message: Message][] = [
  [
    'link add br0 type bridge forward_delay 0 stp_state 0',
    addLink({ name: 'br0', kind: { kind: 'bridge' } }),
  ],
  [
    'link add d0 address 02:00:00:00:00:01 mtu 1400 type bridge forward_delay 0 stp_state 0',
    addLink({ name: 'd0', kind: { kind: 'bridge' }, address: '02:00:00:00:00:01', mtu: 1400 }),
  ],
  [
    'link add v0 type veth peer name v1',
    addLink({ name: 'v0', kind: { kind: 'veth', peer: { name: 'v1' } } }),
  ],
  ['link set v0 up', setLink(5, { up: true })],
  ['link set v0 master br0', setLink(5, { masterIndex: 2 })],
  ['link set v0 down', setLink(5, { up: false })],
  ['link set d0 up', setLink(3, { up: true })],
  ['link set v1 up promisc on', setLink(4, { up: true, promiscuous: true })],
  ['link set d0 addrgenmode none', setLink(3, { noLinkLocal: true })],
  ['link set v1 name eth0', setLink(4, { name: 'eth0' })],
  ['link delete d0', deleteLink(3)],
  [
    'address add 172.29.0.1/24 dev br0',
    addAddress({ linkIndex: 2, address: '172.29.0.1', prefixLength: 24 }),
  ],
  [
    'address add fd00:172:29::1/64 dev br0 nodad',
    addAddress({ linkIndex: 2, address: 'fd00:172:29::1', prefixLength: 64, noDad: true }),
  ],
  [
    'address add fd00:172:29::c0/128 dev br0 nodad preferred_lft 0',
    addAddress({
      linkIndex: 2,
      address: 'fd00:172:29::c0',
      prefixLength: 128,
      noDad: true,
      deprecated: true,
    }),
  ],
  [
    'address add 127.0.0.2/8 dev lo',
    addAddress({ linkIndex: 1, address: '127.0.0.2', prefixLength: 8 }),
  ],
  [
    'address delete 127.0.0.2/8 dev lo',
    deleteAddress({ linkIndex: 1, address: '127.0.0.2', prefixLength: 8 }),
  ],
  [
    'route add 10.244.1.0/24 via 172.29.0.11 proto 70',
    addRoute({ destination: '10.244.1.0/24', via: '172.29.0.11' }),
  ],
  [
    'route add 10.244.2.7/32 dev eth0 proto 70',
    addRoute({ destination: '10.244.2.7/32', linkIndex: 4 }),
  ],
  [
    'route replace fd00:10:244::/64 via fd00:172:29::11 proto 70',
    replaceRoute({ destination: 'fd00:10:244::/64', via: 'fd00:172:29::11' }),
  ],
  [
    'route add default via 169.254.1.1 dev eth0 onlink proto 70',
    addRoute({ destination: '0.0.0.0/0', via: '169.254.1.1', linkIndex: 4, onlink: true }),
  ],
  [
    'route add 10.99.0.0/16 proto 70 nexthop via 172.29.0.12 dev br0 nexthop via 172.29.0.13 dev br0 weight 3',
    addRoute({
      destination: '10.99.0.0/16',
      nextHops: [
        { via: '172.29.0.12', linkIndex: 2 },
        { via: '172.29.0.13', linkIndex: 2, weight: 3 },
      ],
    }),
  ],
  [
    'route add blackhole 10.98.0.0/16 table 1000 metric 5 proto 70',
    addRoute({ destination: '10.98.0.0/16', type: 'blackhole', table: 1000, metric: 5 }),
  ],
  [
    'route add 10.97.0.0/16 via 172.29.0.12 src 172.29.0.1 mtu 1300 proto 70',
    addRoute({
      destination: '10.97.0.0/16',
      via: '172.29.0.12',
      source: '172.29.0.1',
      mtu: 1300,
    }),
  ],
  ['route delete 10.97.0.0/16', deleteRoute({ destination: '10.97.0.0/16' })],
  [
    'route add local 10.95.0.0/16 dev lo table local proto 70',
    addRoute({ destination: '10.95.0.0/16', type: 'local', linkIndex: 1 }),
  ],
  [
    'neighbour replace 169.254.1.1 lladdr 02:00:00:00:00:99 dev eth0 nud permanent',
    replaceNeighbour({ linkIndex: 4, address: '169.254.1.1', mac }),
  ],
  [
    'neighbour replace fe80::1 lladdr 02:00:00:00:00:99 dev eth0 nud permanent',
    replaceNeighbour({ linkIndex: 4, address: 'fe80::1', mac }),
  ],
  [
    'neighbour delete 169.254.1.1 dev eth0',
    deleteNeighbour({ linkIndex: 4, address: '169.254.1.1' }),
  ],
  [
    'rule add priority 100 fwmark 0x4000/0x4000 table 1000 protocol 70',
    addRoutingRule({ family: 'ipv4', priority: 100, table: 1000, mark: 0x4000, mask: 0x4000 }),
  ],
  [
    'rule add priority 101 from 10.0.0.0/8 to 10.1.0.0/16 iif lo table 100 protocol 70',
    addRoutingRule({ ...wide, ...prefixes }),
  ],
  [
    'rule delete priority 101 from 10.0.0.0/8 to 10.1.0.0/16 iif lo table 100 protocol 70',
    deleteRoutingRule({ ...wide, ...prefixes }),
  ],
];

for (const [command, message] of cases) {
  test(`ip ${command}`, () => {
    const [recorded, ...others] = golden.get(`ip ${command}`) ?? [];
    assert.ok(recorded !== undefined && others.length === 0, 'one message was recorded');
    assert.equal(hexDump(message.body), hexDump(recorded.body));
    assert.equal(message.type, recorded.type);
    assert.equal(message.flags | NLM_F_REQUEST | NLM_F_ACK, recorded.flags);
  });
}

/** A new neighbour proxy is made by `replace`, where ip(8) says `add`; the rest must be equal. */
test('ip neighbour add proxy', () => {
  const message = replaceNeighbour({ linkIndex: 4, address: 'fe80::2', proxy: true });
  const [recorded] = golden.get('ip neighbour add proxy fe80::2 dev eth0') ?? [];
  assert.equal(hexDump(message.body), hexDump(recorded?.body ?? new Uint8Array()));
});

/** ip(8) names the kind of the port where the kernel, which takes either, shows that of its bridge. */
test('ip link set type bridge_slave hairpin on', () => {
  const { body } = setBridgePort(5, { hairpin: true });
  const [recorded] = golden.get('ip link set v0 type bridge_slave hairpin on') ?? [];
  const port = '0c000500 05000400 01000000';
  assert.ok(hexDump(body).endsWith(port));
  assert.ok(hexDump(recorded?.body ?? new Uint8Array()).endsWith(port));
});

test('every recorded command has its row', () => {
  const rows = new Set(cases.map(([command]) => `ip ${command}`));
  const missing = [...golden.keys()].filter((command) => !rows.has(command));
  assert.deepEqual(missing, [
    'ip link set v0 type bridge_slave hairpin on',
    'ip neighbour add proxy fe80::2 dev eth0',
  ]);
});

/** What ip(8) sent, read by our decoders. */
const decoded: [command: string, decode: (body: Uint8Array) => unknown, want: object][] = [
  [
    'link add d0 address 02:00:00:00:00:01 mtu 1400 type bridge forward_delay 0 stp_state 0',
    decodeLink,
    { index: 0, name: 'd0', kind: 'bridge', mtu: 1400, address: '02:00:00:00:00:01', up: false },
  ],
  [
    'address add fd00:172:29::1/64 dev br0 nodad',
    decodeAddress,
    { linkIndex: 2, address: 'fd00:172:29::1', prefixLength: 64, scope: 'global' },
  ],
  [
    'route add default via 169.254.1.1 dev eth0 onlink proto 70',
    decodeRoute,
    { destination: '0.0.0.0/0', via: '169.254.1.1', linkIndex: 4, onlink: true, protocol: 70 },
  ],
  [
    'route add 10.99.0.0/16 proto 70 nexthop via 172.29.0.12 dev br0 nexthop via 172.29.0.13 dev br0 weight 3',
    decodeRoute,
    {
      destination: '10.99.0.0/16',
      nextHops: [
        { linkIndex: 2, weight: 1, via: '172.29.0.12' },
        { linkIndex: 2, weight: 3, via: '172.29.0.13' },
      ],
    },
  ],
  [
    'route add 10.97.0.0/16 via 172.29.0.12 src 172.29.0.1 mtu 1300 proto 70',
    decodeRoute,
    { via: '172.29.0.12', source: '172.29.0.1', mtu: 1300, table: 254, scope: 'global' },
  ],
  [
    'neighbour replace fe80::1 lladdr 02:00:00:00:00:99 dev eth0 nud permanent',
    decodeNeighbour,
    { linkIndex: 4, address: 'fe80::1', mac, permanent: true },
  ],
  [
    'rule add priority 101 from 10.0.0.0/8 to 10.1.0.0/16 iif lo table 100 protocol 70',
    decodeRoutingRule,
    { ...wide, ...prefixes, protocol: 70 },
  ],
];

for (const [command, decode, want] of decoded) {
  test(`reads what ip ${command} sent`, () => {
    const [recorded] = golden.get(`ip ${command}`) ?? [];
    assert.partialDeepStrictEqual(decode(recorded?.body ?? new Uint8Array()), want);
  });
}
