/** Questions over HTTPS (RFC 8484); loaded only where a server is asked that way. */
import { connect, constants, type ClientHttp2Session } from 'node:http2';
import type { SecureContextOptions } from 'node:tls';

import { formatHostPort } from '../../lib/ip.ts';
import { messageBytesMax, type Message } from '../wire/message.ts';
import { replyIn, settled, type Ask } from './exchange.ts';
import type { Server } from './servers.ts';

export type HttpsOptions = {
  readonly server: Server;
  readonly method: 'GET' | 'POST';
  readonly expireMs: number;
  readonly tls: SecureContextOptions & { readonly servername?: string };
};

const mediaType = 'application/dns-message';
const path = '/dns-query';

/** One HTTP/2 session to one server, opened anew when it is gone. */
export class HttpsClient {
  readonly #options: HttpsOptions;
  #session: ClientHttp2Session | undefined;
  readonly counts = { reused: 0, opened: 0 };

  constructor(options: HttpsOptions) {
    this.#options = options;
  }

  /** The reply; throws `WorldError` when none comes in time. */
  ask(ask: Ask): Promise<Message> {
    let giveUp = () => undefined as void;
    const answered = settled(ask, (resolve, reject) => {
      // Caches on the way see equal questions as equal (RFC 8484 §4.1).
      const query = { ...ask.query, id: 0 };
      const packet = Buffer.from(ask.packet);
      packet.writeUInt16BE(0, 0);
      const stream = this.#open().request(this.#headers(packet));
      giveUp = () => stream.close(constants.NGHTTP2_CANCEL);
      const chunks: Buffer[] = [];
      let size = 0;
      let status = 0;
      stream.on('response', (headers) => (status = Number(headers[':status'])));
      stream.on('error', reject);
      stream.on('data', (chunk: Buffer) => {
        size += chunk.length;
        if (size > messageBytesMax) reject(new Error('the reply is longer than a message'));
        else chunks.push(chunk);
      });
      stream.on('end', () => {
        const message = status === 200 ? replyIn(Buffer.concat(chunks), query) : undefined;
        if (message !== undefined) resolve(message);
        else if (status === 200) reject(new Error('the reply does not fit the question'));
        else reject(new Error(`the server answered with HTTP status ${status}`));
      });
      if (this.#options.method === 'POST') stream.end(packet);
      else stream.end();
    });
    // A stream that nobody waits for would keep a session that is closed from ending.
    return answered.finally(() => giveUp());
  }

  close(): void {
    this.#session?.destroy();
  }

  #headers(packet: Buffer): Record<string, string> {
    if (this.#options.method === 'GET') {
      const query = packet.toString('base64url');
      return { ':method': 'GET', ':path': `${path}?dns=${query}`, accept: mediaType };
    }
    return {
      ':method': 'POST',
      ':path': path,
      accept: mediaType,
      'content-type': mediaType,
      'content-length': String(packet.length),
    };
  }

  #open(): ClientHttp2Session {
    const known = this.#session;
    if (known !== undefined && !known.closed && !known.destroyed) {
      this.counts.reused += 1;
      return known;
    }
    this.counts.opened += 1;
    const { server, tls, expireMs } = this.#options;
    const session = connect(`https://${formatHostPort(server.host, server.port)}`, tls);
    session.setTimeout(expireMs, () => (session.connecting ? session.destroy() : session.close()));
    // Each request on it learns of this by an error of its own.
    session.on('error', () => session.destroy());
    session.on('goaway', () => session.close());
    this.#session = session;
    return session;
  }
}
