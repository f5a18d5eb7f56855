/** The parts of metadata that belong to the server (A34-A36, A48). */
import { randomInt, randomUUID } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';

import type { ObjectMeta } from '../api/meta.ts';
import type { Resource } from '../api/resources.ts';
import { invalid } from '../api/validation/index.ts';
import { type Clock, formatTime } from '../lib/clock.ts';
import type { AnyObject } from './context.ts';
import { badRequest, checkPreconditions } from './refusals.ts';

/** No vowels, and no digits that look like letters, so that no word comes out by chance. */
const SUFFIX_ALPHABET = 'bcdfghjklmnpqrstvwxz2456789';
const SUFFIX_LENGTH = 5;
const GENERATED_PREFIX_MAX = 58;

/** Makes a name from `metadata.generateName` (A34). */
export function generateName(prefix: string): string {
  return prefix.slice(0, GENERATED_PREFIX_MAX) + randomSuffix();
}

/** Five characters that tell one generated name from another. */
export function randomSuffix(): string {
  let suffix = '';
  for (let index = 0; index < SUFFIX_LENGTH; index += 1) {
    suffix += SUFFIX_ALPHABET[randomInt(SUFFIX_ALPHABET.length)];
  }
  return suffix;
}

/** Fills what the server owns into the metadata of a new object, whatever the client sent. */
export function initMetadata(resource: Resource, object: AnyObject, clock: Clock): void {
  const { metadata } = object;
  delete metadata.resourceVersion;
  delete metadata.deletionTimestamp;
  delete metadata.deletionGracePeriodSeconds;
  delete metadata.managedFields;
  metadata.uid = randomUUID();
  metadata.creationTimestamp = formatTime(clock.now());
  if (hasGeneration(resource)) metadata.generation = 1;
  else delete metadata.generation;
}

/** Gives the object the namespace of its URL, or refuses another one (A33). */
export function placeInNamespace(
  resource: Resource,
  metadata: ObjectMeta,
  namespace: string | undefined,
): void {
  if (!resource.namespaced) {
    if (metadata.namespace !== undefined && metadata.namespace !== '') {
      throw badRequest(
        'the namespace of the provided object does not match the namespace sent on the request',
      );
    }
    delete metadata.namespace;
    return;
  }
  if (namespace === undefined || namespace === '') {
    throw badRequest(`an empty namespace may not be set during creation of ${resource.resource}`);
  }
  if (
    metadata.namespace !== undefined &&
    metadata.namespace !== '' &&
    metadata.namespace !== namespace
  ) {
    throw badRequest(
      'the namespace of the provided object does not match the namespace sent on the request',
    );
  }
  metadata.namespace = namespace;
}

/** Kinds whose spec is desired state that someone observes. */
export function hasGeneration(resource: Resource): boolean {
  return GENERATION_KINDS.has(resource.kind);
}

const GENERATION_KINDS = new Set([
  'Deployment',
  'ReplicaSet',
  'StatefulSet',
  'DaemonSet',
  'Pod',
  'EndpointSlice',
]);

/** Carries the server's part of metadata from the stored object over to its successor. */
export function carryMetadata(resource: Resource, next: AnyObject, current: AnyObject): void {
  const was = current.metadata;
  const { metadata } = next;
  checkPreconditions(resource, current, metadata);
  metadata.name = was.name;
  for (const field of SERVER_FIELDS) {
    const value = was[field];
    if (value === undefined) delete metadata[field];
    else Object.assign(metadata, { [field]: value });
  }
  refuseNewFinalizers(resource, next, current);
}

const SERVER_FIELDS = [
  'namespace',
  'uid',
  'generateName',
  'creationTimestamp',
  'deletionTimestamp',
  'deletionGracePeriodSeconds',
  'generation',
  'resourceVersion',
  'managedFields',
] as const satisfies (keyof ObjectMeta)[];

/** A36: the generation counts changes of everything but metadata and status. */
export function bumpGeneration(resource: Resource, next: AnyObject, current: AnyObject): void {
  if (!hasGeneration(resource)) return;
  if (isDeepStrictEqual(desiredState(next), desiredState(current))) return;
  next.metadata.generation = (current.metadata.generation ?? 1) + 1;
}

function desiredState({ metadata: _m, status: _s, ...rest }: AnyObject): object {
  return rest;
}

/** A112: what is being deleted takes no new finalizers. */
function refuseNewFinalizers(resource: Resource, next: AnyObject, current: AnyObject): void {
  if (current.metadata.deletionTimestamp === undefined) return;
  const had = new Set(current.metadata.finalizers);
  const added = (next.metadata.finalizers ?? []).filter((finalizer) => !had.has(finalizer));
  if (added.length === 0) return;
  const list = added.map((finalizer) => `"${finalizer}"`).join(', ');
  throw invalid(resource, next.metadata.name, [
    {
      type: 'Forbidden',
      field: 'metadata.finalizers',
      detail: `no new finalizers can be added if the object is being deleted, found new finalizers []string{${list}}`,
    },
  ]);
}
