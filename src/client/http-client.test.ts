/** The HTTPS client against the real API server, on loopback. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, writeFileSync } from 'node:fs';
import http2 from 'node:http2';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { resources } from '../api/resources.ts';
import { ApiError, isReason } from '../api/status.ts';
import type { ConfigMap } from '../api/types.ts';
import { createCa, createSigningKey, issue } from '../apiserver/pki/certificates.ts';
import { kubeconfigText } from '../apiserver/pki/kubeconfig.ts';
import { startApiServer, type ApiServer } from '../apiserver/server.ts';
import { WorldError } from '../lib/errors.ts';
import { createMemoryStore } from '../store/store.ts';
import { createHttpClient, pathOf, type HttpClient } from './http-client.ts';
import { Informer } from './informer.ts';
import { loadInCluster, loadKubeconfig } from './kubeconfig.ts';

const ca = createCa();
const serving = issue(ca, { cn: 'kube-apiserver', ips: ['127.0.0.1'], usages: ['server'] });
const admin = issue(ca, { cn: 'admin', orgs: ['system:masters'], usages: ['client'] });
const store = createMemoryStore();
const namespace = 'default';
let server: ApiServer;
let port = 0;
let client: HttpClient;

async function listen(): Promise<void> {
  server = await startApiServer({
    store,
    serviceCidrs: ['10.96.0.0/16'],
    listeners: [{ host: '127.0.0.1', port }],
    tls: { ...serving, ca: ca.cert },
    serviceAccountKey: createSigningKey(),
  });
  port = server.addresses[0]!.port;
}

before(async () => {
  await listen();
  client = createHttpClient({ server: `https://127.0.0.1:${port}`, ca: ca.cert, ...admin });
});
after(async () => {
  client.close();
  await server.close();
});

const config = (name: string, data: Record<string, string> = {}): ConfigMap => ({
  metadata: { name, namespace },
  data,
});

const paths: { name: string; path: string; want: string }[] = [
  { name: 'core list', path: pathOf(resources.pods, {}), want: '/api/v1/pods' },
  {
    name: 'core object',
    path: pathOf(resources.pods, { namespace, name: 'a' }),
    want: '/api/v1/namespaces/default/pods/a',
  },
  { name: 'cluster-scoped', path: pathOf(resources.nodes, { name: 'n' }), want: '/api/v1/nodes/n' },
  {
    name: 'group and subresource',
    path: pathOf(resources.deployments, { namespace, name: 'a' }, 'status'),
    want: '/apis/apps/v1/namespaces/default/deployments/a/status',
  },
];
for (const { name, path, want } of paths)
  test(`[A4] path: ${name}`, () => assert.equal(path, want));

test('create, get, update, patch and delete', async () => {
  const key = { namespace, name: 'one' };
  const made = await client.create(resources.configmaps, config('one', { a: '1' }));
  assert.equal(made.data?.a, '1');
  const next = await client.update(resources.configmaps, { ...made, data: { a: '2' } });
  assert.notEqual(next.metadata.resourceVersion, made.metadata.resourceVersion);
  const patch = { data: { b: '3' } };
  await client.patch(resources.configmaps, key, patch, { type: 'merge' });
  assert.deepEqual((await client.get<ConfigMap>(resources.configmaps, key)).data, {
    a: '2',
    b: '3',
  });
  await client.delete(resources.configmaps, key);
  await assert.rejects(client.get(resources.configmaps, key), (e) => isReason(e, 'NotFound'));
});

test('[A66] a refusal arrives as the Status it is', async () => {
  const made = await client.create(resources.configmaps, config('conflict'));
  await client.update(resources.configmaps, { ...made, data: { a: '1' } });
  const stale = client.update(resources.configmaps, { ...made, data: { a: '2' } });
  await assert.rejects(stale, (error) => error instanceof ApiError && error.code === 409);
  const again = client.create(resources.configmaps, config('conflict'));
  await assert.rejects(again, (error) => isReason(error, 'AlreadyExists'));
});

test('a long list comes page by page', async () => {
  for (let index = 0; index < 1100; index += 1) {
    await server.client.create(resources.configmaps, config(`page-${index}`));
  }
  const { items } = await client.list(resources.configmaps, { namespace });
  assert.equal(items.filter((item) => item.metadata.name.startsWith('page-')).length, 1100);
});

test('a list whose pages expire, so much changes meanwhile, comes in one piece', async () => {
  const asked: string[] = [];
  const edge = http2.createSecureServer(serving);
  edge.on('stream', (stream: http2.ServerHttp2Stream, headers) => {
    const query = new URL(headers[':path'] ?? '', 'https://edge').searchParams;
    asked.push(query.has('continue') ? 'next' : query.has('limit') ? 'page' : 'all');
    stream.respond({ ':status': query.has('continue') ? 410 : 200 });
    if (query.has('continue')) {
      const status = { kind: 'Status', status: 'Failure', code: 410, reason: 'Expired' };
      stream.end(JSON.stringify({ ...status, message: 'the token is too old' }));
      return;
    }
    const metadata = { resourceVersion: '7', ...(query.has('limit') ? { continue: 'x' } : {}) };
    stream.end(JSON.stringify({ metadata, items: [config('a'), config('b')] }));
  });
  await once(edge.listen(0, '127.0.0.1'), 'listening');
  const { port: edgePort } = edge.address() as AddressInfo;
  using told = createHttpClient({ server: `https://127.0.0.1:${edgePort}`, ca: ca.cert });
  const { items, resourceVersion } = await told.list<ConfigMap>(resources.configmaps);
  assert.deepEqual(asked, ['page', 'next', 'all']);
  assert.deepEqual(
    [items.map(({ metadata }) => metadata.name), resourceVersion],
    [['a', 'b'], '7'],
  );
  edge.close();
});

test('a watch tells changes after its version, and ends with its signal', async () => {
  const { resourceVersion } = await client.list(resources.configmaps);
  const abort = new AbortController();
  const seen: string[] = [];
  const events = client.watch(resources.configmaps, { resourceVersion, signal: abort.signal });
  void server.client.create(resources.configmaps, config('seen', { text: 'ü\n'.repeat(50_000) }));
  for await (const { type, object } of events) {
    if (type === 'BOOKMARK') continue;
    seen.push(`${type} ${object.metadata.name}`);
    if (seen.length === 1)
      void server.client.delete(resources.configmaps, { namespace, name: 'seen' });
    else abort.abort();
  }
  assert.deepEqual(seen, ['ADDED seen', 'DELETED seen']);
});

test('an error inside a watch is thrown as the refusal it is', async () => {
  const status = {
    kind: 'Status',
    status: 'Failure',
    code: 410,
    reason: 'Expired',
    message: 'old',
  };
  const edge = http2.createSecureServer(serving);
  edge.on('stream', (stream: http2.ServerHttp2Stream) => {
    stream.respond({ ':status': 200 });
    stream.end(`${JSON.stringify({ type: 'ERROR', object: status })}\n`);
  });
  await once(edge.listen(0, '127.0.0.1'), 'listening');
  const { port: edgePort } = edge.address() as AddressInfo;
  using told = createHttpClient({ server: `https://127.0.0.1:${edgePort}`, ca: ca.cert });
  const events = told.watch(resources.pods, { signal: AbortSignal.timeout(2000) });
  const first = events[Symbol.asyncIterator]().next();
  await assert.rejects(first, (error) => isReason(error, 'Expired') && error.code === 410);
  edge.close();
});

test('a server that is not there', async () => {
  using nobody = createHttpClient({ server: 'https://127.0.0.1:1', ca: ca.cert });
  await assert.rejects(
    nobody.list(resources.pods),
    (error) =>
      error instanceof WorldError &&
      error.code === 'API_UNREACHABLE' &&
      error.message.startsWith('Cannot reach API server "https://127.0.0.1:1": '),
  );
});

test('a server with a certificate of another authority is not believed', async () => {
  const other = createCa('other');
  using wary = createHttpClient({ server: `https://127.0.0.1:${port}`, ca: other.cert });
  await assert.rejects(wary.list(resources.pods), (error) => error instanceof WorldError);
});

test('without credentials only health is answered', async () => {
  using anonymous = createHttpClient({ server: `https://127.0.0.1:${port}`, ca: ca.cert });
  await assert.rejects(
    anonymous.list(resources.pods),
    (error) => error instanceof ApiError && (error.code === 401 || error.code === 403),
  );
});

test('an informer outlives its server', async () => {
  using informer = new Informer<ConfigMap>({ client, resource: resources.configmaps }).start();
  await informer.synced;
  await server.close();
  await listen();
  await server.client.create(resources.configmaps, config('later'));
  const deadline = Date.now() + 3000;
  while (informer.get({ namespace, name: 'later' }) === undefined) {
    assert.ok(Date.now() < deadline, 'the new object never came');
    await new Promise((resolve) => {
      setTimeout(resolve, 5);
    });
  }
});

test('a kubeconfig leads to the server', async () => {
  const file = join(mkdtempSync(join(tmpdir(), 'kubeconfig-')), 'config');
  const address = `https://127.0.0.1:${port}`;
  writeFileSync(file, kubeconfigText({ name: 'lab', server: address, ca: ca.cert, client: admin }));
  using loaded = createHttpClient(await loadKubeconfig(file));
  assert.ok((await loaded.list(resources.namespaces)).items.length > 0);
  await assert.rejects(loadKubeconfig(file, 'nope'), {
    code: 'BAD_KUBECONFIG',
    message: `Cannot use kubeconfig "${file}": it has no context "nope"`,
    hint: 'Its contexts are: lab',
  });
});

test('a pod finds the server and its token', async () => {
  await server.client
    .create(resources.serviceaccounts, { metadata: { name: 'default', namespace } })
    .catch(() => undefined);
  const key = { namespace, name: 'default' };
  const body = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: {} };
  const request = await client.post<{ status: { token: string } }>(
    resources.serviceaccounts,
    key,
    'token',
    body,
  );
  const dir = mkdtempSync(join(tmpdir(), 'identity-'));
  writeFileSync(join(dir, 'token'), request.status.token);
  writeFileSync(join(dir, 'ca.crt'), ca.cert);
  writeFileSync(join(dir, 'namespace'), 'shop');
  const env = { KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: String(port) };
  const identity = loadInCluster(env, dir);
  assert.equal(identity.namespace, 'shop');
  using pod = createHttpClient(identity);
  assert.ok((await pod.list(resources.namespaces)).items.length > 0);
});

const badFiles: { name: string; text: string; found: RegExp }[] = [
  { name: 'not YAML', text: 'a: [', found: /^Cannot use kubeconfig ".*": / },
  { name: 'a list', text: '- a', found: /it has no context ""$/ },
  { name: 'a scalar', text: 'x', found: /it is not a YAML mapping$/ },
  { name: 'no contexts', text: 'current-context: a', found: /it has no context "a"$/ },
  {
    name: 'no cluster',
    text: '{current-context: a, contexts: [{name: a, context: {cluster: c}}]}',
    found: /it has no cluster "c" with a server$/,
  },
  {
    name: 'no such user',
    text: '{current-context: a, contexts: [{name: a, context: {cluster: c, user: u}}], clusters: [{name: c, cluster: {server: "https://x"}}]}',
    found: /it has no user "u"$/,
  },
  {
    name: 'a plug-in of no version',
    text: '{current-context: a, contexts: [{name: a, context: {cluster: c, user: u}}], clusters: [{name: c, cluster: {server: "https://x"}}], users: [{name: u, user: {exec: {}}}]}',
    found: /its exec plug-in has the apiVersion ""$/,
  },
  {
    name: 'a plug-in without a command',
    text: '{current-context: a, contexts: [{name: a, context: {cluster: c, user: u}}], clusters: [{name: c, cluster: {server: "https://x"}}], users: [{name: u, user: {exec: {apiVersion: client.authentication.k8s.io/v1}}}]}',
    found: /its exec plug-in names no command$/,
  },
  {
    name: 'an auth-provider',
    text: '{current-context: a, contexts: [{name: a, context: {cluster: c, user: u}}], clusters: [{name: c, cluster: {server: "https://x"}}], users: [{name: u, user: {auth-provider: {name: gcp}}}]}',
    found: /user "u" has an auth-provider, which Kubernetes no longer has$/,
  },
];
for (const { name, text, found } of badFiles) {
  test(`a bad kubeconfig: ${name}`, async () => {
    const file = join(mkdtempSync(join(tmpdir(), 'kubeconfig-')), 'config');
    writeFileSync(file, text);
    await assert.rejects(loadKubeconfig(file), { code: 'BAD_KUBECONFIG', message: found });
  });
}
