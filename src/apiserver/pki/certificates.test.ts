import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { createCa, createSigningKey, issue, publicKeyOf } from './certificates.ts';
import { integer, oid, time } from './der.ts';

// Bytes from `openssl asn1parse -genstr … -out` for each value.
const encodings: { name: string; bytes: Uint8Array; want: string }[] = [
  { name: 'integer 0', bytes: integer(0), want: '020100' },
  { name: 'integer 127', bytes: integer(127), want: '02017f' },
  { name: 'integer 128 keeps its sign', bytes: integer(128), want: '02020080' },
  { name: 'integer 256', bytes: integer(1, 0), want: '02020100' },
  { name: 'oid P-256', bytes: oid('1.2.840.10045.3.1.7'), want: '06082a8648ce3d030107' },
  {
    name: 'time before 2050',
    bytes: time(Date.UTC(2049, 11, 31, 23, 59, 59)),
    want: '170d3439313233313233353935395a',
  },
  {
    name: 'time from 2050',
    bytes: time(Date.UTC(2050, 0, 1)),
    want: '180f32303530303130313030303030305a',
  },
];
for (const { name, bytes, want } of encodings) {
  test(`DER ${name}`, () => assert.equal(Buffer.from(bytes).toString('hex'), want));
}

test('openssl accepts the chain and reads what was asked for', () => {
  const folder = mkdtempSync(join(tmpdir(), 'pki-'));
  try {
    const ca = createCa('lab');
    const leaf = issue(ca, {
      cn: 'kube-apiserver',
      orgs: ['system:masters', 'others'],
      ips: ['127.0.0.1', 'fd00::1'],
      dnsNames: ['kubernetes.default.svc'],
      usages: ['server', 'client'],
    });
    writeFileSync(join(folder, 'ca.pem'), ca.cert);
    writeFileSync(join(folder, 'leaf.pem'), leaf.cert);
    const openssl = (...args: string[]) =>
      execFileSync('openssl', args, { cwd: folder, encoding: 'utf8' });
    const verify = ['verify', '-x509_strict', '-CAfile', 'ca.pem', '-purpose'];
    assert.match(openssl(...verify, 'sslserver', 'leaf.pem'), /leaf.pem: OK/);
    assert.match(openssl(...verify, 'sslclient', 'leaf.pem'), /leaf.pem: OK/);
    const text = openssl('x509', '-in', 'leaf.pem', '-noout', '-text');
    assert.match(text, /Subject: O = system:masters, O = others, CN = kube-apiserver/);
    assert.match(text, /DNS:kubernetes.default.svc, IP Address:127.0.0.1, IP Address:FD00:/);
    assert.match(text, /TLS Web Server Authentication, TLS Web Client Authentication/);
    assert.match(openssl('x509', '-in', 'ca.pem', '-noout', '-text'), /CA:TRUE/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('a leaf belongs to its key and to no other authority', () => {
  const ca = createCa();
  const leaf = new X509Certificate(issue(ca, { cn: 'a', usages: ['client'] }).cert);
  assert.ok(leaf.checkIssued(new X509Certificate(ca.cert)));
  assert.ok(leaf.verify(new X509Certificate(ca.cert).publicKey));
  assert.ok(!leaf.verify(new X509Certificate(createCa().cert).publicKey));
});

test('a signing key has a public half', () => {
  assert.match(publicKeyOf(createSigningKey()), /BEGIN PUBLIC KEY/);
});
