/**
 * Which addresses a Service gets. Pure: what it asks for, what the others hold, and the pool go in.
 * An address once given is kept as long as it may be.
 */
import { familyOf, type IpFamily } from '../lib/ip.ts';
import { addressesIn, isInPool, poolText, type Pool } from './pool.ts';
import type { Refusal, Request } from './request.ts';

/** A Service with an address, as far as others are concerned. */
export type Holder = {
  /** `namespace/name`. */
  readonly service: string;
  readonly ips: readonly string[];
  readonly request: Pick<Request, 'provider' | 'sharingKey' | 'ports' | 'selector' | 'isLocal'>;
};

/** One address per family, in the order of the request; or why there is none. */
export function allocate(
  request: Request,
  facts: {
    /** What the Service holds now. */
    readonly held: readonly string[];
    readonly others: readonly Holder[];
    readonly pool: Pool;
  },
): string[] | Refusal {
  const holders = holdersByAddress(facts.others);
  const ips: string[] = [];
  for (const family of request.families) {
    const ip = addressOf(family, request, { ...facts, holders });
    if (typeof ip !== 'string') return ip;
    ips.push(ip);
  }
  return ips;
}

type Facts = {
  readonly held: readonly string[];
  readonly pool: Pool;
  readonly holders: ReadonlyMap<string, readonly Holder[]>;
};

function addressOf(family: IpFamily, request: Request, facts: Facts): string | Refusal {
  const { pool, holders } = facts;
  const wanted = request.ips.find((ip) => familyOf(ip) === family);
  if (wanted !== undefined) return requested(wanted, request, facts);
  const isFree = (ip: string) => whyNot(request, holders.get(ip) ?? []) === undefined;
  const held = facts.held.find((ip) => familyOf(ip) === family);
  if (held !== undefined && isInPool(pool, held) && isFree(held)) return held;
  // Those that may share an address do: it is what they ask for, and it saves addresses.
  if (request.sharingKey !== undefined) {
    for (const [ip, ones] of holders) {
      if (familyOf(ip) !== family || !isInPool(pool, ip) || !isFree(ip)) continue;
      if (ones.some((one) => one.request.sharingKey === request.sharingKey)) return ip;
    }
  }
  for (const ip of addressesIn(pool, family)) if (!holders.has(ip)) return ip;
  return exhausted(family, pool);
}

function requested(ip: string, request: Request, { pool, holders }: Facts): string | Refusal {
  if (!isInPool(pool, ip)) {
    const message = `address ${ip} is asked for, which is not in the pool ${poolText(pool)}`;
    return { reason: 'AllocationFailed', message };
  }
  const why = whyNot(request, holders.get(ip) ?? []);
  if (why === undefined) return ip;
  return { reason: 'AllocationFailed', message: `address ${ip} is asked for, but ${why}` };
}

function exhausted(family: IpFamily, pool: Pool): Refusal {
  const range = poolText(pool, family);
  const message =
    range === ''
      ? `no ${family} address can be given: the pool has only ${poolText(pool)}`
      : `no ${family} address is left: all of ${range} are taken`;
  return { reason: 'AllocationFailed', message };
}

/**
 * Why an address with these holders cannot be had; undefined when it can. The conditions are those of
 * MetalLB: one key, no port twice, and where one node answers for all of them, the same pods or no
 * need for local ones.
 */
function whyNot(request: Request, holders: readonly Holder[]): string | undefined {
  for (const { service, request: other } of holders) {
    if (other.sharingKey === undefined || other.sharingKey !== request.sharingKey) {
      return request.sharingKey === undefined
        ? `Service ${service} has it`
        : `Service ${service} has it with another key for sharing, or none`;
    }
    const port = request.ports.find((one) => other.ports.includes(one));
    if (port !== undefined) return `Service ${service} has its port ${port} already`;
    if (other.provider !== request.provider) {
      return `Service ${service} has it, which is served by ${other.provider}`;
    }
    const needsSamePods = request.provider === 'layer2' && (request.isLocal || other.isLocal);
    if (needsSamePods && request.selector !== other.selector) {
      return `Service ${service} has it with other pods, and policy Local needs pods where the address is`;
    }
  }
  return undefined;
}

function holdersByAddress(others: readonly Holder[]): Map<string, Holder[]> {
  const holders = new Map<string, Holder[]>();
  for (const one of others) {
    for (const ip of one.ips) {
      const present = holders.get(ip);
      if (present === undefined) holders.set(ip, [one]);
      else present.push(one);
    }
  }
  return holders;
}
