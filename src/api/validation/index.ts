/** Validation of every served kind, with Kubernetes's texts (A48, A131-A133). */
import type { KubeObject } from '../meta.ts';
import type { Resource } from '../resources.ts';
import {
  validateEndpoints,
  validateEndpointSlice,
  validateEndpointSliceUpdate,
} from './endpoints.ts';
import type { FieldError } from './errors.ts';
import { validateMetadata, validateMetadataUpdate } from './metadata.ts';
import * as others from './others.ts';
import { validatePod, validatePodUpdate } from './pod.ts';
import { validateService, validateServiceUpdate } from './service.ts';
import * as workloads from './workloads.ts';

export { invalid, type FieldError } from './errors.ts';

type Validator = {
  /** The faults of the object alone. */
  readonly object: (object: never) => FieldError[];
  /** The faults of the change alone. */
  readonly change?: (object: never, old: never) => FieldError[];
};

/** By group and plural, as in `apps/deployments`; a kind that is missing has no rules of its own. */
const validators: Record<string, Validator> = {
  '/pods': { object: validatePod, change: validatePodUpdate },
  '/services': { object: validateService, change: validateServiceUpdate },
  '/endpoints': { object: validateEndpoints },
  '/configmaps': { object: others.validateConfigMap, change: others.validateDataUpdate },
  '/secrets': { object: others.validateSecret, change: others.validateSecretUpdate },
  '/nodes': { object: others.validateNode, change: others.validateNodeUpdate },
  '/events': { object: others.validateEvent },
  'discovery.k8s.io/endpointslices': {
    object: validateEndpointSlice,
    change: validateEndpointSliceUpdate,
  },
  'apps/deployments': {
    object: workloads.validateDeployment,
    change: workloads.validateSelectorUpdate,
  },
  'apps/replicasets': {
    object: workloads.validateReplicaSet,
    change: workloads.validateSelectorUpdate,
  },
  'apps/statefulsets': {
    object: workloads.validateStatefulSet,
    change: workloads.validateStatefulSetUpdate,
  },
  'apps/controllerrevisions': {
    object: others.validateControllerRevision,
    change: others.validateControllerRevisionUpdate,
  },
  'coordination.k8s.io/leases': { object: others.validateLease },
};

function validatorOf({ group, resource }: Resource): Validator | undefined {
  return validators[`${group}/${resource}`];
}

/** The faults of an object about to be created; defaults are already applied. */
export function validateCreate(resource: Resource, object: KubeObject): FieldError[] {
  const own = validatorOf(resource)?.object(object as never) ?? [];
  return [...validateMetadata(resource, object), ...own];
}

/** The faults of a change; through a `subresource` only the status or one field can change. */
export function validateUpdate(
  resource: Resource,
  object: KubeObject,
  old: KubeObject,
  options: { subresource?: string } = {},
): FieldError[] {
  const errors = [...validateMetadata(resource, object), ...validateMetadataUpdate(object, old)];
  if (options.subresource !== undefined) return errors;
  const validator = validatorOf(resource);
  errors.push(...(validator?.object(object as never) ?? []));
  // Without its spec there is nothing to compare; the fault is named above.
  if ('spec' in old && !('spec' in object)) return errors;
  return [...errors, ...(validator?.change?.(object as never, old as never) ?? [])];
}
