/**
 * What a Service write means for the fields the server allocates, before anything is allocated:
 * values kept from the old object (A128), clusterIP and clusterIPs kept equal (A129), families and
 * their policy worked out (A130). All of it changes `next` in place.
 */
import { isDeepStrictEqual } from 'node:util';

import type { Service, ServiceSpec } from '../../api/types.ts';
import type { FieldError } from '../../api/validation/index.ts';
import { familyOf } from '../../lib/ip.ts';

export type IpFamilyName = 'IPv4' | 'IPv6';

export function needsClusterIp(spec: ServiceSpec): boolean {
  return spec.type !== 'ExternalName';
}

export function needsNodePorts(spec: ServiceSpec): boolean {
  return spec.type === 'NodePort' || spec.type === 'LoadBalancer';
}

export function needsHealthCheckNodePort(spec: ServiceSpec): boolean {
  return spec.type === 'LoadBalancer' && spec.externalTrafficPolicy === 'Local';
}

export function isHeadless(spec: ServiceSpec): boolean {
  return spec.clusterIP === 'None' || spec.clusterIPs?.[0] === 'None';
}

function isExternallyReachable(spec: ServiceSpec): boolean {
  if (needsNodePorts(spec)) return true;
  return spec.type === 'ClusterIP' && (spec.externalIPs?.length ?? 0) > 0;
}

function hasSelector(spec: ServiceSpec): boolean {
  return Object.keys(spec.selector ?? {}).length > 0;
}

/** Keeps allocated values a client left out, so that the YAML first applied can be applied again. */
export function keepAllocated(next: ServiceSpec, old: ServiceSpec): void {
  if (needsClusterIp(old) && needsClusterIp(next)) {
    const unset = !next.clusterIP && (next.clusterIPs?.length ?? 0) === 0;
    if (unset && old.clusterIP) {
      next.clusterIP = old.clusterIP;
      if (old.clusterIPs !== undefined) next.clusterIPs = [...old.clusterIPs];
    }
  }
  if (needsNodePorts(old) && needsNodePorts(next)) keepNodePorts(next, old);
  if (needsHealthCheckNodePort(old) && needsHealthCheckNodePort(next)) {
    if (!next.healthCheckNodePort && old.healthCheckNodePort) {
      next.healthCheckNodePort = old.healthCheckNodePort;
    }
  }
}

function keepNodePorts(next: ServiceSpec, old: ServiceSpec): void {
  const oldPorts = old.ports ?? [];
  // Only what the client itself chose is taken: TCP and UDP of the old Service may share a number.
  const chosen = new Set((next.ports ?? []).map((port) => port.nodePort));
  for (const port of next.ports ?? []) {
    if (port.nodePort) continue;
    const was = oldPorts.find((p) => (p.name ?? '') === (port.name ?? ''))?.nodePort;
    if (was && !chosen.has(was)) port.nodePort = was;
  }
}

/** Clears what the new type no longer has, where the user left it as it was. */
export function dropForeignFields(next: Service, old: Service): void {
  const { spec } = next;
  const was = old.spec;
  const clear = (fields: readonly (keyof ServiceSpec)[]) => {
    for (const field of fields) {
      if (isDeepStrictEqual(spec[field], was[field])) delete spec[field];
    }
  };
  if (needsClusterIp(was) && !needsClusterIp(spec)) {
    clear(['clusterIP', 'clusterIPs', 'ipFamilies', 'ipFamilyPolicy', 'internalTrafficPolicy']);
  }
  if (needsNodePorts(was) && !needsNodePorts(spec)) clearNodePorts(spec, was);
  if (needsHealthCheckNodePort(was) && !needsHealthCheckNodePort(spec)) {
    clear(['healthCheckNodePort']);
  }
  if (isExternallyReachable(was) && !isExternallyReachable(spec)) clear(['externalTrafficPolicy']);
  if (was.type === 'LoadBalancer' && spec.type !== 'LoadBalancer') {
    clear(['loadBalancerClass', 'allocateLoadBalancerNodePorts']);
    if (next.status !== undefined) next.status = { ...next.status, loadBalancer: {} };
  }
}

function clearNodePorts(spec: ServiceSpec, was: ServiceSpec): void {
  const numbers = new Set((was.ports ?? []).map((port) => port.nodePort));
  for (const port of spec.ports ?? []) {
    if (numbers.has(port.nodePort)) delete port.nodePort;
  }
}

/** The plural field follows the singular one when a client changed only that. */
export function syncClusterIps(next: ServiceSpec, old: ServiceSpec | undefined): void {
  const plural = next.clusterIPs ?? [];
  if (old === undefined) {
    if (next.clusterIP && plural.length === 0) next.clusterIPs = [next.clusterIP];
    return;
  }
  const oldPlural = old.clusterIPs ?? [];
  if (plural.length === 0 && next.clusterIP && next.clusterIP === old.clusterIP) {
    next.clusterIPs = [...oldPlural];
    return;
  }
  if ((next.clusterIP ?? '') === (old.clusterIP ?? '')) return;
  if (!isDeepStrictEqual(plural, oldPlural)) return;
  if (next.clusterIP) next.clusterIPs = [next.clusterIP];
  else delete next.clusterIPs;
}

/** Fills ipFamilies and ipFamilyPolicy; `configured` holds the cluster's families, default first. */
export function initFamilies(
  next: ServiceSpec,
  old: ServiceSpec | undefined,
  configured: readonly IpFamilyName[],
): FieldError[] {
  if (!needsClusterIp(next)) return [];
  const free = isHeadless(next) && !hasSelector(next);
  if (next.ipFamilyPolicy === undefined) {
    next.ipFamilyPolicy =
      old?.ipFamilyPolicy ?? (free && old === undefined ? 'RequireDualStack' : 'SingleStack');
  }
  if (old !== undefined) dropSecondary(next, old);
  const families = [...(next.ipFamilies ?? [])];
  for (const [index, address] of (next.clusterIPs ?? []).entries()) {
    const family = familyOf(address);
    if (families[index] === undefined && family !== undefined) families[index] = nameOf(family);
  }
  if (families.length === 0) families.push(configured[0]!);
  const errors = free ? [] : refuseFamilies(next, families, configured);
  const dual = next.ipFamilyPolicy !== 'SingleStack' && (free || configured.length > 1);
  const unchanged =
    old !== undefined &&
    next.ipFamilyPolicy === 'PreferDualStack' &&
    isDeepStrictEqual(familyFields(next), familyFields(old));
  if (dual && families.length === 1 && !unchanged) {
    families.push(families[0] === 'IPv4' ? 'IPv6' : 'IPv4');
  }
  next.ipFamilies = families;
  return errors;
}

/** A downgrade to SingleStack that touches nothing else gives the secondary address back. */
function dropSecondary(next: ServiceSpec, old: ServiceSpec): void {
  if (next.ipFamilyPolicy !== 'SingleStack' || old.ipFamilyPolicy === 'SingleStack') return;
  if (next.ipFamilies?.length === 2 && isDeepStrictEqual(next.ipFamilies, old.ipFamilies)) {
    next.ipFamilies = next.ipFamilies.slice(0, 1);
  }
  if (next.clusterIPs?.length === 2 && isDeepStrictEqual(next.clusterIPs, old.clusterIPs)) {
    next.clusterIPs = next.clusterIPs.slice(0, 1);
  }
}

function refuseFamilies(
  spec: ServiceSpec,
  families: readonly IpFamilyName[],
  configured: readonly IpFamilyName[],
): FieldError[] {
  const errors: FieldError[] = [];
  for (const [index, family] of families.entries()) {
    if (family !== 'IPv4' && family !== 'IPv6') continue;
    if (configured.includes(family)) continue;
    errors.push({
      type: 'Invalid',
      field: `spec.ipFamilies[${index}]`,
      value: family,
      detail: 'not configured on this cluster',
    });
  }
  if (spec.ipFamilyPolicy === 'RequireDualStack' && configured.length < 2) {
    errors.push({
      type: 'Invalid',
      field: 'spec.ipFamilyPolicy',
      value: spec.ipFamilyPolicy,
      detail: 'this cluster is not configured for dual-stack services',
    });
  }
  return errors;
}

function familyFields(spec: ServiceSpec): unknown[] {
  return [spec.type, spec.clusterIPs, spec.ipFamilies, spec.ipFamilyPolicy];
}

function nameOf(family: 'ipv4' | 'ipv6'): IpFamilyName {
  return family === 'ipv4' ? 'IPv4' : 'IPv6';
}
