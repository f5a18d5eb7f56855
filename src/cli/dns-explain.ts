import { resources } from '../api/resources.ts';
import type { Pod, Service } from '../api/types.ts';
import type { Client } from '../client/client.ts';
import { createHttpClient } from '../client/http-client.ts';
import { loadKubeconfig, type LoadedConfig } from '../client/kubeconfig.ts';
import { evidenceFor, type Evidence } from '../dns/explain/evidence.ts';
import { explainName, type Explanation } from '../dns/explain/explain.ts';
import { resolverOf, type Resolver } from '../dns/explain/expansion.ts';
import { traceAll, usualTypes } from '../dns/explain/page.ts';
import { startStandalone } from '../dns/explain/standalone.ts';
import type { Step } from '../dns/explain/trace.ts';
import { UserError } from '../lib/errors.ts';
import { formatHostPort } from '../lib/ip.ts';
import { kubeconfigFile, labPaths } from '../lab/paths.ts';
import { runWhereLabLives } from '../lab/rights.ts';
import { readLab } from '../lab/state.ts';
import { podResolvConf } from '../node/environment/resolv-conf.ts';
import { explanationText } from './dns-explain-text.ts';

export type DnsExplainOptions = {
  readonly pod?: string;
  readonly namespace?: string;
  readonly type?: readonly string[];
  readonly domain?: string;
  readonly kubeconfig?: string;
  readonly name: string;
  readonly json?: boolean;
};

/** Who answered the questions: a server of the cluster, or this program from the API. */
export type Asked = { readonly server: string } | { readonly server: undefined };

export type Report = Explanation & {
  readonly namespace: string;
  readonly pod?: string;
  readonly dnsPolicy: string;
  readonly asked: Asked;
  /** In the order of the steps. */
  readonly evidence: readonly Evidence[];
};

/** `fairlead dns-explain` */
export async function dnsExplain(name: string, options: DnsExplainOptions): Promise<void> {
  const lab = labOf(options);
  if (lab !== undefined && (await runWhereLabLives(lab, argumentsOf(name, options))) === 'inside') {
    return;
  }
  const config = await configFor(options, lab);
  using client = createHttpClient({ ...config, userAgent: 'fairlead-dns-explain' });
  const report = await explain(client, name, {
    ...options,
    namespace: options.namespace ?? config.namespace,
  });
  console.log(options.json === true ? JSON.stringify(report) : explanationText(report));
  if (!report.walks.some(({ status }) => status === 'answered')) process.exitCode = 1;
}

/** The lab to look into; undefined where a kubeconfig names the cluster. */
function labOf({ kubeconfig, name }: DnsExplainOptions): string | undefined {
  const named = kubeconfig ?? process.env.KUBECONFIG;
  return named === undefined || named === '' || named === kubeconfigFile(labPaths(name))
    ? name
    : undefined;
}

/** The same command again, for a lab in namespaces of its own. */
function argumentsOf(name: string, options: DnsExplainOptions): string[] {
  const flags = ['pod', 'namespace', 'domain', 'kubeconfig', 'name'] as const;
  return [
    'dns-explain',
    name,
    ...flags.flatMap((flag) => (options[flag] === undefined ? [] : [`--${flag}`, options[flag]])),
    ...(options.type === undefined ? [] : ['--type', options.type.join(',')]),
    ...(options.json === true ? ['--json'] : []),
  ];
}

function configFor(
  { kubeconfig }: DnsExplainOptions,
  lab: string | undefined,
): Promise<LoadedConfig> {
  if (lab !== undefined) readLab(labPaths(lab));
  const file =
    lab === undefined ? (kubeconfig ?? process.env.KUBECONFIG!) : kubeconfigFile(labPaths(lab));
  return loadKubeconfig(file);
}

type Where = DnsExplainOptions & { readonly namespace: string };

async function explain(client: Client, name: string, where: Where): Promise<Report> {
  const types = where.type ?? usualTypes;
  const domain = where.domain ?? (await domainOf(client)) ?? 'cluster.local';
  const { pod, namespace } = await podOf(client, where);
  const dns = await dnsService(client);
  const resolver = resolverFor(pod, { dns, domain });
  const servers = await serversOf(client);
  const server = await firstAnswering(servers);
  const local =
    server === undefined
      ? await startStandalone(client, { domain, podRecords: 'insecure' })
      : undefined;
  const ask = (full: string) =>
    local === undefined ? askServer(server!, full, types) : traceAll(local, full, types);
  try {
    const explanation = await explainName(name, resolver, ask);
    const evidence: Evidence[] = [];
    for (const step of explanation.steps) evidence.push(await evidenceFor(client, step, domain));
    return {
      ...explanation,
      namespace,
      ...(where.pod === undefined ? {} : { pod: pod.metadata.name }),
      dnsPolicy: pod.spec.dnsPolicy ?? 'ClusterFirst',
      asked: { server },
      evidence,
    };
  } finally {
    local?.stop();
  }
}

/** The pod as it is, or any pod of the namespace. */
async function podOf(client: Client, where: Where): Promise<{ pod: Pod; namespace: string }> {
  const { pod: text, namespace: usual } = where;
  if (text === undefined) {
    const pod: Pod = { metadata: { name: '', namespace: usual }, spec: { containers: [] } };
    return { pod, namespace: usual };
  }
  const [namespace, name] = text.includes('/') ? text.split('/') : [usual, text];
  const { items } = await client.list<Pod>(resources.pods, { namespace: namespace! });
  const pod = items.find(({ metadata }) => metadata.name === name);
  if (pod !== undefined) return { pod, namespace: namespace! };
  const names = items.slice(0, 5).map(({ metadata }) => metadata.name);
  throw new UserError(
    'NO_SUCH_POD',
    `Cannot explain for pod "${namespace}/${name}": there is none`,
    {
      hint:
        names.length === 0
          ? `Namespace "${namespace}" has no pods; another one is named with -n`
          : `There are ${names.join(', ')}`,
    },
  );
}

async function dnsService(client: Client): Promise<readonly string[]> {
  const { items } = await client.list<Service>(resources.services, { namespace: 'kube-system' });
  const spec = items.find(({ metadata }) => metadata.name === 'kube-dns')?.spec;
  return spec?.clusterIPs ?? (spec?.clusterIP === undefined ? [] : [spec.clusterIP]);
}

/** What the pod's kubelet writes; the node's own search list is not known from here. */
function resolverFor(
  pod: Pod,
  { dns, domain }: { readonly dns: readonly string[]; readonly domain: string },
): Resolver {
  const host = { nameservers: [], searches: [], options: [] };
  return resolverOf(podResolvConf(pod, { host, clusterDns: dns, clusterDomain: domain }).conf);
}

/** The cluster domain as CoreDNS's Corefile has it. */
async function domainOf(client: Client): Promise<string | undefined> {
  const { items } = await client.list(resources.configmaps, { namespace: 'kube-system' });
  const map = items.find(({ metadata }) => metadata.name === 'coredns') as
    | { data?: { Corefile?: string } }
    | undefined;
  return /^\s*kubernetes\s+([a-z0-9.-]+)/m.exec(map?.data?.Corefile ?? '')?.[1];
}

/** Where DNS pods may have the page /explain. */
async function serversOf(client: Client): Promise<string[]> {
  const { items } = await client.list<Pod>(resources.pods, {
    namespace: 'kube-system',
    labelSelector: 'k8s-app=kube-dns',
  });
  return items
    .filter(({ status }) => status?.phase === 'Running')
    .flatMap(({ status }) =>
      status?.podIP === undefined ? [] : [`http://${formatHostPort(status.podIP, 9153)}`],
    );
}

/** Other servers have no such page, and other networks do not lead there. */
const answerMs = 1000;

async function firstAnswering(servers: readonly string[]): Promise<string | undefined> {
  for (const server of servers.slice(0, 3)) {
    try {
      const url = `${server}/explain?name=ready.invalid.`;
      const response = await fetch(url, { signal: AbortSignal.timeout(answerMs) });
      const type = response.headers.get('content-type') ?? '';
      await response.body?.cancel();
      if (response.ok && type.startsWith('application/json')) return server;
    } catch (error) {
      if (!(error instanceof Error)) throw error;
    }
  }
  return undefined;
}

async function askServer(
  server: string,
  name: string,
  types: readonly string[],
): Promise<readonly Step[]> {
  const query = new URLSearchParams([['name', name], ...types.map((type) => ['type', type])]);
  const response = await fetch(`${server}/explain?${query.toString()}`, {
    signal: AbortSignal.timeout(15_000),
  });
  const text = await response.text();
  if (!response.ok) {
    throw new UserError('BAD_DNS_NAME', text.trim(), {
      hint: 'A name looks like web, web.shop or web.shop.svc.cluster.local',
    });
  }
  return (JSON.parse(text) as Explanation).steps;
}
