/** SPDY frames and header blocks, byte by byte, and what a broken client may send. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Duplex, duplexPair, PassThrough } from 'node:stream';
import { test } from 'node:test';
import { createDeflate, createInflate, constants } from 'node:zlib';
import fc from 'fast-check';
import { exitStatus, parseResize, readResizes } from './remote-command.ts';
import {
  encodeControl,
  encodeDataHeader,
  FrameError,
  FrameReader,
  GOAWAY,
  PING,
  RST_STREAM,
  SYN_REPLY,
  SYN_STREAM,
  word,
  type ControlFrame,
  type Frame,
} from './spdy-frames.ts';
import { dictionary, HeaderReader, HeaderWriter } from './spdy-headers.ts';
import { SpdyConnection, type SpdyStream } from './spdy.ts';

test('[A103] the dictionary is the one of SPDY/3: 1423 bytes with the checksum all peers send', () => {
  // RFC 1950: a stream made with a dictionary names it by its Adler-32.
  let a = 1;
  let b = 0;
  for (const byte of dictionary()) {
    a = (a + byte) % 65_521;
    b = (b + a) % 65_521;
  }
  assert.equal(dictionary().length, 1423);
  assert.equal((b * 65_536 + a).toString(16), 'e3c6a7c2');
});

/** A header block as a client makes it: one zlib stream, flushed after each block. */
class ClientHeaders {
  readonly #deflate = createDeflate({ dictionary: dictionary() });

  async pack(headers: Record<string, string>): Promise<Buffer> {
    const sized = (text: string) => [word(Buffer.byteLength(text)), Buffer.from(text)];
    const pairs = Object.entries(headers).flatMap(([k, v]) => [...sized(k), ...sized(v)]);
    const made: Buffer[] = [];
    const take = (part: Buffer) => made.push(part);
    this.#deflate.on('data', take);
    this.#deflate.write(Buffer.concat([word(pairs.length / 4), ...pairs]));
    await new Promise<void>((resolve) => {
      this.#deflate.flush(constants.Z_SYNC_FLUSH, resolve);
    });
    await new Promise((resolve) => setImmediate(resolve));
    this.#deflate.off('data', take);
    return Buffer.concat(made);
  }
}

test('[A103] header blocks of one connection unpack in order', async () => {
  const client = new ClientHeaders();
  const reader = new HeaderReader();
  for (const streamType of ['error', 'stdin', 'stdout']) {
    const headers = await reader.read(await client.pack({ streamType, port: '80' }));
    assert.deepEqual(
      [...headers],
      [
        ['streamtype', streamType],
        ['port', '80'],
      ],
    );
  }
  reader.close();
});

test('[A103] our header blocks are a zlib stream with a flush after each', async () => {
  const writer = new HeaderWriter();
  const inflate = createInflate();
  for (const value of ['one', 'two']) {
    inflate.write(writer.write(new Map([['Name', value]])));
    await new Promise<void>((resolve) => {
      inflate.flush(resolve);
    });
    const bytes = inflate.read() as Buffer;
    assert.equal(bytes.toString('latin1'), `\0\0\0\x01\0\0\0\x04name\0\0\0\x03${value}`);
  }
});

test('[A103] decode(encode(frame)) is the frame, however the bytes are cut', () => {
  const payload = fc.uint8Array({ maxLength: 300 });
  const frame = fc.oneof(
    fc.record({ type: fc.integer({ min: 1, max: 9 }), flags: fc.nat(255), payload }),
    fc.record({ streamId: fc.nat(0x7fff_ffff), flags: fc.nat(255), payload }),
  );
  fc.assert(
    fc.property(
      fc.array(frame, { maxLength: 5 }),
      fc.integer({ min: 1, max: 50 }),
      (frames, cut) => {
        const bytes = Buffer.concat(
          frames.map((f) =>
            'type' in f
              ? encodeControl(f.type, f.flags, f.payload)
              : Buffer.concat([encodeDataHeader(f.streamId, f.flags, f.payload.length), f.payload]),
          ),
        );
        const reader = new FrameReader(1000);
        const seen: Frame[] = [];
        for (let at = 0; at < bytes.length; at += cut) {
          seen.push(...reader.push(bytes.subarray(at, at + cut)));
        }
        const bare = seen.map(({ kind: _kind, ...rest }) => ({
          ...rest,
          payload: [...rest.payload],
        }));
        assert.deepEqual(
          bare,
          frames.map((f) => ({ ...f, payload: [...f.payload] })),
        );
      },
    ),
  );
});

test('[A103] no bytes make the reader throw anything but FrameError', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
      try {
        for (const frame of new FrameReader(1000).push(Buffer.from(bytes))) assert.ok(frame);
      } catch (error) {
        assert.ok(error instanceof FrameError, String(error));
      }
    }),
  );
});

/** The client's end of a connection to us. */
class TestClient {
  readonly #frames = new FrameReader(1 << 20);
  readonly #seen: Frame[] = [];
  readonly #headers = new ClientHeaders();
  readonly socket: Duplex;
  readonly streams: SpdyStream[] = [];
  readonly connection: SpdyConnection;

  constructor() {
    const [ours, theirs] = duplexPair();
    this.socket = ours;
    ours.on('data', (chunk: Buffer) => this.#seen.push(...this.#frames.push(chunk)));
    ours.on('error', () => ours.destroy());
    this.connection = new SpdyConnection(theirs, Buffer.alloc(0), {
      onStream: (stream) => this.streams.push(stream),
    });
  }

  async open(id: number, streamType: string): Promise<SpdyStream> {
    const block = await this.#headers.pack({ streamType });
    const payload = Buffer.concat([word(id, 0), Buffer.alloc(2), block]);
    this.socket.write(encodeControl(SYN_STREAM, 0, payload));
    await this.control(SYN_REPLY);
    return this.streams.at(-1)!;
  }

  /** The next frame of that type, which is then done with. */
  async control(type: number): Promise<ControlFrame> {
    const is = (f: Frame): f is ControlFrame => f.kind === 'control' && f.type === type;
    while (!this.#seen.some(is)) await once(this.socket, 'data');
    const found = this.#seen.find(is)!;
    this.#seen.splice(this.#seen.indexOf(found), 1);
    return found;
  }
}

test('[A110] a ping of the client is answered with its own number', async () => {
  const client = new TestClient();
  client.socket.write(encodeControl(PING, 0, word(7)));
  assert.equal((await client.control(PING)).payload.readUInt32BE(0), 7);
  client.connection.destroy();
});

test('[A103] data, half-close and reset of a stream', async () => {
  const client = new TestClient();
  const stream = await client.open(1, 'stdin');
  assert.equal(stream.headers.get('streamtype'), 'stdin');
  client.socket.write(Buffer.concat([encodeDataHeader(1, 1, 3), Buffer.from('abc')]));
  const parts: Buffer[] = [];
  for await (const part of stream.iterator({ destroyOnReturn: false })) parts.push(part as Buffer);
  assert.equal(Buffer.concat(parts).toString(), 'abc');
  stream.destroy();
  assert.equal((await client.control(RST_STREAM)).payload.readUInt32BE(0), 1);
  const other = await client.open(3, 'stdout');
  client.socket.write(encodeControl(RST_STREAM, 0, word(3, 5)));
  await once(other, 'close');
  client.connection.destroy();
});

test('[A103] a client that breaks the rules gets GOAWAY and loses its streams', async () => {
  const client = new TestClient();
  const stream = await client.open(1, 'stdin');
  client.socket.write(Buffer.from([0x80, 0x02, 0, 1, 0, 0, 0, 0]));
  await client.control(GOAWAY);
  await client.connection.closed;
  assert.ok(stream.destroyed);
});

test('[K25] a reader that does not read stops the client, not the memory', async () => {
  const client = new TestClient();
  const stream = await client.open(1, 'stdin');
  const part = Buffer.alloc(64 * 1024);
  let sent = 0;
  while (client.socket.write(Buffer.concat([encodeDataHeader(1, 0, part.length), part]))) {
    sent += part.length;
    await new Promise((resolve) => setImmediate(resolve));
    assert.ok(sent < 16 * 1024 * 1024, 'the client was never stopped');
  }
  assert.ok(stream.readableLength < 1024 * 1024);
  client.connection.destroy();
});

for (const [text, size] of [
  ['{"Width":80,"Height":24}', { columns: 80, rows: 24 }],
  ['{"Width":0,"Height":24}', undefined],
  ['{"Width":"80","Height":24}', undefined],
  ['nonsense', undefined],
  ['null', undefined],
] as const) {
  test(`[A104] resize ${text}`, () => assert.deepEqual(parseResize(text), size));
}

test('[A104] sizes arrive whole, however they are cut', async () => {
  const stream = new PassThrough();
  const seen: unknown[] = [];
  readResizes(stream, (size) => seen.push(size));
  stream.write('{"Width":80,"He');
  stream.write('ight":24}\n{"Width":1,"Height":2}');
  stream.end();
  await once(stream, 'end');
  assert.deepEqual(seen, [
    { columns: 80, rows: 24 },
    { columns: 1, rows: 2 },
  ]);
});

test('[A105] the exit code travels as the cause ExitCode', () => {
  assert.equal(exitStatus(0).status, 'Success');
  const failed = exitStatus(3);
  assert.equal(failed.reason, 'NonZeroExitCode');
  assert.deepEqual(failed.details?.causes, [{ reason: 'ExitCode', message: '3' }]);
});
