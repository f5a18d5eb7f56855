/** Headers, EDNS, sizes, transports and order: how the server speaks, whatever it says. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { connect } from 'node:net';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';

import * as packet from 'dns-packet';

import type { DnsServer } from '../../src/dns/server.ts';
import {
  ask,
  createNamespace,
  createService,
  createSlice,
  exchange,
  frame,
  loopbackUp,
  question,
  startApi,
  startServer,
  texts,
  type Asked,
} from './dns-harness.ts';

const key = (name: string) => ({ namespace: 'ns', name });
const http = { name: 'http', port: 80, protocol: 'TCP' };
const one = 'one.ns.svc.cluster.local.';
const many = 'many.ns.svc.cluster.local.';
const manyAddresses = Array.from({ length: 100 }, (_, index) => `10.244.7.${index + 1}`);

let server: DnsServer & { at: Asked };

before(async () => {
  loopbackUp();
  const client = await startApi();
  await createNamespace(client, 'ns');
  await createService(client, key('one'), { clusterIP: '10.96.0.4', ports: [http] });
  await createService(client, key('many'), { clusterIP: 'None', ports: [http] });
  await createSlice(client, key('many'), { endpoints: manyAddresses });
  await createService(client, key('three'), { clusterIP: 'None', ports: [http] });
  const endpoints = ['10.244.8.1=a', '10.244.8.2=b', '10.244.8.3=c'];
  await createSlice(client, key('three'), { endpoints });
  server = await startServer({ client });
});

after(() => server.stop());

const udp = (bytes: Uint8Array, timeoutMs = 3000) => exchange(server.at, bytes, { timeoutMs });

/** The header of a reply as hex words: id, flags, four counts. */
async function headerOf(bytes: Uint8Array): Promise<string> {
  const reply = await udp(bytes);
  assert.ok(reply !== undefined, 'there is a reply');
  return reply
    .subarray(0, 12)
    .toString('hex')
    .replaceAll(/(.{4})(?=.)/g, '$1 ');
}

const body = question(`${one} A`).subarray(12).toString('hex');
const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex');

const headers: [ids: string, name: string, sent: string, want: string][] = [
  [
    '[D62]',
    'RD and CD are copied',
    `abcd 0110 0001 0000 0000 0000 ${body}`,
    'abcd 8510 0001 0001 0000 0000',
  ],
  [
    '[D62]',
    'neither is set by itself',
    `abcd 0000 0001 0000 0000 0000 ${body}`,
    'abcd 8400 0001 0001 0000 0000',
  ],
  [
    '[D62]',
    'AD and RA are not',
    `abcd 00a0 0001 0000 0000 0000 ${body}`,
    'abcd 8400 0001 0001 0000 0000',
  ],
  [
    '[D69]',
    'UPDATE is not implemented',
    `abcd 2800 0001 0000 0000 0000 ${body}`,
    'abcd a804 0000 0000 0000 0000',
  ],
  [
    '[D69]',
    'STATUS is not implemented',
    `abcd 1000 0001 0000 0000 0000 ${body}`,
    'abcd 9004 0000 0000 0000 0000',
  ],
  [
    '[D69]',
    'NOTIFY passes like a query',
    `abcd 2110 0001 0000 0000 0000 ${body}`,
    'abcd a400 0001 0001 0000 0000',
  ],
  ['[D70]', 'no question', 'abcd 0000 0000 0000 0000 0000', 'abcd 8001 0000 0000 0000 0000'],
  [
    '[D70]',
    'two questions',
    `abcd 0000 0002 0000 0000 0000 ${body}${body}`,
    'abcd 8001 0000 0000 0000 0000',
  ],
  [
    '[D70]',
    'two answers',
    `abcd 0000 0001 0002 0000 0000 ${body}`,
    'abcd 8001 0000 0000 0000 0000',
  ],
  [
    '[D70]',
    'two authorities',
    `abcd 0000 0001 0000 0002 0000 ${body}`,
    'abcd 8001 0000 0000 0000 0000',
  ],
  [
    '[D70]',
    'three additionals',
    `abcd 0000 0001 0000 0000 0003 ${body}`,
    'abcd 8001 0000 0000 0000 0000',
  ],
  [
    '[D70]',
    'a cut question',
    `abcd 0000 0001 0000 0000 0000 ${body.slice(0, -4)}`,
    'abcd 8001 0000 0000 0000 0000',
  ],
  [
    '[D70]',
    'a cut record after a good question',
    `abcd 0000 0001 0000 0000 0001 ${body} 00`,
    'abcd 8001 0001 0000 0000 0000',
  ],
  [
    '[D70]',
    'a pointer to itself',
    'abcd 0000 0001 0000 0000 0000 c00c 0001 0001',
    'abcd 8001 0000 0000 0000 0000',
  ],
  [
    '[D70]',
    'two OPT records',
    `abcd 0000 0001 0000 0000 0002 ${body} 0000291000000000000000 0000291000000000000000`,
    'abcd 8001 0001 0000 0000 0000',
  ],
  [
    '[D71]',
    'a header that promises a question',
    'abcd 0000 0001 0000 0000 0000',
    'abcd 8002 0000 0000 0000 0000',
  ],
  [
    '[D71]',
    'bytes after the end',
    `abcd 0000 0001 0000 0000 0000 ${body} ffffffff`,
    'abcd 8400 0001 0001 0000 0000',
  ],
];

for (const [ids, name, sent, want] of headers) {
  test(`${ids} ${name}`, async () => assert.equal(await headerOf(hex(sent)), want));
}

test('[D68] a reply is not answered', async () => {
  assert.equal(await udp(hex(`abcd 8000 0001 0000 0000 0000 ${body}`), 100), undefined);
});

test('[D68] less than a header is not answered', async () => {
  assert.equal(await udp(hex('abcd 0000 0001 0000 0000 00'), 100), undefined);
});

test('[D72] a query of 3000 bytes is read', async () => {
  const padding = { code: 12, data: Buffer.alloc(2900) };
  const reply = packet.decode((await udp(withOpt(one, { options: [padding] })))!);
  assert.deepEqual(texts(reply.answers), [`${one} 30 IN A 10.96.0.4`]);
});

type Opt = { udpPayloadSize?: number; flags?: number; options?: { code: number; data?: Buffer }[] };

function withOpt(name: string, opt: Opt = {}): Buffer {
  const record = { name: '.', type: 'OPT', udpPayloadSize: 1232, flags: 0, options: [], ...opt };
  return question(`${name} A`, { additionals: [record] });
}

async function optOf(bytes: Buffer): Promise<packet.Record | undefined> {
  const reply = packet.decode((await udp(bytes))!);
  return reply.additionals.find(({ type }) => type === 'OPT');
}

test('[D73] no OPT for a client that sent none', async () => {
  assert.deepEqual((await ask(server.at, `${one} A`)).additionals, []);
});

test('[D67 D73] the size and DO of the client come back, and no signature', async () => {
  const sent = withOpt(one, { udpPayloadSize: 1400, flags: packet.DNSSEC_OK });
  const opt = await optOf(sent);
  assert.equal(opt?.udpPayloadSize, 1400);
  assert.equal(opt?.flag_do, true);
  assert.deepEqual(texts(packet.decode((await udp(sent))!).answers), [`${one} 30 IN A 10.96.0.4`]);
});

test('[D73] a cookie comes back, a client subnet does not', async () => {
  const options = [
    { code: 10, data: Buffer.from('0102030405060708', 'hex') },
    { code: 8, data: Buffer.from('000118000a0000', 'hex') },
  ];
  const opt = await optOf(withOpt(one, { options }));
  assert.deepEqual(
    opt?.options?.map(({ code }) => code),
    [10],
  );
  assert.equal(Buffer.from(opt.options[0]!.data!).toString('hex'), '0102030405060708');
});

test('[D73] EDNS version 1 is refused with version 0', async () => {
  const text = await dig(one, 'A', '+edns=1', '+noednsnegotiation');
  assert.match(text, /status: BADVERS/);
  assert.match(text, /EDNS: version: 0/);
});

/** What dig(1) prints. The server is in this process, hence it must not be held up meanwhile. */
async function dig(...args: string[]): Promise<string> {
  const { host, port } = server.at;
  const { stdout } = await promisify(execFile)('dig', [`@${host}`, '-p', String(port), ...args]);
  return stdout;
}

test('[D74 D76] a long answer without EDNS is cut to 512 bytes and says so', async () => {
  const bytes = (await udp(question(`${many} A`)))!;
  const reply = packet.decode(bytes);
  assert.ok(bytes.length <= 512 && bytes.length > 480, `${bytes.length} bytes`);
  assert.equal(reply.flag_tc, true);
  assert.ok(reply.answers.every(({ data }) => manyAddresses.includes(data)));
});

for (const [size, want] of [
  [100, 512],
  [512, 512],
  [900, 900],
  [1232, 1232],
] as const) {
  test(`[D74 D76] a client of ${size} bytes gets at most ${want}, with its OPT`, async () => {
    const bytes = (await udp(withOpt(many, { udpPayloadSize: size })))!;
    const reply = packet.decode(bytes);
    assert.ok(bytes.length <= want && bytes.length > want - 32, `${bytes.length} bytes`);
    assert.equal(reply.flag_tc, true);
    assert.equal(reply.additionals.filter(({ type }) => type === 'OPT').length, 1);
  });
}

test('[D74] a client of 4096 bytes gets all', async () => {
  const reply = packet.decode((await udp(withOpt(many, { udpPayloadSize: 4096 })))!);
  assert.equal(reply.flag_tc, false);
  assert.equal(reply.answers.length, 100);
});

test('[D76] glue that does not fit sets TC, the answer stays whole', async () => {
  const name = 'three.ns.svc.cluster.local.';
  const whole = (await udp(question(`_http._tcp.${name} SRV`)))!;
  assert.equal(packet.decode(whole).additionals.length, 3);
  // 100 SRV records: none of their addresses fits.
  const cut = packet.decode((await udp(question(`_http._tcp.${many} SRV`)))!);
  assert.equal(cut.flag_tc, true);
  assert.equal(cut.additionals.length, 0);
  assert.ok(cut.answers.length > 3);
});

test('[D76] dig falls back to TCP and gets all 100', async () => {
  const lines = (await dig(many, 'A', '+short', '+noedns')).trim().split('\n');
  assert.deepEqual(
    lines.filter((line) => !line.startsWith(';')).toSorted(),
    manyAddresses.toSorted(),
  );
});

test('[D66] other classes are refused in our zones', async () => {
  const reply = await ask(server.at, `${one} A CH`);
  assert.equal(reply.rcode, 'REFUSED');
  assert.match(await dig('version.bind', 'TXT', 'CH'), /status: REFUSED/);
});

test('[D64] REFUSED has no SOA and no AA', async () => {
  const reply = await ask(server.at, 'example.com. A');
  assert.equal(reply.rcode, 'REFUSED');
  assert.equal(reply.flag_aa, false);
  assert.deepEqual([reply.answers, reply.authorities, reply.additionals], [[], [], []]);
  assert.equal(reply.questions[0]?.name, 'example.com');
});

test('[D63] a denial has the SOA of the zone and nothing else', async () => {
  for (const [name, zone] of [
    ['nope.ns.svc.cluster.local.', 'cluster.local'],
    ['1.2.0.192.in-addr.arpa.', 'in-addr.arpa'],
  ]) {
    const reply = await ask(server.at, `${name} A`);
    assert.equal(reply.rcode, 'NXDOMAIN');
    assert.equal(reply.flag_aa, true);
    assert.deepEqual([reply.answers, reply.additionals], [[], []]);
    assert.deepEqual(
      reply.authorities.map((record) => record.name),
      [zone],
    );
    assert.equal(reply.authorities[0]?.ttl, 30);
  }
});

test('[D9] names come back in the spelling of the question', async () => {
  const name = 'THREE.nS.svc.Cluster.Local.';
  const reply = await ask(server.at, `_HTTP._tcp.${name} SRV`);
  assert.equal(reply.questions[0]?.name, `_HTTP._tcp.${name}`.slice(0, -1));
  assert.equal(reply.answers[0]?.name, `_HTTP._tcp.${name}`.slice(0, -1));
  const targets = reply.answers.map(({ data }) => String(data.target)).toSorted();
  assert.deepEqual(
    targets,
    ['a', 'b', 'c'].map((host) => `${host}.three.ns.svc.Cluster.Local`),
  );
});

test('[D77] a connection answers in order, however its queries arrive', async () => {
  const ids = Array.from({ length: 50 }, (_, index) => index + 1);
  const frames = ids.map((id) => frame(question(`${id % 2 === 0 ? one : many} A`, { id })));
  const stream = Buffer.concat(frames);
  for (const pieceBytes of [stream.length, 7, 1]) {
    assert.deepEqual(await idsOf(stream, pieceBytes, ids.length), ids);
  }
});

/** Sends the stream in pieces over one connection and reads the ids of `count` replies. */
async function idsOf(stream: Buffer, pieceBytes: number, count: number): Promise<number[]> {
  const socket = connect(server.at);
  socket.setNoDelay(true);
  for (let at = 0; at < stream.length; at += pieceBytes) {
    socket.write(stream.subarray(at, at + pieceBytes));
  }
  const ids: number[] = [];
  let pending = Buffer.alloc(0);
  for await (const chunk of socket as AsyncIterable<Buffer>) {
    pending = Buffer.concat([pending, chunk]);
    while (pending.length >= 2 && pending.length >= 2 + pending.readUInt16BE(0)) {
      ids.push(pending.readUInt16BE(2));
      pending = pending.subarray(2 + pending.readUInt16BE(0));
    }
    if (ids.length === count) break;
  }
  socket.destroy();
  return ids;
}

test('[D77] a connection that sends nothing is closed after 3 s', async () => {
  const socket = connect(server.at);
  const started = performance.now();
  await new Promise((resolve) => socket.on('close', resolve).resume());
  const seconds = (performance.now() - started) / 1000;
  assert.ok(seconds > 2.5 && seconds < 5, `${seconds} s`);
});

test('[D80] each address comes first now and then', async () => {
  const first = new Set<string>();
  for (let turn = 0; turn < 60; turn += 1) {
    const reply = await ask(server.at, 'three.ns.svc.cluster.local. A');
    assert.equal(new Set(reply.answers.map(({ data }) => data)).size, 3);
    first.add(reply.answers[0]!.data);
  }
  assert.equal(first.size, 3);
});

test('[D79] a bug answers SERVFAIL, and the next query is answered', async () => {
  const client = await startApi();
  await createNamespace(client, 'ns');
  await createService(client, key('pair'), { clusterIP: 'None', ports: [http] });
  await createSlice(client, key('pair'), { endpoints: ['10.244.8.1', '10.244.8.2'] });
  let broken = true;
  await using buggy = await startServer({
    client,
    random: () => {
      if (broken) throw new Error('a bug');
      return 0;
    },
  });
  assert.equal((await ask(buggy.at, 'pair.ns.svc.cluster.local. A')).rcode, 'SERVFAIL');
  broken = false;
  assert.equal((await ask(buggy.at, 'pair.ns.svc.cluster.local. A')).answers.length, 2);
});
