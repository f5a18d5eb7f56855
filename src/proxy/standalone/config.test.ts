/** What a person may write, and what is said about mistakes. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { UserError } from '../../lib/errors.ts';
import { loadConfig, type FlagValues } from './config.ts';
import { configz } from './configz.ts';
import { formatDuration, parseDuration } from './field-types.ts';
import type { ProxyConfig } from './fields.ts';
import { chooseLevel } from './verbosity.ts';

const dir = mkdtempSync(join(tmpdir(), 'fairlead-proxy-config-'));
const file = join(dir, 'config.yaml');
after(() => rmSync(dir, { recursive: true }));

const head = 'apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n';

async function read(body: string, flags: FlagValues = {}): Promise<ProxyConfig> {
  writeFileSync(file, head + body);
  return (await loadConfig(file, flags)).config;
}

/** The file that kubeadm writes, as its documentation shows it. */
const KUBEADM = `bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection:
  acceptContentTypes: ""
  burst: 0
  contentType: ""
  kubeconfig: /var/lib/kube-proxy/kubeconfig.conf
  qps: 0
clusterCIDR: 10.244.0.0/16
configSyncPeriod: 0s
conntrack:
  maxPerCore: null
  min: null
  tcpBeLiberal: false
  tcpCloseWaitTimeout: null
  tcpEstablishedTimeout: null
  udpStreamTimeout: 0s
  udpTimeout: 0s
detectLocal:
  bridgeInterface: ""
  interfaceNamePrefix: ""
detectLocalMode: ""
enableProfiling: false
healthzBindAddress: ""
hostnameOverride: ""
iptables:
  localhostNodePorts: null
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
ipvs:
  excludeCIDRs: null
  minSyncPeriod: 0s
  scheduler: ""
  strictARP: false
  syncPeriod: 0s
  tcpFinTimeout: 0s
  tcpTimeout: 0s
  udpTimeout: 0s
logging:
  flushFrequency: 0
  options:
    json: {infoBufferSize: "0"}
    text: {infoBufferSize: "0"}
  verbosity: 0
metricsBindAddress: ""
mode: ""
nftables:
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
nodePortAddresses: null
oomScoreAdj: null
portRange: ""
showHiddenMetricsForVersion: ""
winkernel:
  enableDSR: false
  forwardHealthCheckVip: false
  networkName: ""
  rootHnsEndpointName: ""
  sourceVip: ""
`;

test('[P141] the file that kubeadm writes is taken as it is, and mode unset is nftables', async () => {
  const config = await read(KUBEADM);
  assert.deepEqual((await loadConfig(file)).unused, []);
  assert.equal(config.mode, 'nftables');
  assert.deepEqual(config.clusterCIDR, ['10.244.0.0/16']);
  assert.equal(config['conntrack.maxPerCore'], 32_768);
  assert.equal(config['nftables.syncPeriod'], 30_000, 'a period of 0 is the default');
  assert.equal(config['nftables.minSyncPeriod'], 1000, '[P127]');
  assert.equal(config.configSyncPeriod, 900_000);
});

/** What `curl :10249/configz` of kube-proxy 1.35.4 prints for the same file in mode nftables. */
const CONFIGZ = {
  Linux: {
    Conntrack: {
      MaxPerCore: 0,
      Min: 0,
      TCPEstablishedTimeout: '24h0m0s',
      TCPCloseWaitTimeout: '1h0m0s',
      TCPBeLiberal: false,
      UDPTimeout: '0s',
      UDPStreamTimeout: '0s',
    },
    MasqueradeAll: false,
    OOMScoreAdj: -999,
  },
  Windows: { RunAsService: false },
  FeatureGates: {},
  ClientConnection: {
    Kubeconfig: '/etc/kubeconfig',
    AcceptContentTypes: '',
    ContentType: 'application/vnd.kubernetes.protobuf',
    QPS: 5,
    Burst: 10,
  },
  HostnameOverride: 'node-1',
  BindAddress: '0.0.0.0',
  HealthzBindAddress: '0.0.0.0:10256',
  MetricsBindAddress: '127.0.0.1:10249',
  BindAddressHardFail: false,
  EnableProfiling: false,
  ShowHiddenMetricsForVersion: '',
  Mode: 'nftables',
  IPTables: { MasqueradeBit: 14, LocalhostNodePorts: true },
  NFTables: { MasqueradeBit: 14 },
  DetectLocalMode: 'ClusterCIDR',
  DetectLocal: {
    BridgeInterface: '',
    ClusterCIDRs: ['10.244.0.0/16'],
    InterfaceNamePrefix: '',
  },
  NodePortAddresses: ['172.29.0.11/32'],
  SyncPeriod: '30s',
  MinSyncPeriod: '1s',
  ConfigSyncPeriod: '15m0s',
};

test('[P124] /configz shows what kube-proxy shows for the same file', async () => {
  const config = await read(`mode: nftables
hostnameOverride: node-1
clientConnection: {kubeconfig: /etc/kubeconfig}
clusterCIDR: 10.244.0.0/16
conntrack: {maxPerCore: 0, min: 0}
`);
  const shown = configz(config, ['172.29.0.11/32']) as Record<string, Record<string, unknown>>;
  assert.deepEqual(Object.keys(shown), ['kubeproxy.config.k8s.io']);
  const all = shown['kubeproxy.config.k8s.io']!;
  const common = Object.fromEntries(Object.keys(CONFIGZ).map((key) => [key, all[key]]));
  assert.deepEqual(common, CONFIGZ);
});

const values: { name: string; body: string; field: keyof ProxyConfig; want: unknown }[] = [
  {
    name: 'a dual-stack pair',
    body: 'clusterCIDR: 10.0.0.0/8,fd00::/48',
    field: 'clusterCIDR',
    want: ['10.0.0.0/8', 'fd00::/48'],
  },
  {
    name: 'an address alone gets the usual port',
    body: 'healthzBindAddress: 127.0.0.1',
    field: 'healthzBindAddress',
    want: { host: '127.0.0.1', port: 10_256 },
  },
  {
    name: 'an IPv6 address and port',
    body: 'metricsBindAddress: "[::1]:9999"',
    field: 'metricsBindAddress',
    want: { host: '::1', port: 9999 },
  },
  {
    name: 'a list of prefixes',
    body: 'nodePortAddresses: [10.0.0.0/8]',
    field: 'nodePortAddresses',
    want: ['10.0.0.0/8'],
  },
  {
    name: 'primary',
    body: 'nodePortAddresses: [primary]',
    field: 'nodePortAddresses',
    want: ['primary'],
  },
  {
    name: 'a mark bit of 0',
    body: 'nftables: {masqueradeBit: 0}',
    field: 'nftables.masqueradeBit',
    want: 0,
  },
  {
    name: 'a time',
    body: 'conntrack: {udpTimeout: 1m30s}',
    field: 'conntrack.udpTimeout',
    want: 90_000,
  },
  {
    name: 'an interface',
    body: 'detectLocalMode: BridgeInterface\ndetectLocal: {bridgeInterface: cni0}',
    field: 'detectLocal.bridgeInterface',
    want: 'cni0',
  },
  {
    name: 'JSON in YAML',
    body: 'logging: {"format": "json"}',
    field: 'logging.format',
    want: 'json',
  },
];

for (const { name, body, field, want } of values) {
  test(`takes ${name}`, async () => assert.deepEqual((await read(body))[field], want));
}

/** Each names the file, the field and what was found. */
const mistakes: { name: string; body: string; says: string }[] = [
  {
    name: '[P141] iptables mode',
    body: 'mode: iptables',
    says: 'mode is "iptables", it must be nftables: this proxy has no other mode',
  },
  { name: '[P141] ipvs mode', body: 'mode: ipvs', says: 'mode is "ipvs", it must be nftables' },
  { name: '[P141] ebpf mode', body: 'mode: ebpf', says: 'mode is "ebpf", it must be nftables' },
  {
    name: '[P141] an unknown mode',
    body: 'mode: userspace',
    says: 'mode is "userspace", it must be nftables',
  },
  { name: 'an unknown field', body: 'nftable: {}', says: 'nftable is no field' },
  {
    name: 'an unknown field of a block',
    body: 'conntrack: {max: 5}',
    says: 'conntrack.max is no field',
  },
  {
    name: 'a field in another case',
    body: 'clusterCidr: 10.0.0.0/8',
    says: 'clusterCidr is no field, perhaps clusterCIDR is meant',
  },
  {
    name: 'a field in the wrong block',
    body: 'iptables: {maxPerCore: 1}',
    says: 'iptables.maxPerCore is no field, perhaps conntrack.maxPerCore is meant',
  },
  {
    name: 'a text for a number',
    body: 'oomScoreAdj: much',
    says: 'oomScoreAdj is "much", it must be a whole number from -1000 to 1000',
  },
  {
    name: 'a number out of range',
    body: 'nftables: {masqueradeBit: 32}',
    says: 'nftables.masqueradeBit is 32, it must be a whole number from 0 to 31',
  },
  {
    name: 'a negative number',
    body: 'conntrack: {min: -1}',
    says: 'conntrack.min is -1, it must be a whole number of at least 0',
  },
  {
    name: 'a text for a boolean',
    body: 'bindAddressHardFail: maybe',
    says: 'bindAddressHardFail is "maybe", it must be true or false',
  },
  {
    name: 'a time without a unit',
    body: 'nftables: {syncPeriod: 30}',
    says: 'nftables.syncPeriod is 30, it must be a time above 0, such as 30s',
  },
  {
    name: 'a negative time',
    body: 'conntrack: {udpTimeout: -1s}',
    says: 'conntrack.udpTimeout is "-1s", it must be a time such as 30s',
  },
  {
    name: 'a prefix that is none',
    body: 'clusterCIDR: 10.0.0.0',
    says: 'clusterCIDR is "10.0.0.0", it must hold prefixes',
  },
  {
    name: 'two prefixes of one family',
    body: 'clusterCIDR: 10.0.0.0/8,11.0.0.0/8',
    says: 'it must hold at most one prefix of each IP family',
  },
  {
    name: 'primary among prefixes',
    body: 'nodePortAddresses: [primary, 10.0.0.0/8]',
    says: 'nodePortAddresses is ["primary","10.0.0.0/8"], it must be primary alone, or prefixes',
  },
  {
    name: 'a port out of range',
    body: 'healthzBindAddress: 0.0.0.0:70000',
    says: 'healthzBindAddress is "0.0.0.0:70000", it must be an address and a port',
  },
  {
    name: 'a host name to listen on',
    body: 'metricsBindAddress: localhost:10249',
    says: 'metricsBindAddress is "localhost:10249", it must be an address and a port',
  },
  {
    name: 'an address that is none',
    body: 'bindAddress: here',
    says: 'bindAddress is "here", it must be an IP address',
  },
  {
    name: 'an unknown way to tell pods apart',
    body: 'detectLocalMode: Guess',
    says: 'detectLocalMode is "Guess", it must be one of ClusterCIDR, NodeCIDR',
  },
  {
    name: 'an interface mode without one',
    body: 'detectLocalMode: BridgeInterface',
    says: 'detectLocal.bridgeInterface is empty, detectLocalMode BridgeInterface needs it',
  },
  {
    name: 'a pause longer than the period',
    body: 'nftables: {minSyncPeriod: 2m}',
    says: 'nftables.minSyncPeriod is longer than nftables.syncPeriod',
  },
  {
    name: 'a value where a block belongs',
    body: 'conntrack: 5',
    says: 'conntrack is 5, it must be a block of fields',
  },
  {
    name: 'a field twice',
    body: 'oomScoreAdj: 1\noomScoreAdj: 2',
    says: 'Map keys must be unique',
  },
  { name: 'two documents', body: '---\nmode: nftables', says: 'it holds 2 documents' },
];

for (const { name, body, says } of mistakes) {
  test(`refuses ${name}`, async () => {
    await assert.rejects(read(body), (error: UserError) => {
      assert(error instanceof UserError && error.code === 'BAD_CONFIG', String(error));
      assert(error.message.startsWith(`Cannot use config file "${file}": `), error.message);
      assert(error.message.includes(says), error.message);
      return true;
    });
  });
}

test('every mistake of a file is told at once', async () => {
  const found = await read('mode: x\noomScoreAdj: y\n').catch((error: Error) => error);
  assert(found instanceof Error);
  const lines = found.message.split('\n');
  assert.equal(lines.length, 2);
  assert.match(lines[1]!, /^ {2}and oomScoreAdj is "y"/);
});

test('a file of another kind, or none, is refused', async () => {
  writeFileSync(file, 'apiVersion: v1\nkind: Pod\n');
  await assert.rejects(loadConfig(file), /apiVersion is "v1", it must be kubeproxy/);
  writeFileSync(file, '- a\n');
  await assert.rejects(loadConfig(file), /it holds no mapping/);
  writeFileSync(file, '');
  await assert.rejects(loadConfig(file), /it holds no mapping/);
  await assert.rejects(loadConfig(join(dir, 'absent')), /ENOENT/);
});

test('flags override the file, and mistakes in them name the flag', async () => {
  const config = await read('hostnameOverride: one\noomScoreAdj: 5\nclusterCIDR: 10.0.0.0/8', {
    'node-name': 'two',
    'cluster-cidr': '10.1.0.0/16,fd00::/48',
    'masquerade-all': true,
    'conntrack-tcp-be-liberal': 'false',
    'metrics-bind-address': '',
    'min-sync-period': '0',
  });
  assert.equal(config['nftables.minSyncPeriod'], 0, '[P127] at once, where a flag says so');
  assert.equal(config.hostnameOverride, 'two');
  assert.equal(config.oomScoreAdj, 5);
  assert.deepEqual(config.clusterCIDR, ['10.1.0.0/16', 'fd00::/48']);
  assert.equal(config['nftables.masqueradeAll'], true);
  assert.equal(config.metricsBindAddress, 'off');
  await assert.rejects(loadConfig(undefined, { 'proxy-mode': 'ipvs' }), (error: UserError) => {
    assert.equal(error.code, 'BAD_FLAG');
    return /--proxy-mode is "ipvs", it must be nftables/.test(error.message);
  });
  await assert.rejects(loadConfig(undefined, { 'oom-score-adj': '1.5' }), /--oom-score-adj/);
});

test('fields without effect are told where they are set', async () => {
  const body = `ipvs: {scheduler: rr}
featureGates: {A: true}
portRange: ""
clientConnection: {qps: 50, kubeconfig: /etc/kubeconfig}
iptables: {localhostNodePorts: false, masqueradeBit: 14}
`;
  writeFileSync(file, head + body);
  const { unused } = await loadConfig(file);
  assert.deepEqual(unused, ['ipvs.scheduler', 'featureGates', 'clientConnection.qps']);
});

const levels: { name: string; verbosity: number; env?: string; want: string | RegExp }[] = [
  { name: 'nothing said', verbosity: 0, want: 'info' },
  { name: '-v=4', verbosity: 4, want: 'debug' },
  { name: '-v=9', verbosity: 9, want: 'trace' },
  { name: 'the environment wins', verbosity: 9, env: 'warn', want: 'warn' },
  {
    name: 'a level that there is not',
    verbosity: 0,
    env: 'loud',
    want: /"loud": FAIRLEAD_LOG must/,
  },
];

for (const { name, verbosity, env, want } of levels) {
  test(`log level: ${name}`, () => {
    const choose = () => chooseLevel(verbosity, env === undefined ? {} : { FAIRLEAD_LOG: env });
    if (typeof want === 'string') assert.equal(choose(), want);
    else assert.throws(choose, want);
  });
}

// time.ParseDuration and Duration.String of Go.
const durations: [text: string, ms: number | undefined, shown?: string][] = [
  ['0', 0, '0s'],
  ['30s', 30_000, '30s'],
  ['1h30m', 5_400_000, '1h30m0s'],
  ['24h', 86_400_000, '24h0m0s'],
  ['90s', 90_000, '1m30s'],
  ['1.5s', 1500, '1.5s'],
  ['500ms', 500, '500ms'],
  ['-1s', -1000],
  ['1d', undefined],
  ['5', undefined],
  ['s', undefined],
  ['', undefined],
  ['1s ', undefined],
];

for (const [text, ms, shown] of durations) {
  test(`the time "${text}"`, () => {
    assert.equal(parseDuration(text), ms);
    if (shown !== undefined) assert.equal(formatDuration(ms!), shown);
  });
}
