/** Header blocks of SPDY/3: name and value pairs, compressed over the whole connection. */
import { createInflate, type Inflate } from 'node:zlib';
import { FrameError } from './spdy-frames.ts';

/** Words of the dictionary both sides start with, each with its length in front (SPDY/3 §2.6.10.1). */
const prefixed = `options head post put delete trace accept accept-charset accept-encoding
accept-language accept-ranges age allow authorization cache-control connection content-base
content-encoding content-language content-length content-location content-md5 content-range
content-type date etag expect expires from host if-match if-modified-since if-none-match if-range
if-unmodified-since last-modified location max-forwards pragma proxy-authenticate
proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade user-agent
vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie
keep-alive origin`;

/** The rest of the dictionary is plain text. */
const plain = [
  '100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505',
  '203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request',
  '401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented',
  '503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 ',
  'Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,',
  'application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=',
  'gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.',
].join('');

/** The SPDY/3 compression dictionary. */
export function dictionary(): Buffer {
  const words = prefixed.split(/\s+/).map((word) => {
    const text = Buffer.from(word.replace('_', ' '), 'latin1');
    const length = Buffer.alloc(4);
    length.writeUInt32BE(text.length);
    return Buffer.concat([length, text]);
  });
  return Buffer.concat([...words, Buffer.from(plain, 'latin1')]);
}

export type Headers = ReadonlyMap<string, string>;

/** A block larger than this is an attack, not a request. */
const blockBytesMax = 64 * 1024;
/** The longest stored block of deflate (RFC 1951 §3.2.4). */
const storedBytesMax = 0xffff;

/** Unpacks header blocks in the order they came. */
export class HeaderReader {
  readonly #inflate: Inflate;
  #failed: Error | undefined;

  constructor() {
    this.#inflate = createInflate({ dictionary: dictionary() });
    this.#inflate.on('error', (error) => {
      this.#failed = error;
    });
  }

  /** Names come in lower case. Throws FrameError on anything that is no header block. */
  async read(block: Buffer): Promise<Headers> {
    await new Promise<void>((resolve, reject) => {
      this.#inflate.write(block, (error) => (error ? reject(frameError(error)) : resolve()));
    });
    if (this.#failed !== undefined) throw frameError(this.#failed);
    // Pulled, not listened to: the callback above may come before a 'data' event.
    const parts: Buffer[] = [];
    for (let part: Buffer | null; (part = this.#inflate.read() as Buffer | null) !== null;) {
      parts.push(part);
    }
    return decodeHeaders(Buffer.concat(parts));
  }

  close(): void {
    this.#inflate.destroy();
  }
}

function frameError(error: Error): FrameError {
  return new FrameError(`a header block that does not unpack: ${error.message}`);
}

function decodeHeaders(bytes: Buffer): Headers {
  if (bytes.length > blockBytesMax) throw new FrameError('a header block that is too large');
  let position = 0;
  const next = (): number => {
    if (position + 4 > bytes.length) throw new FrameError('a header block that ends too soon');
    position += 4;
    return bytes.readUInt32BE(position - 4);
  };
  const text = (): string => {
    const length = next();
    if (position + length > bytes.length) throw new FrameError('a header that ends too soon');
    position += length;
    return bytes.toString('utf8', position - length, position);
  };
  const headers = new Map<string, string>();
  for (let left = next(); left > 0; left -= 1) headers.set(text().toLowerCase(), text());
  return headers;
}

/**
 * Packs header blocks. Stored blocks are valid deflate, need no state but the zlib header before the
 * first one, and our headers are a few bytes long.
 */
export class HeaderWriter {
  #begun = false;

  write(headers: Headers): Buffer {
    const pairs = [...headers].flatMap(([name, value]) => [
      sized(name.toLowerCase()),
      sized(value),
    ]);
    const count = Buffer.alloc(4);
    count.writeUInt32BE(headers.size);
    const block = Buffer.concat([count, ...pairs]);
    if (block.length > storedBytesMax) throw new FrameError('headers that are too large to send');
    const stored = Buffer.alloc(5);
    stored.writeUInt16LE(block.length, 1);
    stored.writeUInt16LE(~block.length & 0xffff, 3);
    // RFC 1950: 32 KiB window, no dictionary; 0x7801 is a multiple of 31.
    const start = this.#begun ? [] : [Buffer.from([0x78, 0x01])];
    this.#begun = true;
    return Buffer.concat([...start, stored, block, flush]);
  }
}

/**
 * An empty stored block, as zlib's sync flush writes it. Go's inflate hands out what it has only
 * there: without it the reader runs on into the end of the frame and fails for good.
 */
const flush = Buffer.from([0x00, 0x00, 0x00, 0xff, 0xff]);

function sized(text: string): Buffer {
  const bytes = Buffer.from(text, 'utf8');
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}
