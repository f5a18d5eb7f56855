/**
 * The fields of a KubeProxyConfiguration (kubeproxy.config.k8s.io/v1alpha1) and the flags that
 * override them. Names, defaults and meanings are kube-proxy's, but for `mode`: nftables is the
 * only one, and the default. Plain data, since the help text is made of it.
 */
import {
  address,
  anyNumber,
  cidrPair,
  duration,
  hostPort,
  onlyWord,
  text,
  texts,
  unused,
  whole,
  word,
  yesOrNo,
  zeroIsDefault,
  type Field,
} from './field-types.ts';
import { parseCidr } from '../../lib/ip.ts';

export const HEALTHZ_PORT = 10_256;
export const METRICS_PORT = 10_249;

const hour = 3_600_000;
const bit = { min: 0, max: 31 };

export const fields = {
  mode: onlyWord('nftables', 'be nftables: this proxy has no other mode'),
  hostnameOverride: text(''),
  bindAddress: address('0.0.0.0'),
  healthzBindAddress: hostPort(HEALTHZ_PORT),
  metricsBindAddress: hostPort(METRICS_PORT),
  bindAddressHardFail: yesOrNo(false),
  enableProfiling: yesOrNo(false),
  showHiddenMetricsForVersion: text(''),
  clusterCIDR: cidrPair(),
  nodePortAddresses: texts([], nodePortsMust),
  oomScoreAdj: whole(-999, { min: -1000, max: 1000 }),
  configSyncPeriod: zeroIsDefault(duration(hour / 4, { min: 1 })),
  detectLocalMode: word('ClusterCIDR', [
    'ClusterCIDR',
    'NodeCIDR',
    'BridgeInterface',
    'InterfaceNamePrefix',
  ]),
  'detectLocal.bridgeInterface': text(''),
  'detectLocal.interfaceNamePrefix': text(''),
  'clientConnection.kubeconfig': text(''),
  'clientConnection.acceptContentTypes': text(''),
  'clientConnection.contentType': text('application/vnd.kubernetes.protobuf'),
  'clientConnection.qps': zeroIsDefault(anyNumber(5)),
  'clientConnection.burst': zeroIsDefault(whole(10, { min: 0 })),
  'conntrack.maxPerCore': whole(32_768, { min: 0 }),
  'conntrack.min': whole(131_072, { min: 0 }),
  'conntrack.tcpEstablishedTimeout': duration(24 * hour),
  'conntrack.tcpCloseWaitTimeout': duration(hour),
  'conntrack.tcpBeLiberal': yesOrNo(false),
  'conntrack.udpTimeout': duration(0),
  'conntrack.udpStreamTimeout': duration(0),
  'nftables.masqueradeAll': yesOrNo(false),
  'nftables.masqueradeBit': whole(14, bit),
  'nftables.syncPeriod': zeroIsDefault(duration(30_000, { min: 1 })),
  'nftables.minSyncPeriod': zeroIsDefault(duration(1000)),
  'logging.format': word('text', ['text', 'json']),
  'logging.verbosity': whole(0, { min: 0 }),
  featureGates: unused({}),
  'iptables.masqueradeBit': whole(14, bit),
  'iptables.masqueradeAll': yesOrNo(false),
  'iptables.localhostNodePorts': yesOrNo(true),
  'iptables.syncPeriod': zeroIsDefault(duration(30_000)),
  'iptables.minSyncPeriod': zeroIsDefault(duration(1000)),
  'ipvs.scheduler': text(''),
  'ipvs.excludeCIDRs': texts([]),
  'ipvs.strictARP': yesOrNo(false),
  'ipvs.syncPeriod': zeroIsDefault(duration(30_000)),
  'ipvs.minSyncPeriod': zeroIsDefault(duration(1000)),
  'ipvs.tcpTimeout': duration(0),
  'ipvs.tcpFinTimeout': duration(0),
  'ipvs.udpTimeout': duration(0),
  'logging.flushFrequency': unused('5s'),
  'logging.options': unused({}),
  'logging.vmodule': unused([]),
  portRange: unused(''),
  winkernel: unused({}),
  windowsRunAsService: unused(false),
  // Ours, in a block of its own: kube-proxy has nothing like it.
  'fairlead.balancing': word('random', ['random', 'roundRobin', 'sourceHash']),
  'fairlead.serviceCIDRs': texts([], cidrsMust),
} as const;

export type FieldName = keyof typeof fields;

/** Every field with the value that was read, or its default. */
export type ProxyConfig = {
  readonly [N in FieldName]: (typeof fields)[N] extends Field<infer T> ? T : never;
};

export type Flag = {
  /** Without the dashes. */
  readonly flag: string;
  readonly field: FieldName;
  /** What stands for the value in the help. */
  readonly value?: string;
  readonly help: string;
};

/** As kube-proxy names them. */
export const flags: readonly Flag[] = [
  {
    flag: 'kubeconfig',
    field: 'clientConnection.kubeconfig',
    value: 'file',
    help: 'who we are and where the API server is; without it the service account of the pod',
  },
  {
    flag: 'node-name',
    field: 'hostnameOverride',
    value: 'name',
    help: 'the Node that this machine is (default: its host name)',
  },
  {
    flag: 'hostname-override',
    field: 'hostnameOverride',
    value: 'name',
    help: 'the same, as kube-proxy calls it',
  },
  { flag: 'proxy-mode', field: 'mode', value: 'mode', help: 'nftables, the only one (default)' },
  {
    flag: 'cluster-cidr',
    field: 'clusterCIDR',
    value: 'cidrs',
    help: 'where pods have their addresses; sources elsewhere are masqueraded',
  },
  {
    flag: 'detect-local-mode',
    field: 'detectLocalMode',
    value: 'mode',
    help: 'how pods are told apart: ClusterCIDR (default), NodeCIDR, BridgeInterface, InterfaceNamePrefix',
  },
  {
    flag: 'pod-bridge-interface',
    field: 'detectLocal.bridgeInterface',
    value: 'name',
    help: 'the bridge that pods are on, for BridgeInterface',
  },
  {
    flag: 'pod-interface-name-prefix',
    field: 'detectLocal.interfaceNamePrefix',
    value: 'prefix',
    help: 'how the links of pods begin, for InterfaceNamePrefix',
  },
  {
    flag: 'nodeport-addresses',
    field: 'nodePortAddresses',
    value: 'cidrs',
    help: 'addresses that answer on node ports: primary (default) or prefixes',
  },
  {
    flag: 'bind-address',
    field: 'bindAddress',
    value: 'address',
    help: 'overrides the primary address of the node',
  },
  {
    flag: 'healthz-bind-address',
    field: 'healthzBindAddress',
    value: 'host:port',
    help: 'where /healthz and /livez answer (default: 0.0.0.0:10256; empty: nowhere)',
  },
  {
    flag: 'metrics-bind-address',
    field: 'metricsBindAddress',
    value: 'host:port',
    help: 'where /metrics, /proxyMode and /configz answer (default: 127.0.0.1:10249; empty: nowhere)',
  },
  {
    flag: 'bind-address-hard-fail',
    field: 'bindAddressHardFail',
    help: 'end when one of the two cannot be had, instead of trying again',
  },
  {
    flag: 'masquerade-all',
    field: 'nftables.masqueradeAll',
    help: 'masquerade pods towards cluster IPs as well',
  },
  {
    flag: 'min-sync-period',
    field: 'nftables.minSyncPeriod',
    value: 'time',
    help: 'least time between two changes of the rules (default: 1s; 0: at once)',
  },
  {
    flag: 'sync-period',
    field: 'nftables.syncPeriod',
    value: 'time',
    help: 'longest time until a failed change is tried again (default: 30s)',
  },
  {
    flag: 'conntrack-max-per-core',
    field: 'conntrack.maxPerCore',
    value: 'count',
    help: 'tracked connections for each core (default: 32768; 0: leave the limit as it is)',
  },
  {
    flag: 'conntrack-min',
    field: 'conntrack.min',
    value: 'count',
    help: 'and at least so many (default: 131072)',
  },
  {
    flag: 'conntrack-tcp-be-liberal',
    field: 'conntrack.tcpBeLiberal',
    help: 'track TCP packets outside of the window as well',
  },
  {
    flag: 'oom-score-adj',
    field: 'oomScoreAdj',
    value: 'score',
    help: 'how unlikely the kernel ends this process for memory (default: -999)',
  },
  {
    flag: 'balancing',
    field: 'fairlead.balancing',
    value: 'way',
    help: 'how endpoints are chosen: random (default), roundRobin, sourceHash',
  },
];

/** `primary` alone, or prefixes. */
function nodePortsMust(values: readonly string[]): string | undefined {
  if (values.includes('primary') && values.length > 1) return 'be primary alone, or prefixes';
  return values[0] === 'primary' ? undefined : cidrsMust(values);
}

function cidrsMust(values: readonly string[]): string | undefined {
  return values.every((value) => parseCidr(value)) ? undefined : 'hold prefixes: 192.0.2.0/24';
}
