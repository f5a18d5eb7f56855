/** PATCH: JSON patch, merge patch and strategic merge patch (A58-A63). */
import type { KubeObject } from '../meta.ts';
import type { Resource } from '../resources.ts';
import { failure, type ApiError } from '../status.ts';
import { applyJsonPatch } from './json.ts';
import { isObject, mergePatch } from './merge.ts';
import { strategicMergePatch } from './strategic.ts';

export type PatchKind = 'json' | 'merge' | 'strategic';

type PatchedType = Pick<Resource, 'group' | 'version' | 'kind'>;

/** The kind of a PATCH's content type, undefined for one we do not speak (415). */
export function patchKindOf(contentType: string | undefined): PatchKind | undefined {
  switch (contentType?.split(';')[0]?.trim().toLowerCase()) {
    case 'application/json-patch+json':
      return 'json';
    case 'application/merge-patch+json':
      return 'merge';
    case 'application/strategic-merge-patch+json':
      return 'strategic';
    default:
      return undefined;
  }
}

/**
 * The patched object, a fresh one: neither `object` (may be frozen) nor `patch` (parsed JSON) is
 * changed. It still has to pass `conform`. Throws ApiError 400 or 422. `type` names what to merge
 * by: the resource, or another kind such as `{ group: 'autoscaling', version: 'v1', kind: 'Scale' }`.
 */
export function applyPatch<T extends KubeObject>(
  type: PatchedType,
  kind: PatchKind,
  object: T,
  patch: unknown,
): T {
  const before = structuredClone(object);
  const own = structuredClone(patch);
  if (kind === 'json') return checked(applyJsonPatch(before, own)) as T;
  if (!isObject(own)) throw badPatch('the patch is no JSON object');
  const patched =
    kind === 'merge' ? mergePatch(before, own) : strategicMergePatch(type, before, own);
  return checked(patched) as T;
}

function checked(value: unknown): unknown {
  const metadata = (value as { metadata?: unknown } | null | undefined)?.metadata;
  if (typeof metadata !== 'object' || metadata === null) {
    throw badPatch('the patched document is no object with metadata');
  }
  return value;
}

function badPatch(found: string): ApiError {
  return failure(400, 'BadRequest', `Cannot apply patch: ${found}`);
}
