/** Ports, taken and free. */
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { formatHostPort } from '../lib/ip.ts';
import { apiPortInLab } from './config.ts';
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

/** Throws unless the API can listen on the host's address in the lab: something may have every address. */
export async function requireLabPort(address: string): Promise<void> {
  if (await isFree(apiPortInLab, address)) return;
  throw new UserError(
    'PORT_TAKEN',
    `Cannot serve the API on ${formatHostPort(address, apiPortInLab)}: something listens on that port of every address`,
    { hint: `See which: ss -ltnp 'sport = :${apiPortInLab}'` },
  );
}

async function isFree(port: number, address = '127.0.0.1'): Promise<boolean> {
  const server = createServer();
  try {
    server.listen(port, address);
    await once(server, 'listening');
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') return false;
    throw error;
  } finally {
    server.close();
  }
}

/** Waits until something listens there, or until the time is up; true when something does. */
export async function waitForPort(host: string, port: number, withinMs: number): Promise<boolean> {
  const deadline = performance.now() + withinMs;
  while (performance.now() < deadline) {
    if (await isOpen(host, port)) return true;
    await sleep(10);
  }
  return false;
}

/** Whether something listens there. */
export function isOpen(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: 100 });
    const end = (open: boolean) => {
      socket.destroy();
      resolve(open);
    };
    socket.once('connect', () => end(true));
    socket.once('error', () => end(false));
    socket.once('timeout', () => end(false));
  });
}
