/** decode(encode(x)) = x for everything rtnetlink, and decoding never ends in another error. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { readGolden } from '../../../test/golden/read.ts';
import { formatIp, maskBytes } from '../../lib/ip.ts';
import { DecodeError } from '../netlink/attr.ts';
import { addAddress, decodeAddress } from './addresses.ts';
import { addLink, decodeLink } from './links.ts';
import { decodeNeighbour, replaceNeighbour } from './neighbours.ts';
import { decodeRoute, replaceRoute, type NextHop, type Route } from './routes.ts';
import { addRoutingRule, decodeRoutingRule, type RoutingRule } from './rules.ts';

const index = fc.integer({ min: 1, max: 0x7fffffff });
const u32 = fc.integer({ min: 0, max: 0xffffffff });
const name = fc.stringMatching(/^[a-z][a-z0-9]{0,14}$/);
const mac = fc
  .uint8Array({ minLength: 6, maxLength: 6 })
  .map((bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(':'));

/** Addresses of one family. */
const family = (length: 4 | 16) => {
  const address = fc.uint8Array({ minLength: length, maxLength: length }).map((b) => formatIp(b));
  const prefix = fc
    .tuple(
      fc.uint8Array({ minLength: length, maxLength: length }),
      fc.integer({ min: 0, max: length * 8 }),
    )
    .map(([bytes, bits]) => `${formatIp(maskBytes(bytes, bits))}/${bits}`);
  return { address, prefix };
};

for (const length of [4, 16] as const) {
  const { address, prefix } = family(length);
  const label = length === 4 ? 'IPv4' : 'IPv6';

  test(`${label} addresses come back as they went`, () => {
    fc.assert(
      fc.property(address, index, fc.integer({ min: 0, max: length * 8 }), (text, link, bits) => {
        const { body } = addAddress({ linkIndex: link, address: text, prefixLength: bits });
        assert.partialDeepStrictEqual(decodeAddress(body), {
          linkIndex: link,
          address: text,
          prefixLength: bits,
        });
      }),
    );
  });

  test(`${label} routes come back as they went`, () => {
    const hop: fc.Arbitrary<NextHop> = plainRecord({
      linkIndex: index,
      via: address,
      weight: fc.integer({ min: 1, max: 256 }),
      onlink: fc.constant(true),
    }).map((one) => one);
    const route: fc.Arbitrary<Route> = fc
      .tuple(
        plainRecord({
          destination: prefix,
          type: fc.constantFrom('unicast', 'local', 'blackhole', 'unreachable', 'throw'),
          table: fc.integer({ min: 1, max: 0xffffffff }),
          protocol: fc.integer({ min: 0, max: 255 }),
          scope: fc.constantFrom('global', 'link', 'host'),
        }),
        plainRecord(
          {
            linkIndex: index,
            via: address,
            source: address,
            metric: u32,
            mtu: u32,
            onlink: fc.constant(true),
            nextHops: fc.array(hop, { minLength: 1, maxLength: 4 }),
          },
          { requiredKeys: [] },
        ),
      )
      .map(([always, sometimes]) => ({ ...always, ...sometimes }));
    fc.assert(
      fc.property(route, (one) => assert.deepEqual(decodeRoute(replaceRoute(one).body), one)),
    );
  });

  test(`${label} neighbours come back as they went`, () => {
    fc.assert(
      fc.property(address, index, mac, (text, linkIndex, lladdr) => {
        const neighbour = { linkIndex, address: text, mac: lladdr };
        const { body } = replaceNeighbour(neighbour);
        assert.deepEqual(decodeNeighbour(body), { ...neighbour, permanent: true });
      }),
    );
  });

  test(`${label} routing rules come back as they went`, () => {
    const rule: fc.Arbitrary<RoutingRule> = fc
      .tuple(
        plainRecord({
          priority: u32,
          table: fc.integer({ min: 1, max: 0xffffffff }),
          protocol: fc.integer({ min: 0, max: 255 }),
        }),
        plainRecord(
          { from: prefix, to: prefix, mark: u32, mask: u32, inputLink: name, outputLink: name },
          { requiredKeys: [] },
        ),
      )
      .map(([a, b]) => ({ family: length === 4 ? 'ipv4' : 'ipv6', ...a, ...b }));
    fc.assert(
      fc.property(rule, (one) =>
        assert.deepEqual(decodeRoutingRule(addRoutingRule(one).body), one),
      ),
    );
  });
}

test('links come back as they went', () => {
  fc.assert(
    fc.property(name, name, mac, u32, u32, fc.boolean(), (one, other, address, mtu, master, up) => {
      const peer = { name: other };
      const { body } = addLink({
        name: one,
        kind: { kind: 'veth', peer },
        address,
        mtu,
        masterIndex: master,
        up,
      });
      assert.partialDeepStrictEqual(decodeLink(body), {
        name: one,
        kind: 'veth',
        address,
        mtu,
        masterIndex: master,
        up,
      });
    }),
  );
});

test('a text that is no address, prefix or link-layer address is refused', () => {
  assert.throws(() => replaceRoute({ destination: '10.0.0.0' }), RangeError);
  assert.throws(() => replaceRoute({ destination: '10.0.0.0/33' }), RangeError);
  assert.throws(() => replaceRoute({ destination: '10.0.0.0/8', via: 'x' }), RangeError);
  assert.throws(() => replaceNeighbour({ linkIndex: 1, address: '::1', mac: '1:2' }), RangeError);
});

test('what ip sent, broken anywhere, is decoded or refused with DecodeError', () => {
  const bodies = [...readGolden('ip.txt').values()].flat().map((message) => message.body);
  const decoders = [decodeLink, decodeAddress, decodeRoute, decodeNeighbour, decodeRoutingRule];
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
