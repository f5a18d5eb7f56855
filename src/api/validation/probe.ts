/** Probes and lifecycle hooks of a container. */
import type * as k from '../types.ts';
import {
  forbidden,
  invalidFor,
  invalidValue,
  notSupported,
  required,
  type FieldError,
} from './errors.ts';
import { portName, portNumber } from './formats.ts';

const probeNames = ['livenessProbe', 'readinessProbe', 'startupProbe'] as const;
const onlyForSidecars = 'may not be set for init containers without restartPolicy=Always';

export function validateProbes(
  container: k.Container,
  field: string,
  isInit: boolean,
): FieldError[] {
  return probeNames.flatMap((name) => {
    const probe = container[name];
    if (probe === undefined) return [];
    const at = `${field}.${name}`;
    if (isInit && container.restartPolicy !== 'Always') return [forbidden(at, onlyForSidecars)];
    const errors = validateProbe(probe, at);
    if (name !== 'readinessProbe' && (probe.successThreshold ?? 1) !== 1) {
      errors.push(invalidValue(`${at}.successThreshold`, probe.successThreshold, 'must be 1'));
    }
    if (name === 'readinessProbe' && probe.terminationGracePeriodSeconds !== undefined) {
      const detail = 'must not be set for readinessProbes';
      const value = probe.terminationGracePeriodSeconds;
      errors.push(invalidValue(`${at}.terminationGracePeriodSeconds`, value, detail));
    }
    return errors;
  });
}

const times = [
  'initialDelaySeconds',
  'timeoutSeconds',
  'periodSeconds',
  'successThreshold',
  'failureThreshold',
] as const;

function validateProbe(probe: k.Probe, field: string): FieldError[] {
  const errors = validateHandler(probe, field);
  for (const name of times) {
    const value = probe[name];
    if (value === undefined || value >= 0) continue;
    errors.push(invalidValue(`${field}.${name}`, value, 'must be greater than or equal to 0'));
  }
  const grace = probe.terminationGracePeriodSeconds;
  if (grace !== undefined && grace <= 0) {
    const detail = 'must be greater than 0';
    errors.push(invalidValue(`${field}.terminationGracePeriodSeconds`, grace, detail));
  }
  return errors;
}

export function validateLifecycle(
  { lifecycle, restartPolicy }: k.Container,
  field: string,
  isInit: boolean,
): FieldError[] {
  if (lifecycle === undefined) return [];
  if (isInit && restartPolicy !== 'Always') {
    return [forbidden(`${field}.lifecycle`, onlyForSidecars)];
  }
  return (['postStart', 'preStop'] as const).flatMap((name) => {
    const handler = lifecycle[name];
    return handler === undefined ? [] : validateHandler(handler, `${field}.lifecycle.${name}`);
  });
}

type Handler = k.LifecycleHandler & Pick<k.Probe, 'grpc'>;

function validateHandler(handler: Handler, field: string): FieldError[] {
  const { exec, httpGet, tcpSocket, grpc, sleep } = handler;
  const given = Object.entries({ exec, httpGet, tcpSocket, grpc, sleep }).filter(
    ([, value]) => value !== undefined,
  );
  if (given.length === 0) return [required(field, 'must specify a handler type')];
  const errors = given
    .slice(1)
    .map(([name]) => forbidden(`${field}.${name}`, 'may not specify more than 1 handler type'));
  if (exec !== undefined && (exec.command?.length ?? 0) === 0) {
    errors.push(required(`${field}.exec.command`));
  }
  if (httpGet !== undefined) errors.push(...validateHttpGet(httpGet, `${field}.httpGet`));
  if (tcpSocket !== undefined) {
    errors.push(...validatePort(tcpSocket.port, `${field}.tcpSocket.port`));
  }
  if (grpc !== undefined) errors.push(...validatePort(grpc.port, `${field}.grpc.port`));
  return errors;
}

function validateHttpGet(action: k.HttpGetAction, field: string): FieldError[] {
  const errors = action.path ? [] : [required(`${field}.path`)];
  errors.push(...validatePort(action.port, `${field}.port`));
  const schemes = ['HTTP', 'HTTPS'];
  if (!schemes.includes(action.scheme ?? '')) {
    errors.push(notSupported(`${field}.scheme`, action.scheme ?? '', schemes));
  }
  (action.httpHeaders ?? []).forEach(({ name }, index) => {
    if (/^[-A-Za-z0-9]+$/.test(name ?? '')) return;
    const detail =
      "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. " +
      "'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')";
    errors.push(invalidValue(`${field}.httpHeaders[${index}].name`, name, detail));
  });
  return errors;
}

function validatePort(port: number | string | undefined, field: string): FieldError[] {
  const value = port ?? 0;
  const wrong = typeof value === 'number' ? portNumber(value) : portName(value);
  return invalidFor(field, value, wrong);
}
