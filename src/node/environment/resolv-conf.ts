/** The pod's /etc/resolv.conf (K11). */
import type { Pod } from '../../api/types.ts';

export type ResolvConf = {
  readonly nameservers: readonly string[];
  readonly searches: readonly string[];
  readonly options: readonly string[];
};

/** What glibc and the API allow: three servers, 32 search paths of 2048 characters together. */
const nameserversMax = 3;
const searchesMax = 32;
const searchCharactersMax = 2048;

/** A longer name cannot be asked for (RFC 1035 §2.3.4), hence nothing is found below it (D108). */
const searchBytesMax = 253;

/** Something a pod did not get as it asked for, told as an Event. */
export type DnsWarning = {
  readonly reason: 'DNSConfigForming' | 'MissingClusterDNS';
  readonly message: string;
};

/** resolv.conf(5): the last `search` or `domain` line counts, options add up. */
export function parseResolvConf(text: string): ResolvConf {
  const nameservers: string[] = [];
  let searches: string[] = [];
  const options: string[] = [];
  for (const line of text.split('\n')) {
    const [keyword, ...values] = line
      .replace(/[#;].*/, '')
      .trim()
      .split(/\s+/);
    if (keyword === 'nameserver' && values[0] !== undefined) nameservers.push(values[0]);
    if (keyword === 'search' || keyword === 'domain') searches = values;
    if (keyword === 'options') options.push(...values);
  }
  return { nameservers, searches, options };
}

export function formatResolvConf(conf: ResolvConf): string {
  const lines = [
    ...(conf.searches.length > 0 ? [`search ${conf.searches.join(' ')}`] : []),
    ...conf.nameservers.map((server) => `nameserver ${server}`),
    ...(conf.options.length > 0 ? [`options ${conf.options.join(' ')}`] : []),
  ];
  return lines.map((line) => `${line}\n`).join('');
}

/** The pod's resolver settings, and a warning for each limit they went past. */
export function podResolvConf(
  pod: Pod,
  node: {
    readonly host: ResolvConf;
    readonly clusterDns: readonly string[];
    readonly clusterDomain: string;
  },
): { conf: ResolvConf; warnings: DnsWarning[] } {
  const base = baseFor(pod, node);
  const extra = pod.spec.dnsConfig ?? {};
  const merged = {
    nameservers: unique([...base.nameservers, ...(extra.nameservers ?? [])]),
    searches: unique([...base.searches, ...(extra.searches ?? [])]),
    options: mergeOptions(base.options, extra.options ?? []),
  };
  const { conf, warnings } = limited(merged);
  return { conf, warnings: [...missingClusterDns(pod, node), ...warnings] };
}

/** Where nobody said which the cluster's servers are, a pod has the node's (D106). */
function missingClusterDns(
  pod: Pod,
  { clusterDns }: { readonly clusterDns: readonly string[] },
): DnsWarning[] {
  if (!wantsCluster(pod) || clusterDns.length > 0) return [];
  const message =
    'kubelet does not have ClusterDNS IP configured and cannot create Pod using ' +
    `"${pod.spec.dnsPolicy ?? 'ClusterFirst'}" policy. Falling back to "Default" policy.`;
  return [{ reason: 'MissingClusterDNS', message }];
}

function wantsCluster({ spec }: Pod): boolean {
  const policy = spec.dnsPolicy ?? 'ClusterFirst';
  if (policy === 'ClusterFirstWithHostNet') return true;
  return policy === 'ClusterFirst' && spec.hostNetwork !== true;
}

function baseFor(
  pod: Pod,
  node: { host: ResolvConf; clusterDns: readonly string[]; clusterDomain: string },
): ResolvConf {
  const { spec, metadata } = pod;
  if (spec.dnsPolicy === 'None') return { nameservers: [], searches: [], options: [] };
  if (!wantsCluster(pod) || node.clusterDns.length === 0) return nodesOwn(node.host);
  const domain = node.clusterDomain;
  const own = [`${metadata.namespace}.svc.${domain}`, `svc.${domain}`, domain];
  return {
    nameservers: node.clusterDns,
    searches: unique([...own, ...node.host.searches]),
    // The host's own options are left behind, as a kubelet does.
    options: ['ndots:5'],
  };
}

/** A node without resolvers asks nobody: libc's own default would be whatever listens on loopback (D107). */
function nodesOwn(host: ResolvConf): ResolvConf {
  const isEmpty = host.nameservers.length === 0 && host.searches.length === 0;
  return isEmpty ? { ...host, nameservers: ['127.0.0.1'], searches: ['.'] } : host;
}

/** An option of the pod replaces the one of the same name. */
function mergeOptions(
  base: readonly string[],
  extra: readonly { name: string; value?: string }[],
): string[] {
  const byName = new Map(base.map((option) => [option.split(':')[0] ?? '', option]));
  for (const { name, value } of extra) {
    byName.set(name, value === undefined || value === '' ? name : `${name}:${value}`);
  }
  return [...byName.values()];
}

function limited(conf: ResolvConf): { conf: ResolvConf; warnings: DnsWarning[] } {
  const warnings: DnsWarning[] = [];
  const warn = (message: string) => warnings.push({ reason: 'DNSConfigForming', message });
  let nameservers = conf.nameservers;
  if (nameservers.length > nameserversMax) {
    nameservers = nameservers.slice(0, nameserversMax);
    warn(
      'Nameserver limits were exceeded, some nameservers have been omitted, ' +
        `the applied nameserver line is: ${nameservers.join(' ')}`,
    );
  }
  const usable = conf.searches.filter((search) => search.length <= searchBytesMax);
  let searches = usable.slice(0, searchesMax);
  while (searches.join(' ').length > searchCharactersMax) searches = searches.slice(0, -1);
  if (searches.length < conf.searches.length) {
    warn(
      'Search Line limits were exceeded, some search paths have been omitted, ' +
        `the applied search line is: ${searches.join(' ')}`,
    );
  }
  return { conf: { nameservers, searches, options: conf.options }, warnings };
}

function unique(texts: readonly string[]): string[] {
  return [...new Set(texts)];
}
