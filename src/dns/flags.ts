/** The command line of `fairlead dns`. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { messageOf, UserError } from '../lib/errors.ts';
import { nodeLocalAddress, type NodeLocalOptions } from './node-local.ts';
import { anyHost } from './own-addresses.ts';
import type { PodRecords } from './zone/zones.ts';

/** What the flags say. `pages` are the ports of /health, /ready and /metrics; 0 turns one off. */
export type DnsFlags = {
  readonly domain: string;
  readonly host: string;
  readonly port: number;
  /** Undefined: those of /etc/resolv.conf. */
  readonly upstreams: readonly string[] | undefined;
  /** Domains with servers of their own, as `domain` and `servers`. */
  readonly stubDomains: readonly StubDomain[];
  readonly ttlSeconds: number;
  readonly podRecords: PodRecords;
  readonly lameDuckMs: number;
  readonly kubeconfig: string | undefined;
  readonly strictCoredns: boolean;
  readonly pages: readonly number[];
};

/** A cache on each node instead of a server of the cluster. */
export type NodeLocalFlags = Omit<NodeLocalOptions, 'upstreams' | 'clusterDns'> & {
  /** Empty: as the environment of a pod names it. */
  readonly clusterDns: readonly string[];
  /** Undefined: those of /etc/resolv.conf. */
  readonly upstreams: readonly string[] | undefined;
};

export type StubDomain = { readonly domain: string; readonly servers: readonly string[] };

/** A Corefile instead of the flags above. */
export type CorefileFlags = {
  readonly corefile: string;
  /** For zones that name no port. */
  readonly port: number;
  /** For a `kubernetes` that does not say where its API is. */
  readonly kubeconfig: string | undefined;
};

export type Flags = (
  | { readonly options: DnsFlags }
  | { readonly nodeLocal: NodeLocalFlags }
  | CorefileFlags
) & {
  /** Threads that answer over UDP; 0: the main one does. */
  readonly workers: number;
  /** Only say what the configuration is. */
  readonly check: boolean;
};

/** Reads the command line, or throws `UserError` naming the flag. */
export function parseFlags(args: readonly string[]): Flags {
  const values = readArgs(args.map((arg) => coreDnsNames.get(arg) ?? arg));
  const { check = false, config, kubeconfig } = values;
  const workers = numberFlag('--workers', values.workers ?? '0', 64);
  if (values['node-local'] === true) {
    const stray = Object.keys(values).find((name) => !nodeLocalNames.has(name));
    if (stray !== undefined)
      throw excluded(stray, '--node-local', 'A node-local cache has no zones');
    return { check, workers, nodeLocal: nodeLocalOf(values) };
  }
  if (config === undefined) return { check, workers, options: optionsOf(values) };
  const [other] = Object.keys(values).filter((name) => !beside.has(name));
  if (other !== undefined) {
    throw excluded(other, '--config', 'What the flag says stands in the Corefile');
  }
  const port = numberFlag('--port', values.port ?? '53', 65_535);
  return { check, workers, corefile: config, port, kubeconfig };
}

function excluded(flag: string, other: string, hint: string): UserError {
  const text = `Cannot start the DNS server: --${flag} and ${other} exclude each other`;
  return new UserError('BAD_FLAG', text, { hint });
}

/** What may stand beside --node-local. */
const nodeLocalNames = new Set([
  'check',
  'cluster-dns',
  'domain',
  'health-port',
  'host',
  'lame-duck',
  'metrics-port',
  'no-upstream',
  'node-local',
  'port',
  'upstream',
]);

function nodeLocalOf(values: ReturnType<typeof readArgs>): NodeLocalFlags {
  const port = (name: 'port' | 'health-port' | 'metrics-port', usual: string) =>
    numberFlag(`--${name}`, values[name] ?? usual, 65_535);
  return {
    domain: values.domain ?? 'cluster.local',
    host: values.host ?? nodeLocalAddress,
    port: port('port', '53'),
    clusterDns: values['cluster-dns'] ?? [],
    upstreams: values['no-upstream'] === true ? [] : values.upstream,
    lameDuckSeconds: numberFlag('--lame-duck', values['lame-duck'] ?? '5', 600),
    healthPort: port('health-port', '8080'),
    metricsPort: port('metrics-port', '9253'),
  };
}

/** Manifests of CoreDNS use these. */
const coreDnsNames = new Map([
  ['-conf', '--config'],
  ['-dns.port', '--port'],
  ['-p', '--port'],
]);

/** What may stand beside --config. */
const beside = new Set(['config', 'check', 'kubeconfig', 'port', 'workers']);

function optionsOf(values: ReturnType<typeof readArgs>): DnsFlags {
  const podRecords = values.pods ?? 'insecure';
  if (podRecords !== 'disabled' && podRecords !== 'insecure' && podRecords !== 'verified') {
    throw badFlag('--pods', podRecords, 'disabled, insecure or verified');
  }
  const kubeDns = readKubeDns(values['config-dir']);
  const pages = { 'health-port': '8080', 'ready-port': '8181', 'metrics-port': '9153' } as const;
  return {
    domain: values.domain ?? 'cluster.local',
    host: values.host ?? anyHost(),
    port: numberFlag('--port', values.port ?? '53', 65_535),
    upstreams: values['no-upstream'] === true ? [] : (values.upstream ?? kubeDns.upstreams),
    stubDomains: [...kubeDns.stubDomains, ...(values['stub-domain'] ?? []).map(stubDomainOf)],
    ttlSeconds: numberFlag('--ttl', values.ttl ?? '30', 3600),
    podRecords,
    lameDuckMs: numberFlag('--lame-duck', values['lame-duck'] ?? '5', 600) * 1000,
    kubeconfig: values.kubeconfig,
    strictCoredns: values['strict-coredns'] ?? false,
    pages: (['health-port', 'ready-port', 'metrics-port'] as const).map((name) =>
      numberFlag(`--${name}`, values[name] ?? pages[name], 65_535),
    ),
  };
}

function readArgs(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        check: { type: 'boolean' },
        'cluster-dns': { type: 'string', multiple: true },
        config: { type: 'string' },
        'config-dir': { type: 'string' },
        'stub-domain': { type: 'string', multiple: true },
        domain: { type: 'string' },
        host: { type: 'string' },
        port: { type: 'string' },
        upstream: { type: 'string', multiple: true },
        'no-upstream': { type: 'boolean' },
        'node-local': { type: 'boolean' },
        ttl: { type: 'string' },
        pods: { type: 'string' },
        'lame-duck': { type: 'string' },
        kubeconfig: { type: 'string' },
        'strict-coredns': { type: 'boolean' },
        'health-port': { type: 'string' },
        'ready-port': { type: 'string' },
        'metrics-port': { type: 'string' },
        workers: { type: 'string' },
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

/** `DOMAIN=SERVER[,SERVER…]` */
function stubDomainOf(text: string): StubDomain {
  const [domain = '', servers = ''] = text.split('=');
  if (domain !== '' && servers !== '') return { domain, servers: servers.split(',') };
  throw badFlag(
    '--stub-domain',
    text,
    'a domain and its servers, like acme.local=10.0.0.1,10.0.0.2',
  );
}

type KubeDns = {
  readonly stubDomains: readonly StubDomain[];
  readonly upstreams: readonly string[] | undefined;
};

/** The keys of the ConfigMap kube-dns, as files of a folder: JSON in each. */
function readKubeDns(folder: string | undefined): KubeDns {
  if (folder === undefined) return { stubDomains: [], upstreams: undefined };
  const stubs = readJson(join(folder, 'stubDomains')) ?? {};
  const upstreams = readJson(join(folder, 'upstreamNameservers'));
  const entries = Object.entries(stubs);
  if (
    entries.every(([, servers]) => isTexts(servers)) &&
    (upstreams === undefined || isTexts(upstreams))
  ) {
    const stubDomains = entries.map(([domain, servers]) => ({
      domain,
      servers: servers as string[],
    }));
    return { stubDomains, upstreams };
  }
  const wanted =
    'a folder whose stubDomains is {"DOMAIN": ["SERVER"]} and upstreamNameservers ["SERVER"]';
  throw badFlag('--config-dir', folder, wanted);
}

function readJson(path: string): object | undefined {
  if (!existsSync(path)) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    throw badFlag('--config-dir', path, `a file with JSON in it (${messageOf(error)})`);
  }
  if (typeof value === 'object' && value !== null) return value;
  throw badFlag('--config-dir', path, 'a file with a JSON object or list in it');
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string');
}
