/**
 * The compiled schema of the Kubernetes types we read: names, protobuf numbers, list and merge
 * rules. `tools/compile-schema.ts` writes the data; it is read on first use only.
 */
import { packageFile } from '../lib/package-root.ts';
import { readFileSync } from 'node:fs';

/** A field as JSON names it. */
export type Field = {
  readonly name: string;
  /** A scalar (`string`, `int32`, `int64`, `bool`, `bytes`), a special type, or a type id. */
  readonly type: string;
  /** Protobuf field number. */
  readonly number: number;
  readonly isList: boolean;
  readonly isMap: boolean;
  /** The message's fields stand in the outer JSON object: a struct embedded in Go. */
  readonly isInline: boolean;
  readonly isRequired: boolean;
  readonly patch?: string;
  readonly mergeKey?: string;
  readonly list?: string;
  readonly keys?: readonly string[];
  readonly map?: string;
  readonly default?: string;
};

export type Type = {
  readonly id: string;
  /** `PodSpec`. */
  readonly name: string;
  /** By JSON name, the fields of inlined structs included. */
  readonly fields: ReadonlyMap<string, Field>;
  /** By protobuf number, inlined structs as the messages they are. */
  readonly byNumber: ReadonlyMap<number, Field>;
};

type Extras = Partial<Pick<Field, 'patch' | 'mergeKey' | 'list' | 'keys' | 'map' | 'default'>> & {
  req?: boolean;
};
type Source = Record<string, Record<string, [number, string, Extras?]>>;

let source: Source | undefined;
const built = new Map<string, Type>();

function load(): Source {
  source ??= JSON.parse(
    readFileSync(packageFile('src', 'api', 'schema', 'types.json'), 'utf8'),
  ) as Source;
  return source;
}

/** The type with the given id, such as `core/v1.PodSpec`. */
export function typeOf(id: string): Type | undefined {
  const known = built.get(id);
  if (known !== undefined) return known;
  const fields = load()[id];
  if (fields === undefined) return undefined;
  const type = build(id, fields);
  built.set(id, type);
  return type;
}

function build(id: string, source: Source[string]): Type {
  const fields = new Map<string, Field>();
  const byNumber = new Map<number, Field>();
  for (const [key, [number, text, extras = {}]] of Object.entries(source)) {
    const { req, ...rest } = extras;
    const field: Field = {
      ...rest,
      name: key.replace('+', ''),
      type: text.replace(/^map:|\[\]$/g, ''),
      number,
      isList: text.endsWith('[]'),
      isMap: text.startsWith('map:'),
      isInline: key.startsWith('+'),
      isRequired: req === true,
    };
    byNumber.set(number, field);
    if (field.isInline) {
      for (const [name, inner] of typeOf(field.type)?.fields ?? []) fields.set(name, inner);
    } else {
      fields.set(field.name, field);
    }
  }
  return { id, name: id.slice(id.lastIndexOf('.') + 1), fields, byNumber };
}

/** Whether a field's type is an object type rather than a scalar or special one. */
export function isTypeId(type: string): boolean {
  return type.includes('/');
}

/** The id of a kind's type; undefined when we know no such kind. Options exist in every group. */
export function typeIdOf(apiVersion: string, kind: string): string | undefined {
  const shared = `meta/v1.${kind}`;
  if (kind === 'DeleteOptions' || kind === 'Status') return shared;
  // kubectl 1.20 posts a policy/v1beta1 Eviction; its shape is that of v1 (A96).
  const version = apiVersion === 'policy/v1beta1' ? 'policy/v1' : apiVersion;
  const id = `${packageOf(version)}.${kind}`;
  return load()[id] === undefined ? undefined : id;
}

/** `core/v1` of `v1`, `discovery/v1` of `discovery.k8s.io/v1`: the source's name of a group version. */
function packageOf(apiVersion: string): string {
  const slash = apiVersion.indexOf('/');
  if (slash < 0) return `core/${apiVersion}`;
  return `${apiVersion.slice(0, slash).split('.')[0]}${apiVersion.slice(slash)}`;
}
