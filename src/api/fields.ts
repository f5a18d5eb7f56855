/** Holds objects against the schema: unknown and duplicate fields, wrong types (A46). */
import type { Decoded } from './decode.ts';
import type { KubeObject } from './meta.ts';
import { canonicalQuantity, quantityPattern } from './quantity.ts';
import { isTypeId, typeIdOf, typeOf, type Field, type Type } from './schema.ts';
import { failure, type ApiError } from './status.ts';

export type FieldValidation = 'Strict' | 'Warn' | 'Ignore';

type JsonObject = Record<string, unknown>;

/** The `fieldValidation` query parameter; absent means Warn. Throws 422 on another value. */
export function parseFieldValidation(value: string | undefined): FieldValidation {
  if (value === undefined || value === '') return 'Warn';
  if (value === 'Strict' || value === 'Warn' || value === 'Ignore') return value;
  const message =
    `fieldValidation: Unsupported value: "${value}": ` +
    'supported values: "Ignore", "Strict", "Warn"';
  throw failure(422, 'Invalid', `PatchOptions.meta.k8s.io "" is invalid: ${message}`, {
    group: 'meta.k8s.io',
    kind: 'PatchOptions',
    causes: [{ reason: 'FieldValueNotSupported', message, field: 'fieldValidation' }],
  });
}

/**
 * Drops unknown fields, nulls and empty optional lists and maps from the object, in place, and
 * writes times and quantities in their canonical form. Wrong types are a 400; unknown and duplicate
 * fields are a 400 under Strict and `warnings` under Warn.
 */
export function conform(
  decoded: Decoded,
  mode: FieldValidation,
): { object: KubeObject; warnings: string[] } {
  const { object, apiVersion, kind } = decoded;
  const id = typeIdOf(apiVersion, kind);
  const type = id === undefined ? undefined : typeOf(id);
  if (type === undefined) {
    const message = `no kind "${kind}" is registered for version "${apiVersion}"`;
    throw failure(400, 'BadRequest', message);
  }
  const walk: Walk = { unknown: [], mode };
  try {
    conformObject(walk, type, object, '', '');
  } catch (error) {
    if (error instanceof TypeFault) throw cannotHandle(decoded, error.message);
    throw error;
  }
  // Everything after this may count on metadata, even where the name is still to be made.
  if (type.fields.get('metadata')?.type === 'meta/v1.ObjectMeta') object.metadata ??= {};
  if (mode === 'Ignore') return { object: object as unknown as KubeObject, warnings: [] };
  const faults = [
    ...walk.unknown.map((path) => `unknown field "${path}"`),
    ...decoded.duplicates.map((path) => `duplicate field "${path}"`),
  ];
  if (mode === 'Strict' && faults.length > 0) {
    throw cannotHandle(decoded, `strict decoding error: ${faults.join(', ')}`);
  }
  return { object: object as unknown as KubeObject, warnings: faults };
}

function cannotHandle({ apiVersion, kind }: Decoded, what: string): ApiError {
  const version = apiVersion.slice(apiVersion.indexOf('/') + 1);
  const message = `${kind} in version "${version}" cannot be handled as a ${kind}: ${what}`;
  return failure(400, 'BadRequest', message);
}

// ---- the walk

type Walk = { unknown: string[]; mode: FieldValidation };

/** Where a value stands: the field, the struct it is in, and both spellings of the path. */
type Place = { field: Field; owner: string; path: string; goPath: string };

class TypeFault extends Error {}

function conformObject(
  walk: Walk,
  type: Type,
  object: JsonObject,
  path: string,
  goPath: string,
): void {
  for (const name of Object.keys(object)) {
    const field = type.fields.get(name);
    if (field === undefined) {
      if (isTypeMeta(type, name)) continue;
      walk.unknown.push(join(path, name));
      delete object[name];
      continue;
    }
    const place = { field, owner: type.name, path: join(path, name), goPath: join(goPath, name) };
    const value = conformField(walk, place, object[name]);
    if (value === undefined) delete object[name];
    else if (value !== object[name]) object[name] = value;
  }
}

/** Objects that embed TypeMeta; templates do not. */
function isTypeMeta(type: Type, name: string): boolean {
  if (name !== 'apiVersion' && name !== 'kind') return false;
  return (
    type.name === 'DeleteOptions' ||
    (type.fields.get('metadata')?.type === 'meta/v1.ObjectMeta' && !type.name.includes('Template'))
  );
}

function join(path: string, name: string): string {
  return path === '' ? name : `${path}.${name}`;
}

function conformField(walk: Walk, place: Place, value: unknown): unknown {
  const { field } = place;
  if (value === null || value === undefined) return undefined;
  if (field.isList) return conformList(walk, place, value);
  if (field.isMap) return conformMap(walk, place, value);
  return conformValue(walk, place, value);
}

function conformList(walk: Walk, place: Place, value: unknown): unknown {
  if (!Array.isArray(value)) throw mismatch(place, value, `[]${goType(place.field.type)}`);
  value.forEach((item: unknown, index) => {
    const inner = { ...place, path: `${place.path}[${index}]` };
    const changed = conformValue(walk, inner, item ?? zeroOf(place.field.type));
    if (changed !== item) value[index] = changed;
  });
  return value.length === 0 && !place.field.isRequired ? undefined : value;
}

function conformMap(walk: Walk, place: Place, value: unknown): unknown {
  const { type } = place.field;
  if (!isObject(value)) throw mismatch(place, value, `map[string]${goType(type)}`);
  let count = 0;
  for (const [key, item] of Object.entries(value)) {
    count += 1;
    const inner = { ...place, path: join(place.path, key) };
    const changed = conformValue(walk, inner, item ?? zeroOf(type));
    if (changed !== item) value[key] = changed;
  }
  return count === 0 && !place.field.isRequired ? undefined : value;
}

function zeroOf(type: string): unknown {
  if (isTypeId(type)) return {};
  return type === 'string' || type === 'bytes' ? '' : 0;
}

function conformValue(walk: Walk, place: Place, value: unknown): unknown {
  const { type } = place.field;
  switch (type) {
    case 'string':
    case 'bool':
      if (typeof value !== (type === 'bool' ? 'boolean' : 'string')) {
        throw mismatch(place, value, type);
      }
      return value;
    case 'int32':
    case 'int64':
      return conformInt(place, value, type);
    case 'bytes':
      return conformBytes(place, value);
    case 'Time':
    case 'MicroTime':
      return conformTime(place, value, type === 'MicroTime');
    case 'Quantity':
      return conformQuantity(place, value);
    case 'IntOrString':
      return typeof value === 'string' ? value : conformInt(place, value, 'int32');
    case 'RawExtension':
    case 'FieldsV1':
    case 'StringList':
      return value;
    default:
      return conformNested(walk, place, value);
  }
}

function conformNested(walk: Walk, place: Place, value: unknown): unknown {
  const type = typeOf(place.field.type);
  if (!isObject(value)) throw mismatch(place, value, goType(place.field.type));
  if (type !== undefined) conformObject(walk, type, value, place.path, place.goPath);
  return value;
}

function conformInt(place: Place, value: unknown, type: 'int32' | 'int64'): unknown {
  if (typeof value !== 'number') throw mismatch(place, value, type);
  const bound = type === 'int32' ? 2 ** 31 : 2 ** 63;
  if (!Number.isInteger(value) || value >= bound || value < -bound) {
    throw mismatch(place, value, type, `number ${value}`);
  }
  return value;
}

function conformBytes(place: Place, value: unknown): unknown {
  if (typeof value !== 'string') throw mismatch(place, value, '[]uint8');
  const text = value.replace(/[\r\n]/g, '');
  const bad = /^[A-Za-z0-9+/]*/.exec(text)![0].length;
  const padding = text.slice(bad);
  if (text.length % 4 !== 0 || !/^={0,2}$/.test(padding)) {
    throw new TypeFault(`illegal base64 data at input byte ${bad} of ${place.path}`);
  }
  return text;
}

function conformTime(place: Place, value: unknown, isMicro: boolean): unknown {
  if (typeof value !== 'string') throw mismatch(place, value, isMicro ? 'MicroTime' : 'Time');
  const match = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/.exec(value);
  const ms = Date.parse(value);
  if (match === null || Number.isNaN(ms)) {
    throw new TypeFault(
      `parsing time "${value}" as "2006-01-02T15:04:05Z07:00": cannot parse "${value}" ` +
        `in ${place.path}`,
    );
  }
  const iso = new Date(ms).toISOString().slice(0, 19);
  return isMicro ? `${iso}.${(match[1] ?? '').slice(1, 7).padEnd(6, '0')}Z` : `${iso}Z`;
}

function conformQuantity(place: Place, value: unknown): unknown {
  if (typeof value !== 'string' && typeof value !== 'number') {
    throw mismatch(place, value, 'resource.Quantity');
  }
  const text = canonicalQuantity(String(value).trim());
  if (text === undefined) {
    throw new TypeFault(`quantities must match the regular expression ${quantityPattern}`);
  }
  return text;
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** `v1.PodSpec` of `core/v1.PodSpec`, as Go prints the type. */
function goType(type: string): string {
  return isTypeId(type) ? type.slice(type.indexOf('/') + 1) : type;
}

/** The text of encoding/json, which people know from the API server. */
function mismatch(
  place: Place,
  value: unknown,
  wanted: string,
  found = jsonType(value),
): TypeFault {
  const where = `${place.owner}.${place.goPath}`;
  return new TypeFault(
    `json: cannot unmarshal ${found} into Go struct field ${where} of type ${wanted}`,
  );
}

function jsonType(value: unknown): string {
  if (Array.isArray(value)) return 'array';
  return typeof value === 'boolean' ? 'bool' : typeof value;
}
