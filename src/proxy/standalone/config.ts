/** The configuration of a proxy: a file in kube-proxy's format, and flags that override it. */
import { readFileSync } from 'node:fs';
import { messageOf, UserError } from '../../lib/errors.ts';
import type { Field } from './field-types.ts';
import { fields, flags, type FieldName, type ProxyConfig } from './fields.ts';

const API_VERSION = 'kubeproxy.config.k8s.io/v1alpha1';
const KIND = 'KubeProxyConfiguration';

/** Flags as the command line holds them, by name without dashes. */
export type FlagValues = Readonly<Record<string, string | boolean | undefined>>;

export type LoadedConfig = {
  readonly config: ProxyConfig;
  /** Fields that were set and have no effect here. */
  readonly unused: readonly string[];
};

type Values = Map<FieldName, unknown>;
/** `field is found, it must be …`, one for each thing that is wrong. */
type Problems = string[];

/** Reads file and flags. Throws `UserError` that names file, fields and what was found. */
export async function loadConfig(
  file: string | undefined,
  given: FlagValues = {},
): Promise<LoadedConfig> {
  const read: Values = new Map();
  if (file !== undefined) await readFile(file, read);
  const unused = [...read.keys()].filter((name) => isUnused(name) && !isUsual(name, read));
  readFlags(given, read);
  const config = withDefaults(read);
  const problems = contradictions(config);
  if (problems.length > 0) {
    throw badConfig(file === undefined ? 'these flags' : `config file "${file}"`, problems);
  }
  return { config, unused };
}

function withDefaults(read: Values): ProxyConfig {
  const entries = Object.entries(fields).map(([name, field]) => {
    const value = read.get(name as FieldName);
    return [name, value === undefined ? field.initial : value];
  });
  return Object.fromEntries(entries) as ProxyConfig;
}

function fieldOf(name: FieldName): Field<unknown> {
  return fields[name];
}

/** Of other modes, or for what this client does in its own way. */
const WITHOUT_EFFECT =
  /^(?:(?:iptables|ipvs)\..*|clientConnection\.(?!kubeconfig).*|configSyncPeriod|showHiddenMetricsForVersion)$/;

function isUnused(name: FieldName): boolean {
  return fieldOf(name).unused === true || WITHOUT_EFFECT.test(name);
}

/** Whether it says no more than the default; Go writes every field of a configuration. */
function isUsual(name: FieldName, read: Values): boolean {
  const value = read.get(name);
  return isNothing(value) || JSON.stringify(value) === JSON.stringify(fieldOf(name).initial);
}

function isNothing(value: unknown): boolean {
  if (typeof value === 'object' && value !== null) return Object.values(value).every(isNothing);
  return [null, undefined, false, '', 0, '0', '0s'].includes(value as never);
}

// ---- the file

async function readFile(file: string, into: Values): Promise<void> {
  const problems: Problems = [];
  const whole = await parseYaml(file);
  for (const [key, wanted] of [
    ['apiVersion', API_VERSION],
    ['kind', KIND],
  ] as const) {
    if (whole[key] !== wanted) problems.push(`${key} is ${show(whole[key])}, it must be ${wanted}`);
  }
  for (const [key, value] of Object.entries(whole)) {
    if (key !== 'apiVersion' && key !== 'kind') readField(key, value, { into, problems });
  }
  if (problems.length > 0) throw badConfig(`config file "${file}"`, problems);
}

type Reading = { readonly into: Values; readonly problems: Problems };

/** A field, or a block of fields; null stands for nothing, as in Go. */
function readField(path: string, found: unknown, { into, problems }: Reading): void {
  if (Object.hasOwn(fields, path)) {
    const name = path as FieldName;
    const field = fieldOf(name);
    if (found === null || found === undefined) return;
    if (field.zeroIsDefault === true && (found === 0 || found === '0s')) return;
    const result = field.read(found);
    if ('value' in result) into.set(name, result.value);
    else problems.push(`${path} is ${show(found)}, it must ${result.must}`);
    return;
  }
  const isBlock = Object.keys(fields).some((name) => name.startsWith(`${path}.`));
  if (!isBlock) {
    problems.push(`${path} is no field${suggestion(path)}`);
  } else if (typeof found === 'object' && !Array.isArray(found)) {
    for (const [key, value] of Object.entries(found ?? {})) {
      readField(`${path}.${key}`, value, { into, problems });
    }
  } else {
    problems.push(`${path} is ${show(found)}, it must be a block of fields`);
  }
}

function suggestion(path: string): string {
  const near = Object.keys(fields).find((name) => name.toLowerCase() === path.toLowerCase());
  const last = path.split('.').at(-1)!.toLowerCase();
  const elsewhere = Object.keys(fields).find(
    (name) => name.split('.').at(-1)!.toLowerCase() === last,
  );
  const meant = near ?? elsewhere;
  return meant === undefined ? '' : `, perhaps ${meant} is meant`;
}

async function parseYaml(file: string): Promise<Record<string, unknown>> {
  const subject = `config file "${file}"`;
  let source: string;
  try {
    source = readFileSync(file, 'utf8');
  } catch (error) {
    throw badConfig(subject, [messageOf(error)]);
  }
  const { parseAllDocuments } = await import('yaml');
  const [document, ...others] = [...parseAllDocuments(source)].filter(
    (one) => one.contents !== null || one.errors.length > 0,
  );
  const error = document?.errors[0];
  if (error !== undefined) throw badConfig(subject, [error.message.split('\n')[0]!]);
  if (others.length > 0) throw badConfig(subject, [`it holds ${others.length + 1} documents`]);
  const whole: unknown = document?.toJS();
  if (typeof whole === 'object' && whole !== null && !Array.isArray(whole)) {
    return whole as Record<string, unknown>;
  }
  throw badConfig(subject, ['it holds no mapping']);
}

// ---- the flags

function readFlags(given: FlagValues, into: Values): void {
  for (const { flag, field } of flags) {
    const found = given[flag];
    if (found === undefined) continue;
    // As kube-proxy: an empty address turns a server off, while in a file it is the default.
    const off = found === '' && flag.endsWith('-bind-address') && flag !== 'bind-address';
    const result = off ? { value: 'off' } : fieldOf(field).read(found);
    if (!('value' in result)) {
      const text = `Cannot start the proxy: --${flag} is ${show(found)}, it must ${result.must}`;
      throw new UserError('BAD_FLAG', text);
    }
    into.set(field, result.value);
  }
}

// ---- both

/** What no single field shows. */
function contradictions(config: ProxyConfig): Problems {
  const problems: Problems = [];
  const min = config['nftables.minSyncPeriod'];
  if (min > config['nftables.syncPeriod']) {
    problems.push('nftables.minSyncPeriod is longer than nftables.syncPeriod');
  }
  for (const [mode, name] of [
    ['BridgeInterface', 'detectLocal.bridgeInterface'],
    ['InterfaceNamePrefix', 'detectLocal.interfaceNamePrefix'],
  ] as const) {
    if (config.detectLocalMode === mode && config[name] === '') {
      problems.push(`${name} is empty, detectLocalMode ${mode} needs it`);
    }
  }
  return problems;
}

function show(found: unknown): string {
  return found === undefined ? 'missing' : JSON.stringify(found);
}

function badConfig(subject: string, problems: Problems): UserError {
  const [first, ...others] = problems;
  const more = others.map((problem) => `\n  and ${problem}`).join('');
  return new UserError('BAD_CONFIG', `Cannot use ${subject}: ${first}${more}`);
}
