/**
 * Records the bytes that nft(8) and ip(8) send to the kernel, as text for our tests.
 *
 * Run it in a network namespace of its own, with nftables, iproute2 and strace installed:
 * `unshare -n sh tools/node.sh tools/record/netlink.ts`
 */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';

/** Each line is run in turn; those that begin with a space only prepare for the others. */
const NFT = `
add table ip nat
add table ip6 nat
add table inet t { comment "hello"; }
delete table ip6 nat
add chain inet t plain
add chain inet t pre { type nat hook prerouting priority -100; policy accept; }
add chain inet t forw { type filter hook forward priority 0; policy drop; comment "x"; }
add chain ip nat post { type nat hook postrouting priority 100; }
add chain inet t gone
delete chain inet t gone
add set inet t addresses { type ipv4_addr; }
add set inet t six { type ipv6_addr; flags timeout; timeout 10s; size 100; comment "c"; }
add set inet t nets { type ipv4_addr; flags interval; }
add map inet t marks { type mark : mark; }
add map inet t ports { type inet_service : verdict; }
add element inet t addresses { 10.0.0.1 }
add element inet t six { fd00::1 timeout 5s comment "hey" }
add element inet t nets { 10.0.0.0/8 }
add element inet t marks { 0x7 : 0x8 }
add element inet t ports { 80 : goto plain }
add element inet t ports { 81 : drop }
delete element inet t addresses { 10.0.0.1 }
 add map inet t services { type ipv4_addr . inet_proto . inet_service : verdict; }
 add map inet t endpoints { type mark . mark : ipv4_addr . inet_service; }
 add map inet t affinity { type mark . ipv4_addr : mark; flags dynamic,timeout; timeout 1h; }
 add set inet t ranges { type ipv4_addr . inet_service; flags interval; }
add element inet t services { 10.96.0.10 . udp . 53 : goto plain }
add element inet t endpoints { 0x7 . 0x1 : 10.244.0.1 . 8080 }
add element inet t ranges { 10.0.0.0/8 . 1-100 }
flush set inet t ranges
flush chain inet t plain
flush table inet t
add rule inet t plain accept comment "why"
insert rule inet t plain drop
add rule inet t plain jump target
add rule ip nat post masquerade fully-random
add rule ip nat post ip daddr . ip protocol . th dport vmap @m
add rule inet t plain ct state established,related accept
add rule inet t plain ct direction reply ct status dnat accept
add rule inet t plain meta mark set meta mark or 0x4000
add rule inet t plain meta mark set meta mark lshift 3
add rule inet t plain fib daddr type local counter
add rule inet t plain numgen random mod 3 offset 4 vmap { 4 : accept }
add rule inet t plain numgen inc mod 2 0
add rule inet t pre socket transparent 1 accept
add rule ip nat pre4 tcp dport 80 dnat to 10.0.0.1:80
add rule ip6 nat6 pre6 udp dport 80 dnat to [fd00::1]:80
add rule ip nat post snat to 10.0.0.1-10.0.0.5 persistent
add rule ip nat pre4 tcp dport 81 redirect to :80
add rule inet t plain reject with tcp reset
add rule inet t plain reject with icmpx type port-unreachable
add rule inet t plain update @affinity { meta mark . ip saddr timeout 30s : 0x5 }
add rule inet t plain ip saddr @addresses
add rule inet t plain ip saddr != @addresses
add rule inet t plain jhash ip saddr . ip daddr mod 5 seed 0xdeadbeef 1
add rule inet t plain symhash mod 2 1
add rule inet t plain limit rate 10/second burst 5 packets
add rule inet t plain limit rate over 10 kbytes/minute
add rule inet t plain log prefix "x" group 5
add rule inet t plain log prefix "y" level warn
add rule inet t plain tcp dport 30000-32767
add rule inet t plain tcp dport != 30000-32767
add rule inet t plain quota over 1000 bytes
add rule inet t plain ct mark set 0x5
add rule inet t plain iifname "lo" ip ttl set 5
add rule inet t plain meta skuid > 1000
add rule inet t plain ct original ip daddr 10.0.0.1
`;

const IP = `
link add br0 type bridge forward_delay 0 stp_state 0
link add d0 address 02:00:00:00:00:01 mtu 1400 type bridge forward_delay 0 stp_state 0
link add v0 type veth peer name v1
link set v0 up
link set v0 master br0
link set v0 down
link set d0 up
link set v1 up promisc on
link set v0 type bridge_slave hairpin on
link set d0 addrgenmode none
link set v1 name eth0
 link set eth0 up
 link set br0 up
address add 172.29.0.1/24 dev br0
address add fd00:172:29::1/64 dev br0 nodad
address add fd00:172:29::c0/128 dev br0 nodad preferred_lft 0
address add 127.0.0.2/8 dev lo
address delete 127.0.0.2/8 dev lo
route add 10.244.1.0/24 via 172.29.0.11 proto 70
route add 10.244.2.7/32 dev eth0 proto 70
route replace fd00:10:244::/64 via fd00:172:29::11 proto 70
route add default via 169.254.1.1 dev eth0 onlink proto 70
route add 10.99.0.0/16 proto 70 nexthop via 172.29.0.12 dev br0 nexthop via 172.29.0.13 dev br0 weight 3
route add blackhole 10.98.0.0/16 table 1000 metric 5 proto 70
route add 10.97.0.0/16 via 172.29.0.12 src 172.29.0.1 mtu 1300 proto 70
route delete 10.97.0.0/16
route add local 10.95.0.0/16 dev lo table local proto 70
neighbour replace 169.254.1.1 lladdr 02:00:00:00:00:99 dev eth0 nud permanent
neighbour replace fe80::1 lladdr 02:00:00:00:00:99 dev eth0 nud permanent
neighbour delete 169.254.1.1 dev eth0
neighbour add proxy fe80::2 dev eth0
rule add priority 100 fwmark 0x4000/0x4000 table 1000 protocol 70
rule add priority 101 from 10.0.0.0/8 to 10.1.0.0/16 iif lo table 100 protocol 70
rule delete priority 101 from 10.0.0.0/8 to 10.1.0.0/16 iif lo table 100 protocol 70
link delete d0
`;

/** Messages that hold a batch together, and those that read, are not what is recorded. */
const OTHERS: Record<string, readonly number[]> = {
  nft: [0x10, 0x11, 0xa01, 0xa04, 0xa07, 0xa0a, 0xa0d, 0xa10, 0xa13, 0xa17],
  ip: [18, 22, 26, 30, 34],
};

const TABLES = `
add table inet t
add chain inet t target
add chain ip nat pre4 { type nat hook prerouting priority -100; }
add table ip6 nat6
add chain ip6 nat6 pre6 { type nat hook prerouting priority -100; }
add map ip nat m { type ipv4_addr . inet_proto . inet_service : verdict; }
`;

writeFileSync('test/golden/nft.txt', record('nft', NFT));
writeFileSync('test/golden/ip.txt', record('ip', IP));

function record(tool: string, lines: string): string {
  const blocks: string[] = [];
  for (const line of lines.split('\n').filter((text) => text !== '')) {
    const prepares = line.startsWith(' ');
    const messages = run(tool, line.trim());
    if (!prepares) blocks.push(`# ${tool} ${line}\n${messages.map(describe).join('')}`);
    if (line === 'flush table inet t') {
      for (const also of TABLES.trim().split('\n')) run(tool, also);
    }
  }
  return blocks.join('\n');
}

/** Runs one command and gives the messages it sent. */
function run(tool: string, command: string): Buffer[] {
  const traced = ['-qq', '-e', 'trace=sendmsg,sendto', '-e', 'write=all', tool];
  // nft takes its command as one text, quotes and all.
  const words = tool === 'nft' ? [command] : command.split(' ');
  const { stderr, status } = spawnSync('strace', [...traced, ...words], { encoding: 'latin1' });
  if (status !== 0) throw new Error(`${tool} ${command}:\n${stderr}`);
  const bytes: number[] = [];
  for (const line of stderr.split('\n')) {
    const dumped = /^ \| [0-9a-f]{5}  ([0-9a-f ]{49})/.exec(line)?.[1];
    if (dumped === undefined) continue;
    for (const byte of dumped.trim().split(/ +/)) bytes.push(Number.parseInt(byte, 16));
  }
  return split(Buffer.from(bytes)).filter((message) => changes(tool, message));
}

/** ip(8) first sends a change of nothing, to see what the kernel knows. */
function changes(tool: string, message: Buffer): boolean {
  if (OTHERS[tool]?.includes(message.readUInt16LE(4)) === true) return false;
  return message.subarray(16).some((byte) => byte !== 0);
}

function split(bytes: Buffer): Buffer[] {
  const messages: Buffer[] = [];
  for (let at = 0; at < bytes.length;) {
    const length = bytes.readUInt32LE(at);
    messages.push(bytes.subarray(at, at + length));
    at += (length + 3) & ~3;
  }
  return messages;
}

/** Type and flags, then the body in words of four bytes. */
function describe(message: Buffer): string {
  const head = `type 0x${message.readUInt16LE(4).toString(16)} flags 0x${message.readUInt16LE(6).toString(16)}`;
  const words =
    message
      .subarray(16)
      .toString('hex')
      .match(/.{1,8}/g) ?? [];
  const rows: string[] = [];
  for (let at = 0; at < words.length; at += 8) rows.push(words.slice(at, at + 8).join(' '));
  return `${head}\n${rows.join('\n')}\n`;
}
