/** Kernel settings, written to a directory that looks like /proc and /sys. */
import assert from 'node:assert/strict';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { loadConfig } from './config.ts';
import { applyConntrackSettings, conntrackMax } from './conntrack-settings.ts';
import type { ProxyConfig } from './fields.ts';

const { config: defaults } = await loadConfig(undefined);
const with_ = (more: Partial<ProxyConfig>): ProxyConfig => ({ ...defaults, ...more });

const maxima: {
  name: string;
  perCore: number;
  min: number;
  cores: number;
  want: number | undefined;
}[] = [
  {
    name: 'the minimum on a small machine',
    perCore: 32_768,
    min: 131_072,
    cores: 2,
    want: 131_072,
  },
  { name: 'so many for each core', perCore: 32_768, min: 131_072, cores: 8, want: 262_144 },
  { name: 'a million at most', perCore: 32_768, min: 131_072, cores: 128, want: 1_048_576 },
  {
    name: 'a minimum above that counts',
    perCore: 32_768,
    min: 2_000_000,
    cores: 128,
    want: 2_000_000,
  },
  { name: '0 for each core leaves it alone', perCore: 0, min: 131_072, cores: 8, want: undefined },
];

for (const { name, perCore, min, cores, want } of maxima) {
  test(`[P111] nf_conntrack_max: ${name}`, () => {
    const config = with_({ 'conntrack.maxPerCore': perCore, 'conntrack.min': min });
    assert.equal(conntrackMax(config, cores), want);
  });
}

const root = mkdtempSync(join(tmpdir(), 'fairlead-conntrack-'));
after(() => rmSync(root, { recursive: true }));
const roots = { proc: join(root, 'proc'), sys: join(root, 'sys') };
const HASH = join(roots.sys, 'module/nf_conntrack/parameters/hashsize');
const sysctl = (name: string) => join(roots.proc, 'sys/net/netfilter', `nf_conntrack_${name}`);

/** What Linux 6.1 has after a start. */
function fresh(hashsize = 65_536): void {
  const files: [string, string][] = [
    [sysctl('max'), '262144'],
    [sysctl('tcp_timeout_established'), '432000'],
    [sysctl('tcp_timeout_close_wait'), '60'],
    [sysctl('tcp_be_liberal'), '0'],
    [sysctl('udp_timeout'), '30'],
    [sysctl('udp_timeout_stream'), '120'],
    [HASH, String(hashsize)],
  ];
  rmSync(root, { recursive: true, force: true });
  for (let core = 0; core < 12; core += 1) {
    const topology = join(roots.sys, `devices/system/cpu/cpu${core}/topology/thread_siblings_list`);
    files.push([topology, `${core}`]);
  }
  for (const [file, text] of files) {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, `${text}\n`);
  }
}

const read = (file: string) => readFileSync(file, 'utf8').trim();

test('[P111] [P112] [P113] the defaults: by cores of sysfs, hash raised, timeouts of TCP alone', () => {
  fresh();
  const results = applyConntrackSettings(defaults, roots);
  assert.equal(read(sysctl('max')), String(12 * 32_768));
  assert.equal(read(HASH), String((12 * 32_768) / 4));
  assert.equal(read(sysctl('tcp_timeout_established')), '86400');
  assert.equal(read(sysctl('tcp_timeout_close_wait')), '3600');
  assert.equal(read(sysctl('tcp_be_liberal')), '0');
  assert.equal(read(sysctl('udp_timeout')), '30');
  assert.equal(read(sysctl('udp_timeout_stream')), '120');
  assert.equal(results.length, 4);
  assert(results.every(({ failed }) => failed === undefined));
});

test('[P113] what is so already is not written', () => {
  fresh();
  applyConntrackSettings(defaults, roots);
  const files = [sysctl('max'), sysctl('tcp_timeout_established'), HASH];
  const times = () => files.map((file) => statSync(file, { bigint: true }).mtimeNs);
  const before = times();
  assert.deepEqual(applyConntrackSettings(defaults, roots), []);
  assert.deepEqual(times(), before);
});

test('[P112] a hash that is large enough is never lowered', () => {
  fresh(262_144);
  applyConntrackSettings(defaults, roots);
  assert.equal(read(HASH), '262144');
});

test('[P113] [P114] all of them, where they are asked for', () => {
  fresh();
  const config = with_({
    'conntrack.maxPerCore': 0,
    'conntrack.tcpBeLiberal': true,
    'conntrack.udpTimeout': 15_000,
    'conntrack.udpStreamTimeout': 61_000,
    'conntrack.tcpEstablishedTimeout': 0,
    'conntrack.tcpCloseWaitTimeout': 0,
  });
  applyConntrackSettings(config, roots);
  assert.equal(read(sysctl('max')), '262144');
  assert.equal(read(HASH), '65536');
  assert.equal(read(sysctl('tcp_be_liberal')), '1');
  assert.equal(read(sysctl('udp_timeout')), '15');
  assert.equal(read(sysctl('udp_timeout_stream')), '61');
  assert.equal(read(sysctl('tcp_timeout_established')), '432000');
});

test('[P112] what cannot be read or written is told, and the rest is done', () => {
  fresh();
  rmSync(HASH);
  // A directory cannot be written, not even by root.
  rmSync(sysctl('max'));
  mkdirSync(sysctl('max'));
  chmodSync(sysctl('max'), 0o555);
  const results = applyConntrackSettings(defaults, roots);
  const failed = results.filter((one) => one.failed !== undefined).map(({ path }) => path);
  assert.deepEqual(failed, [sysctl('max'), HASH]);
  assert.equal(read(sysctl('tcp_timeout_established')), '86400');
});
