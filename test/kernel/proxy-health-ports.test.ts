/** Health-check node ports on loopback: what a balancer reads, as kube-proxy 1.35 answers it. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, request, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { KubeObject } from '../../src/api/meta.ts';
import { resources } from '../../src/api/resources.ts';
import type { Event, Service } from '../../src/api/types.ts';
import { startApiServer } from '../../src/apiserver/server.ts';
import { createLogger } from '../../src/lib/log.ts';
import { ServiceHealthPorts } from '../../src/proxy/health/service-ports.ts';
import { startProxy } from '../../src/proxy/service-proxy.ts';
import { createMemoryStore } from '../../src/store/store.ts';

let healthy = true;
const failures: string[] = [];
const ports = new ServiceHealthPorts({
  addresses: ['127.0.0.1', '::1'],
  isHealthy: () => healthy,
  onFailure: (service, port, found) => failures.push(`${service} ${port} ${found}`),
});
after(() => ports[Symbol.dispose]());

async function freePort(): Promise<number> {
  const server = createServer();
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  return port;
}

type Answer = { code: number; headers: IncomingMessage['headers']; body: string };

function ask(port: number, { host = '127.0.0.1', path = '/', method = 'GET' } = {}) {
  return new Promise<Answer | string>((resolve) => {
    const question = request({ host, port, path, method, agent: false }, (response) => {
      let body = '';
      response.on('data', (chunk: Buffer) => (body += chunk.toString()));
      response.on('end', () =>
        resolve({ code: response.statusCode ?? 0, headers: response.headers, body }),
      );
    });
    question.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    question.end();
  });
}

async function codeOf(port: number, more: Parameters<typeof ask>[1] = {}) {
  const answer = await ask(port, more);
  return typeof answer === 'string' ? answer : answer.code;
}

/** Listening takes a moment. */
async function eventually<T>(read: () => Promise<T>, want: T): Promise<void> {
  const end = performance.now() + 5000;
  for (;;) {
    const found = await read();
    if (found === want) return;
    assert(performance.now() < end, `still ${String(found)}, not ${String(want)}`);
    await sleep(10);
  }
}

const port = await freePort();

test('[P118] [P119] [P120] a Service with local endpoints answers 200 with their count', async () => {
  ports.set('shop/web', { port, localEndpoints: 3 });
  ports.apply();
  await eventually(() => codeOf(port), 200);
  const answer = await ask(port);
  assert(typeof answer !== 'string');
  assert.equal(answer.headers['content-type'], 'application/json');
  assert.equal(answer.headers['x-content-type-options'], 'nosniff');
  assert.equal(answer.headers['x-load-balancing-endpoint-weight'], '3');
  // Recorded from kube-proxy 1.35.4.
  const body = `{
\t"service": {
\t\t"namespace": "shop",
\t\t"name": "web"
\t},
\t"localEndpoints": 3,
\t"serviceProxyHealthy": true
}`;
  assert.equal(answer.body, body);
});

test('[P118] any path and method are the same question, over both families [X10]', async () => {
  assert.equal(await codeOf(port, { path: '/any/path?x=1' }), 200);
  assert.equal(await codeOf(port, { method: 'POST' }), 200);
  assert.equal(await codeOf(port, { host: '::1' }), 200);
});

test('[P119] 503 without a local endpoint', async () => {
  ports.set('shop/web', { port, localEndpoints: 0 });
  ports.apply();
  const answer = await ask(port);
  assert(typeof answer !== 'string');
  assert.equal(answer.code, 503);
  assert.equal(answer.headers['x-load-balancing-endpoint-weight'], '0');
});

test('[P119] 503 while the proxy is not healthy, whatever the count', async () => {
  ports.set('shop/web', { port, localEndpoints: 2 });
  ports.apply();
  healthy = false;
  const answer = await ask(port);
  healthy = true;
  assert(typeof answer !== 'string');
  assert.equal(answer.code, 503);
  assert.deepEqual(JSON.parse(answer.body), {
    service: { namespace: 'shop', name: 'web' },
    localEndpoints: 2,
    serviceProxyHealthy: false,
  });
  assert.equal(await codeOf(port), 200);
});

test('[P121] what counts is what was applied', async () => {
  ports.set('shop/web', { port, localEndpoints: 0 });
  assert.equal(await codeOf(port), 200);
  ports.apply();
  assert.equal(await codeOf(port), 503);
});

test('[P121] a port that changes is closed and the new one opened', async () => {
  const other = await freePort();
  ports.set('shop/web', { port: other, localEndpoints: 1 });
  ports.apply();
  await eventually(() => codeOf(other), 200);
  assert.equal(await codeOf(port), 'ECONNREFUSED');
  ports.set('shop/web', { port, localEndpoints: 1 });
  ports.apply();
  await eventually(() => codeOf(port), 200);
});

test('[P121] a port may move to another Service in one sync', async () => {
  ports.set('shop/api', { port, localEndpoints: 5 });
  ports.set('shop/web', undefined);
  ports.apply();
  await eventually(async () => {
    const answer = await ask(port);
    return typeof answer === 'string' ? answer : answer.headers['x-load-balancing-endpoint-weight'];
  }, '5');
  assert.deepEqual(failures, []);
});

test('[P121] a Service that goes closes its port', async () => {
  ports.set('shop/api', undefined);
  ports.apply();
  assert.equal(await codeOf(port), 'ECONNREFUSED');
});

test('[P121] a port that is taken is told, leaves nothing half open, and is tried again', async () => {
  const squatter = createServer();
  // Only one of the two addresses is taken.
  await once(squatter.listen(port, '::1'), 'listening');
  ports.set('shop/web', { port, localEndpoints: 1 });
  ports.apply();
  await eventually(() => Promise.resolve(failures.length), 1);
  assert.match(failures[0]!, new RegExp(`^shop/web ${port} .*EADDRINUSE`));
  assert.equal(await codeOf(port), 'ECONNREFUSED', 'the other address is closed again');
  squatter.close();
  await sleep(1000);
  ports.apply();
  await eventually(() => codeOf(port), 200);
  assert.equal(await codeOf(port, { host: '::1' }), 200);
});

test('[P121] other addresses are listened on from the next sync', async () => {
  ports.setAddresses(['127.0.0.2']);
  ports.apply();
  await eventually(() => codeOf(port, { host: '127.0.0.2' }), 200);
  assert.equal(await codeOf(port), 'ECONNREFUSED');
  ports.setAddresses([]);
  ports.apply();
  await eventually(() => codeOf(port, { host: '::1' }), 200);
  assert.equal(await codeOf(port), 200, 'no list: all addresses of both families');
});

test('a closed set answers nowhere', async () => {
  ports[Symbol.dispose]();
  assert.equal(await codeOf(port), 'ECONNREFUSED');
});

test('[P118] [P119] [P121] the whole proxy: only type LoadBalancer with policy Local, and an event', async () => {
  const { client } = await startApiServer({
    store: createMemoryStore(),
    serviceCidrs: ['10.96.0.0/16', 'fd00:10:96::/112'],
  });
  const make = (kind: 'services' | 'endpointslices', fields: unknown) =>
    client.create(resources[kind], fields as KubeObject);
  await client.create(resources.namespaces, { metadata: { name: 'shop' } });
  const squatter = createServer();
  await once(squatter.listen(30_600, '::1'), 'listening');
  const spec = { type: 'LoadBalancer', externalTrafficPolicy: 'Local', ports: [{ port: 80 }] };
  const dual = { ipFamilyPolicy: 'RequireDualStack' };
  const metadata = (name: string) => ({ namespace: 'shop', name });
  await make('services', {
    metadata: metadata('web'),
    spec: { ...spec, ...dual, healthCheckNodePort: 30_500 },
  });
  await make('services', {
    metadata: metadata('taken'),
    spec: { ...spec, healthCheckNodePort: 30_600 },
  });
  const cluster = { ...spec, externalTrafficPolicy: 'Cluster' };
  await make('services', { metadata: metadata('cluster'), spec: cluster });
  for (const [addressType, address] of [
    ['IPv4', '10.244.1.5'],
    ['IPv6', 'fd00:10:244:1::5'],
  ]) {
    await make('endpointslices', {
      metadata: {
        ...metadata(`web-${addressType!.toLowerCase()}`),
        labels: { 'kubernetes.io/service-name': 'web' },
      },
      addressType,
      endpoints: [{ addresses: [address], nodeName: 'node-1' }],
      ports: [{ name: '', protocol: 'TCP', port: 8080 }],
    });
  }
  const proxy = await startProxy({
    client,
    nodeName: 'node-1',
    nodeIPs: ['127.0.0.1', '::1'],
    detectLocal: { mode: 'ClusterCIDR', cidrs: [] },
    log: createLogger('proxy', 'silent'),
  });
  await proxy.ready;
  await eventually(() => codeOf(30_500), 200);
  assert.equal(await codeOf(30_500, { host: '::1' }), 200, '[X10] both families of one Service');
  const key = { namespace: 'shop', name: 'web-ipv4' };
  const draining = {
    addresses: ['10.244.1.5'],
    nodeName: 'node-1',
    conditions: { ready: false, serving: true, terminating: true },
  };
  await client.patch(resources.endpointslices, key, { endpoints: [draining] }, { type: 'merge' });
  await client.delete(resources.endpointslices, { ...key, name: 'web-ipv6' });
  // [P119] a draining endpoint serves and does not count.
  await eventually(() => codeOf(30_500), 503);
  const events = async () => (await client.list<Event>(resources.events)).items;
  await eventually(async () => (await events()).length, 1);
  const [event] = await events();
  assert.equal(event?.type, 'Warning');
  assert.equal(event.reason, 'FailedToStartServiceHealthcheck');
  assert.equal(event.involvedObject.name, 'taken');
  const service = await client.get<Service>(resources.services, metadata('cluster'));
  assert.equal(service.spec.healthCheckNodePort, undefined);
  await proxy.stop();
  assert.equal(await codeOf(30_500), 'ECONNREFUSED');
  squatter.close();
});
