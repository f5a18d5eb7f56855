/** Metadata rules that hold for every kind (A48). */
import type { KubeObject, LabelSelector, ObjectMeta } from '../meta.ts';
import type { Resource } from '../resources.ts';
import {
  forbidden,
  invalidFor,
  invalidValue,
  required,
  tooLong,
  type FieldError,
} from './errors.ts';
import { dns1035Label, dnsLabel, dnsSubdomain, labelValue, qualifiedName } from './formats.ts';

/** All annotations of an object together. */
const annotationsBytesMax = 256 * 1024;

/** Kinds whose names follow another rule than a DNS subdomain. */
const nameRules: Record<string, (name: string) => string[]> = {
  namespaces: dnsLabel,
  services: dns1035Label,
  statefulsets: dnsLabel,
};

/** Names, labels, annotations, owners and finalizers. */
export function validateMetadata(resource: Resource, object: KubeObject): FieldError[] {
  const { metadata } = object;
  return [
    ...validateName(resource, metadata),
    ...validateNamespace(resource, metadata),
    ...validateLabels(metadata.labels, 'metadata.labels'),
    ...validateAnnotations(metadata.annotations, 'metadata.annotations'),
    ...validateOwners(metadata),
    ...validateFinalizers(metadata),
  ];
}

function validateName(resource: Resource, metadata: ObjectMeta): FieldError[] {
  const rule = nameRules[resource.resource] ?? dnsSubdomain;
  const errors: FieldError[] = [];
  if (metadata.generateName) {
    // A trailing dash is fine: random characters follow it.
    const stem = metadata.generateName.replace(/-$/, 'a');
    errors.push(...invalidFor('metadata.generateName', metadata.generateName, rule(stem)));
  }
  if (!metadata.name) errors.push(required('metadata.name', 'name or generateName is required'));
  else errors.push(...invalidFor('metadata.name', metadata.name, rule(metadata.name)));
  return errors;
}

function validateNamespace(resource: Resource, { namespace }: ObjectMeta): FieldError[] {
  if (!resource.namespaced) {
    return namespace ? [forbidden('metadata.namespace', 'not allowed on this type')] : [];
  }
  if (!namespace) return [required('metadata.namespace')];
  return invalidFor('metadata.namespace', namespace, dnsLabel(namespace));
}

export function validateLabels(
  labels: Record<string, string> | undefined,
  field: string,
): FieldError[] {
  return Object.entries(labels ?? {}).flatMap(([key, value]) => [
    ...invalidFor(field, key, qualifiedName(key)),
    ...invalidFor(field, value, labelValue(value)),
  ]);
}

export function validateAnnotations(
  annotations: Record<string, string> | undefined,
  field: string,
): FieldError[] {
  const entries = Object.entries(annotations ?? {});
  // Annotation keys may have upper case letters in the prefix.
  const errors = entries.flatMap(([key]) =>
    invalidFor(field, key, qualifiedName(key.toLowerCase())),
  );
  const bytes = entries.reduce(
    (sum, [key, value]) => sum + Buffer.byteLength(key) + Buffer.byteLength(value),
    0,
  );
  if (bytes > annotationsBytesMax) errors.push(tooLong(field, annotationsBytesMax));
  return errors;
}

function validateOwners({ ownerReferences = [] }: ObjectMeta): FieldError[] {
  const field = 'metadata.ownerReferences';
  const errors: FieldError[] = [];
  for (const owner of ownerReferences) {
    const version = owner.apiVersion?.split('/').at(-1) ?? '';
    if (version === '') {
      errors.push(
        invalidValue(`${field}.apiVersion`, owner.apiVersion, 'version must not be empty'),
      );
    }
    for (const name of ['kind', 'name', 'uid'] as const) {
      if (!owner[name]) errors.push(invalidValue(`${field}.${name}`, '', 'must not be empty'));
    }
  }
  const [first, second] = ownerReferences.filter(({ controller }) => controller === true);
  if (first !== undefined && second !== undefined) {
    errors.push(
      invalidValue(
        field,
        ownerReferences,
        'Only one reference can have Controller set to true. Found "true" in references for ' +
          `${first.kind}/${first.name} and ${second.kind}/${second.name}`,
      ),
    );
  }
  return errors;
}

const standardFinalizers = new Set(['orphan', 'foregroundDeletion', 'kubernetes']);

function validateFinalizers({ finalizers = [] }: ObjectMeta): FieldError[] {
  const field = 'metadata.finalizers';
  return finalizers.flatMap((name) => {
    const wrong = invalidFor(field, name, qualifiedName(name));
    if (wrong.length > 0 || name.includes('/') || standardFinalizers.has(name)) return wrong;
    const detail = 'name is neither a standard finalizer name nor is it fully qualified';
    return [invalidValue(field, name, detail)];
  });
}

/** What a write may not change: who the object is. */
export function validateMetadataUpdate(object: KubeObject, old: KubeObject): FieldError[] {
  const errors: FieldError[] = [];
  for (const name of ['name', 'namespace', 'uid', 'creationTimestamp'] as const) {
    const value = object.metadata[name];
    const isSet = value !== undefined && value !== '';
    if (isSet && value !== old.metadata[name]) {
      errors.push(invalidValue(`metadata.${name}`, value, 'field is immutable'));
    }
  }
  if (old.metadata.deletionTimestamp !== undefined) {
    const before = new Set(old.metadata.finalizers);
    const added = (object.metadata.finalizers ?? []).filter((name) => !before.has(name));
    if (added.length > 0) {
      const list = added.map((name) => JSON.stringify(name)).join(', ');
      errors.push(
        forbidden(
          'metadata.finalizers',
          'no new finalizers can be added if the object is being deleted, found new ' +
            `finalizers []string{${list}}`,
        ),
      );
    }
  }
  return errors;
}

/** A LabelSelector object. */
export function validateSelector(selector: LabelSelector, field: string): FieldError[] {
  const errors = validateLabels(selector.matchLabels, `${field}.matchLabels`);
  (selector.matchExpressions ?? []).forEach(({ key, operator, values = [] }, index) => {
    const at = `${field}.matchExpressions[${index}]`;
    errors.push(...invalidFor(`${at}.key`, key, qualifiedName(key ?? '')));
    if (operator === 'In' || operator === 'NotIn') {
      if (values.length === 0) {
        const detail = "must be specified when `operator` is 'In' or 'NotIn'";
        errors.push(required(`${at}.values`, detail));
      }
    } else if (operator === 'Exists' || operator === 'DoesNotExist') {
      if (values.length > 0) {
        const detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
        errors.push(forbidden(`${at}.values`, detail));
      }
    } else {
      errors.push(invalidValue(`${at}.operator`, operator, 'not a valid selector operator'));
    }
    values.forEach((value, at2) =>
      errors.push(...invalidFor(`${at}.values[${at2}]`, value, labelValue(value))),
    );
  });
  return errors;
}
