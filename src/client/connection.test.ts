/** What becomes of a request when the server's side goes wrong early, on loopback. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { test } from 'node:test';
import { createConnection } from './connection.ts';

test('a server that accepts and says nothing does not hold a watch for ever', async () => {
  const sockets: Socket[] = [];
  const mute = createServer((socket) => void sockets.push(socket));
  await once(mute.listen(0, '127.0.0.1'), 'listening');
  const { port } = mute.address() as AddressInfo;
  const server = `https://127.0.0.1:${port}`;
  const connection = createConnection({ server, handshakeTimeoutMs: 50 });
  const timeout = new Promise((resolve) => {
    setTimeout(resolve, 2000, 'still waiting');
  });
  const opened = connection.open({ ':path': '/' }, {}).catch((error: Error) => error.message);
  const found = await Promise.race([opened, timeout]);
  connection.close();
  for (const socket of sockets) socket.destroy();
  mute.close();
  assert.match(String(found), /no TLS handshake within 50 ms/);
});
