/** decode(encode(x)) = x for everything nf_tables, and decoding never ends in another error. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { readGolden } from '../../../test/golden/read.ts';
import { decodeAttrs, DecodeError } from '../netlink/attr.ts';
import { addChain, decodeChain, type Chain } from './chains.ts';
import type { Verdict } from './data.ts';
import { addElements, decodeElements, type Element } from './elements.ts';
import { decodeExpressions, encodeExpressions, type Expression } from './expressions/index.ts';
import { decodeGeneration } from './generation.ts';
import { encodeKey, keyBytes, keyTypeId, keyTypesOf, splitKey, type KeyType } from './key-types.ts';
import { addRule, decodeRule, type Rule } from './rules.ts';
import { addSet, decodeSet, type NftSet } from './sets.ts';
import { addTable, decodeTable, type Table } from './tables.ts';

const register = fc.constantFrom(1, 2, 3, 4, 9, 10, 11, 13, 14, 15, 17, 18, 19, 21, 22, 23);
const u32 = fc.integer({ min: 0, max: 0xffffffff });
const positive = fc.integer({ min: 1, max: 0xffffffff });
const data = fc.uint8Array({ minLength: 1, maxLength: 16 });
const name = fc.stringMatching(/^[a-z][a-z0-9_-]{0,30}$/);
const text = fc.string({ maxLength: 20, unit: 'grapheme-ascii' });
const u64 = fc.bigInt({ min: 0n, max: (1n << 63n) - 1n });

const verdict: fc.Arbitrary<Verdict> = fc.oneof(
  plainRecord({ kind: fc.constantFrom('accept', 'drop', 'continue', 'break', 'return') }),
  plainRecord({ kind: fc.constantFrom('jump', 'goto'), chain: name }),
);

/** A record of which the keys in `optional` may be absent. */
function partly<T extends object, U extends object>(
  always: { [K in keyof T]: fc.Arbitrary<T[K]> },
  optional: { [K in keyof U]: fc.Arbitrary<U[K]> },
): fc.Arbitrary<T & Partial<U>> {
  return fc
    .tuple(plainRecord(always), plainRecord(optional, { requiredKeys: [] }))
    .map(([a, b]) => ({ ...a, ...b }));
}

const yes = fc.constant(true as const);
const ports = {
  protoMin: register,
  flags: fc.constantFrom(['random'], ['persistent', 'fully-random']),
};

/** One generator per kind; the type sees to it that none is forgotten. */
const byKind: Record<Expression['kind'], fc.Arbitrary<object>> = {
  bitwise: fc.oneof(
    plainRecord({
      op: fc.constant('mask'),
      sreg: register,
      dreg: register,
      length: u32,
      mask: data,
      xor: data,
    }),
    plainRecord({
      op: fc.constantFrom('lshift', 'rshift'),
      sreg: register,
      dreg: register,
      length: u32,
      bits: u32,
    }),
  ),
  byteorder: plainRecord({
    op: fc.constantFrom('ntoh', 'hton'),
    sreg: register,
    dreg: register,
    length: u32,
    size: u32,
  }),
  cmp: plainRecord({
    op: fc.constantFrom('eq', 'neq', 'lt', 'lte', 'gt', 'gte'),
    sreg: register,
    data,
  }),
  counter: fc.oneof(fc.constant({}), plainRecord({ packets: u64, bytes: u64 })),
  ct: fc.oneof(
    partly(
      { key: fc.constantFrom('state', 'status', 'src_ip', 'ct_id'), dreg: register },
      { direction: fc.constantFrom('original', 'reply') },
    ),
    plainRecord({ key: fc.constant('mark'), sreg: register }),
  ),
  dynset: partly(
    { op: fc.constantFrom('add', 'update', 'delete'), set: name, sregKey: register },
    { sregData: register, timeoutMs: positive, inverted: yes, setId: u32 },
  ),
  fib: partly(
    {
      dreg: register,
      result: fc.constantFrom('oif', 'oifname', 'type'),
      flags: fc.subarray(['saddr', 'daddr', 'mark', 'iif', 'oif']),
    },
    { present: yes },
  ),
  hash: fc.oneof(
    partly(
      { type: fc.constant('jhash'), sreg: register, dreg: register, length: u32, modulus: u32 },
      { seed: u32, offset: positive },
    ),
    partly({ type: fc.constant('symhash'), dreg: register, modulus: u32 }, { offset: positive }),
  ),
  immediate: plainRecord({ dreg: register, data }),
  limit: partly(
    { type: fc.constantFrom('packets', 'bytes'), rate: u32, perSeconds: u32, burst: u32 },
    { inverted: yes },
  ),
  log: partly(
    {},
    {
      prefix: text,
      group: fc.integer({ min: 0, max: 0xffff }),
      snapLength: u32,
      level: u32,
      flags: u32,
    },
  ),
  lookup: partly({ set: name, sreg: register }, { dreg: register, inverted: yes, setId: u32 }),
  masq: partly({}, ports),
  meta: fc.oneof(
    plainRecord({
      key: fc.constantFrom('mark', 'iifname', 'l4proto', 'nfproto', 'sdifname'),
      dreg: register,
    }),
    plainRecord({ key: fc.constant('mark'), sreg: register }),
  ),
  nat: partly(
    { type: fc.constantFrom('snat', 'dnat'), family: fc.constantFrom('ip', 'ip6') },
    { addrMin: fc.constant(1), addrMax: fc.constant(2), ...ports, protoMax: fc.constant(4) },
  ).filter((nat) => 'protoMin' in nat === 'protoMax' in nat && nat.protoMin !== 4),
  numgen: partly(
    { type: fc.constantFrom('inc', 'random'), dreg: register, modulus: u32 },
    { offset: positive },
  ),
  socket: partly(
    { key: fc.constantFrom('transparent', 'mark', 'wildcard', 'cgroupv2'), dreg: register },
    { level: positive },
  ),
  payload: fc.oneof(
    plainRecord({
      base: fc.constantFrom('link', 'network', 'transport', 'inner'),
      offset: u32,
      length: u32,
      dreg: register,
    }),
    plainRecord({
      base: fc.constantFrom('link', 'network', 'transport'),
      offset: u32,
      length: u32,
      sreg: register,
      checksum: plainRecord({ type: u32, offset: u32, flags: u32 }),
    }),
  ),
  quota: partly(
    { bytes: u64 },
    { consumed: fc.bigInt({ min: 1n, max: 1n << 60n }), inverted: yes },
  ),
  range: plainRecord({ op: fc.constantFrom('eq', 'neq'), sreg: register, from: data, to: data }),
  redir: partly({}, ports),
  reject: fc.oneof(
    plainRecord({ type: fc.constantFrom('icmp', 'icmpx'), code: fc.integer({ min: 0, max: 255 }) }),
    plainRecord({ type: fc.constant('tcp-reset') }),
  ),
  unknown: plainRecord({
    name: fc.constant('xt'),
    data: fc.constant(Uint8Array.of(5, 0, 1, 0, 7, 0, 0, 0)),
  }),
  verdict: plainRecord({ verdict }),
};

const expressionOf = (kind: string): fc.Arbitrary<Expression> =>
  byKind[kind as Expression['kind']].map((rest) => ({ kind, ...rest }) as Expression);
const expression = fc.oneof(...Object.keys(byKind).map(expressionOf));

for (const kind of Object.keys(byKind)) {
  test(`a ${kind} expression comes back as it went`, () => {
    fc.assert(
      fc.property(fc.array(expressionOf(kind), { maxLength: 3 }), (expressions) => {
        assert.deepEqual(
          decodeExpressions(decodeAttrs(encodeExpressions(expressions))),
          expressions,
        );
      }),
    );
  });
}

const family = fc.constantFrom('ip', 'ip6', 'inet', 'bridge');
const comment = fc.stringMatching(/^[a-zA-Z0-9 ä/.-]{0,60}$/);
const keyType: fc.Arbitrary<KeyType> = fc.constantFrom(
  'integer',
  'ipv4_addr',
  'ipv6_addr',
  'ether_addr',
  'inet_proto',
  'inet_service',
  'mark',
);
const key = fc.array(keyType, { minLength: 1, maxLength: 4 });

test('tables, chains, rules and sets come back as they went', () => {
  const table: fc.Arbitrary<Table> = partly(
    { family, name },
    { comment, flags: fc.constant(['dormant']) },
  );
  const base = partly(
    {
      type: fc.constantFrom('filter', 'nat'),
      hook: fc.constantFrom('prerouting', 'input', 'forward', 'output', 'postrouting'),
      priority: fc.integer({ min: -400, max: 400 }),
    },
    { policy: fc.constantFrom('accept', 'drop') },
  );
  const chain: fc.Arbitrary<Chain> = partly({ family, table: name, name }, { base, comment });
  const rule: fc.Arbitrary<Rule> = partly(
    { family, table: name, chain: name, expressions: fc.array(expression, { maxLength: 8 }) },
    { comment },
  );
  const set: fc.Arbitrary<NftSet> = partly(
    { family, table: name, name, key, id: u32 },
    {
      data: fc.oneof(fc.constant('verdict' as const), key),
      timeoutMs: positive,
      gcIntervalMs: positive,
      size: u32,
      comment,
    },
  ).map((one) => (one.timeoutMs === undefined ? one : { ...one, flags: ['timeout'] }));
  fc.assert(
    fc.property(table, chain, rule, set, (t, c, r, s) => {
      assert.deepEqual(decodeTable(addTable(t).body), t);
      assert.deepEqual(decodeChain(addChain(c).body), c);
      assert.deepEqual(decodeRule(addRule(r).body), r);
      assert.deepEqual(decodeSet(addSet(s).body), s);
    }),
  );
});

test('elements come back as they went, in however many messages', () => {
  const element: fc.Arbitrary<Element> = partly(
    { key: data },
    {
      keyEnd: data,
      intervalEnd: yes,
      timeoutMs: positive,
      expirationMs: positive,
      comment,
      data,
    },
  );
  const verdicts: fc.Arbitrary<Element> = plainRecord({ key: data, verdict });
  const list = fc.array(fc.oneof(element, verdicts), { minLength: 1, maxLength: 50 });
  const set = { family: 'ip', table: 't', set: 's' } as const;
  fc.assert(
    fc.property(list, fc.constantFrom(1, 60), (some, times) => {
      const elements = Array.from({ length: times }, () => some).flat();
      const messages = addElements(set, elements);
      for (const { body } of messages) assert.ok(body.length < 65_536);
      const decoded = messages.flatMap(({ body }) => decodeElements(body).elements);
      assert.deepEqual(decoded, elements);
    }),
    { numRuns: 50 },
  );
  assert.deepEqual(addElements(set, []), []);
});

test('key types have one number, and keys come apart as they were put together', () => {
  fc.assert(
    fc.property(key, fc.infiniteStream(fc.integer({ min: 0, max: 255 })), (types, values) => {
      assert.deepEqual(keyTypesOf(keyTypeId(types)), types);
      const parts = types.map((type) =>
        Uint8Array.from({ length: keyBytes([type]) }, () => values.next().value as number),
      );
      const bytes = encodeKey(types, parts);
      assert.equal(bytes.length, keyBytes(types));
      assert.deepEqual(
        splitKey(types, bytes).map((part) => Uint8Array.from(part)),
        parts,
      );
    }),
  );
});

test('a value that is no part of such a key is refused', () => {
  for (const [type, value] of [
    ['inet_service', 65_536],
    ['inet_proto', -1],
    ['mark', 1.5],
    ['ipv4_addr', 'fd00::1'],
    ['ipv6_addr', '10.0.0.1'],
    ['ipv4_addr', 'nonsense'],
  ] as const) {
    assert.throws(() => encodeKey([type], [value]), RangeError);
  }
  assert.throws(() => encodeKey(['mark', 'mark'], [1]), RangeError);
});

test('what nft sent, broken anywhere, is decoded or refused with DecodeError', () => {
  const bodies = [...readGolden('nft.txt').values()].flat().map((message) => message.body);
  const decoders = [
    decodeTable,
    decodeChain,
    decodeRule,
    decodeSet,
    decodeElements,
    decodeGeneration,
  ];
  const change = plainRecord({ at: fc.nat(), value: fc.integer({ min: 0, max: 255 }) });
  fc.assert(
    fc.property(
      fc.constantFrom(...bodies),
      fc.array(change, { maxLength: 4 }),
      fc.nat(),
      fc.constantFrom(...decoders),
      (body, changes, cut, decode) => {
        const broken = body.slice(0, cut % 3 === 0 ? cut % (body.length + 1) : body.length);
        for (const { at, value } of changes)
          if (broken.length > 0) broken[at % broken.length] = value;
        try {
          decode(broken);
        } catch (error) {
          assert.ok(error instanceof DecodeError, String(error));
        }
      },
    ),
    { numRuns: 5000 },
  );
});

/** Objects like those the decoders make: with the usual prototype. */
function plainRecord<T extends object>(
  model: { [K in keyof T]: fc.Arbitrary<T[K]> },
  constraints: { requiredKeys?: (keyof T)[] } = {},
): fc.Arbitrary<T> {
  return fc.record(model, { ...constraints, noNullPrototype: true }) as fc.Arbitrary<T>;
}
