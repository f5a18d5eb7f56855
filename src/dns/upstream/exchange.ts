/** One question to one server: a fresh socket and port, and only the reply that fits is taken. */
import { createSocket } from 'node:dgram';
import { connect } from 'node:net';

import type { Clock } from '../../lib/clock.ts';
import { WorldError } from '../../lib/errors.ts';
import { familyOf, formatHostPort } from '../../lib/ip.ts';
import { DecodeError, decodeMessage } from '../wire/decode.ts';
import { FLAG, type Message } from '../wire/message.ts';
import { foldCase } from '../wire/name.ts';
import type { Server } from './servers.ts';

export type Ask = {
  readonly server: Server;
  readonly query: Message;
  readonly packet: Uint8Array;
  readonly timeoutMs: number;
  readonly clock: Clock;
};

/** Asks over UDP. The connected socket hears this server only and learns of a closed port at once. */
export function askUdp(ask: Ask): Promise<Message> {
  const { server, packet } = ask;
  const socket = createSocket(familyOf(server.host) === 'ipv6' ? 'udp6' : 'udp4');
  return settle(
    ask,
    () => socket.close(),
    (resolve, reject) => {
      socket.on('error', reject);
      socket.on('message', (bytes) => {
        const message = replyIn(bytes, ask.query);
        if (message !== undefined) resolve(message);
      });
      // Without a callback a failure is an `error` event; with one it would be its argument.
      socket.on('connect', () => {
        socket.send(packet, (error) => {
          if (error !== null) reject(error);
        });
      });
      socket.connect(server.port, server.host);
    },
  );
}

/** Asks over TCP, a connection for each question. */
export function askTcp(ask: Ask): Promise<Message> {
  const { server, packet } = ask;
  const socket = connect(server);
  return settle(
    ask,
    () => socket.destroy(),
    (resolve, reject) => {
      const chunks: Buffer[] = [];
      let size = 0;
      socket.on('error', reject);
      socket.on('close', () => reject(new Error('the connection was closed')));
      socket.on('data', (chunk: Buffer) => {
        chunks.push(chunk);
        size += chunk.length;
        if (size < 2) return;
        const bytes = Buffer.concat(chunks);
        const end = 2 + bytes.readUInt16BE(0);
        if (size < end) return;
        const message = replyIn(bytes.subarray(2, end), ask.query);
        if (message === undefined) reject(new Error('the reply does not fit the question'));
        else resolve(message);
      });
      const length = Buffer.allocUnsafe(2);
      length.writeUInt16BE(packet.length);
      socket.write(Buffer.concat([length, packet]));
    },
  );
}

/** Runs an exchange to its reply, error or time limit, and always closes its socket. */
async function settle(
  { server, timeoutMs, clock }: Ask,
  close: () => void,
  start: (resolve: (message: Message) => void, reject: (error: Error) => void) => void,
): Promise<Message> {
  const { promise, resolve, reject } = Promise.withResolvers<Message>();
  const cancel = clock.after(timeoutMs, () => reject(new Error(`no reply in ${timeoutMs} ms`)));
  try {
    start(resolve, reject);
    return await promise;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const target = formatHostPort(server.host, server.port);
    throw new WorldError('UPSTREAM', `Cannot ask DNS server "${target}": ${reason}`, {
      cause: error,
    });
  } finally {
    cancel();
    close();
  }
}

/** The message if it answers this question, and undefined for a stray or forged one. */
function replyIn(bytes: Uint8Array, query: Message): Message | undefined {
  let message: Message;
  try {
    message = decodeMessage(bytes);
  } catch (error) {
    if (error instanceof DecodeError) return undefined;
    throw error;
  }
  const [asked] = query.questions;
  const [echoed] = message.questions;
  const fits =
    message.id === query.id &&
    (message.flags & FLAG.QR) !== 0 &&
    message.questions.length === 1 &&
    echoed!.type === asked!.type &&
    echoed!.class === asked!.class &&
    foldCase(echoed!.name) === foldCase(asked!.name);
  return fits ? message : undefined;
}
