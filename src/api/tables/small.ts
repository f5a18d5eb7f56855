/** The tables of nodes, namespaces, events and the kinds with few columns. */
import { ageOf } from '../duration.ts';
import type { Printer } from '../tables.ts';
import type * as k from '../types.ts';
import { orNone } from './text.ts';

export const nodeTable: Printer = {
  columns:
    'Name,Status,Roles,Age,Version,Internal-IP*,External-IP*,OS-Image*,Kernel-Version*,' +
    'Container-Runtime*',
  cells: (node: k.Node, now) => {
    const info = node.status?.nodeInfo ?? {};
    const address = (type: string) =>
      orNone(node.status?.addresses?.find((each) => each.type === type)?.address);
    return [
      node.metadata.name,
      nodeStatus(node),
      nodeRoles(node),
      ageOf(node.metadata.creationTimestamp, now),
      info.kubeletVersion ?? '',
      address('InternalIP'),
      address('ExternalIP'),
      info.osImage || '<unknown>',
      info.kernelVersion || '<unknown>',
      info.containerRuntimeVersion || '<unknown>',
    ];
  },
};

function nodeStatus({ spec, status }: k.Node): string {
  const ready = status?.conditions?.find(({ type }) => type === 'Ready');
  const words: string[] = [];
  if (ready === undefined) words.push('Unknown');
  else words.push(ready.status === 'True' ? 'Ready' : 'NotReady');
  if (spec?.unschedulable === true) words.push('SchedulingDisabled');
  return words.join(',');
}

function nodeRoles({ metadata }: k.Node): string {
  const prefix = 'node-role.kubernetes.io/';
  const roles = Object.entries(metadata.labels ?? {}).flatMap(([key, value]) => {
    if (key.startsWith(prefix)) return [key.slice(prefix.length)];
    return key === 'kubernetes.io/role' ? [value] : [];
  });
  return orNone(
    [...new Set(roles)]
      .filter((role) => role !== '')
      .sort()
      .join(','),
  );
}

export const namespaceTable: Printer = {
  columns: 'Name,Status,Age',
  cells: ({ metadata, status }: k.Namespace, now) => [
    metadata.name,
    status?.phase ?? '',
    ageOf(metadata.creationTimestamp, now),
  ],
};

export const configMapTable: Printer = {
  columns: 'Name,Data,Age',
  cells: ({ metadata, data = {}, binaryData = {} }: k.ConfigMap, now) => [
    metadata.name,
    Object.keys(data).length + Object.keys(binaryData).length,
    ageOf(metadata.creationTimestamp, now),
  ],
};

export const secretTable: Printer = {
  columns: 'Name,Type,Data,Age',
  cells: ({ metadata, type = '', data = {} }: k.Secret, now) => [
    metadata.name,
    type,
    Object.keys(data).length,
    ageOf(metadata.creationTimestamp, now),
  ],
};

export const serviceAccountTable: Printer = {
  columns: 'Name,Secrets,Age',
  cells: ({ metadata, secrets = [] }: k.ServiceAccount, now) => [
    metadata.name,
    secrets.length,
    ageOf(metadata.creationTimestamp, now),
  ],
};

export const leaseTable: Printer = {
  columns: 'Name,Holder,Age',
  cells: ({ metadata, spec }: k.Lease, now) => [
    metadata.name,
    spec?.holderIdentity ?? '',
    ageOf(metadata.creationTimestamp, now),
  ],
};

export const controllerRevisionTable: Printer = {
  columns: 'Name,Controller,Revision,Age',
  cells: ({ metadata, revision }: k.ControllerRevision, now) => {
    const owner = metadata.ownerReferences?.find(({ controller }) => controller === true);
    return [metadata.name, ownerText(owner), revision, ageOf(metadata.creationTimestamp, now)];
  },
};

/** `statefulset.apps/db`. */
function ownerText(owner: { kind: string; apiVersion: string; name: string } | undefined): string {
  if (owner === undefined) return '<none>';
  const [group] = owner.apiVersion.includes('/') ? owner.apiVersion.split('/') : [''];
  const kind = owner.kind.toLowerCase();
  return group ? `${kind}.${group}/${owner.name}` : `${kind}/${owner.name}`;
}

export const eventTable: Printer = {
  columns: 'Last Seen,Type,Reason,Object,Subobject*,Source*,Message,First Seen*,Count*,Name*',
  cells: (event: k.Event, now) => {
    const { involvedObject: about = {}, series } = event as Partial<k.Event>;
    const first = ageOf(event.firstTimestamp ?? event.eventTime, now);
    const last = series?.lastObservedTime ?? event.lastTimestamp;
    return [
      last === undefined || last === null ? first : ageOf(last, now),
      event.type ?? '',
      event.reason ?? '',
      `${(about.kind ?? '').toLowerCase()}/${about.name ?? ''}`,
      about.fieldPath ?? '',
      sourceText(event),
      (event.message ?? '').trim(),
      first,
      series?.count ?? (event.count || 1),
      event.metadata.name,
    ];
  },
};

function sourceText({ source, reportingComponent = '', reportingInstance = '' }: k.Event): string {
  const component = source?.component || reportingComponent;
  const host = source?.host || reportingInstance;
  return host === '' ? component : `${component}, ${host}`;
}
