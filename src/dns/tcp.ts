/** DNS over TCP (RFC 7766): questions of a connection are answered one after another (D77, D112). */
import { createServer, type Socket } from 'node:net';

import type { Clock } from '../lib/clock.ts';
import { WorldError } from '../lib/errors.ts';
import { formatHostPort } from '../lib/ip.ts';
import { isIpv6, VIA } from './answer-counts.ts';
import type { Out } from './kept/entry.ts';
import type { FastPath } from './kept/fast-path.ts';
import { bytesOf, type Bytes } from './kept/raw-query.ts';
import { dnsLimits } from './limits.ts';
import type { LongReply } from './respond.ts';
import type { Sender } from './stage.ts';
import type { Handle, ListenAt, Listener } from './udp.ts';
import { messageBytesMax } from './wire/message.ts';

/** Binds and answers from then on. */
export async function listenTcp(
  { host, port, handsOver = false }: ListenAt,
  handle: Handle,
  clock: Clock,
  fast?: FastPath,
): Promise<Listener> {
  const open = new Set<Connection>();
  const perClient = new Map<string, number>();
  // Who has asked everything may end its side, and waits for the answers.
  const server = createServer({ noDelay: true, allowHalfOpen: true }, (socket) => {
    const client = socket.remoteAddress ?? '';
    const count = perClient.get(client) ?? 0;
    if (count >= dnsLimits.tcpConnectionsPerClientMax) {
      socket.destroy();
      return;
    }
    perClient.set(client, count + 1);
    const connection = new Connection(socket, handle, clock, fast);
    open.add(connection);
    void connection.serve().finally(() => {
      open.delete(connection);
      const left = perClient.get(client)! - 1;
      if (left === 0) perClient.delete(client);
      else perClient.set(client, left);
    });
  });
  server.maxConnections = dnsLimits.tcpConnectionsMax;
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', (cause) => {
    const target = formatHostPort(host, port);
    const text = `Cannot listen on TCP "${target}": ${cause.message}`;
    reject(new WorldError('DNS_LISTEN', text, { cause }));
  });
  server.listen({ host, port, backlog: 1024, reusePort: handsOver }, resolve);
  await promise;
  const address = server.address();
  return {
    port: typeof address === 'object' && address !== null ? address.port : port,
    close: async () => {
      const closed = new Promise<void>((done) => server.close(() => done()));
      for (const connection of open) connection.endWhenIdle({ answersFirst: handsOver });
      const cancel = clock.after(dnsLimits.drainMs, () => {
        for (const connection of open) connection.destroy();
      });
      await closed;
      cancel();
    },
  };
}

/**
 * One client. A timer runs from message to message, so that a trickle of bytes does not hold it open;
 * it stands while an answer is made, which has limits of its own.
 */
export class Connection {
  readonly #socket: Socket;
  readonly #handle: Handle;
  readonly #clock: Clock;
  readonly #fast: FastPath | undefined;
  readonly #from: Sender;
  readonly #via: number;
  /** Received and not answered: what is in `#bytes` from `#at` on. */
  #bytes: Bytes = none;
  #at = 0;
  #cancelTimer: () => void = () => undefined;
  /** When the last message was answered, while the timer of the idle time runs. */
  #answeredAtMs: number | undefined;
  #state: 'reading' | 'asking' | 'writing' | 'done' = 'reading';
  #ending = false;

  constructor(socket: Socket, handle: Handle, clock: Clock, fast?: FastPath) {
    this.#socket = socket;
    this.#handle = handle;
    this.#clock = clock;
    this.#fast = fast;
    const { remoteAddress: address = '', remotePort: port = 0 } = socket;
    this.#from = { address, port };
    this.#via = VIA.tcp | (isIpv6(address) ? VIA.ipv6 : 0);
  }

  /** Answers until the client goes, falls silent or breaks the rules; never throws. */
  async serve(): Promise<void> {
    const socket = this.#socket;
    this.#limit(dnsLimits.tcpFirstReadMs);
    const { promise, resolve } = Promise.withResolvers<void>();
    // The client reset the connection, or we did: nobody is left to tell.
    socket.on('error', () => socket.destroy());
    socket.on('close', resolve);
    socket.on('drain', () => this.#written());
    socket.on('end', () => {
      if (this.#state === 'reading') this.#finish();
      else this.#ending = true;
    });
    socket.on('data', (chunk: Buffer) => {
      const rest = this.#bytes.bytes.subarray(this.#at);
      this.#bytes = bytesOf(rest.length === 0 ? chunk : Buffer.concat([rest, chunk]));
      this.#at = 0;
      this.#answerAll();
    });
    await promise;
    this.#state = 'done';
    this.#cancelTimer();
  }

  /** `answersFirst`: whoever connected just now has a question under way, and gets its answer. */
  endWhenIdle({ answersFirst = false } = {}): void {
    this.#ending = true;
    const isNew = this.#answeredAtMs === undefined;
    if (this.#state === 'reading' && !(answersFirst && isNew)) this.#finish();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  #finish(): void {
    this.#state = 'done';
    this.#socket.end(() => this.#socket.destroy());
  }

  /** Answers the whole messages that are there, all in one write. Reads no more while that waits. */
  #answerAll(): void {
    let written = 0;
    const { bytes, view } = this.#bytes;
    while (this.#state === 'reading' && this.#at + 2 <= bytes.length) {
      const end = this.#at + 2 + view.getUint16(this.#at);
      if (end > bytes.length) break;
      if (written + frameBytesMax > outgoing.length) {
        this.#write(written);
        written = 0;
        continue;
      }
      written += this.#answer(end, written);
      this.#at = end;
      this.#answered();
    }
    if (written > 0) this.#write(written);
    if (this.#state !== 'reading') return;
    if (this.#ending) this.#finish();
    else if (this.#at === bytes.length) this.#forget();
  }

  /** An idle connection holds no buffer. */
  #forget(): void {
    this.#bytes = none;
    this.#at = 0;
  }

  /** Puts the framed reply to the first message into `outgoing`; its length, or 0 for none yet. */
  #answer(end: number, at: number): number {
    const kept = this.#keptAnswer(end, at);
    if (kept > 0) return kept;
    // The handler may hold on to the packet.
    const packet = Buffer.from(this.#bytes.bytes.subarray(this.#at + 2, end));
    const reply = this.#handle(packet, 'tcp', this.#from);
    if (!(reply instanceof Promise)) return reply === undefined ? 0 : frame(reply, at);
    this.#wait('asking');
    void reply.then((bytes) => this.#ready(bytes));
    return 0;
  }

  #keptAnswer(end: number, at: number): number {
    if (this.#fast === undefined) return 0;
    out.at = at + 2;
    range.start = this.#at + 2;
    range.end = end;
    const length = this.#fast.answer(this.#bytes, range, this.#via, out);
    if (length === 0) return 0;
    outgoing.writeUInt16BE(length, at);
    return 2 + length;
  }

  /** An answer that took time is there. */
  #ready(reply: LongReply | undefined): void {
    if (this.#state !== 'asking') return;
    this.#goOn();
    if (reply !== undefined) this.#write(frame(reply, 0));
    for (const more of reply?.rest ?? []) this.#write(frame(more, 0));
    if (this.#isReading()) this.#answerAll();
  }

  #isReading(): boolean {
    return this.#state === 'reading';
  }

  #write(length: number): void {
    if (this.#socket.write(Buffer.from(outgoing.subarray(0, length)))) return;
    // While an answer is being made nothing is read anyway.
    if (this.#state !== 'reading') return;
    this.#wait('writing');
    this.#limit(dnsLimits.tcpWriteMs);
  }

  #written(): void {
    if (this.#state !== 'writing') return;
    this.#goOn();
    this.#answerAll();
  }

  #wait(state: 'asking' | 'writing'): void {
    this.#state = state;
    this.#cancelTimer();
    this.#answeredAtMs = undefined;
    this.#socket.pause();
  }

  #goOn(): void {
    this.#state = 'reading';
    this.#answered();
    this.#socket.resume();
  }

  /** A message was dealt with: the idle time begins anew. Its timer looks only when it rings. */
  #answered(): void {
    if (this.#state !== 'reading') return;
    const isRunning = this.#answeredAtMs !== undefined;
    this.#answeredAtMs = this.#clock.monotonicMs();
    if (!isRunning) this.#ringWhenIdle(dnsLimits.tcpIdleMs);
  }

  #ringWhenIdle(delayMs: number): void {
    this.#cancelTimer();
    this.#cancelTimer = this.#clock.after(delayMs, () => {
      const leftMs = dnsLimits.tcpIdleMs - (this.#clock.monotonicMs() - this.#answeredAtMs!);
      if (leftMs > 0) this.#ringWhenIdle(Math.ceil(leftMs));
      else this.#socket.destroy();
    });
  }

  #limit(delayMs: number): void {
    this.#cancelTimer();
    this.#answeredAtMs = undefined;
    this.#cancelTimer = this.#clock.after(delayMs, () => this.#socket.destroy());
  }
}

const none = bytesOf(Buffer.alloc(0));
const frameBytesMax = 2 + messageBytesMax;
/** Replies of one turn are gathered here; every connection is done with it before the next begins. */
const outgoing = Buffer.allocUnsafeSlow(2 * frameBytesMax);
const out: Out = { ...bytesOf(outgoing), at: 0, room: 0, roomMax: messageBytesMax };
const range = { start: 0, end: 0 };

/** A message over TCP has its length in front (RFC 1035 §4.2.2). */
function frame(reply: Buffer, at: number): number {
  outgoing.writeUInt16BE(reply.length, at);
  outgoing.set(reply, at + 2);
  return 2 + reply.length;
}
