/**
 * Credentials that a command hands out, as kubeconfigs of cloud providers ask for
 * (client.authentication.k8s.io, ExecCredential): run when they are needed and when they run out.
 */
import { execFile } from 'node:child_process';
import { messageOf, WorldError } from '../lib/errors.ts';

/** `users[].user.exec` of a kubeconfig; `command` is a path or a name to be found in PATH. */
export type ExecPlugin = {
  readonly apiVersion: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** What the plug-in is told of the cluster, where it asks for that. */
  readonly cluster?: object;
  readonly installHint?: string;
};

/** What the command gave. PEM texts. */
export type ExecIdentity = {
  readonly token?: string;
  readonly cert?: string;
  readonly key?: string;
};

export type ExecSource = {
  /** What holds now; runs the command when nothing does. Throws `EXEC_PLUGIN`. */
  current(): Promise<ExecIdentity>;
  /** The server refused it: the next `current` runs the command. */
  forget(): void;
};

/** One that may ask somebody over the network is slow; one that asks a person never ends. */
const COMMAND_MS = 60_000;
const ANSWER_BYTES = 1024 * 1024;
/** A credential is renewed a little before its end, since clocks differ. */
const EARLY_MS = 10_000;

type Held = { readonly identity: ExecIdentity; readonly untilMs: number };

/** Remembers what the command gave until it runs out; requests at once share one run. */
export function createExecSource(plugin: ExecPlugin, now: () => number = Date.now): ExecSource {
  let held: Held | undefined;
  let running: Promise<Held> | undefined;
  return {
    async current() {
      if (held !== undefined && now() < held.untilMs) return held.identity;
      running ??= runPlugin(plugin).finally(() => (running = undefined));
      held = await running;
      return held.identity;
    },
    forget: () => (held = undefined),
  };
}

async function runPlugin(plugin: ExecPlugin): Promise<Held> {
  const { apiVersion, command, args, env, cluster } = plugin;
  const spec = { interactive: false, ...(cluster === undefined ? {} : { cluster }) };
  const info = JSON.stringify({ apiVersion, kind: 'ExecCredential', spec });
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const options = {
    env: { ...process.env, ...env, KUBERNETES_EXEC_INFO: info },
    timeout: COMMAND_MS,
    maxBuffer: ANSWER_BYTES,
  };
  const child = execFile(command, [...args], options, (error, stdout, stderr) => {
    if (error === null) resolve(stdout);
    else reject(failure(plugin, stderr.trim() || error.message, error));
  });
  child.stdin?.end();
  return readAnswer(plugin, await promise);
}

type Answer = {
  kind?: string;
  apiVersion?: string;
  status?: {
    token?: string;
    clientCertificateData?: string;
    clientKeyData?: string;
    expirationTimestamp?: string;
  };
};

function readAnswer(plugin: ExecPlugin, text: string): Held {
  let answer: Answer;
  try {
    answer = JSON.parse(text) as Answer;
  } catch (error) {
    throw failure(plugin, `it printed no JSON: ${messageOf(error)}`, error);
  }
  if (answer.kind !== 'ExecCredential' || answer.apiVersion !== plugin.apiVersion) {
    const found = `${answer.apiVersion ?? 'nothing'} ${answer.kind ?? ''}`.trim();
    throw failure(plugin, `it answered ${found}, not ${plugin.apiVersion} ExecCredential`);
  }
  const { token, clientCertificateData: cert, clientKeyData: key } = answer.status ?? {};
  if (token === undefined && (cert === undefined || key === undefined)) {
    throw failure(plugin, 'it gave neither a token nor a certificate with its key');
  }
  const until = Date.parse(answer.status?.expirationTimestamp ?? '');
  return {
    identity: {
      ...(token === undefined ? {} : { token }),
      ...(cert === undefined || key === undefined ? {} : { cert, key }),
    },
    untilMs: Number.isNaN(until) ? Infinity : until - EARLY_MS,
  };
}

function failure({ command, installHint }: ExecPlugin, found: string, cause?: unknown): WorldError {
  const hint = installHint === undefined ? '' : `; ${installHint.trim()}`;
  const text = `Cannot get credentials from "${command}": ${found}${hint}`;
  return new WorldError('EXEC_PLUGIN', text, { cause });
}
