/** One question to one server over UDP, and what all ways of asking share: only a fitting reply counts. */
import { createSocket } from 'node:dgram';

import type { Clock } from '../../lib/clock.ts';
import { messageOf, WorldError } from '../../lib/errors.ts';
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
export function askUdp(ask: Ask, sourceAddress?: string): Promise<Message> {
  const { server, packet } = ask;
  const socket = createSocket(familyOf(server.host) === 'ipv6' ? 'udp6' : 'udp4');
  const answered = settled(ask, (resolve, reject) => {
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
    const go = () => socket.connect(server.port, server.host);
    if (sourceAddress === undefined) go();
    else socket.bind({ address: sourceAddress }, go);
  });
  return answered.finally(() => socket.close());
}

/** Runs an exchange to its reply, error or time limit, and says who was asked when it fails. */
export async function settled(
  { server, timeoutMs, clock }: Ask,
  start: (resolve: (message: Message) => void, reject: (error: Error) => void) => void,
): Promise<Message> {
  const { promise, resolve, reject } = Promise.withResolvers<Message>();
  const cancel = clock.after(timeoutMs, () => {
    reject(new Error(`no reply in ${Math.round(timeoutMs)} ms`));
  });
  try {
    start(resolve, reject);
    return await promise;
  } catch (error) {
    const target = formatHostPort(server.host, server.port);
    const text = `Cannot ask DNS server "${target}": ${messageOf(error)}`;
    throw new WorldError('UPSTREAM', text, { cause: error });
  } finally {
    cancel();
  }
}

/** The message if it answers this question, and undefined for a stray or forged one. */
export function replyIn(bytes: Uint8Array, query: Message): Message | undefined {
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
