/** PATCH: JSON patch, merge patch and strategic merge patch (A58-A63). */
import type { KubeObject } from '../meta.ts';
import type { Resource } from '../resources.ts';
import { failure } from '../status.ts';

export type PatchKind = 'json' | 'merge' | 'strategic';

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
 * changed. It still has to pass `conform`. Throws ApiError 400 or 422. `kind` names the type to
 * merge by when it is not the resource's own, such as Scale.
 */
export function applyPatch<T extends KubeObject>(
  resource: Pick<Resource, 'group' | 'version' | 'kind'>,
  type: PatchKind,
  object: T,
  patch: unknown,
): T {
  throw failure(501, 'NotImplemented', `${resource.kind} ${type} ${typeof object} ${typeof patch}`);
}
