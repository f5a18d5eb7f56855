/** An HTTP server on one port of one or several addresses: on all of them, or on none. */
import type { RequestListener, Server } from 'node:http';
import { existsSync } from 'node:fs';
import { formatHostPort } from '../../lib/ip.ts';

export type HttpPort = { readonly close: () => void };

export type HttpPortOptions = {
  /** Addresses to listen on; none: all that the machine has, of both families. */
  readonly addresses: readonly string[];
  readonly port: number;
  readonly handler: RequestListener;
};

/** Many balancers probe at once, each over a few connections; more is no probe. */
const CONNECTIONS_MAX = 500;
const TIMEOUTS = { requestTimeout: 5000, keepAliveTimeout: 15_000 };

/** Settles when every address is listened on; rejects, with none open, as soon as one cannot be. */
export async function openHttpPort(options: HttpPortOptions): Promise<HttpPort> {
  const { addresses, port, handler } = options;
  // Loaded here only: an import reads all its exports, and those load a whole HTTP client.
  const { createServer } = process.getBuiltinModule('node:http');
  // A link-local address cannot be bound without its link, and nobody beyond the link asks there.
  const hosts = addresses.length > 0 ? addresses.filter(isRoutable) : [anyAddress()];
  const servers = hosts.map(() => createServer(TIMEOUTS, handler));
  try {
    await Promise.all(servers.map((server, index) => listen(server, hosts[index]!, port)));
  } catch (error) {
    closeAll(servers);
    throw error;
  }
  return { close: () => closeAll(servers) };
}

function listen(server: Server, host: string, port: number): Promise<void> {
  server.maxConnections = CONNECTIONS_MAX;
  return new Promise((resolve, reject) => {
    // It stays: an error after the start must not end the process.
    server.on('error', (error: NodeJS.ErrnoException) => {
      const found = error.code ?? error.message;
      reject(new Error(`${formatHostPort(host, port)}: ${found}`, { cause: error }));
    });
    server.listen({ host, port }, resolve);
  });
}

function closeAll(servers: readonly Server[]): void {
  for (const server of servers) {
    server.close();
    server.closeAllConnections();
  }
}

/** Not in fe80::/10 (RFC 4291 §2.5.6). */
function isRoutable(address: string): boolean {
  return !/^fe[89ab][0-9a-f]:/.test(address);
}

/** One socket for both families where the kernel has both. */
function anyAddress(): string {
  return existsSync('/proc/net/if_inet6') ? '::' : '0.0.0.0';
}
