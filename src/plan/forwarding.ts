/** All Services and slices to the ForwardingPlan of one node. */
import type { EndpointSlice, Service } from '../api/types.ts';
import { ClaimTable } from './claims.ts';
import { planService, SERVICE_NAME_LABEL, type PlanContext } from './service.ts';
import type { ForwardingPlan, HealthCheckPlan, PortPlan, ServicePlan } from './types.ts';

export type PlanInput = PlanContext & {
  readonly services: readonly Service[];
  readonly slices: readonly EndpointSlice[];
};

/** Plans a node from nothing. Equal objects in any order give an equal plan (P17). */
export function planForwarding(input: PlanInput): ForwardingPlan {
  const slicesOf = Map.groupBy(input.slices, (slice) => serviceKeyOf(slice) ?? '');
  const plans = input.services
    .map((service) => {
      const { namespace = '', name } = service.metadata;
      return planService(service, slicesOf.get(`${namespace}/${name}`) ?? [], input);
    })
    .filter((plan) => plan !== undefined);
  return mergePlans(plans, input);
}

/** Joins the plans of single Services. */
export function mergePlans(plans: readonly ServicePlan[], context: PlanContext): ForwardingPlan {
  const claims = new ClaimTable();
  const ports = new Map<string, PortPlan>();
  const clusterIPs = new Set<string>();
  const healthChecks = new Map<string, HealthCheckPlan>();
  for (const plan of plans) {
    claims.set(plan.service, plan);
    for (const port of plan.ports) ports.set(port.id, port);
    for (const address of plan.clusterIPs) clusterIPs.add(address);
    if (plan.healthCheck) healthChecks.set(plan.service, plan.healthCheck);
  }
  return {
    node: context.node,
    options: context.options,
    ports,
    frontends: claims.frontends(),
    clusterIPs,
    healthChecks,
    clashes: claims.clashes(),
  };
}

/** `namespace/name` of the Service a slice belongs to; undefined for one that is half formed (P8). */
export function serviceKeyOf(slice: EndpointSlice): string | undefined {
  const { namespace, name, labels } = slice.metadata;
  const service = labels?.[SERVICE_NAME_LABEL];
  return service && namespace && name ? `${namespace}/${service}` : undefined;
}
