import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server } from 'node:net';
import { after, test } from 'node:test';
import { systemClock, type Clock } from '../../lib/clock.ts';
import type { Logger } from '../../lib/log.ts';
import type { PortPlan } from '../../plan/types.ts';
import { LocalhostForwarder } from './forwarder.ts';

const servers: Server[] = [];
after(() => {
  for (const server of servers) server.close();
});

/** Says its name to whoever connects. */
async function listen(name: string): Promise<{ server: Server; port: number }> {
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.end(name);
  });
  servers.push(server.listen(0, '127.0.0.1'));
  await once(server, 'listening');
  return { server, port: (server.address() as AddressInfo).port };
}

async function whoIsAt(port: number): Promise<string> {
  const socket = connect({ host: '127.0.0.1', port });
  let said = '';
  socket.on('data', (chunk: Buffer) => (said += chunk.toString()));
  await once(socket, 'close');
  return said;
}

function nodePort(port: number, endpointPort: number): PortPlan {
  const target = { address: '127.0.0.1', port: endpointPort, local: true };
  return {
    id: 'shop/web:http/TCP/ipv4',
    service: 'shop/web',
    portName: 'http',
    protocol: 'TCP',
    family: 'ipv4',
    frontends: [],
    cluster: [target],
    local: [target],
    serving: [target],
    affinitySeconds: 0,
    nodePort: port,
  };
}

test('a node port that a process has is served once the process is gone, without any news', async () => {
  const endpoint = await listen('endpoint');
  const process = await listen('process');
  const due: (() => void)[] = [];
  let warnings = 0;
  const warned = Promise.withResolvers<void>();
  const clock: Clock = {
    ...systemClock,
    after(_, callback) {
      due.push(callback);
      return () => undefined;
    },
  };
  const warn = () => {
    warnings += 1;
    warned.resolve();
  };
  using forwarder = new LocalhostForwarder({
    log: { warn } as unknown as Logger,
    clock,
    random: () => 0,
  });
  forwarder.setAddresses(['127.0.0.1']);
  const ports = [nodePort(process.port, endpoint.port)];
  forwarder.set('shop/web', { service: 'shop/web', since: '', ports, clusterIPs: [] });
  forwarder.apply();
  await warned.promise;
  forwarder.apply();
  assert.equal(await whoIsAt(process.port), 'process');
  assert.equal(warnings, 1, 'not tried again by every sync');
  process.server.close();
  await once(process.server, 'close');
  assert.equal(due.length, 1);
  due.pop()!();
  assert.equal(await whoIsAt(process.port), 'endpoint');
});
