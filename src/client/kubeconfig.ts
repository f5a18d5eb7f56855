/** Where the API server is and who we are: from a kubeconfig file, or from inside a pod. */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { UserError, messageOf } from '../lib/errors.ts';
import { formatHostPort } from '../lib/ip.ts';
import type { ExecPlugin } from './exec-credentials.ts';
import type { HttpClientOptions } from './http-client.ts';

/** Where a pod finds its identity (the service-account volume). */
const podIdentityDir = '/var/run/secrets/kubernetes.io/serviceaccount';

type Named<K extends string, T> = { name: string } & { [P in K]?: T };
type Cluster = {
  server?: string;
  'certificate-authority'?: string;
  'certificate-authority-data'?: string;
  'insecure-skip-tls-verify'?: boolean;
  'tls-server-name'?: string;
};
type User = {
  'client-certificate'?: string;
  'client-certificate-data'?: string;
  'client-key'?: string;
  'client-key-data'?: string;
  token?: string;
  tokenFile?: string;
  exec?: {
    apiVersion?: string;
    command?: string;
    args?: string[] | null;
    env?: { name: string; value: string }[] | null;
    provideClusterInfo?: boolean;
    installHint?: string;
  };
  'auth-provider'?: unknown;
};
type Kubeconfig = {
  'current-context'?: string;
  clusters?: Named<'cluster', Cluster>[];
  contexts?: Named<'context', { cluster?: string; user?: string; namespace?: string }>[];
  users?: Named<'user', User>[];
};

/** What a kubeconfig file says; `namespace` is the one its context works in. */
export type LoadedConfig = HttpClientOptions & { readonly namespace: string };

/** Reads the file's current context, or the named one. */
export async function loadKubeconfig(path: string, context?: string): Promise<LoadedConfig> {
  const config = await parseFile(path);
  const contextName = context ?? config['current-context'] ?? '';
  const chosen = config.contexts?.find((c) => c.name === contextName)?.context;
  if (chosen === undefined) {
    throw bad(path, `it has no context "${contextName}"`, contextsHint(config));
  }
  const cluster = config.clusters?.find((c) => c.name === chosen.cluster)?.cluster;
  if (cluster?.server === undefined) {
    throw bad(path, `it has no cluster "${chosen.cluster ?? ''}" with a server`);
  }
  const known = config.users?.find((u) => u.name === chosen.user);
  if (known === undefined && (chosen.user ?? '') !== '') {
    throw bad(path, `it has no user "${chosen.user}"`);
  }
  const user = known?.user ?? {};
  if (user['auth-provider'] !== undefined) {
    const found = `user "${chosen.user}" has an auth-provider, which Kubernetes no longer has`;
    throw bad(path, found, 'Use exec, or a token');
  }
  return {
    server: cluster.server,
    namespace: chosen.namespace ?? 'default',
    ...clusterTrust(path, cluster),
    ...userIdentity(path, user),
    ...(user.exec === undefined ? {} : { exec: execPlugin(path, user.exec, cluster) }),
  };
}

/** A command with a slash in it is relative to the kubeconfig, as files are. */
function execPlugin(path: string, exec: NonNullable<User['exec']>, cluster: Cluster): ExecPlugin {
  const { apiVersion = '', command = '', args, env, installHint } = exec;
  if (!/^client\.authentication\.k8s\.io\/v1(?:beta1)?$/.test(apiVersion)) {
    throw bad(path, `its exec plug-in has the apiVersion "${apiVersion}"`);
  }
  if (command === '') throw bad(path, 'its exec plug-in names no command');
  const { 'certificate-authority-data': ca, 'tls-server-name': serverName } = cluster;
  const told = {
    server: cluster.server,
    ...(ca === undefined ? {} : { 'certificate-authority-data': ca }),
    ...(serverName === undefined ? {} : { 'tls-server-name': serverName }),
  };
  return {
    apiVersion,
    command: command.includes('/') ? resolve(dirname(path), command) : command,
    args: args ?? [],
    env: Object.fromEntries((env ?? []).map(({ name, value }) => [name, value])),
    ...(exec.provideClusterInfo === true ? { cluster: told } : {}),
    ...(installHint === undefined ? {} : { installHint }),
  };
}

function clusterTrust(path: string, cluster: Cluster): Partial<HttpClientOptions> {
  const ca = pem(path, cluster['certificate-authority-data'], cluster['certificate-authority']);
  const serverName = cluster['tls-server-name'];
  return {
    ...(ca === undefined ? {} : { ca }),
    ...(serverName === undefined ? {} : { serverName }),
    ...(cluster['insecure-skip-tls-verify'] === true ? { insecure: true } : {}),
  };
}

function userIdentity(path: string, user: User): Partial<HttpClientOptions> {
  const cert = pem(path, user['client-certificate-data'], user['client-certificate']);
  const key = pem(path, user['client-key-data'], user['client-key']);
  const tokenFile = user.tokenFile;
  const files = [user['client-certificate'], user['client-key']].map(
    (file) => file && resolve(dirname(path), file),
  );
  const inline = user['client-certificate-data'] ?? user['client-key-data'];
  const [certFile, keyFile] = inline === undefined ? files : [];
  return {
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(certFile && keyFile ? { certFile, keyFile } : {}),
    ...(user.token === undefined ? {} : { token: user.token }),
    ...(tokenFile === undefined ? {} : { tokenFile: resolve(dirname(path), tokenFile) }),
  };
}

/** Inline data is base64 and wins over a file; a file name is relative to the kubeconfig. */
function pem(path: string, data: string | undefined, file: string | undefined): string | undefined {
  if (data !== undefined) return Buffer.from(data, 'base64').toString('utf8');
  if (file === undefined) return undefined;
  return readText(resolve(dirname(path), file), `it is named by ${path}`);
}

/** The identity Kubernetes gives a pod: service-account files and the address in the environment. */
export function loadInCluster(
  env: NodeJS.ProcessEnv = process.env,
  dir = podIdentityDir,
): LoadedConfig {
  const host = env.KUBERNETES_SERVICE_HOST ?? '';
  const port = env.KUBERNETES_SERVICE_PORT ?? '443';
  if (host === '') {
    throw new UserError(
      'NOT_IN_CLUSTER',
      'Cannot find the API server: KUBERNETES_SERVICE_HOST is not set',
      { hint: 'Run this in a pod, or name a kubeconfig file' },
    );
  }
  return {
    server: `https://${formatHostPort(host, Number(port))}`,
    ca: readText(`${dir}/ca.crt`),
    tokenFile: `${dir}/token`,
    namespace: existsSync(`${dir}/namespace`) ? readText(`${dir}/namespace`).trim() : 'default',
  };
}

/** The parser is loaded here only: a pod starts without it. */
async function parseFile(path: string): Promise<Kubeconfig> {
  const text = readText(path);
  const { parse } = await import('yaml');
  try {
    const config: unknown = parse(text);
    if (typeof config === 'object' && config !== null) return config;
  } catch (error) {
    throw bad(path, messageOf(error));
  }
  throw bad(path, 'it is not a YAML mapping');
}

function readText(path: string, hint?: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw bad(path, messageOf(error), hint);
  }
}

function bad(path: string, found: string, hint?: string): UserError {
  const message = `Cannot use kubeconfig "${path}": ${found}`;
  return new UserError('BAD_KUBECONFIG', message, hint === undefined ? {} : { hint });
}

function contextsHint(config: Kubeconfig): string {
  const names = (config.contexts ?? []).map((c) => c.name).join(', ');
  return names === '' ? 'The file has no contexts' : `Its contexts are: ${names}`;
}
