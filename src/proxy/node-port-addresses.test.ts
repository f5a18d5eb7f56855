/** Which addresses answer on node ports: every way to ask for them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { chooseNodePortAddresses } from './node-port-addresses.ts';

const nodeIPs = ['172.29.0.11', 'fd00:172:29::11'];
const interfaceAddresses = [
  '127.0.0.1',
  '172.29.0.11',
  '192.0.2.9',
  '::1',
  'fd00:172:29::11',
  'fe80::1',
];
const V4 = ['172.29.0.11', '192.0.2.9'];
const V6 = ['fd00:172:29::11', 'fe80::1'];

const cases: {
  name: string;
  asked: string[];
  nodeIPs?: string[];
  addresses: string[];
  loopback?: string[];
  warnings?: RegExp[];
}[] = [
  { name: '[P30] nothing: the primary addresses', asked: [], addresses: nodeIPs },
  { name: '[P30] primary', asked: ['primary'], addresses: nodeIPs },
  {
    name: '[P31] primary without an IPv6 node address: all IPv6 addresses',
    asked: ['primary'],
    nodeIPs: ['172.29.0.11'],
    addresses: ['172.29.0.11', ...V6],
    warnings: [/no IPv6 address is chosen/],
  },
  {
    name: '[P31] primary of a node that knows only loopback',
    asked: ['primary'],
    nodeIPs: ['127.0.0.1'],
    addresses: [...V4, ...V6],
    warnings: [/no IPv4 address/, /no IPv6 address/],
  },
  {
    name: '[P31] a list of the other family: all IPv4 addresses',
    asked: ['fd00::/8'],
    addresses: [...V4, 'fd00:172:29::11'],
    warnings: [/no IPv4 address/],
  },
  {
    name: '[P32] a zero prefix makes the others of its family irrelevant',
    asked: ['172.29.0.0/16', '0.0.0.0/0', 'fd00::/8'],
    addresses: [...V4, 'fd00:172:29::11'],
  },
  { name: '[P32] ::/0', asked: ['172.29.0.0/16', '::/0'], addresses: ['172.29.0.11', ...V6] },
  {
    name: '[P33] only what is on an interface and inside a prefix',
    asked: ['192.0.2.0/24', '203.0.113.0/24', 'fe80::/10'],
    addresses: ['192.0.2.9', 'fe80::1'],
  },
  {
    name: '[P34] match-all leaves loopback out',
    asked: ['0.0.0.0/0', '::/0'],
    addresses: [...V4, ...V6],
    loopback: [],
  },
  {
    name: '[P36] loopback asked for by name is for the forwarder',
    asked: ['primary', '127.0.0.0/8', '::1/128'],
    addresses: nodeIPs,
    loopback: ['127.0.0.1', '::1'],
  },
  {
    name: '[P19] zeros and blanks are forgiven, nonsense is named',
    asked: ['primary', ' 192.000.2.0/024', '192.0.2.0/33'],
    addresses: [...V4, 'fd00:172:29::11'],
    warnings: [/"192.0.2.0\/33" is no prefix/],
  },
];

for (const { name, asked, addresses, loopback = [], warnings = [], ...node } of cases) {
  test(name, () => {
    const choice = chooseNodePortAddresses(asked, { nodeIPs, ...node, interfaceAddresses });
    assert.deepEqual(choice.addresses, addresses.toSorted());
    assert.deepEqual(choice.loopback, loopback);
    assert.equal(choice.warnings.length, warnings.length, choice.warnings.join());
    for (const [index, want] of warnings.entries()) assert.match(choice.warnings[index]!, want);
  });
}
