/** What the zones answer, item by item of the contract; every row over UDP and over TCP. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import type { Client } from '../../src/client/client.ts';
import type { DnsServer } from '../../src/dns/server.ts';
import {
  ask,
  createNamespace,
  createService,
  createSlice,
  loopbackUp,
  startApi,
  startServer,
  texts,
  type Asked,
} from './dns-harness.ts';

const namespace = 'testns';
const at = (name: string) => ({ namespace, name });
const http = { name: 'http', port: 80, protocol: 'TCP' };
const dns = { name: 'dns', port: 53, protocol: 'UDP' };
const dual = { ipFamilyPolicy: 'RequireDualStack' };
const alias = (externalName: string) => ({ type: 'ExternalName', externalName });

async function fillCluster(client: Client): Promise<void> {
  for (const name of [namespace, 'empty']) await createNamespace(client, name);
  const service = (name: string, spec: Record<string, unknown>) =>
    createService(client, at(name), spec);
  const slice = (name: string, more: Parameters<typeof createSlice>[2]) =>
    createSlice(client, at(name), more);
  const clusterIPs = ['10.96.0.20', 'fd00:10:96::20'];
  await service('svc1', { ...dual, clusterIP: clusterIPs[0], clusterIPs, ports: [http, dns] });
  await service('svc4', { clusterIP: '10.96.0.4', ports: [http] });
  await service('svc6', { clusterIP: 'fd00:10:96::6', ipFamilies: ['IPv6'], ports: [http] });
  await service('node', { type: 'NodePort', clusterIP: '10.96.0.7', ports: [http] });
  await service('plain', { clusterIP: '10.96.0.8', ports: [{ port: 80 }] });
  await slice('svc4', { endpoints: ['10.244.0.40', '10.244.0.41=named'] });

  const headless = { clusterIP: 'None', ports: [http] };
  await service('hdls', { ...dual, ...headless });
  const two = [http, { name: 'mysql', port: 3306, protocol: 'TCP' }];
  await slice('hdls', { endpoints: ['10.244.0.1=db-0', '10.244.0.2'], ports: two });
  await slice('hdls', { endpoints: ['!10.244.0.3=db-3', '10.244.0.2'], ports: two });
  await slice('hdls', { type: 'IPv6', endpoints: ['2001:db8::1', '2001:db8::'], ports: [http] });
  await slice('hdls', { endpoints: ['10.244.0.9'], labelled: false });
  await service('twins', headless);
  await slice('twins', { endpoints: ['10.244.1.1=dup', '10.244.1.2=dup'] });
  await service('away', headless);
  await slice('away', { endpoints: ['!10.244.1.3'] });
  await service('leaving', headless);
  const conditions = { serving: false, terminating: true };
  await slice('leaving', { endpoints: ['10.244.1.4'], conditions });
  await service('portless', { clusterIP: 'None' });
  await slice('portless', { endpoints: ['10.244.1.5'], ports: [] });
  await service('elsewhere', headless);
  await slice('elsewhere', { type: 'FQDN', endpoints: ['svc4.testns.svc.cluster.local'] });

  await service('ext-in', alias('svc1.testns.svc.cluster.local'));
  await service('ext-chain', alias('ext-in.testns.svc.cluster.local'));
  await service('ext-out', alias('www.example.com'));
  await service('ext-self', alias('ext-self.testns.svc.cluster.local'));
  await service('ext-a', alias('ext-b.testns.svc.cluster.local'));
  await service('ext-b', alias('ext-a.testns.svc.cluster.local'));
  await service('ext-gone', alias('gone.testns.svc.cluster.local'));
  await service('ext-four', alias('svc4.testns.svc.cluster.local'));
}

let server: DnsServer & { at: Asked };

before(async () => {
  loopbackUp();
  const client = await startApi();
  await fillCluster(client);
  server = await startServer({ client });
});

after(() => server.stop());

const svc = 'testns.svc.cluster.local.';
const v4Reverse = (address: string) => `${address.split('.').toReversed().join('.')}.in-addr.arpa.`;
const v6Reverse = (nibbles: string) => `${nibbles.split('').toReversed().join('.')}.ip6.arpa.`;
const svc1Reverse = v6Reverse('fd000010009600000000000000000020');

/**
 * Item ids, question, and what comes back: NXDOMAIN, NODATA, REFUSED, or records in zone-file text;
 * a `+` stands before those of the additional section. Order does not count.
 */
const rows: [ids: string, question: string, want: string | string[]][] = [
  // Names
  ['[D1]', 'www.example.com. A', 'REFUSED'],
  [
    '[D1 D8]',
    'SVC4.TestNS.sVc.cluster.local. A',
    ['SVC4.TestNS.sVc.cluster.local. 30 IN A 10.96.0.4'],
  ],
  ['[D3]', 'svc4.testns.cluster.local. A', 'NXDOMAIN'],
  ['[D3]', `a.b.c.svc4.${svc} A`, 'NXDOMAIN'],
  ['[D4]', 'cluster.local. A', 'NODATA'],
  ['[D4]', 'cluster.local. HINFO', 'NODATA'],
  ['[D4]', 'svc.cluster.local. A', 'NODATA'],
  ['[D4]', 'svc.cluster.local. SRV', 'NODATA'],
  ['[D4]', 'pod.cluster.local. AAAA', 'NODATA'],
  ['[D5]', 'testns.svc.cluster.local. A', 'NODATA'],
  ['[D5 D7]', 'empty.svc.cluster.local. A', 'NODATA'],
  ['[D5 D7]', 'nons.svc.cluster.local. A', 'NXDOMAIN'],
  ['[D6]', 'testns.pod.cluster.local. A', 'NODATA'],
  ['[D6]', 'nons.pod.cluster.local. A', 'NXDOMAIN'],
  ['[D11]', `*.${svc} A`, 'NXDOMAIN'],
  ['[D11]', `any.${svc} A`, 'NXDOMAIN'],
  ['[D12]', `eu.pin._zone.hdls.${svc} A`, 'NXDOMAIN'],
  // Services
  ['[D14]', `svc1.${svc} A`, [`svc1.${svc} 30 IN A 10.96.0.20`]],
  ['[D14]', `svc1.${svc} AAAA`, [`svc1.${svc} 30 IN AAAA fd00:10:96::20`]],
  ['[D14]', `node.${svc} A`, [`node.${svc} 30 IN A 10.96.0.7`]],
  ['[D15]', `svc4.${svc} AAAA`, 'NODATA'],
  ['[D15]', `svc6.${svc} A`, 'NODATA'],
  ['[D15]', `svc6.${svc} AAAA`, [`svc6.${svc} 30 IN AAAA fd00:10:96::6`]],
  ['[D15]', `nosvc.${svc} A`, 'NXDOMAIN'],
  [
    '[D17 D24]',
    `hdls.${svc} A`,
    [`hdls.${svc} 30 IN A 10.244.0.1`, `hdls.${svc} 30 IN A 10.244.0.2`],
  ],
  [
    '[D17]',
    `hdls.${svc} AAAA`,
    [`hdls.${svc} 30 IN AAAA 2001:db8::1`, `hdls.${svc} 30 IN AAAA 2001:db8::`],
  ],
  ['[D18]', `away.${svc} A`, 'NXDOMAIN'],
  ['[D18]', `twins.${svc} AAAA`, 'NODATA'],
  ['[D19]', `leaving.${svc} A`, [`leaving.${svc} 30 IN A 10.244.1.4`]],
  ['[D20]', `db-0.hdls.${svc} A`, [`db-0.hdls.${svc} 30 IN A 10.244.0.1`]],
  ['[D20]', `10-244-0-2.hdls.${svc} A`, [`10-244-0-2.hdls.${svc} 30 IN A 10.244.0.2`]],
  ['[D20]', `10-244-0-1.hdls.${svc} A`, 'NXDOMAIN'],
  ['[D20]', `2001-db8--1.hdls.${svc} AAAA`, [`2001-db8--1.hdls.${svc} 30 IN AAAA 2001:db8::1`]],
  ['[D20]', `2001-db8--0.hdls.${svc} AAAA`, [`2001-db8--0.hdls.${svc} 30 IN AAAA 2001:db8::`]],
  ['[D21]', `db-3.hdls.${svc} A`, 'NXDOMAIN'],
  [
    '[D21]',
    `dup.twins.${svc} A`,
    [`dup.twins.${svc} 30 IN A 10.244.1.1`, `dup.twins.${svc} 30 IN A 10.244.1.2`],
  ],
  ['[D22]', `10-244-0-40.svc4.${svc} A`, [`10-244-0-40.svc4.${svc} 30 IN A 10.244.0.40`]],
  ['[D22]', `named.svc4.${svc} A`, [`named.svc4.${svc} 30 IN A 10.244.0.41`]],
  ['[D24]', `10-244-0-9.hdls.${svc} A`, 'NXDOMAIN'],
  [
    '[D28]',
    `elsewhere.${svc} A`,
    [`elsewhere.${svc} 30 IN CNAME svc4.${svc}`, `svc4.${svc} 30 IN A 10.96.0.4`],
  ],
  // SRV
  [
    '[D16 D30 D32]',
    `_http._tcp.svc1.${svc} SRV`,
    [
      `_http._tcp.svc1.${svc} 30 IN SRV 0 50 80 svc1.${svc}`,
      `+svc1.${svc} 30 IN A 10.96.0.20`,
      `+svc1.${svc} 30 IN AAAA fd00:10:96::20`,
    ],
  ],
  [
    '[D30]',
    `_http._tcp.svc4.${svc} SRV`,
    [`_http._tcp.svc4.${svc} 30 IN SRV 0 100 80 svc4.${svc}`, `+svc4.${svc} 30 IN A 10.96.0.4`],
  ],
  [
    '[D31 D32]',
    `_mysql._tcp.hdls.${svc} SRV`,
    [
      `_mysql._tcp.hdls.${svc} 30 IN SRV 0 33 3306 db-0.hdls.${svc}`,
      `_mysql._tcp.hdls.${svc} 30 IN SRV 0 33 3306 10-244-0-2.hdls.${svc}`,
      `+db-0.hdls.${svc} 30 IN A 10.244.0.1`,
      `+10-244-0-2.hdls.${svc} 30 IN A 10.244.0.2`,
    ],
  ],
  [
    '[D31 D32]',
    `_http._tcp.twins.${svc} SRV`,
    [
      `_http._tcp.twins.${svc} 30 IN SRV 0 50 80 dup.twins.${svc}`,
      `+dup.twins.${svc} 30 IN A 10.244.1.1`,
      `+dup.twins.${svc} 30 IN A 10.244.1.2`,
    ],
  ],
  [
    '[D33a]',
    `svc1.${svc} SRV`,
    [
      `svc1.${svc} 30 IN SRV 0 25 80 svc1.${svc}`,
      `svc1.${svc} 30 IN SRV 0 25 53 svc1.${svc}`,
      `+svc1.${svc} 30 IN A 10.96.0.20`,
      `+svc1.${svc} 30 IN AAAA fd00:10:96::20`,
    ],
  ],
  [
    '[D33b]',
    `db-0.hdls.${svc} SRV`,
    [
      `db-0.hdls.${svc} 30 IN SRV 0 50 80 db-0.hdls.${svc}`,
      `db-0.hdls.${svc} 30 IN SRV 0 50 3306 db-0.hdls.${svc}`,
      `+db-0.hdls.${svc} 30 IN A 10.244.0.1`,
    ],
  ],
  [
    '[D33b]',
    '10-1-2-3.testns.pod.cluster.local. SRV',
    [
      '10-1-2-3.testns.pod.cluster.local. 30 IN SRV 0 100 0 10-1-2-3.testns.pod.cluster.local.',
      '+10-1-2-3.testns.pod.cluster.local. 30 IN A 10.1.2.3',
    ],
  ],
  [
    '[D33c]',
    `http.tcp.svc4.${svc} SRV`,
    [`http.tcp.svc4.${svc} 30 IN SRV 0 100 80 svc4.${svc}`, `+svc4.${svc} 30 IN A 10.96.0.4`],
  ],
  [
    '[D33c]',
    `_._udp.svc1.${svc} SRV`,
    [
      `_._udp.svc1.${svc} 30 IN SRV 0 50 53 svc1.${svc}`,
      `+svc1.${svc} 30 IN A 10.96.0.20`,
      `+svc1.${svc} 30 IN AAAA fd00:10:96::20`,
    ],
  ],
  ['[D33d]', `_http._tcp.svc4.${svc} A`, [`_http._tcp.svc4.${svc} 30 IN A 10.96.0.4`]],
  ['[D33e]', `_nope._tcp.svc4.${svc} SRV`, 'NXDOMAIN'],
  ['[D33e]', `_http._udp.svc4.${svc} A`, 'NXDOMAIN'],
  ['[D33e]', `_tcp.svc4.${svc} A`, 'NODATA'],
  ['[D33e]', `_tcp.hdls.${svc} SRV`, 'NODATA'],
  ['[D33e]', `_udp.svc4.${svc} A`, 'NXDOMAIN'],
  ['[D33f]', `portless.${svc} SRV`, 'NODATA'],
  ['[D33f]', `portless.${svc} A`, [`portless.${svc} 30 IN A 10.244.1.5`]],
  ['[D33g]', `_x._tcp.plain.${svc} SRV`, 'NXDOMAIN'],
  [
    '[D33g]',
    `plain.${svc} SRV`,
    [`plain.${svc} 30 IN SRV 0 100 80 plain.${svc}`, `+plain.${svc} 30 IN A 10.96.0.8`],
  ],
  // Apex and other types
  [
    '[D33]',
    'cluster.local. SOA',
    ['cluster.local. 30 IN SOA ns.dns.cluster.local. hostmaster.cluster.local. 7200 1800 86400 30'],
  ],
  [
    '[D9 D33]',
    'Cluster.LOCAL. SOA',
    ['Cluster.LOCAL. 30 IN SOA ns.dns.Cluster.LOCAL. hostmaster.Cluster.LOCAL. 7200 1800 86400 30'],
  ],
  ['[D34 D36]', 'CLUSTER.local. NS', ['CLUSTER.local. 30 IN NS ns.dns.CLUSTER.local.']],
  ['[D36]', `svc4.${svc} NS`, 'NODATA'],
  ['[D36]', `nosvc.${svc} NS`, 'NXDOMAIN'],
  ['[D37]', `nosvc.${svc} SOA`, 'NODATA'],
  ['[D37]', '1.0.96.10.in-addr.arpa. SOA', 'NODATA'],
  ['[D38]', 'dns-version.cluster.local. TXT', ['dns-version.cluster.local. 28800 IN TXT "1.1.0"']],
  ['[D38]', 'dns-version.in-addr.arpa. TXT', ['dns-version.in-addr.arpa. 28800 IN TXT "1.1.0"']],
  ['[D39]', 'dns-version.cluster.local. A', 'NODATA'],
  ['[D39]', 'dns.cluster.local. A', 'NODATA'],
  ['[D40]', `svc4.${svc} TXT`, 'NODATA'],
  ['[D40]', `nosvc.${svc} TXT`, 'NXDOMAIN'],
  ['[D40]', 'cluster.local. TXT', 'NODATA'],
  ['[D40]', 'testns.svc.cluster.local. TXT', 'NODATA'],
  ['[D40a]', `svc4.${svc} HINFO`, 'NODATA'],
  ['[D40a]', `svc4.${svc} CAA`, 'NODATA'],
  ['[D40a]', `svc4.${svc} ANY`, 'NODATA'],
  ['[D40a]', `nosvc.${svc} CAA`, 'NXDOMAIN'],
  ['[D40a]', `ext-out.${svc} CAA`, 'NODATA'],
  ['[D40b]', `svc4.${svc} MX`, 'NODATA'],
  ['[D40b]', `nosvc.${svc} MX`, 'NXDOMAIN'],
  ['[D40c]', `ext-out.${svc} CNAME`, [`ext-out.${svc} 30 IN CNAME www.example.com.`]],
  ['[D40c]', `svc4.${svc} CNAME`, 'NODATA'],
  ['[D40c]', `x.ext-out.${svc} CNAME`, 'NXDOMAIN'],
  ['[D40d]', `svc4.${svc} DS`, 'NODATA'],
  ['[D40e]', 'cluster.local. AXFR', 'REFUSED'],
  ['[D40e]', 'cluster.local. IXFR', 'REFUSED'],
  // ExternalName
  [
    '[D41 D42]',
    `ext-in.${svc} A`,
    [`ext-in.${svc} 30 IN CNAME svc1.${svc}`, `svc1.${svc} 30 IN A 10.96.0.20`],
  ],
  [
    '[D42]',
    `ext-chain.${svc} AAAA`,
    [
      `ext-chain.${svc} 30 IN CNAME ext-in.${svc}`,
      `ext-in.${svc} 30 IN CNAME svc1.${svc}`,
      `svc1.${svc} 30 IN AAAA fd00:10:96::20`,
    ],
  ],
  ['[D43]', `ext-gone.${svc} A`, 'NODATA'],
  ['[D43]', `ext-four.${svc} AAAA`, 'NODATA'],
  ['[D44]', `ext-out.${svc} A`, [`ext-out.${svc} 30 IN CNAME www.example.com.`]],
  ['[D45]', `ext-self.${svc} A`, 'NODATA'],
  ['[D45]', `ext-a.${svc} A`, 'NODATA'],
  ['[D47]', `ext-out.${svc} SRV`, 'NODATA'],
  ['[D47]', `_http._tcp.ext-out.${svc} SRV`, 'NXDOMAIN'],
  ['[D47]', `pod-0.ext-out.${svc} A`, 'NXDOMAIN'],
  ['[D47]', `ext-out.${svc} TXT`, 'NODATA'],
  // Pods
  [
    '[D49]',
    '10-1-2-3.testns.pod.cluster.local. A',
    ['10-1-2-3.testns.pod.cluster.local. 30 IN A 10.1.2.3'],
  ],
  [
    '[D49]',
    'fd00--1.testns.pod.cluster.local. AAAA',
    ['fd00--1.testns.pod.cluster.local. 30 IN AAAA fd00::1'],
  ],
  ['[D49]', 'nonsense.testns.pod.cluster.local. A', 'NXDOMAIN'],
  ['[D49]', '10-1-2-3.nons.pod.cluster.local. A', 'NXDOMAIN'],
  ['[D50]', '256-1-2-3.testns.pod.cluster.local. A', 'NXDOMAIN'],
  ['[D50]', '010-1-2-3.testns.pod.cluster.local. A', 'NXDOMAIN'],
  ['[D50]', '10-1-2-3.testns.pod.cluster.local. AAAA', 'NODATA'],
  ['[D50]', 'fd00--1.testns.pod.cluster.local. A', 'NODATA'],
  [
    '[D51]',
    'foo.10-1-2-3.testns.pod.cluster.local. A',
    ['foo.10-1-2-3.testns.pod.cluster.local. 30 IN A 10.1.2.3'],
  ],
  // Reverse
  ['[D54]', `${v4Reverse('10.96.0.20')} PTR`, [`${v4Reverse('10.96.0.20')} 30 IN PTR svc1.${svc}`]],
  ['[D54]', `${svc1Reverse} PTR`, [`${svc1Reverse} 30 IN PTR svc1.${svc}`]],
  [
    '[D55]',
    `${v4Reverse('10.244.0.1')} PTR`,
    [`${v4Reverse('10.244.0.1')} 30 IN PTR db-0.hdls.${svc}`],
  ],
  [
    '[D55]',
    `${v4Reverse('10.244.0.2')} PTR`,
    [`${v4Reverse('10.244.0.2')} 30 IN PTR 10-244-0-2.hdls.${svc}`],
  ],
  [
    '[D55]',
    `${v4Reverse('10.244.0.41')} PTR`,
    [`${v4Reverse('10.244.0.41')} 30 IN PTR named.svc4.${svc}`],
  ],
  ['[D56]', `${v4Reverse('10.244.0.9')} PTR`, 'NXDOMAIN'],
  ['[D57]', `${v4Reverse('192.0.2.1')} PTR`, 'NXDOMAIN'],
  ['[D58]', `${v4Reverse('10.96.0.20')} A`, 'NXDOMAIN'],
  ['[D58]', '0.96.10.in-addr.arpa. PTR', 'NXDOMAIN'],
  ['[D58]', 'in-addr.arpa. A', 'NODATA'],
  ['[D59]', 'svc4.testns.svc.0.10.in-addr.arpa. A', 'NXDOMAIN'],
  ['[D59]', '20.0.96.10.cluster.local. PTR', 'NXDOMAIN'],
  ['[D59]', `svc4.${svc} PTR`, 'NODATA'],
];

for (const [ids, question, want] of rows) {
  for (const tcp of [false, true]) {
    test(`${ids} ${question} over ${tcp ? 'TCP' : 'UDP'}`, async () => {
      const reply = await ask(server.at, question, { tcp });
      assert.equal(reply.id, 4711);
      assert.equal(reply.flag_rd, true);
      assert.equal(reply.flag_tc, false);
      const [echoed] = reply.questions;
      assert.equal(`${echoed!.name}. ${echoed!.type}`, question);
      const answers = texts(reply.answers);
      const got = [...answers, ...texts(reply.additionals).map((text) => `+${text}`)];
      if (want === 'REFUSED') {
        assert.deepEqual([reply.rcode, reply.flag_aa, got], ['REFUSED', false, []]);
        return;
      }
      assert.equal(reply.flag_aa, true, 'AA');
      assert.equal(reply.flag_ra, false, 'RA');
      if (typeof want === 'string') {
        assert.deepEqual([reply.rcode, got], [want === 'NODATA' ? 'NOERROR' : want, []]);
        assert.equal(reply.authorities[0]?.type, 'SOA', 'a denial carries an SOA');
        return;
      }
      assert.equal(reply.rcode, 'NOERROR');
      assert.deepEqual(got.toSorted(), want.toSorted());
      // D41: an alias comes before what it points to.
      const lastAlias = answers.findLastIndex((text) => text.includes(' CNAME '));
      const firstAddress = answers.findIndex((text) => / A+ /.test(text));
      assert.ok(firstAddress < 0 || lastAlias < firstAddress, 'aliases come first');
    });
  }
}

test('no two rows ask the same', () => {
  const questions = rows.map(([, question]) => question);
  assert.equal(new Set(questions).size, questions.length);
});
