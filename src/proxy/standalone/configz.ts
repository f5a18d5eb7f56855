/**
 * The running configuration as kube-proxy shows it under /configz: its internal type, whose names
 * begin with capitals and partly lie elsewhere than in a file.
 */
import { formatHostPort } from '../../lib/ip.ts';
import { formatDuration, type HostPort } from './field-types.ts';
import { HEALTHZ_PORT, METRICS_PORT, type ProxyConfig } from './fields.ts';

/** Where the two servers listen; undefined: nowhere. */
export function bindAddresses(config: ProxyConfig): {
  readonly healthz: HostPort | undefined;
  readonly metrics: HostPort | undefined;
} {
  const ipv6 = config.bindAddress.includes(':');
  const chosen = (found: HostPort | 'default' | 'off', usual: HostPort) => {
    if (found === 'off') return undefined;
    return found === 'default' ? usual : found;
  };
  return {
    healthz: chosen(config.healthzBindAddress, {
      host: ipv6 ? '::' : '0.0.0.0',
      port: HEALTHZ_PORT,
    }),
    metrics: chosen(config.metricsBindAddress, {
      host: ipv6 ? '::1' : '127.0.0.1',
      port: METRICS_PORT,
    }),
  };
}

/** `nodePortAddresses` are those in force, as prefixes. */
export function configz(config: ProxyConfig, nodePortAddresses: readonly string[]): object {
  const { healthz, metrics } = bindAddresses(config);
  const place = (found: HostPort | undefined) => found && formatHostPort(found.host, found.port);
  const internal = {
    Linux: linuxPart(config),
    Windows: { RunAsService: false },
    FeatureGates: config.featureGates,
    ClientConnection: {
      Kubeconfig: config['clientConnection.kubeconfig'],
      AcceptContentTypes: config['clientConnection.acceptContentTypes'],
      ContentType: config['clientConnection.contentType'],
      QPS: config['clientConnection.qps'],
      Burst: config['clientConnection.burst'],
    },
    Logging: { format: config['logging.format'], verbosity: config['logging.verbosity'] },
    HostnameOverride: config.hostnameOverride,
    BindAddress: config.bindAddress,
    HealthzBindAddress: place(healthz) ?? '',
    MetricsBindAddress: place(metrics) ?? '',
    BindAddressHardFail: config.bindAddressHardFail,
    EnableProfiling: config.enableProfiling,
    ShowHiddenMetricsForVersion: config.showHiddenMetricsForVersion,
    Mode: config.mode,
    IPTables: {
      MasqueradeBit: config['iptables.masqueradeBit'],
      LocalhostNodePorts: config['iptables.localhostNodePorts'],
    },
    IPVS: {
      Scheduler: config['ipvs.scheduler'],
      ExcludeCIDRs: config['ipvs.excludeCIDRs'],
      StrictARP: config['ipvs.strictARP'],
      TCPTimeout: formatDuration(config['ipvs.tcpTimeout']),
      TCPFinTimeout: formatDuration(config['ipvs.tcpFinTimeout']),
      UDPTimeout: formatDuration(config['ipvs.udpTimeout']),
    },
    NFTables: { MasqueradeBit: config['nftables.masqueradeBit'] },
    DetectLocalMode: config.detectLocalMode,
    DetectLocal: {
      BridgeInterface: config['detectLocal.bridgeInterface'],
      ClusterCIDRs: config.clusterCIDR,
      InterfaceNamePrefix: config['detectLocal.interfaceNamePrefix'],
    },
    NodePortAddresses: nodePortAddresses,
    SyncPeriod: formatDuration(config['nftables.syncPeriod']),
    MinSyncPeriod: formatDuration(config['nftables.minSyncPeriod']),
    ConfigSyncPeriod: formatDuration(config.configSyncPeriod),
    Fairlead: { Balancing: config['fairlead.balancing'] },
  };
  return { 'kubeproxy.config.k8s.io': internal };
}

function linuxPart(config: ProxyConfig): object {
  return {
    Conntrack: {
      MaxPerCore: config['conntrack.maxPerCore'],
      Min: config['conntrack.min'],
      TCPEstablishedTimeout: formatDuration(config['conntrack.tcpEstablishedTimeout']),
      TCPCloseWaitTimeout: formatDuration(config['conntrack.tcpCloseWaitTimeout']),
      TCPBeLiberal: config['conntrack.tcpBeLiberal'],
      UDPTimeout: formatDuration(config['conntrack.udpTimeout']),
      UDPStreamTimeout: formatDuration(config['conntrack.udpStreamTimeout']),
    },
    MasqueradeAll: config['nftables.masqueradeAll'],
    OOMScoreAdj: config.oomScoreAdj,
  };
}
