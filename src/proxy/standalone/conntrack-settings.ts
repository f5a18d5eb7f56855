/**
 * The kernel's settings for tracked connections (P111-P113). Each is written only where it differs,
 * and one that cannot be written is told and left: the proxy works without.
 */
import { globSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { messageOf } from '../../lib/errors.ts';
import type { ProxyConfig } from './fields.ts';

/** Where the kernel shows its settings; tests have others. */
export type SettingsRoots = { readonly proc: string; readonly sys: string };

const ROOTS: SettingsRoots = { proc: '/proc', sys: '/sys' };

/** The most that is asked for by the number of cores: each entry takes some 320 bytes. */
const SCALED_MAX = 1_048_576;

/** What became of one setting. `failed` is set when it could not be read or written. */
export type SettingResult = {
  readonly path: string;
  readonly before?: string;
  readonly value: string;
  readonly failed?: string;
};

type ConntrackConfig = Pick<ProxyConfig, Extract<keyof ProxyConfig, `conntrack.${string}`>>;

/** nf_conntrack_max; undefined: as it is (P111). */
export function conntrackMax(config: ConntrackConfig, cores: number): number | undefined {
  const perCore = config['conntrack.maxPerCore'];
  if (perCore === 0) return undefined;
  return Math.max(config['conntrack.min'], Math.min(SCALED_MAX, perCore * cores));
}

/** Cores as the topology in sysfs has them: a container's own share says nothing of the node. */
export function coreCount({ sys }: SettingsRoots = ROOTS): number {
  const cores = globSync(`${sys}/devices/system/cpu/cpu[0-9]*/topology/thread_siblings_list`);
  return cores.length > 0 ? cores.length : availableParallelism();
}

/** Makes the kernel's settings what they should be; tells of each that was not so already. */
export function applyConntrackSettings(
  config: ConntrackConfig,
  roots: SettingsRoots = ROOTS,
): SettingResult[] {
  const max = conntrackMax(config, coreCount(roots));
  const results = wantedSettings(config, max).map(([name, value]) =>
    writeIfDifferent(`${roots.proc}/sys/net/netfilter/${name}`, value),
  );
  if (max !== undefined) {
    const path = `${roots.sys}/module/nf_conntrack/parameters/hashsize`;
    // Never lowered (P112): every change rehashes the whole table.
    const isEnough = (present: number) => present >= max / 4;
    results.push(writeIfDifferent(path, Math.floor(max / 4), isEnough));
  }
  return results.filter((result) => result !== undefined);
}

/** A time of 0 leaves the kernel's. */
function wantedSettings(config: ConntrackConfig, max: number | undefined): [string, number][] {
  const seconds = (name: keyof ConntrackConfig) => Math.floor(Number(config[name]) / 1000);
  const wanted: [string, number][] = [
    ['nf_conntrack_max', max ?? 0],
    ['nf_conntrack_tcp_timeout_established', seconds('conntrack.tcpEstablishedTimeout')],
    ['nf_conntrack_tcp_timeout_close_wait', seconds('conntrack.tcpCloseWaitTimeout')],
    ['nf_conntrack_tcp_be_liberal', config['conntrack.tcpBeLiberal'] ? 1 : 0],
    ['nf_conntrack_udp_timeout', seconds('conntrack.udpTimeout')],
    ['nf_conntrack_udp_timeout_stream', seconds('conntrack.udpStreamTimeout')],
  ];
  return wanted.filter(([, value]) => value > 0);
}

function writeIfDifferent(
  path: string,
  value: number,
  isEnough: (present: number) => boolean = (present) => present === value,
): SettingResult | undefined {
  let before: string | undefined;
  try {
    before = readFileSync(path, 'utf8').trim();
    if (isEnough(Number(before))) return undefined;
    writeFileSync(path, String(value));
    return { path, before, value: String(value) };
  } catch (error) {
    const failed = messageOf(error);
    return { path, value: String(value), failed, ...(before === undefined ? {} : { before }) };
  }
}
