/** Answers requests that switch protocols: exec, attach, port-forward. */
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { NodeServerOptions } from './server.ts';

/** Refuses: no streaming protocol is spoken. */
export async function serveUpgrade(
  _options: NodeServerOptions,
  _request: IncomingMessage,
  { socket }: { socket: Duplex; head: Buffer },
): Promise<void> {
  socket.end('HTTP/1.1 501 Not Implemented\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
}
