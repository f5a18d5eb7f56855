/** DNS over TLS (RFC 7858): as over TCP, behind a handshake. Loaded only where a block asks for it. */
import { createServer } from 'node:tls';

import type { Clock } from '../../lib/clock.ts';
import { listening } from '../listening.ts';
import { dnsLimits } from '../limits.ts';
import { Connection } from '../tcp.ts';
import type { Handle, Listener } from '../udp.ts';
import { tlsServerOptions, type TlsListenSettings } from './tls-options.ts';

/** Binds and answers from then on. */
export async function listenTls(
  at: { readonly host: string; readonly port: number },
  settings: TlsListenSettings,
  { handle, clock }: { readonly handle: Handle; readonly clock: Clock },
): Promise<Listener> {
  const open = new Set<Connection>();
  const options = { ...tlsServerOptions(settings), ALPNProtocols: ['dot'], noDelay: true };
  const server = createServer(options, (socket) => {
    const connection = new Connection(socket, handle, clock);
    open.add(connection);
    void connection.serve().finally(() => open.delete(connection));
  });
  // A client that breaks off its handshake is its own problem.
  server.on('tlsClientError', () => undefined);
  server.maxConnections = dnsLimits.tcpConnectionsMax;
  const port = await listening(server, at, 'TLS');
  return {
    port,
    renew: (renewed) => server.setSecureContext(tlsServerOptions(renewed)),
    close: async () => {
      const closed = new Promise<void>((done) => server.close(() => done()));
      for (const connection of open) connection.endWhenIdle();
      const cancel = clock.after(dnsLimits.drainMs, () => {
        for (const connection of open) connection.destroy();
      });
      await closed;
      cancel();
    },
  };
}
