/**
 * Who answers on an address when several Services claim it (P40, P44, P46): a cluster IP before an
 * external address before a node port, then the older Service, then the first by name. Kept up to
 * date Service by Service, so that one change costs as much as the addresses it touches.
 */
import {
  frontendKey,
  type Clash,
  type FrontendKind,
  type PlannedFrontend,
  type ServicePlan,
} from './types.ts';

type Claim = {
  readonly service: string;
  readonly since: string;
  readonly frontend: PlannedFrontend;
};

/** Of one Service's own claims the filtered address comes before the open one. */
const KIND_RANK: Readonly<Record<FrontendKind, number>> = {
  clusterIP: 0,
  loadBalancerIP: 1,
  externalIP: 1,
  nodePort: 2,
};

export class ClaimTable {
  /** Claims on one address, best first; never empty. */
  readonly #claims = new Map<string, Claim[]>();
  /** The keys a Service claims. */
  readonly #keys = new Map<string, readonly string[]>();
  /** Addresses with more than one claim. */
  readonly #contested = new Set<string>();

  /** Replaces the claims of a Service; returns the keys whose winner may have changed. */
  set(service: string, plan: ServicePlan | undefined): string[] {
    const touched = new Set(this.#keys.get(service));
    for (const key of touched) this.#withdraw(key, service);
    const keys = new Set<string>();
    for (const port of plan?.ports ?? []) {
      for (const frontend of port.frontends) {
        const key = frontendKey(frontend);
        keys.add(key);
        touched.add(key);
        this.#enter(key, {
          service,
          since: plan?.since ?? '',
          frontend: { ...frontend, portId: port.id },
        });
      }
    }
    if (keys.size > 0) this.#keys.set(service, [...keys]);
    else this.#keys.delete(service);
    return [...touched];
  }

  /** The frontend that is served under this key. */
  winner(key: string): PlannedFrontend | undefined {
    return this.#claims.get(key)?.[0]?.frontend;
  }

  /** Every Service that claims the key, the one that is served first. */
  claimants(key: string): string[] {
    return [...new Set(this.#claims.get(key)?.map((claim) => claim.service))];
  }

  /** Every frontend that is served. */
  frontends(): Map<string, PlannedFrontend> {
    const winners = new Map<string, PlannedFrontend>();
    for (const [key, [first]] of this.#claims) if (first) winners.set(key, first.frontend);
    return winners;
  }

  /** Every claim that lost to another Service, in order. */
  clashes(): Clash[] {
    const clashes: Clash[] = [];
    for (const frontend of [...this.#contested].sort()) {
      const [winner, ...losers] = this.claimants(frontend);
      for (const loser of losers) if (winner) clashes.push({ frontend, winner, loser });
    }
    return clashes;
  }

  #enter(key: string, claim: Claim): void {
    const claims = this.#claims.get(key);
    if (claims === undefined) {
      this.#claims.set(key, [claim]);
      return;
    }
    claims.push(claim);
    claims.sort(compareClaims);
    this.#contested.add(key);
  }

  #withdraw(key: string, service: string): void {
    const rest = this.#claims.get(key)?.filter((claim) => claim.service !== service) ?? [];
    if (rest.length === 0) this.#claims.delete(key);
    else this.#claims.set(key, rest);
    if (rest.length < 2) this.#contested.delete(key);
  }
}

function compareClaims(a: Claim, b: Claim): number {
  return (
    KIND_RANK[a.frontend.kind] - KIND_RANK[b.frontend.kind] ||
    compareText(a.since, b.since) ||
    compareText(a.service, b.service) ||
    Number(a.frontend.sources === undefined) - Number(b.frontend.sources === undefined) ||
    compareText(b.frontend.kind, a.frontend.kind) ||
    compareText(a.frontend.portId, b.frontend.portId)
  );
}

function compareText(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
