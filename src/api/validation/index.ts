/** Validation of every served kind, with Kubernetes's texts (A48, A131-A133). */
import type { KubeObject } from '../meta.ts';
import type { Resource } from '../resources.ts';
import type { FieldError } from './errors.ts';

export { invalid, type FieldError } from './errors.ts';

/** The faults of an object about to be created; defaults are already applied. */
export function validateCreate(resource: Resource, object: KubeObject): FieldError[] {
  void resource;
  void object;
  return [];
}

/** The faults of a change; `subresource` is `status` when only the status may change. */
export function validateUpdate(
  resource: Resource,
  object: KubeObject,
  old: KubeObject,
  options: { subresource?: string } = {},
): FieldError[] {
  void resource;
  void object;
  void old;
  void options;
  return [];
}
