/** The API server: HTTPS in front of a store, and the same API for callers in the process. */
import { resources } from '../api/resources.ts';
import { failure } from '../api/status.ts';
import type { Service } from '../api/types.ts';
import type { Client } from '../client/client.ts';
import { type Clock, systemClock } from '../lib/clock.ts';
import { UserError } from '../lib/errors.ts';
import { type Cidr, formatHostPort, parseCidr } from '../lib/ip.ts';
import type { Logger } from '../lib/log.ts';
import type { Store } from '../store/store.ts';
import type { PortRange } from './allocation/port-allocator.ts';
import { ServiceAllocator } from './allocation/service-allocator.ts';
import type { Tokens } from './auth/tokens.ts';
import { type Advertise, bootstrap } from './bootstrap.ts';
import type { ApiContext } from './context.ts';
import { startEventExpiry } from './event-expiry.ts';
import type { HttpContext } from './http/handler.ts';
import type { Listener, Listening, ServerTls } from './http/listeners.ts';
import { createLocalClient } from './local-client.ts';
import type { NodeTls } from './node-proxy.ts';

export type ApiServerOptions = {
  readonly store: Store;
  /** One or two prefixes, such as `10.96.0.0/16`; the first one's family is the default. */
  readonly serviceCidrs: readonly string[];
  readonly nodePortRange?: PortRange;
  /** Such as `cluster.local`; names the issuer of tokens. */
  readonly clusterDomain?: string;
  /** Where pods reach this server; absent: no endpoints for `default/kubernetes`. */
  readonly advertise?: Advertise;
  /** None: the API is served in process only. */
  readonly listeners?: readonly Listener[];
  /** Needed with listeners. */
  readonly tls?: ServerTls;
  /** PKCS #8 PEM of a P-256 key that signs service-account tokens; absent: no tokens. */
  readonly serviceAccountKey?: string;
  /** For requests to the nodes' agents; absent: no logs and no exec. */
  readonly kubeletClientTls?: NodeTls;
  /** How long new pods tolerate a lost node unless they say otherwise; 300, as in kube-apiserver. */
  readonly defaultTolerationSeconds?: number;
  readonly clock?: Clock;
  readonly log?: Logger;
};

export type ApiServer = {
  /** The same API without HTTP, on shared frozen objects. */
  readonly client: Client;
  /** What the listeners are bound to, in their order. */
  readonly addresses: readonly { readonly host: string; readonly port: number }[];
  /** Ends watches and connections; the store stays open. */
  close(): Promise<void>;
};

const NODE_PORTS: PortRange = { first: 30_000, last: 32_767 };

/** Brings the API up: first the objects every cluster has, then the listeners. The caller owns the store. */
export async function startApiServer(options: ApiServerOptions): Promise<ApiServer> {
  const { store, clock = systemClock, advertise } = options;
  const serviceCidrs = options.serviceCidrs.map(parseServiceCidr);
  const nodePortRange = options.nodePortRange ?? NODE_PORTS;
  const allocator = new ServiceAllocator({ serviceCidrs, nodePortRange });
  allocator.restore(store.list(resources.services).map(({ object }) => object as Service));
  const tokens = await tokensFor(options, clock);
  const context: ApiContext = {
    store,
    clock,
    allocator,
    defaultTolerationSeconds: options.defaultTolerationSeconds ?? 300,
    issueToken(account, request) {
      if (tokens !== undefined) return tokens.issue(account, request);
      throw failure(503, 'ServiceUnavailable', 'this server has no key to sign tokens with');
    },
  };
  const client = createLocalClient(context);
  await bootstrap(client, { serviceCidrs, ...(advertise === undefined ? {} : { advertise }) });
  const http = await startHttp(options, context, tokens);
  const stopExpiry = startEventExpiry(context, options.log);
  const close = async () => {
    stopExpiry();
    await http.close();
  };
  return { client, addresses: http.listening, close };
}

function parseServiceCidr(text: string): Cidr {
  const cidr = parseCidr(text);
  if (cidr !== undefined) return cidr;
  throw new UserError('SERVICE_CIDR', `Cannot use service range "${text}": it is no prefix`, {
    hint: 'Give a prefix such as 10.96.0.0/16',
  });
}

async function tokensFor(options: ApiServerOptions, clock: Clock): Promise<Tokens | undefined> {
  const { store, serviceAccountKey: signingKey, clusterDomain = 'cluster.local' } = options;
  if (signingKey === undefined) return undefined;
  const { createTokens } = await import('./auth/tokens.ts');
  const issuer = `https://kubernetes.default.svc.${clusterDomain}`;
  return createTokens({ store, clock, signingKey, issuer });
}

/** HTTP is loaded only where it is served: tests of controllers do without. */
async function startHttp(
  options: ApiServerOptions,
  context: ApiContext,
  tokens: Tokens | undefined,
): Promise<{ listening: readonly Listening[]; close(): Promise<void> }> {
  const { listeners = [], tls, kubeletClientTls, log } = options;
  if (listeners.length === 0) return { listening: [], close: async () => undefined };
  if (tls === undefined) throw new TypeError('listeners need tls');
  const [{ listen }, { createNodeProxy }] = await Promise.all([
    import('./http/listeners.ts'),
    import('./node-proxy.ts'),
  ]);
  const http: HttpContext = {
    ...context,
    tokens,
    nodes: kubeletClientTls && createNodeProxy(context.store, kubeletClientTls),
    watches: new Set(),
    log,
    serverAddress: '',
  };
  const listening: Listening[] = [];
  const close = async () => {
    for (const end of http.watches) end();
    await Promise.all(listening.map((listener) => listener.close()));
  };
  try {
    for (const listener of listeners) listening.push(await listen(http, listener, tls));
  } catch (error) {
    await close();
    throw error;
  }
  const [first] = listening;
  if (first !== undefined) http.serverAddress = formatHostPort(first.host, first.port);
  return { listening, close };
}
