/** A pod's volumes. */
import type * as k from '../types.ts';
import {
  duplicate,
  forbidden,
  invalidFor,
  invalidValue,
  required,
  type FieldError,
} from './errors.ts';
import { configKey, dnsLabel } from './formats.ts';

export function validateVolumes(volumes: readonly k.Volume[], field: string): FieldError[] {
  const names = new Set<string>();
  return volumes.flatMap((volume, index) => {
    const at = `${field}[${index}]`;
    const errors = validateVolume(volume, at);
    if (!volume.name) errors.push(required(`${at}.name`));
    else errors.push(...invalidFor(`${at}.name`, volume.name, dnsLabel(volume.name)));
    if (volume.name && names.has(volume.name)) errors.push(duplicate(`${at}.name`, volume.name));
    names.add(volume.name);
    return errors;
  });
}

function validateVolume(volume: k.Volume, field: string): FieldError[] {
  const { configMap, secret, hostPath, downwardAPI, projected } = volume;
  const sources = Object.keys(volume).filter((name) => name !== 'name');
  if (sources.length === 0) return [required(field, 'must specify a volume type')];
  const errors = sources
    .slice(1)
    .map((name) => forbidden(`${field}.${name}`, 'may not specify more than 1 volume type'));
  if (configMap !== undefined) {
    if (!configMap.name) errors.push(required(`${field}.configMap.name`));
    errors.push(...validateItems(configMap.items, `${field}.configMap.items`));
  }
  if (secret !== undefined) {
    if (!secret.secretName) errors.push(required(`${field}.secret.secretName`));
    errors.push(...validateItems(secret.items, `${field}.secret.items`));
  }
  if (hostPath !== undefined) errors.push(...validateHostPath(hostPath.path, `${field}.hostPath`));
  if (downwardAPI !== undefined) {
    errors.push(...validateDownward(downwardAPI.items, `${field}.downwardAPI.items`));
  }
  (projected?.sources ?? []).forEach((source, index) =>
    errors.push(...validateProjection(source, `${field}.projected.sources[${index}]`)),
  );
  return errors;
}

function validateHostPath(path: string, field: string): FieldError[] {
  if (!path) return [required(`${field}.path`)];
  if (!path.split('/').includes('..')) return [];
  return [invalidValue(`${field}.path`, path, "must not contain '..'")];
}

function validateProjection(source: k.VolumeProjection, field: string): FieldError[] {
  const { configMap, secret, downwardAPI, serviceAccountToken: token } = source;
  const errors: FieldError[] = [];
  for (const [name, ref] of Object.entries({ configMap, secret })) {
    if (ref === undefined) continue;
    if (!ref.name) errors.push(required(`${field}.${name}.name`));
    errors.push(...validateItems(ref.items, `${field}.${name}.items`));
  }
  if (downwardAPI !== undefined) {
    errors.push(...validateDownward(downwardAPI.items, `${field}.downwardAPI.items`));
  }
  if (token === undefined) return errors;
  const at = `${field}.serviceAccountToken`;
  if ((token.expirationSeconds ?? 3600) < 600) {
    const detail = 'may not specify a duration less than 10 minutes';
    errors.push(invalidValue(`${at}.expirationSeconds`, token.expirationSeconds, detail));
  }
  return [...errors, ...validatePath(token.path, `${at}.path`)];
}

function validateItems(items: readonly k.KeyToPath[] = [], field: string): FieldError[] {
  return items.flatMap(({ key, path, mode }, index) => {
    const at = `${field}[${index}]`;
    const errors = key ? invalidFor(`${at}.key`, key, configKey(key)) : [required(`${at}.key`)];
    errors.push(...validatePath(path, `${at}.path`));
    if (mode !== undefined && (mode < 0 || mode > 0o777)) {
      const detail = 'must be a number between 0 and 0777 (octal), both inclusive';
      errors.push(invalidValue(`${at}.mode`, mode, detail));
    }
    return errors;
  });
}

function validateDownward(items: readonly k.DownwardItem[] = [], field: string): FieldError[] {
  return items.flatMap(({ path, fieldRef, resourceFieldRef }, index) => {
    const at = `${field}[${index}]`;
    const errors = validatePath(path, `${at}.path`);
    if (fieldRef === undefined && resourceFieldRef === undefined) {
      errors.push(required(`${at}.fieldRef`, 'one of fieldRef and resourceFieldRef is required'));
    } else if (fieldRef !== undefined && resourceFieldRef !== undefined) {
      const detail = 'fieldRef and resourceFieldRef can not be specified simultaneously';
      errors.push(invalidValue(at, 'resource', detail));
    }
    return errors;
  });
}

/** A path below the volume's root. */
function validatePath(path: string | undefined, field: string): FieldError[] {
  if (!path) return [required(field)];
  if (path.startsWith('/')) return [invalidValue(field, path, 'must be a relative path')];
  if (path.split('/').includes('..')) return [invalidValue(field, path, "must not contain '..'")];
  if (path.startsWith('..')) return [invalidValue(field, path, "must not start with '..'")];
  return [];
}
