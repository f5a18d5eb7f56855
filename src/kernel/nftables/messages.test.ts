/** Our bytes against those that nft(8) sent: `tools/record/netlink.ts` recorded them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hexDump, readGolden, type Recorded } from '../../../test/golden/read.ts';
import { NLM_F_REQUEST } from '../netlink/constants.ts';
import type { Message } from '../netlink/message.ts';
import { addChain, decodeChain, deleteChain } from './chains.ts';
import {
  NFT_MSG_DELSETELEM,
  NFT_MSG_NEWCHAIN,
  NFT_MSG_NEWRULE,
  NFT_MSG_NEWSET,
  NFT_MSG_NEWSETELEM,
  NFT_MSG_NEWTABLE,
} from './constants.ts';
import { addElements, decodeElements, deleteElements, flushSet } from './elements.ts';
import { formatExpression } from './expressions/index.ts';
import { nftMessageType } from './family.ts';
import { encodeKey } from './key-types.ts';
import { addRule, decodeRule, flushChain, flushTable, insertRule } from './rules.ts';
import { addSet, decodeSet } from './sets.ts';
import { addTable, decodeTable, deleteTable } from './tables.ts';

const golden = readGolden('nft.txt');

const inet = { family: 'inet', table: 't' } as const;
const plain = { ...inet, chain: 'plain' } as const;
const u32 = (value: number) => new Uint8Array(Uint32Array.of(value).buffer);
const ip = (text: string) => encodeKey(['ipv4_addr'], [text]);
const service = (parts: [string, number, number]) =>
  encodeKey(['ipv4_addr', 'inet_proto', 'inet_service'], parts);

/** nft numbers the sets of a transaction; the ids are those it happened to send. */
const cases: [command: string, messages: readonly Message[]][] = [
  ['add table ip nat', [addTable({ family: 'ip', name: 'nat' })]],
  ['add table ip6 nat', [addTable({ family: 'ip6', name: 'nat' })]],
  [
    'add table inet t { comment "hello"; }',
    [addTable({ family: 'inet', name: 't', comment: 'hello' })],
  ],
  ['delete table ip6 nat', [deleteTable({ family: 'ip6', name: 'nat' })]],
  ['add chain inet t plain', [addChain({ ...inet, name: 'plain' })]],
  [
    'add chain inet t pre { type nat hook prerouting priority -100; policy accept; }',
    [
      addChain({
        ...inet,
        name: 'pre',
        base: { type: 'nat', hook: 'prerouting', priority: -100, policy: 'accept' },
      }),
    ],
  ],
  [
    'add chain inet t forw { type filter hook forward priority 0; policy drop; comment "x"; }',
    [
      addChain({
        ...inet,
        name: 'forw',
        comment: 'x',
        base: { type: 'filter', hook: 'forward', priority: 0, policy: 'drop' },
      }),
    ],
  ],
  ['delete chain inet t gone', [deleteChain({ ...inet, name: 'gone' })]],
  [
    'add set inet t addresses { type ipv4_addr; }',
    [addSet({ ...inet, name: 'addresses', key: ['ipv4_addr'], id: 1 })],
  ],
  [
    'add set inet t six { type ipv6_addr; flags timeout; timeout 10s; size 100; comment "c"; }',
    [
      addSet({
        ...inet,
        name: 'six',
        key: ['ipv6_addr'],
        flags: ['timeout'],
        timeoutMs: 10_000,
        size: 100,
        comment: 'c',
        id: 1,
      }),
    ],
  ],
  [
    'add set inet t nets { type ipv4_addr; flags interval; }',
    [addSet({ ...inet, name: 'nets', key: ['ipv4_addr'], flags: ['interval'], id: 1 })],
  ],
  [
    'add map inet t marks { type mark : mark; }',
    [addSet({ ...inet, name: 'marks', key: ['mark'], data: ['mark'], id: 1 })],
  ],
  [
    'add map inet t ports { type inet_service : verdict; }',
    [addSet({ ...inet, name: 'ports', key: ['inet_service'], data: 'verdict', id: 1 })],
  ],
  [
    'add element inet t addresses { 10.0.0.1 }',
    addElements({ ...inet, set: 'addresses', setId: 1 }, [{ key: ip('10.0.0.1') }]),
  ],
  [
    'add element inet t six { fd00::1 timeout 5s comment "hey" }',
    addElements({ ...inet, set: 'six', setId: 2 }, [
      { key: encodeKey(['ipv6_addr'], ['fd00::1']), timeoutMs: 5000, comment: 'hey' },
    ]),
  ],
  [
    'add element inet t marks { 0x7 : 0x8 }',
    addElements({ ...inet, set: 'marks', setId: 4 }, [{ key: u32(7), data: u32(8) }]),
  ],
  [
    'add element inet t ports { 80 : goto plain }',
    addElements({ ...inet, set: 'ports', setId: 5 }, [
      { key: Uint8Array.of(0, 80), verdict: { kind: 'goto', chain: 'plain' } },
    ]),
  ],
  [
    'add element inet t ports { 81 : drop }',
    addElements({ ...inet, set: 'ports', setId: 5 }, [
      { key: Uint8Array.of(0, 81), verdict: { kind: 'drop' } },
    ]),
  ],
  [
    'delete element inet t addresses { 10.0.0.1 }',
    deleteElements({ ...inet, set: 'addresses' }, [{ key: ip('10.0.0.1') }]),
  ],
  [
    'add element inet t services { 10.96.0.10 . udp . 53 : goto plain }',
    addElements({ ...inet, set: 'services', setId: 6 }, [
      { key: service(['10.96.0.10', 17, 53]), verdict: { kind: 'goto', chain: 'plain' } },
    ]),
  ],
  [
    'add element inet t endpoints { 0x7 . 0x1 : 10.244.0.1 . 8080 }',
    addElements({ ...inet, set: 'endpoints', setId: 7 }, [
      {
        key: encodeKey(['mark', 'mark'], [7, 1]),
        data: encodeKey(['ipv4_addr', 'inet_service'], ['10.244.0.1', 8080]),
      },
    ]),
  ],
  [
    'add element inet t ranges { 10.0.0.0/8 . 1-100 }',
    addElements({ ...inet, set: 'ranges', setId: 9 }, [
      {
        key: encodeKey(['ipv4_addr', 'inet_service'], ['10.0.0.0', 1]),
        keyEnd: encodeKey(['ipv4_addr', 'inet_service'], ['10.255.255.255', 100]),
      },
    ]),
  ],
  ['flush set inet t ranges', [flushSet({ ...inet, set: 'ranges' })]],
  ['flush chain inet t plain', [flushChain(plain)]],
  ['flush table inet t', [flushTable(inet)]],
  [
    'add rule inet t plain accept comment "why"',
    [
      addRule({
        ...plain,
        comment: 'why',
        expressions: [{ kind: 'verdict', verdict: { kind: 'accept' } }],
      }),
    ],
  ],
  [
    'insert rule inet t plain drop',
    [insertRule({ ...plain, expressions: [{ kind: 'verdict', verdict: { kind: 'drop' } }] })],
  ],
  [
    'add rule ip nat post ip daddr . ip protocol . th dport vmap @m',
    [
      addRule({
        family: 'ip',
        table: 'nat',
        chain: 'post',
        expressions: [
          { kind: 'payload', base: 'network', offset: 16, length: 4, dreg: 1 },
          { kind: 'payload', base: 'network', offset: 9, length: 1, dreg: 9 },
          { kind: 'payload', base: 'transport', offset: 2, length: 2, dreg: 10 },
          { kind: 'lookup', set: 'm', sreg: 1, dreg: 0, setId: 1 },
        ],
      }),
    ],
  ],
];

for (const [command, messages] of cases) {
  test(`nft ${command}`, () => {
    const recorded = golden.get(`nft ${command}`) ?? [];
    assert.deepEqual(messages.map(lines), recorded.map(lines));
  });
}

function lines(message: Message | Recorded): string {
  const flags = message.flags | NLM_F_REQUEST;
  return `type ${message.type} flags ${flags}: ${hexDump(message.body)}`;
}

/** Where nft says the same in more or other words than we do, with the reason. */
const SAID_OTHERWISE: Record<string, string> = {
  'nft add rule inet t plain meta mark set meta mark or 0x4000':
    'names the operation of a bitwise expression, which is the default',
  'nft add rule inet t plain numgen random mod 3 offset 4 vmap { 4 : accept }':
    'stores the typeof of the key beside the set',
  'nft add rule inet t plain iifname "lo" ip ttl set 5':
    'names the operation of a bitwise expression, which is the default',
  'nft add element inet t nets { 10.0.0.0/8 }': 'numbers the elements of a list',
};

const reencode: Record<number, (body: Uint8Array) => Message[]> = {
  [NFT_MSG_NEWTABLE]: (body) => [addTable(decodeTable(body))],
  [NFT_MSG_NEWCHAIN]: (body) => [addChain(decodeChain(body))],
  [NFT_MSG_NEWRULE]: (body) => [addRule(decodeRule(body))],
  [NFT_MSG_NEWSET]: (body) => [addSet(decodeSet(body))],
  [NFT_MSG_NEWSETELEM](body) {
    const { elements, ...set } = decodeElements(body);
    return addElements(set, elements);
  },
  [NFT_MSG_DELSETELEM](body) {
    const { elements, ...set } = decodeElements(body);
    return elements.length === 0 ? [flushSet(set)] : deleteElements(set, elements);
  },
};

for (const [command, messages] of golden) {
  test(`reads and writes again ${command}`, () => {
    const known = messages.filter(({ type }) => (nftMessageType(type) ?? -1) in reencode);
    const ours = known.flatMap(
      ({ type, body }) => reencode[nftMessageType(type) ?? -1]?.(body) ?? [],
    );
    const compare = command in SAID_OTHERWISE ? assert.notDeepEqual : assert.deepEqual;
    if (known.length > 0) compare(ours.map(dump), known.map(dump));
  });
}

function dump({ body }: { readonly body: Uint8Array }): string {
  return hexDump(body);
}

/** The lines that `nft --debug=netlink` printed for the same commands. */
const printed: [command: string, lines: string[]][] = [
  ['add rule inet t plain accept comment "why"', ['immediate reg 0 accept']],
  ['insert rule inet t plain drop', ['immediate reg 0 drop']],
  ['add rule inet t plain jump target', ['immediate reg 0 jump -> target']],
  ['add rule ip nat post masquerade fully-random', ['masq flags 0x10']],
  [
    'add rule ip nat post ip daddr . ip protocol . th dport vmap @m',
    [
      'payload load 4b @ network header + 16 => reg 1',
      'payload load 1b @ network header + 9 => reg 9',
      'payload load 2b @ transport header + 2 => reg 10',
      'lookup reg 1 set m dreg 0',
    ],
  ],
  [
    'add rule inet t plain ct state established,related accept',
    [
      'ct load state => reg 1',
      'bitwise reg 1 = ( reg 1 & 0x00000006 ) ^ 0x00000000',
      'cmp neq reg 1 0x00000000',
      'immediate reg 0 accept',
    ],
  ],
  [
    'add rule inet t plain ct direction reply ct status dnat accept',
    [
      'ct load direction => reg 1',
      'cmp eq reg 1 0x00000001',
      'ct load status => reg 1',
      'bitwise reg 1 = ( reg 1 & 0x00000020 ) ^ 0x00000000',
      'cmp neq reg 1 0x00000000',
      'immediate reg 0 accept',
    ],
  ],
  [
    'add rule inet t plain meta mark set meta mark or 0x4000',
    [
      'meta load mark => reg 1',
      'bitwise reg 1 = ( reg 1 & 0xffffbfff ) ^ 0x00004000',
      'meta set mark with reg 1',
    ],
  ],
  [
    'add rule inet t plain meta mark set meta mark lshift 3',
    [
      'meta load mark => reg 1',
      'bitwise reg 1 = ( reg 1 << 0x00000003 )',
      'meta set mark with reg 1',
    ],
  ],
  [
    'add rule inet t plain fib daddr type local counter',
    ['fib daddr type => reg 1', 'cmp eq reg 1 0x00000002', 'counter pkts 0 bytes 0'],
  ],
  [
    'add rule inet t plain numgen random mod 3 offset 4 vmap { 4 : accept }',
    ['numgen reg 1 = random mod 3 offset 4', 'lookup reg 1 set __map%d dreg 0'],
  ],
  [
    'add rule inet t pre socket transparent 1 accept',
    ['socket load transparent => reg 1', 'cmp eq reg 1 0x00000001', 'immediate reg 0 accept'],
  ],
  [
    'add rule inet t plain numgen inc mod 2 0',
    ['numgen reg 1 = inc mod 2', 'cmp eq reg 1 0x00000000'],
  ],
  [
    'add rule ip nat pre4 tcp dport 80 dnat to 10.0.0.1:80',
    [
      'meta load l4proto => reg 1',
      'cmp eq reg 1 0x00000006',
      'payload load 2b @ transport header + 2 => reg 1',
      'cmp eq reg 1 0x00005000',
      'immediate reg 1 0x0100000a',
      'immediate reg 2 0x00005000',
      'nat dnat ip addr_min reg 1 proto_min reg 2 flags 0x2',
    ],
  ],
  [
    'add rule ip6 nat6 pre6 udp dport 80 dnat to [fd00::1]:80',
    [
      'meta load l4proto => reg 1',
      'cmp eq reg 1 0x00000011',
      'payload load 2b @ transport header + 2 => reg 1',
      'cmp eq reg 1 0x00005000',
      'immediate reg 1 0x000000fd 0x00000000 0x00000000 0x01000000',
      'immediate reg 2 0x00005000',
      'nat dnat ip6 addr_min reg 1 proto_min reg 2 flags 0x2',
    ],
  ],
  [
    'add rule ip nat post snat to 10.0.0.1-10.0.0.5 persistent',
    [
      'immediate reg 1 0x0100000a',
      'immediate reg 2 0x0500000a',
      'nat snat ip addr_min reg 1 addr_max reg 2 flags 0x8',
    ],
  ],
  [
    'add rule ip nat pre4 tcp dport 81 redirect to :80',
    [
      'meta load l4proto => reg 1',
      'cmp eq reg 1 0x00000006',
      'payload load 2b @ transport header + 2 => reg 1',
      'cmp eq reg 1 0x00005100',
      'immediate reg 1 0x00005000',
      'redir proto_min reg 1 flags 0x2',
    ],
  ],
  [
    'add rule inet t plain reject with tcp reset',
    ['meta load l4proto => reg 1', 'cmp eq reg 1 0x00000006', 'reject type 1 code 0'],
  ],
  ['add rule inet t plain reject with icmpx type port-unreachable', ['reject type 2 code 1']],
  [
    'add rule inet t plain update @affinity { meta mark . ip saddr timeout 30s : 0x5 }',
    [
      'meta load nfproto => reg 1',
      'cmp eq reg 1 0x00000002',
      'meta load mark => reg 1',
      'payload load 4b @ network header + 12 => reg 9',
      'immediate reg 2 0x00000005',
      'dynset update reg_key 1 set affinity sreg_data 2 timeout 30000ms',
    ],
  ],
  [
    'add rule inet t plain ip saddr @addresses',
    [
      'meta load nfproto => reg 1',
      'cmp eq reg 1 0x00000002',
      'payload load 4b @ network header + 12 => reg 1',
      'lookup reg 1 set addresses',
    ],
  ],
  [
    'add rule inet t plain ip saddr != @addresses',
    [
      'meta load nfproto => reg 1',
      'cmp eq reg 1 0x00000002',
      'payload load 4b @ network header + 12 => reg 1',
      'lookup reg 1 set addresses 0x1',
    ],
  ],
  [
    'add rule inet t plain jhash ip saddr . ip daddr mod 5 seed 0xdeadbeef 1',
    [
      'meta load nfproto => reg 1',
      'cmp eq reg 1 0x00000002',
      'payload load 4b @ network header + 12 => reg 2',
      'payload load 4b @ network header + 16 => reg 13',
      'hash reg 1 = jhash(reg 2, 8, 0xdeadbeef) % mod 5',
      'cmp eq reg 1 0x00000001',
    ],
  ],
  [
    'add rule inet t plain symhash mod 2 1',
    ['hash reg 1 = symhash() % mod 2', 'cmp eq reg 1 0x00000001'],
  ],
  [
    'add rule inet t plain limit rate 10/second burst 5 packets',
    ['limit rate 10/second burst 5 type packets flags 0x0'],
  ],
  [
    'add rule inet t plain limit rate over 10 kbytes/minute',
    ['limit rate 10240/minute burst 0 type bytes flags 0x1'],
  ],
  ['add rule inet t plain log prefix "x" group 5', ['log prefix x group 5 snaplen 0 qthreshold 0']],
  ['add rule inet t plain log prefix "y" level warn', ['log prefix y level 4']],
  [
    'add rule inet t plain tcp dport 30000-32767',
    [
      'meta load l4proto => reg 1',
      'cmp eq reg 1 0x00000006',
      'payload load 2b @ transport header + 2 => reg 1',
      'cmp gte reg 1 0x00003075',
      'cmp lte reg 1 0x0000ff7f',
    ],
  ],
  [
    'add rule inet t plain tcp dport != 30000-32767',
    [
      'meta load l4proto => reg 1',
      'cmp eq reg 1 0x00000006',
      'payload load 2b @ transport header + 2 => reg 1',
      'range neq reg 1 0x00003075 0x0000ff7f',
    ],
  ],
  ['add rule inet t plain quota over 1000 bytes', ['quota bytes 1000 consumed 0 flags 1']],
  [
    'add rule inet t plain ct mark set 0x5',
    ['immediate reg 1 0x00000005', 'ct set mark with reg 1'],
  ],
  [
    'add rule inet t plain iifname "lo" ip ttl set 5',
    [
      'meta load iifname => reg 1',
      'cmp eq reg 1 0x00006f6c 0x00000000 0x00000000 0x00000000',
      'meta load nfproto => reg 1',
      'cmp eq reg 1 0x00000002',
      'payload load 2b @ network header + 8 => reg 1',
      'bitwise reg 1 = ( reg 1 & 0x0000ff00 ) ^ 0x00000005',
      'payload write reg 1 => 2b @ network header + 8 csum_type 1 csum_off 10 csum_flags 0x0',
    ],
  ],
  [
    'add rule inet t plain meta skuid > 1000',
    ['meta load skuid => reg 1', 'byteorder reg 1 = hton(reg 1, 4, 4)', 'cmp gt reg 1 0xe8030000'],
  ],
  [
    'add rule inet t plain ct original ip daddr 10.0.0.1',
    ['ct load dst_ip => reg 1 , dir original', 'cmp eq reg 1 0x0100000a'],
  ],
];

for (const [command, want] of printed) {
  test(`prints nft ${command}`, () => {
    const rule = decodeRule(golden.get(`nft ${command}`)?.at(-1)?.body ?? new Uint8Array());
    assert.deepEqual(rule.expressions.map(formatExpression), want);
  });
}
