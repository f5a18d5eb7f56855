/** What TLS and HTTPS listeners share in coming up. */
import type { Server } from 'node:net';

import { WorldError } from '../lib/errors.ts';
import { formatHostPort } from '../lib/ip.ts';

/** Binds; the port, which the kernel chose if it was 0. */
export async function listening(
  server: Server,
  { host, port }: { readonly host: string; readonly port: number },
  protocol: string,
): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', (cause) => {
    const target = formatHostPort(host, port);
    const text = `Cannot listen on ${protocol} "${target}": ${cause.message}`;
    reject(new WorldError('DNS_LISTEN', text, { cause }));
  });
  server.listen({ host, port, backlog: 1024 }, resolve);
  await promise;
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : port;
}
