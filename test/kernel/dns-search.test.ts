/** The search list as glibc really walks it: what `getent` asks of a server of this test. */
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { createSocket, type Socket } from 'node:dgram';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import * as packet from 'dns-packet';

import { explainName } from '../../src/dns/explain/explain.ts';
import { resolverOf, type Status } from '../../src/dns/explain/expansion.ts';
import type { Step } from '../../src/dns/explain/trace.ts';
import { loopbackUp } from './dns-harness.ts';

const searches = ['shop.svc.cluster.local', 'svc.cluster.local', 'cluster.local'];
let folder: string;
let server: Socket;
let asked: string[] = [];
let known: Record<string, Status> = {};

before(async () => {
  loopbackUp();
  folder = mkdtempSync(join(tmpdir(), 'fairlead-search-'));
  const file = join(folder, 'resolv.conf');
  writeFileSync(file, '');
  // In the mount namespace of this test file only (tools/test.ts).
  execFileSync('mount', ['--bind', file, '/etc/resolv.conf']);
  server = createSocket('udp4');
  server.on('message', (bytes, from) => {
    const query = packet.decode(bytes);
    const { id, questions } = query;
    const { name, type } = questions[0]!;
    if (!asked.includes(`${name}.`)) asked.push(`${name}.`);
    const status = known[`${name}.`] ?? 'missing';
    const rcode = { missing: 3, failed: 2, empty: 0, answered: 0 }[status];
    const answers =
      status === 'answered' && type === 'A' ? [{ name, type, ttl: 1, data: '192.0.2.1' }] : [];
    const reply = { type: 'response', id, questions, flags: 0x180 | rcode, answers } as const;
    server.send(packet.encode(reply), from.port, from.address);
  });
  await new Promise<void>((resolve) => server.bind(53, '127.0.0.1', resolve));
});

after(() => {
  server.close();
  execFileSync('umount', ['/etc/resolv.conf']);
  rmSync(folder, { recursive: true, force: true });
});

function useResolvConf(ndots: number): void {
  const text = `nameserver 127.0.0.1\nsearch ${searches.join(' ')}\noptions ndots:${ndots} attempts:1\n`;
  writeFileSync(join(folder, 'resolv.conf'), text);
}

/** Loopback is all there is, which AI_ADDRCONFIG counts as no network (-A). */
function getent(name: string): Promise<void> {
  return new Promise((resolve) => {
    execFile('getent', ['-A', '-s', 'hosts:dns', 'ahostsv4', name], () => resolve());
  });
}

const cases: [name: string, ndots: number, known: Record<string, Status>][] = [
  ['web', 5, {}],
  ['web', 5, { 'web.svc.cluster.local.': 'answered' }],
  ['web', 5, { 'web.shop.svc.cluster.local.': 'empty', 'web.cluster.local.': 'answered' }],
  ['web.', 5, {}],
  ['www.example.com', 5, { 'www.example.com.': 'answered' }],
  ['www.example.com', 2, { 'www.example.com.': 'answered' }],
  ['www.example.com', 2, {}],
  ['a.b', 1, { 'a.b.svc.cluster.local.': 'answered' }],
  ['a.b', 2, {}],
];

for (const [name, ndots, given] of cases) {
  const what = Object.entries(given).map((entry) => entry.join(' '));
  test(`"${name}", ndots:${ndots}, ${what.join(', ') || 'nothing known'}`, async () => {
    known = given;
    asked = [];
    useResolvConf(ndots);
    await getent(name);
    const resolver = resolverOf({ nameservers: [], searches, options: [`ndots:${ndots}`] });
    const explanation = await explainName(name, resolver, async (full): Promise<Step[]> => [
      {
        name: full,
        type: 'A',
        status: given[full] ?? 'missing',
        rcode: '',
        records: [],
        sources: [],
      },
    ]);
    assert.deepEqual(explanation.walks.find(({ libc }) => libc === 'glibc')!.asked, asked);
  });
}
