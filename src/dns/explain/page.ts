/** `/explain?name=&type=&pod=&namespace=`: what becomes of a name, as JSON. */
import { resources } from '../../api/resources.ts';
import type { Pod } from '../../api/types.ts';
import type { Client } from '../../client/client.ts';
import { messageOf, UserError } from '../../lib/errors.ts';
import type { Page } from '../health.ts';
import { dnsLimits } from '../limits.ts';
import { formatName } from '../wire/name.ts';
import { typeNumber } from '../wire/text.ts';
import { explainName } from './explain.ts';
import { resolverOf, type Resolver } from './expansion.ts';
import { trace, type Server, type Step } from './trace.ts';

/** What a kubelet writes into a pod's resolv.conf. */
export type PodResolver = (
  pod: Pod,
  node: {
    readonly host: ResolvConf;
    readonly clusterDns: readonly string[];
    readonly clusterDomain: string;
  },
) => { readonly conf: ResolvConf };

export type ResolvConf = {
  readonly nameservers: readonly string[];
  readonly searches: readonly string[];
  readonly options: readonly string[];
};

export type ExplainContext = Server & {
  /** Reads pods; absent where the server follows no API. */
  readonly client: Client | undefined;
  readonly podResolver: PodResolver | undefined;
  /** The search list of this machine, which a pod's has behind its own. */
  readonly hostSearch: readonly string[];
};

/** Types asked for when none is named. */
export const usualTypes = ['A', 'AAAA'];

/** The page; a wrong question is 400 with the reason as text. */
export function explainPage(context: ExplainContext): (query: URLSearchParams) => Promise<Page> {
  let running = 0;
  return async (query) => {
    if (running >= dnsLimits.explainsMax) return { code: 503, body: 'too many at once\n' };
    running += 1;
    try {
      const body = JSON.stringify(await explanationFor(context, query));
      return { code: 200, body: `${body}\n`, type: 'application/json' };
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      return { code: 400, body: `${messageOf(error)}\n` };
    } finally {
      running -= 1;
    }
  };
}

async function explanationFor(context: ExplainContext, query: URLSearchParams) {
  const name = query.get('name') ?? '';
  const types = query.getAll('type');
  const resolver = await resolverFor(context, query);
  return explainName(name, resolver, (full) =>
    traceAll(context, full, types.length === 0 ? usualTypes : types),
  );
}

/** One step for each type, in order; throws `UserError` for what is no name or no type. */
export async function traceAll(
  server: Server,
  name: string,
  typeNames: readonly string[],
): Promise<readonly Step[]> {
  const steps = typeNames.map(async (typeName) => {
    const type = typeNumber(typeName);
    if (type === undefined) throw bad(name, `"${typeName}" is no type of records`);
    const step = await trace(server, { name, type, typeName: typeName.toUpperCase() });
    if (step === undefined) throw bad(name, 'it is no domain name');
    return step;
  });
  return Promise.all(steps);
}

function bad(name: string, found: string): UserError {
  return new UserError('BAD_DNS_NAME', `Cannot explain "${name}": ${found}`, {
    hint: 'A name looks like web, web.shop or web.shop.svc.cluster.local',
  });
}

const none: Resolver = { nameservers: [], searches: [], ndots: 1 };

async function resolverFor(context: ExplainContext, query: URLSearchParams): Promise<Resolver> {
  const podName = query.get('pod');
  const [namespace, name] = podName?.includes('/')
    ? podName.split('/')
    : [query.get('namespace') ?? (podName === null ? undefined : 'default'), podName];
  const { client, podResolver, zones, hostSearch } = context;
  if (namespace === undefined || podResolver === undefined || zones === undefined) return none;
  const pod =
    name === null || name === undefined
      ? ({ metadata: { name: '', namespace }, spec: { containers: [] } } satisfies Pod)
      : await podNamed(client, namespace, name);
  const { conf } = podResolver(pod, {
    host: { nameservers: [], searches: hostSearch, options: [] },
    clusterDns: ['cluster'],
    clusterDomain: formatName(zones.domain).slice(0, -1),
  });
  return resolverOf({ ...conf, nameservers: [] });
}

async function podNamed(client: Client | undefined, namespace: string, name: string): Promise<Pod> {
  // A DNS server may list pods, and mostly nothing more.
  const fieldSelector = `metadata.name=${name}`;
  const found = await client?.list<Pod>(resources.pods, { namespace, fieldSelector });
  const [pod] = found?.items ?? [];
  if (pod !== undefined) return pod;
  throw new UserError(
    'NO_SUCH_POD',
    `Cannot explain for pod "${namespace}/${name}": there is none`,
  );
}
