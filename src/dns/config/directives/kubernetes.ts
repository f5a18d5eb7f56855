/** `kubernetes [ZONE…] { … }` */
import { dnsLimits } from '../../limits.ts';
import { parseName } from '../../wire/name.ts';
import { reverseFamily, type PodRecords } from '../../zone/zones.ts';
import {
  argumentOf,
  argumentsOf,
  durationOf,
  flagOf,
  numberOf,
  oneOf,
  onlyOne,
  pathOf,
  readProperties,
  zonesOf,
} from '../arguments.ts';
import type { Line } from '../parse.ts';
import { fault, type Token } from '../tokens.ts';
import type { ApiSettings, KubernetesSettings } from '../types.ts';
import { zonesOrBlock, type Context } from './directive.ts';

type Mutable<T> = { -readonly [key in keyof T]: T[key] };

export function readKubernetes(lines: readonly Line[], context: Context): KubernetesSettings {
  const line = onlyOne(lines);
  const zones = zonesOrBlock(line.words.slice(1), context);
  if (!zones.some((zone) => reverseFamily(zone) === undefined)) {
    throw fault(line.words[0]!, '"kubernetes" needs a zone that is not a reverse one');
  }
  const found: Mutable<KubernetesSettings> = {
    zones,
    ttlSeconds: dnsLimits.defaultTtlSeconds,
    podRecords: 'disabled',
    fallthrough: [],
    strictCoredns: false,
    startupTimeoutMs: dnsLimits.startupTimeoutMs,
    api: {},
  };
  readProperties(line, readersInto(found, context));
  if (found.namespaces !== undefined && found.namespaceLabels !== undefined) {
    throw fault(line.words[0]!, '"namespaces" and "namespace_labels" exclude each other');
  }
  if (found.zonal === true && found.noEndpoints === true) {
    throw fault(line.words[0]!, '"zonal" needs endpoints, "noendpoints" leaves them out');
  }
  return found;
}

const podModes: readonly PodRecords[] = ['disabled', 'insecure', 'verified'];

function readersInto(
  found: Mutable<KubernetesSettings>,
  context: Context,
): Record<string, (line: Line) => void> {
  const api = (more: ApiSettings) => (found.api = { ...found.api, ...more });
  const texts = (line: Line) => argumentsOf(line, { min: 1 }).map(({ text }) => text);
  const ignored = (line: Line) => {
    argumentOf(line);
    context.warn(`"${line.words[0]!.text}" has no effect here: watches are few and long`);
  };
  return {
    pods: (line) => (found.podRecords = oneOf(argumentOf(line), podModes)),
    ttl: (line) => (found.ttlSeconds = numberOf(argumentOf(line), { max: 3600 })),
    fallthrough: (line) => (found.fallthrough = fallthroughOf(line)),
    endpoint_pod_names: (line) => (found.endpointPodNames = flagOf(line)),
    namespaces: (line) => (found.namespaces = [...(found.namespaces ?? []), ...texts(line)]),
    namespace_labels: (line) => (found.namespaceLabels = texts(line).join(' ')),
    labels: (line) => (found.labels = texts(line).join(' ')),
    noendpoints: (line) => (found.noEndpoints = flagOf(line)),
    zonal: (line) => (found.zonal = flagOf(line)),
    ignore: (line) => {
      oneOf(argumentOf(line), ['empty_service']);
      found.ignoreEmptyService = true;
    },
    multicluster: (line) => (found.multicluster = multiclusterOf(line, found)),
    startup_timeout: (line) => (found.startupTimeoutMs = durationOf(argumentOf(line))),
    endpoint: (line) => api({ endpoint: argumentsOf(line, { min: 1 })[0]!.text }),
    tls: (line) => {
      const [cert, key, ca] = argumentsOf(line, { min: 3, max: 3 }).map(pathOf);
      api({ tls: { cert: cert!, key: key!, ca: ca! } });
    },
    kubeconfig: (line) => {
      const [path, name] = argumentsOf(line, { min: 1, max: 2 }) as [Token, Token?];
      api({ kubeconfig: { path: pathOf(path), ...(name && { context: name.text }) } });
    },
    apiserver_qps: ignored,
    apiserver_burst: ignored,
    apiserver_max_inflight: ignored,
    // Ours: answers exactly as CoreDNS gives them, see docs/decisions/0006.
    strict_coredns: (line) => (found.strictCoredns = flagOf(line)),
  };
}

/** Without zones: all. */
export function fallthroughOf(line: Line) {
  const zones = line.words.slice(1);
  return zones.length === 0 ? [parseName('.')!] : zones.flatMap(zonesOf);
}

function multiclusterOf(line: Line, { zones }: KubernetesSettings) {
  return argumentsOf(line, { min: 1 }).flatMap((token) => {
    const named = zonesOf(token);
    if (named.every((zone) => zones.includes(zone))) return named;
    throw fault(token, `"${token.text}" is none of the zones of this "kubernetes"`);
  });
}
