/** What the API server does while an agent does not answer. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { type Server, type Socket, createServer } from 'node:net';
import { Duplex } from 'node:stream';
import { after, test } from 'node:test';

import { resources } from '../api/resources.ts';
import type { Node, Pod } from '../api/types.ts';
import { createNodeProxy } from './node-proxy.ts';
import { startTestServer } from './test-server.ts';

const api = await startTestServer();
after(() => api.stop());

/** Takes connections and says nothing. */
const open = new Set<Socket>();
const agent: Server = createServer((socket) => {
  open.add(socket);
  socket.resume();
  socket.on('error', () => undefined);
  socket.on('close', () => open.delete(socket));
});
agent.listen(0, '127.0.0.1');
await once(agent, 'listening');
after(() => {
  for (const socket of open) socket.destroy();
  agent.close();
});

const { port } = agent.address() as { port: number };
const key = { namespace: 'default', name: 'p' };
await api.server.client.create<Node>(resources.nodes, {
  metadata: { name: 'n' },
  status: {
    addresses: [{ type: 'InternalIP', address: '127.0.0.1' }],
    daemonEndpoints: { kubeletEndpoint: { Port: port } },
  },
});
await api.server.client.create<Pod>(resources.pods, {
  metadata: key,
  spec: { nodeName: 'n', containers: [{ name: 'c', image: 'fairlead/pause' }] },
});

test('[A98] a client that leaves takes its request to the agent along', async () => {
  const { ca, admin } = api;
  const request = httpsRequest(`${api.url}/api/v1/namespaces/default/pods/p/log`, {
    ca: ca.cert,
    ...admin,
    agent: false,
  });
  request.on('error', () => undefined);
  request.end();
  const [socket] = (await once(agent, 'connection')) as [Socket];
  request.destroy();
  await once(socket, 'close');
});

test('[A103] an agent that does not answer is given up', async () => {
  const nodes = createNodeProxy(api.store, { ...api.admin, ca: api.ca.cert }, { answerMs: 50 });
  const incoming = { method: 'POST', rawHeaders: ['Upgrade', 'SPDY/3.1'] } as IncomingMessage;
  const target = {
    ...key,
    resource: resources.pods,
    subresource: 'exec',
    rest: [],
  };
  const socket = new Duplex({ read: () => undefined, write: () => undefined });
  const url = { target, query: new URLSearchParams('command=ls') };
  await assert.rejects(
    nodes.upgrade(incoming, url, socket, Buffer.alloc(0)),
    /error dialing backend: .*\/exec\/default\/p\/c.*: no answer within 0.05 s/,
  );
});
