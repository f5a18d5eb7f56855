/**
 * One proxy keeps the rules of a node: two of them would take each other's work for somebody's
 * damage. The lock is a socket by an abstract name, of which there is one in each network namespace,
 * and which the kernel lets go with its process, however that ends (unix(7)).
 */
import { createServer, type Server } from 'node:net';
import type { Clock } from '../../lib/clock.ts';
import type { Logger } from '../../lib/log.ts';

const NAME = '\0fairlead-proxy';
const RETRY_MS = 500;

/** Settles once no other proxy is here; returns what lets the next one in. */
export async function beTheOnlyOne(clock: Clock, log: Logger): Promise<() => void> {
  for (let tries = 0; ; tries += 1) {
    const server = await listen();
    if (server !== undefined) return () => server.close();
    if (tries === 0) log.warn('another proxy keeps the rules of this node: waiting for its end');
    await new Promise<void>((resolve) => clock.after(RETRY_MS, resolve));
  }
}

/** Undefined where the name is taken. */
function listen(): Promise<Server | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy());
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') resolve(undefined);
      else reject(error);
    });
    // It is no reason to stay.
    server.listen(NAME, () => resolve(server.unref()));
  });
}
