/** The refusals every operation shares, with the texts clients look for (A66, A67). */
import type { KubeObject } from '../api/meta.ts';
import { type Resource, qualifiedName } from '../api/resources.ts';
import { type ApiError, failure } from '../api/status.ts';

/** `details` naming a resource: its plural name, as everything but Invalid does (A67). */
export function detailsOf(resource: Resource, name: string): { name: string; kind: string } {
  const group = resource.group === '' ? {} : { group: resource.group };
  return { name, ...group, kind: resource.resource };
}

export function notFound(resource: Resource, name: string): ApiError {
  const message = `${qualifiedName(resource)} "${name}" not found`;
  return failure(404, 'NotFound', message, detailsOf(resource, name));
}

export function alreadyExists(resource: Resource, name: string): ApiError {
  const message = `${qualifiedName(resource)} "${name}" already exists`;
  return failure(409, 'AlreadyExists', message, detailsOf(resource, name));
}

export function conflict(resource: Resource, name: string, why: string): ApiError {
  const message = `Operation cannot be fulfilled on ${qualifiedName(resource)} "${name}": ${why}`;
  return failure(409, 'Conflict', message, detailsOf(resource, name));
}

export const MODIFIED =
  'the object has been modified; please apply your changes to the latest version and try again';

export function forbidden(resource: Resource, name: string, why: string): ApiError {
  const message = `${qualifiedName(resource)} "${name}" is forbidden: ${why}`;
  return failure(403, 'Forbidden', message, detailsOf(resource, name));
}

export function badRequest(message: string): ApiError {
  return failure(400, 'BadRequest', message);
}

/** Why a write that names another object's uid, or one that is gone, is a conflict. */
export function uidMismatch(wanted: string, found: string): string {
  return `Precondition failed: UID in precondition: ${wanted}, UID in object meta: ${found}`;
}

/** Refuses unless the preconditions of an update or a deletion hold (A38, A40). */
export function checkPreconditions(
  resource: Resource,
  current: KubeObject,
  wanted: { readonly uid?: string | undefined; readonly resourceVersion?: string | undefined },
): void {
  const { name, uid, resourceVersion } = current.metadata;
  if (wanted.uid !== undefined && wanted.uid !== '' && wanted.uid !== uid) {
    throw conflict(resource, name, uidMismatch(wanted.uid, uid ?? ''));
  }
  const version = wanted.resourceVersion;
  if (version !== undefined && version !== '' && version !== resourceVersion) {
    throw conflict(resource, name, MODIFIED);
  }
}
