import assert from 'node:assert/strict';
import { once } from 'node:events';
import http2 from 'node:http2';
import { request as httpsRequest } from 'node:https';
import type { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { resources } from '../api/resources.ts';
import type { Event } from '../api/types.ts';
import { createHttpClient } from '../client/http-client.ts';
import { systemClock } from '../lib/clock.ts';
import { limits } from '../lib/limits.ts';
import { ServiceAllocator } from './allocation/service-allocator.ts';
import { expireEvents } from './event-expiry.ts';
import { issue } from './pki/certificates.ts';
import { startApiServer } from './server.ts';
import { startTestServer } from './test-server.ts';

const api = await startTestServer();
after(() => api.stop());
const { ca, admin, url } = api;
const credentials = { ca: ca.cert, cert: admin.cert, key: admin.key };
const MAPS = '/api/v1/namespaces/default/configmaps';

const alive = async () => assert.equal((await api.ask('GET /version')).code, 200);

test('a request that breaks off in its body harms nobody, HTTP/1.1', async () => {
  const request = httpsRequest(`${url}${MAPS}`, {
    ...credentials,
    agent: false,
    method: 'POST',
    headers: { 'content-type': 'application/json', 'content-length': '1000' },
  });
  request.on('error', () => undefined);
  request.write('{"apiVersion":');
  await sleep(50);
  request.destroy();
  await sleep(50);
  await alive();
});

test('a request that breaks off in its body harms nobody, HTTP/2', async () => {
  const session = http2.connect(url, credentials);
  session.on('error', () => undefined);
  const stream = session.request({
    ':method': 'POST',
    ':path': MAPS,
    'content-type': 'application/json',
  });
  stream.on('error', () => undefined);
  stream.write('{"apiVersion":');
  await sleep(50);
  stream.close(http2.constants.NGHTTP2_CANCEL);
  await sleep(50);
  session.destroy();
  await alive();
});

test('what is no TLS harms nobody', async () => {
  const { connect } = await import('node:net');
  const socket: Socket = connect(Number(new URL(url).port), '127.0.0.1');
  socket.on('error', () => undefined);
  socket.write('GET / HTTP/1.1\r\n\r\n');
  await once(socket, 'close');
  await alive();
});

test('[A110] an upgrade of something else is refused in words', async () => {
  const request = httpsRequest(`${url}${MAPS}`, {
    ...credentials,
    agent: false,
    headers: { connection: 'Upgrade', upgrade: 'SPDY/3.1' },
  });
  request.end();
  const [answer] = await once(request, 'response');
  assert.equal(answer.statusCode, 400);
  answer.resume();
});

const ROUNDS = 40;
const MEGABYTE = 1_000_000;

for (const protocol of ['HTTP/1.1', 'HTTP/2'] as const) {
  test(`[A90] a watcher that does not read is cut off, ${protocol}`, async () => {
    const path = `${MAPS}?watch=true&fieldSelector=metadata.name%3Dbig`;
    const stream = await (protocol === 'HTTP/2' ? openOverHttp2(path) : openOverHttp1(path));
    const { client } = api.server;
    const key = { namespace: 'default', name: 'big' };
    for (let round = 0; round < ROUNDS; round += 1) {
      const object = { metadata: key, data: { a: `${round}${'x'.repeat(MEGABYTE)}` } };
      if (round === 0) await client.create(resources.configmaps, object);
      else await client.update(resources.configmaps, object);
    }
    await client.delete(resources.configmaps, key);
    // Only now it reads: what had been buffered for it is gone, and so is the stream.
    let bytes = 0;
    stream.on('data', (chunk: Buffer) => (bytes += chunk.length));
    const closed = new Promise((resolve) => stream.on('close', resolve));
    assert.notEqual(await Promise.race([closed, sleep(5000, 'open', { ref: false })]), 'open');
    assert.ok(bytes < ROUNDS * MEGABYTE, `${bytes} bytes came`);
    await alive();
  });
}

for (const protocol of ['HTTP/1.1', 'HTTP/2'] as const) {
  test(`[A87] [A90] a state larger than the buffer of a watcher reaches it, ${protocol}`, async () => {
    const { client } = api.server;
    const count = 20;
    const keys = Array.from({ length: count }, (_, n) => ({
      namespace: 'kube-public',
      name: `large${n}`,
    }));
    for (const key of keys) {
      const object = { metadata: key, data: { a: 'x'.repeat(MEGABYTE) } };
      await client.create(resources.configmaps, object);
    }
    const path = '/api/v1/namespaces/kube-public/configmaps?watch=true&timeoutSeconds=1';
    const stream = await (protocol === 'HTTP/2' ? openOverHttp2(path) : openOverHttp1(path));
    let bytes = 0;
    stream.on('data', (chunk: Buffer) => (bytes += chunk.length));
    await once(stream, 'close');
    for (const key of keys) await client.delete(resources.configmaps, key);
    assert.ok(bytes > count * MEGABYTE, `${bytes} bytes came`);
  });
}

test('a local watch starts with more objects than it may lag', async () => {
  const { client } = api.server;
  const count = limits.localWatchEventsMax + 1;
  const names = Array.from({ length: count }, (_, n) => `many${n}`);
  const namespace = 'kube-public';
  await Promise.all(
    names.map((name) => client.create(resources.leases, { metadata: { name, namespace } })),
  );
  const abort = new AbortController();
  let seen = 0;
  for await (const _ of client.watch(resources.leases, { signal: abort.signal })) {
    seen += 1;
    if (seen === count) abort.abort();
  }
  assert.equal(seen, count);
});

async function openOverHttp1(path: string): Promise<Readable> {
  const request = httpsRequest(`${url}${path}`, { ...credentials, agent: false });
  request.on('error', () => undefined);
  request.end();
  const [answer] = (await once(request, 'response')) as [Readable];
  answer.on('error', () => undefined);
  return answer;
}

async function openOverHttp2(path: string): Promise<Readable> {
  const session = http2.connect(url, credentials);
  session.on('error', () => undefined);
  const stream = session.request({ ':path': path });
  stream.on('error', () => undefined);
  stream.on('close', () => session.destroy());
  await once(stream, 'response');
  return stream;
}

test('certificates are known again on a resumed TLS session', async () => {
  const { Agent } = await import('node:https');
  const agent = new Agent({ maxCachedSessions: 10 });
  const get = async () => {
    const request = httpsRequest(`${url}${MAPS}`, { ...credentials, agent });
    request.end();
    const [answer] = await once(request, 'response');
    answer.resume();
    await once(answer, 'end');
    return [
      answer.statusCode,
      (request.socket as unknown as { isSessionReused(): boolean }).isSessionReused(),
    ];
  };
  assert.deepEqual(await get(), [200, false]);
  await sleep(20);
  assert.deepEqual(await get(), [200, true]);
});

test('the client of the product lists, watches and writes over HTTP/2', async () => {
  using client = createHttpClient({ server: url, ...credentials });
  const abort = new AbortController();
  const metadata = { name: 'over-http2', namespace: 'default' };
  const seen: string[] = [];
  const following = (async () => {
    const options = {
      namespace: 'default',
      fieldSelector: 'metadata.name=over-http2',
      signal: abort.signal,
    };
    for await (const { type } of client.watch(resources.configmaps, options)) {
      seen.push(type);
      if (type === 'DELETED') abort.abort();
    }
  })();
  await client.create(resources.configmaps, { metadata });
  await client.patch(resources.configmaps, metadata, { data: { a: '1' } }, { type: 'merge' });
  await client.delete(resources.configmaps, metadata);
  await following.catch(() => undefined);
  assert.equal(seen.at(-1), 'DELETED');
});

test('[A135] administrators may be somebody else, others may not', async () => {
  const path = 'POST /apis/authentication.k8s.io/v1/selfsubjectreviews';
  const body = { apiVersion: 'authentication.k8s.io/v1', kind: 'SelfSubjectReview' };
  const headers = { 'impersonate-user': 'jane', 'impersonate-group': 'devs' };
  const who = await api.ask(path, { body, headers });
  assert.deepEqual(who.body.status.userInfo, {
    username: 'jane',
    groups: ['devs', 'system:authenticated'],
  });
  const node = issue(ca, { cn: 'system:node:n1', orgs: ['system:nodes'], usages: ['client'] });
  const refused = await api.ask(path, { body, headers, as: node });
  assert.equal(refused.code, 403);
  assert.match(refused.body.message, /cannot impersonate/);
});

test('[A140] events go after an hour without news', async () => {
  const at = (minutes: number) => new Date(Date.now() - minutes * 60_000).toISOString();
  const event = (name: string, minutes: number): Event => ({
    metadata: { name, namespace: 'default' },
    involvedObject: { kind: 'Pod', name: 'p', namespace: 'default' },
    reason: 'Test',
    type: 'Normal',
    lastTimestamp: at(minutes),
  });
  const { client } = api.server;
  await client.create(resources.events, event('old', 61));
  await client.create(resources.events, event('young', 59));
  const later = { ...systemClock, now: () => Date.now() + 59.5 * 60_000 };
  const allocator = new ServiceAllocator({
    serviceCidrs: [],
    nodePortRange: { first: 1, last: 1 },
  });
  const issueToken = () => Promise.reject(new Error('no tokens here'));
  await expireEvents({
    store: api.store,
    clock: later,
    allocator,
    issueToken,
    defaultTolerationSeconds: 0,
  });
  // Both were made just now: an event is as young as the latest of its times.
  assert.equal((await client.list(resources.events)).items.length, 2);
  const muchLater = { ...systemClock, now: () => Date.now() + 61 * 60_000 };
  await expireEvents({
    store: api.store,
    clock: muchLater,
    allocator,
    issueToken,
    defaultTolerationSeconds: 0,
  });
  assert.equal((await client.list(resources.events)).items.length, 0);
});

test('a port that is taken is named', async () => {
  const tls = { ...issue(ca, { cn: 's', ips: ['127.0.0.1'], usages: ['server'] }), ca: ca.cert };
  const port = Number(new URL(url).port);
  await assert.rejects(
    startApiServer({
      store: api.store,
      serviceCidrs: ['10.96.0.0/16'],
      listeners: [{ host: '127.0.0.1', port }],
      tls,
    }),
    {
      name: 'UserError',
      code: 'PORT_TAKEN',
      message: `Cannot listen on "127.0.0.1:${port}": the port is taken`,
    },
  );
});
