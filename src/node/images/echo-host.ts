/**
 * One process per node that serves for all echo containers of that node. It belongs to no agent:
 * it goes on while the agent is away, and ends when it has served nobody for a while.
 */
import { rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { messageOf } from '../../lib/errors.ts';
import {
  lineReader,
  type EchoContainer,
  type EchoReply,
  type EchoRequest,
} from './echo-protocol.ts';
import { serveEcho, type EchoServer } from './echo-server.ts';

/** With no container and no agent it ends after this long. */
const IDLE_MS = 10_000;

/** By container; a server that still opens its sockets stands here too. */
type Servers = Map<string, Promise<EchoServer>>;

/** Serves until it is idle; says `ready` on standard output when the agent may connect. */
export function runEchoHost(socketPath: string): void {
  const servers = new Map() as Servers;
  const agents = new Set<Socket>();
  let idle: NodeJS.Timeout | undefined;
  const control = createServer((socket) => {
    agents.add(socket);
    clearTimeout(idle);
    socket.on('error', () => socket.destroy());
    socket.once('close', () => {
      agents.delete(socket);
      watchIdle();
    });
    lineReader(socket, (line) => {
      void answer(servers, JSON.parse(line) as EchoRequest).then((reply) => {
        if (socket.writable) socket.write(`${JSON.stringify(reply)}\n`);
      });
    });
  });
  const watchIdle = () => {
    clearTimeout(idle);
    idle = setTimeout(() => {
      if (servers.size === 0 && agents.size === 0) process.exit(0);
    }, IDLE_MS);
  };
  watchIdle();
  rmSync(socketPath, { force: true });
  control.listen(socketPath, () => {
    process.stdout.write('ready\n');
  });
  // The agent that started us may be gone; nobody reads what we say.
  process.stdout.on('error', () => undefined);
}

async function answer(servers: Servers, request: EchoRequest): Promise<EchoReply> {
  const { sequence } = request;
  try {
    switch (request.verb) {
      case 'add':
        await add(servers, request.container);
        break;
      case 'drain':
        (await servers.get(request.id))?.drain();
        break;
      case 'remove':
        await remove(servers, request.id);
        break;
      case 'list':
        return { sequence, ids: [...servers.keys()] };
    }
    return { sequence };
  } catch (error) {
    return { sequence, error: messageOf(error) };
  }
}

/** Asked twice, it opens the sockets once. */
async function add(servers: Servers, container: EchoContainer): Promise<void> {
  const server = servers.get(container.id) ?? serveEcho(container);
  servers.set(container.id, server);
  try {
    await server;
  } catch (error) {
    servers.delete(container.id);
    throw error;
  }
}

async function remove(servers: Servers, id: string): Promise<void> {
  const server = servers.get(id);
  servers.delete(id);
  (await server)?.close();
}
