/** POST to a subresource: binding, eviction, token (A96, A97, A100); PUT of finalize (A101). */
import type { Key } from '../api/meta.ts';
import { type Resource, resources } from '../api/resources.ts';
import { type Status, failure } from '../api/status.ts';
import type { Namespace, Pod, TokenRequest } from '../api/types.ts';
import { formatTime } from '../lib/clock.ts';
import type { Stored } from '../store/store.ts';
import {
  type AnyObject,
  type ApiContext,
  type Caller,
  type WriteOptions,
  copyOf,
} from './context.ts';
import { type DeleteOptionsBody, deleteOptionsOf } from './delete-options.ts';
import { deleteObject } from './deletion.ts';
import { badRequest, checkPreconditions, conflict, notFound } from './refusals.ts';
import { replaceObject, updateObject } from './registry.ts';
import { type Scale, applyScale } from './scale.ts';

export type SubresourceRequest = {
  readonly resource: Resource;
  readonly key: Key;
  readonly subresource: string;
  readonly body: unknown;
  readonly caller: Caller;
  readonly dryRun?: boolean;
};

type Binding = { metadata?: { uid?: string }; target?: { kind?: string; name?: string } };
type Eviction = { deleteOptions?: DeleteOptionsBody };

/** The answer, a `Status` or an object, to send with 201. */
export async function postSubresource(
  context: ApiContext,
  request: SubresourceRequest,
): Promise<unknown> {
  const { resource, subresource } = request;
  if (resource === resources.pods && subresource === 'binding') return bind(context, request);
  if (resource === resources.pods && subresource === 'eviction') return evict(context, request);
  if (resource === resources.serviceaccounts && subresource === 'token') {
    return context.issueToken(request.key, request.body as TokenRequest);
  }
  throw failure(
    405,
    'MethodNotAllowed',
    'the server does not allow this method on the requested resource',
  );
}

/** Assigns the pod to a node, once. */
async function bind(context: ApiContext, request: SubresourceRequest): Promise<Status> {
  const { metadata = {}, target } = request.body as Binding;
  const nodeName = target?.name;
  if (!nodeName) throw badRequest('a Binding needs target.name');
  const build = (current: AnyObject): AnyObject => {
    const pod = current as unknown as Pod;
    const { name, deletionTimestamp } = pod.metadata;
    // The place was chosen for a pod, not for whichever has its name by now.
    checkPreconditions(resources.pods, current, { uid: metadata.uid });
    if (deletionTimestamp !== undefined) {
      throw conflict(
        resources.pods,
        name,
        `pod ${name} is being deleted, cannot be assigned to a host`,
      );
    }
    if (pod.spec.nodeName) {
      const why = `pod ${name} is already assigned to node "${pod.spec.nodeName}"`;
      throw conflict(resources.pods, name, why);
    }
    return bound(pod, nodeName, context.clock.now());
  };
  await updateObject(context, resources.pods, request.key, build, {
    subresource: 'binding',
    ...dryRunOf(request),
  });
  return success(request);
}

function bound(pod: Pod, nodeName: string, now: number): Pod {
  const others = (pod.status?.conditions ?? []).filter(({ type }) => type !== 'PodScheduled');
  const scheduled = {
    type: 'PodScheduled',
    status: 'True' as const,
    lastProbeTime: null as unknown as string,
    lastTransitionTime: formatTime(now),
  };
  return {
    ...pod,
    spec: { ...pod.spec, nodeName },
    status: { ...pod.status, conditions: [...others, scheduled] },
  };
}

/** Nothing we serve can forbid an eviction yet, so it deletes. */
async function evict(context: ApiContext, request: SubresourceRequest): Promise<Status> {
  const { deleteOptions = {} } = request.body as Eviction;
  const options = deleteOptionsOf(deleteOptions);
  // `kubectl drain --dry-run=server` says so here and nowhere else.
  const dryRun = request.dryRun === true || options.dryRun === true;
  await deleteObject(context, resources.pods, request.key, { ...options, dryRun });
  return success(request);
}

/** PUT of an object or of one of its parts. */
export async function putObject(
  context: ApiContext,
  resource: Resource,
  key: Key,
  body: AnyObject,
  options: WriteOptions & { readonly subresource?: string } = {},
): Promise<{ stored: Stored; created: boolean }> {
  const { subresource, ...write } = options;
  if (subresource === 'scale') {
    const build = (current: AnyObject) => copyOf(applyScale(resource, current, body as Scale));
    return updateObject(context, resource, key, build, write);
  }
  if (subresource === 'finalize') {
    return { stored: await finalizeNamespace(context, key, body, write), created: false };
  }
  return replaceObject(context, resource, key, body, options);
}

/** PUT /namespaces/x/finalize: only spec.finalizers changes; the last one gone, so is the namespace. */
async function finalizeNamespace(
  context: ApiContext,
  key: Key,
  body: AnyObject,
  options: WriteOptions,
): Promise<Stored> {
  if (context.store.get(resources.namespaces, key) === undefined) {
    throw notFound(resources.namespaces, key.name);
  }
  const { spec }: Namespace = body;
  const finalizers = spec?.finalizers ?? [];
  const build = (current: AnyObject): AnyObject => ({
    ...current,
    metadata: {
      ...current.metadata,
      ...(body.metadata?.resourceVersion === undefined
        ? {}
        : { resourceVersion: body.metadata.resourceVersion }),
    },
    spec: { ...current.spec, finalizers },
  });
  const { stored } = await updateObject(context, resources.namespaces, key, build, {
    ...options,
    subresource: 'finalize',
  });
  return stored;
}

function success({ resource, key }: SubresourceRequest): Status {
  return {
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Success',
    code: 201,
    details: { name: key.name, kind: resource.resource },
  };
}

function dryRunOf({ dryRun }: SubresourceRequest): { dryRun?: boolean } {
  return dryRun === undefined ? {} : { dryRun };
}
