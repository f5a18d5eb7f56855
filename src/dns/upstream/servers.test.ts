import assert from 'node:assert/strict';
import { test } from 'node:test';

import { parseResolvConf, parseServer, type Server } from './servers.ts';

const servers: [text: string, want: Server][] = [
  ['192.0.2.1', { scheme: 'dns', host: '192.0.2.1', port: 53 }],
  ['192.0.2.1:5353', { scheme: 'dns', host: '192.0.2.1', port: 5353 }],
  ['dns://192.0.2.1', { scheme: 'dns', host: '192.0.2.1', port: 53 }],
  ['2001:db8::1', { scheme: 'dns', host: '2001:db8::1', port: 53 }],
  ['[2001:db8::1]', { scheme: 'dns', host: '2001:db8::1', port: 53 }],
  ['[2001:db8::1]:5353', { scheme: 'dns', host: '2001:db8::1', port: 5353 }],
  ['tls://192.0.2.1', { scheme: 'tls', host: '192.0.2.1', port: 853 }],
  ['tls://[2001:db8::1]:8530', { scheme: 'tls', host: '2001:db8::1', port: 8530 }],
  ['https://192.0.2.1', { scheme: 'https', host: '192.0.2.1', port: 443 }],
  [
    'tls://192.0.2.1%dns.example:853',
    { scheme: 'tls', host: '192.0.2.1', port: 853, serverName: 'dns.example' },
  ],
  [
    'tls://[2001:db8::1%dns.example]:853',
    { scheme: 'tls', host: '2001:db8::1', port: 853, serverName: 'dns.example' },
  ],
];

for (const [text, want] of servers) {
  test(`upstream ${text}`, () => assert.deepEqual(parseServer(text), want));
}

for (const text of [
  '',
  'dns.example',
  '192.0.2.1:0',
  '192.0.2.1:65536',
  '300.1.1.1',
  '[::1',
  '192.0.2.1:x',
  'quic://192.0.2.1',
]) {
  test(`no upstream "${text}"`, () => assert.throws(() => parseServer(text), /Cannot forward to/));
}

test('[D90a] nameservers of resolv.conf, at most 15, and nothing else', () => {
  const text = `# comment\nsearch a b\nnameserver 192.0.2.1\n  nameserver\t2001:db8::1  \nnameserver fe80::1%eth0\nnameserver bad\noptions ndots:5\n;nameserver 192.0.2.9\n`;
  assert.deepEqual(parseResolvConf(text), ['192.0.2.1', '2001:db8::1', 'fe80::1']);
  const many = Array.from({ length: 20 }, (_, index) => `nameserver 192.0.2.${index}`);
  assert.equal(parseResolvConf(many.join('\n')).length, 15);
  assert.deepEqual(parseResolvConf(''), []);
});
