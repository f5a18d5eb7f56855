/**
 * Root of a user namespace of its own may change its network, but the kernel keeps the limits of
 * its sockets: what is too large for one datagram is refused, or split when that is allowed.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';

const program = `
import { readFileSync } from 'node:fs';
import { addElements, addSet, addTable, encodeKey, NftConnection } from './src/kernel/nftables/index.ts';
const connection = new NftConnection();
const table = { family: 'ip', table: 't' };
connection.apply([
  addTable({ family: 'ip', name: 't' }),
  addSet({ ...table, name: 's', key: ['mark'] }),
]);
// The kernel doubles the limit; each element takes more than 140 bytes.
const limit = 2 * Number(readFileSync('/proc/sys/net/core/wmem_max', 'utf8'));
const comment = 'x'.repeat(120);
const keys = Array.from({ length: Math.ceil(limit / 140) }, (_, index) => ({
  key: encodeKey(['mark'], [index]),
  comment,
}));
const transaction = addElements({ ...table, set: 's' }, keys);
let code;
try {
  connection.apply(transaction);
} catch (error) {
  code = error.code;
}
const before = connection.elements({ ...table, set: 's' }).length;
connection.apply(transaction, { split: true });
const after = connection.elements({ ...table, set: 's' }).length;
console.log(JSON.stringify({ code, before, missing: keys.length - after }));
`;

test('a large transaction in a user namespace is refused whole, and done in parts when asked', () => {
  const root = new URL('../..', import.meta.url).pathname;
  const arguments_ = ['-rn', process.execPath, '--input-type=module-typescript', '-e', program];
  const { stdout, stderr } = spawnSync('unshare', arguments_, { cwd: root, encoding: 'utf8' });
  assert.equal(stderr, '');
  assert.deepEqual(JSON.parse(stdout), {
    code: 'NETLINK_TOO_LARGE',
    before: 0,
    missing: 0,
  });
});
