/** JSON schemas of the Kubernetes types, in the dialects of OpenAPI 2 and 3 (A14, A18). */
import { apiVersionOf, resources, reviews, type Resource } from '../resources.ts';
import { isTypeId, typeIdOf, typeOf, type Field, type Type } from '../schema.ts';
import { describeField, describeType } from './descriptions.ts';

export type Schema = { [name: string]: unknown };
export type Dialect = 2 | 3;

/** Bodies of subresources and requests, which no resource of ours is made of. */
const bodies = [
  { group: 'autoscaling', version: 'v1', kind: 'Scale' },
  { group: 'policy', version: 'v1', kind: 'Eviction' },
  { group: 'authentication.k8s.io', version: 'v1', kind: 'TokenRequest' },
  { group: '', version: 'v1', kind: 'Binding' },
  { group: '', version: 'v1', kind: 'DeleteOptions' },
  { group: '', version: 'v1', kind: 'Status' },
] as const;

/** Every resource that has paths. */
export const served: readonly Resource[] = [...Object.values(resources), ...Object.values(reviews)];

type GroupVersionKind = Pick<Resource, 'group' | 'version' | 'kind'>;

/** Types that are no JSON objects. */
const special: Record<Dialect, Record<string, Schema>> = {
  2: {
    IntOrString: { type: 'string', format: 'int-or-string' },
    Quantity: { type: 'string' },
  },
  3: {
    IntOrString: { format: 'int-or-string', oneOf: [{ type: 'integer' }, { type: 'string' }] },
    Quantity: { oneOf: [{ type: 'string' }, { type: 'number' }] },
  },
};

const specialInBoth: Record<string, Schema> = {
  Time: { type: 'string', format: 'date-time' },
  MicroTime: { type: 'string', format: 'date-time' },
  RawExtension: { type: 'object' },
  FieldsV1: { type: 'object' },
};

/** The published name of each special type's package. */
const specialPackages: Record<string, string> = {
  IntOrString: 'io.k8s.apimachinery.pkg.util.intstr',
  Quantity: 'io.k8s.apimachinery.pkg.api.resource',
  Time: 'io.k8s.apimachinery.pkg.apis.meta.v1',
  MicroTime: 'io.k8s.apimachinery.pkg.apis.meta.v1',
  RawExtension: 'io.k8s.apimachinery.pkg.runtime',
  FieldsV1: 'io.k8s.apimachinery.pkg.apis.meta.v1',
};

/** `io.k8s.api.core.v1.Pod` of `core/v1.Pod`. */
export function definitionName(type: string): string {
  const folder = specialPackages[type];
  if (folder !== undefined) return `${folder}.${type}`;
  const dotted = type.replace('/', '.');
  return dotted.startsWith('meta.')
    ? `io.k8s.apimachinery.pkg.apis.${dotted}`
    : `io.k8s.api.${dotted}`;
}

/** The definitions that the given kinds need, by published name. */
export function definitionsFor(
  kinds: readonly GroupVersionKind[],
  dialect: Dialect,
): Map<string, Schema> {
  const out = new Map<string, Schema>();
  const gvks = gvksByType();
  const queue = ['meta/v1.DeleteOptions', 'meta/v1.Status', 'meta/v1.ListMeta'];
  for (const kind of kinds) {
    const id = typeIdOf(apiVersionOf(kind), kind.kind);
    if (id === undefined) continue;
    queue.push(id);
    const list = listSchema(kind, id, dialect);
    if (list !== undefined) out.set(`${definitionName(id)}List`, list);
  }
  for (let id = queue.pop(); id !== undefined; id = queue.pop()) {
    const name = definitionName(id);
    if (out.has(name)) continue;
    const type = isTypeId(id) ? typeOf(id) : undefined;
    if (type === undefined) {
      const schema = special[dialect][id] ?? specialInBoth[id];
      if (schema !== undefined) out.set(name, { description: describeType(id), ...schema });
      continue;
    }
    out.set(name, objectSchema(type, gvks.get(id), dialect));
    for (const field of type.fields.values()) queue.push(field.type);
  }
  return new Map([...out].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Every kind with a group version of its own, resources and bodies. */
export function allKinds(): GroupVersionKind[] {
  return [...served, ...bodies];
}

function gvksByType(): Map<string, GroupVersionKind> {
  const out = new Map<string, GroupVersionKind>();
  for (const { group, version, kind } of allKinds()) {
    const id = typeIdOf(apiVersionOf({ group, version }), kind);
    if (id !== undefined) out.set(id, { group, version, kind });
  }
  return out;
}

function objectSchema(type: Type, gvk: GroupVersionKind | undefined, dialect: Dialect): Schema {
  const properties: Record<string, Schema> = {};
  if (gvk !== undefined || type.name === 'DeleteOptions') Object.assign(properties, typeMeta);
  for (const field of type.fields.values()) {
    properties[field.name] = fieldSchema(type, field, dialect);
  }
  const required = [...type.fields.values()].filter((field) => field.isRequired);
  return {
    description: describeType(type.id),
    type: 'object',
    ...(required.length > 0 && { required: required.map(({ name }) => name) }),
    properties,
    ...(gvk !== undefined && { 'x-kubernetes-group-version-kind': [gvk] }),
  };
}

const typeMeta: Record<string, Schema> = {
  apiVersion: { type: 'string', description: 'The group and version of the kind.' },
  kind: { type: 'string', description: 'What the object is.' },
};

function listSchema(gvk: GroupVersionKind, id: string, dialect: Dialect): Schema | undefined {
  if ((gvk as Partial<Resource>).resource === undefined) return undefined;
  if ((gvk as Partial<Resource>).createOnly === true) return undefined;
  const { group, version, kind } = gvk;
  return {
    description: `${kind}List is a list of ${kind} objects.`,
    type: 'object',
    required: ['items'],
    properties: {
      ...typeMeta,
      metadata: reference('meta/v1.ListMeta', dialect, 'Metadata of the list.'),
      items: { type: 'array', description: 'The objects.', items: reference(id, dialect) },
    },
    'x-kubernetes-group-version-kind': [{ group, version, kind: `${kind}List` }],
  };
}

function fieldSchema(type: Type, field: Field, dialect: Dialect): Schema {
  const description = describeField(type, field);
  const extensions = extensionsOf(field);
  if (field.isList) {
    const items = valueSchema(field.type, dialect);
    return { type: 'array', description, items, ...extensions };
  }
  if (field.isMap) {
    const additionalProperties = valueSchema(field.type, dialect);
    return { type: 'object', description, additionalProperties, ...extensions };
  }
  return { ...valueSchema(field.type, dialect, description), ...extensions };
}

function extensionsOf(field: Field): Schema {
  return {
    ...(field.patch !== undefined && { 'x-kubernetes-patch-strategy': field.patch }),
    ...(field.mergeKey !== undefined && { 'x-kubernetes-patch-merge-key': field.mergeKey }),
    ...(field.list !== undefined && { 'x-kubernetes-list-type': field.list }),
    ...(field.keys !== undefined && { 'x-kubernetes-list-map-keys': field.keys }),
    ...(field.map !== undefined && { 'x-kubernetes-map-type': field.map }),
  };
}

function valueSchema(type: string, dialect: Dialect, description?: string): Schema {
  const text = description === undefined ? {} : { description };
  switch (type) {
    case 'string':
      return { type: 'string', ...text };
    case 'bool':
      return { type: 'boolean', ...text };
    case 'bytes':
      return { type: 'string', format: 'byte', ...text };
    case 'int32':
    case 'int64':
      return { type: 'integer', format: type, ...text };
    case 'StringList':
      return { type: 'array', items: { type: 'string' }, ...text };
    default:
      return reference(type, dialect, description);
  }
}

/** OpenAPI 3 ignores what stands beside `$ref`, so it is wrapped there. */
function reference(type: string, dialect: Dialect, description?: string): Schema {
  const name = definitionName(type);
  const text = description === undefined ? {} : { description };
  if (dialect === 2) return { $ref: `#/definitions/${name}`, ...text };
  return { allOf: [{ $ref: `#/components/schemas/${name}` }], ...text };
}
