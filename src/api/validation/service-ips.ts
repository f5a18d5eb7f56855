/** A Service's clusterIP, clusterIPs, ipFamilies and ipFamilyPolicy (A131 rows 17-18, 21-34). */
import { familyOf, type IpFamily } from '../../lib/ip.ts';
import type { ServiceSpec } from '../types.ts';
import {
  duplicate,
  forbidden,
  invalidFor,
  invalidValue,
  notSupported,
  type FieldError,
} from './errors.ts';
import { ipAddress } from './formats.ts';

const familyNames: Record<IpFamily, 'IPv4' | 'IPv6'> = { ipv4: 'IPv4', ipv6: 'IPv6' };
const familyPolicies = ['PreferDualStack', 'RequireDualStack', 'SingleStack'];

/** What can be said of the addresses without knowing the cluster's ranges. */
export function validateServiceIps(spec: ServiceSpec): FieldError[] {
  if (spec.type === 'ExternalName') return externalNameFields(spec);
  return [
    ...headlessTypes(spec),
    ...validateFamilies(spec),
    ...validateClusterIps(spec),
    ...validatePolicy(spec),
  ];
}

function externalNameFields(spec: ServiceSpec): FieldError[] {
  const detail = 'may not be set for ExternalName services';
  const errors: FieldError[] = [];
  if (spec.clusterIP || spec.clusterIPs?.length) errors.push(forbidden('spec.clusterIPs', detail));
  if (spec.ipFamilies?.length) errors.push(forbidden('spec.ipFamilies', detail));
  if (spec.ipFamilyPolicy) errors.push(forbidden('spec.ipFamilyPolicy', detail));
  return errors;
}

function headlessTypes({ type, clusterIP, clusterIPs }: ServiceSpec): FieldError[] {
  const isHeadless = (clusterIPs?.[0] ?? clusterIP) === 'None';
  if (!isHeadless || (type !== 'LoadBalancer' && type !== 'NodePort')) return [];
  const detail = `may not be set to 'None' for ${type} services`;
  return [invalidValue('spec.clusterIPs[0]', 'None', detail)];
}

function validateFamilies({ ipFamilies = [] }: ServiceSpec): FieldError[] {
  return ipFamilies.flatMap((family, index) => {
    const field = `spec.ipFamilies[${index}]`;
    if (family !== 'IPv4' && family !== 'IPv6') {
      return [notSupported(field, family, ['IPv4', 'IPv6'])];
    }
    return ipFamilies.indexOf(family) < index ? [duplicate(field, family)] : [];
  });
}

function validateClusterIps(spec: ServiceSpec): FieldError[] {
  const { clusterIP = '', clusterIPs = [] } = spec;
  const field = 'spec.clusterIPs';
  if (clusterIP === '' && clusterIPs.length > 0) {
    const detail = 'must be empty when `clusterIP` is not specified';
    return [invalidValue(field, clusterIPs, detail)];
  }
  const ips = clusterIPs.length > 0 ? clusterIPs : clusterIP === '' ? [] : [clusterIP];
  const errors: FieldError[] = [];
  if (clusterIPs.length > 0 && clusterIPs[0] !== clusterIP) {
    errors.push(invalidValue(field, clusterIPs, 'first value must match `clusterIP`'));
  }
  if (ips.length > 1 && ips.includes('None')) {
    errors.push(invalidValue(field, clusterIPs, "'None' must be the first and only value"));
    return errors;
  }
  if (ips[0] === 'None') return errors;
  errors.push(...ips.flatMap((ip, index) => validateClusterIp(spec, ip, index)));
  if (ips.length > 2) {
    errors.push(invalidValue(field, clusterIPs, 'may only hold up to 2 values'));
  }
  const families = ips.map(familyOf);
  if (ips.length === 2 && families[0] !== undefined && families[0] === families[1]) {
    const detail = 'may specify no more than one IP for each IP family';
    errors.push(invalidValue(field, clusterIPs, detail));
  }
  return errors;
}

function validateClusterIp(spec: ServiceSpec, ip: string, index: number): FieldError[] {
  const field = `spec.clusterIPs[${index}]`;
  const wrong = ipAddress(ip);
  if (wrong.length > 0) return invalidFor(field, ip, wrong);
  const want = spec.ipFamilies?.[index];
  const found = familyNames[familyOf(ip)!];
  if (want === undefined || want === found) return [];
  const detail = `expected an ${want} value as indicated by \`ipFamilies[${index}]\``;
  return [invalidValue(field, ip, detail)];
}

function validatePolicy({ ipFamilyPolicy, clusterIPs, ipFamilies }: ServiceSpec): FieldError[] {
  if (ipFamilyPolicy === undefined) return [];
  const field = 'spec.ipFamilyPolicy';
  if (!familyPolicies.includes(ipFamilyPolicy)) {
    return [notSupported(field, ipFamilyPolicy, familyPolicies)];
  }
  const isSeveral = (clusterIPs?.length ?? 0) > 1 || (ipFamilies?.length ?? 0) > 1;
  if (ipFamilyPolicy !== 'SingleStack' || !isSeveral) return [];
  const what = (clusterIPs?.length ?? 0) > 1 ? 'clusterIPs' : 'ipFamilies';
  const detail =
    "must be 'RequireDualStack' or 'PreferDualStack' when multiple `" + what + '` are specified';
  return [invalidValue(field, ipFamilyPolicy, detail)];
}
