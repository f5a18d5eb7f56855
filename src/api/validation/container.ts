/** Containers: names, ports, environment, mounts, probes, resources. */
import { canonicalQuantity, quantityNanos } from '../quantity.ts';
import type * as k from '../types.ts';
import {
  duplicate,
  forbidden,
  invalidFor,
  invalidValue,
  notFound,
  notSupported,
  required,
  type FieldError,
} from './errors.ts';
import {
  configKey,
  dnsLabel,
  dnsSubdomain,
  envName,
  ipAddress,
  portName,
  portNumber,
  qualifiedName,
} from './formats.ts';
import { validateProbes, validateLifecycle } from './probe.ts';

const protocols = ['SCTP', 'TCP', 'UDP'];

export type ContainerContext = {
  /** Names of the pod's volumes. */
  readonly volumes: ReadonlySet<string>;
  /** `init` containers have no probes unless they restart. */
  readonly isInit: boolean;
};

/** Every fault of one container at `field`. */
export function validateContainer(
  container: k.Container,
  field: string,
  context: ContainerContext,
): FieldError[] {
  return [
    ...validateNameAndImage(container, field),
    ...validatePorts(container.ports ?? [], `${field}.ports`),
    ...validateEnv(container.env ?? [], `${field}.env`),
    ...validateEnvFrom(container.envFrom ?? [], `${field}.envFrom`),
    ...validateMounts(container.volumeMounts ?? [], `${field}.volumeMounts`, context.volumes),
    ...validateResources(container, `${field}.resources`),
    ...validateProbes(container, field, context.isInit),
    ...validateLifecycle(container, field, context.isInit),
    ...validatePolicies(container, field, context.isInit),
  ];
}

function validateNameAndImage({ name, image }: k.Container, field: string): FieldError[] {
  const errors: FieldError[] = [];
  if (!name) errors.push(required(`${field}.name`));
  else errors.push(...invalidFor(`${field}.name`, name, dnsLabel(name)));
  if (!image) return errors;
  if (image.trim() !== image) {
    const detail = 'must not have leading or trailing whitespace';
    errors.push(invalidValue(`${field}.image`, image, detail));
  }
  return errors;
}

function validatePolicies(container: k.Container, field: string, isInit: boolean): FieldError[] {
  const errors: FieldError[] = [];
  const pull = container.imagePullPolicy;
  const pulls = ['Always', 'IfNotPresent', 'Never'];
  if (pull === undefined) errors.push(required(`${field}.imagePullPolicy`));
  else if (!pulls.includes(pull)) {
    errors.push(notSupported(`${field}.imagePullPolicy`, pull, pulls));
  }
  const message = container.terminationMessagePolicy;
  const messages = ['FallbackToLogsOnError', 'File'];
  if (message !== undefined && !messages.includes(message)) {
    errors.push(notSupported(`${field}.terminationMessagePolicy`, message, messages));
  }
  if (container.restartPolicy === undefined) return errors;
  if (!isInit) {
    const detail = 'may not be set for non-init containers';
    errors.push(forbidden(`${field}.restartPolicy`, detail));
  } else if (container.restartPolicy !== 'Always') {
    errors.push(notSupported(`${field}.restartPolicy`, container.restartPolicy, ['Always']));
  }
  return errors;
}

// ---- ports

function validatePorts(ports: readonly k.ContainerPort[], field: string): FieldError[] {
  const names = new Set<string>();
  return ports.flatMap((port, index) => {
    const at = `${field}[${index}]`;
    const errors: FieldError[] = [];
    if (port.name) {
      errors.push(...invalidFor(`${at}.name`, port.name, portName(port.name)));
      if (names.has(port.name)) errors.push(duplicate(`${at}.name`, port.name));
      names.add(port.name);
    }
    if (!port.containerPort) errors.push(required(`${at}.containerPort`));
    else {
      const wrong = portNumber(port.containerPort);
      errors.push(...invalidFor(`${at}.containerPort`, port.containerPort, wrong));
    }
    if (port.hostPort) {
      errors.push(...invalidFor(`${at}.hostPort`, port.hostPort, portNumber(port.hostPort)));
    }
    if (port.hostIP)
      errors.push(...invalidFor(`${at}.hostIP`, port.hostIP, ipAddress(port.hostIP)));
    if (!port.protocol) errors.push(required(`${at}.protocol`));
    else if (!protocols.includes(port.protocol)) {
      errors.push(notSupported(`${at}.protocol`, port.protocol, protocols));
    }
    return errors;
  });
}

// ---- environment

function validateEnv(env: readonly k.EnvVar[], field: string): FieldError[] {
  return env.flatMap((variable, index) => {
    const at = `${field}[${index}]`;
    const errors = variable.name
      ? invalidFor(`${at}.name`, variable.name, envName(variable.name))
      : [required(`${at}.name`)];
    return [...errors, ...validateValueFrom(variable, `${at}.valueFrom`)];
  });
}

const downwardFields = [
  'metadata.name',
  'metadata.namespace',
  'metadata.uid',
  'spec.nodeName',
  'spec.serviceAccountName',
  'status.hostIP',
  'status.hostIPs',
  'status.podIP',
  'status.podIPs',
];

function validateValueFrom({ value, valueFrom }: k.EnvVar, field: string): FieldError[] {
  if (valueFrom === undefined) return [];
  const { fieldRef, resourceFieldRef, configMapKeyRef, secretKeyRef } = valueFrom;
  const sources = Object.values(valueFrom).filter((source) => source !== undefined);
  const errors: FieldError[] = [];
  if (sources.length === 0) {
    const detail =
      'must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`';
    errors.push(invalidValue(field, '', detail));
  } else if (value) {
    errors.push(invalidValue(field, '', 'may not be specified when `value` is not empty'));
  } else if (sources.length > 1) {
    const detail = 'may not have more than one field specified at a time';
    errors.push(invalidValue(field, '', detail));
  }
  if (fieldRef !== undefined) errors.push(...validateFieldRef(fieldRef, `${field}.fieldRef`));
  if (resourceFieldRef !== undefined && !resourceFieldRef.resource) {
    errors.push(required(`${field}.resourceFieldRef.resource`));
  }
  for (const [name, ref] of Object.entries({ configMapKeyRef, secretKeyRef })) {
    if (ref === undefined) continue;
    if (!ref.name) errors.push(required(`${field}.${name}.name`));
    if (!ref.key) errors.push(required(`${field}.${name}.key`));
    else errors.push(...invalidFor(`${field}.${name}.key`, ref.key, configKey(ref.key)));
  }
  return errors;
}

function validateFieldRef({ fieldPath }: { fieldPath: string }, field: string): FieldError[] {
  if (!fieldPath) return [required(`${field}.fieldPath`)];
  if (/^metadata\.(labels|annotations)\['[^']+'\]$/.test(fieldPath)) return [];
  if (downwardFields.includes(fieldPath)) return [];
  return [notSupported(`${field}.fieldPath`, fieldPath, downwardFields)];
}

function validateEnvFrom(sources: readonly k.EnvFromSource[], field: string): FieldError[] {
  return sources.flatMap(({ prefix, configMapRef, secretRef }, index) => {
    const at = `${field}[${index}]`;
    const errors = prefix ? invalidFor(`${at}.prefix`, prefix, envName(prefix)) : [];
    for (const [name, ref] of Object.entries({ configMapRef, secretRef })) {
      if (ref !== undefined && !ref.name) errors.push(required(`${at}.${name}.name`));
      else if (ref !== undefined) {
        errors.push(...invalidFor(`${at}.${name}.name`, ref.name, dnsSubdomain(ref.name)));
      }
    }
    const count = [configMapRef, secretRef].filter((ref) => ref !== undefined).length;
    if (count === 0) {
      const detail = 'must specify one of: `configMapRef` or `secretRef`';
      errors.push(invalidValue(at, '', detail));
    } else if (count > 1) {
      const detail = 'may not have more than one field specified at a time';
      errors.push(invalidValue(at, '', detail));
    }
    return errors;
  });
}

function validateMounts(
  mounts: readonly k.VolumeMount[],
  field: string,
  volumes: ReadonlySet<string>,
): FieldError[] {
  const paths = new Set<string>();
  return mounts.flatMap(({ name, mountPath, subPath = '' }, index) => {
    const at = `${field}[${index}]`;
    const errors: FieldError[] = [];
    if (!name) errors.push(required(`${at}.name`));
    else if (!volumes.has(name)) errors.push(notFound(`${at}.name`, name));
    if (!mountPath) errors.push(required(`${at}.mountPath`));
    else if (paths.has(mountPath)) {
      errors.push(invalidValue(`${at}.mountPath`, mountPath, 'must be unique'));
    }
    paths.add(mountPath);
    if (subPath.startsWith('/')) {
      errors.push(invalidValue(`${at}.subPath`, subPath, 'must be a relative path'));
    } else if (subPath.split('/').includes('..')) {
      errors.push(invalidValue(`${at}.subPath`, subPath, "must not contain '..'"));
    }
    return errors;
  });
}

// ---- resources

const standardResources = new Set(['cpu', 'memory', 'ephemeral-storage']);

function validateResources({ resources }: k.Container, field: string): FieldError[] {
  const { limits = {}, requests = {} } = resources ?? {};
  const errors = [
    ...validateAmounts(limits, `${field}.limits`),
    ...validateAmounts(requests, `${field}.requests`),
  ];
  for (const [name, request] of Object.entries(requests)) {
    const limit = limits[name];
    if (limit === undefined || nanosOf(request) <= nanosOf(limit)) continue;
    const detail = `must be less than or equal to ${name} limit of ${limit}`;
    errors.push(invalidValue(`${field}.requests`, String(request), detail));
  }
  return errors;
}

function validateAmounts(amounts: Record<string, number | string>, field: string): FieldError[] {
  return Object.entries(amounts).flatMap(([name, amount]) => {
    const at = `${field}[${name}]`;
    const errors = invalidFor(at, name, qualifiedName(name));
    const isKnown = standardResources.has(name) || name.includes('/');
    if (errors.length === 0 && !isKnown && !name.startsWith('hugepages-')) {
      const detail = 'must be a standard resource type or fully qualified';
      errors.push(invalidValue(at, name, detail));
    }
    if (nanosOf(amount) < 0n) {
      const value = canonicalQuantity(String(amount));
      errors.push(invalidValue(at, value, 'must be greater than or equal to 0'));
    }
    return errors;
  });
}

function nanosOf(amount: number | string): bigint {
  return quantityNanos(String(amount)) ?? 0n;
}
