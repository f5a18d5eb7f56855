/** Directives of a Corefile that change, add or log answers, each through the real server. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';

import * as packet from 'dns-packet';

import { resources } from '../../src/api/resources.ts';
import type { KubeObject } from '../../src/api/meta.ts';
import type { Client } from '../../src/client/client.ts';
import type { DnsCounters } from '../../src/dns/counters.ts';
import { parseSearchList } from '../../src/dns/upstream/servers.ts';
import {
  ask,
  createNamespace,
  createService,
  createSlice,
  dig,
  exchange,
  loopbackUp,
  object,
  question,
  startApi,
  startCorefile,
  startUpstream,
  texts,
  type Asked,
  type Reply,
  type Upstream,
} from './dns-harness.ts';

const http = { name: 'http', port: 80, protocol: 'TCP' };
const { RECURSION_DESIRED: RD } = packet;

let client: Client;
let upstream: Upstream;
const dir = mkdtempSync('/tmp/dns-plugins-');

const soa = {
  type: 'SOA',
  ttl: 60,
  data: {
    mname: 'ns.example.com',
    rname: 'admin.example.com',
    serial: 1,
    refresh: 1,
    retry: 1,
    expire: 1,
    minimum: 7,
  },
};

/** `*.example.com` and `api.consul` have addresses, `alias` is an alias, the rest is not there. */
function world(query: Reply): packet.Packet | undefined {
  const [{ name: asked, type }] = query.questions as [{ name: string; type: string }];
  const name = asked.toLowerCase();
  const a = (owner: string, data: string) => ({ name: owner, type: 'A', ttl: 300, data });
  const gone = { flags: RD | 3, authorities: [{ name: 'example.com', ...soa }] };
  if (name.toLowerCase() === 'silent.example.com') return undefined;
  if (name === 'alias.example.com') {
    const cname = { name, type: 'CNAME', ttl: 300, data: 'one.example.com' };
    return { flags: RD, answers: [cname, a('one.example.com', '192.0.2.1')] };
  }
  if (type === 'SRV') {
    const data = { priority: 0, weight: 1, port: 80, target: 'one.service.consul' };
    return { flags: RD, answers: [{ name, type: 'SRV', ttl: 300, data }] };
  }
  if (type !== 'A') return { flags: RD, authorities: [{ name: 'example.com', ...soa }] };
  if (name.endsWith('example.com')) return { flags: RD, answers: [a(name, '192.0.2.80')] };
  if (name.endsWith('.consul')) return { flags: RD, answers: [a(name, '192.0.2.81')] };
  return gone;
}

before(async () => {
  loopbackUp();
  client = await startApi();
  for (const name of ['shop', 'other']) {
    await createNamespace(client, name);
    await createService(
      client,
      { namespace: name, name: 'web' },
      { clusterIP: name === 'shop' ? '10.96.0.1' : '10.96.0.2', ports: [http] },
    );
  }
  await createService(
    client,
    { namespace: 'shop', name: 'many' },
    { clusterIP: 'None', ports: [http] },
  );
  const endpoints = ['10.244.1.1', '10.244.2.1', '10.244.2.2', '10.244.3.1'];
  await createSlice(client, { namespace: 'shop', name: 'many' }, { endpoints });
  upstream = await startUpstream(world);
});

after(() => {
  upstream.close();
  rmSync(dir, { recursive: true });
});

const kubernetes = `kubernetes cluster.local in-addr.arpa ip6.arpa {
  pods verified
  ttl 30
  fallthrough in-addr.arpa ip6.arpa
}`;

/** A server with these directives beside `kubernetes` and `forward`. */
function start(directives: string, more: Parameters<typeof startCorefile>[2] = {}) {
  const text = `.:0 {\n bind 127.0.0.1\n ${kubernetes}\n forward . ${upstream.address}\n${directives}\n}`;
  return startCorefile(client, text, more);
}

async function said(at: Asked, text: string): Promise<string> {
  const reply = await ask(at, text);
  const records = texts(reply.answers).join(' | ');
  return reply.rcode === 'NOERROR' ? records : `${reply.rcode} ${records}`.trim();
}

test('hosts: the file, lines of the Corefile, both families, names of addresses', async () => {
  const file = join(dir, 'NodeHosts');
  writeFileSync(
    file,
    '10.0.0.1 node-1 Node-1.lan # the first\nfd00::1 node-1\n10.0.0.2 *.wild.lan\n',
  );
  await using server = await start(`hosts ${file} {
    10.0.0.3 inline.lan
    ttl 60
    reload 50ms
    fallthrough
  }`);
  assert.equal(await said(server.at, 'node-1. A'), 'node-1. 60 IN A 10.0.0.1');
  assert.equal(await said(server.at, 'NODE-1.lan. A'), 'NODE-1.lan. 60 IN A 10.0.0.1');
  assert.equal(await said(server.at, 'node-1. AAAA'), 'node-1. 60 IN AAAA fd00::1');
  assert.equal(await said(server.at, 'node-1.lan. AAAA'), '');
  assert.equal(await said(server.at, 'x.wild.lan. A'), 'x.wild.lan. 60 IN A 10.0.0.2');
  assert.equal(await said(server.at, 'inline.lan. A'), 'inline.lan. 60 IN A 10.0.0.3');
  assert.equal(
    await said(server.at, '1.0.0.10.in-addr.arpa. PTR'),
    '1.0.0.10.in-addr.arpa. 60 IN PTR node-1. | 1.0.0.10.in-addr.arpa. 60 IN PTR node-1.lan.',
  );
  const [reply] = [await ask(server.at, 'node-1. A')];
  assert.deepEqual([reply.flag_aa, reply.flag_ra], [true, false]);
  // The rest goes on to the cluster and to upstream.
  assert.equal(
    await said(server.at, 'web.shop.svc.cluster.local. A'),
    'web.shop.svc.cluster.local. 30 IN A 10.96.0.1',
  );
  assert.match(await said(server.at, 'www.example.com. A'), /192\.0\.2\.80/);
  assert.equal(
    await said(server.at, '1.0.96.10.in-addr.arpa. PTR'),
    '1.0.96.10.in-addr.arpa. 30 IN PTR web.shop.svc.cluster.local.',
  );
});

test('hosts: a changed file counts, before the cluster as after it', async () => {
  const file = join(dir, 'hosts');
  writeFileSync(file, '10.0.0.1 a.lan\n');
  await using server = await start(`hosts ${file} {\n reload 20ms\n fallthrough\n }`);
  const name = 'web.shop.svc.cluster.local.';
  for (let turn = 0; turn < 2; turn += 1)
    assert.match(await said(server.at, `${name} A`), /10\.96\.0\.1/);
  writeFileSync(file, `10.0.0.7 a.lan ${name}\n`);
  const deadline = Date.now() + 5000;
  while (!(await said(server.at, 'a.lan. A')).includes('10.0.0.7') && Date.now() < deadline);
  assert.match(await said(server.at, 'a.lan. A'), /10\.0\.0\.7/);
  assert.match(await said(server.at, `${name} A`), /10\.0\.0\.7/);
});

test('hosts: a file that cannot be read leaves what was known', async () => {
  const file = join(dir, 'hosts-loop');
  writeFileSync(file, '10.0.0.1 a.lan\n');
  await using server = await start(`hosts ${file} {\n reload 20ms\n }`);
  rmSync(file);
  symlinkSync(file, file);
  await new Promise((done) => setTimeout(done, 100));
  assert.match(await said(server.at, 'a.lan. A'), /10\.0\.0\.1/);
  rmSync(file);
  writeFileSync(file, '10.0.0.2 a.lan\n');
  const deadline = Date.now() + 5000;
  while (!(await said(server.at, 'a.lan. A')).includes('10.0.0.2') && Date.now() < deadline);
  assert.match(await said(server.at, 'a.lan. A'), /10\.0\.0\.2/);
});

test('hosts: without fallthrough a name of its zones that is not there fails', async () => {
  await using server = await start(`hosts /nowhere lan {\n 10.0.0.3 inline.lan\n no_reverse\n }`);
  assert.equal(await said(server.at, 'gone.lan. A'), 'SERVFAIL');
  assert.match(await said(server.at, 'www.example.com. A'), /192\.0\.2\.80/);
  assert.equal(await said(server.at, '3.0.0.10.in-addr.arpa. PTR'), '');
});

/** A rule, a question, and the records that come back. */
const rewrites: [rule: string, question: string, want: string][] = [
  ['name api.lan www.example.com', 'API.lan. A', 'api.lan. 300 IN A 192.0.2.80'],
  ['name exact api.lan www.example.com', 'x.api.lan. A', 'NXDOMAIN'],
  ['name suffix .lan .example.com answer auto', 'x.y.lan. A', 'x.y.lan. 300 IN A 192.0.2.80'],
  ['name suffix .lan. .example.com.', 'x.lan. A', 'x.example.com. 300 IN A 192.0.2.80'],
  [
    'name prefix old- new. answer auto',
    'old-x.example.com. A',
    'old-x.example.com. 300 IN A 192.0.2.80',
  ],
  [
    'name substring .west.lan. .example.com.',
    'x.west.lan. A',
    'x.example.com. 300 IN A 192.0.2.80',
  ],
  [
    String.raw`name regex (.*)-(west)\.lan {1}.{2}.consul`,
    'ftp-west.lan. A',
    'ftp.west.consul. 300 IN A 192.0.2.81',
  ],
  [
    String.raw`stop {
      name regex (.*)-(west)\.lan\. {1}.{2}.consul
      answer name (.*)\.(west)\.consul\. {1}-{2}.lan
    }`,
    'ftp-west.lan. A',
    'ftp-west.lan. 300 IN A 192.0.2.81',
  ],
  [
    String.raw`name suffix .lan .consul answer auto answer value (.*)\.service\.consul\. {1}.lan`,
    'x.lan. SRV',
    'x.lan. 300 IN SRV 0 1 80 one.lan.',
  ],
  ['type AAAA A', 'www.example.com. AAAA', 'www.example.com. 300 IN A 192.0.2.80'],
  ['class CH IN', 'www.example.com. A CH', 'www.example.com. 300 IN A 192.0.2.80'],
  ['ttl www.example.com 15', 'www.example.com. A', 'www.example.com. 15 IN A 192.0.2.80'],
  ['ttl suffix .example.com. -60', 'www.example.com. A', 'www.example.com. 60 IN A 192.0.2.80'],
  [
    String.raw`ttl regex (.*)\.com 400-500`,
    'www.example.com. A',
    'www.example.com. 400 IN A 192.0.2.80',
  ],
  ['ttl exact other.example.com 15', 'www.example.com. A', 'www.example.com. 300 IN A 192.0.2.80'],
  ['rcode suffix .test. NXDOMAIN SERVFAIL', 'gone.test. A', 'SERVFAIL'],
  ['name api.lan web.shop.svc.cluster.local', 'api.lan. A', 'api.lan. 30 IN A 10.96.0.1'],
  [
    'cname exact one.example.com. web.shop.svc.cluster.local.',
    'alias.example.com. A',
    'alias.example.com. 300 IN CNAME web.shop.svc.cluster.local. | web.shop.svc.cluster.local. 30 IN A 10.96.0.1',
  ],
  [
    'continue name a.lan b.lan\n rewrite name b.lan www.example.com',
    'a.lan. A',
    'a.lan. 300 IN A 192.0.2.80',
  ],
  ['name a.lan b.lan\n rewrite name b.lan www.example.com', 'a.lan. A', 'NXDOMAIN'],
];

for (const [rule, text, want] of rewrites) {
  test(`rewrite ${rule.replaceAll(/\s+/g, ' ')}: ${text}`, async () => {
    await using server = await start(` rewrite ${rule}`);
    assert.equal(await said(server.at, text), want);
    const [asked] = (await ask(server.at, text)).questions;
    assert.equal(`${asked!.name}.`, text.split(' ')[0], 'the question comes back as it was');
  });
}

/** A template, a question and what comes back. */
const templates: [template: string, question: string, want: string][] = [
  ['IN AAAA {\n rcode NOERROR\n }', 'www.example.com. AAAA', ''],
  ['IN AAAA {\n rcode NOERROR\n }', 'www.example.com. A', 'www.example.com. 300 IN A 192.0.2.80'],
  ['ANY ANY lan {\n rcode NXDOMAIN\n }', 'x.lan. TXT', 'NXDOMAIN'],
  [
    String.raw`IN A lan {
      match (^|[.])ip-(?P<a>[0-9]*)-(?P<b>[0-9]*)-(?P<c>[0-9]*)-(?P<d>[0-9]*)[.]lan[.]$
      answer "{{ .Name }} 60 IN A {{ .Group.a }}.{{ .Group.b }}.{{ .Group.c }}.{{ .Group.d }}"
      fallthrough
    }`,
    'ip-10-1-2-3.lan. A',
    'ip-10-1-2-3.lan. 60 IN A 10.1.2.3',
  ],
  [
    String.raw`IN A lan {
      match "^ip0a(?P<b>[a-f0-9]{2})(?P<c>[a-f0-9]{2})(?P<d>[a-f0-9]{2})[.]lan[.]$"
      answer "{{ .Name }} 60 IN A 10.{{ parseInt .Group.b 16 8 }}.{{ parseInt .Group.c 16 8 }}.{{ parseInt .Group.d 16 8 }}"
    }`,
    'ip0a0fff10.lan. A',
    'ip0a0fff10.lan. 60 IN A 10.15.255.16',
  ],
  [
    String.raw`IN A lan {
      match (.*)[.]lan[.]
      answer "{{ .Name }} 60 {{ .Class }} CNAME {{ index .Match 1 }}.example.com."
    }`,
    'x.lan. A',
    'x.lan. 60 IN CNAME x.example.com. | x.example.com. 300 IN A 192.0.2.80',
  ],
  [
    'IN MX lan {\n answer "lan 60 IN MX 10 mail.{{ .Zone }}"\n additional "mail.lan 60 IN A 10.0.0.9"\n }',
    'lan. MX',
    'lan. 60 IN MX 10 mail.lan.',
  ],
  [
    'IN TXT lan {\n answer "{{ .Name }} 5 IN TXT \\"you are {{ .Remote }}\\""\n }',
    'lan. TXT',
    'lan. 5 IN TXT "you are 127.0.0.1"',
  ],
  ['IN A lan {\n match ^a\n answer "{{ .Name }} 60 IN A 10.0.0.1"\n }', 'b.lan. A', 'SERVFAIL'],
  ['IN A lan {\n match ^a\n fallthrough\n }', 'b.lan. A', 'NXDOMAIN'],
  ['IN A lan {\n answer "{{ .Name }} 60 IN A {{ .Type }}"\n }', 'b.lan. A', 'SERVFAIL'],
];

test('aliases that lead in a circle end, whoever makes them', async () => {
  const spec = { type: 'ExternalName', externalName: 'round.lan' };
  await createService(client, { namespace: 'shop', name: 'round' }, spec);
  const target = 'round.shop.svc.cluster.local';
  for (const directive of [
    `template IN A lan {\n answer "{{ .Name }} 60 IN CNAME ${target}."\n }`,
    `rewrite name round.lan ${target}`,
  ]) {
    await using server = await start(directive);
    for (const name of ['round.lan.', `${target}.`]) {
      const reply = await ask(server.at, `${name} A`);
      assert.ok(reply.answers.length <= 22, `${reply.answers.length} records`);
      assert.ok(reply.answers.every(({ type }) => type === 'CNAME'));
    }
    assert.equal(server.counters.panics, 0);
    assert.match(await said(server.at, 'www.example.com. A'), /192\.0\.2\.80/);
  }
});

for (const [template, text, want] of templates) {
  test(`template ${template.replaceAll(/\s+/g, ' ')}: ${text}`, async () => {
    await using server = await start(` template ${template}`);
    assert.equal(await said(server.at, text), want);
  });
}

test('template: a denial with its SOA and an extended error, as dig reads them', async () => {
  await using server = await start(`template ANY ANY invalid {
    rcode NXDOMAIN
    authority "invalid. 60 {{ .Class }} SOA ns.invalid. hostmaster.invalid. (1 60 60 60 60)"
    ederror 21 "Blocked according to RFC2606"
  }`);
  const text = await dig(server.at, 'x.invalid', 'A');
  assert.match(text, /status: NXDOMAIN/);
  assert.match(text, /; EDE: 21 \(Not Supported\): \(Blocked according to RFC2606\)/);
  assert.match(
    text,
    /invalid\.\s+60\s+IN\s+SOA\s+ns\.invalid\. hostmaster\.invalid\. 1 60 60 60 60/,
  );
  assert.doesNotMatch(await dig(server.at, 'x.invalid', 'A', '+noedns'), /EDE/);
});

test('acl: the first policy that fits decides', async () => {
  await using server = await start(`acl cluster.local {
    allow type A
    block net 127.0.0.0/8
  }
  acl example.com {
    filter type TXT net 127.0.0.1
    block net 10.0.0.0/8
    drop type MX
  }`);
  assert.match(await said(server.at, 'web.shop.svc.cluster.local. A'), /10\.96\.0\.1/);
  assert.match(
    await dig(server.at, 'web.shop.svc.cluster.local', 'SRV'),
    /status: REFUSED[^]*EDE: 15 \(Blocked\)/,
  );
  assert.match(
    await dig(server.at, 'www.example.com', 'TXT'),
    /status: NOERROR[^]*EDE: 17 \(Filtered\)/,
  );
  assert.match(await said(server.at, 'www.example.com. A'), /192\.0\.2\.80/);
  assert.equal(
    await exchange(server.at, question('www.example.com. MX'), { timeoutMs: 300 }),
    undefined,
  );
});

/** How many questions were not answered by a kept answer. */
function counted(counters: DnsCounters): number {
  const { counts } = counters.of('dns://127.0.0.1:0').seconds;
  return counts.reduce((sum, count) => sum + count, 0);
}

test('[D74] bufsize caps what goes out over UDP, whatever the client takes', async () => {
  const endpoints = Array.from({ length: 60 }, (_, index) => `10.244.9.${index + 1}`);
  await createService(
    client,
    { namespace: 'shop', name: 'big' },
    { clusterIP: 'None', ports: [http] },
  );
  await createSlice(client, { namespace: 'shop', name: 'big' }, { endpoints });
  const args = ['big.shop.svc.cluster.local', 'A', '+bufsize=4096', '+ignore', '+nocookie'];
  await using free = await start('');
  assert.match(await dig(free.at, ...args), /flags: qr aa rd;.*ANSWER: 60,[^]*udp: 4096/);
  await using capped = await start('bufsize 600');
  const text = await dig(capped.at, ...args);
  assert.match(text, /flags: qr aa tc rd;/);
  assert.match(text, /udp: 600/);
  assert.ok(Number(/MSG SIZE\s+rcvd: (\d+)/.exec(text)![1]) <= 600);
  // What was whole over TCP is kept, and is still too long; what is short is kept as well.
  for (let turn = 0; turn < 3; turn += 1) {
    assert.match(await dig(capped.at, ...args, '+tcp'), /ANSWER: 60,[^]*udp: 600/);
    assert.match(await dig(capped.at, ...args), /flags: qr aa tc rd;[^]*udp: 600/);
  }
  const short = ['web.shop.svc.cluster.local', 'A', '+bufsize=4096', '+nocookie'];
  const slow = () => counted(capped.counters);
  assert.match(await dig(capped.at, ...short), /ANSWER: 1,[^]*udp: 600/);
  const before = slow();
  for (let turn = 0; turn < 3; turn += 1) {
    assert.match(await dig(capped.at, ...short), /ANSWER: 1,[^]*udp: 600/);
  }
  assert.ok(before > 0);
  assert.equal(slow(), before, 'kept answers are not timed');
});

test('[D81] without loadbalance the order of addresses stays, with it it changes', async () => {
  const orders = async (at: Asked) => {
    const seen = new Set<string>();
    for (let turn = 0; turn < 30; turn += 1) {
      const reply = await ask(at, 'many.shop.svc.cluster.local. A');
      seen.add(reply.answers.map(({ data }) => String(data)).join(' '));
    }
    return seen;
  };
  await using still = await start('');
  assert.deepEqual([...(await orders(still.at))], ['10.244.1.1 10.244.2.1 10.244.2.2 10.244.3.1']);
  await using mixed = await start('loadbalance');
  assert.ok((await orders(mixed.at)).size > 5);
});

test('[D100] errors: a line for each question that failed, in the form people grep for', async () => {
  const lines: string[] = [];
  await using server = await start('errors', { print: (line) => void lines.push(line) });
  await said(server.at, 'www.example.com. A');
  await ask(server.at, 'Silent.example.com. AAAA', { timeoutMs: 8000 });
  assert.equal(lines.length, 1);
  assert.match(lines[0]!, /^\[ERROR\] plugin\/errors: 2 silent\.example\.com\. AAAA: .*no reply/);
});

test('[D100] errors: those of a kind are counted and told once in a period', async () => {
  const lines: string[] = [];
  const text = `errors {\n consolidate 200ms ".*no such number.*" warning show_first\n }
  template IN A lan {\n match (?P<n>.*)[.]lan[.]\n answer "lan 5 IN A 10.0.0.{{ parseInt .Group.n 10 8 }}"\n }`;
  await using server = await start(text, { print: (line) => void lines.push(line) });
  for (const name of ['a', 'b', 'c'])
    assert.equal(await said(server.at, `${name}.lan. A`), 'SERVFAIL');
  assert.deepEqual(lines, ['[WARNING] plugin/errors: 2 a.lan. A: "a" is no such number']);
  const deadline = Date.now() + 5000;
  while (lines.length < 2 && Date.now() < deadline)
    await new Promise((done) => setTimeout(done, 20));
  assert.equal(
    lines[1],
    "[WARNING] plugin/errors: 3 errors like '.*no such number.*' occurred in last 200ms",
  );
});

/** CoreDNS's own form: `{remote}:{port} - {>id} "{type} {class} {name} {proto} {size} {>do} {>bufsize}" …`. */
test('[D101] log: the fields of a line, in order', async () => {
  const lines: string[] = [];
  await using server = await start('log', { print: (line) => void lines.push(line) });
  const { port } = server.at;
  await ask(server.at, 'Web.shop.svc.cluster.local. A');
  await ask(server.at, 'gone.shop.svc.cluster.local. AAAA', { tcp: true });
  await dig(
    { host: '127.0.0.1', port },
    'www.example.com',
    'A',
    '+dnssec',
    '+bufsize=1400',
    '+nocookie',
  );
  const [first, second, third] = lines;
  // 44 bytes: a header of 12, a name of 28 and 4. The reply has the record's 14 and the name again.
  assert.match(
    first!,
    /^\[INFO\] 127\.0\.0\.1:\d+ - 4711 "A IN web\.shop\.svc\.cluster\.local\. udp 44 false 512" NOERROR qr,aa,rd 86 0\.\d+s$/,
  );
  assert.match(
    second!,
    /^\[INFO\] 127\.0\.0\.1:\d+ - 4711 "AAAA IN gone\.shop\.svc\.cluster\.local\. tcp 45 false 65535" NXDOMAIN qr,aa,rd \d+ 0\.\d+s$/,
  );
  assert.match(
    third!,
    /^\[INFO\] 127\.0\.0\.1:\d+ - \d+ "A IN www\.example\.com\. udp 44 true 1400" NOERROR qr,rd \d+ 0\.\d+s$/,
  );
});

test("[D101] log: zones, classes and a format of one's own", async () => {
  const lines: string[] = [];
  const text = `log cluster.local "{name} {rcode} {unknown}" {\n class denial error\n }
  log example.com "{combined}"`;
  await using server = await start(text, { print: (line) => void lines.push(line) });
  await ask(server.at, 'web.shop.svc.cluster.local. A');
  await ask(server.at, 'gone.shop.svc.cluster.local. A');
  await ask(server.at, 'web.shop.svc.cluster.local. AAAA');
  await ask(server.at, 'x.test. A');
  await ask(server.at, 'www.example.com. A');
  assert.deepEqual(lines.slice(0, 2), [
    '[INFO] gone.shop.svc.cluster.local. NXDOMAIN {unknown}',
    '[INFO] web.shop.svc.cluster.local. NOERROR {unknown}',
  ]);
  assert.equal(lines.length, 3);
  assert.match(lines[2]!, /NOERROR qr,rd \d+ \S+s "0"$/);
});

async function createPod(namespace: string, podIP: string): Promise<void> {
  const key = { namespace, name: 'client' };
  const containers = [{ name: 'c', image: 'host', command: ['true'] }];
  await client.create(
    resources.pods,
    object({ metadata: key, spec: { nodeName: 'node-1', containers } }),
  );
  const found = await client.get(resources.pods, key);
  const status = { phase: 'Running', podIP, podIPs: [{ ip: podIP }] };
  await client.update(resources.pods, { ...found, status } as KubeObject, {
    subresource: 'status',
  });
}

test('[D103] autopath: one question goes through the whole search list of the pod that asks', async () => {
  await createPod('shop', '127.0.0.1');
  const hostSearch = parseSearchList('search corp.test\n');
  await using server = await start('autopath @kubernetes', { hostSearch });
  const search = (name: string) => `${name}.shop.svc.cluster.local. A`;
  // In its own namespace the name is right as it is.
  assert.equal(
    await said(server.at, search('web')),
    'web.shop.svc.cluster.local. 30 IN A 10.96.0.1',
  );
  // `web.other` is found one step further, below svc.cluster.local.
  assert.equal(
    await said(server.at, search('web.other')),
    'web.other.shop.svc.cluster.local. 30 IN CNAME web.other.svc.cluster.local. | web.other.svc.cluster.local. 30 IN A 10.96.0.2',
  );
  upstream.asked.length = 0;
  assert.equal(
    await said(server.at, search('www.example.com')),
    'www.example.com.shop.svc.cluster.local. 300 IN CNAME www.example.com. | www.example.com. 300 IN A 192.0.2.80',
  );
  assert.deepEqual(upstream.asked, ['www.example.com.corp.test A', 'www.example.com A']);
  // What is nowhere is denied as it was asked.
  const gone = await ask(server.at, search('gone.test'));
  assert.deepEqual([gone.rcode, gone.authorities[0]?.name], ['NXDOMAIN', 'cluster.local']);
  // The search list of another namespace is not this pod's.
  assert.equal(await said(server.at, 'www.example.com.other.svc.cluster.local. A'), 'NXDOMAIN');
});

test('[D103] autopath: a sender that is no pod is answered as it asks', async () => {
  await using server = await start('autopath @kubernetes', {});
  await client.delete(
    resources.pods,
    { namespace: 'shop', name: 'client' },
    { gracePeriodSeconds: 0 },
  );
  const deadline = Date.now() + 5000;
  const name = 'web.other.shop.svc.cluster.local. A';
  while ((await said(server.at, name)) !== 'NXDOMAIN' && Date.now() < deadline);
  assert.equal(await said(server.at, name), 'NXDOMAIN');
});

test("[D103] autopath: a search list from a file is everybody's", async () => {
  const file = join(dir, 'resolv.conf');
  writeFileSync(file, 'search lan example.com\n');
  await using server = await start(`autopath lan ${file}`);
  assert.equal(
    await said(server.at, 'x.lan. A'),
    'x.lan. 300 IN CNAME x.example.com. | x.example.com. 300 IN A 192.0.2.80',
  );
});

test('[D75] what fits when names are compressed is whole, one byte less is cut', async () => {
  const count = 30;
  const endpoints = Array.from({ length: count }, (_, index) => `10.244.7.${index + 1}`);
  await createService(
    client,
    { namespace: 'shop', name: 'fit' },
    { clusterIP: 'None', ports: [http] },
  );
  await createSlice(client, { namespace: 'shop', name: 'fit' }, { endpoints });
  await using server = await start('');
  const name = 'fit.shop.svc.cluster.local';
  // A header, the question, an OPT record, and 16 bytes for each address with a pointer for its name.
  const bytes = 12 + name.length + 2 + 4 + 11 + 16 * count;
  const asked = (size: number) =>
    dig(server.at, name, 'A', `+bufsize=${size}`, '+ignore', '+nocookie');
  const whole = await asked(bytes);
  assert.match(whole, /flags: qr aa rd;.*ANSWER: 30,/);
  assert.match(whole, new RegExp(`MSG SIZE\\s+rcvd: ${bytes}\n`));
  assert.match(await asked(bytes - 1), /flags: qr aa tc rd;.*ANSWER: 29,/);
});

/** UDP sockets on a port, as ss(8) counts them. */
async function udpSockets(port: number): Promise<number> {
  const { stdout } = await promisify(execFile)('ss', ['-Hlun', `sport = :${port}`]);
  return stdout.split('\n').filter(Boolean).length;
}

test('[D78] one UDP socket for each address, or as many as multisocket says', async () => {
  await using plain = await start('');
  assert.equal(await udpSockets(plain.at.port), 1);
  await using server = await start('multisocket 3');
  assert.equal(await udpSockets(server.at.port), 3);
  for (let turn = 0; turn < 20; turn += 1) {
    assert.match(await said(server.at, 'web.shop.svc.cluster.local. A'), /10\.96\.0\.1/);
    assert.match(await said(server.at, 'www.example.com. A'), /192\.0\.2\.80/);
  }
});

test('[D82] loadbalance weighted: how often an address comes first follows the file', async () => {
  const file = join(dir, 'weights');
  writeFileSync(file, 'many.shop.svc.cluster.local\n10.244.2.1 6\n10.244.3.1 2\n');
  await using server = await start(`loadbalance weighted ${file} {\n reload 20ms\n}`);
  const firsts = async (turns: number) => {
    const counts = new Map<string, number>();
    for (let turn = 0; turn < turns; turn += 1) {
      const { answers } = await ask(server.at, 'many.shop.svc.cluster.local. A');
      assert.equal(answers.length, 4);
      const first = String(answers[0]!.data);
      counts.set(first, (counts.get(first) ?? 0) + 1);
    }
    return (address: string) => (counts.get(address) ?? 0) / turns;
  };
  // 6 : 2 : 1 : 1; four standard deviations of 1000 draws are less than 0.06.
  const share = await firsts(1000);
  for (const [address, wanted] of [
    ['10.244.2.1', 0.6],
    ['10.244.3.1', 0.2],
    ['10.244.1.1', 0.1],
    ['10.244.2.2', 0.1],
  ] as const) {
    assert.ok(Math.abs(share(address) - wanted) < 0.07, `${address} ${share(address)}`);
  }
  writeFileSync(file, 'many.shop.svc.cluster.local\n10.244.1.1 255\n');
  const deadline = Date.now() + 5000;
  let again = await firsts(40);
  while (again('10.244.1.1') < 0.8 && Date.now() < deadline) again = await firsts(40);
  assert.ok(again('10.244.1.1') >= 0.8);
});

test('[D82] loadbalance prefer: addresses of these subnets come first, in their order', async () => {
  const prefer = 'loadbalance {\n prefer 10.244.3.0/24 10.244.2.0/24\n}';
  await using server = await start(prefer);
  const seen = new Set<string>();
  for (let turn = 0; turn < 30; turn += 1) {
    const { answers } = await ask(server.at, 'many.shop.svc.cluster.local. A');
    seen.add(answers.map(({ data }) => String(data)).join(' '));
  }
  assert.deepEqual([...seen].toSorted(), [
    '10.244.3.1 10.244.2.1 10.244.2.2 10.244.1.1',
    '10.244.3.1 10.244.2.2 10.244.2.1 10.244.1.1',
  ]);
});

test('chaos and whoami: who answers, and who asks', async () => {
  const text = `bind.:0 server.:0 {\n bind 127.0.0.1\n chaos Fairlead-1 ann bob\n }`;
  await using server = await startCorefile(client, text);
  const chaos = (name: string) => dig(server.at, '+short', 'CH', 'TXT', name);
  assert.equal(await chaos('version.bind'), '"Fairlead-1"\n');
  assert.equal(await chaos('authors.bind'), '"ann"\n"bob"\n');
  assert.equal(await chaos('id.server'), `"${hostname()}"\n`);
  assert.match(await dig(server.at, 'CH', 'TXT', 'other.bind'), /status: REFUSED/);
  await using mirror = await startCorefile(client, '.:0 {\n bind 127.0.0.1\n whoami\n}');
  const said = await dig(mirror.at, 'x.test', 'A', '-b', '127.0.0.1#40123');
  assert.match(said, /x\.test\.\s+0\s+IN\s+A\s+127\.0\.0\.1/);
  assert.match(said, /_udp\.x\.test\.\s+0\s+IN\s+SRV\s+0 0 40123 \./);
});
