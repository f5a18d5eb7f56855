/** Where kinds differ in what a write may touch and what the server adds. */
import { type Resource, resources } from '../api/resources.ts';
import type { Container, Namespace, Node, Pod, Service } from '../api/types.ts';
import { type FieldError, invalid, validateCreate } from '../api/validation/index.ts';
import type { Transaction } from '../store/store.ts';
import { admitPod } from './admission.ts';
import { type AnyObject, type ApiContext, copyOf } from './context.ts';

/** Before defaults: the status belongs to others, and some kinds start in a known state. */
export function prepareCreate(resource: Resource, object: AnyObject): void {
  if (hasStatus(resource) && !STATUS_ON_CREATE.has(resource.kind)) delete object.status;
  if (resource === resources.namespaces) prepareNamespace(object);
  if (resource === resources.services) Object.assign(object, { status: { loadBalancer: {} } });
}

/** A node agent registers itself with its status in one request. */
const STATUS_ON_CREATE = new Set(['Node']);

/** After defaults, inside the write: what depends on other objects. */
export function admitCreate(
  context: ApiContext,
  resource: Resource,
  object: AnyObject,
  transaction: Transaction,
): void {
  if (resource !== resources.pods) return;
  // A faulty pod is left to validation, which says what is wrong with it.
  if (validateCreate(resource, object).length > 0) return;
  const pod = object as unknown as Pod;
  admitPod(pod, transaction, context.defaultTolerationSeconds);
  pod.status = { phase: 'Pending', qosClass: qosClassOf(pod) };
}

/** An update of the main resource keeps the status, as copies: defaults write into them next. */
export function prepareUpdate(resource: Resource, next: AnyObject, current: AnyObject): void {
  if (hasStatus(resource)) {
    if (current.status === undefined) delete next.status;
    else next.status = copyOf(current.status);
  }
  // Only `finalize` changes a namespace's spec.
  if (resource === resources.namespaces && current.spec !== undefined) {
    next.spec = copyOf(current.spec);
  }
}

/** Fields that validation and allocation of a Service settle together; call it inside the write. */
export function allocateFor(
  context: ApiContext,
  resource: Resource,
  objects: { readonly next: AnyObject; readonly current: AnyObject | undefined },
  validate: () => FieldError[],
  transaction: Transaction,
): void {
  const { next, current } = objects;
  const refuse = (errors: FieldError[]) => {
    if (errors.length > 0) throw invalid(resource, next.metadata.name, errors);
  };
  if (resource !== resources.services) return refuse(validate());
  const [service, old] = [next as Service, current as Service | undefined];
  const errors = context.allocator.prepare(service, old);
  refuse([...errors, ...validate()]);
  context.allocator.allocate(service, old, (undo) => transaction.onAbort(undo));
}

/** Frees what a removed object held. */
export function releaseFor(
  context: ApiContext,
  resource: Resource,
  object: AnyObject,
  transaction: Transaction,
): void {
  if (resource !== resources.services) return;
  const service = object as unknown as Service;
  context.allocator.release(service, (undo) => transaction.onAbort(undo));
}

/** Whether the kind has a status only its subresource may write. */
export function hasStatus(resource: Resource): boolean {
  return resource.subresources?.includes('status') ?? false;
}

/** PUT of a name that does not exist creates it for these kinds (A39). */
export function createsOnUpdate(resource: Resource): boolean {
  return CREATE_ON_UPDATE.has(resource.kind);
}

const CREATE_ON_UPDATE = new Set(['Service', 'Endpoints', 'Event', 'Lease']);

function prepareNamespace(object: AnyObject): void {
  const namespace: Namespace = object;
  namespace.spec = { ...namespace.spec, finalizers: ['kubernetes'] };
  namespace.status = { phase: 'Active' };
  namespace.metadata.labels = {
    ...namespace.metadata.labels,
    'kubernetes.io/metadata.name': namespace.metadata.name,
  };
}

/** The quality-of-service class (pod-qos reference): Guaranteed needs equal cpu and memory limits. */
function qosClassOf({ spec }: Pod): 'Guaranteed' | 'Burstable' | 'BestEffort' {
  const containers = [...(spec.initContainers ?? []), ...spec.containers];
  const asks = containers.some(
    ({ resources: wanted }) =>
      Object.keys(wanted?.requests ?? {}).length + Object.keys(wanted?.limits ?? {}).length > 0,
  );
  if (!asks) return 'BestEffort';
  return containers.every(isGuaranteed) ? 'Guaranteed' : 'Burstable';
}

function isGuaranteed({ resources: wanted }: Container): boolean {
  return ['cpu', 'memory'].every((name) => {
    const limit = wanted?.limits?.[name];
    const request = wanted?.requests?.[name] ?? limit;
    return limit !== undefined && String(limit) === String(request);
  });
}

/** The address a node's agent is reached at. */
export function internalAddressOf(node: Node): string | undefined {
  return node.status?.addresses?.find(({ type }) => type === 'InternalIP')?.address;
}
