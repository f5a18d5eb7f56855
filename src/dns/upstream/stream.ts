/** Questions over TCP or TLS: connections are used again, several questions may be on one (RFC 7766). */
import { randomInt } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import type { ConnectionOptions } from 'node:tls';

import type { Clock } from '../../lib/clock.ts';
import { dnsLimits } from '../limits.ts';
import type { Message } from '../wire/message.ts';
import { replyIn, settled, type Ask } from './exchange.ts';
import type { Server } from './servers.ts';

export type StreamOptions = {
  readonly server: Server;
  readonly clock: Clock;
  /** An idle connection is closed after so long. */
  readonly expireMs: number;
  /** No connection is older; 0: whatever its age. */
  readonly maxAgeMs: number;
  /** So many idle ones are kept; 0: all. */
  readonly maxIdle: number;
  readonly sourceAddress?: string | undefined;
  /** Absent: plain TCP. */
  readonly tls?: ConnectionOptions;
};

/** The connections to one server. */
export class StreamClient {
  readonly #options: StreamOptions;
  readonly #open = new Set<StreamConnection>();
  readonly counts = { reused: 0, opened: 0 };

  constructor(options: StreamOptions) {
    this.#options = options;
  }

  /** The reply; throws `WorldError` when none comes in time. */
  async ask(ask: Ask): Promise<Message> {
    const connection = this.#idle() ?? (await this.#connect());
    try {
      return await connection.ask(ask);
    } finally {
      this.#closeSurplus(connection);
    }
  }

  #closeSurplus(done: StreamConnection): void {
    const { maxIdle } = this.#options;
    if (maxIdle === 0 || done.waiting > 0) return;
    const idle = [...this.#open].filter(({ waiting }) => waiting === 0);
    if (idle.length > maxIdle) done.close();
  }

  close(): void {
    for (const connection of this.#open) connection.close();
  }

  /** One that nobody waits on, or the one on which the fewest do when there are many. */
  #idle(): StreamConnection | undefined {
    const now = this.#options.clock.monotonicMs();
    let best: StreamConnection | undefined;
    for (const connection of this.#open) {
      if (connection.isStale(now)) continue;
      if (best === undefined || connection.waiting < best.waiting) best = connection;
    }
    const isFull = this.#open.size >= dnsLimits.upstreamConnectionsMax;
    if (best === undefined || (best.waiting > 0 && !isFull)) return undefined;
    this.counts.reused += 1;
    return best;
  }

  async #connect(): Promise<StreamConnection> {
    this.counts.opened += 1;
    const { server, tls, sourceAddress } = this.#options;
    const target = { host: server.host, port: server.port };
    const local = sourceAddress === undefined ? {} : { localAddress: sourceAddress };
    const socket =
      tls === undefined
        ? connect({ ...target, ...local, noDelay: true })
        : // Few servers are asked over TLS: only they load it.
          (await import('node:tls')).connect({ ...tls, ...target, ...local });
    const connection: StreamConnection = new StreamConnection(socket, this.#options, () => {
      this.#open.delete(connection);
    });
    this.#open.add(connection);
    return connection;
  }
}

type Waiting = {
  readonly query: Message;
  readonly resolve: (message: Message) => void;
  readonly reject: (error: Error) => void;
};

class StreamConnection {
  readonly #socket: Socket;
  readonly #options: StreamOptions;
  readonly #openedAtMs: number;
  readonly #waiting = new Map<number, Waiting>();
  #pending: Buffer = Buffer.alloc(0);
  #cancelExpiry: () => void = () => undefined;
  #closed = false;

  constructor(socket: Socket, options: StreamOptions, onClose: () => void) {
    this.#socket = socket;
    this.#options = options;
    this.#openedAtMs = options.clock.monotonicMs();
    let reason = new Error('the connection was closed');
    socket.on('error', (error) => (reason = error));
    socket.on('data', (chunk: Buffer) => this.#take(chunk));
    socket.on('close', () => {
      this.#closed = true;
      this.#cancelExpiry();
      onClose();
      for (const { reject } of this.#waiting.values()) reject(reason);
      this.#waiting.clear();
    });
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  /** Whether no question should be put to it any more. */
  isStale(now: number): boolean {
    const { maxAgeMs } = this.#options;
    const isOld = maxAgeMs > 0 && now - this.#openedAtMs > maxAgeMs;
    if (isOld && this.#waiting.size === 0) this.close();
    return this.#closed || isOld;
  }

  ask(ask: Ask): Promise<Message> {
    // Ids are ours alone: on one connection no two may be alike.
    let id = randomInt(0x10000);
    while (this.#waiting.has(id)) id = (id + 1) & 0xffff;
    this.#cancelExpiry();
    const answered = settled(ask, (resolve, reject) => {
      this.#waiting.set(id, { query: { ...ask.query, id }, resolve, reject });
      const frame = Buffer.allocUnsafe(2 + ask.packet.length);
      frame.writeUInt16BE(ask.packet.length);
      frame.set(ask.packet, 2);
      frame.writeUInt16BE(id, 2);
      this.#socket.write(frame);
    });
    return answered.finally(() => {
      // Nobody came: the other end may be gone without a word, and others must not wait on it.
      if (this.#waiting.delete(id)) this.close();
      if (this.#waiting.size === 0 && !this.#closed) this.#expireLater();
    });
  }

  close(): void {
    this.#closed = true;
    this.#socket.destroy();
  }

  #expireLater(): void {
    const { clock, expireMs } = this.#options;
    this.#cancelExpiry = clock.after(expireMs, () => this.close());
  }

  #take(chunk: Buffer): void {
    let pending = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk]);
    while (pending.length >= 2) {
      const end = 2 + pending.readUInt16BE(0);
      if (pending.length < end) break;
      this.#answer(pending.subarray(2, end));
      pending = pending.subarray(end);
    }
    this.#pending = Buffer.from(pending);
  }

  #answer(bytes: Buffer): void {
    const id = bytes.length >= 2 ? bytes.readUInt16BE(0) : -1;
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) return;
    const message = replyIn(bytes, waiting.query);
    this.#waiting.delete(id);
    if (message === undefined) waiting.reject(new Error('the reply does not fit the question'));
    else waiting.resolve(message);
  }
}
