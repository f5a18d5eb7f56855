import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import type { Logger } from '../../lib/log.ts';
import { statusPages } from './status-pages.ts';

const broken = {
  configz(): object {
    throw new Error('no configuration');
  },
  metrics: { contentType: 'text/plain', page: () => Promise.reject(new Error('no metrics')) },
};

test('a page that cannot be made is an error of that page alone', async (t) => {
  const told: string[] = [];
  const log = { error: ({ path }: { path: string }) => told.push(path) } as unknown as Logger;
  const server = createServer(statusPages({ ...broken, mode: 'nftables', profiling: false, log }));
  t.after(() => server.close());
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  const ask = async (path: string) => {
    const headers = { Connection: 'close' };
    const response = await fetch(`http://127.0.0.1:${port}${path}`, { headers });
    return `${response.status} ${await response.text()}`;
  };
  assert.equal(await ask('/configz'), '500 Internal Server Error\n');
  assert.equal(await ask('/metrics'), '500 Internal Server Error\n');
  assert.equal(await ask('/proxyMode'), '200 nftables');
  assert.deepEqual(told, ['/configz', '/metrics']);
});
