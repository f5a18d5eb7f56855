/** One SPDY/3.1 connection, server side: its streams are Node streams (A103, A110). */
import { once } from 'node:events';
import { Duplex } from 'node:stream';
import { limits } from '../../lib/limits.ts';
import {
  encodeControl,
  encodeDataHeader,
  FLAG_FIN,
  FrameError,
  FrameReader,
  GOAWAY,
  HEADERS,
  PING,
  RST_STREAM,
  SYN_REPLY,
  SYN_STREAM,
  word,
  type ControlFrame,
  type DataFrame,
} from './spdy-frames.ts';
import { HeaderReader, HeaderWriter, type Headers } from './spdy-headers.ts';

/** A client that sends more in one frame is cut off; Go's copies 32 KiB at a time. */
const framePayloadBytesMax = 1024 * 1024;
const dataBytesMax = 64 * 1024;

const PROTOCOL_ERROR = 1;
const REFUSED_STREAM = 3;
const CANCEL = 5;

/** A stream the client opened. Ending the writable side sends FIN; destroying it sends RST_STREAM. */
export class SpdyStream extends Duplex {
  readonly id: number;
  readonly headers: Headers;
  readonly #connection: SpdyConnection;
  #wanted: (() => void) | undefined;
  #remoteReset = false;

  constructor(connection: SpdyConnection, id: number, headers: Headers) {
    super({ allowHalfOpen: true, readableHighWaterMark: limits.streamBufferBytesMax });
    this.#connection = connection;
    this.id = id;
    this.headers = headers;
  }

  /** Hands bytes of the client to the reader; settles when there is room for more. */
  async deliver(bytes: Buffer): Promise<void> {
    if (this.destroyed || bytes.length === 0 || this.push(bytes)) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wanted = resolve;
    await promise;
  }

  /** The client has given up the stream. */
  reset(): void {
    this.#remoteReset = true;
    this.push(null);
    this.destroy();
  }

  override _read(): void {
    this.#wanted?.();
    this.#wanted = undefined;
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    this.#connection.sendData(this.id, chunk, done);
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#connection.sendFin(this.id, done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#wanted?.();
    const ended = this.writableFinished && this.readableEnded;
    this.#connection.forget(this.id, { reset: !ended && !this.#remoteReset });
    done(error);
  }
}

export type SpdyHandlers = {
  /** A new stream; the reply has been sent. */
  readonly onStream: (stream: SpdyStream) => void;
};

export class SpdyConnection {
  /** Settles when the connection is over, whatever the reason. */
  readonly closed: Promise<void>;
  readonly #socket: Duplex;
  readonly #handlers: SpdyHandlers;
  readonly #streams = new Map<number, SpdyStream>();
  readonly #frames = new FrameReader(framePayloadBytesMax);
  readonly #reader = new HeaderReader();
  readonly #writer = new HeaderWriter();
  #lastId = 0;

  constructor(socket: Duplex, head: Buffer, handlers: SpdyHandlers) {
    this.#socket = socket;
    this.#handlers = handlers;
    if (head.length > 0) socket.unshift(head);
    this.closed = this.#run();
  }

  /** Sends what is queued, then ends the connection. */
  async end(): Promise<void> {
    if (this.#socket.destroyed) return;
    this.#socket.write(encodeControl(GOAWAY, 0, word(this.#lastId, 0)));
    this.#socket.end();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  sendData(id: number, bytes: Buffer, done: (error?: Error | null) => void): void {
    if (this.#socket.destroyed) return done(new Error('the connection is gone'));
    this.#socket.cork();
    for (let start = 0; start < bytes.length; start += dataBytesMax) {
      const part = bytes.subarray(start, start + dataBytesMax);
      this.#socket.write(encodeDataHeader(id, 0, part.length));
      this.#socket.write(part);
    }
    this.#socket.uncork();
    // Waiting for the socket here is what keeps a slow reader from filling memory.
    if (this.#socket.writableNeedDrain) this.#whenDrained(done);
    else done();
  }

  sendFin(id: number, done: (error?: Error | null) => void): void {
    if (this.#socket.destroyed) return done();
    this.#socket.write(encodeDataHeader(id, FLAG_FIN, 0));
    done();
  }

  forget(id: number, { reset }: { reset: boolean }): void {
    if (!this.#streams.delete(id) || !reset || this.#socket.destroyed) return;
    this.#socket.write(encodeControl(RST_STREAM, 0, word(id, CANCEL)));
  }

  async #sayGoodbye(status: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#socket.once('close', resolve);
    this.#socket.end(encodeControl(GOAWAY, 0, word(this.#lastId, status)), () => resolve());
    await promise;
  }

  #whenDrained(done: (error?: Error | null) => void): void {
    const finish = () => {
      this.#socket.off('drain', finish);
      this.#socket.off('close', finish);
      done();
    };
    this.#socket.on('drain', finish);
    this.#socket.on('close', finish);
  }

  async #run(): Promise<void> {
    try {
      // The loop must not destroy the socket: a last word may have to be said on it.
      for await (const chunk of this.#socket.iterator({ destroyOnReturn: false })) {
        for (const frame of this.#frames.push(chunk as Buffer)) {
          if (frame.kind === 'data') await this.#onData(frame);
          else await this.#onControl(frame);
        }
      }
      // The client says no more, and may still listen to what is on its way.
      if (!this.#socket.destroyed) await once(this.#socket, 'close');
    } catch (error) {
      if (error instanceof FrameError && !this.#socket.destroyed) {
        await this.#sayGoodbye(PROTOCOL_ERROR);
      }
    } finally {
      this.#socket.destroy();
      this.#reader.close();
      for (const stream of this.#streams.values()) stream.reset();
    }
  }

  async #onData({ streamId, flags, payload }: DataFrame): Promise<void> {
    const stream = this.#streams.get(streamId);
    if (stream === undefined) return;
    await stream.deliver(payload);
    if ((flags & FLAG_FIN) !== 0) stream.push(null);
  }

  async #onControl(frame: ControlFrame): Promise<void> {
    const { type, flags, payload } = frame;
    switch (type) {
      case SYN_STREAM:
        return this.#onSyn(flags, payload);
      case HEADERS:
        // Nobody sends more headers, but the compression has to stay in step.
        await this.#reader.read(payload.subarray(4));
        return;
      case RST_STREAM:
        this.#streams.get(idAt(payload))?.reset();
        return;
      case PING:
        // An even number would be the answer to a ping of ours, which there are none of.
        if ((idAt(payload) & 1) === 1) this.#socket.write(encodeControl(PING, 0, payload));
        return;
      default:
        // SETTINGS and WINDOW_UPDATE ask for nothing: Kubernetes clients use no flow control of
        // SPDY, and GOAWAY is followed by the end of the connection.
        return;
    }
  }

  async #onSyn(flags: number, payload: Buffer): Promise<void> {
    if (payload.length < 10) throw new FrameError('a SYN_STREAM that is too short');
    const id = idAt(payload);
    const headers = await this.#reader.read(payload.subarray(10));
    if (this.#streams.size >= limits.spdyStreamsMax) {
      this.#socket.write(encodeControl(RST_STREAM, 0, word(id, REFUSED_STREAM)));
      return;
    }
    this.#lastId = id;
    const stream = new SpdyStream(this, id, headers);
    // A stream that breaks is seen by whoever reads or writes it.
    stream.on('error', () => stream.destroy());
    this.#streams.set(id, stream);
    this.#socket.write(
      encodeControl(SYN_REPLY, 0, Buffer.concat([word(id), this.#writer.write(new Map())])),
    );
    if ((flags & FLAG_FIN) !== 0) stream.push(null);
    this.#handlers.onStream(stream);
  }
}

function idAt(payload: Buffer): number {
  if (payload.length < 4) throw new FrameError('a control frame that is too short');
  return payload.readUInt32BE(0) & 0x7fff_ffff;
}
