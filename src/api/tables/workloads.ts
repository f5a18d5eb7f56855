/** `kubectl get deployments`, `replicasets` and `statefulsets`. */
import { ageOf } from '../duration.ts';
import type { LabelSelector } from '../meta.ts';
import { formatLabelSelector } from '../selectors.ts';
import type { Printer } from '../tables.ts';
import type { Deployment, ReplicaSet, StatefulSet } from '../types.ts';
import { containersText } from './text.ts';

export const deploymentTable: Printer = {
  columns: 'Name,Ready,Up-to-date,Available,Age,Containers*,Images*,Selector*',
  cells: ({ metadata, spec, status = {} }: Deployment, now) => [
    metadata.name,
    `${status.readyReplicas ?? 0}/${spec.replicas ?? 0}`,
    status.updatedReplicas ?? 0,
    status.availableReplicas ?? 0,
    ageOf(metadata.creationTimestamp, now),
    ...containersText(spec.template),
    selectorText(spec.selector),
  ],
};

export const replicaSetTable: Printer = {
  columns: 'Name,Desired#,Current#,Ready#,Age,Containers*,Images*,Selector*',
  cells: ({ metadata, spec, status }: ReplicaSet, now) => [
    metadata.name,
    spec.replicas ?? 0,
    status?.replicas ?? 0,
    status?.readyReplicas ?? 0,
    ageOf(metadata.creationTimestamp, now),
    ...containersText(spec.template),
    selectorText(spec.selector),
  ],
};

export const statefulSetTable: Printer = {
  columns: 'Name,Ready,Age,Containers*,Images*',
  cells: ({ metadata, spec, status }: StatefulSet, now) => [
    metadata.name,
    `${status?.readyReplicas ?? 0}/${spec.replicas ?? 0}`,
    ageOf(metadata.creationTimestamp, now),
    ...containersText(spec.template),
  ],
};

function selectorText(selector: LabelSelector | undefined): string {
  const text = formatLabelSelector(selector);
  return text === '' ? '<none>' : text;
}
