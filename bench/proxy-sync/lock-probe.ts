/**
 * How long another writer waits for the kernel's nf_tables lock: empty transactions, one after the
 * other. They take the lock and change nothing, not even the generation. Answers each line of its
 * input with the longest wait since the last, in milliseconds.
 */
import { createInterface } from 'node:readline';
import { encodeBatch } from '../../src/kernel/nftables/connection.ts';
import { NetlinkSocket } from '../../src/kernel/netlink/socket.ts';
import { NETLINK_NETFILTER } from '../../src/kernel/netlink/constants.ts';

const everyMs = 2;

const socket = new NetlinkSocket(NETLINK_NETFILTER);
let longestMs = 0;
setInterval(() => {
  const batch = encodeBatch([], socket.takeSequences(2));
  const startedAt = performance.now();
  socket.sendRaw(batch);
  longestMs = Math.max(longestMs, performance.now() - startedAt);
}, everyMs);
const lines = createInterface(process.stdin);
lines.on('line', () => {
  process.stdout.write(`${longestMs}\n`);
  longestMs = 0;
});
lines.on('close', () => process.exit());
