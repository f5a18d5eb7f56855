/** Create, read, update and patch of stored objects, as rules over the store (A33-A49, A58-A63). */
import { applyDefaults } from '../api/defaults.ts';
import type { Key } from '../api/meta.ts';
import { type Resource, apiVersionOf, resources } from '../api/resources.ts';
import { isReason } from '../api/status.ts';
import { invalid, validateCreate, validateUpdate } from '../api/validation/index.ts';
import type { Decision, Stored, Transaction } from '../store/store.ts';
import { admitNamespace } from './admission.ts';
import type { AnyObject, ApiContext, WriteOptions } from './context.ts';
import { decideRemoval } from './deletion.ts';
import {
  bumpGeneration,
  carryMetadata,
  generateName,
  initMetadata,
  placeInNamespace,
} from './metadata.ts';
import { alreadyExists, badRequest, conflict, notFound, uidMismatch } from './refusals.ts';
import {
  admitCreate,
  allocateFor,
  createsOnUpdate,
  prepareCreate,
  prepareUpdate,
  releaseFor,
} from './strategies.ts';

/** How often a generated name may turn out taken before the client hears of it. */
const GENERATE_TRIES = 8;

export function getObject(context: ApiContext, resource: Resource, key: Key): Stored {
  const stored = context.store.get(resource, key);
  if (stored === undefined) throw notFound(resource, key.name);
  return stored;
}

/** Creates the object; `object` is the caller's to give away. */
export async function createObject(
  context: ApiContext,
  resource: Resource,
  namespace: string | undefined,
  object: AnyObject,
  options: WriteOptions = {},
): Promise<Stored> {
  const prefix = object.metadata?.name ? undefined : object.metadata?.generateName;
  object.metadata ??= { name: '' };
  placeInNamespace(resource, object.metadata, namespace);
  for (let attempt = 1; ; attempt += 1) {
    if (prefix) object.metadata.name = generateName(prefix);
    try {
      return await createNamed(context, resource, object, options);
    } catch (error) {
      if (!prefix || attempt === GENERATE_TRIES || !isReason(error, 'AlreadyExists')) throw error;
    }
  }
}

async function createNamed(
  context: ApiContext,
  resource: Resource,
  object: AnyObject,
  options: WriteOptions,
): Promise<Stored> {
  const { namespace, name } = object.metadata;
  if (!name) throw nameRequired(resource);
  const key = namespace === undefined ? { name } : { namespace, name };
  const { stored } = await context.store.write(
    resource,
    key,
    (current, transaction) => {
      if (current !== undefined) throw alreadyExists(resource, name);
      return decideCreate(context, resource, object, transaction);
    },
    options,
  );
  return stored!;
}

function nameRequired(resource: Resource): Error {
  return invalid(resource, '', [
    { type: 'Required', field: 'metadata.name', detail: 'name or generateName is required' },
  ]);
}

/** The new object as it will be stored. Runs inside a write. */
export function decideCreate(
  context: ApiContext,
  resource: Resource,
  body: AnyObject,
  transaction: Transaction,
): Decision {
  const object = typed(resource, body);
  admitNamespace(resource, object.metadata.name, object.metadata.namespace, transaction);
  initMetadata(resource, object, context.clock);
  prepareCreate(resource, object);
  applyDefaults(resource, object);
  admitCreate(context, resource, object, transaction);
  const validate = () => validateCreate(resource, object);
  allocateFor(context, resource, { next: object, current: undefined }, validate, transaction);
  return { kind: 'put', object };
}

export type UpdateOptions = WriteOptions & { readonly subresource?: string };

/** Works out the successor of an object; `current` is frozen, the result is the callee's own. */
export type Build = (current: AnyObject) => AnyObject;

/** PUT: replaces the object, or the part its subresource covers. */
export async function replaceObject(
  context: ApiContext,
  resource: Resource,
  key: Key,
  body: AnyObject,
  options: UpdateOptions = {},
): Promise<{ stored: Stored; created: boolean }> {
  checkNames(resource, key, body);
  const mayCreate = options.subresource === undefined && createsOnUpdate(resource);
  return updateObject(context, resource, key, () => body, { ...options, mayCreate });
}

/** Read, change, write as one step: the store calls `build` with the latest state, so nothing races. */
export async function updateObject(
  context: ApiContext,
  resource: Resource,
  key: Key,
  build: Build,
  options: UpdateOptions & { readonly mayCreate?: boolean } = {},
): Promise<{ stored: Stored; created: boolean }> {
  const { stored, change } = await context.store.write(
    resource,
    key,
    (current, transaction) => {
      if (current !== undefined) {
        return decideUpdate(context, resource, { current, build, options }, transaction);
      }
      if (options.mayCreate !== true) throw notFound(resource, key.name);
      const body = build({ metadata: { name: key.name } });
      // Whoever names a uid means an object that was there: it must not come back from the dead.
      const { uid } = body.metadata;
      if (uid) throw conflict(resource, key.name, uidMismatch(uid, ''));
      return decideCreate(context, resource, body, transaction);
    },
    options,
  );
  return { stored: stored!, created: change === 'ADDED' };
}

function decideUpdate(
  context: ApiContext,
  resource: Resource,
  update: { current: Stored; build: Build; options: UpdateOptions },
  transaction: Transaction,
): Decision {
  const { subresource } = update.options;
  const current = update.current.object as AnyObject;
  let next = typed(resource, update.build(current));
  carryMetadata(resource, next, current);
  if (subresource === 'status') next = onlyStatus(next, current);
  else if (subresource === undefined) prepareUpdate(resource, next, current);
  if (subresource === undefined) {
    applyDefaults(resource, next);
    const validate = () => validateUpdate(resource, next, current);
    allocateFor(context, resource, { next, current }, validate, transaction);
    bumpGeneration(resource, next, current);
  } else if (subresource === 'status') {
    // Of all statuses only a Service's has defaults; the rest may be shared and frozen.
    if (resource === resources.services) applyDefaults(resource, next);
    const errors = validateUpdate(resource, next, current, { subresource });
    if (errors.length > 0) throw invalid(resource, next.metadata.name, errors);
  }
  const removal = decideRemoval(resource, next);
  if (removal?.kind === 'delete') releaseFor(context, resource, next, transaction);
  return removal ?? { kind: 'put', object: next };
}

/** A94: the status subresource writes the status, labels and annotations, and nothing else. */
function onlyStatus(next: AnyObject, current: AnyObject): AnyObject {
  const { labels, annotations } = next.metadata;
  const { labels: _l, annotations: _a, ...metadata } = current.metadata;
  const result: AnyObject = { ...current, metadata };
  if (labels !== undefined) result.metadata.labels = labels;
  if (annotations !== undefined) result.metadata.annotations = annotations;
  if (next.status === undefined) delete result.status;
  else result.status = next.status;
  return result;
}

/** A39: the body must be about the object of the URL. */
function checkNames(resource: Resource, key: Key, body: AnyObject): void {
  const { name, namespace } = (body.metadata ??= { name: key.name });
  if (!name) body.metadata.name = key.name;
  else if (name !== key.name) {
    throw badRequest(
      `the name of the object (${name}) does not match the name on the URL (${key.name})`,
    );
  }
  if (!resource.namespaced) return;
  if (!namespace) body.metadata.namespace = key.namespace!;
  else if (namespace !== key.namespace) {
    throw badRequest(
      'the namespace of the provided object does not match the namespace sent on the request',
    );
  }
}

/** A shallow copy that leads with its type, as everybody likes to read it. */
function typed(resource: Resource, object: AnyObject): AnyObject {
  const { apiVersion: _v, kind: _k, metadata, ...rest } = object;
  return {
    apiVersion: apiVersionOf(resource),
    kind: resource.kind,
    metadata: { ...metadata },
    ...rest,
  };
}
