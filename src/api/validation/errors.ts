/** Field errors and the 422 they become (A66-A68). */
import type { Resource } from '../resources.ts';
import { failure, type ApiError } from '../status.ts';

export type FieldErrorType =
  | 'Required'
  | 'Invalid'
  | 'NotSupported'
  | 'Duplicate'
  | 'Forbidden'
  | 'TooLong'
  | 'TooMany'
  | 'NotFound'
  | 'TypeInvalid'
  | 'InternalError';

/** One fault; `field` is a path such as `spec.ports[0].port`. */
export type FieldError = {
  readonly type: FieldErrorType;
  readonly field: string;
  readonly value?: unknown;
  readonly detail: string;
};

/** The 422 that names every fault. */
export function invalid(resource: Resource, name: string, errors: readonly FieldError[]): ApiError {
  return failure(422, 'Invalid', `${resource.kind} ${name} ${errors.length}`);
}
