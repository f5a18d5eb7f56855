/** The objects that run the DNS server in a cluster, under the names people look for (D111, K39). */
import type { KubeObject } from '../api/meta.ts';
import type { Deployment, PodSpec, Probe, Service, ServiceAccount } from '../api/types.ts';

export type DnsManifestOptions = {
  readonly domain: string;
  /** The Service's addresses, one per family of the cluster, the first family first. */
  readonly clusterIPs: readonly string[];
  readonly replicas?: number;
  /**
   * `required`: never two on one node, even while the others are not there yet, as in a cluster that
   * is just starting. Default: `preferred`.
   */
  readonly spread?: 'preferred' | 'required';
  readonly image?: string;
  /** Servers for names outside the cluster; absent: those of the node. */
  readonly upstreams?: readonly string[];
};

type RollingUpdate = { maxUnavailable: number; maxSurge: number };

const namespace = 'kube-system';
const name = 'dns';
const labels = { 'k8s-app': 'kube-dns' };

/** A ServiceAccount, the Service `kube-dns` and the Deployment `dns`, in the order to apply them. */
export function dnsManifests(options: DnsManifestOptions): KubeObject[] {
  return [serviceAccount(), service(options.clusterIPs), deployment(options)];
}

function serviceAccount(): ServiceAccount {
  return { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name, namespace, labels } };
}

function service(clusterIPs: readonly string[]): Service {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: {
      name: 'kube-dns',
      namespace,
      labels: {
        ...labels,
        'kubernetes.io/cluster-service': 'true',
        'kubernetes.io/name': 'CoreDNS',
      },
      annotations: { 'prometheus.io/port': '9153', 'prometheus.io/scrape': 'true' },
    },
    spec: {
      selector: labels,
      clusterIP: clusterIPs[0]!,
      clusterIPs: [...clusterIPs],
      ipFamilies: clusterIPs.map((ip) => (ip.includes(':') ? 'IPv6' : 'IPv4')),
      ipFamilyPolicy: clusterIPs.length > 1 ? 'RequireDualStack' : 'SingleStack',
      ports: [
        { name: 'dns', port: 53, protocol: 'UDP', targetPort: 53 },
        { name: 'dns-tcp', port: 53, protocol: 'TCP', targetPort: 53 },
        { name: 'metrics', port: 9153, protocol: 'TCP', targetPort: 9153 },
      ],
    },
  };
}

function deployment(options: DnsManifestOptions): Deployment {
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name, namespace, labels },
    spec: {
      replicas: options.replicas ?? 2,
      selector: { matchLabels: labels },
      // A new server answers before an old one goes, and one at a time.
      strategy: { type: 'RollingUpdate', rollingUpdate: rollingUpdate(options.spread) },
      template: { metadata: { labels }, spec: podSpec(options) },
    },
  };
}

function podSpec(options: DnsManifestOptions): PodSpec {
  return {
    serviceAccountName: name,
    // The node's own resolvers: the cluster's would be this server itself (D106).
    dnsPolicy: 'Default',
    // Longer than the 5 s in which it still answers after SIGTERM, and open work ends.
    terminationGracePeriodSeconds: 15,
    tolerations: [
      { key: 'CriticalAddonsOnly', operator: 'Exists' },
      { key: 'node-role.kubernetes.io/control-plane', effect: 'NoSchedule' },
    ],
    affinity: { podAntiAffinity: antiAffinity(options.spread) },
    // Port 53 without a privilege; kubelets count this sysctl as safe.
    securityContext: { sysctls: [{ name: 'net.ipv4.ip_unprivileged_port_start', value: '0' }] },
    containers: [
      {
        name,
        image: options.image ?? 'fairlead/dns',
        imagePullPolicy: 'IfNotPresent',
        args: arguments_(options),
        ports: [
          { name: 'dns', containerPort: 53, protocol: 'UDP' },
          { name: 'dns-tcp', containerPort: 53, protocol: 'TCP' },
          { name: 'metrics', containerPort: 9153, protocol: 'TCP' },
        ],
        resources: { requests: { cpu: '100m', memory: '70Mi' }, limits: { memory: '170Mi' } },
        readinessProbe: probe('/ready', 8181, { periodSeconds: 5, failureThreshold: 3 }),
        livenessProbe: probe('/health', 8080, { periodSeconds: 10, failureThreshold: 5 }),
        securityContext: {
          allowPrivilegeEscalation: false,
          readOnlyRootFilesystem: true,
          capabilities: { add: ['NET_BIND_SERVICE'], drop: ['ALL'] },
        },
      },
    ],
  };
}

const apart = {
  labelSelector: { matchLabels: labels },
  topologyKey: 'kubernetes.io/hostname',
};

/** Where each node has one at most, a new one may need the place of an old one. */
function rollingUpdate(spread: DnsManifestOptions['spread']): RollingUpdate {
  return spread === 'required'
    ? { maxUnavailable: 1, maxSurge: 0 }
    : { maxUnavailable: 0, maxSurge: 1 };
}

function antiAffinity(spread: DnsManifestOptions['spread']): Record<string, unknown> {
  return spread === 'required'
    ? { requiredDuringSchedulingIgnoredDuringExecution: [apart] }
    : {
        preferredDuringSchedulingIgnoredDuringExecution: [{ weight: 100, podAffinityTerm: apart }],
      };
}

function arguments_({ domain, upstreams }: DnsManifestOptions): string[] {
  const forward = upstreams?.flatMap((upstream) => ['--upstream', upstream]) ?? [];
  const none = upstreams?.length === 0 ? ['--no-upstream'] : [];
  return ['--domain', domain, ...forward, ...none];
}

function probe(path: string, port: number, times: Probe): Probe {
  return { httpGet: { path, port, scheme: 'HTTP' }, timeoutSeconds: 5, ...times };
}
