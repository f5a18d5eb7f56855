/** The `scale` subresource: autoscaling/v1 Scale as a view of a workload (A95). */
import type { KubeObject, LabelSelector } from '../api/meta.ts';
import type { Resource } from '../api/resources.ts';
import { formatLabelSelector } from '../api/selectors.ts';
import { invalid } from '../api/validation/index.ts';
import type { AnyObject } from './context.ts';
import { checkPreconditions } from './refusals.ts';

export type Scale = KubeObject & {
  spec: { replicas?: number };
  status: { replicas: number; selector: string };
};

/** How patches find the schema of a Scale. */
export const SCALE_TYPE = { group: 'autoscaling', version: 'v1', kind: 'Scale' } as const;

type Workload = AnyObject & {
  spec: { replicas?: number; selector?: LabelSelector };
  status?: { replicas?: number };
};

export function scaleOf(object: AnyObject): Scale {
  const { metadata, spec, status } = object as Workload;
  const { name, namespace, uid, resourceVersion, creationTimestamp } = metadata;
  return {
    kind: 'Scale',
    apiVersion: 'autoscaling/v1',
    metadata: copyDefined({ name, namespace, uid, resourceVersion, creationTimestamp }),
    spec: { replicas: spec.replicas ?? 1 },
    status: { replicas: status?.replicas ?? 0, selector: formatLabelSelector(spec.selector) },
  };
}

/** The workload with the replicas of the Scale. */
export function applyScale(resource: Resource, object: AnyObject, scale: Scale): AnyObject {
  checkPreconditions(resource, object, scale.metadata ?? {});
  const replicas = scale.spec?.replicas ?? 0;
  if (!Number.isInteger(replicas) || replicas < 0) {
    throw invalid({ ...resource, kind: 'Scale' }, object.metadata.name, [
      {
        type: 'Invalid',
        field: 'spec.replicas',
        value: replicas,
        detail: 'must be greater than or equal to 0',
      },
    ]);
  }
  return { ...object, spec: { ...object.spec, replicas } };
}

function copyDefined(value: object): KubeObject['metadata'] {
  const defined = Object.entries(value).filter(([, part]) => part !== undefined);
  return Object.fromEntries(defined) as KubeObject['metadata'];
}
