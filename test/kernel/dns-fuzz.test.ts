/**
 * Mutated packets to the server as a process of its own, over UDP and TCP: it neither falls nor hangs
 * nor grows, and no reply is larger than its question allows. `FAIRLEAD_FUZZ_PACKETS` asks for more of
 * them, `FAIRLEAD_SEED` for the same again.
 */
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { createSocket, type Socket } from 'node:dgram';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, type Socket as TcpSocket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import * as packet from 'dns-packet';

import { startTestServer, type TestServer } from '../../src/apiserver/test-server.ts';
import { heldMemory, type HeldMemory } from '../support/held-memory.ts';
import { Random, seedOfRun } from '../support/random.ts';
import { bytesOf, randomQuestion } from './coredns/questions.ts';
import { randomWorld, type World } from './coredns/world.ts';
import {
  ask,
  createNamespace,
  createService,
  createSlice,
  exchange,
  frame,
  loopbackUp,
  question,
} from './dns-harness.ts';

const seed = seedOfRun();
const packets = Number(process.env.FAIRLEAD_FUZZ_PACKETS ?? 60_000);
/** A fifth goes over TCP, whole streams of them on each connection. */
const packetsTcp = Math.floor(packets / 5);
const packetsPerConnection = 50;
const at = { host: '127.0.0.1', port: 5353 };
const known = 'web.ns.svc.cluster.local. A';

let api: TestServer;
let folder: string;
let server: ChildProcess;

before(async () => {
  loopbackUp();
  api = await startTestServer();
  const { client } = api.server;
  await createNamespace(client, 'ns');
  const ports = [{ name: 'http', port: 80, protocol: 'TCP' }];
  await createService(client, { namespace: 'ns', name: 'web' }, { clusterIP: '10.96.0.4', ports });
  await createService(client, { namespace: 'ns', name: 'many' }, { clusterIP: 'None', ports });
  const endpoints = Array.from({ length: 90 }, (_, index) => `10.244.7.${index + 1}`);
  await createSlice(client, { namespace: 'ns', name: 'many' }, { endpoints });
  folder = mkdtempSync(join(tmpdir(), 'fairlead-fuzz-'));
  server = startProcess();
  await eventuallyAnswers();
});

after(async () => {
  server.kill('SIGKILL');
  await api.stop();
  rmSync(folder, { recursive: true, force: true });
});

function startProcess(): ChildProcess {
  const kubeconfig = join(folder, 'kubeconfig');
  const base64 = (text: string) => Buffer.from(text).toString('base64');
  const config = {
    'current-context': 'test',
    contexts: [{ name: 'test', context: { cluster: 'test', user: 'test' } }],
    clusters: [
      {
        name: 'test',
        cluster: { server: api.url, 'certificate-authority-data': base64(api.ca.cert) },
      },
    ],
    users: [
      {
        name: 'test',
        user: {
          'client-certificate-data': base64(api.admin.cert),
          'client-key-data': base64(api.admin.key),
        },
      },
    ],
  };
  writeFileSync(kubeconfig, JSON.stringify(config));
  const main = join(import.meta.dirname, '../../src/cli/main.ts');
  const flags = ['--host', at.host, '--port', String(at.port), '--no-upstream'];
  const preload = join(import.meta.dirname, '../support/held-memory.ts');
  // The nursery of `bin/fairlead dns`: with V8's own limit it alone grows by dozens of megabytes.
  const quiet = '--disable-warning=ExperimentalWarning';
  const node = [quiet, '--max-semi-space-size=4', '--import', preload];
  const args = [...node, main, 'dns', '--kubeconfig', kubeconfig, ...flags];
  return spawn(process.execPath, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
}

async function eventuallyAnswers(): Promise<void> {
  const deadline = Date.now() + 20_000;
  for (;;) {
    const reply = await exchange(at, question(known), { timeoutMs: 200 }).catch(() => undefined);
    if (reply !== undefined && packet.decode(reply).answers.length > 0) return;
    assert.ok(Date.now() < deadline, 'the server does not start to answer');
    await sleep(50);
  }
}

/** It lives, and answers over both. */
async function stillAnswers(): Promise<void> {
  assert.equal(server.exitCode, null, 'the process lives');
  for (const tcp of [false, true]) {
    const reply = await ask(at, known, { tcp });
    assert.equal(reply.answers[0]?.data, '10.96.0.4');
  }
  const metrics = await (await fetch(`http://${at.host}:9153/metrics`)).text();
  assert.match(metrics, /^coredns_panics_total 0$/m, 'no packet met a bug');
}

function residentMb(): number {
  const status = readFileSync(`/proc/${server.pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)![1]) / 1024;
}

/** Well-formed questions to begin with, of every kind that the comparison with CoreDNS asks. */
class Mutants {
  readonly #random: Random;
  readonly #world: World;
  readonly #corpus: Uint8Array[];

  constructor(random: Random) {
    this.#random = random;
    this.#world = randomWorld(random);
    this.#corpus = random.many(500, () => this.#wellFormed());
    const sizes = [512, 600, 700, 1232, 4096, 65_535];
    for (const size of sizes)
      for (let times = 0; times < 10; times += 1) this.#corpus.push(large(size));
  }

  #wellFormed(): Buffer {
    return bytesOf(randomQuestion(this.#random, this.#world, { outside: true, damage: false }), 0);
  }

  next(id: number): Buffer {
    const random = this.#random;
    let bytes: Buffer = Buffer.from(random.pick(this.#corpus));
    for (let hits = random.below(5); hits > 0; hits -= 1) bytes = this.#mutate(bytes);
    if (random.once(200)) this.#corpus[random.below(this.#corpus.length)] = this.#wellFormed();
    if (bytes.length >= 2) bytes.writeUInt16BE(id, 0);
    // Mostly a query, so that it is looked at and not dropped as a reply.
    if (bytes.length > 2 && !random.once(4)) bytes[2] = bytes[2]! & 0x7f;
    return bytes;
  }

  #mutate(bytes: Buffer): Buffer {
    const random = this.#random;
    const at = random.below(bytes.length + 1);
    switch (random.below(9)) {
      case 0:
        return bytes.subarray(0, at);
      case 1:
        return Buffer.concat([
          bytes.subarray(0, at),
          random.pick(this.#corpus).subarray(random.below(30)),
        ]);
      case 2:
        return Buffer.concat([bytes, Buffer.alloc(random.below(600), random.below(256))]);
      case 3:
        // A pointer, to anywhere.
        if (at + 2 <= bytes.length) bytes.writeUInt16BE(0xc000 | random.below(0x4000), at);
        return bytes;
      case 4:
        // One of the four counts.
        if (bytes.length >= 12) bytes.writeUInt16BE(random.below(4), 4 + 2 * random.below(4));
        return bytes;
      case 5:
        return Buffer.concat([
          bytes.subarray(0, at),
          bytes.subarray(Math.min(bytes.length, at + 1 + random.below(8))),
        ]);
      default:
        if (at < bytes.length)
          bytes[at] = random.once(3) ? random.pick([0, 0x3f, 0xc0, 0xff]) : random.below(256);
        return bytes;
    }
  }
}

/** How long a reply over UDP may be, as another decoder reads the question (RFC 6891 §6.2.3). */
function bytesAllowed(query: Buffer): number {
  // Counted and not there: the server overlooks such records, this decoder does not.
  for (let records = 0; records < 3; records += 1) {
    const tried = Buffer.from(query);
    if (records > 0 && tried.length >= 12) {
      tried.fill(0, 6, 10);
      tried.writeUInt16BE(records, 10);
    }
    try {
      const opt = packet.decode(tried).additionals.find(({ type }) => type === 'OPT');
      if (opt !== undefined) return Math.max(512, opt.udpPayloadSize ?? 0);
    } catch {
      // No message for that decoder: perhaps with another count.
    }
  }
  return 512;
}

/** What has more to say than fits. */
function large(udpPayloadSize: number): Buffer {
  const opt = { name: '.', type: 'OPT', udpPayloadSize, flags: 0 };
  return question('many.ns.svc.cluster.local. A', { additionals: [opt] });
}

const windowSize = 0x10000;

class Tally {
  /** Questions by their id, until it is used again. */
  readonly asked: Buffer[] = [];
  replies = 0;
  largest = 0;
  readonly faults: string[] = [];

  see(reply: Buffer): void {
    this.replies += 1;
    this.largest = Math.max(this.largest, reply.length);
    const query = reply.length < 12 ? undefined : this.asked[reply.readUInt16BE(0)];
    if (query === undefined) return this.#fault('a reply to nothing', reply);
    if ((reply[2]! & 0x80) === 0) this.#fault('a reply that is a query', query);
    if ((query[2]! & 0x80) !== 0) this.#fault('a reply to a reply', query);
    if (reply.length > 512 && reply.length > bytesAllowed(query)) {
      this.#fault(`${reply.length} bytes where ${bytesAllowed(query)} are allowed`, query);
    }
  }

  #fault(what: string, bytes: Buffer): void {
    if (this.faults.length < 10) this.faults.push(`${what}: ${bytes.toString('hex')}`);
  }
}

test(`${packets - packetsTcp} mutated packets over UDP, seed ${seed}`, async (t) => {
  const mutants = new Mutants(new Random(seed));
  const tally = new Tally();
  const socket = createSocket({ type: 'udp4', recvBufferSize: 4 * 1024 * 1024 });
  socket.on('message', (reply) => tally.see(reply));
  await new Promise<void>((resolve) => socket.bind(0, resolve));
  let early: number | undefined;
  const count = packets - packetsTcp;
  for (let sent = 0; sent < count; sent += 1) {
    const id = sent % windowSize;
    const bytes = mutants.next(id);
    tally.asked[id] = bytes;
    await sendTo(socket, bytes, sent);
    if (sent === Math.floor(count / 4)) early = residentMb();
  }
  await stillAnswers();
  await sleep(200);
  socket.close();
  const grown = residentMb() - early!;
  t.diagnostic(
    `${tally.replies} replies, the largest of ${tally.largest} bytes; ${residentMb().toFixed(0)} MB, grown by ${grown.toFixed(1)} MB over the last three quarters`,
  );
  assert.deepEqual(tally.faults, []);
  assert.ok(tally.replies > count / 3, `${tally.replies} replies to ${count}`);
  assert.ok(tally.largest > 1000, `the largest reply has ${tally.largest} bytes`);
  assert.ok(grown < 40, `grown by ${grown} MB`);
});

/** A burst, then a question whose answer says that the burst was taken. */
async function sendTo(socket: Socket, bytes: Buffer, sent: number): Promise<void> {
  socket.send(bytes, at.port, at.host);
  if (sent % 200 === 199) {
    const reply = await exchange(at, question(known), { timeoutMs: 10_000 });
    assert.ok(reply !== undefined, 'it answers within 10 s');
  }
}

test(`[D77] ${packetsTcp} mutated packets over TCP, seed ${seed}`, async (t) => {
  const random = new Random(seed + 1);
  const mutants = new Mutants(random);
  const held: HeldMemory[] = [];
  let early: number | undefined;
  let replies = 0;
  for (let sent = 0; sent < packetsTcp; sent += 20 * packetsPerConnection) {
    // After a quarter and after a half: what it keeps for later is there by then.
    if (sent >= ((held.length + 1) * packetsTcp) / 4 && held.length < 2) {
      early ??= residentMb();
      held.push(await heldMemory(server));
    }
    const streams = random.many(20, () => streamOf(random, mutants));
    const counts = await Promise.all(streams.map(play));
    replies += counts.reduce((sum, count) => sum + count, 0);
    if (sent % 100_000 === 0) await stillAnswers();
  }
  await stillAnswers();
  const resident = residentMb();
  held.push(await heldMemory(server));
  const [quarter, half, end] = held as [HeldMemory, HeldMemory, HeldMemory];
  t.diagnostic(
    `${replies} bytes of replies; ${early!.toFixed(1)} → ${resident.toFixed(1)} MB with garbage`,
  );
  for (const { bytes, residentBytes, sockets } of held)
    t.diagnostic(`holds ${mb(bytes)} MB of ${mb(residentBytes)}, ${sockets} sockets`);
  assert.ok(replies > packetsTcp * 20, `${replies} bytes of replies`);
  // One that the metrics were read over may still be open; each round of streams made twenty.
  assert.ok(end.sockets <= quarter.sockets + 5, `${quarter.sockets} → ${end.sockets} sockets`);
  const grown = end.bytes - half.bytes;
  assert.ok(grown < 512 * 1024, `holds ${grown} bytes more after the second half`);
  // With garbage, and with pages of the store of kept answers, which it gets as they are written to.
  assert.ok(resident - early! < 40, `grown from ${early} to ${resident} MB`);
});

function mb(bytes: number): number {
  return Math.round((bytes / 1024 / 1024) * 10) / 10;
}

function streamOf(random: Random, mutants: Mutants): { bytes: Buffer; end: number } {
  const frames = random.many(packetsPerConnection, () =>
    frame(mutants.next(random.below(0x10000))),
  );
  // The last length is a lie, or nothing follows it.
  if (random.once(3)) frames.push(Buffer.of(random.below(256), random.below(256)));
  return { bytes: Buffer.concat(frames), end: random.below(3) };
}

/** Sends a stream in one go; the bytes that come back before it or the server ends. */
async function play({ bytes, end }: { bytes: Buffer; end: number }): Promise<number> {
  const socket: TcpSocket = connect(at);
  let received = 0;
  socket.on('error', () => socket.destroy());
  socket.on('data', (chunk: Buffer) => (received += chunk.length));
  const closed = new Promise((resolve) => socket.on('close', resolve));
  socket.write(bytes);
  if (end === 0) socket.end();
  if (end === 1) setTimeout(() => socket.resetAndDestroy(), 20);
  if (end === 2) setTimeout(() => socket.end(), 40);
  await closed;
  return received;
}

test('[D77] a client that trickles bytes is cut off, one that waits is not in the way', async () => {
  const slow = connect(at);
  slow.on('error', () => slow.destroy());
  const closed = new Promise((resolve) => slow.on('close', resolve).resume());
  const bytes = frame(question(known));
  let sent = 0;
  const timer = setInterval(() => {
    if (sent < 10) slow.write(bytes.subarray(sent, ++sent));
  }, 400);
  const started = performance.now();
  await stillAnswers();
  await closed;
  clearInterval(timer);
  const seconds = (performance.now() - started) / 1000;
  assert.ok(seconds < 4.5, `${seconds} s`);
});
