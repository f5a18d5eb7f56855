/** Who we are, in the ways of a kubeconfig: against the real API server, on loopback. */
import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { resources } from '../api/resources.ts';
import { ApiError } from '../api/status.ts';
import { createCa, issue } from '../apiserver/pki/certificates.ts';
import { startTestServer, type TestServer } from '../apiserver/test-server.ts';
import { createExecSource } from './exec-credentials.ts';
import { createHttpClient } from './http-client.ts';
import { loadKubeconfig } from './kubeconfig.ts';

const dir = mkdtempSync(join(tmpdir(), 'fairlead-identity-'));
let api: TestServer;
let token: string;

before(async () => {
  api = await startTestServer();
  await api.ask('POST /api/v1/namespaces', {
    body: { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } },
  });
  await api.ask('POST /api/v1/namespaces/shop/serviceaccounts', {
    body: { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'proxy' } },
  });
  token = await newToken();
});
after(async () => {
  await api.stop();
  rmSync(dir, { recursive: true });
});

async function newToken(): Promise<string> {
  const { body } = await api.ask('POST /api/v1/namespaces/shop/serviceaccounts/proxy/token', {
    body: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: {} },
  });
  assert(body.status.token, JSON.stringify(body));
  return body.status.token as string;
}

/** A kubeconfig with this cluster and user, as somebody else's tool writes it. */
function write(name: string, user: object, cluster: object = {}): string {
  const path = join(dir, name);
  writeFileSync(join(dir, 'ca.crt'), api.ca.cert);
  writeFileSync(
    path,
    JSON.stringify({
      'current-context': 'c',
      contexts: [{ name: 'c', context: { cluster: 'c', user: 'u' } }],
      clusters: [
        { name: 'c', cluster: { server: api.url, 'certificate-authority': 'ca.crt', ...cluster } },
      ],
      users: [{ name: 'u', user }],
    }),
  );
  return path;
}

/** A plug-in: a script beside the kubeconfig. */
function plugin(name: string, script: string): string {
  const path = join(dir, name);
  writeFileSync(path, `#!/bin/sh\n${script}\n`);
  chmodSync(path, 0o755);
  return path;
}

async function listWith(path: string): Promise<number> {
  using client = createHttpClient(await loadKubeconfig(path));
  return (await client.list(resources.namespaces)).items.length;
}

const version = 'client.authentication.k8s.io/v1';
const credential = (status: object) =>
  JSON.stringify({ apiVersion: version, kind: 'ExecCredential', status });

test('a token, and a file that holds one, named relative to the kubeconfig', async () => {
  assert(await listWith(write('token', { token })));
  writeFileSync(join(dir, 'sa-token'), `${token}\n`);
  assert(await listWith(write('token-file', { tokenFile: 'sa-token' })));
});

test('a token file is read again as soon as the server refuses what it held', async () => {
  writeFileSync(join(dir, 'rotating'), 'not.a.token');
  const path = write('rotating-config', { tokenFile: 'rotating' });
  using client = createHttpClient(await loadKubeconfig(path));
  const list = () => client.list(resources.namespaces);
  await assert.rejects(list(), (error: ApiError) => error.code === 401);
  writeFileSync(join(dir, 'rotating'), token);
  assert((await list()).items.length > 0);
});

test('certificate files are read again for a new connection', async () => {
  const stranger = issue(createCa('other'), {
    cn: 'admin',
    orgs: ['system:masters'],
    usages: ['client'],
  });
  const put = ({ cert, key }: { cert: string; key: string }) => {
    writeFileSync(join(dir, 'me.crt'), cert);
    writeFileSync(join(dir, 'me.key'), key);
  };
  put(stranger);
  const path = write('files', { 'client-certificate': 'me.crt', 'client-key': 'me.key' });
  await assert.rejects(listWith(path), (error: ApiError) => error.code === 403);
  using client = createHttpClient(await loadKubeconfig(path));
  put(api.admin);
  assert((await client.list(resources.namespaces)).items.length > 0);
});

test('insecure-skip-tls-verify believes any server, tls-server-name another name', async () => {
  const user = { token };
  const nobody = { 'certificate-authority': undefined };
  await assert.rejects(listWith(write('untrusted', user, nobody)), /API_UNREACHABLE|certificate/);
  assert(await listWith(write('insecure', user, { ...nobody, 'insecure-skip-tls-verify': true })));
  const named = write('named', user, { 'tls-server-name': 'not-the-server' });
  await assert.rejects(listWith(named), /not-the-server/);
});

test('an exec plug-in gives a token; it is told what it asks for, and run once', async () => {
  plugin(
    'give-token',
    `echo "$KUBERNETES_EXEC_INFO" > ${dir}/info; echo "$1 $ZONE" >> ${dir}/runs; cat ${dir}/answer`,
  );
  writeFileSync(join(dir, 'answer'), credential({ token }));
  const path = write('exec', {
    exec: {
      apiVersion: version,
      command: './give-token',
      args: ['--for=proxy'],
      env: [{ name: 'ZONE', value: 'a' }],
      provideClusterInfo: true,
      interactiveMode: 'Never',
    },
  });
  using client = createHttpClient(await loadKubeconfig(path));
  await Promise.all([client.list(resources.namespaces), client.list(resources.services)]);
  await client.list(resources.namespaces);
  assert.equal(readFileSync(join(dir, 'runs'), 'utf8'), '--for=proxy a\n');
  const info = JSON.parse(readFileSync(join(dir, 'info'), 'utf8')) as {
    spec: { interactive: boolean; cluster: { server: string } };
  };
  assert.equal(info.spec.interactive, false);
  assert.equal(info.spec.cluster.server, api.url);
});

test('an exec plug-in is run again when the server refuses what it gave', async () => {
  plugin('refused', `echo x >> ${dir}/refused-runs; cat ${dir}/refused-answer`);
  writeFileSync(join(dir, 'refused-answer'), credential({ token: 'not.a.token' }));
  const exec = { apiVersion: version, command: './refused' };
  using client = createHttpClient(await loadKubeconfig(write('refused-config', { exec })));
  await assert.rejects(client.list(resources.namespaces), (error: ApiError) => error.code === 401);
  writeFileSync(join(dir, 'refused-answer'), credential({ token }));
  assert((await client.list(resources.namespaces)).items.length > 0);
  assert.equal(readFileSync(join(dir, 'refused-runs'), 'utf8'), 'x\nx\n');
});

test('an exec plug-in gives a certificate', async () => {
  const { cert, key } = api.admin;
  const answer = credential({ clientCertificateData: cert, clientKeyData: key });
  writeFileSync(join(dir, 'cert-answer'), answer);
  plugin('give-cert', `cat ${dir}/cert-answer`);
  const exec = { apiVersion: version, command: './give-cert' };
  assert(await listWith(write('exec-cert', { exec })));
});

test('what an exec plug-in gave is used until shortly before its end', async () => {
  const counter = join(dir, 'expiring-runs');
  const end = '2026-01-01T00:10:00Z';
  writeFileSync(join(dir, 'expiring-answer'), credential({ token: 't', expirationTimestamp: end }));
  const command = plugin('expiring', `echo x >> ${counter}; cat ${dir}/expiring-answer`);
  let now = Date.parse('2026-01-01T00:00:00Z');
  const source = createExecSource({ apiVersion: version, command, args: [], env: {} }, () => now);
  const runs = () => (existsSync(counter) ? readFileSync(counter, 'utf8').length / 2 : 0);
  await source.current();
  now += 9 * 60_000;
  await source.current();
  assert.equal(runs(), 1);
  now += 55_000;
  assert.deepEqual(await source.current(), { token: 't' });
  assert.equal(runs(), 2);
});

const failures: { name: string; script: string; found: RegExp }[] = [
  {
    name: 'fails',
    script: 'echo "not logged in" >&2; exit 3',
    found: /: not logged in; install it from here$/,
  },
  { name: 'prints no JSON', script: 'echo hello', found: /it printed no JSON/ },
  {
    name: 'answers in another version',
    script: `echo '{"apiVersion":"client.authentication.k8s.io/v1beta1","kind":"ExecCredential"}'`,
    found: /it answered client\.authentication\.k8s\.io\/v1beta1 ExecCredential, not/,
  },
  {
    name: 'gives nothing',
    script: `echo '${credential({})}'`,
    found: /neither a token nor a certificate/,
  },
];

for (const { name, script, found } of failures) {
  test(`an exec plug-in that ${name} is told`, async () => {
    plugin('bad', script);
    const exec = { apiVersion: version, command: './bad', installHint: 'install it from here' };
    await assert.rejects(listWith(write('bad-config', { exec })), {
      code: 'EXEC_PLUGIN',
      message: found,
    });
  });
}

test('an exec plug-in that is not there is told', async () => {
  const exec = { apiVersion: version, command: 'no-such-plugin-of-anybody' };
  await assert.rejects(listWith(write('absent', { exec })), /ENOENT/);
});
