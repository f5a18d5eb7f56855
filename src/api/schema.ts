/** The compiled schema of the Kubernetes types we read: names, protobuf numbers, merge rules. */

/** A field as JSON names it; `type` is a scalar, a special type, a type id, or `map<id>`. */
export type Field = {
  readonly name: string;
  readonly type: string;
  /** Protobuf field number. */
  readonly number: number;
  readonly repeated?: boolean;
  readonly required?: boolean;
  readonly patch?: string;
  readonly mergeKey?: string;
  readonly list?: string;
  readonly keys?: readonly string[];
  readonly mapKind?: string;
};

export type Type = { readonly fields: ReadonlyMap<string, Field> };

/** The type with the given id, such as `core/v1.PodSpec`. */
export function typeOf(id: string): Type | undefined {
  void id;
  return undefined;
}

/** The id of a kind's type; undefined when we know no such kind. */
export function typeIdOf(apiVersion: string, kind: string): string | undefined {
  void apiVersion;
  void kind;
  return undefined;
}
