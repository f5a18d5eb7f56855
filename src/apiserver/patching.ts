/** PATCH of an object, its status or its scale (A58-A63, A95). */
import type { Key } from '../api/meta.ts';
import { type PatchKind, applyPatch } from '../api/patch/index.ts';
import type { Resource } from '../api/resources.ts';
import { invalid } from '../api/validation/index.ts';
import type { Stored } from '../store/store.ts';
import { type AnyObject, type ApiContext, type WriteOptions, copyOf } from './context.ts';
import { placeInNamespace } from './metadata.ts';
import { updateObject } from './registry.ts';
import { SCALE_TYPE, applyScale, scaleOf } from './scale.ts';

export type PatchOptions = WriteOptions & {
  readonly type: PatchKind;
  readonly subresource?: string;
  /** Holds the patched object against the schema: refuses, warns, drops unknown fields (A46). */
  readonly conform?: (object: AnyObject) => AnyObject;
};

export async function patchObject(
  context: ApiContext,
  resource: Resource,
  key: Key,
  patch: unknown,
  options: PatchOptions,
): Promise<{ stored: Stored; created: boolean }> {
  const conform = options.conform ?? ((object: AnyObject) => object);
  const build = (current: AnyObject) => {
    if (options.subresource === 'scale') {
      const scale = applyPatch(SCALE_TYPE, options.type, scaleOf(current), patch);
      return copyOf(applyScale(resource, current, scale));
    }
    const patched = copyOf(conform(applyPatch(resource, options.type, current, patch)));
    refuseRename(resource, patched, current);
    placeInNamespace(resource, patched.metadata, key.namespace);
    return patched;
  };
  const { dryRun, subresource } = options;
  return updateObject(context, resource, key, build, {
    ...(dryRun === undefined ? {} : { dryRun }),
    ...(subresource === undefined || subresource === 'scale' ? {} : { subresource }),
  });
}

/** A63: a patch may not turn the object into another one. */
function refuseRename(resource: Resource, patched: AnyObject, current: AnyObject): void {
  if (patched.metadata?.name === current.metadata.name) return;
  throw invalid(resource, current.metadata.name, [
    {
      type: 'Invalid',
      field: 'metadata.name',
      value: patched.metadata?.name ?? '',
      detail: 'field is immutable',
    },
  ]);
}
