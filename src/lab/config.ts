/**
 * What a lab looks like, decided before anything is touched: names, address ranges, ports. Pure but
 * for what it is told about the host.
 */
import { UserError } from '../lib/errors.ts';
import {
  addressAt,
  bitsOf,
  cidrContains,
  cidrsOverlap,
  formatCidr,
  parseCidr,
  subnetAt,
  type Cidr,
  type IpFamily,
} from '../lib/ip.ts';
import { labRoots } from './paths.ts';

export type IpFamilyChoice = 'ipv4' | 'ipv6' | 'dual';

/** Who gives LoadBalancer Services their addresses when they ask for nobody by class. */
export type LoadBalancerChoice = 'edge' | 'layer2' | 'none';

/** What the person asked for; absent fields are chosen. */
export type LabRequest = {
  readonly name: string;
  readonly nodes: number;
  readonly ipFamily: IpFamilyChoice;
  readonly serviceCidrs?: readonly string[];
  readonly podCidrs?: readonly string[];
  readonly apiPort?: number;
  /** Default: edge. */
  readonly loadBalancer?: LoadBalancerChoice;
  readonly loadBalancerCidrs?: readonly string[];
};

export type LabNode = {
  readonly name: string;
  /** One address per family of the lab, in its order. */
  readonly ips: readonly string[];
  readonly podCidrs: readonly string[];
};

export type LabConfig = {
  readonly version: 1;
  readonly name: string;
  /** Numbers the lab on this host: part of its link's name and node network. */
  readonly index: number;
  readonly createdAt: string;
  readonly families: readonly IpFamily[];
  readonly serviceCidrs: readonly string[];
  readonly podCidrs: readonly string[];
  readonly nodeCidrs: readonly string[];
  /** The host's end of the cable into the lab's switch. */
  readonly hostLink: string;
  /** The host's own addresses there: the nodes' gateway and the API's address in the lab. */
  readonly hostIPs: readonly string[];
  readonly clusterDomain: string;
  readonly clusterDns: readonly string[];
  /** The API on the host's loopback, for kubeconfig. */
  readonly apiPort: number;
  readonly nodes: readonly LabNode[];
  /** Absent: LoadBalancer Services get no address. */
  readonly balancer?: LabBalancer;
};

export type LabBalancer = {
  readonly kind: Exclude<LoadBalancerChoice, 'none'>;
  /** Where the Services' addresses come from, one range per family. */
  readonly cidrs: readonly string[];
  /** Addresses of the balancer host in the node network; it is made when a Service needs it. */
  readonly ips: readonly string[];
  /** Of its link: nodes know by it what came through the balancer. */
  readonly mac: string;
};

/** What stands in the way on the host. */
export type HostFacts = {
  /** Every route but the default ones, and every address's own network. */
  readonly routes: readonly { readonly cidr: Cidr; readonly device: string }[];
  /** Names of all links. */
  readonly links: readonly string[];
  /** Labs that exist. */
  readonly labs: readonly LabConfig[];
};

/** Port of the API inside the lab's network. */
export const apiPortInLab = 6443;

/**
 * A node without a sign of life for this long is lost. Its agent renews its Lease three times as
 * often. Shorter than a real cluster's 40 s, since people wait for it here.
 */
export const nodeGraceSeconds = 12;

const nodesMax = 100;
const labsMax = 100;
/** Length of the part of the pods' range that each node gets. */
export const podPrefixLength = { ipv4: 24, ipv6: 64 } as const;

/** Decides everything, or throws `UserError` naming the flag and what was found. */
export function planLab(request: LabRequest, host: HostFacts, apiPort: number): LabConfig {
  checkName(request.name);
  if (request.loadBalancer === 'none' && request.loadBalancerCidrs !== undefined) {
    throw new UserError(
      'BAD_FLAG',
      'Cannot use --load-balancer-cidr: --load-balancer is none, so nobody would give its addresses',
    );
  }
  if (!Number.isInteger(request.nodes) || request.nodes < 1 || request.nodes > nodesMax) {
    throw new UserError(
      'BAD_FLAG',
      `Cannot bring up lab "${request.name}": --nodes is ${request.nodes}, it must be between 1 and ${nodesMax}`,
    );
  }
  const families: IpFamily[] = request.ipFamily === 'dual' ? ['ipv4', 'ipv6'] : [request.ipFamily];
  const index = freeIndex(host);
  const chosen = {
    service: families.map((family, at) => chooseRange(request, 'service', family, index, at)),
    pod: families.map((family, at) => chooseRange(request, 'pod', family, index, at)),
    node: families.map((family) => nodeRange(family, index)),
    balancer:
      request.loadBalancer === 'none'
        ? []
        : families.map((family, at) => chooseRange(request, 'balancer', family, index, at)),
  };
  checkRanges(request, chosen);
  checkHost(request.name, chosen, host);
  const nodes = Array.from({ length: request.nodes }, (_, at) =>
    planNode(at, chosen.node, chosen.pod),
  );
  checkLink(request.name, hostLinkName(index), host);
  return {
    version: 1,
    name: request.name,
    index,
    createdAt: new Date().toISOString(),
    families,
    serviceCidrs: chosen.service.map(formatCidr),
    podCidrs: chosen.pod.map(formatCidr),
    nodeCidrs: chosen.node.map(formatCidr),
    hostLink: hostLinkName(index),
    hostIPs: chosen.node.map((cidr) => addressAt(cidr, 1)),
    clusterDomain: 'cluster.local',
    clusterDns: chosen.service.map((cidr) => addressAt(cidr, 10)),
    apiPort,
    nodes,
    ...planBalancer(request, chosen, index),
  };
}

function planBalancer(
  request: LabRequest,
  { node, balancer }: Ranges,
  index: number,
): { balancer?: LabBalancer } {
  const kind = request.loadBalancer ?? 'edge';
  if (kind === 'none') return {};
  return {
    balancer: {
      kind,
      cidrs: balancer.map(formatCidr),
      ips: node.map((cidr) => addressAt(cidr, 2)),
      mac: `02:fa:1e:ad:01:${index.toString(16).padStart(2, '0')}`,
    },
  };
}

/** Whether the range lies in the node network, where everybody finds its addresses by asking around. */
export function isOnNodeNetwork(lab: Pick<LabConfig, 'nodeCidrs'>, range: string): boolean {
  const { address } = parseCidr(range)!;
  return lab.nodeCidrs.some((cidr) => cidrContains(parseCidr(cidr)!, address));
}

/** Node number `at` (from 0): `node-1` with the 11th address of the node network and its part of the pods'. */
export function planNode(
  at: number,
  nodeCidrs: readonly Cidr[],
  podCidrs: readonly Cidr[],
): LabNode {
  return {
    name: `node-${at + 1}`,
    ips: nodeCidrs.map((cidr) => addressAt(cidr, 11 + at)),
    podCidrs: podCidrs.map((cidr) => formatCidr(subnetAt(cidr, podPrefixLength[cidr.family], at))),
  };
}

function hostLinkName(index: number): string {
  return `fairlead${index}`;
}

function checkLink(name: string, wanted: string, host: HostFacts): void {
  if (!host.links.includes(wanted)) return;
  throw new UserError(
    'LINK_EXISTS',
    `Cannot bring up lab "${name}": the host has a link "${wanted}" already, of no lab in ${labRoots().state}`,
    { hint: `If it is left from a lab that is gone: ip link delete ${wanted}` },
  );
}

function checkName(name: string): void {
  if (/^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$/.test(name)) return;
  throw new UserError(
    'BAD_FLAG',
    `Cannot use lab name "${name}": a name has up to 32 lower-case letters, digits and inner dashes`,
  );
}

function freeIndex(host: HostFacts): number {
  const taken = new Set(host.labs.map((lab) => lab.index));
  for (let index = 0; index < labsMax; index += 1) if (!taken.has(index)) return index;
  throw new UserError('TOO_MANY_LABS', `Cannot bring up a lab: ${labsMax} labs exist`, {
    hint: 'Take some down: fairlead down --all',
  });
}

function chooseRange(
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
  if (what === 'balancer') return;
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

function nodeRange(family: IpFamily, index: number): Cidr {
  return parseCidr(
    family === 'ipv4' ? `172.29.${index}.0/24` : `fd00:172:29:${index.toString(16)}::/64`,
  )!;
}

/** The ranges that a flag may name. */
type Chosen = 'service' | 'pod' | 'balancer';

type Ranges = Readonly<Record<Chosen | 'node', readonly Cidr[]>>;

const labels = {
  service: '--service-cidr',
  pod: '--pod-cidr',
  balancer: '--load-balancer-cidr',
  node: 'the node network',
} as const;
const kinds = ['service', 'pod', 'node', 'balancer'] as const;

function checkRanges(request: LabRequest, ranges: Ranges): void {
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

function checkHost(name: string, ranges: Ranges, host: HostFacts): void {
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
