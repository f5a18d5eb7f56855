/** The variables and the command line of a container (K9, K10). */
import type { ConfigMap, Container, EnvVar, Pod, Secret } from '../../api/types.ts';
import { UserError } from '../../lib/errors.ts';
import { expand } from './expand.ts';
import { fieldText, resourceText, type PodFacts } from './fields.ts';

/** Where the values that are not in the pod come from; undefined when there is no such object. */
export type ConfigSource = {
  configMap(name: string): Promise<ConfigMap | undefined>;
  secret(name: string): Promise<Secret | undefined>;
};

export type EnvOptions = {
  readonly pod: Pod;
  readonly container: Container;
  readonly facts: PodFacts;
  readonly services: Readonly<Record<string, string>>;
  readonly source: ConfigSource;
};

/**
 * Everything the container finds in its environment. `envFrom` comes first, `env` in its order over
 * it; a variable of the pod beats one of a Service.
 * Throws UserError when something required is missing: the container waits and says so.
 */
export async function containerEnv(options: EnvOptions): Promise<Record<string, string>> {
  const { container, services } = options;
  const own = await importedEnv(options);
  const valueOf = (name: string) => own[name] ?? services[name];
  for (const variable of container.env ?? []) {
    const value = variable.value
      ? expand(variable.value, valueOf)
      : await referredValue(variable, options);
    if (value !== undefined) own[variable.name] = value;
  }
  return { ...services, ...own };
}

/** Command and arguments with their variables filled in. */
export function containerCommand(
  container: Container,
  env: Readonly<Record<string, string>>,
): { command: string[]; args: string[] } {
  const fill = (text: string) => expand(text, (name) => env[name]);
  return {
    command: (container.command ?? []).map(fill),
    args: (container.args ?? []).map(fill),
  };
}

async function importedEnv(options: EnvOptions): Promise<Record<string, string>> {
  const env: Record<string, string> = {};
  for (const from of options.container.envFrom ?? []) {
    const data = await importedData(from, options.source);
    for (const [key, value] of Object.entries(data)) env[`${from.prefix ?? ''}${key}`] = value;
  }
  return env;
}

async function importedData(
  from: NonNullable<Container['envFrom']>[number],
  source: ConfigSource,
): Promise<Record<string, string>> {
  if (from.configMapRef !== undefined) {
    const { name, optional } = from.configMapRef;
    const found = await source.configMap(name);
    if (found === undefined && !optional) throw missing(`configmap "${name}" not found`);
    return found?.data ?? {};
  }
  if (from.secretRef !== undefined) {
    const { name, optional } = from.secretRef;
    const found = await source.secret(name);
    if (found === undefined && !optional) throw missing(`secret "${name}" not found`);
    return Object.fromEntries(
      Object.entries(found?.data ?? {}).map(([key, value]) => [key, decodeBase64(value)]),
    );
  }
  return {};
}

/** Undefined when an optional reference leads nowhere: the variable is then not set at all. */
async function referredValue(
  variable: EnvVar,
  { pod, container, facts, source }: EnvOptions,
): Promise<string | undefined> {
  const from = variable.valueFrom;
  if (from === undefined) return '';
  if (from.fieldRef !== undefined) return fieldText(pod, from.fieldRef.fieldPath, facts);
  if (from.resourceFieldRef !== undefined) {
    const ref = from.resourceFieldRef;
    return resourceText(containerNamed(pod, ref.containerName) ?? container, ref, facts);
  }
  if (from.configMapKeyRef !== undefined) {
    const { name, key, optional } = from.configMapKeyRef;
    const found = await source.configMap(name);
    const value = found?.data?.[key];
    if (value !== undefined || optional) return value;
    if (found === undefined) throw missing(`configmap "${name}" not found`);
    throw missing(`couldn't find key ${key} in ConfigMap ${pod.metadata.namespace}/${name}`);
  }
  if (from.secretKeyRef !== undefined) {
    const { name, key, optional } = from.secretKeyRef;
    const found = await source.secret(name);
    const value = found?.data?.[key];
    if (value !== undefined) return decodeBase64(value);
    if (optional) return undefined;
    if (found === undefined) throw missing(`secret "${name}" not found`);
    throw missing(`couldn't find key ${key} in Secret ${pod.metadata.namespace}/${name}`);
  }
  throw missing(`variable "${variable.name}" has a valueFrom that names no known source`);
}

/** A container of the pod by name, of either list. */
export function containerNamed(pod: Pod, name: string | undefined): Container | undefined {
  if (name === undefined) return undefined;
  const all = [...pod.spec.containers, ...(pod.spec.initContainers ?? [])];
  return all.find((container) => container.name === name);
}

function missing(text: string): UserError {
  return new UserError('CONTAINER_CONFIG', text);
}

function decodeBase64(text: string): string {
  return Buffer.from(text, 'base64').toString('utf8');
}
