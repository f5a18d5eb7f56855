/**
 * JSON patch (RFC 6902), at most 10,000 operations (A58). A path leads only through what a document
 * itself has, so that no name in it reaches what all objects of the process share.
 */
import { isDeepStrictEqual } from 'node:util';

import { limits } from '../../lib/limits.ts';
import { setOwn } from '../own.ts';
import { failure, type ApiError } from '../status.ts';
import { isObject } from './merge.ts';

const operationsMax = 10_000;

type Operation = {
  readonly op: 'add' | 'remove' | 'replace' | 'move' | 'copy' | 'test';
  readonly path: string;
  readonly from?: string;
  readonly value?: unknown;
};

/** The whole document lies under one name, so that it can be replaced like any value. */
type Root = { document: unknown };

/** A member of an object or an item of a list, which need not be there yet. */
type Place = { readonly parent: Record<string, unknown> | unknown[]; readonly token: string };

/** An operation that does not apply; RFC 6902 §5 gives up the whole patch. */
class Inapplicable extends Error {}

/** Applies the operations to the object, in place, and returns it. */
export function applyJsonPatch(object: unknown, patch: unknown): unknown {
  const root: Root = { document: object };
  // Copies of copies double; kube-apiserver bounds their sum too.
  const budget = { bytes: limits.bodyBytesMax };
  for (const operation of operationsOf(patch)) {
    try {
      apply(root, operation, budget);
    } catch (error) {
      if (error instanceof Inapplicable) throw unprocessable(operation);
      throw error;
    }
  }
  return root.document;
}

const names = new Set(['add', 'remove', 'replace', 'move', 'copy', 'test']);

function operationsOf(patch: unknown): Operation[] {
  if (!Array.isArray(patch)) throw badPatch('a JSON patch must be a list of operations');
  if (patch.length > operationsMax) {
    const message =
      `The allowed maximum operations in a JSON patch is ${operationsMax}, ` +
      `got ${patch.length}`;
    throw failure(413, 'RequestEntityTooLarge', message);
  }
  for (const operation of patch as { op?: unknown; path?: unknown; from?: unknown }[]) {
    const isMove = operation?.op === 'move' || operation?.op === 'copy';
    const isKnown = names.has(String(operation?.op)) && typeof operation.path === 'string';
    if (!isKnown || (isMove && typeof operation.from !== 'string')) {
      throw badPatch(`"${JSON.stringify(operation)}" is no operation`);
    }
  }
  return patch as Operation[];
}

function apply(root: Root, operation: Operation, budget: { bytes: number }): void {
  const { op, path, from = '' } = operation;
  switch (op) {
    case 'add':
      return add(placeOf(root, path), valueOf(operation));
    case 'remove':
      return remove(placeOf(root, path));
    case 'replace':
      return replace(placeOf(root, path), valueOf(operation));
    case 'move': {
      if (path.startsWith(`${from}/`)) throw new Inapplicable();
      const source = placeOf(root, from);
      const value = read(source);
      remove(source);
      return add(placeOf(root, path), value);
    }
    case 'copy': {
      const value = read(placeOf(root, from));
      budget.bytes -= JSON.stringify(value).length;
      if (budget.bytes < 0) throw new Inapplicable();
      return add(placeOf(root, path), structuredClone(value));
    }
    default:
      if (isDeepStrictEqual(read(placeOf(root, path)), valueOf(operation))) return;
      throw new Inapplicable();
  }
}

function valueOf(operation: Operation): unknown {
  if (!Object.hasOwn(operation, 'value')) throw new Inapplicable();
  return operation.value;
}

/** Where a pointer (RFC 6901) leads; everything above it must be there. */
function placeOf(root: Root, path: string): Place {
  const [first, ...tokens] = path.split('/');
  if (first !== '') throw new Inapplicable();
  let place: Place = { parent: root, token: 'document' };
  for (const token of tokens) {
    const parent = read(place);
    if (!isObject(parent) && !Array.isArray(parent)) throw new Inapplicable();
    place = { parent, token: token.replaceAll('~1', '/').replaceAll('~0', '~') };
  }
  return place;
}

function read({ parent, token }: Place): unknown {
  if (Array.isArray(parent)) return parent[indexOf(token, parent.length - 1)];
  if (!Object.hasOwn(parent, token)) throw new Inapplicable();
  return parent[token];
}

function add({ parent, token }: Place, value: unknown): void {
  if (!Array.isArray(parent)) return setOwn(parent, token, value);
  const index = token === '-' ? parent.length : indexOf(token, parent.length);
  parent.splice(index, 0, value);
}

function remove(place: Place): void {
  read(place);
  const { parent, token } = place;
  if (Array.isArray(parent)) parent.splice(Number(token), 1);
  else delete parent[token];
}

function replace(place: Place, value: unknown): void {
  read(place);
  const { parent, token } = place;
  if (Array.isArray(parent)) parent[Number(token)] = value;
  else setOwn(parent, token, value);
}

/** RFC 6901 §4: digits without leading zeros. */
function indexOf(token: string, last: number): number {
  const index = /^(?:0|[1-9]\d*)$/.test(token) ? Number(token) : Infinity;
  if (index > last) throw new Inapplicable();
  return index;
}

function unprocessable({ op, path }: Operation): ApiError {
  return failure(
    422,
    'Invalid',
    'the server rejected our request due to an error in our request: ' +
      `operation "${op}" does not apply to "${path}"`,
  );
}

function badPatch(found: string): ApiError {
  return failure(400, 'BadRequest', `Cannot apply patch: ${found}`);
}
