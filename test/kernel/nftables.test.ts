/** What we write, nft(8) shows; what nft writes, we read; and the kernel's refusals, as they are. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, before, test } from 'node:test';
import {
  addChain,
  addElements,
  addRule,
  addSet,
  addTable,
  createTable,
  deleteChain,
  deleteElements,
  deleteRule,
  deleteTable,
  encodeKey,
  flushChain,
  flushSet,
  formatExpression,
  insertRule,
  monitorRuleset,
  NftConnection,
  replaceRule,
  sameExpressions,
  type Element,
  type Expression,
  type RulesetEvent,
} from '../../src/kernel/nftables/index.ts';
import { NetlinkError } from '../../src/kernel/netlink/netlink-error.ts';

const connection = new NftConnection();
after(() => connection[Symbol.dispose]());

const inet = { family: 'inet', table: 't' } as const;
const accept: Expression = { kind: 'verdict', verdict: { kind: 'accept' } };
const u32 = (value: number) => new Uint8Array(Uint32Array.of(value).buffer);

function nft(...command: string[]): string {
  return execFileSync('nft', command, { encoding: 'utf8' });
}

/** Everything but what passes by itself. */
function ruleset(): string {
  return nft('list', 'ruleset').replaceAll(/ expires \w+/g, '');
}

/** What `nft list …` says of the table, one trimmed line each. */
function listed(...what: string[]): string[] {
  const text = nft('list', ...what).replaceAll(/,\n\s+/g, ', ');
  return text.split('\n').map((line) => line.trim());
}

before(() => {
  nft('flush ruleset');
  connection.apply([addTable({ family: 'inet', name: 't' }), addChain({ ...inet, name: 'c' })]);
});

/** Expressions of ours, and the rule that nft sees in them. */
const rules: [shown: string, expressions: Expression[]][] = [
  [
    'ct state established,related accept',
    [
      { kind: 'ct', key: 'state', dreg: 1 },
      { kind: 'bitwise', op: 'mask', sreg: 1, dreg: 1, length: 4, mask: u32(6), xor: u32(0) },
      { kind: 'cmp', op: 'neq', sreg: 1, data: u32(0) },
      accept,
    ],
  ],
  [
    'meta mark set meta mark | 0x00004000',
    [
      { kind: 'meta', key: 'mark', dreg: 1 },
      {
        kind: 'bitwise',
        op: 'mask',
        sreg: 1,
        dreg: 1,
        length: 4,
        mask: u32(0xffffbfff),
        xor: u32(0x4000),
      },
      { kind: 'meta', key: 'mark', sreg: 1 },
    ],
  ],
  [
    'fib daddr type local counter packets 0 bytes 0',
    [
      { kind: 'fib', result: 'type', flags: ['daddr'], dreg: 1 },
      { kind: 'cmp', op: 'eq', sreg: 1, data: u32(2) },
      { kind: 'counter' },
    ],
  ],
  [
    'ip saddr 10.0.0.0/8 drop',
    [
      { kind: 'meta', key: 'nfproto', dreg: 1 },
      { kind: 'cmp', op: 'eq', sreg: 1, data: Uint8Array.of(2) },
      { kind: 'payload', base: 'network', offset: 12, length: 1, dreg: 1 },
      { kind: 'cmp', op: 'eq', sreg: 1, data: Uint8Array.of(10) },
      { kind: 'verdict', verdict: { kind: 'drop' } },
    ],
  ],
  [
    'ip6 daddr fd00::1 return',
    [
      { kind: 'meta', key: 'nfproto', dreg: 1 },
      { kind: 'cmp', op: 'eq', sreg: 1, data: Uint8Array.of(10) },
      { kind: 'payload', base: 'network', offset: 24, length: 16, dreg: 1 },
      { kind: 'cmp', op: 'eq', sreg: 1, data: encodeKey(['ipv6_addr'], ['fd00::1']) },
      { kind: 'verdict', verdict: { kind: 'return' } },
    ],
  ],
  [
    'tcp dport 30000-32767 reject with tcp reset',
    [
      { kind: 'meta', key: 'l4proto', dreg: 1 },
      { kind: 'cmp', op: 'eq', sreg: 1, data: Uint8Array.of(6) },
      { kind: 'payload', base: 'transport', offset: 2, length: 2, dreg: 1 },
      {
        kind: 'range',
        op: 'eq',
        sreg: 1,
        from: encodeKey(['inet_service'], [30_000]),
        to: encodeKey(['inet_service'], [32_767]),
      },
      { kind: 'reject', type: 'tcp-reset' },
    ],
  ],
  ['reject with icmpx admin-prohibited', [{ kind: 'reject', type: 'icmpx', code: 3 }]],
  [
    'iifname "lo" limit rate 10/second log prefix "x"',
    [
      { kind: 'meta', key: 'iifname', dreg: 1 },
      { kind: 'cmp', op: 'eq', sreg: 1, data: encodeKey(['ifname'], ['lo']) },
      { kind: 'limit', type: 'packets', rate: 10, perSeconds: 1, burst: 5 },
      { kind: 'log', prefix: 'x' },
    ],
  ],
  [
    'quota over 1000 bytes symhash mod 5 offset 1 2',
    [
      { kind: 'quota', bytes: 1000n, inverted: true },
      { kind: 'hash', type: 'symhash', dreg: 1, modulus: 5, offset: 1 },
      { kind: 'cmp', op: 'eq', sreg: 1, data: u32(2) },
    ],
  ],
  [
    'ct direction reply ct status dnat',
    [
      { kind: 'ct', key: 'direction', dreg: 1 },
      { kind: 'cmp', op: 'eq', sreg: 1, data: Uint8Array.of(1) },
      { kind: 'ct', key: 'status', dreg: 1 },
      { kind: 'bitwise', op: 'mask', sreg: 1, dreg: 1, length: 4, mask: u32(32), xor: u32(0) },
      { kind: 'cmp', op: 'neq', sreg: 1, data: u32(0) },
    ],
  ],
];

for (const [shown, expressions] of rules) {
  test(`nft shows our rule: ${shown}`, () => {
    connection.apply([
      flushChain({ ...inet, chain: 'c' }),
      addRule({ ...inet, chain: 'c', expressions, comment: 'ours' }),
    ]);
    assert.ok(
      listed('chain', 'inet', 't', 'c').includes(`${shown} comment "ours"`),
      nft('list', 'chain', 'inet', 't', 'c'),
    );
    const [rule] = connection.rules({ family: 'inet', table: 't', chain: 'c' });
    assert.ok(rule !== undefined && sameExpressions(rule.expressions, expressions));
    assert.equal(rule.comment, 'ours');
  });
}

test('rules are appended, inserted, replaced and deleted where they should be', () => {
  const chain = { ...inet, chain: 'c' };
  const rule = (comment: string) => ({ ...chain, comment, expressions: [accept] });
  const comments = () => connection.rules(chain).map((each) => each.comment);
  connection.apply([
    flushChain(chain),
    addRule(rule('b')),
    addRule(rule('d')),
    insertRule(rule('a')),
  ]);
  assert.deepEqual(comments(), ['a', 'b', 'd']);
  const handle = connection.rules(chain)[1]!.handle!;
  connection.apply([addRule(rule('c'), handle), insertRule(rule('aa'), handle)]);
  assert.deepEqual(comments(), ['a', 'aa', 'b', 'c', 'd']);
  connection.apply([replaceRule(rule('B'), handle)]);
  assert.deepEqual(comments(), ['a', 'aa', 'B', 'c', 'd']);
  connection.apply([deleteRule(chain, connection.rules(chain)[0]!.handle!)]);
  assert.deepEqual(comments(), ['aa', 'B', 'c', 'd']);
});

const families = [
  {
    family: 'ip',
    type: 'ipv4_addr',
    net: ['10.0.0.0', '10.255.255.255', '11.0.0.0'],
    vip: '10.96.0.1',
    pod: '10.244.0.1',
  },
  {
    family: 'ip6',
    type: 'ipv6_addr',
    net: ['fd00::', 'fd00::ffff', 'fd00::1:0'],
    vip: 'fd00:96::1',
    pod: 'fd00:244::1',
  },
] as const;

for (const { family, type, net, vip, pod } of families) {
  const table = { family, table: 's' } as const;
  const [first, last, past] = net;
  const target = [type, 'inet_service'] as const;

  test(`nft shows our ${family} sets, maps and their elements`, () => {
    const service = [type, 'inet_proto', 'inet_service'] as const;
    connection.apply([
      addTable({ family, name: 's' }),
      addChain({ ...table, name: 'to' }),
      addSet({ ...table, name: 'services', key: service, data: 'verdict', comment: 'all' }),
      addSet({ ...table, name: 'endpoints', key: ['mark', 'mark'], data: target }),
      addSet({ ...table, name: 'nets', key: [type], flags: ['interval'] }),
      addSet({ ...table, name: 'ranges', key: target, flags: ['interval'] }),
      addSet({
        ...table,
        name: 'aged',
        key: [type],
        flags: ['timeout', 'dynamic'],
        size: 9,
        timeoutMs: 60_000,
      }),
      ...addElements({ ...table, set: 'services' }, [
        {
          key: encodeKey(service, [vip, 6, 80]),
          verdict: { kind: 'goto', chain: 'to' },
          comment: 'web',
        },
        { key: encodeKey(service, [vip, 17, 53]), verdict: { kind: 'drop' } },
      ]),
      ...addElements({ ...table, set: 'endpoints' }, [
        { key: encodeKey(['mark', 'mark'], [7, 1]), data: encodeKey(target, [pod, 8080]) },
      ]),
      ...addElements({ ...table, set: 'nets' }, [
        { key: encodeKey([type], [first]) },
        { key: encodeKey([type], [past]), intervalEnd: true },
      ]),
      ...addElements({ ...table, set: 'ranges' }, [
        { key: encodeKey(target, [first, 1]), keyEnd: encodeKey(target, [last, 100]) },
      ]),
      ...addElements({ ...table, set: 'aged' }, [
        { key: encodeKey([type], [vip]), timeoutMs: 5000 },
      ]),
    ]);
    const bits = family === 'ip' ? 8 : 112;
    const lines = listed('table', family, 's');
    for (const line of [
      `type ${type} . inet_proto . inet_service : verdict`,
      'comment "all"',
      `type mark . mark : ${type} . inet_service`,
      `elements = { 0x00000007 . 0x00000001 : ${pod} . 8080 }`,
      `elements = { ${first}/${bits} }`,
      `elements = { ${first}/${bits} . 1-100 }`,
      'size 9',
      'timeout 1m',
    ]) {
      assert.ok(lines.includes(line), `${line} in\n${lines.join('\n')}`);
    }
    const services = lines.find((line) => line.includes(`${vip} . tcp . 80`)) ?? '';
    assert.match(services, /tcp \. 80 comment "web" : goto to/);
    assert.match(services, /udp \. 53 : drop/);
    // Within the first tick of the kernel's clock all five seconds are left.
    const timed = lines.find((line) => line.includes('expires')) ?? '';
    assert.match(timed, /timeout 5s expires (5s|4s\d*m?s?) /);
  });

  test(`we read the ${family} sets and elements that nft made`, () => {
    nft(`add table ${family} theirs`);
    nft(
      `add map ${family} theirs m { type ${type} . inet_service : mark; flags timeout; timeout 1m; size 5; }`,
    );
    nft(`add element ${family} theirs m { ${vip} . 80 timeout 20s comment "x" : 0x5 }`);
    const [set] = connection.sets({ family, table: 'theirs' });
    assert.partialDeepStrictEqual(set, {
      family,
      table: 'theirs',
      name: 'm',
      key: target,
      data: ['mark'],
      timeoutMs: 60_000,
      size: 5,
    });
    const [element] = connection.elements({ family, table: 'theirs', set: 'm' });
    assert.partialDeepStrictEqual(element, {
      key: encodeKey(target, [vip, 80]),
      data: u32(5),
      timeoutMs: 20_000,
      comment: 'x',
    });
    assert.ok(element!.expirationMs! > 0 && element!.expirationMs! <= 20_000);
  });
}

test('we read the tables, chains and rules that nft made', () => {
  nft('add table ip mixed { comment "why"; }');
  nft('add chain ip mixed in { type filter hook input priority 5; policy drop; comment "c"; }');
  nft('add rule ip mixed in tcp dport 22 ct state new counter accept comment "ssh"');
  assert.equal(connection.tables('ip').find(({ name }) => name === 'mixed')?.comment, 'why');
  const [chain] = connection.chains({ family: 'ip', table: 'mixed' });
  const base = { type: 'filter', hook: 'input', priority: 5, policy: 'drop' };
  assert.partialDeepStrictEqual(chain, { name: 'in', base, comment: 'c' });
  const [rule] = connection.rules({ family: 'ip', table: 'mixed' });
  assert.equal(rule?.comment, 'ssh');
  // The lines of `nft --debug=netlink list chain` for the same rule.
  const printed = nft('--debug=netlink', 'list', 'chain', 'ip', 'mixed', 'in');
  const lines = printed.split('\n').flatMap((line) => /^ {2}\[ (.*) \]$/.exec(line)?.[1] ?? []);
  assert.ok(lines.length > 5);
  assert.deepEqual(rule?.expressions.map(formatExpression), lines);
});

const aged = { family: 'ip', table: 's', set: 'aged' } as const;

test('an element leaves when its time is over', async () => {
  const key = encodeKey(['ipv4_addr'], ['10.9.9.9']);
  connection.apply(addElements(aged, [{ key, timeoutMs: 50 }]));
  const has = () => connection.elements(aged).some((each) => Buffer.compare(each.key, key) === 0);
  assert.ok(has());
  await new Promise((resolve) => setTimeout(resolve, 120));
  assert.ok(!has());
});

test('elements are deleted one by one and all at once', () => {
  const keys = ['10.1.0.1', '10.1.0.2', '10.1.0.3'].map((ip) => encodeKey(['ipv4_addr'], [ip]));
  connection.apply([
    flushSet(aged),
    ...addElements(
      aged,
      keys.map((key) => ({ key })),
    ),
  ]);
  connection.apply(deleteElements(aged, [{ key: keys[1]! }]));
  assert.equal(connection.elements(aged).length, 2);
  connection.apply([flushSet(aged)]);
  assert.equal(connection.elements(aged).length, 0);
});

/** `errnoName`, and which message of the transaction and which byte of it are to blame. */
const refusals: [name: string, transaction: () => void, want: object][] = [
  [
    'a table that is there already',
    () =>
      connection.apply([createTable({ family: 'inet', name: 't' })], { tried: 'create table "t"' }),
    { errnoName: 'EEXIST', index: 0, offset: 20, message: /^Cannot create table "t": .* EEXIST/ },
  ],
  [
    'a chain that is not there',
    () =>
      connection.apply([
        addTable({ family: 'inet', name: 'never' }),
        deleteChain({ ...inet, name: 'nope' }),
      ]),
    { errnoName: 'ENOENT', index: 1, offset: 28 },
  ],
  [
    'a name that is too long',
    () => connection.apply([addChain({ ...inet, name: 'x'.repeat(300) })]),
    { errnoName: 'ERANGE', text: 'Attribute failed policy validation', offset: 28 },
  ],
  [
    'another value for a key that is there',
    () =>
      connection.apply([
        addSet({ ...inet, name: 'm', key: ['mark'], data: ['mark'] }),
        ...addElements({ ...inet, set: 'm' }, [{ key: u32(1), data: u32(2) }]),
        ...addElements({ ...inet, set: 'm' }, [{ key: u32(1), data: u32(3) }]),
      ]),
    { errnoName: 'EEXIST', index: 2 },
  ],
  [
    'a generation that has passed',
    () => connection.apply([flushChain({ ...inet, chain: 'c' })], { generation: 1 }),
    { errnoName: 'ERESTART', index: undefined },
  ],
];

for (const [name, apply, want] of refusals) {
  test(`refuses ${name}, and says where`, () => {
    const before = ruleset();
    assert.throws(apply, (error) => {
      assert.ok(error instanceof NetlinkError);
      const { message, ...facts } = want as { message?: RegExp };
      assert.partialDeepStrictEqual(
        { errnoName: error.errnoName, index: error.index, offset: error.offset, text: error.text },
        facts,
      );
      if (message !== undefined) assert.match(error.message, message);
      return true;
    });
    assert.equal(ruleset(), before);
  });
}

test('a refused transaction names every message that was refused', () => {
  const gone = ['x', 'y', 'z'].map((name) => deleteChain({ ...inet, name }));
  assert.throws(
    () => connection.apply(gone),
    (error) => error instanceof NetlinkError && error.refusals.length === 3,
  );
});

test('the generation of now is accepted, and raised', () => {
  const { id } = connection.generation();
  connection.apply([flushChain({ ...inet, chain: 'c' })], { generation: id });
  assert.equal(connection.generation().id, id + 1);
});

test('100,000 elements go in one transaction, and come back', () => {
  const table = { family: 'ip', table: 'big' } as const;
  const types = ['mark', 'mark'] as const;
  const elements: Element[] = Array.from({ length: 100_000 }, (_, index) => ({
    key: encodeKey(types, [index, 7]),
    data: encodeKey(types, [index * 3, 8]),
  }));
  const { id } = connection.generation();
  connection.apply([
    addTable({ family: 'ip', name: 'big' }),
    addSet({ ...table, name: 'm', key: types, data: types }),
    ...addElements({ ...table, set: 'm' }, elements),
  ]);
  assert.equal(connection.generation().id, id + 1);
  const read = connection.elements({ ...table, set: 'm' });
  assert.equal(read.length, 100_000);
  const wrong = read.filter(
    ({ key, data }) => Buffer.from(data!).readUInt32LE(0) !== Buffer.from(key).readUInt32LE(0) * 3,
  );
  assert.equal(wrong.length, 0);
  connection.apply([deleteTable({ family: 'ip', name: 'big' })]);
});

test('thousands of messages are answered without an overrun, and thousands of refusals too', () => {
  const chains = Array.from({ length: 5000 }, (_, index) => ({ ...inet, name: `many-${index}` }));
  connection.apply(chains.map(addChain));
  connection.apply(chains.map(deleteChain));
  assert.throws(() => connection.apply(chains.map(deleteChain)), NetlinkError);
  assert.equal(connection.chains({ table: 't' }).length, 1);
});

/** The events that `change` causes, up to the end of its transaction. */
async function eventsOf(change: () => void): Promise<RulesetEvent[]> {
  const events: RulesetEvent[] = [];
  const ended = Promise.withResolvers<void>();
  using _monitor = monitorRuleset((event) => {
    events.push(event);
    if (event.kind === 'generation') ended.resolve();
  });
  change();
  await ended.promise;
  return events;
}

test('the monitor tells our own change by its port', async () => {
  const events = await eventsOf(() => connection.apply([addChain({ ...inet, name: 'seen' })]));
  assert.partialDeepStrictEqual(events[0], {
    kind: 'chain',
    deleted: false,
    table: 't',
    portId: connection.portId,
  });
});

test('the monitor sees a foreign flush of everything, and who did it', async () => {
  const events = await eventsOf(() => nft('flush ruleset'));
  const gone = events.find((event) => event.kind === 'table' && event.table === 't');
  assert.partialDeepStrictEqual(gone, { kind: 'table', deleted: true, family: 'inet' });
  const last = events.at(-1);
  assert.ok(last?.kind === 'generation' && last.portId !== connection.portId);
  assert.equal(last.generation.processName, 'nft');
  assert.deepEqual(connection.tables(), []);
});
