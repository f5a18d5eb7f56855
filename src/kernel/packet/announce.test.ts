import assert from 'node:assert/strict';
import { test } from 'node:test';
import { macBytes } from '../route/mac.ts';
import { gratuitousArp, unsolicitedAdvertisement } from './announce.ts';

const mac = macBytes('02:00:00:00:00:99');

// What Linux 6.18 itself sent when a link with these addresses came up (sysctl arp_notify, ndisc_notify;
// the machine was a router), read from the other end, without the Ethernet header.
const fromKernel = {
  arp: '0001080006040001 020000000099 ac1d00c0 000000000000 ac1d00c0',
  advertisement:
    '6000000000203aff fd000172002900000000000000010000 ff020000000000000000000000000001' +
    ' 8800d6cc a0000000 fd000172002900000000000000010000 0201020000000099',
};

test('a gratuitous ARP request is what the kernel sends', () => {
  assert.equal(gratuitousArp(1, mac, '172.29.0.192').toHex(), fromKernel.arp.replaceAll(' ', ''));
});

test('a gratuitous ARP reply names the sender as the target as well (RFC 5227 section 3)', () => {
  const [head = '', sender = '', ip = ''] = fromKernel.arp.split(' ');
  const want = head.replace(/1$/, '2') + sender + ip + sender + ip;
  assert.equal(gratuitousArp(2, mac, '172.29.0.192').toHex(), want);
});

test('an unsolicited neighbour advertisement is what the kernel sends', () => {
  const packet = unsolicitedAdvertisement(mac, 'fd00:172:29::1:0');
  assert.equal(packet.toHex(), fromKernel.advertisement.replaceAll(' ', ''));
});
