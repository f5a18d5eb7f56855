/** DNS over TCP (RFC 7766): questions of a connection are answered one after another (D77). */
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';

import type { Clock } from '../lib/clock.ts';
import { WorldError } from '../lib/errors.ts';
import { formatHostPort } from '../lib/ip.ts';
import { dnsLimits } from './limits.ts';
import type { Sender } from './stage.ts';
import type { Handle, Listener } from './udp.ts';

/** Binds and answers from then on. */
export async function listenTcp(
  { host, port }: { readonly host: string; readonly port: number },
  handle: Handle,
  clock: Clock,
): Promise<Listener> {
  const open = new Set<Connection>();
  const server = createServer({ noDelay: true }, (socket) => {
    const connection = new Connection(socket, handle, clock);
    open.add(connection);
    void connection.serve().finally(() => open.delete(connection));
  });
  server.maxConnections = dnsLimits.tcpConnectionsMax;
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', (cause) => {
    const target = formatHostPort(host, port);
    const text = `Cannot listen on TCP "${target}": ${cause.message}`;
    reject(new WorldError('DNS_LISTEN', text, { cause }));
  });
  server.listen({ host, port, backlog: 1024 }, resolve);
  await promise;
  const address = server.address();
  return {
    port: typeof address === 'object' && address !== null ? address.port : port,
    close: async () => {
      const closed = new Promise<void>((done) => server.close(() => done()));
      for (const connection of open) connection.endWhenIdle();
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
 * it stands while the answer is made, which has limits of its own.
 */
export class Connection {
  readonly #socket: Socket;
  readonly #handle: Handle;
  readonly #clock: Clock;
  readonly #from: Sender;
  #cancelTimer: () => void = () => undefined;
  #busy = false;
  #ending = false;

  constructor(socket: Socket, handle: Handle, clock: Clock) {
    this.#socket = socket;
    this.#handle = handle;
    this.#clock = clock;
    const { remoteAddress: address = '', remotePort: port = 0 } = socket;
    this.#from = { address, port };
  }

  /** Answers until the client goes, falls silent or breaks the rules; never throws. */
  async serve(): Promise<void> {
    this.#limit(dnsLimits.tcpFirstReadMs);
    try {
      await this.#readAll();
      this.#socket.end();
    } catch {
      // The client reset the connection, or we did: nobody is left to tell.
      this.#socket.destroy();
    } finally {
      this.#cancelTimer();
    }
  }

  endWhenIdle(): void {
    this.#ending = true;
    if (!this.#busy) this.#socket.end(() => this.#socket.destroy());
  }

  destroy(): void {
    this.#socket.destroy();
  }

  /** Iterating holds back the client while an answer is made: at most one message is buffered. */
  async #readAll(): Promise<void> {
    let pending: Buffer = Buffer.alloc(0);
    for await (const chunk of this.#socket as AsyncIterable<Buffer>) {
      pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
      while (pending.length >= 2) {
        const end = 2 + pending.readUInt16BE(0);
        if (pending.length < end) break;
        await this.#answer(pending.subarray(2, end));
        if (this.#ending) return;
        pending = pending.subarray(end);
        this.#limit(dnsLimits.tcpIdleMs);
      }
    }
  }

  async #answer(packet: Buffer): Promise<void> {
    this.#busy = true;
    this.#cancelTimer();
    const reply = await this.#handle(packet, 'tcp', this.#from);
    if (reply !== undefined) {
      const frame = Buffer.allocUnsafe(2 + reply.length);
      frame.writeUInt16BE(reply.length);
      frame.set(reply, 2);
      this.#limit(dnsLimits.tcpWriteMs);
      if (!this.#socket.write(frame)) await once(this.#socket, 'drain');
    }
    this.#busy = false;
  }

  #limit(delayMs: number): void {
    this.#cancelTimer();
    // Without an error whoever waits for `drain` would wait for ever.
    const end = () => this.#socket.destroy(new Error(`nothing happened in ${delayMs} ms`));
    this.#cancelTimer = this.#clock.after(delayMs, end);
  }
}
