/** JSON patch (RFC 6902), at most 10,000 operations (A58). */
import { createRequire } from 'node:module';

import { failure, type ApiError } from '../status.ts';

const operationsMax = 10_000;
const operations = new Set(['add', 'remove', 'replace', 'move', 'copy', 'test']);

type Library = typeof import('rfc6902');
let library: Library | undefined;

/** Applies the operations to the object, in place, and returns it. */
export function applyJsonPatch(object: unknown, patch: unknown): unknown {
  if (!Array.isArray(patch)) throw badPatch('a JSON patch must be a list of operations');
  if (patch.length > operationsMax) {
    const message =
      `The allowed maximum operations in a JSON patch is ${operationsMax}, ` +
      `got ${patch.length}`;
    throw failure(413, 'RequestEntityTooLarge', message);
  }
  for (const operation of patch as { op?: unknown; path?: unknown }[]) {
    if (!operations.has(String(operation?.op)) || typeof operation.path !== 'string') {
      throw badPatch(`"${JSON.stringify(operation)}" is no operation`);
    }
  }
  // Loaded on first use: few clients send JSON patches.
  library ??= createRequire(import.meta.url)('rfc6902') as Library;
  const root = { document: object };
  // Every path starts below `document`, so that replacing the whole document works too.
  const rooted = (patch as { path: string; from?: string }[]).map((operation) => ({
    ...operation,
    path: `/document${operation.path}`,
    ...(operation.from !== undefined && { from: `/document${operation.from}` }),
  }));
  const faults = library.applyPatch(root, rooted as Parameters<Library['applyPatch']>[1]);
  const index = faults.findIndex((fault) => fault !== null);
  if (index >= 0) {
    const { op, path } = patch[index] as { op: string; path: string };
    throw failure(
      422,
      'Invalid',
      'the server rejected our request due to an error in our request: ' +
        `operation "${op}" does not apply to "${path}"`,
    );
  }
  return root.document;
}

function badPatch(found: string): ApiError {
  return failure(400, 'BadRequest', `Cannot apply patch: ${found}`);
}
