/** The DNS server as a process: what the image `fairlead/dns` runs in its pod. */
import { existsSync, readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';

import { createHttpClient } from '../client/http-client.ts';
import { loadInCluster, loadKubeconfig } from '../client/kubeconfig.ts';
import { messageOf, UserError } from '../lib/errors.ts';
import { createLogger } from '../lib/log.ts';
import { startDns, type DnsServer } from './server.ts';
import { parseResolvConf } from './upstream/servers.ts';
import type { PodRecords } from './zone/zones.ts';

/** Settles when the server answers; the process then lives until SIGTERM or SIGINT. */
export async function runDns(
  args: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
): Promise<void> {
  const flags = parseFlags(args);
  const log = createLogger('dns', env.FAIRLEAD_LOG);
  const credentials =
    flags.kubeconfig === undefined ? loadInCluster(env) : await loadKubeconfig(flags.kubeconfig);
  const client = createHttpClient({ ...credentials, userAgent: 'fairlead-dns' });
  const { host, port } = flags;
  const page = (pagePort: number) =>
    pagePort === 0 ? undefined : { host: host === '127.0.0.1' ? host : anyHost(), port: pagePort };
  const [health, ready, metrics] = flags.pages.map(page);
  const server = await startDns({
    client,
    domain: flags.domain,
    listen: [{ host, port }],
    upstreams: flags.upstreams ?? parseResolvConf(readResolvConf()),
    ttlSeconds: flags.ttlSeconds,
    podRecords: flags.podRecords,
    strictCoredns: flags.strictCoredns,
    ...(health === undefined ? {} : { health }),
    ...(ready === undefined ? {} : { ready }),
    ...(metrics === undefined ? {} : { metrics }),
    log,
  });
  stopOnSignal(server, flags.lameDuckMs, () => log.info('stopped'));
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

/** Both families where the kernel has both. */
function anyHost(): string {
  return existsSync('/proc/net/if_inet6') ? '::' : '0.0.0.0';
}

function readResolvConf(): string {
  return existsSync('/etc/resolv.conf') ? readFileSync('/etc/resolv.conf', 'utf8') : '';
}

/** What the flags say. `pages` are the ports of /health, /ready and /metrics; 0 turns one off. */
export type DnsFlags = {
  readonly domain: string;
  readonly host: string;
  readonly port: number;
  /** Undefined: those of /etc/resolv.conf. */
  readonly upstreams: readonly string[] | undefined;
  readonly ttlSeconds: number;
  readonly podRecords: PodRecords;
  readonly lameDuckMs: number;
  readonly kubeconfig: string | undefined;
  readonly strictCoredns: boolean;
  readonly pages: readonly number[];
};

/** Reads the command line, or throws `UserError` naming the flag. */
export function parseFlags(args: readonly string[]): DnsFlags {
  const values = readArgs(args);
  const podRecords = values.pods;
  if (podRecords !== 'disabled' && podRecords !== 'insecure' && podRecords !== 'verified') {
    throw badFlag('--pods', podRecords, 'disabled, insecure or verified');
  }
  return {
    domain: values.domain,
    host: values.host ?? anyHost(),
    port: numberFlag('--port', values.port, 65_535),
    upstreams: values['no-upstream'] ? [] : values.upstream,
    ttlSeconds: numberFlag('--ttl', values.ttl, 3600),
    podRecords,
    lameDuckMs: numberFlag('--lame-duck', values['lame-duck'], 600) * 1000,
    kubeconfig: values.kubeconfig,
    strictCoredns: values['strict-coredns'],
    pages: (['health-port', 'ready-port', 'metrics-port'] as const).map((name) =>
      numberFlag(`--${name}`, values[name], 65_535),
    ),
  };
}

function readArgs(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        domain: { type: 'string', default: 'cluster.local' },
        host: { type: 'string' },
        port: { type: 'string', default: '53' },
        upstream: { type: 'string', multiple: true },
        'no-upstream': { type: 'boolean', default: false },
        ttl: { type: 'string', default: '30' },
        pods: { type: 'string', default: 'insecure' },
        'lame-duck': { type: 'string', default: '5' },
        kubeconfig: { type: 'string' },
        'strict-coredns': { type: 'boolean', default: false },
        'health-port': { type: 'string', default: '8080' },
        'ready-port': { type: 'string', default: '8181' },
        'metrics-port': { type: 'string', default: '9153' },
      },
    }).values;
  } catch (error) {
    throw new UserError('BAD_FLAG', `Cannot start the DNS server: ${messageOf(error)}`);
  }
}

function numberFlag(flag: string, text: string, max: number): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value <= max) return value;
  throw badFlag(flag, text, `a whole number up to ${max}`);
}

function badFlag(flag: string, found: string, wanted: string): UserError {
  const text = `Cannot start the DNS server: ${flag} is "${found}", it must be ${wanted}`;
  return new UserError('BAD_FLAG', text);
}
