/**
 * Names outside the cluster, asked as programs ask: by the resolvers of glibc and of musl, with the
 * resolv.conf that a pod gets. Five names are tried; the server upstream hears of one.
 */
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';

import type { Client } from '../../src/client/client.ts';
import {
  createNamespace,
  createService,
  loopbackUp,
  startApi,
  startServer,
  startUpstream,
} from './dns-harness.ts';

const directory = mkdtempSync(join(tmpdir(), 'fairlead-resolvers-'));
const resolvConf = join(directory, 'resolv.conf');
const program = join(directory, 'getaddrinfo');
const loader = '/lib/ld-musl-x86_64.so.1';
const musl = '/lib/x86_64-linux-musl/libc.so';

let client: Client;

before(loopbackUp);

before(async () => {
  writeFileSync(
    resolvConf,
    `nameserver 127.0.0.1
search ns.svc.cluster.local svc.cluster.local cluster.local
options ndots:5
`,
  );
  const source = join(import.meta.dirname, 'getaddrinfo.c');
  execFileSync('tcc', ['-nostdlib', '-o', program, source, musl]);
  client = await startApi();
  await createNamespace(client, 'ns');
  const ports = [{ name: 'http', port: 80, protocol: 'TCP' }];
  await createService(client, { namespace: 'ns', name: 'web' }, { clusterIP: '10.96.0.4', ports });
});

after(() => rmSync(directory, { recursive: true, force: true }));

const resolvers = [
  { name: 'glibc', command: (host: string) => ['getent', 'ahosts', host] },
  { name: 'musl', command: (host: string) => [loader, program, host] },
];

/** Addresses, each once, as the command prints them with /etc/resolv.conf replaced. */
async function addressesOf(command: readonly string[]): Promise<string[]> {
  const script = 'mount --bind "$1" /etc/resolv.conf && shift && exec "$@"';
  const args = ['--mount', '--propagation', 'private', 'sh', '-c', script, 'sh', resolvConf];
  const { stdout } = await promisify(execFile)('unshare', [...args, ...command]);
  const addresses = stdout.split('\n').map((line) => line.split(/\s/)[0]!);
  return [...new Set(addresses.filter((address) => address !== ''))];
}

for (const { name, command } of resolvers) {
  test(`a name outside costs one upstream query for each family, not five: ${name}`, async () => {
    const soa = { mname: 'ns.example', rname: 'admin.example', serial: 1, refresh: 1 };
    const more = { retry: 1, expire: 1, minimum: 60 };
    const upstream = await startUpstream(({ questions: [asked] }) =>
      asked!.type === 'A'
        ? { answers: [{ name: asked!.name, type: 'A', ttl: 60, data: '198.51.100.7' }] }
        : { authorities: [{ name: 'example', type: 'SOA', ttl: 60, data: { ...soa, ...more } }] },
    );
    await using server = await startServer({
      client,
      listen: [{ host: '127.0.0.1', port: 53 }],
      upstreams: [upstream.address],
    });
    await server.synced;
    for (let time = 0; time < 3; time += 1) {
      const addresses = await addressesOf(command('www.shop.example'));
      assert.deepEqual(addresses, ['198.51.100.7']);
    }
    assert.deepEqual(upstream.asked.toSorted(), ['www.shop.example A', 'www.shop.example AAAA']);
    // The short name of a Service is the cluster's own: upstream does not hear of it at all.
    assert.deepEqual(await addressesOf(command('web')), ['10.96.0.4']);
    assert.equal(upstream.asked.length, 2);
    upstream.close();
  });
}
