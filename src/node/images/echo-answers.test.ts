import assert from 'node:assert/strict';
import { test } from 'node:test';
import { answerDatagram, clientOf, describe, looksLikeHttp } from './echo-answers.ts';

const container = {
  id: 'u/echo/0',
  identity: { pod: 'web-1', namespace: 'shop', node: 'node-2', podIPs: ['10.244.1.5'] },
  env: {},
  ports: [],
  log: '/dev/null',
};

const clients = [
  { address: '10.0.0.1', want: '10.0.0.1:9' },
  { address: '::ffff:10.0.0.1', want: '10.0.0.1:9' },
  { address: 'fd00::1', want: '[fd00::1]:9' },
];

for (const { address, want } of clients) {
  test(`a client at ${address}`, () => {
    const line = describe(container, clientOf(address, 9), 'tcp');
    assert.equal(line, `pod=web-1 ns=shop node=node-2 ip=10.244.1.5 client=${want} protocol=tcp`);
  });
}

const datagrams = [
  { text: 'hostname', want: 'web-1' },
  { text: 'hostname\n', want: 'web-1' },
  { text: 'clientip', want: '10.0.0.1:9' },
  { text: 'echo a b', want: 'a b' },
  { text: '', want: `${describe(container, clientOf('10.0.0.1', 9), 'udp')}\n` },
];

for (const { text, want } of datagrams) {
  test(`datagram ${JSON.stringify(text)}`, () => {
    assert.equal(answerDatagram(container, clientOf('10.0.0.1', 9), text), want);
  });
}

const starts = [
  { bytes: 'GET / HTTP/1.1\r\n', want: true },
  { bytes: 'G', want: true },
  { bytes: 'OPTIONS * HTTP/1.1', want: true },
  { bytes: 'PATCH /x', want: true },
  { bytes: 'GETAWAY', want: false },
  { bytes: 'hello\n', want: false },
  { bytes: '\x16\x03\x01', want: false },
];

for (const { bytes, want } of starts) {
  test(`${JSON.stringify(bytes)} ${want ? 'may be' : 'is not'} HTTP`, () => {
    assert.equal(looksLikeHttp(Buffer.from(bytes, 'latin1')), want);
  });
}
