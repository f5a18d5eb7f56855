import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { attr, decodeAttrs, DecodeError, encodeAttrs } from '../netlink/attr.ts';
import { decodeFlow, deleteFlow, type Tuple } from './flow.ts';

const CTA_TUPLE_ORIG = 1;
const CTA_TUPLE_REPLY = 2;
const HEAD = Uint8Array.of(2, 0, 0, 0);

/** The body of an answer whose two tuples are those that we wrote for a deletion. */
function answerWith(original: Tuple, reply: Tuple): Uint8Array {
  const tupleOf = (tuple: Tuple) => {
    const { body } = deleteFlow({ original: tuple, id: 0, zone: 0 });
    return decodeAttrs(body.subarray(HEAD.length)).bytes(CTA_TUPLE_ORIG)!;
  };
  const attrs = [
    attr.bytes(CTA_TUPLE_ORIG, tupleOf(original)),
    attr.bytes(CTA_TUPLE_REPLY, tupleOf(reply)),
  ];
  return Uint8Array.of(...HEAD, ...encodeAttrs(attrs));
}

const port = fc.integer({ min: 0, max: 65_535 });
const byte = fc.integer({ min: 0, max: 255 });
const ends = fc.constantFrom(['10.0.0.1', '10.0.0.2'], ['fd00::1', 'fd00::2']);
const tuple = fc
  .tuple(ends, byte, port, port, fc.boolean())
  .map(([[source = '', destination = ''], protocol, first, second, isIcmp]): Tuple => {
    const addresses = { source, destination, protocol };
    if (isIcmp) return { ...addresses, icmp: { id: first, type: second & 0xff, code: protocol } };
    return { ...addresses, sourcePort: first, destinationPort: second };
  });

test('the tuples of a flow come back as they went', () => {
  fc.assert(
    fc.property(tuple, tuple, (original, reply) => {
      const flow = decodeFlow(answerWith(original, reply));
      assert.deepEqual([flow.original, flow.reply], [original, reply]);
    }),
  );
});

test('a broken answer is decoded or refused with DecodeError', () => {
  fc.assert(
    fc.property(tuple, fc.nat(), byte, fc.nat(), (original, at, value, cut) => {
      const body = answerWith(original, original);
      body[at % body.length] = value;
      try {
        decodeFlow(body.subarray(0, cut % 2 === 0 ? cut % body.length : body.length));
      } catch (error) {
        assert.ok(error instanceof DecodeError, String(error));
      }
    }),
    { numRuns: 2000 },
  );
});
