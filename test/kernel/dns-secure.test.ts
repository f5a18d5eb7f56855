/** DNS over TLS and HTTPS: listeners asked by kdig and curl, servers elsewhere asked by us. */
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createSecureServer, type Http2SecureServer, type ServerHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { createServer as createTls, type Server as TlsServer, type TLSSocket } from 'node:tls';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';

import * as packet from 'dns-packet';

import type { Client } from '../../src/client/client.ts';
import {
  ask,
  createNamespace,
  createService,
  frame,
  loopbackUp,
  startApi,
  startCorefile,
  texts,
  type Asked,
} from './dns-harness.ts';

const dir = mkdtempSync('/tmp/dns-secure-');
const path = (name: string) => join(dir, name);
let client: Client;

/** A CA, and a certificate of `dns.test` and 127.0.0.1. */
function makeCertificates(): void {
  const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: 'pipe' });
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'];
  openssl(
    'req',
    '-x509',
    ...key,
    '-subj',
    '/CN=test-ca',
    '-keyout',
    path('ca.key'),
    '-out',
    path('ca.crt'),
  );
  for (const name of ['server', 'client']) {
    openssl(
      'req',
      '-x509',
      ...key,
      '-CA',
      path('ca.crt'),
      '-CAkey',
      path('ca.key'),
      '-subj',
      `/CN=${name}`,
      '-addext',
      'subjectAltName=DNS:dns.test,IP:127.0.0.1',
      '-addext',
      'basicConstraints=critical,CA:FALSE',
      '-keyout',
      path(`${name}.key`),
      '-out',
      path(`${name}.crt`),
    );
  }
}

before(async () => {
  loopbackUp();
  makeCertificates();
  client = await startApi();
  await createNamespace(client, 'ns');
  const ports = [{ name: 'http', port: 80 }];
  await createService(client, { namespace: 'ns', name: 'web' }, { clusterIP: '10.96.0.4', ports });
});

after(() => rmSync(dir, { recursive: true }));

const web = 'web.ns.svc.cluster.local';

/** What a command prints; it must not be waited for in this thread, which answers it. */
async function run(command: string, ...args: string[]): Promise<string> {
  return (await promisify(execFile)(command, args)).stdout;
}

function start(key: string, more = '') {
  return startCorefile(
    client,
    `${key} {\n bind 127.0.0.1\n ${more}\n kubernetes cluster.local {\n ttl 30\n }\n}`,
  );
}

function tls(more = ''): string {
  return `tls ${path('server.crt')} ${path('server.key')} ${path('ca.crt')} {\n ${more}\n }`;
}

function kdig({ host, port }: Asked, ...args: string[]): Promise<string> {
  return run('kdig', `@${host}`, '-p', String(port), ...args);
}

const trusted = () => [`+tls-ca=${path('ca.crt')}`, '+tls-hostname=dns.test'];

test('[D77] DNS over TLS: kdig verifies the certificate and gets its answers, two on a connection', async () => {
  await using server = await start('tls://.:0', tls());
  const text = await kdig(server.at, ...trusted(), '+keepopen', web, 'A', web, 'AAAA');
  assert.match(text, /TLS session \(TLS1\.3\)/);
  assert.match(text, /web\.ns\.svc\.cluster\.local\.\s+30\s+IN\s+A\s+10\.96\.0\.4/);
  assert.match(text, /status: NOERROR[^]*status: NOERROR/);
  await assert.rejects(kdig(server.at, '+tls-ca', web, 'A', '+retry=0', '+timeout=2'));
});

test('DNS over TLS: a client certificate where one is wanted', async () => {
  await using server = await start('tls://.:0', tls('client_auth require_and_verify'));
  const own = [`+tls-certfile=${path('client.crt')}`, `+tls-keyfile=${path('client.key')}`];
  assert.match(await kdig(server.at, ...trusted(), ...own, web, 'A'), /10\.96\.0\.4/);
  await assert.rejects(kdig(server.at, ...trusted(), '+retry=0', '+timeout=2', web, 'A'));
});

for (const method of ['+https', '+https-get'] as const) {
  test(`DNS over HTTPS: kdig ${method}`, async () => {
    await using server = await start('https://.:0', tls());
    const text = await kdig(server.at, '+https', method, ...trusted(), web, 'A');
    assert.match(text, /HTTP session \(HTTP\/2-(POST|GET)\)/);
    assert.match(text, /status: NOERROR/);
    assert.match(text, /30\s+IN\s+A\s+10\.96\.0\.4/);
  });
}

test('DNS over HTTPS: curl finds a host by it, and reads the headers of RFC 8484', async () => {
  await using server = await start('https://.:0', tls());
  const url = `https://127.0.0.1:${server.at.port}/dns-query`;
  const { port } = server.at;
  // The name is looked up over HTTPS; that nothing listens at the address it has does not matter.
  const args = ['-sv', '--doh-insecure'];
  const found = promisify(execFile)('curl', [
    ...args,
    '--doh-url',
    url,
    '-m',
    '2',
    `http://${web}/`,
  ]);
  const { stderr } = (await found.catch((error: unknown) => error)) as { stderr: string };
  assert.match(stderr, /10\.96\.0\.4/);
  const query = packet.encode({ type: 'query', id: 0, questions: [{ type: 'A', name: web }] });
  const get = (...more: string[]) =>
    run('curl', '-s', '-D', '-', '-o', path('reply'), '--cacert', path('ca.crt'), ...more);
  const headers = await get(`${url}?dns=${query.toString('base64url')}`);
  assert.match(headers, /^HTTP\/2 200/);
  assert.match(headers, /content-type: application\/dns-message/);
  assert.match(headers, /cache-control: max-age=30\r/);
  assert.deepEqual(texts(packet.decode(readFileSync(path('reply'))).answers), [
    `${web}. 30 IN A 10.96.0.4`,
  ]);
  const status = async (...more: string[]) => (await get(...more)).split(/\s+/)[1];
  assert.equal(await status(`https://127.0.0.1:${port}/other`), '404');
  assert.equal(await status(url), '400');
  assert.equal(await status('-X', 'PUT', url), '405');
  assert.equal(await status('-d', 'x', url), '415');
  const big = [
    '--data-binary',
    `@${process.execPath}`,
    '-H',
    'content-type: application/dns-message',
  ];
  assert.equal(await status(...big, url).catch(() => '413'), '413');
  const broken = ['--data-binary', 'xx', '-H', 'content-type: application/dns-message'];
  assert.equal(await status('--http1.1', ...broken, url), '500');
});

test('one block over UDP, TCP, TLS and HTTPS at once', async () => {
  const text = `.:0 tls://.:0 https://.:0 {\n bind 127.0.0.1\n ${tls()}\n kubernetes cluster.local\n}`;
  await using server = await startCorefile(client, text);
  const [plain, dot, doh] = server.addresses as [Asked, Asked, Asked];
  assert.match(await kdig(plain, web, 'A'), /10\.96\.0\.4/);
  assert.match(await kdig(dot, ...trusted(), web, 'A'), /10\.96\.0\.4/);
  assert.match(await kdig(doh, '+https', ...trusted(), web, 'A'), /10\.96\.0\.4/);
});

/** Answers every question with one address, made by dns-packet. */
function replyTo(bytes: Buffer): Buffer {
  const query = packet.decode(bytes);
  const { name } = query.questions[0]!;
  return packet.encode({
    type: 'response',
    id: query.id,
    flags: packet.RECURSION_DESIRED,
    questions: query.questions,
    answers: [{ name, type: 'A', ttl: 300, data: '192.0.2.44' }],
  });
}

const pair = () => ({
  cert: readFileSync(path('server.crt')),
  key: readFileSync(path('server.key')),
});

async function listen(server: TlsServer | Http2SecureServer): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

/** Counts connections and remembers the name that was asked for. */
async function startTls() {
  const seen = { connections: 0, names: [] as unknown[], sockets: new Set<TLSSocket>() };
  const server = createTls(pair(), (socket) => {
    seen.connections += 1;
    seen.names.push(socket.servername);
    seen.sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => seen.sockets.delete(socket));
    socket.on('data', (chunk: Buffer) => socket.write(frame(replyTo(chunk.subarray(2)))));
  });
  const port = await listen(server);
  return {
    seen,
    port,
    close: () => (seen.sockets.forEach((socket) => socket.destroy()), server.close()),
  };
}

function forward(to: string, more: string) {
  return startCorefile(client, `.:0 {\n bind 127.0.0.1\n forward . ${to} {\n ${more}\n }\n}`);
}

async function said(at: Asked, name = 'www.example.com.'): Promise<string> {
  const reply = await ask(at, `${name} A`, { timeoutMs: 9000 });
  return reply.rcode === 'NOERROR' ? texts(reply.answers).join() : reply.rcode;
}

const found = 'www.example.com. 300 IN A 192.0.2.44';

test('forward over TLS: the certificate must fit, one connection serves many questions', async () => {
  const upstream = await startTls();
  const to = `tls://127.0.0.1:${upstream.port}`;
  await using server = await forward(to, `tls ${path('ca.crt')}\n tls_servername dns.test`);
  for (let turn = 0; turn < 5; turn += 1) assert.equal(await said(server.at), found);
  assert.equal(upstream.seen.connections, 1);
  assert.deepEqual(upstream.seen.names, ['dns.test']);
  // Closed by the other end, it is opened anew.
  for (const socket of upstream.seen.sockets) socket.destroy();
  assert.equal(await said(server.at), found);
  assert.equal(upstream.seen.connections, 2);
  await using other = await forward(to, `tls ${path('ca.crt')}\n tls_servername other.test`);
  assert.equal(await said(other.at), 'SERVFAIL');
  await using unknown = await forward(to, 'tls_servername dns.test');
  assert.equal(await said(unknown.at), 'SERVFAIL');
  await using named = await forward(
    to.replace(':' + upstream.port, '%dns.test:' + upstream.port),
    `tls ${path('ca.crt')}`,
  );
  assert.equal(await said(named.at), found);
  upstream.close();
});

for (const method of ['POST', 'GET'] as const) {
  test(`forward over HTTPS with ${method}: one session serves many questions`, async () => {
    let sessions = 0;
    const methods: (string | undefined)[] = [];
    const server = createSecureServer(pair());
    server.on('session', () => (sessions += 1));
    server.on('stream', (stream: ServerHttp2Stream, headers) => {
      methods.push(headers[':method']);
      const chunks: Buffer[] = [];
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('end', () => {
        const text = new URL(headers[':path']!, 'https://x').searchParams.get('dns');
        const query = text === null ? Buffer.concat(chunks) : Buffer.from(text, 'base64url');
        stream.respond({ ':status': 200, 'content-type': 'application/dns-message' });
        stream.end(replyTo(query));
      });
    });
    const port = await listen(server);
    await using dns = await forward(
      `https://127.0.0.1:${port}`,
      `tls ${path('ca.crt')}\n tls_servername dns.test\n doh_method ${method}`,
    );
    for (let turn = 0; turn < 3; turn += 1) assert.equal(await said(dns.at), found);
    assert.equal(sessions, 1);
    assert.deepEqual(methods, [method, method, method]);
    await dns.stop();
    server.close();
  });
}

test('forward over HTTPS: a server that never answers holds nothing after the time is up', async () => {
  const server = createSecureServer(pair());
  const streams: ServerHttp2Stream[] = [];
  server.on('stream', (stream: ServerHttp2Stream) => {
    streams.push(stream.on('error', () => undefined));
  });
  const port = await listen(server);
  const how = `tls ${path('ca.crt')}\n tls_servername dns.test\n max_fails 0`;
  await using dns = await forward(`https://127.0.0.1:${port}`, how);
  assert.equal(await said(dns.at), 'SERVFAIL');
  const deadline = Date.now() + 5000;
  while (streams.some(({ closed }) => !closed) && Date.now() < deadline) {
    await new Promise((done) => setTimeout(done, 20));
  }
  assert.ok(streams.length > 0);
  assert.ok(streams.every(({ closed }) => closed));
  await dns.stop();
  server.close();
});

test('our own listeners and our own forwarder understand each other', async () => {
  await using dot = await start('tls://.:0', tls());
  await using doh = await start('https://.:0', tls());
  const common = `tls ${path('ca.crt')}\n tls_servername dns.test`;
  await using overTls = await forward(`tls://127.0.0.1:${dot.at.port}`, common);
  await using overHttps = await forward(`https://127.0.0.1:${doh.at.port}`, common);
  for (const { at } of [overTls, overHttps])
    assert.equal(await said(at, `${web}.`), `${web}. 30 IN A 10.96.0.4`);
});
