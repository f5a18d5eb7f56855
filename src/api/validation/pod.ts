/** Pods and pod templates. */
import { isDeepStrictEqual } from 'node:util';

import type * as k from '../types.ts';
import { validateContainer } from './container.ts';
import {
  duplicate,
  forbidden,
  invalidFor,
  invalidValue,
  notSupported,
  required,
  type FieldError,
} from './errors.ts';
import { dnsLabel, dnsSubdomain, ipAddress, labelValue, qualifiedName } from './formats.ts';
import { validateAnnotations, validateLabels } from './metadata.ts';
import { validateVolumes } from './volume.ts';

const restartPolicies = ['Always', 'Never', 'OnFailure'];
const dnsPolicies = ['ClusterFirst', 'ClusterFirstWithHostNet', 'Default', 'None'];

export function validatePod(pod: k.Pod): FieldError[] {
  return validatePodSpec(pod.spec, 'spec');
}

/** The template of a workload, at `field`. */
export function validateTemplate(template: k.PodTemplateSpec, field: string): FieldError[] {
  return [
    ...validateLabels(template.metadata?.labels, `${field}.labels`),
    ...validateAnnotations(template.metadata?.annotations, `${field}.annotations`),
    ...validatePodSpec(template.spec, `${field}.spec`),
  ];
}

export function validatePodSpec(spec: k.PodSpec | undefined, field: string): FieldError[] {
  if (spec === undefined) return [required(`${field}.containers`)];
  return [
    ...validateVolumes(spec.volumes ?? [], `${field}.volumes`),
    ...validateContainers(spec, field),
    ...validatePolicies(spec, field),
    ...validateNames(spec, field),
    ...validateDns(spec, field),
    ...validateScheduling(spec, field),
    ...validateHostAliases(spec, field),
  ];
}

function validateContainers(spec: k.PodSpec, field: string): FieldError[] {
  const volumes = new Set((spec.volumes ?? []).map(({ name }) => name));
  const names = new Set<string>();
  const errors: FieldError[] = [];
  for (const list of ['initContainers', 'containers'] as const) {
    (spec[list] ?? []).forEach((container, index) => {
      const at = `${field}.${list}[${index}]`;
      errors.push(...validateContainer(container, at, { volumes, isInit: list !== 'containers' }));
      // A template may leave the image to others; a container of a pod may not.
      if (!container.image) errors.push(required(`${at}.image`));
      if (container.name && names.has(container.name)) {
        errors.push(duplicate(`${at}.name`, container.name));
      }
      names.add(container.name);
    });
  }
  if ((spec.containers ?? []).length === 0) errors.push(required(`${field}.containers`));
  return errors;
}

function validatePolicies(spec: k.PodSpec, field: string): FieldError[] {
  const errors: FieldError[] = [];
  for (const [name, supported] of [
    ['restartPolicy', restartPolicies],
    ['dnsPolicy', dnsPolicies],
  ] as const) {
    const value = spec[name];
    if (!value) errors.push(required(`${field}.${name}`));
    else if (!supported.includes(value)) {
      errors.push(notSupported(`${field}.${name}`, value, supported));
    }
  }
  const grace = spec.terminationGracePeriodSeconds;
  if (grace !== undefined && grace < 0) {
    const detail = 'must be greater than or equal to 0';
    errors.push(invalidValue(`${field}.terminationGracePeriodSeconds`, grace, detail));
  }
  const deadline = spec.activeDeadlineSeconds;
  if (deadline !== undefined && (deadline < 1 || deadline > 2_147_483_647)) {
    const detail = 'must be between 1 and 2147483647, inclusive';
    errors.push(invalidValue(`${field}.activeDeadlineSeconds`, deadline, detail));
  }
  return errors;
}

function validateNames(spec: k.PodSpec, field: string): FieldError[] {
  const rules = {
    hostname: dnsLabel,
    subdomain: dnsLabel,
    nodeName: dnsSubdomain,
    serviceAccountName: dnsSubdomain,
    schedulerName: dnsSubdomain,
  } as const;
  return Object.entries(rules).flatMap(([name, rule]) => {
    const value = spec[name as keyof typeof rules];
    return value ? invalidFor(`${field}.${name}`, value, rule(value)) : [];
  });
}

/** Limits of the resolver that Kubernetes enforces. */
const nameserversMax = 3;
const searchesMax = 32;

function validateDns({ dnsPolicy, dnsConfig }: k.PodSpec, field: string): FieldError[] {
  const at = `${field}.dnsConfig`;
  const servers = dnsConfig?.nameservers ?? [];
  const errors: FieldError[] = [];
  if (dnsPolicy === 'None' && dnsConfig === undefined) {
    const detail = 'must provide `dnsConfig` when `dnsPolicy` is None';
    errors.push(required(at, detail));
  } else if (dnsPolicy === 'None' && servers.length === 0) {
    const detail = 'must provide at least one DNS nameserver when `dnsPolicy` is None';
    errors.push(required(`${at}.nameservers`, detail));
  }
  if (servers.length > nameserversMax) {
    const detail = `must not have more than ${nameserversMax} nameservers`;
    errors.push(invalidValue(`${at}.nameservers`, servers, detail));
  }
  servers.forEach((ip, index) =>
    errors.push(...invalidFor(`${at}.nameservers[${index}]`, ip, ipAddress(ip))),
  );
  const searches = dnsConfig?.searches ?? [];
  if (searches.length > searchesMax) {
    const detail = `must not have more than ${searchesMax} search paths`;
    errors.push(invalidValue(`${at}.searches`, searches, detail));
  }
  searches.forEach((search, index) => {
    // A trailing dot and single underscores are fine in a search path; "." alone is the root.
    const name = search.replace(/\.$/, '').replaceAll('_', 'a');
    if (search === '.') return;
    errors.push(...invalidFor(`${at}.searches[${index}]`, search, dnsSubdomain(name)));
  });
  (dnsConfig?.options ?? []).forEach(({ name }, index) => {
    if (!name) errors.push(required(`${at}.options[${index}]`, 'must not be empty'));
  });
  return errors;
}

function validateScheduling(spec: k.PodSpec, field: string): FieldError[] {
  const errors = validateLabels(spec.nodeSelector, `${field}.nodeSelector`);
  (spec.tolerations ?? []).forEach((toleration, index) =>
    errors.push(...validateToleration(toleration, `${field}.tolerations[${index}]`)),
  );
  (spec.readinessGates ?? []).forEach(({ conditionType }, index) => {
    const at = `${field}.readinessGates[${index}].conditionType`;
    errors.push(...invalidFor(at, conditionType, qualifiedName(conditionType ?? '')));
  });
  return errors;
}

function validateToleration(toleration: k.Toleration, field: string): FieldError[] {
  const { key = '', operator, value = '', effect, tolerationSeconds } = toleration;
  const errors = key === '' ? [] : invalidFor(`${field}.key`, key, qualifiedName(key));
  if (key === '' && operator !== 'Exists') {
    const detail =
      'operator must be Exists when `key` is empty, which means "match all values and all keys"';
    errors.push(invalidValue(`${field}.operator`, operator ?? '', detail));
  }
  if (tolerationSeconds !== undefined && effect !== 'NoExecute') {
    const detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
    errors.push(invalidValue(`${field}.effect`, effect ?? '', detail));
  }
  if (operator === undefined || operator === 'Equal') {
    errors.push(...invalidFor(`${field}.operator`, value, labelValue(value)));
  } else if (operator === 'Exists') {
    if (value !== '') {
      const detail = "value must be empty when `operator` is 'Exists'";
      errors.push(invalidValue(`${field}.operator`, toleration, detail));
    }
  } else {
    errors.push(notSupported(`${field}.operator`, operator, ['Equal', 'Exists']));
  }
  const effects = ['NoSchedule', 'PreferNoSchedule', 'NoExecute'];
  if (effect && !effects.includes(effect)) {
    errors.push(notSupported(`${field}.effect`, effect, effects));
  }
  return errors;
}

function validateHostAliases({ hostAliases = [] }: k.PodSpec, field: string): FieldError[] {
  return hostAliases.flatMap(({ ip, hostnames = [] }, index) => [
    ...invalidFor(`${field}.hostAliases[${index}].ip`, ip, ipAddress(ip ?? '')),
    ...hostnames.flatMap((name) =>
      invalidFor(`${field}.hostAliases[${index}].hostnames`, name, dnsSubdomain(name)),
    ),
  ]);
}

// ---- update

const mutable =
  'pod updates may not change fields other than `spec.containers[*].image`,' +
  '`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only ' +
  'additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set ' +
  'to 1 if it was previously negative)';

/** Almost all of a pod's spec is fixed once it exists. */
export function validatePodUpdate(pod: k.Pod, old: k.Pod): FieldError[] {
  for (const list of ['initContainers', 'containers'] as const) {
    if ((pod.spec[list]?.length ?? 0) !== (old.spec[list]?.length ?? 0)) {
      return [forbidden(`spec.${list}`, 'pod updates may not add or remove containers')];
    }
  }
  const errors: FieldError[] = [];
  const deadline = pod.spec.activeDeadlineSeconds;
  const oldDeadline = old.spec.activeDeadlineSeconds;
  if (oldDeadline !== undefined && (deadline === undefined || deadline > oldDeadline)) {
    const detail =
      deadline === undefined
        ? 'must not update from a positive integer to nil value'
        : `must be less than or equal to previous value`;
    errors.push(invalidValue('spec.activeDeadlineSeconds', deadline, detail));
  }
  const changed = changedFields(comparable(pod.spec), comparable(old.spec));
  const kept = (old.spec.tolerations ?? []).every((toleration) =>
    (pod.spec.tolerations ?? []).some((each) => isDeepStrictEqual(each, toleration)),
  );
  if (!kept) changed.push('tolerations');
  if (changed.length > 0) {
    const list = changed.map((name) => `\`spec.${name}\``).join(', ');
    errors.push(forbidden('spec', `${mutable}\nchanged: ${list}`));
  }
  return errors;
}

function changedFields(a: Record<string, unknown>, b: Record<string, unknown>): string[] {
  const names = [...new Set([...Object.keys(a), ...Object.keys(b)])];
  return names.filter((name) => !isDeepStrictEqual(a[name], b[name]));
}

/** The spec without what may change. */
function comparable(spec: k.PodSpec): Record<string, unknown> {
  const strip = (containers: k.Container[] = []) =>
    containers.map(({ image: _image, ...rest }) => rest);
  const { activeDeadlineSeconds: _deadline, tolerations: _tolerations, ...rest } = spec;
  return {
    ...rest,
    containers: strip(spec.containers),
    initContainers: strip(spec.initContainers),
  };
}
