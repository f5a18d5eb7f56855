/** Address ranges of a lab: chosen, and checked against each other and the host. Pure. */
import { UserError } from '../lib/errors.ts';
import {
  bitsOf,
  cidrsOverlap,
  formatCidr,
  parseCidr,
  subnetAt,
  type Cidr,
  type IpFamily,
} from '../lib/ip.ts';
import type { HostFacts, LabRequest } from './config.ts';

/** Length of the part of the pods' range that each node gets. */
export const podPrefixLength = { ipv4: 24, ipv6: 64 } as const;

/** The range asked for, or the one this lab has by default. Throws `UserError`. */
export function chooseRange(
  request: LabRequest,
  what: Chosen,
  family: IpFamily,
  index: number,
  at: number,
): Cidr {
  const given = {
    service: request.serviceCidrs,
    pod: request.podCidrs,
    balancer: request.loadBalancerCidrs,
  }[what];
  if (given === undefined) return defaultRange(what, family, index);
  const text = given.find((entry) => parseCidr(entry)?.family === family);
  const flag = labels[what];
  for (const entry of given) {
    if (parseCidr(entry) === undefined)
      throw new UserError(
        'BAD_FLAG',
        `Cannot use ${flag} "${entry}": it is no address range such as 10.96.0.0/16`,
      );
  }
  if (text === undefined || given.length <= at) {
    throw new UserError(
      'BAD_FLAG',
      `Cannot use ${flag} "${given.join(',')}": it has no ${family} range, and --ip-family is ${request.ipFamily}`,
    );
  }
  const cidr = parseCidr(text)!;
  checkSize(request, flag, cidr, what);
  return cidr;
}

function checkSize(request: LabRequest, flag: string, cidr: Cidr, what: Chosen): void {
  // One address is a range to give away as well.
  if (what === 'balancer') return checkRoutable(flag, cidr);
  const bits = bitsOf(cidr.family);
  if (what === 'service') {
    // Kubernetes allows at most 2^20 IPv6 service addresses, and eleven are needed for the well-known ones.
    if (cidr.prefixLength > bits - 5 || (cidr.family === 'ipv6' && cidr.prefixLength < 108)) {
      throw new UserError(
        'BAD_FLAG',
        `Cannot use ${flag} "${formatCidr(cidr)}": the prefix must be between /${cidr.family === 'ipv6' ? 108 : 8} and /${bits - 5}`,
      );
    }
    return;
  }
  const room = podPrefixLength[cidr.family] - cidr.prefixLength;
  if (room < 0 || (room < 31 && 2 ** room < request.nodes)) {
    throw new UserError(
      'BAD_FLAG',
      `Cannot use ${flag} "${formatCidr(cidr)}": ${request.nodes} nodes need a /${podPrefixLength[cidr.family]} each`,
    );
  }
}

/** This host itself, loopback, link-local, and what is no unicast (RFC 6890, RFC 4291). */
const unroutable = [
  '0.0.0.0/8',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '224.0.0.0/3',
  '::/127',
  'fe80::/10',
  'ff00::/8',
];

function checkRoutable(flag: string, cidr: Cidr): void {
  const special = unroutable.find((range) => cidrsOverlap(parseCidr(range)!, cidr));
  if (special === undefined) return;
  throw new UserError(
    'BAD_FLAG',
    `Cannot use ${flag} "${formatCidr(cidr)}": no host can be reached at addresses of ${special}`,
  );
}

function defaultRange(what: Chosen, family: IpFamily, index: number): Cidr {
  // Part of the node network, past the nodes: nobody needs a route there.
  if (what === 'balancer') {
    const network = nodeRange(family, index);
    return family === 'ipv4' ? subnetAt(network, 27, 6) : subnetAt(network, 120, 256);
  }
  // A second lab takes the neighbouring ranges, so that several can share the host's routing table.
  const text =
    family === 'ipv4'
      ? {
          service: `10.${96 + (index % 24)}.0.0/16`,
          pod: `10.${(244 - index + 256) % 256}.0.0/16`,
        }[what]
      : { service: `fd00:10:${96 + index}::/112`, pod: `fd00:10:${244 + index}::/56` }[what];
  return parseCidr(text)!;
}

/** The network that joins host, balancer and nodes. */
export function nodeRange(family: IpFamily, index: number): Cidr {
  return parseCidr(
    family === 'ipv4' ? `172.29.${index}.0/24` : `fd00:172:29:${index.toString(16)}::/64`,
  )!;
}

/** The ranges that a flag may name. */
type Chosen = 'service' | 'pod' | 'balancer';

export type Ranges = Readonly<Record<Chosen | 'node', readonly Cidr[]>>;

const labels = {
  service: '--service-cidr',
  pod: '--pod-cidr',
  balancer: '--load-balancer-cidr',
  node: 'the node network',
} as const;
const kinds = ['service', 'pod', 'node', 'balancer'] as const;

/** Ranges of one lab share no address. Throws `UserError`. */
export function checkRanges(request: LabRequest, ranges: Ranges): void {
  const all = kinds.flatMap((kind) => ranges[kind].map((cidr) => ({ kind, cidr })));
  for (const [at, a] of all.entries()) {
    for (const b of all.slice(at + 1)) {
      if (!cidrsOverlap(a.cidr, b.cidr)) continue;
      if (a.kind === 'node' && b.kind === 'balancer' && isPastTheNodes(b.cidr, a.cidr)) continue;
      throw new UserError(
        'RANGE_OVERLAP',
        `Cannot bring up lab "${request.name}": ${labels[a.kind]} ${formatCidr(a.cidr)} overlaps ${labels[b.kind]} ${formatCidr(b.cidr)}`,
        {
          hint: 'Choose ranges that share no address, with --service-cidr, --pod-cidr and --load-balancer-cidr',
        },
      );
    }
  }
}

/** A part of the node network with no address that a lab's machines may have. */
function isPastTheNodes(cidr: Cidr, network: Cidr): boolean {
  if (cidr.prefixLength < network.prefixLength) return false;
  return !cidrsOverlap(cidr, subnetAt(network, bitsOf(network.family) - machineBits, 0));
}

/** The first 128 addresses of the node network: the host, the balancer, the nodes. */
const machineBits = 7;

/** Nothing that the host routes elsewhere is in a range. Throws `UserError`. */
export function checkHost(name: string, ranges: Ranges, host: HostFacts): void {
  for (const kind of kinds) {
    for (const cidr of ranges[kind]) {
      const clash = host.routes.find((route) => cidrsOverlap(route.cidr, cidr));
      if (clash === undefined) continue;
      const owner = host.labs.find((lab) => lab.hostLink === clash.device);
      throw new UserError(
        'RANGE_OVERLAP',
        `Cannot bring up lab "${name}": ${labels[kind]} ${formatCidr(cidr)} overlaps the host's route to ${formatCidr(clash.cidr)} by ${clash.device}` +
          (owner === undefined ? '' : `, of lab "${owner.name}"`),
        {
          hint:
            kind === 'node'
              ? 'Remove that route, or bring the lab up elsewhere'
              : `Choose another range with ${labels[kind]}`,
        },
      );
    }
  }
}
