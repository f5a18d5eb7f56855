/** ConfigMaps, Secrets, Nodes, Events, Leases and other small kinds. */
import { isDeepStrictEqual } from 'node:util';

import type { KubeObject } from '../meta.ts';
import type * as k from '../types.ts';
import {
  forbidden,
  invalidFor,
  invalidValue,
  notSupported,
  required,
  tooLong,
  type FieldError,
} from './errors.ts';
import { cidr, configKey, qualifiedName } from './formats.ts';
import { nonNegative } from './workloads.ts';

/** The data of one ConfigMap or Secret. */
const dataBytesMax = 1024 * 1024;

export function validateConfigMap({ data = {}, binaryData = {} }: k.ConfigMap): FieldError[] {
  const errors = [...validateKeys(data, 'data'), ...validateKeys(binaryData, 'binaryData')];
  for (const key of Object.keys(data)) {
    if (!Object.hasOwn(binaryData, key)) continue;
    errors.push(invalidValue(`data[${key}]`, key, 'duplicate of key present in binaryData'));
  }
  const bytes = Object.values({ ...data, ...binaryData }).reduce(
    (sum, value) => sum + Buffer.byteLength(value),
    0,
  );
  return bytes > dataBytesMax ? [...errors, tooLong('', dataBytesMax)] : errors;
}

function validateKeys(data: Record<string, string>, field: string): FieldError[] {
  return Object.keys(data).flatMap((key) => invalidFor(`${field}[${key}]`, key, configKey(key)));
}

type Immutable = KubeObject & {
  immutable?: boolean;
  data?: Record<string, string>;
  binaryData?: Record<string, string>;
};

/** An immutable ConfigMap or Secret stays as it is. */
export function validateDataUpdate(object: Immutable, old: Immutable): FieldError[] {
  if (old.immutable !== true) return [];
  const detail = 'field is immutable when `immutable` is set';
  const errors = object.immutable === true ? [] : [forbidden('immutable', detail)];
  for (const name of ['data', 'binaryData'] as const) {
    if (!isDeepStrictEqual(object[name], old[name])) errors.push(forbidden(name, detail));
  }
  return errors;
}

/** Keys that a Secret of a well-known type must have. */
const secretKeys: Record<string, readonly string[]> = {
  'kubernetes.io/tls': ['tls.crt', 'tls.key'],
  'kubernetes.io/dockerconfigjson': ['.dockerconfigjson'],
  'kubernetes.io/dockercfg': ['.dockercfg'],
  'kubernetes.io/ssh-auth': ['ssh-privatekey'],
};

export function validateSecret({ data = {}, type = '', metadata }: k.Secret): FieldError[] {
  const errors = validateKeys(data, 'data');
  for (const key of secretKeys[type] ?? []) {
    if (!Object.hasOwn(data, key)) errors.push(required(`data[${key}]`));
  }
  const account = 'kubernetes.io/service-account.name';
  if (type === 'kubernetes.io/service-account-token' && !metadata.annotations?.[account]) {
    errors.push(required(`metadata.annotations[${account}]`));
  }
  const bytes = Object.values(data).reduce((sum, value) => sum + value.length * 0.75, 0);
  return bytes > dataBytesMax ? [...errors, tooLong('data', dataBytesMax)] : errors;
}

export function validateSecretUpdate(secret: k.Secret, old: k.Secret): FieldError[] {
  const errors = validateDataUpdate(secret, old);
  if (secret.type === old.type) return errors;
  return [...errors, invalidValue('type', secret.type, 'field is immutable')];
}

const effects = ['NoExecute', 'NoSchedule', 'PreferNoSchedule'];

export function validateNode({ spec }: k.Node): FieldError[] {
  const errors = (spec?.podCIDRs ?? []).flatMap((range, index) =>
    invalidFor(`spec.podCIDRs[${index}]`, range, cidr(range)),
  );
  (spec?.taints ?? []).forEach(({ key, effect }, index) => {
    const field = `spec.taints[${index}]`;
    errors.push(...invalidFor(`${field}.key`, key ?? '', qualifiedName(key ?? '')));
    if (!effect) errors.push(required(`${field}.effect`));
    else if (!effects.includes(effect)) {
      errors.push(notSupported(`${field}.effect`, effect, effects));
    }
  });
  return errors;
}

export function validateNodeUpdate(node: k.Node, old: k.Node): FieldError[] {
  const before = old.spec?.podCIDRs ?? [];
  if (before.length === 0 || isDeepStrictEqual(node.spec?.podCIDRs, before)) return [];
  const detail = 'node updates may not change podCIDR except from "" to valid';
  return [forbidden('spec.podCIDRs', detail)];
}

/** An event lies where the object lies that it is about, cluster-scoped ones in "default". */
export function validateEvent({ involvedObject, metadata }: k.Event): FieldError[] {
  const about = involvedObject?.namespace ?? '';
  const isRight =
    about === ''
      ? /^(default|kube-system)$/.test(metadata.namespace ?? '')
      : about === metadata.namespace;
  if (isRight) return [];
  return [invalidValue('involvedObject.namespace', about, 'does not match event.namespace')];
}

export function validateLease({ spec }: k.Lease): FieldError[] {
  const errors: FieldError[] = [];
  const seconds = spec?.leaseDurationSeconds;
  if (seconds !== undefined && seconds <= 0) {
    const detail = 'must be greater than 0';
    errors.push(invalidValue('spec.leaseDurationSeconds', seconds, detail));
  }
  return [...errors, ...nonNegative(spec?.leaseTransitions, 'spec.leaseTransitions')];
}

export function validateControllerRevision({ data, revision }: k.ControllerRevision): FieldError[] {
  const errors = nonNegative(revision, 'revision');
  return data === undefined ? [...errors, required('data', 'data is mandatory')] : errors;
}

export function validateControllerRevisionUpdate(
  revision: k.ControllerRevision,
  old: k.ControllerRevision,
): FieldError[] {
  if (isDeepStrictEqual(revision.data, old.data)) return [];
  return [invalidValue('data', revision.data, 'field is immutable')];
}
