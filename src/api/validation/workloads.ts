/** Deployments, ReplicaSets and StatefulSets. */
import { isDeepStrictEqual } from 'node:util';

import type { IntOrString, LabelSelector } from '../meta.ts';
import { selects } from '../selectors.ts';
import type * as k from '../types.ts';
import { forbidden, invalidValue, notSupported, required, type FieldError } from './errors.ts';
import { validateSelector } from './metadata.ts';
import { validateTemplate } from './pod.ts';

export function validateDeployment({ spec }: k.Deployment): FieldError[] {
  if (spec === undefined) return [required('spec.selector'), required('spec.template')];
  const errors = [
    ...validateReplicated(spec, 'deployment'),
    ...validateStrategy(spec),
    ...nonNegative(spec.revisionHistoryLimit, 'spec.revisionHistoryLimit'),
    ...nonNegative(spec.progressDeadlineSeconds, 'spec.progressDeadlineSeconds'),
  ];
  const deadline = spec.progressDeadlineSeconds;
  if (deadline !== undefined && deadline <= (spec.minReadySeconds ?? 0)) {
    const detail = 'must be greater than minReadySeconds';
    errors.push(invalidValue('spec.progressDeadlineSeconds', deadline, detail));
  }
  return errors;
}

export function validateReplicaSet({ spec }: k.ReplicaSet): FieldError[] {
  if (spec === undefined) return [required('spec.selector'), required('spec.template')];
  return validateReplicated(spec, 'replica set');
}

export function validateStatefulSet({ spec }: k.StatefulSet): FieldError[] {
  if (spec === undefined) return [required('spec.selector'), required('spec.template')];
  const errors = [
    ...validateReplicated(spec, 'statefulset'),
    ...nonNegative(spec.revisionHistoryLimit, 'spec.revisionHistoryLimit'),
    ...nonNegative(spec.ordinals?.start, 'spec.ordinals.start'),
  ];
  const policies = ['OrderedReady', 'Parallel'];
  if (!policies.includes(spec.podManagementPolicy ?? '')) {
    const value = spec.podManagementPolicy ?? '';
    errors.push(
      value === ''
        ? required('spec.podManagementPolicy')
        : invalidValue('spec.podManagementPolicy', value, "must be 'OrderedReady' or 'Parallel'"),
    );
  }
  const { type, rollingUpdate } = spec.updateStrategy ?? {};
  const field = 'spec.updateStrategy';
  if (type === 'OnDelete' && rollingUpdate !== undefined) {
    const detail = "only allowed for updateStrategy 'RollingUpdate'";
    errors.push(invalidValue(`${field}.rollingUpdate`, rollingUpdate, detail));
  } else if (type !== 'OnDelete' && type !== 'RollingUpdate') {
    const detail = "must be 'RollingUpdate' or 'OnDelete'";
    errors.push(type ? invalidValue(field, type, detail) : required(field));
  }
  const at = `${field}.rollingUpdate.partition`;
  return [...errors, ...nonNegative(rollingUpdate?.partition, at)];
}

type Replicated = {
  replicas?: number;
  minReadySeconds?: number;
  selector?: LabelSelector;
  template?: k.PodTemplateSpec;
};

function validateReplicated(spec: Replicated, what: string): FieldError[] {
  return [
    ...nonNegative(spec.replicas, 'spec.replicas'),
    ...nonNegative(spec.minReadySeconds, 'spec.minReadySeconds'),
    ...validateSelection(spec, what),
    ...validateRestart(spec),
  ];
}

function validateSelection({ selector, template }: Replicated, what: string): FieldError[] {
  const errors: FieldError[] = [];
  if (selector === undefined) errors.push(required('spec.selector'));
  else {
    errors.push(...validateSelector(selector, 'spec.selector'));
    const isEmpty = !selector.matchExpressions?.length && isNone(selector.matchLabels);
    if (isEmpty) {
      const detail = `empty selector is invalid for ${what}`;
      errors.push(invalidValue('spec.selector', selector, detail));
    }
  }
  if (template === undefined) return [...errors, required('spec.template')];
  const labels = template.metadata?.labels;
  if (selector !== undefined && errors.length === 0 && !selects(selector, labels)) {
    const detail = '`selector` does not match template `labels`';
    errors.push(invalidValue('spec.template.metadata.labels', labels ?? {}, detail));
  }
  return [...errors, ...validateTemplate(template, 'spec.template')];
}

function isNone(record: Record<string, string> | undefined): boolean {
  return Object.keys(record ?? {}).length === 0;
}

function validateRestart({ template }: Replicated): FieldError[] {
  const errors: FieldError[] = [];
  const restart = template?.spec?.restartPolicy;
  if (restart !== undefined && restart !== 'Always') {
    errors.push(notSupported('spec.template.spec.restartPolicy', restart, ['Always']));
  }
  if (template?.spec?.activeDeadlineSeconds !== undefined) {
    const detail = 'activeDeadlineSeconds in ReplicaSet is not Supported';
    errors.push(forbidden('spec.template.spec.activeDeadlineSeconds', detail));
  }
  return errors;
}

export function nonNegative(value: number | undefined, field: string): FieldError[] {
  if (value === undefined || value >= 0) return [];
  return [invalidValue(field, value, 'must be greater than or equal to 0')];
}

// ---- strategy of a Deployment

function validateStrategy({ strategy }: k.DeploymentSpec): FieldError[] {
  const { type, rollingUpdate } = strategy ?? {};
  const field = 'spec.strategy';
  if (type === 'Recreate') {
    if (rollingUpdate === undefined) return [];
    const detail = "may not be specified when strategy `type` is 'Recreate'";
    return [forbidden(`${field}.rollingUpdate`, detail)];
  }
  if (type !== 'RollingUpdate') {
    return [notSupported(`${field}.type`, type ?? '', ['Recreate', 'RollingUpdate'])];
  }
  if (rollingUpdate === undefined) {
    const detail = 'this should be defaulted and never be nil';
    return [required(`${field}.rollingUpdate`, detail)];
  }
  const { maxUnavailable = 0, maxSurge = 0 } = rollingUpdate;
  const errors = [
    ...validateShare(maxUnavailable, `${field}.rollingUpdate.maxUnavailable`),
    ...validateShare(maxSurge, `${field}.rollingUpdate.maxSurge`),
  ];
  if (amountOf(maxUnavailable) === 0 && amountOf(maxSurge) === 0) {
    const detail = 'may not be 0 when `maxSurge` is 0';
    errors.push(invalidValue(`${field}.rollingUpdate.maxUnavailable`, maxUnavailable, detail));
  }
  if (typeof maxUnavailable === 'string' && amountOf(maxUnavailable) > 100) {
    const detail = 'must not be greater than 100%';
    errors.push(invalidValue(`${field}.rollingUpdate.maxUnavailable`, maxUnavailable, detail));
  }
  return errors;
}

function validateShare(value: IntOrString, field: string): FieldError[] {
  if (typeof value === 'number') return nonNegative(value, field);
  if (/^[0-9]+%$/.test(value)) return [];
  const detail =
    "a valid percent string must be a numeric string followed by an ending '%' " +
    "(e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";
  return [invalidValue(field, value, detail)];
}

function amountOf(value: IntOrString): number {
  return typeof value === 'number' ? value : Number.parseInt(value, 10);
}

// ---- update

/** The selector of a Deployment or ReplicaSet is fixed. */
export function validateSelectorUpdate(
  object: { spec: { selector: LabelSelector } },
  old: { spec: { selector: LabelSelector } },
): FieldError[] {
  if (isDeepStrictEqual(object.spec.selector, old.spec.selector)) return [];
  return [invalidValue('spec.selector', object.spec.selector, 'field is immutable')];
}

const statefulMutable = [
  'replicas',
  'ordinals',
  'template',
  'updateStrategy',
  'revisionHistoryLimit',
  'persistentVolumeClaimRetentionPolicy',
  'minReadySeconds',
];

export function validateStatefulSetUpdate(object: k.StatefulSet, old: k.StatefulSet): FieldError[] {
  const fixed = (spec: object) =>
    Object.fromEntries(Object.entries(spec).filter(([name]) => !statefulMutable.includes(name)));
  if (isDeepStrictEqual(fixed(object.spec), fixed(old.spec))) return [];
  const names = statefulMutable.map((name) => `'${name}'`);
  const list = `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`;
  const detail = `updates to statefulset spec for fields other than ${list} are forbidden`;
  return [forbidden('spec', detail)];
}
