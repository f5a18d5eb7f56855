/**
 * Compiles the Kubernetes type data into `src/api/schema/types.json`, cut down to the kinds we serve
 * or read as request bodies and to what they refer to.
 * Use: node tools/compile-schema.ts <kubernetes-api-schema.json>
 */
import { readFileSync, writeFileSync } from 'node:fs';

type SourceField = {
  name: string;
  type: string;
  n: number;
  rep?: boolean;
  req?: boolean;
  [extra: string]: unknown;
};
type Source = Record<string, Record<string, SourceField[]>>;

/** The kinds to keep. Everything they refer to follows. */
const roots: Record<string, string> = {
  'core/v1':
    'Namespace Node Pod PodTemplate Service Endpoints ConfigMap Secret ServiceAccount Event Binding',
  'discovery/v1': 'EndpointSlice',
  'apps/v1': 'Deployment ReplicaSet StatefulSet DaemonSet ControllerRevision',
  'batch/v1': 'Job',
  'networking/v1': 'NetworkPolicy Ingress IngressClass IPAddress ServiceCIDR',
  'coordination/v1': 'Lease',
  'events/v1': 'Event',
  'autoscaling/v1': 'Scale',
  'policy/v1': 'Eviction PodDisruptionBudget',
  'authentication/v1': 'TokenRequest TokenReview SelfSubjectReview',
  'authorization/v1':
    'SelfSubjectAccessReview SubjectAccessReview LocalSubjectAccessReview SelfSubjectRulesReview',
  'meta/v1': 'DeleteOptions ListMeta Status LabelSelector PartialObjectMetadata',
};

/** Go embeds these structs with an empty JSON name: their fields stand in the outer object. */
const inlined = new Set([
  'localObjectReference',
  'volumeSource',
  'persistentVolumeSource',
  'ephemeralContainerCommon',
]);

/** Messages that are no JSON objects, under the name by which `schema.ts` knows them. */
const special: Record<string, string> = {
  'meta/v1.Time': 'Time',
  'meta/v1.MicroTime': 'MicroTime',
  'meta/v1.FieldsV1': 'FieldsV1',
  'meta/v1.Verbs': 'StringList',
  'authentication/v1.ExtraValue': 'StringList',
  'authorization/v1.ExtraValue': 'StringList',
  'authentication/v1.AttestationValue': 'StringList',
  'resource.Quantity': 'Quantity',
  'runtime.RawExtension': 'RawExtension',
  'intstr.IntOrString': 'IntOrString',
};

/** Names whose protobuf spelling is not the JSON one. */
const renamed: Record<string, string> = {
  'networking/v1.IngressClassParametersReference.aPIGroup': 'apiGroup',
  'authentication/v1.BoundObjectReference.uID': 'uid',
};

function main(): void {
  const file = process.argv[2];
  if (file === undefined) throw new Error('Cannot compile the schema: no source file was named');
  const source = JSON.parse(readFileSync(file, 'utf8')) as Source;
  const queue = Object.entries(roots).flatMap(([group, names]) =>
    names.split(' ').map((name) => `${group}.${name}`),
  );
  const out = new Map<string, string>();
  for (let id = queue.shift(); id !== undefined; id = queue.shift()) {
    if (out.has(id)) continue;
    const dot = id.lastIndexOf('.');
    const fields = source[id.slice(0, dot)]?.[id.slice(dot + 1)];
    if (fields === undefined) throw new Error(`Cannot compile the schema: no type "${id}"`);
    const compiled = fields
      .map((field) => compileField(id, field))
      .filter(([, [, type]]) => isKnown(source, type));
    out.set(id, JSON.stringify(Object.fromEntries(compiled)));
    for (const [, [, type]] of compiled) {
      if (baseOf(type).includes('/')) queue.push(baseOf(type));
    }
  }
  const lines = [...out.keys()].sort().map((id) => `${JSON.stringify(id)}:${out.get(id)}`);
  const target = new URL('../src/api/schema/types.json', import.meta.url);
  writeFileSync(target, `{\n${lines.join(',\n')}\n}\n`);
  console.log(`${lines.length} types written`);
}

function baseOf(type: string): string {
  return type.replace(/^map:|\[\]$/g, '');
}

/** Fields of alpha types the source does not describe are left out. */
function isKnown(source: Source, type: string): boolean {
  const base = baseOf(type);
  const dot = base.lastIndexOf('.');
  return !base.includes('/') || source[base.slice(0, dot)]?.[base.slice(dot + 1)] !== undefined;
}

type Compiled = [string, [number, string, Record<string, unknown>?]];

function compileField(owner: string, field: SourceField): Compiled {
  const { name, type, n, rep, ...extras } = field;
  const map = /^map<string,(.*)>$/.exec(type);
  const base = resolve(owner, map?.[1] ?? type);
  const full = map === null ? base + (rep === true ? '[]' : '') : `map:${base}`;
  const isInline = inlined.has(name) || (owner === 'core/v1.Probe' && name === 'handler');
  const json = renamed[`${owner}.${name}`] ?? name;
  const entry: [number, string, Record<string, unknown>?] = [n, full];
  if (Object.keys(extras).length > 0) entry.push(extras);
  return [isInline ? `+${json}` : json, entry];
}

/** The id of a type as written in the source, seen from `owner`. */
function resolve(owner: string, type: string): string {
  if (/^(string|int32|int64|bool|bytes)$/.test(type)) return type;
  let id = `${owner.slice(0, owner.lastIndexOf('.'))}.${type}`;
  const path = /^\.k8s\.io\.(.*)\.([A-Za-z0-9]+)$/.exec(type);
  if (path !== null) {
    const [, folder = '', name] = path;
    const group = folder
      .replace('apimachinery.pkg.apis.', '')
      .replace('apimachinery.pkg.api.', '')
      .replace('apimachinery.pkg.util.', '')
      .replace('apimachinery.pkg.', '')
      .replace('api.', '')
      .replace(/\.(v\d\w*)$/, '/$1');
    id = `${group}.${name}`;
  }
  return special[id] ?? id;
}

main();
