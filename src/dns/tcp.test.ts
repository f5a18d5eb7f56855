/** What a DNS connection does when one side is slow, on loopback. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { test } from 'node:test';

import { systemClock, type Clock } from '../lib/clock.ts';
import { Connection } from './tcp.ts';

/** The machine's clock, `speed` times as fast. */
function fastClock(speed: number): Clock {
  return {
    ...systemClock,
    after: (delayMs, callback) => systemClock.after(delayMs / speed, callback),
  };
}

async function pair(): Promise<{ client: Socket; served: Socket; [Symbol.dispose](): void }> {
  const listener = createServer();
  await once(listener.listen(0, '127.0.0.1'), 'listening');
  const client = connect((listener.address() as AddressInfo).port, '127.0.0.1');
  const [served] = (await once(listener, 'connection')) as [Socket];
  client.on('error', () => undefined);
  return {
    client,
    served,
    [Symbol.dispose]() {
      client.destroy();
      served.destroy();
      listener.close();
    },
  };
}

const question = Buffer.from([0, 2, 1, 2]);

test('[D77] the first question may take longer than its reading', { timeout: 3000 }, async () => {
  using sockets = await pair();
  const slow = async () => {
    await new Promise((resolve) => setTimeout(resolve, 80));
    return Buffer.from('reply');
  };
  // 3 s to read become 30 ms.
  const served = new Connection(sockets.served, slow, fastClock(100)).serve();
  sockets.client.write(question);
  const received = await Promise.race([
    once(sockets.client, 'data'),
    once(sockets.client, 'close').then(() => ['closed']),
  ]);
  assert.equal(String(received[0]).slice(2), 'reply');
  sockets.client.end();
  await served;
});

test(
  '[D77] a client that does not read is given up, and nothing of it stays',
  { timeout: 3000 },
  async () => {
    using sockets = await pair();
    const big = Buffer.alloc(60_000);
    const connection = new Connection(sockets.served, () => big, fastClock(100));
    sockets.client.pause();
    for (let count = 0; count < 500; count += 1) sockets.client.write(question);
    const timeout = new Promise((resolve) => setTimeout(resolve, 2000, 'still there'));
    assert.notEqual(await Promise.race([connection.serve(), timeout]), 'still there');
  },
);
