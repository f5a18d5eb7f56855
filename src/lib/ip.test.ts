import assert from 'node:assert/strict';
import { isIPv4 } from 'node:net';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatIp, isCanonicalIpv4, parseIp } from './ip.ts';

const address = fc.tuple(fc.nat(255), fc.nat(255), fc.nat(255), fc.nat(255));

test('the bytes of an IPv4 address are its numbers', () => {
  fc.assert(
    fc.property(address, (numbers) => {
      const text = numbers.join('.');
      assert.deepEqual([...parseIp(text)!], numbers);
      assert.equal(formatIp(parseIp(text)!), text);
    }),
  );
});

test('a text is an IPv4 address when Node says so', () => {
  const part = fc.oneof(fc.nat(400).map(String), fc.constantFrom('', '00', '01', '1a', ' 1', '-1'));
  fc.assert(
    fc.property(fc.array(part, { minLength: 1, maxLength: 6 }), (parts) => {
      const text = parts.join('.');
      assert.equal(isCanonicalIpv4(text), isIPv4(text), text);
    }),
  );
  for (const text of ['', '.', '...', '1.2.3.4.', '.1.2.3.4', '1.2.3.4\n', '255.255.255.255']) {
    assert.equal(isCanonicalIpv4(text), isIPv4(text), text);
  }
});
