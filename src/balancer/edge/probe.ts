/** One question to a node: does it answer, and does it want the Service's connections? */
import { Socket } from 'node:net';
import type { Clock } from '../../lib/clock.ts';

/** `tcp`: whether somebody listens. `http`: whether the answer is 200, as health-check ports say it (P119). */
export type Check = { readonly kind: 'tcp' | 'http'; readonly port: number };

/** `no`: refused, or an answer other than 200. `silent`: nothing came back. */
export type Answer = 'yes' | 'no' | 'silent';

/** A health-check answer is a few hundred bytes; its first line tells all. */
const headBytesMax = 1024;

export type ProbeOptions = {
  readonly address: string;
  readonly check: Check;
  readonly timeoutMs: number;
  readonly clock: Clock;
  /** A TCP socket of the family, in the network to ask from. */
  readonly openSocket: (family: 'ipv4' | 'ipv6') => number;
};

/** Asks once; never throws. */
export function probe(options: ProbeOptions): Promise<Answer> {
  const { address, check, timeoutMs, clock } = options;
  const { promise, resolve } = Promise.withResolvers<Answer>();
  let socket: Socket | undefined;
  // One more turn of the loop: an answer that came while this process was busy still counts.
  const cancel = clock.after(timeoutMs, () => setImmediate(() => end('silent')));
  const end = (answer: Answer) => {
    cancel();
    socket?.destroy();
    resolve(answer);
  };
  try {
    socket = new Socket({ fd: options.openSocket(address.includes(':') ? 'ipv6' : 'ipv4') });
  } catch (error) {
    end(answerTo(error));
    return promise;
  }
  socket.on('error', (error) => end(answerTo(error)));
  socket.on('end', () => end('no'));
  if (check.kind === 'http') readStatus(socket, end);
  socket.connect({ host: address, port: check.port }, () => {
    if (check.kind === 'tcp') end('yes');
    else socket.write(`GET /healthz HTTP/1.0\r\nHost: ${check.port}\r\n\r\n`);
  });
  return promise;
}

function readStatus(socket: Socket, end: (answer: Answer) => void): void {
  let head = '';
  socket.setEncoding('latin1');
  socket.on('data', (text: string) => {
    head += text;
    const status = /^HTTP\/1\.[01] (\d{3}) /.exec(head)?.[1];
    if (status !== undefined) end(status === '200' ? 'yes' : 'no');
    else if (head.length > headBytesMax) end('no');
  });
}

/** A refusal comes from a machine that lives. */
function answerTo(error: unknown): Answer {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'ECONNREFUSED' || code === 'ECONNRESET' || code === 'EPIPE' ? 'no' : 'silent';
}
