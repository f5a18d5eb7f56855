/** The DNS server as a process: what the image `fairlead/dns` runs in its pod. */
import { existsSync, readFileSync } from 'node:fs';

import { createHttpClient, type HttpClientOptions } from '../client/http-client.ts';
import { loadInCluster, loadKubeconfig } from '../client/kubeconfig.ts';
import { systemClock } from '../lib/clock.ts';
import { UserError } from '../lib/errors.ts';
import { createLogger } from '../lib/log.ts';
import { configurationOf } from './config/from-options.ts';
import type { ApiSettings, Configuration } from './config/types.ts';
import type { PodResolver } from './explain/page.ts';
import {
  parseFlags,
  type CorefileFlags,
  type DnsFlags,
  type Flags,
  type NodeLocalFlags,
  type StubDomain,
} from './flags.ts';
import { nodeLocalCorefile, prepareNode } from './node-local.ts';
import { anyHost } from './own-addresses.ts';
import { serve, type DnsServer } from './server.ts';
import { parseName } from './wire/name.ts';
import { parseResolvConf, parseSearchList, parseServer } from './upstream/servers.ts';

/** Settles when the server answers; the process then lives until SIGTERM or SIGINT. */
export async function runDns(
  args: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
  more: { readonly podResolver?: PodResolver } = {},
): Promise<void> {
  const flags = parseFlags(args);
  const log = createLogger('dns', env.FAIRLEAD_LOG);
  const warn = (text: string) => (flags.check ? console.error(`Warning: ${text}`) : log.warn(text));
  const corefile = 'corefile' in flags ? await corefileOf(flags, env, warn) : undefined;
  const configuration =
    'corefile' in flags
      ? corefile!.current.configuration
      : await configurationFor(flags, env, warn);
  if (flags.check) {
    const { formatConfiguration } = await import('./config/print.ts');
    console.log(formatConfiguration(configuration));
    return;
  }
  const kubeconfig = kubeconfigOf(flags);
  const handsOver = 'nodeLocal' in flags;
  if (handsOver) await prepareNode(flags.nodeLocal.host, log);
  const server = await serve(configuration, {
    ...more,
    clientFor: async (api, onRequest) => {
      const credentials = await credentialsFor(api, kubeconfig, env);
      return createHttpClient({ ...credentials, userAgent: 'fairlead-dns', onRequest });
    },
    log,
    hostSearch: parseSearchList(readResolvConf()),
    workers: flags.workers,
    handsOver,
  });
  if (corefile !== undefined) {
    const { startReloading } = await import('./reload.ts');
    startReloading({ ...corefile, server, clock: systemClock, random: Math.random, log });
  }
  stopOnSignal(server, lameDuckMsOf(configuration), () => log.info('stopped'));
}

function kubeconfigOf(flags: Flags): string | undefined {
  if ('options' in flags) return flags.options.kubeconfig;
  return 'corefile' in flags ? flags.kubeconfig : undefined;
}

/** What the flags say by themselves. */
async function configurationFor(
  flags: Exclude<Flags, CorefileFlags>,
  env: NodeJS.ProcessEnv,
  warn: (text: string) => void,
): Promise<Configuration> {
  if ('options' in flags) return configurationOf(optionsFor(flags.options));
  return nodeLocalConfiguration(flags.nodeLocal, env, warn);
}

/** A server that is told everything by flags starts without the parser. */
async function corefileOf(
  flags: CorefileFlags,
  env: NodeJS.ProcessEnv,
  warn: (text: string) => void,
) {
  const { readCorefile } = await import('./config/corefile.ts');
  const read = () => readCorefile(flags.corefile, { env, warn, port: flags.port });
  return { read, current: read() };
}

async function nodeLocalConfiguration(
  flags: NodeLocalFlags,
  env: NodeJS.ProcessEnv,
  warn: (text: string) => void,
): Promise<Configuration> {
  const { parseCorefile } = await import('./config/corefile.ts');
  const clusterDns = flags.clusterDns.length > 0 ? flags.clusterDns : clusterDnsIn(env);
  const upstreams = flags.upstreams ?? parseResolvConf(readResolvConf());
  const text = nodeLocalCorefile({ ...flags, clusterDns, upstreams });
  return parseCorefile(text, '--node-local', { env, warn, port: flags.port });
}

/** A pod of kube-system is told where the Services of its namespace are. */
function clusterDnsIn(env: NodeJS.ProcessEnv): readonly string[] {
  const found = env.KUBE_DNS_UPSTREAM_SERVICE_HOST ?? env.KUBE_DNS_SERVICE_HOST;
  if (found !== undefined) return [found];
  throw new UserError(
    'BAD_FLAG',
    'Cannot start the node-local cache: neither --cluster-dns nor KUBE_DNS_SERVICE_HOST says where the DNS of the cluster is',
    { hint: 'Name the ClusterIP of its Service: --cluster-dns 10.96.0.10' },
  );
}

function optionsFor(flags: DnsFlags) {
  const { host } = flags;
  const page = (port: number) =>
    port === 0 ? undefined : { host: host === '127.0.0.1' ? host : anyHost(), port };
  const [health, ready, metrics] = flags.pages.map(page);
  return {
    ...flags,
    listen: [{ host, port: flags.port }],
    stubDomains: flags.stubDomains.map(stubOf),
    upstreams: (flags.upstreams ?? parseResolvConf(readResolvConf())).map(parseServer),
    ...(health && { health }),
    ...(ready && { ready }),
    ...(metrics && { metrics }),
  };
}

function stubOf({ domain, servers }: StubDomain) {
  const zone = parseName(domain);
  if (zone !== undefined) return { zone, servers: servers.map(parseServer) };
  const text = `Cannot start the DNS server: stub domain "${domain}" is not a domain name`;
  throw new UserError('BAD_FLAG', text);
}

async function credentialsFor(
  { kubeconfig, endpoint, tls }: ApiSettings,
  usual: string | undefined,
  env: NodeJS.ProcessEnv,
): Promise<HttpClientOptions> {
  if (kubeconfig !== undefined) return loadKubeconfig(kubeconfig.path, kubeconfig.context);
  if (endpoint === undefined) {
    return usual === undefined ? loadInCluster(env) : loadKubeconfig(usual);
  }
  const server = endpoint.includes('://') ? endpoint : `http://${endpoint}`;
  if (tls === undefined) return { server };
  const [cert, key, ca] = [tls.cert, tls.key, tls.ca].map((path) => readFileSync(path, 'utf8'));
  return { server, cert: cert!, key: key!, ca: ca! };
}

function lameDuckMsOf({ blocks }: Configuration): number {
  return Math.max(0, ...blocks.map(({ plugins }) => plugins.health?.lameDuckMs ?? 0));
}

/** The first signal starts the lame-duck time, the second one ends it. */
function stopOnSignal(server: DnsServer, lameDuckMs: number, done: () => void): void {
  let stopping = false;
  const stop = () => {
    if (stopping) process.exit(0);
    stopping = true;
    void server.stop({ lameDuckMs }).then(() => {
      done();
      process.exit(0);
    });
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
}

function readResolvConf(): string {
  return existsSync('/etc/resolv.conf') ? readFileSync('/etc/resolv.conf', 'utf8') : '';
}
