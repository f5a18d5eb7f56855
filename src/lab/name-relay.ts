/**
 * The lab's way to the names of the outside world: pods cannot reach the host's resolver, which is
 * often on its loopback, so the server passes their questions on, byte for byte.
 */
import { createSocket } from 'node:dgram';
import { readFileSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { listenTcp } from '../dns/tcp.ts';
import { listenUdp } from '../dns/udp.ts';
import { parseResolvConf } from '../dns/upstream/servers.ts';
import { DecodeError, decodeMessage } from '../dns/wire/decode.ts';
import { encodeMessage } from '../dns/wire/encode.ts';
import { FLAG, RCODE } from '../dns/wire/message.ts';
import { systemClock } from '../lib/clock.ts';
import { messageOf } from '../lib/errors.ts';
import { familyOf } from '../lib/ip.ts';
import type { Logger } from '../lib/log.ts';

const resolvConf = '/etc/resolv.conf';
/** libc waits 5 s for a server; two of them must fit into what a client waits for us. */
const answerWithinMs = 2000;

/** Listens for questions on port 53 of the lab's own addresses. */
export async function startNameRelay(addresses: readonly string[], log: Logger): Promise<void> {
  for (const host of addresses) {
    const handle = async (packet: Uint8Array, transport: 'udp' | 'tcp') =>
      await relay(packet, transport, log);
    try {
      await listenUdp({ host, port: 53 }, handle);
      await listenTcp({ host, port: 53 }, handle, systemClock);
    } catch (error) {
      // A name server of the host on every address answers on ours too, then.
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
      log.warn({ host }, 'the host itself serves names on port 53 of this address');
    }
  }
}

/** The host's name servers as they are now; a laptop changes them as it moves. */
export function hostNameServers(): string[] {
  const mtimeMs = statSync(resolvConf, { throwIfNoEntry: false })?.mtimeMs;
  if (mtimeMs === undefined) return [];
  if (known.mtimeMs !== mtimeMs)
    known = { mtimeMs, servers: parseResolvConf(readFileSync(resolvConf, 'utf8')) };
  return known.servers;
}

let known: { mtimeMs: number; servers: string[] } = { mtimeMs: 0, servers: [] };

/** SERVFAIL when nobody answers, so that a machine without a network does not keep clients waiting. */
async function relay(
  packet: Uint8Array,
  transport: 'udp' | 'tcp',
  log: Logger,
): Promise<Buffer | undefined> {
  for (const server of hostNameServers()) {
    try {
      return await (transport === 'udp' ? askUdp(server, packet) : askTcp(server, packet));
    } catch (error) {
      log.debug({ server, error: messageOf(error) }, 'name server of the host does not answer');
    }
  }
  return failure(packet);
}

/** RFC 1035 §4.1.1: the question comes back with QR set and RCODE 2; nothing else is ours to repeat. */
function failure(packet: Uint8Array): Buffer | undefined {
  try {
    const { id, flags, questions } = decodeMessage(packet);
    return encodeMessage({
      id,
      flags: (flags & ~0xf) | FLAG.QR | FLAG.RA | RCODE.SERVFAIL,
      questions,
      answers: [],
      authorities: [],
      additionals: [],
    });
  } catch (error) {
    if (error instanceof DecodeError) return undefined;
    throw error;
  }
}

function askUdp(host: string, packet: Uint8Array): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const socket = createSocket(familyOf(host) === 'ipv6' ? 'udp6' : 'udp4');
  const timer = setTimeout(() => reject(new Error('timed out')), answerWithinMs);
  socket.on('message', resolve).on('error', reject);
  // Connected, so that only this server's answers come in.
  socket.once('connect', () => socket.send(packet));
  socket.connect(53, host);
  return promise.finally(() => {
    clearTimeout(timer);
    socket.close();
  });
}

function askTcp(host: string, packet: Uint8Array): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const socket = connect({ host, port: 53 });
  const length = Buffer.alloc(2);
  length.writeUInt16BE(packet.length);
  let received = Buffer.alloc(0);
  socket.setTimeout(answerWithinMs, () => reject(new Error('timed out')));
  socket.on('connect', () => socket.write(Buffer.concat([length, packet])));
  socket.on('data', (chunk: Buffer) => {
    received = Buffer.concat([received, chunk]);
    // RFC 1035 §4.2.2: a two-byte length stands before each message.
    if (received.length >= 2 && received.length >= 2 + received.readUInt16BE(0))
      resolve(received.subarray(2, 2 + received.readUInt16BE(0)));
  });
  socket.on('error', reject).on('close', () => reject(new Error('closed')));
  return promise.finally(() => socket.destroy());
}
