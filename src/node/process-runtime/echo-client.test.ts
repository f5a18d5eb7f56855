import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, test } from 'node:test';
import { lineReader, type EchoContainer, type EchoRequest } from '../images/echo-protocol.ts';
import { EchoClient } from './echo-client.ts';

const directory = mkdtempSync(join(tmpdir(), 'fl-echo-'));
const socketPath = join(directory, 's');
const started = join(directory, 'started');
/** Takes the place of a host that cannot start; notes each attempt. */
const command = ['/bin/sh', '-c', `echo x >>${started}; exit 1`];

let host: Server | undefined;
const sockets = new Set<Socket>();

afterEach(() => {
  host?.close();
  for (const socket of sockets) socket.destroy();
  host = undefined;
  rmSync(started, { force: true });
});

process.once('exit', () => rmSync(directory, { recursive: true, force: true }));

function starts(): number {
  return existsSync(started) ? readFileSync(started, 'utf8').length / 2 : 0;
}

/** Takes the place of the echo host: `answer` gets each request. */
async function listen(answer: (request: EchoRequest, socket: Socket) => void): Promise<void> {
  host = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    lineReader(socket, (line) => answer(JSON.parse(line) as EchoRequest, socket));
  });
  await new Promise<void>((resolve) => host!.listen(socketPath, resolve));
}

function reply(socket: Socket, request: EchoRequest, ids: readonly string[] = []): void {
  socket.write(`${JSON.stringify({ sequence: request.sequence, ids })}\n`);
}

function echo(id: string): EchoContainer {
  const identity = { pod: id, namespace: 'default', node: 'n', podIPs: [] };
  return { id, identity, env: {}, ports: [], log: '/dev/null' };
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

test('a host lost while it takes containers over does not leave others waiting', async () => {
  let isDying = false;
  await listen((request, socket) => {
    if (isDying && request.verb === 'add') socket.destroy();
    else reply(socket, request);
  });
  using client = new EchoClient({ socketPath, command });
  await client.add(echo('a'));
  isDying = true;
  for (const socket of sockets) socket.destroy();
  await pause(10);
  const late = pause(2000).then(() => 'waits for ever');
  const ended = client.add(echo('b')).then(
    () => 'added',
    () => 'refused',
  );
  assert.equal(await Promise.race([ended, late]), 'refused');
});

test('a host that cannot start is tried again ever more rarely', async () => {
  using client = new EchoClient({ socketPath: join(directory, 'none'), command });
  await client.adopt([echo('a')]);
  await pause(1000);
  // After 50, 100, 200, 400 and 800 ms.
  assert.ok(starts() >= 3 && starts() <= 6, `${starts()} attempts in a second`);
});

test('nobody starts a host to tell it that a container has gone', async () => {
  await listen((request, socket) => reply(socket, request));
  using client = new EchoClient({ socketPath, command });
  await client.add(echo('a'));
  host!.close();
  for (const socket of sockets) socket.destroy();
  await client.remove('a');
  await pause(200);
  assert.equal(starts(), 0);
});

test('a closed client starts no host', async () => {
  await listen((request, socket) => reply(socket, request));
  const client = new EchoClient({ socketPath, command });
  await client.add(echo('a'));
  host!.close();
  for (const socket of sockets) socket.destroy();
  await pause(10);
  client[Symbol.dispose]();
  await pause(200);
  assert.equal(starts(), 0);
});

test('a host that serves a container nobody wants is told so', async () => {
  const removed: string[] = [];
  await listen((request, socket) => {
    if (request.verb === 'remove') removed.push(request.id);
    reply(socket, request, request.verb === 'list' ? ['old'] : []);
  });
  using client = new EchoClient({ socketPath, command });
  await client.adopt([echo('a')]);
  assert.deepEqual(removed, ['old']);
});
