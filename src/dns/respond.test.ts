import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as fc from 'fast-check';

import type { Block } from './blocks.ts';
import { VIA } from './answer-counts.ts';
import { SocketCounts } from './counters.ts';
import { FastPath } from './kept/fast-path.ts';
import { AnswerKeeper } from './kept/keeper.ts';
import { bytesOf } from './kept/raw-query.ts';
import { KubernetesStage } from './plugins/kubernetes.ts';
import { loadbalanceStage } from './plugins/loadbalance.ts';
import { Responder } from './respond.ts';
import { chainOf } from './stage.ts';
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

function responder(podRecords: 'insecure' | 'verified' = 'insecure'): {
  responder: Pick<Responder, 'respond'>;
  /** Answers from the same data, and keeps nothing. */
  forgetful: Pick<Responder, 'respond'>;
  data: ZoneData;
  counters: SocketCounts;
  hits: () => number;
} {
  const nowMs = () => 0;
  const keeper = new AnswerKeeper(nowMs);
  let seconds = 1_700_000_000;
  const data = new ZoneData(() => (seconds += 1) * 1000);
  data.tell(keeper);
  fill(data);
  const settings = {
    zones: ['cluster.local', 'in-addr.arpa', 'ip6.arpa'].map((zone) => parseName(zone)!),
    ttlSeconds: 30,
    podRecords,
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
    plain: { keeper, data, shuffles: true, udpBytesMax: 65_535, alsoReads: [] },
  };
  const counters = new SocketCounts();
  const options = {
    zones: [{ zone: root, block }],
    label: 'dns://:53',
    host: '::',
    counters,
    nowMs,
  };
  const inner = new Responder(options);
  const fast = new FastPath([{ store: keeper.store, random, udpBytesMax: 65_535 }], {
    counts: counters.own,
    nowMs,
    failed: rethrow,
  });
  let hits = 0;
  const respond: Responder['respond'] = (packet, transport, from) => {
    const reply = kept(fast, packet, transport === 'udp' ? 'udp' : 'tcp');
    if (reply === undefined) return inner.respond(packet, transport, from);
    hits += 1;
    return reply;
  };
  const chainOnly = { ...options, zones: [{ zone: root, block: { ...block, plain: undefined } }] };
  const forgetful = new Responder({ ...chainOnly, counters: new SocketCounts() });
  return { responder: { respond }, forgetful, data, counters, hits: () => hits };
}

/** The kept reply, as the sockets get it: written somewhere into a larger buffer. */
function kept(fast: FastPath, packet: Uint8Array, transport: 'udp' | 'tcp'): Buffer | undefined {
  const [before, after] = [3, 5];
  const input = Buffer.concat([Buffer.alloc(before, 0xff), packet, Buffer.alloc(after, 0xff)]);
  const output = Buffer.alloc(6000);
  const out = { ...bytesOf(output), at: before, room: 0, roomMax: 5000 };
  const range = { start: before, end: before + packet.length };
  const length = fast.answer(bytesOf(input), range, VIA[transport], out);
  return length === 0 ? undefined : output.subarray(before, before + length);
}

function rethrow(error: unknown): never {
  throw error;
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
  type: fc.constantFrom(TYPE.A, TYPE.AAAA, TYPE.SRV, TYPE.PTR, TYPE.SOA, TYPE.NS, TYPE.TXT, 65, 97),
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
  const { responder: warm, forgetful, hits } = responder();
  fc.assert(
    fc.property(asks, fc.constantFrom('udp' as const, 'tcp' as const), (ask, transport) => {
      const query = queryOf(ask);
      void warm.respond(query, transport, sender);
      const kept = decodeMessage(warm.respond(query, transport, sender) as Buffer);
      const fresh = decodeMessage(forgetful.respond(query, transport, sender) as Buffer);
      if ((fresh.flags & FLAG.TC) !== 0) {
        assert.equal(kept.flags, fresh.flags);
        assert.equal(kept.answers.length, fresh.answers.length);
      } else {
        assert.deepEqual(saying(kept), saying(fresh));
      }
    }),
    { numRuns: 1500 },
  );
  // Most are: the others are cut, or rest on what nobody tells about.
  assert.ok(hits() > 1500, `${hits()} of 3000 were kept ones`);
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

/** Objects with few names and addresses, so that they get in each other's way. */
const changed = {
  name: fc.constantFrom('a', 'b', 'c'),
  namespace: fc.constantFrom('ns', 'other'),
  ip: fc.constantFrom('10.96.0.1', '10.96.0.2', '10.244.0.1', '10.244.0.2', 'fd00::2'),
};

const services = fc.record({
  ...changed,
  spec: fc.oneof(
    changed.ip.map((ip) => ({ clusterIPs: [ip], ports })),
    fc.constant({ clusterIP: 'None', ports }),
    fc
      .constantFrom('a.ns.svc.cluster.local', 'b.other.svc.cluster.local', 'www.example.com')
      .map((externalName) => ({ type: 'ExternalName' as const, externalName })),
    fc.constant(undefined),
  ),
});

const slices = fc.record({
  ...changed,
  slice: fc.constantFrom('one', 'two'),
  endpoints: fc.option(
    fc.array(fc.record({ ip: changed.ip, hostname: fc.constantFrom('', 'h0', 'h1') }), {
      maxLength: 3,
    }),
    { nil: undefined },
  ),
});

type Change =
  | { kind: 'service'; of: typeof services extends fc.Arbitrary<infer T> ? T : never }
  | { kind: 'slice'; of: typeof slices extends fc.Arbitrary<infer T> ? T : never }
  | { kind: 'namespace'; of: { namespace: string; exists: boolean } }
  | { kind: 'pod'; of: { namespace: string; ip: string } };

const change: fc.Arbitrary<Change> = fc.oneof(
  services.map((of) => ({ kind: 'service' as const, of })),
  slices.map((of) => ({ kind: 'slice' as const, of })),
  fc
    .record({ namespace: changed.namespace, exists: fc.boolean() })
    .map((of) => ({ kind: 'namespace' as const, of })),
  fc
    .record({ namespace: changed.namespace, ip: changed.ip })
    .map((of) => ({ kind: 'pod' as const, of })),
);

/** Pods that are there, by namespace and address: each comes and goes. */
function make(data: ZoneData, pods: Set<string>, { kind, of }: Change): void {
  if (kind === 'service') {
    const { namespace, name, spec } = of;
    const entry = spec && serviceEntry({ metadata: { namespace, name }, spec });
    data.setService(namespace, name, entry);
  } else if (kind === 'slice') {
    const { namespace, name, slice } = of;
    const labels = { 'kubernetes.io/service-name': name };
    const entry =
      of.endpoints &&
      sliceEntry({
        metadata: { namespace, name: slice, labels },
        addressType: 'IPv4',
        endpoints: of.endpoints.map(({ ip, hostname }) => ({
          addresses: [ip],
          ...(hostname === '' ? {} : { hostname }),
        })),
        ports,
      });
    data.setSlice(namespace, slice, entry);
  } else if (kind === 'namespace') {
    data.setNamespace(of.namespace, of.exists);
  } else {
    const key = `${of.namespace}/${of.ip}`;
    const isThere = pods.delete(key);
    if (!isThere) pods.add(key);
    data.setPod(of.namespace, of.ip, !isThere);
  }
}

const names = ['a', 'b', 'c'].flatMap((name) =>
  ['ns', 'other'].flatMap((namespace) => {
    const service = `${name}.${namespace}.svc.cluster.local`;
    return [service, `h0.${service}`, `_http._tcp.${service}`, `_tcp.${service}`];
  }),
);
const everything = [
  ...names,
  'ns.svc.cluster.local',
  'other.svc.cluster.local',
  'cluster.local',
  'svc.cluster.local',
  '10-244-0-1.ns.pod.cluster.local',
  '10-244-0-2.other.pod.cluster.local',
  '1.0.96.10.in-addr.arpa',
  '2.0.96.10.in-addr.arpa',
  '1.0.244.10.in-addr.arpa',
];
const questions = everything.flatMap((name) => {
  const types = name.endsWith('.arpa') ? [TYPE.PTR] : [TYPE.A, TYPE.SRV];
  return types.map((type) => queryOf({ name, type, id: 1, flags: 0, edns: undefined }));
});

for (const podRecords of ['insecure', 'verified'] as const) {
  test(`after any changes every kept reply says what a new one says, pods ${podRecords}`, () => {
    const { responder: warm, forgetful, data, hits } = responder(podRecords);
    const pods = new Set<string>();
    let asked = 0;
    fc.assert(
      fc.property(change, (one) => {
        make(data, pods, one);
        for (const query of questions) {
          const kept = decodeMessage(warm.respond(query, 'tcp', sender) as Buffer);
          const fresh = decodeMessage(forgetful.respond(query, 'tcp', sender) as Buffer);
          assert.deepEqual(saying(kept), saying(fresh));
          asked += 1;
        }
      }),
      // One change after another on the same data: what fails is the sequence, not the last one.
      { numRuns: 600, endOnFailure: true },
    );
    assert.ok(hits() > asked / 2, `${hits()} of ${asked} were kept ones`);
  });
}

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
  const { served, dropped } = counters.answers();
  assert.equal(dropped.total, 0);
  assert.deepEqual(served.responses, [
    { plugin: 'kubernetes', rcode: 0, count: 3 },
    { plugin: 'kubernetes', rcode: 3, count: 3 },
  ]);
  assert.deepEqual(served.requests, [
    { proto: 'udp', family: '1', type: 'A', count: 3 },
    { proto: 'tcp', family: '1', type: 'A', count: 3 },
  ]);
});
