/** The pod's host name and /etc/hosts (K12). */
import type { Pod } from '../../api/types.ts';
import { UserError } from '../../lib/errors.ts';

/** What every managed file starts with; containers rely on `localhost` in both families. */
const loopback = [
  '127.0.0.1\tlocalhost',
  '::1\tlocalhost ip6-localhost ip6-loopback',
  'fe00::0\tip6-localnet',
  'fe00::0\tip6-mcastprefix',
  'fe00::1\tip6-allnodes',
  'fe00::2\tip6-allrouters',
];

/** A host name longer than this does not fit into a DNS label (RFC 1035 §2.3.4). */
const labelCharactersMax = 63;
/** What the kernel holds (`__NEW_UTS_LEN`, include/uapi/linux/utsname.h). */
const hostnameCharactersMax = 64;

/** The short name, and the full one when the pod has a subdomain. */
export type PodNames = { readonly hostname: string; readonly fqdn: string | undefined };

export function podNames(pod: Pod, clusterDomain: string): PodNames {
  const { spec, metadata } = pod;
  const wanted = spec.hostname || metadata.name;
  const hostname = wanted.slice(0, labelCharactersMax).replace(/[-.]+$/, '');
  const fqdn = spec.subdomain
    ? `${hostname}.${spec.subdomain}.${metadata.namespace}.svc.${clusterDomain}`
    : undefined;
  return { hostname, fqdn };
}

/** What `hostname` prints in the pod. */
export function kernelHostname(pod: Pod, names: PodNames): string {
  if (!pod.spec.setHostnameAsFQDN || names.fqdn === undefined) return names.hostname;
  if (names.fqdn.length > hostnameCharactersMax) {
    throw new UserError(
      'HOSTNAME',
      `Cannot set host name "${names.fqdn}": it has ${names.fqdn.length} characters, ` +
        `and the kernel holds ${hostnameCharactersMax}`,
    );
  }
  return names.fqdn;
}

/** The file of a pod with a network of its own. */
export function podHostsFile(pod: Pod, podIPs: readonly string[], names: PodNames): string {
  const own = names.fqdn === undefined ? names.hostname : `${names.fqdn}\t${names.hostname}`;
  return [
    '# Kubernetes-managed hosts file.',
    ...loopback,
    ...podIPs.map((ip) => `${ip}\t${own}`),
    ...aliasLines(pod),
    '',
  ].join('\n');
}

/** The file of a hostNetwork pod: the node's, with the pod's aliases. */
export function hostNetworkHostsFile(pod: Pod, nodeFile: string): string {
  const lines = ['# Kubernetes-managed hosts file (host network).', nodeFile.trimEnd()];
  return [...lines, ...aliasLines(pod), ''].join('\n');
}

function aliasLines(pod: Pod): string[] {
  const aliases = pod.spec.hostAliases ?? [];
  if (aliases.length === 0) return [];
  const lines = aliases.map(({ ip, hostnames = [] }) => [ip, ...hostnames].join('\t'));
  return ['', '# Entries added by HostAliases.', ...lines];
}
