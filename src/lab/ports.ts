/** Ports of the host's loopback. */
import { once } from 'node:events';
import { createServer } from 'node:net';
import { UserError } from '../lib/errors.ts';

const firstApiPort = 6443;

/** The first free port from 6443 that no other lab has. */
export async function chooseApiPort(taken: readonly number[]): Promise<number> {
  for (let port = firstApiPort; port < firstApiPort + 1000; port += 1) {
    if (!taken.includes(port) && (await isFree(port))) return port;
  }
  throw new UserError(
    'PORT_TAKEN',
    `Cannot choose a port for the API: ${firstApiPort} to ${firstApiPort + 999} of 127.0.0.1 are taken`,
  );
}

/** Throws unless the port can be had. */
export async function requirePort(port: number): Promise<void> {
  if (await isFree(port)) return;
  throw new UserError(
    'PORT_TAKEN',
    `Cannot use --api-port ${port}: something listens on 127.0.0.1:${port}`,
    { hint: 'Leave the flag away to have a free one chosen' },
  );
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  try {
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') return false;
    throw error;
  } finally {
    server.close();
  }
}
