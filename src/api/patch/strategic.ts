/**
 * Strategic merge patch (A60, A61): lists of objects merge by the key the schema names, and `$`
 * directives delete, replace and order. Facts from apimachinery/pkg/util/strategicpatch.
 */
import type { Resource } from '../resources.ts';
import { apiVersionOf } from '../resources.ts';
import { isTypeId, typeIdOf, typeOf, type Field, type Type } from '../schema.ts';
import { failure, type ApiError } from '../status.ts';
import { setOwn } from '../own.ts';
import { isObject } from './merge.ts';

type JsonObject = Record<string, unknown>;

const directive = '$patch';
const retainKeys = '$retainKeys';
const deletePrefix = '$deleteFromPrimitiveList/';
const orderPrefix = '$setElementOrder/';

/** Applies the patch to the object of the given type, in place, and returns it. */
export function strategicMergePatch(
  resource: Pick<Resource, 'group' | 'version' | 'kind'>,
  object: unknown,
  patch: JsonObject,
): unknown {
  const id = typeIdOf(apiVersionOf(resource), resource.kind);
  const type = id === undefined ? undefined : typeOf(id);
  return mergeObject(type, isObject(object) ? object : {}, patch);
}

function mergeObject(type: Type | undefined, target: JsonObject, patch: JsonObject): JsonObject {
  switch (patch[directive]) {
    case undefined:
    case 'merge':
      break;
    case 'replace':
      return cleaned(type, without(patch, directive));
    case 'delete':
      return {};
    default:
      throw bad(`Unknown patch type: ${String(patch[directive])}`);
  }
  retain(target, patch);
  const before = { ...target };
  for (const [name, value] of Object.entries(patch)) {
    if (name === directive || name === retainKeys || name.startsWith(orderPrefix)) continue;
    if (name.startsWith(deletePrefix)) {
      deleteScalars(target, name.slice(deletePrefix.length), value);
    } else if (value === null) {
      delete target[name];
    } else {
      setOwn(target, name, mergeField(type?.fields.get(name), target, name, value));
    }
  }
  for (const key of Object.keys(patch)) {
    if (!key.startsWith(orderPrefix)) continue;
    const name = key.slice(orderPrefix.length);
    reorder(type, target, before[name], name, patch);
  }
  return target;
}

function mergeField(
  field: Field | undefined,
  target: JsonObject,
  name: string,
  value: unknown,
): unknown {
  const before = Object.hasOwn(target, name) ? target[name] : undefined;
  if (Array.isArray(value)) return mergeList(field, before, value);
  if (!isObject(value)) return value;
  const inner = field !== undefined && isTypeId(field.type) ? typeOf(field.type) : undefined;
  // Maps of objects do not occur; a map's values are scalars and merge like fields.
  const type = field?.isMap === true ? undefined : inner;
  if (field?.patch?.split(',').includes('replace') === true && !(directive in value)) {
    return cleaned(type, value);
  }
  return mergeObject(type, isObject(before) ? before : {}, value);
}

/** `$retainKeys` names the only keys of the target that survive, besides those of the patch. */
function retain(target: JsonObject, patch: JsonObject): void {
  const keys = patch[retainKeys];
  if (keys === undefined) return;
  if (!Array.isArray(keys)) throw bad('the $retainKeys list must be a list');
  const kept = new Set(keys);
  for (const name of Object.keys(patch)) {
    if (!name.startsWith('$') && patch[name] !== null && !kept.has(name)) {
      throw bad(`the $retainKeys list does not contain "${name}", which the patch sets`);
    }
  }
  for (const name of Object.keys(target)) if (!kept.has(name)) delete target[name];
}

// ---- lists

function mergeList(field: Field | undefined, before: unknown, patch: unknown[]): unknown[] {
  const isMerged = field?.patch?.split(',').includes('merge') === true;
  const type = field !== undefined && isTypeId(field.type) ? typeOf(field.type) : undefined;
  const replaces = patch.some((item) => isObject(item) && item[directive] === 'replace');
  if (!isMerged || replaces) {
    return patch
      .filter((item) => !(isObject(item) && item[directive] === 'replace' && isBare(item)))
      .map((item) => (isObject(item) ? cleaned(type, without(item, directive)) : item));
  }
  const list = Array.isArray(before) ? before : [];
  const key = field?.mergeKey;
  const order = patch.filter((item) => !(isObject(item) && item[directive] === 'delete'));
  const merged =
    key === undefined ? [...new Set([...list, ...patch])] : mergeItems({ type, key }, list, patch);
  return inOrder(merged, { order, before: list, key });
}

function isBare(item: JsonObject): boolean {
  return Object.keys(item).length === 1;
}

function mergeItems(
  { type, key }: { type: Type | undefined; key: string },
  list: unknown[],
  patch: unknown[],
): unknown[] {
  const merged = [...list];
  for (const item of patch) {
    if (!isObject(item)) throw bad(`cannot merge a list by "${key}": an item is no object`);
    const value = item[key];
    if (value === undefined) {
      throw bad(`map: ${JSON.stringify(item)} does not contain declared merge key: ${key}`);
    }
    const isSame = (each: unknown) => isObject(each) && each[key] === value;
    if (item[directive] === 'delete') {
      for (let at = merged.findIndex(isSame); at >= 0; at = merged.findIndex(isSame)) {
        merged.splice(at, 1);
      }
      continue;
    }
    const at = merged.findIndex(isSame);
    if (at < 0) merged.push(cleaned(type, without(item, directive)));
    else merged[at] = mergeObject(type, merged[at] as JsonObject, item);
  }
  return merged;
}

/** `$deleteFromPrimitiveList/<field>`: takes scalars out of a list. */
function deleteScalars(target: JsonObject, name: string, values: unknown): void {
  const list = target[name];
  if (!Array.isArray(values)) throw bad(`$deleteFromPrimitiveList/${name} must be a list`);
  if (!Array.isArray(list)) return;
  target[name] = list.filter((item) => !values.includes(item));
}

/** `$setElementOrder/<field>`: the items named come in that order. */
function reorder(
  type: Type | undefined,
  target: JsonObject,
  before: unknown,
  name: string,
  patch: JsonObject,
): void {
  const order = patch[orderPrefix + name];
  const list = target[name];
  if (!Array.isArray(order)) throw bad(`$setElementOrder/${name} must be a list`);
  if (!Array.isArray(list)) return;
  const key = type?.fields.get(name)?.mergeKey;
  checkOrder(new Set(order.map((item) => idOf(item, key))), patch[name], key, name);
  target[name] = inOrder(list, { order, before: Array.isArray(before) ? before : [], key });
}

/** What tells one item of a list from another. */
function idOf(item: unknown, key: string | undefined): unknown {
  return key !== undefined && isObject(item) ? item[key] : item;
}

/**
 * The items that `order` names, in its order, merged with the others in the order they had. An item
 * the server did not have comes as early as it may.
 */
function inOrder(
  list: readonly unknown[],
  { order, before, key }: { order: unknown[]; before: unknown[]; key: string | undefined },
): unknown[] {
  const id = (item: unknown) => idOf(item, key);
  const rank = new Map(order.map((item, index) => [id(item), index]));
  const place = new Map(before.map((item, index) => [id(item), index]));
  const placeOf = (item: unknown) => place.get(id(item)) ?? -1;
  const named = list.filter((item) => rank.has(id(item)));
  named.sort((a, b) => rank.get(id(a))! - rank.get(id(b))!);
  const others = list.filter((item) => !rank.has(id(item)));
  others.sort((a, b) => placeOf(a) - placeOf(b));
  const result: unknown[] = [];
  while (named.length > 0 && others.length > 0) {
    const isOtherFirst = placeOf(named[0]) >= 0 && placeOf(others[0]) < placeOf(named[0]);
    result.push(isOtherFirst ? others.shift() : named.shift());
  }
  return [...result, ...named, ...others];
}

function checkOrder(
  named: ReadonlySet<unknown>,
  patch: unknown,
  key: string | undefined,
  name: string,
): void {
  if (!Array.isArray(patch)) return;
  for (const item of patch) {
    const isDeleted = isObject(item) && item[directive] !== undefined;
    if (isDeleted || named.has(idOf(item, key))) continue;
    throw bad(
      `The order in patch list doesn't match $setElementOrder list for ${name}: ` +
        JSON.stringify(idOf(item, key)),
    );
  }
}

// ---- what remains of a patch where the target had nothing

function without(object: JsonObject, ...names: string[]): JsonObject {
  return Object.fromEntries(Object.entries(object).filter(([name]) => !names.includes(name)));
}

/** The patch as a value of its own: no directives, no nulls, no deleted items. */
function cleaned(type: Type | undefined, patch: JsonObject): JsonObject {
  return mergeObject(type, {}, patch);
}

function bad(found: string): ApiError {
  return failure(400, 'BadRequest', `Cannot apply strategic merge patch: ${found}`);
}
