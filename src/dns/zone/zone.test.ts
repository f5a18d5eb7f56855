import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as fc from 'fast-check';

import { configurationOf } from '../config/from-options.ts';
import { CLASS, TYPE } from '../wire/message.ts';
import { parseName } from '../wire/name.ts';
import { formatRecord } from '../wire/text.ts';
import { addressOfReverse, placeOf, undash, type Place } from './grammar.ts';
import { lookup } from './lookup.ts';
import { serviceEntry, sliceEntry } from './objects.ts';
import { ZoneData } from './zone-data.ts';
import { createZones } from './zones.ts';

const places: [name: string, place: Place][] = [
  ['', { kind: 'apex' }],
  ['svc', { kind: 'branch', of: 'svc' }],
  ['pod', { kind: 'branch', of: 'pod' }],
  ['dns', { kind: 'branch', of: 'dns' }],
  ['ns.dns', { kind: 'nameserver' }],
  ['x.ns.dns', { kind: 'nothing' }],
  ['dns-version', { kind: 'version' }],
  ['x.dns-version', { kind: 'nothing' }],
  ['default.svc', { kind: 'namespace', of: 'svc', namespace: 'default' }],
  ['default.pod', { kind: 'namespace', of: 'pod', namespace: 'default' }],
  ['web.default.svc', { kind: 'service', namespace: 'default', service: 'web' }],
  ['e.web.default.svc', { kind: 'service', namespace: 'default', service: 'web', endpoint: 'e' }],
  [
    '_http._tcp.web.default.svc',
    {
      kind: 'service',
      namespace: 'default',
      service: 'web',
      port: { name: 'http', protocol: 'tcp' },
    },
  ],
  [
    '_.udp.web.default.svc',
    { kind: 'service', namespace: 'default', service: 'web', port: { name: '', protocol: 'udp' } },
  ],
  ['a.b.c.web.default.svc', { kind: 'nothing' }],
  ['1-2-3-4.default.pod', { kind: 'pod', namespace: 'default', pod: '1-2-3-4' }],
  ['x.y.1-2-3-4.default.pod', { kind: 'pod', namespace: 'default', pod: '1-2-3-4' }],
  ['x.y.z.1-2-3-4.default.pod', { kind: 'nothing' }],
  ['example', { kind: 'nothing' }],
  ['web.default.example', { kind: 'nothing' }],
];

for (const [name, place] of places) {
  test(`[D3] "${name}" left of the zone is ${place.kind}`, () => {
    const grammar = { multicluster: false, zonal: false };
    assert.deepEqual(placeOf(name === '' ? [] : name.split('.'), grammar), place);
  });
}

const dashed: [label: string, address: string][] = [
  ['10-0-0-1', '10.0.0.1'],
  ['fd00--1', 'fd00::1'],
  ['1-2-3--4', '1:2:3::4'],
  ['2001-db8-0-0-0-0-0-1', '2001:db8:0:0:0:0:0:1'],
  ['10-0-0', '10:0:0'],
];

for (const [label, address] of dashed) {
  test(`[D50] ${label} is ${address}`, () => assert.equal(undash(label), address));
}

test('[D54] reverse names of both families', () => {
  const reverse = (labels: readonly string[]) => addressOfReverse(parseName(labels.join('.'))!);
  assert.equal(reverse(['4', '3', '2', '1', 'in-addr', 'arpa']), '1.2.3.4');
  assert.equal(reverse(['3', '2', '1', 'in-addr', 'arpa']), undefined);
  const nibbles = '20010db8000000000000000000000001'.split('').toReversed();
  const v6 = (labels: readonly string[]) => reverse([...labels, 'ip6', 'arpa']);
  assert.equal(v6(nibbles), '2001:db8::1');
  assert.equal(v6(nibbles.slice(1)), undefined);
  assert.equal(v6(['10', ...nibbles.slice(1)]), undefined);
  assert.equal(reverse(['4', '3', '2', '1', 'example', 'com']), undefined);
});

const externalNames: [text: string, kept: boolean][] = [
  ['www.example.com', true],
  ['www.example.com.', true],
  ['192.0.2.1', false],
  ['2001:db8::1', false],
  ['', false],
  ['a..b', false],
];

for (const [externalName, kept] of externalNames) {
  test(`[D46] ExternalName "${externalName}" ${kept ? 'is' : 'is not'} an alias`, () => {
    const metadata = { namespace: 'ns', name: 'x' };
    const entry = serviceEntry({ metadata, spec: { type: 'ExternalName', externalName } });
    assert.equal(entry.target !== undefined, kept);
    const data = new ZoneData(() => 0);
    data.setNamespace('ns', true);
    data.setService('ns', 'x', entry);
    const { outcome } = answer(data, 'x.ns.svc.cluster.local');
    assert.equal(outcome.kind, kept ? 'alias' : 'missing');
  });
}

function answer(data: ZoneData, name: string, type: number = TYPE.A, strictCoredns = false) {
  const zones = createZones(data, {
    zones: ['cluster.local', 'in-addr.arpa', 'ip6.arpa'].map((zone) => parseName(zone)!),
    ttlSeconds: 5,
    podRecords: 'insecure',
    strictCoredns,
    localAddresses: () => ['10.244.0.2'],
  });
  return lookup(zones, { name: parseName(name)!, type, class: CLASS.IN })!;
}

/** What CoreDNS does and we mended: with `strictCoredns` its answers come back. */
const quirks: [ids: string, name: string, type: number, ours: string, strict: string][] = [
  ['[D39]', 'dns.cluster.local', TYPE.A, 'empty', 'missing'],
  ['[D39]', 'dns-version.cluster.local', TYPE.A, 'empty', 'missing'],
  ['[D40]', 'cluster.local', TYPE.TXT, 'empty', 'missing'],
  ['[D40]', 'svc.cluster.local', TYPE.TXT, 'empty', 'missing'],
  ['[D40]', 'ns.svc.cluster.local', TYPE.TXT, 'empty', 'missing'],
  ['[D33e]', '_tcp.web.ns.svc.cluster.local', TYPE.A, 'empty', 'missing'],
];

for (const [ids, name, type, ours, strict] of quirks) {
  test(`${ids} ${name} type ${type} is ${ours}, ${strict} as CoreDNS has it`, () => {
    const data = new ZoneData(() => 0);
    data.setNamespace('ns', true);
    const ports = [{ name: 'http', port: 80, protocol: 'TCP' as const }];
    const spec = { clusterIPs: ['10.96.0.1'], ports };
    data.setService(
      'ns',
      'web',
      serviceEntry({ metadata: { namespace: 'ns', name: 'web' }, spec }),
    );
    assert.equal(answer(data, name, type).outcome.kind, ours);
    assert.equal(answer(data, name, type, true).outcome.kind, strict);
  });
}

test('[D32] the weight of n entries is 100/n, and at least 1', () => {
  for (const [count, weight] of [
    [1, 100],
    [3, 33],
    [6, 16],
    [100, 1],
    [150, 1],
  ] as const) {
    const data = new ZoneData(() => 0);
    data.setNamespace('ns', true);
    fillHeadless(data, count);
    const { outcome } = answer(data, '_http._tcp.web.ns.svc.cluster.local', TYPE.SRV);
    assert.equal(outcome.kind, 'records');
    if (outcome.kind !== 'records') return;
    assert.equal(outcome.answers.length, count);
    assert.match(formatRecord(outcome.answers[0]!), new RegExp(` 0 ${weight} 80 `));
  }
});

function fillHeadless(data: ZoneData, count: number): void {
  const ports = [{ name: 'http', port: 80, protocol: 'TCP' as const }];
  const metadata = { namespace: 'ns', name: 'web' };
  data.setService('ns', 'web', serviceEntry({ metadata, spec: { clusterIP: 'None', ports } }));
  data.setSlice(
    'ns',
    'web-1',
    sliceEntry({
      metadata: { ...metadata, labels: { 'kubernetes.io/service-name': 'web' } },
      addressType: 'IPv4',
      endpoints: Array.from({ length: count }, (_, i) => ({
        addresses: [`10.1.${i >> 8}.${i & 255}`],
      })),
      ports,
    }),
  );
}

type Step = { service: number; slice: number; addresses: number[]; ready: boolean; gone: boolean };

const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.record({
    service: fc.nat(2),
    slice: fc.nat(3),
    addresses: fc.uniqueArray(fc.nat(5), { maxLength: 4 }),
    ready: fc.boolean(),
    gone: fc.boolean(),
  }),
  { maxLength: 30 },
);

function slice(step: Step) {
  return sliceEntry({
    metadata: {
      namespace: 'ns',
      name: `s${step.slice}`,
      labels: { 'kubernetes.io/service-name': `h${step.service}` },
    },
    addressType: 'IPv4',
    endpoints: step.addresses.map((n) => ({
      addresses: [`10.0.0.${n + 1}`],
      conditions: { ready: step.ready },
    })),
    ports: [{ name: 'p', port: 1, protocol: 'TCP' }],
  });
}

test('data changed step by step answers like data made at once', () => {
  const headless = (name: string) =>
    serviceEntry({ metadata: { namespace: 'ns', name }, spec: { clusterIP: 'None' } });
  fc.assert(
    fc.property(steps, (list) => {
      const stepwise = new ZoneData(() => 0);
      const atOnce = new ZoneData(() => 0);
      const last = new Map<number, Step>();
      for (const data of [stepwise, atOnce]) {
        for (const name of ['h0', 'h1', 'h2']) data.setService('ns', name, headless(name));
      }
      for (const step of list) {
        stepwise.setSlice('ns', `s${step.slice}`, step.gone ? undefined : slice(step));
        last.set(step.slice, step);
      }
      for (const step of last.values()) {
        if (!step.gone) atOnce.setSlice('ns', `s${step.slice}`, slice(step));
      }
      const questions = [0, 1, 2, 3, 4, 5].flatMap((n): [string, number][] => [
        [`h${n % 3}.ns.svc.cluster.local`, TYPE.A],
        [`_p._tcp.h${n % 3}.ns.svc.cluster.local`, TYPE.SRV],
        [`${n + 1}.0.0.10.in-addr.arpa`, TYPE.PTR],
      ]);
      for (const [name, type] of questions) {
        assert.deepEqual(told(stepwise, name, type), told(atOnce, name, type));
      }
    }),
    { numRuns: 300 },
  );
});

function told(data: ZoneData, name: string, type: number): string[] {
  const { outcome } = answer(data, name, type);
  if (outcome.kind !== 'records') return [outcome.kind];
  return [...outcome.answers, ...outcome.additionals].map(formatRecord).toSorted();
}

test('[D20] one name per address: the hostname, or else the dashed address', () => {
  const entry = sliceEntry({
    metadata: { namespace: 'ns', name: 's', labels: { 'kubernetes.io/service-name': 'x' } },
    addressType: 'IPv6',
    endpoints: [
      { addresses: ['2001:db8::'] },
      { addresses: ['2001:0DB8:0::1'] },
      { addresses: ['2001:db8::2'], hostname: 'Db-0' },
    ],
  });
  assert.deepEqual(
    entry?.endpoints.map(({ host }) => host),
    ['2001-db8--0', '2001-db8--1', 'db-0'],
  );
});

test('[D2] a domain that is none, or too long, is refused', () => {
  for (const domain of ['', '.', 'a..b', 'x'.repeat(64), `${'abcdefgh.'.repeat(8)}local`]) {
    const options = { ttlSeconds: 5, podRecords: 'insecure' as const };
    const make = () => {
      const [block] = configurationOf({ domain, listen: [], upstreams: [] }).blocks;
      return createZones(new ZoneData(() => 0), { ...options, ...block!.plugins.kubernetes! });
    };
    assert.throws(make, /Cannot serve cluster domain/);
  }
});
