/** Those who mean harm: forgers of upstream replies, servers that say too much, clients that hold on. */
import assert from 'node:assert/strict';
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { connect, createServer, type Server, type Socket as TcpSocket } from 'node:net';
import { before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import * as packet from 'dns-packet';

import type { Client } from '../../src/client/client.ts';
import {
  ask,
  createNamespace,
  createService,
  exchange,
  frame,
  loopbackUp,
  question,
  startApi,
  startServer,
  texts,
} from './dns-harness.ts';

let client: Client;

before(loopbackUp);
before(async () => {
  client = await startApi();
  await createNamespace(client, 'ns');
  const spec = { clusterIP: '10.96.0.4', ports: [{ name: 'http', port: 80 }] };
  await createService(client, { namespace: 'ns', name: 'web' }, spec);
});

type Heard = { readonly bytes: Buffer; readonly from: RemoteInfo };

/** A server elsewhere of which the test writes every byte. */
type Raw = {
  readonly address: string;
  readonly heard: Heard[];
  readonly socket: Socket;
  close(): void;
};

async function startRaw(
  answer: (query: Heard, send: (bytes: Uint8Array) => void) => void,
  overTcp?: (query: Buffer) => Uint8Array,
): Promise<Raw> {
  const socket = createSocket('udp4');
  const heard: Heard[] = [];
  socket.on('message', (bytes, from) => {
    heard.push({ bytes, from });
    answer({ bytes, from }, (reply) => socket.send(reply, from.port, from.address));
  });
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
  const { port } = socket.address();
  let tcp: Server | undefined;
  if (overTcp !== undefined) {
    tcp = createServer((connection) => {
      connection.on('error', () => connection.destroy());
      connection.on('data', (chunk: Buffer) => connection.write(frame(overTcp(chunk.subarray(2)))));
    });
    await new Promise<void>((resolve) => tcp!.listen(port, '127.0.0.1', resolve));
  }
  const close = () => {
    socket.close();
    tcp?.close();
  };
  return { address: `127.0.0.1:${port}`, heard, socket, close };
}

function nameIn(query: Buffer): string {
  return packet.decode(query).questions[0]!.name;
}

/** The query as its own reply, with these answers. */
function replyTo(query: Buffer, more: packet.Packet = {}): Buffer {
  const { id, questions } = packet.decode(query);
  const flags = packet.RECURSION_DESIRED | 0x80;
  return packet.encode({ type: 'response', id, flags, questions, ...more });
}

const a = (name: string, data: string) => ({ name, type: 'A', ttl: 300, data });

const startWith = (raw: Raw) => startServer({ client, upstreams: [raw.address] });

test('ids, ports and the case of letters are not to be guessed', async () => {
  const raw = await startRaw(({ bytes }, send) => send(replyTo(bytes)));
  await using server = await startWith(raw);
  const count = 400;
  const name = (index: number) => `host-${index}.some-long-example.com. A`;
  for (let index = 0; index < count; index += 40) {
    const batch = Array.from({ length: 40 }, (_, more) => ask(server.at, name(index + more)));
    await Promise.all(batch);
  }
  raw.close();
  const heard = raw.heard.slice(0, count);
  const ids = heard.map(({ bytes }) => bytes.readUInt16BE(0));
  const ports = heard.map(({ from }) => from.port);
  // Of 400 random numbers of 16 bits 399 differ on average, and of 28,000 ports 397.
  assert.ok(new Set(ids).size > 390, `${new Set(ids).size} different ids`);
  assert.ok(new Set(ports).size > 350, `${new Set(ports).size} different ports`);
  const steps = ids.slice(1).map((id, index) => (id - ids[index]! + 0x10000) % 0x10000);
  const rising = steps.filter((step) => step < 256).length;
  assert.ok(rising < 20, `${rising} ids are close above the one before`);
  // Each bit of an id and each letter is one way about half the time: 5 deviations are 50 of 400.
  for (let bit = 0; bit < 16; bit += 1) {
    const set = ids.filter((id) => ((id >> bit) & 1) === 1).length;
    assert.ok(Math.abs(set - count / 2) < 50, `bit ${bit} of the id is set ${set} times`);
  }
  const letters = 'some-long-example.com'.length;
  for (let at = 1; at <= letters; at += 1) {
    const found = heard.map(({ bytes }) => nameIn(bytes).at(-at)!);
    if (!/[a-z]/i.test(found[0]!)) continue;
    const upper = found.filter((letter) => letter !== letter.toLowerCase()).length;
    assert.ok(Math.abs(upper - count / 2) < 50, `letter -${at} is upper case ${upper} times`);
  }
});

test('a forged reply is not taken, whatever part of it is wrong, and the true one still is', async () => {
  const forger = createSocket('udp4');
  await new Promise<void>((resolve) => forger.bind(0, '127.0.0.1', resolve));
  const raw = await startRaw(({ bytes, from }, send) => {
    const bad = (more: packet.Packet = {}) =>
      replyTo(bytes, { answers: [a(nameIn(bytes), '203.0.113.66')], ...more });
    const wrongId = bad();
    wrongId.writeUInt16BE((bytes.readUInt16BE(0) + 1) & 0xffff, 0);
    send(wrongId);
    send(bad({ questions: [{ name: 'other.example.com', type: 'A' }] }));
    send(bad({ questions: [{ name: nameIn(bytes), type: 'AAAA' }] }));
    send(bad({ questions: [] }));
    const query = bad();
    query[2] = query[2]! & 0x7f;
    send(query);
    send(bad().subarray(0, 20));
    // From another port of the same address.
    forger.send(bad(), from.port, from.address);
    setTimeout(() => send(replyTo(bytes, { answers: [a(nameIn(bytes), '192.0.2.80')] })), 30);
  });
  await using server = await startWith(raw);
  const reply = await ask(server.at, 'www.example.com. A');
  assert.deepEqual(texts(reply.answers), ['www.example.com. 30 IN A 192.0.2.80']);
  raw.close();
  forger.close();
});

test('a reply in another spelling is settled over TCP, and given as it was asked', async () => {
  let forged = 0;
  const raw = await startRaw(
    ({ bytes }, send) => {
      forged += 1;
      const name = nameIn(bytes);
      const other = name === name.toLowerCase() ? name.toUpperCase() : name.toLowerCase();
      const questions = [{ name: other, type: 'A' }];
      send(replyTo(bytes, { questions, answers: [a(other, '203.0.113.66')] }));
    },
    (query) => replyTo(query, { answers: [a(nameIn(query), '192.0.2.80')] }),
  );
  await using server = await startWith(raw);
  const reply = await ask(server.at, 'WWW.Example.com. A');
  assert.deepEqual(texts(reply.answers), ['WWW.Example.com. 30 IN A 192.0.2.80']);
  assert.equal(forged, 1);
  raw.close();
});

for (const speaksTcp of [true, false]) {
  const how = speaksTcp ? 'speaks TCP' : 'does not speak TCP';
  test(`a server that does not repeat the spelling and ${how} is still of use`, async () => {
    const lower = (query: Buffer) => {
      const name = nameIn(query).toLowerCase();
      return replyTo(query, { questions: [{ name, type: 'A' }], answers: [a(name, '192.0.2.80')] });
    };
    const raw = await startRaw(
      ({ bytes }, send) => send(lower(bytes)),
      speaksTcp ? lower : undefined,
    );
    await using server = await startWith(raw);
    for (const name of ['One.example.com.', 'two.example.com.', 'three.example.com.']) {
      const reply = await ask(server.at, `${name} A`);
      assert.deepEqual(texts(reply.answers), [`${name} 30 IN A 192.0.2.80`]);
    }
    const asked = raw.heard.map(({ bytes }) => nameIn(bytes));
    // From the second name on it is asked as it understands it, and once.
    assert.deepEqual(asked.slice(-2), ['two.example.com', 'three.example.com']);
    raw.close();
  });
}

test('records of names that were not asked for are dropped and never believed', async () => {
  const raw = await startRaw(({ bytes }, send) => {
    const name = nameIn(bytes);
    if (name.toLowerCase() === 'victim.example.org') {
      return send(replyTo(bytes, { answers: [a(name, '192.0.2.99')] }));
    }
    const alias = { name, type: 'CNAME', ttl: 300, data: 'real.example.net' };
    return send(
      replyTo(bytes, {
        answers: [
          a('victim.example.org', '203.0.113.66'),
          alias,
          a('real.example.net', '192.0.2.80'),
          { name: 'victim.example.org', type: 'CNAME', ttl: 300, data: 'evil.example.com' },
        ],
        authorities: [
          { name: 'example.net', type: 'NS', ttl: 300, data: 'ns.example.net' },
          { name: 'example.org', type: 'NS', ttl: 300, data: 'ns.evil.example.com' },
        ],
        additionals: [a('ns.example.net', '192.0.2.53'), a('victim.example.org', '203.0.113.66')],
      }),
    );
  });
  await using server = await startWith(raw);
  for (let time = 0; time < 2; time += 1) {
    const reply = await ask(server.at, 'www.evil.example.com. A');
    assert.deepEqual(texts(reply.answers), [
      'www.evil.example.com. 30 IN CNAME real.example.net.',
      'real.example.net. 30 IN A 192.0.2.80',
    ]);
    assert.deepEqual(texts(reply.authorities), ['example.net. 30 IN NS ns.example.net.']);
    assert.deepEqual(texts(reply.additionals), ['ns.example.net. 30 IN A 192.0.2.53']);
  }
  const victim = await ask(server.at, 'victim.example.org. A');
  assert.deepEqual(texts(victim.answers), ['victim.example.org. 30 IN A 192.0.2.99']);
  raw.close();
});

test('compression loops, in questions and in upstream replies, end at once', async () => {
  const loops = ['c00c', '01 61 c00c', '01 61 c00e', 'c00e c00c', 'c0ff', '3f'];
  const raw = await startRaw(({ bytes }, send) => {
    // Each a whole reply but for the owner of its answer, then the true one.
    const head = Buffer.from(replyTo(bytes));
    head.writeUInt16BE(1, 6);
    for (const loop of ['c0ff', 'c021', '01 61 c021', 'c0'.repeat(40)]) {
      const owner = Buffer.from(loop.replaceAll(' ', ''), 'hex');
      send(Buffer.concat([head, owner, Buffer.from('000100010000012c0004c0000250', 'hex')]));
    }
    send(replyTo(bytes, { answers: [a(nameIn(bytes), '192.0.2.80')] }));
  });
  await using server = await startWith(raw);
  for (const loop of loops) {
    const name = Buffer.from(loop.replaceAll(' ', ''), 'hex');
    const head = Buffer.from('123401000001000000000000', 'hex');
    const query = Buffer.concat([head, name, Buffer.from('00010001', 'hex')]);
    const reply = await exchange(server.at, query);
    assert.equal(reply?.readUInt16BE(2).toString(16), '8101', `FORMERR for ${loop}`);
  }
  const reply = await ask(server.at, 'www.example.com. A');
  assert.deepEqual(texts(reply.answers), ['www.example.com. 30 IN A 192.0.2.80']);
  raw.close();
});

/** Connections that are open, and those that the server has ended. */
async function hold(
  port: number,
  count: number,
): Promise<{ sockets: TcpSocket[]; ended: () => number }> {
  let ended = 0;
  const sockets = await Promise.all(
    Array.from({ length: count }, async () => {
      const socket = connect(port, '127.0.0.1');
      socket.on('error', () => undefined);
      socket.on('close', () => (ended += 1)).resume();
      await new Promise((resolve) => socket.once('connect', resolve).once('close', resolve));
      return socket;
    }),
  );
  return { sockets, ended: () => ended };
}

test('a client that opens connections without end has two thousand, and others are answered', async () => {
  await using server = await startServer({ client });
  const { sockets, ended } = await hold(server.at.port, 2100);
  const deadline = Date.now() + 2000;
  while (ended() < 100 && Date.now() < deadline) await sleep(10);
  assert.equal(ended(), 100, 'those over the limit are ended at once');
  const reply = await ask(server.at, 'web.ns.svc.cluster.local. A');
  assert.equal(reply.answers[0]?.data, '10.96.0.4');
  // Another client is not in the way, and gets in.
  const other = connect({ ...server.at, localAddress: '127.0.0.2' });
  other.write(frame(question('web.ns.svc.cluster.local. A')));
  const bytes = await new Promise<Buffer>((resolve) => other.once('data', resolve));
  assert.equal(packet.decode(bytes.subarray(2)).answers[0]?.data, '10.96.0.4');
  other.destroy();
  // They say nothing, and are cut off after the first-read time (D77).
  const late = Date.now() + 8000;
  while (ended() < sockets.length && Date.now() < late) await sleep(50);
  assert.equal(ended(), sockets.length);
});
