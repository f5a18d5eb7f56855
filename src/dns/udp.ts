/** DNS over UDP: what waits is taken in and answered in batches. */
import { onReadableAtOnce } from '../kernel/ffi/libc.ts';
import { batchMax, datagramBytesMax, UdpBatch } from '../kernel/ffi/udp-batch.ts';
import { messageOf, WorldError } from '../lib/errors.ts';
import { formatHostPort } from '../lib/ip.ts';
import { VIA } from './answer-counts.ts';
import type { Out } from './kept/entry.ts';
import type { FastPath } from './kept/fast-path.ts';
import { bytesOf, type Bytes } from './kept/raw-query.ts';
import type { TlsListenSettings } from './secure/tls-options.ts';
import type { Sender } from './stage.ts';

/** The reply to a packet; undefined when there is none. Never throws. */
export type Handle = (
  packet: Uint8Array,
  transport: 'udp' | 'tcp',
  from: Sender,
) => Buffer | undefined | Promise<Buffer | undefined>;

export type Listener = {
  readonly port: number;
  /** Stops listening; open work may end first. */
  close(): Promise<void>;
  /** Another certificate for those who come from now on; absent: it has none. */
  renew?(settings: TlsListenSettings): void;
};

export type ListenAt = {
  readonly host: string;
  readonly port: number;
  /** Another process of this user may listen there too, and takes over when this one ends. */
  readonly handsOver?: boolean;
};

/** A burst of questions waits here while the process does something else. */
const receiveBufferBytes = 1024 * 1024;
/** After so many full batches the loop turns: others wait too. */
const roundsMax = 4;

/** Binds and answers from then on. `host` is an address; `::` takes both families. */
export async function listenUdp(at: ListenAt, handle: Handle, fast?: FastPath): Promise<Listener> {
  const { handsOver = false } = at;
  return new UdpListener(openBatch({ ...at, reusePort: handsOver }), { handle, fast, handsOver });
}

/** `reusePort`: beside other sockets on the same port. */
export function openBatch(options: {
  readonly host: string;
  readonly port: number;
  readonly reusePort: boolean;
}): UdpBatch {
  const { host, port } = options;
  try {
    return new UdpBatch({ ...options, receiveBufferBytes });
  } catch (cause) {
    const target = formatHostPort(host, port);
    const text = `Cannot listen on UDP "${target}": ${messageOf(cause)}`;
    throw new WorldError('DNS_LISTEN', text, { cause });
  }
}

class UdpListener implements Listener {
  readonly port: number;
  readonly #batch: UdpBatch;
  readonly #handle: Handle;
  readonly #fast: FastPath | undefined;
  readonly #input: Bytes;
  readonly #out: Out;
  readonly #range = { start: 0, end: 0 };
  readonly #stopPolling: () => void;
  /** Replies that take time. */
  readonly #open = new Set<Promise<void>>();
  #closed = false;
  readonly #handsOver: boolean;

  constructor(
    batch: UdpBatch,
    how: {
      readonly handle: Handle;
      readonly fast: FastPath | undefined;
      readonly handsOver: boolean;
    },
  ) {
    this.port = batch.port;
    this.#batch = batch;
    this.#handle = how.handle;
    this.#fast = how.fast;
    this.#handsOver = how.handsOver;
    this.#input = bytesOf(batch.input);
    this.#out = { ...bytesOf(batch.output), at: 0, room: 0, roomMax: datagramBytesMax };
    this.#stopPolling = onReadableAtOnce(batch.fd, () => this.#answerAll());
  }

  #answerAll(): void {
    const batch = this.#batch;
    for (let round = 0; round < roundsMax; round += 1) {
      const count = batch.receive();
      for (let slot = 0; slot < count; slot += 1) this.#answer(slot);
      batch.flush();
      if (count < batchMax) return;
    }
  }

  #answer(slot: number): void {
    const batch = this.#batch;
    if (this.#fast !== undefined) {
      this.#range.start = batch.startOf(slot);
      this.#range.end = this.#range.start + batch.lengthOf(slot);
      this.#out.at = batch.nextReply;
      const length = this.#fast.answer(
        this.#input,
        this.#range,
        batch.isIpv6(slot) ? VIA.ipv6 : VIA.udp,
        this.#out,
      );
      if (length > 0) {
        batch.reply(slot, length);
        return;
      }
    }
    this.#ask(slot);
  }

  #ask(slot: number): void {
    const batch = this.#batch;
    // The handler may hold on to it, and its place is taken by the next.
    const packet = Buffer.from(batch.datagram(slot));
    const reply = this.#handle(packet, 'udp', batch.clientOf(slot));
    if (reply instanceof Promise) {
      const sender = batch.senderOf(slot);
      const work = reply.then((bytes) => {
        if (!this.#closed && bytes !== undefined) batch.send(sender, bytes);
      });
      this.#open.add(work);
      void work.finally(() => this.#open.delete(work));
      // Ticks and promises of what was begun here go on after a callback of Node's own.
      setImmediate(() => undefined);
    } else if (reply !== undefined && reply.length <= datagramBytesMax) {
      batch.output.set(reply, batch.nextReply);
      batch.reply(slot, reply.length);
    } else if (reply !== undefined) {
      batch.send(batch.senderOf(slot), reply);
    }
  }

  /** Whoever asks from now on asks the next process; who asked before is answered here. */
  #retire(): void {
    const batch = this.#batch;
    batch.retire();
    for (let count = batch.receive(); count > 0; count = batch.receive()) {
      for (let slot = 0; slot < count; slot += 1) this.#answer(slot);
      batch.flush();
    }
  }

  /** Each reply takes a limited time. */
  async close(): Promise<void> {
    if (this.#handsOver) this.#retire();
    await Promise.all(this.#open);
    this.#closed = true;
    this.#stopPolling();
    this.#batch.close();
  }
}
