/** What a Service may not change once it has it (A131 rows 35-37, 42, 46). */
import type { Service } from '../types.ts';
import { forbidden, invalidValue, type FieldError } from './errors.ts';

/** The faults of the change alone; the new object is validated as a whole elsewhere. */
export function validateServiceUpdate(service: Service, old: Service): FieldError[] {
  return [
    ...primaryIp(service, old),
    ...secondaryIp(service, old),
    ...healthCheckPort(service, old),
    ...loadBalancerClass(service, old),
  ];
}

function isExternalName({ spec }: Service): boolean {
  return spec.type === 'ExternalName';
}

function primaryIp(service: Service, old: Service): FieldError[] {
  if (isExternalName(service) || isExternalName(old)) return [];
  const errors: FieldError[] = [];
  const was = old.spec.clusterIPs?.[0] ?? old.spec.clusterIP;
  const is = service.spec.clusterIPs?.[0] ?? service.spec.clusterIP;
  if (was && !is) {
    const detail = 'primary clusterIP can not be unset';
    errors.push(invalidValue('spec.clusterIPs[0]', is ?? '', detail));
  } else if (was && is !== was) {
    const list = service.spec.clusterIPs ?? [is];
    errors.push(invalidValue('spec.clusterIPs[0]', list, 'may not change once set'));
  }
  const family = old.spec.ipFamilies?.[0];
  const now = service.spec.ipFamilies?.[0];
  if (family !== undefined && now !== undefined && now !== family) {
    errors.push(invalidValue('spec.ipFamilies[0]', now, 'may not change once set'));
  }
  return errors;
}

function secondaryIp(service: Service, old: Service): FieldError[] {
  if (isExternalName(service) || isExternalName(old)) return [];
  const { ipFamilyPolicy, clusterIPs = [], ipFamilies = [] } = service.spec;
  if (ipFamilyPolicy === 'SingleStack') return [];
  const lost = (what: string) =>
    invalidValue(
      'spec.ipFamilyPolicy',
      ipFamilyPolicy,
      `must be 'SingleStack' to release the secondary ${what}`,
    );
  if ((old.spec.clusterIPs?.length ?? 0) === 2 && clusterIPs.length === 1) {
    return [lost('cluster IP')];
  }
  if ((old.spec.ipFamilies?.length ?? 0) === 2 && ipFamilies.length === 1) {
    return [lost('IP family')];
  }
  return [];
}

function healthCheckPort(service: Service, old: Service): FieldError[] {
  const uses = ({ spec }: Service) =>
    spec.type === 'LoadBalancer' && spec.externalTrafficPolicy === 'Local';
  if (!uses(service) || !uses(old) || !old.spec.healthCheckNodePort) return [];
  if (service.spec.healthCheckNodePort === old.spec.healthCheckNodePort) return [];
  return [forbidden('spec.healthCheckNodePort', 'field is immutable')];
}

function loadBalancerClass(service: Service, old: Service): FieldError[] {
  if (service.spec.type !== 'LoadBalancer' || old.spec.type !== 'LoadBalancer') return [];
  if (service.spec.loadBalancerClass === old.spec.loadBalancerClass) return [];
  const value = service.spec.loadBalancerClass;
  return [invalidValue('spec.loadBalancerClass', value, 'may not change once set')];
}
