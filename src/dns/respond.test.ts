import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as fc from 'fast-check';

import type { Block } from './blocks.ts';
import { DnsCounters } from './counters.ts';
import { KubernetesStage } from './plugins/kubernetes.ts';
import { loadbalanceStage } from './plugins/loadbalance.ts';
import { Responder } from './respond.ts';
import { chainOf } from './stage.ts';
import { AnswerTemplates } from './template.ts';
import { decodeMessage } from './wire/decode.ts';
import { encodeMessage } from './wire/encode.ts';
import { FLAG, TYPE, type Message } from './wire/message.ts';
import { parseName, root } from './wire/name.ts';
import { formatRecord } from './wire/text.ts';
import { serviceEntry, sliceEntry } from './zone/objects.ts';
import { ZoneData } from './zone/zone-data.ts';
import { createZones } from './zone/zones.ts';

const metadata = (name: string) => ({ namespace: 'ns', name });
const ports = [{ name: 'http', port: 80, protocol: 'TCP' as const }];

function fill(data: ZoneData): void {
  data.setNamespace('ns', true);
  const clusterIPs = ['10.96.0.1', 'fd00::1'];
  const dual = serviceEntry({ metadata: metadata('dual'), spec: { clusterIPs, ports } });
  data.setService('ns', 'dual', dual);
  const headless = serviceEntry({ metadata: metadata('many'), spec: { clusterIP: 'None', ports } });
  data.setService('ns', 'many', headless);
  const slice = sliceEntry({
    metadata: { ...metadata('many-1'), labels: { 'kubernetes.io/service-name': 'many' } },
    addressType: 'IPv4',
    endpoints: Array.from({ length: 40 }, (_, index) => ({ addresses: [`10.244.0.${index + 1}`] })),
    ports,
  });
  data.setSlice('ns', 'many-1', slice);
  const out = { type: 'ExternalName' as const, externalName: 'www.example.com' };
  data.setService('ns', 'out', serviceEntry({ metadata: metadata('out'), spec: out }));
}

function responder(): { responder: Responder; data: ZoneData; counters: DnsCounters } {
  const data = new ZoneData(() => 1_700_000_000_000);
  fill(data);
  const settings = {
    zones: ['cluster.local', 'in-addr.arpa', 'ip6.arpa'].map((zone) => parseName(zone)!),
    ttlSeconds: 30,
    podRecords: 'insecure' as const,
    fallthrough: [],
    strictCoredns: false,
    startupTimeoutMs: 0,
    api: {},
  };
  const zones = createZones(data, settings);
  const feed = { synced: Promise.resolve(), hasSynced: () => true, stop: () => undefined };
  const { random } = Math;
  const stages = [
    loadbalanceStage({ random }),
    new KubernetesStage({ settings, zones: [zones], feed }),
  ];
  const block: Block = {
    settings: { sites: [], plugins: {} },
    stages,
    chain: chainOf(stages),
    synced: feed.synced,
    plain: { zones, templates: new AnswerTemplates({ max: 10_000, random }) },
  };
  const counters = new DnsCounters();
  const options = { zones: [{ zone: root, block }], label: 'dns://:53', counters };
  return { responder: new Responder(options), data, counters };
}

const sender = { address: '127.0.0.1', port: 5353 };

type Ask = {
  name: string;
  type: number;
  id: number;
  flags: number;
  edns: { bytes: number; dnssecOk: boolean } | undefined;
};

function queryOf({ name, type, id, flags, edns }: Ask): Buffer {
  const opt = edns && {
    name: root,
    type: TYPE.OPT,
    class: edns.bytes,
    ttl: edns.dnssecOk ? 0x8000 : 0,
    data: [],
  };
  return encodeMessage({
    id,
    flags,
    answers: [],
    authorities: [],
    questions: [{ name: parseName(name)!, type, class: 1 }],
    additionals: opt === undefined ? [] : [opt],
  });
}

const interesting = [
  'dual.ns.svc.cluster.local',
  'many.ns.svc.cluster.local',
  'DUAL.ns.svc.Cluster.local',
  '_http._tcp.dual.ns.svc.cluster.local',
  '_http._tcp.many.ns.svc.cluster.local',
  '10-244-0-3.many.ns.svc.cluster.local',
  'out.ns.svc.cluster.local',
  'gone.ns.svc.cluster.local',
  'ns.svc.cluster.local',
  'cluster.local',
  'dns-version.cluster.local',
  '1.0.96.10.in-addr.arpa',
  'www.example.com',
];

const asks: fc.Arbitrary<Ask> = fc.record({
  name: fc.constantFrom(...interesting),
  type: fc.constantFrom(TYPE.A, TYPE.AAAA, TYPE.SRV, TYPE.PTR, TYPE.SOA, TYPE.NS, TYPE.TXT, 65),
  id: fc.integer({ min: 0, max: 0xffff }),
  flags: fc.constantFrom(0, FLAG.RD, FLAG.CD, FLAG.RD | FLAG.CD, FLAG.AD),
  edns: fc.option(
    fc.record({ bytes: fc.constantFrom(0, 512, 700, 1232, 4096, 65535), dnssecOk: fc.boolean() }),
    { nil: undefined },
  ),
});

/** What a reply says, whatever the order of its records. */
function saying(message: Message) {
  const sorted = (records: Message['answers']) => records.map(formatRecord).toSorted();
  const { id, flags, questions, answers, authorities, additionals } = message;
  return {
    id,
    flags,
    questions,
    answers: sorted(answers),
    authorities: sorted(authorities),
    additionals: sorted(additionals),
  };
}

test('a kept reply says the same as a new one, to every client', () => {
  const warm = responder().responder;
  fc.assert(
    fc.property(asks, fc.constantFrom('udp' as const, 'tcp' as const), (ask, transport) => {
      const query = queryOf(ask);
      void warm.respond(query, transport, sender);
      const kept = decodeMessage(warm.respond(query, transport, sender) as Buffer);
      const fresh = decodeMessage(
        responder().responder.respond(query, transport, sender) as Buffer,
      );
      if ((fresh.flags & FLAG.TC) !== 0) {
        assert.equal(kept.flags, fresh.flags);
        assert.equal(kept.answers.length, fresh.answers.length);
      } else {
        assert.deepEqual(saying(kept), saying(fresh));
      }
    }),
    { numRuns: 1500 },
  );
});

test('a kept reply does not outlive a change', () => {
  const { responder: warm, data } = responder();
  const query = queryOf({ name: interesting[0]!, type: TYPE.A, id: 1, flags: 0, edns: undefined });
  const answers = () =>
    decodeMessage(warm.respond(query, 'udp', sender) as Buffer).answers.map(formatRecord);
  const name = 'dual.ns.svc.cluster.local.';
  for (let turn = 0; turn < 2; turn += 1)
    assert.deepEqual(answers(), [`${name} 30 IN A 10.96.0.1`]);
  const spec = { clusterIPs: ['10.96.0.9'], ports };
  data.setService('ns', 'dual', serviceEntry({ metadata: metadata('dual'), spec }));
  for (let turn = 0; turn < 2; turn += 1)
    assert.deepEqual(answers(), [`${name} 30 IN A 10.96.0.9`]);
  data.setService('ns', 'dual', undefined);
  for (let turn = 0; turn < 2; turn += 1) assert.deepEqual(answers(), []);
});

test('[D8 D9] any spelling gets the same answer, in its own spelling', () => {
  const { responder: warm } = responder();
  const spellings = fc
    .tuple(
      fc.constantFrom(...interesting),
      fc.array(fc.boolean(), { minLength: 50, maxLength: 50 }),
    )
    .map(([name, upper]) =>
      name
        .split('')
        .map((c, i) => (upper[i] ? c.toUpperCase() : c))
        .join(''),
    );
  fc.assert(
    fc.property(spellings, fc.constantFrom(TYPE.A, TYPE.SRV, TYPE.SOA, TYPE.PTR), (name, type) => {
      const reply = (text: string) =>
        saying(
          decodeMessage(
            warm.respond(
              queryOf({ name: text, type, id: 1, flags: 0, edns: undefined }),
              'tcp',
              sender,
            ) as Buffer,
          ),
        );
      const [mixed, plain] = [reply(name), reply(name.toLowerCase())];
      for (const section of ['answers', 'authorities', 'additionals'] as const) {
        assert.deepEqual(
          mixed[section].map((text) => text.toLowerCase()).toSorted(),
          plain[section].map((text) => text.toLowerCase()).toSorted(),
        );
      }
      assert.equal(mixed.questions[0]?.name, parseName(name));
      for (const text of mixed.answers) assert.ok(text.startsWith(`${name}. `), text);
    }),
    { numRuns: 500 },
  );
});

test('broken packets get FORMERR or nothing, never a crash or a reply larger than allowed', () => {
  const { responder: warm } = responder();
  const hit = fc.record({ at: fc.nat(80), value: fc.integer({ min: 0, max: 255 }) });
  fc.assert(
    fc.property(asks, fc.array(hit, { maxLength: 6 }), fc.nat(100), (ask, hits, cut) => {
      const query = queryOf(ask);
      for (const { at, value } of hits) if (at < query.length) query[at] = value;
      const reply = warm.respond(
        query.subarray(0, Math.max(0, query.length - (cut % 20))),
        'udp',
        sender,
      );
      assert.ok(reply === undefined || reply instanceof Buffer);
      if (reply instanceof Buffer) decodeMessage(reply);
    }),
    { numRuns: 5000 },
  );
});

test('[D74] no reply over UDP is longer than 512 bytes or what the client says', () => {
  const { responder: warm } = responder();
  fc.assert(
    fc.property(asks, (ask) => {
      const reply = warm.respond(queryOf(ask), 'udp', sender) as Buffer;
      assert.ok(reply.length <= Math.max(512, ask.edns?.bytes ?? 0));
    }),
    { numRuns: 1000 },
  );
});

test('[D102] every answer is counted once, by transport, type and rcode', () => {
  const { responder: warm, counters } = responder();
  const ask = { id: 1, flags: 0, edns: undefined };
  for (let turn = 0; turn < 3; turn += 1) {
    void warm.respond(queryOf({ ...ask, name: interesting[0]!, type: TYPE.A }), 'udp', sender);
    void warm.respond(
      queryOf({ ...ask, name: 'gone.ns.svc.cluster.local', type: TYPE.A }),
      'tcp',
      sender,
    );
  }
  assert.deepEqual(counters.answers(), [
    { transport: 'udp', type: TYPE.A, rcode: 0, count: 3 },
    { transport: 'tcp', type: TYPE.A, rcode: 3, count: 3 },
  ]);
});
