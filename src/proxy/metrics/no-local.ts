/**
 * Service ports whose policy is Local and that have endpoints, but none on this node (P140). One
 * without any endpoint does not count.
 */
import type { IpFamily } from '../../lib/ip.ts';
import type { PortPlan, ServicePlan } from '../../plan/types.ts';

export const TRAFFIC_POLICIES = ['internal', 'external'] as const;
export type TrafficPolicy = (typeof TRAFFIC_POLICIES)[number];

type Key = `${TrafficPolicy} ${IpFamily}`;

export class NoLocalCount {
  readonly #counts = new Map<Key, number>();
  readonly #services = new Map<string, readonly Key[]>();

  /** Puts what a Service's plan says in the place of what its last one said. */
  set(service: string, plan: ServicePlan | undefined): void {
    const keys = plan?.ports.flatMap(keysOf) ?? [];
    const old = this.#services.get(service) ?? [];
    for (const key of old) this.#add(key, -1);
    for (const key of keys) this.#add(key, 1);
    if (keys.length > 0) this.#services.set(service, keys);
    else this.#services.delete(service);
  }

  get(policy: TrafficPolicy, family: IpFamily): number {
    return this.#counts.get(`${policy} ${family}`) ?? 0;
  }

  #add(key: Key, step: number): void {
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + step);
  }
}

function keysOf({ family, frontends, cluster, local }: PortPlan): Key[] {
  if (local.length > 0 || cluster.length === 0) return [];
  const isInternal = frontends.some(({ kind, pool }) => kind === 'clusterIP' && pool === 'local');
  const isExternal = frontends.some(({ pool }) => pool === 'bySource');
  return [
    ...(isInternal ? ([`internal ${family}`] as const) : []),
    ...(isExternal ? ([`external ${family}`] as const) : []),
  ];
}
