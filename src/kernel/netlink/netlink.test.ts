import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { attr, decodeAttrs, DecodeError, encodeAttrs, type Attr } from './attr.ts';
import { ByteWriter } from './byte-writer.ts';
import { decodeAcknowledgement, decodeMessages, writeMessage } from './message.ts';
import { NetlinkError, refusalOf } from './netlink-error.ts';

/** Attributes as data, so that they can be compared. */
type Tree = { type: number; value: Uint8Array | Tree[] };

const type = fc.integer({ min: 0, max: 0x3fff });
const bytes = fc.uint8Array({ maxLength: 300 });
const { tree } = fc.letrec<{ tree: Tree }>((tie) => ({
  tree: plainRecord({
    type,
    value: fc.oneof({ maxDepth: 3 }, bytes, fc.array(tie('tree'), { maxLength: 4 })),
  }),
}));

function toAttr({ type, value }: Tree): Attr {
  return Array.isArray(value) ? attr.nested(type, value.map(toAttr)) : attr.bytes(type, value);
}

function assertSame(encoded: Uint8Array, trees: readonly Tree[]): void {
  const decoded = [...decodeAttrs(encoded).entries()];
  assert.deepEqual(
    decoded.map((entry) => entry.type),
    trees.map((entry) => entry.type),
  );
  for (const [index, { value }] of trees.entries()) {
    const payload = decoded[index]!.payload;
    if (Array.isArray(value)) assertSame(payload, value);
    else assert.deepEqual(Uint8Array.from(payload), value);
  }
}

test('attributes come back as they went, nested or not', () => {
  fc.assert(
    fc.property(fc.array(tree, { maxLength: 6 }), (trees) => {
      assertSame(encodeAttrs(trees.map(toAttr)), trees);
    }),
  );
});

const numbers: [
  name: string,
  build: Attr,
  read: (encoded: Uint8Array) => unknown,
  want: unknown,
][] = [
  ['u8', attr.u8(1, 0xfe), (encoded) => decodeAttrs(encoded).u8(1), 0xfe],
  ['u16', attr.u16(1, 0xfedc), (encoded) => decodeAttrs(encoded).u16(1), 0xfedc],
  ['u16be', attr.u16be(1, 0xfedc), (encoded) => decodeAttrs(encoded).u16be(1), 0xfedc],
  ['u32', attr.u32(1, 0xfedcba98), (encoded) => decodeAttrs(encoded).u32(1), 0xfedcba98],
  ['u32be', attr.u32be(1, 0xfedcba98), (encoded) => decodeAttrs(encoded).u32be(1), 0xfedcba98],
  ['i32', attr.i32(1, -5), (encoded) => decodeAttrs(encoded).i32(1), -5],
  ['u64be', attr.u64be(1, 1n << 60n), (encoded) => decodeAttrs(encoded).u64be(1), 1n << 60n],
  ['string', attr.string(1, 'Tür'), (encoded) => decodeAttrs(encoded).string(1), 'Tür'],
  ['flag', attr.flag(1), (encoded) => decodeAttrs(encoded).has(1), true],
];

for (const [name, build, read, want] of numbers) {
  test(`attribute ${name} comes back`, () => assert.deepEqual(read(encodeAttrs([build])), want));
}

test('an attribute that is too short for its number is refused', () => {
  const encoded = encodeAttrs([attr.u16(1, 5)]);
  assert.throws(() => decodeAttrs(encoded).u32(1), DecodeError);
});

test('an attribute longer than its length field can say is a bug', () => {
  assert.throws(() => encodeAttrs([attr.bytes(1, new Uint8Array(65_532))]), /65536 bytes/);
  assert.equal(encodeAttrs([attr.bytes(1, new Uint8Array(65_531))]).length, 65_536);
});

test('messages come back as they went', () => {
  const message = plainRecord({
    type: fc.integer({ min: 0, max: 0xffff }),
    flags: fc.integer({ min: 0, max: 0xffff }),
    body: bytes,
  });
  fc.assert(
    fc.property(fc.array(message, { maxLength: 5 }), (messages) => {
      const writer = new ByteWriter(1);
      for (const [index, each] of messages.entries()) {
        writeMessage(writer, each, { sequence: index, flags: 0 });
      }
      const decoded = decodeMessages(writer.bytes()).map((received) => ({
        type: received.type,
        flags: received.flags,
        body: Uint8Array.from(received.body),
      }));
      assert.deepEqual(decoded, messages);
    }),
  );
});

test('any bytes are decoded or refused with DecodeError', () => {
  const decoders = [
    decodeMessages,
    decodeAttrs,
    (body: Uint8Array) =>
      decodeAcknowledgement({ type: 2, flags: 0x200, sequence: 1, portId: 0, body }),
  ];
  fc.assert(
    fc.property(bytes, fc.constantFrom(...decoders), (any, decode) => {
      try {
        decode(any);
      } catch (error) {
        assert.ok(error instanceof DecodeError, String(error));
      }
    }),
    { numRuns: 2000 },
  );
});

/** `struct nlmsgerr` cut to the header of the request (`NLM_F_CAPPED`), then text and offset. */
test('an extended acknowledgement names errno, text and place', () => {
  const words = `
    eaffffff 30000000 1a000506 02000000 00000000
    10000100 6e6f2073 75636820 74686900 08000200 1c000000`;
  const body = Uint8Array.fromHex(words.replaceAll(/\s/g, ''));
  const ack = decodeAcknowledgement({ type: 2, flags: 0x300, sequence: 2, portId: 0, body });
  assert.equal(ack.errno, 22);
  assert.equal(ack.offset, 28);
  assert.equal(ack.text, 'no such thi');
  const error = new NetlinkError('add rule', [refusalOf(ack, 3)]);
  assert.equal(
    error.message,
    'Cannot add rule: the kernel answered EINVAL, "no such thi", at byte 28 of message 3',
  );
});

/** Objects like those the decoders make: with the usual prototype. */
function plainRecord<T extends object>(
  model: { [K in keyof T]: fc.Arbitrary<T[K]> },
  constraints: { requiredKeys?: (keyof T)[] } = {},
): fc.Arbitrary<T> {
  return fc.record(model, { ...constraints, noNullPrototype: true }) as fc.Arbitrary<T>;
}
