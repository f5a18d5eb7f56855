import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as packet from 'dns-packet';
import * as fc from 'fast-check';

import { decodeMessage, DecodeError } from './decode.ts';
import { encodeMessage } from './encode.ts';
import { FLAG, layoutOf, TYPE, type Message, type ResourceRecord } from './message.ts';
import { foldCase, formatName, isWithin, labelsOf, nameOf, parseName, type Name } from './name.ts';
import { formatRecord } from './text.ts';

const names: [text: string, wire: string][] = [
  ['.', '00'],
  ['www.example.com.', '03777777076578616d706c6503636f6d00'],
  ['www.example.com', '03777777076578616d706c6503636f6d00'],
  [String.raw`a\.b.example.`, '03612e62076578616d706c6500'],
  [String.raw`\000\255.`, '0200ff00'],
  ['_http._tcp.web.', '055f68747470045f7463700377656200'],
];

for (const [text, wire] of names) {
  test(`name ${text} in wire form`, () => {
    const name = parseName(text)!;
    assert.equal(Buffer.from(name, 'latin1').toString('hex'), wire);
    assert.equal(formatName(name), text.endsWith('.') ? text : `${text}.`);
  });
}

const badNames: [why: string, text: string][] = [
  ['an empty label', 'a..b'],
  ['a label of 64 bytes', `${'a'.repeat(64)}.b`],
  ['256 bytes', Array.from({ length: 64 }, () => 'abc').join('.')],
];

for (const [why, text] of badNames) {
  test(`no name with ${why}`, () => assert.equal(parseName(text), undefined));
}

test('a name of 255 bytes is whole', () => {
  const labels = [...Array.from({ length: 3 }, () => 'a'.repeat(63)), 'a'.repeat(61)];
  assert.equal(nameOf(labels)?.length, 255);
  assert.equal(nameOf([...labels.slice(0, 3), 'a'.repeat(62)]), undefined);
});

test('only A to Z fold', () => {
  assert.equal(foldCase(parseName('WwW.Example')!), parseName('www.example'));
  const high = nameOf(['\xc0Ab'])!;
  assert.equal(foldCase(high), nameOf(['\xc0ab']));
});

test('a zone ends at a label, not in one', () => {
  const zone = parseName('local')!;
  assert.equal(isWithin(parseName('a.local')!, zone), true);
  assert.equal(isWithin(zone, zone), true);
  assert.equal(isWithin(parseName('xlocal')!, zone), false);
  // The bytes of one label can look like the end of a name.
  assert.equal(isWithin(nameOf(['x\x05local'])!, zone), false);
});

const label = fc
  .uint8Array({ minLength: 1, maxLength: 12 })
  .map((bytes) => Buffer.from(bytes).toString('latin1'));
const name = fc.array(label, { maxLength: 8 }).map((labels) => nameOf(labels)!);
/** As the decoder makes them. */
const plain = { noNullPrototype: true };
const u16 = fc.integer({ min: 0, max: 0xffff });
const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });

/** Rdata of a type as the decoder would give it. */
function rdata(type: number): fc.Arbitrary<(Name | Uint8Array)[]> {
  const layout = layoutOf(type);
  const rest = fc.uint8Array({ maxLength: 30 }).map((part) => (part.length === 0 ? [] : [part]));
  if (layout === undefined) return rest;
  const before =
    layout.bytesBefore === 0 ? fc.constant([]) : bytes(layout.bytesBefore).map((part) => [part]);
  const inner = fc.array(name, { minLength: layout.names, maxLength: layout.names });
  return fc
    .tuple(before, inner, rest)
    .map(([first, second, last]) => [...first, ...second, ...last]);
}

const record: fc.Arbitrary<ResourceRecord> = fc
  .oneof(fc.constantFrom(...Object.values(TYPE)), u16)
  .filter((type) => type !== TYPE.OPT)
  .chain((type) =>
    fc.record({ name, type: fc.constant(type), class: u16, ttl: u32, data: rdata(type) }, plain),
  );

const message: fc.Arbitrary<Message> = fc.record(
  {
    id: u16,
    flags: u16,
    questions: fc.array(fc.record({ name, type: u16, class: u16 }, plain), { maxLength: 2 }),
    answers: fc.array(record, { maxLength: 6 }),
    authorities: fc.array(record, { maxLength: 3 }),
    additionals: fc.array(record, { maxLength: 3 }),
  },
  plain,
);

test('decode(encode(x)) is x', () => {
  fc.assert(
    fc.property(message, (one) => assert.deepEqual(decodeMessage(encodeMessage(one)), one)),
    { numRuns: 1000 },
  );
});

test('[D76] a message cut to any size keeps whole records in order, and says TC', () => {
  fc.assert(
    fc.property(message, fc.integer({ min: 12, max: 900 }), (one, room) => {
      const head = encodeMessage({ ...one, answers: [], authorities: [], additionals: [] }).length;
      const cut = encodeMessage(one, Math.max(head, room));
      assert.ok(cut.length <= Math.max(head, room));
      const read = decodeMessage(cut);
      const all = (m: Message) => [...m.answers, ...m.authorities, ...m.additionals];
      const [got, want] = [all(read), all(one)];
      assert.deepEqual(got, want.slice(0, got.length));
      assert.equal(
        (read.flags & FLAG.TC) !== 0,
        got.length < want.length || (one.flags & FLAG.TC) !== 0,
      );
    }),
    { numRuns: 500 },
  );
});

test('decode throws nothing but DecodeError, whatever the bytes', () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), onlyDecodeErrors), { numRuns: 3000 });
});

test('decode throws nothing but DecodeError on broken messages', () => {
  const hit = fc.record({ at: fc.nat(400), value: fc.integer({ min: 0, max: 255 }) });
  fc.assert(
    fc.property(
      message,
      fc.array(hit, { minLength: 1, maxLength: 8 }),
      fc.nat(400),
      (one, hits, cut) => {
        const whole = encodeMessage(one);
        for (const { at, value } of hits) if (at < whole.length) whole[at] = value;
        onlyDecodeErrors(whole);
        onlyDecodeErrors(whole.subarray(0, cut));
      },
    ),
    { numRuns: 3000 },
  );
});

function onlyDecodeErrors(input: Uint8Array): void {
  try {
    decodeMessage(input);
  } catch (error) {
    assert.ok(error instanceof DecodeError, String(error));
  }
}

test('a chain of pointers gives no name beyond 255 bytes and ends', () => {
  // Each name is 60 bytes and a pointer to the one before: the fifth is too long.
  const one = Buffer.concat([Buffer.from([60]), Buffer.alloc(60, 'a')]);
  const names = [Buffer.concat([one, Buffer.from([0])])];
  let at = 12;
  for (let count = 0; count < 5; count += 1) {
    names.push(Buffer.concat([one, Buffer.from([0xc0 | (at >> 8), at & 0xff])]));
    at += names[count]!.length + 4;
  }
  const header = Buffer.from('000000000006000000000000', 'hex');
  const questions = names.map((bytes) => Buffer.concat([bytes, Buffer.from([0, 1, 0, 1])]));
  assert.throws(() => decodeMessage(Buffer.concat([header, ...questions])), DecodeError);
});

/** Each in zone-file text, and the same record as dns-packet writes it. */
const known: [text: string, record: packet.Record][] = [
  ['a.b. 30 IN A 192.0.2.1', { name: 'a.b', type: 'A', ttl: 30, data: '192.0.2.1' }],
  ['a.b. 30 IN AAAA 2001:db8::1', { name: 'a.b', type: 'AAAA', ttl: 30, data: '2001:db8::1' }],
  ['a.b. 5 IN CNAME c.b.', { name: 'a.b', type: 'CNAME', ttl: 5, data: 'c.b' }],
  ['b. 5 IN NS ns.b.', { name: 'b', type: 'NS', ttl: 5, data: 'ns.b' }],
  ['1.in-addr.arpa. 5 IN PTR a.b.', { name: '1.in-addr.arpa', type: 'PTR', ttl: 5, data: 'a.b' }],
  [
    'b. 60 IN MX 10 mail.b.',
    { name: 'b', type: 'MX', ttl: 60, data: { preference: 10, exchange: 'mail.b' } },
  ],
  [
    '_http._tcp.b. 30 IN SRV 0 50 8080 web.b.',
    {
      name: '_http._tcp.b',
      type: 'SRV',
      ttl: 30,
      data: { priority: 0, weight: 50, port: 8080, target: 'web.b' },
    },
  ],
  ['b. 30 IN TXT "1.1.0" "x"', { name: 'b', type: 'TXT', ttl: 30, data: ['1.1.0', 'x'] }],
  [
    'b. 30 IN SOA ns.b. admin.b. 1 2 3 4 5',
    {
      name: 'b',
      type: 'SOA',
      ttl: 30,
      data: {
        mname: 'ns.b',
        rname: 'admin.b',
        serial: 1,
        refresh: 2,
        retry: 3,
        expire: 4,
        minimum: 5,
      },
    },
  ],
];

for (const [text, foreign] of known) {
  test(`${text} as dns-packet writes and reads it`, () => {
    const theirs = packet.encode({ type: 'response', id: 7, answers: [foreign] });
    const decoded = decodeMessage(theirs);
    assert.deepEqual(decoded.answers.map(formatRecord), [text]);
    const ours = packet.decode(encodeMessage(decoded));
    assert.deepEqual(ours.answers, packet.decode(theirs).answers);
  });
}

test('a type nobody knows is shown as RFC 3597 says', () => {
  const unknown = {
    name: parseName('a')!,
    type: 731,
    class: 1,
    ttl: 1,
    data: [Uint8Array.of(0xab, 1)],
  };
  assert.equal(formatRecord(unknown), String.raw`a. 1 IN TYPE731 \# 2 ab01`);
});

test('names are compressed, SRV targets are not (RFC 2782)', () => {
  const owner = parseName('svc.ns.svc.cluster.local')!;
  const srv = { name: owner, type: TYPE.SRV, class: 1, ttl: 1, data: [new Uint8Array(6), owner] };
  const cname = { name: owner, type: TYPE.CNAME, class: 1, ttl: 1, data: [owner] };
  const sizeOf = (one: ResourceRecord) =>
    encodeMessage({
      id: 0,
      flags: 0,
      authorities: [],
      additionals: [],
      questions: [{ name: owner, type: 1, class: 1 }],
      answers: [one],
    }).length;
  const base = 12 + owner.length + 4;
  assert.equal(sizeOf(cname), base + 2 + 10 + 2);
  assert.equal(sizeOf(srv), base + 2 + 10 + 6 + owner.length);
  assert.deepEqual(labelsOf(owner), ['svc', 'ns', 'svc', 'cluster', 'local']);
});
