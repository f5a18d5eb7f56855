/**
 * One process per node that serves for all echo containers of that node. It belongs to no agent:
 * it goes on while the agent is away, and ends when it has served nobody for a while.
 */
import { rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { messageOf } from '../../lib/errors.ts';
import { lineReader, type EchoReply, type EchoRequest } from './echo-protocol.ts';
import { serveEcho, type EchoServer } from './echo-server.ts';

/** With no container and no agent it ends after this long. */
const IDLE_MS = 10_000;

/** Serves until it is idle; says `ready` on standard output when the agent may connect. */
export function runEchoHost(socketPath: string): void {
  const servers = new Map<string, EchoServer>();
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

async function answer(servers: Map<string, EchoServer>, request: EchoRequest): Promise<EchoReply> {
  const { sequence } = request;
  try {
    switch (request.verb) {
      case 'add':
        if (!servers.has(request.container.id)) {
          servers.set(request.container.id, await serveEcho(request.container));
        }
        break;
      case 'drain':
        servers.get(request.id)?.drain();
        break;
      case 'remove':
        servers.get(request.id)?.close();
        servers.delete(request.id);
        break;
      case 'list':
        return { sequence, ids: [...servers.keys()] };
    }
    return { sequence };
  } catch (error) {
    return { sequence, error: messageOf(error) };
  }
}
