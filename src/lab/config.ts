/**
 * What a lab looks like, decided before anything is touched: names, address ranges, ports. Pure but
 * for what it is told about the host.
 */
import { UserError } from '../lib/errors.ts';
import {
  addressAt,
  cidrContains,
  formatCidr,
  parseCidr,
  subnetAt,
  type Cidr,
  type IpFamily,
} from '../lib/ip.ts';
import { planFakes, type Fakes } from './fake-objects.ts';
import { labRoots } from './paths.ts';
import {
  checkHost,
  checkRanges,
  chooseRange,
  nodeRange,
  podPrefixLength,
  type Ranges,
} from './ranges.ts';

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
  /** Nodes and pods in the API alone, to see what a large cluster costs. */
  readonly fakes?: { readonly nodes: number; readonly pods?: number; readonly services?: number };
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
  readonly fakes?: Fakes;
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

/** Leases of fake nodes that are renewed in a second: a real cluster of 5,000 has 500 a second. */
const fakeRenewalsPerSecond = 50;

/** The same for a lab with fake nodes, whose one process renews all their Leases. */
export function fakeGraceSeconds({ nodes }: Fakes): number {
  return Math.max(nodeGraceSeconds, Math.ceil((3 * nodes) / fakeRenewalsPerSecond));
}

const nodesMax = 100;
const labsMax = 100;

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
    ...planFakesFor(request),
  };
}

function planFakesFor({ name, ipFamily, fakes }: LabRequest): { fakes?: Fakes } {
  if (fakes === undefined) return {};
  if (ipFamily === 'ipv6') {
    throw new UserError(
      'BAD_FLAG',
      `Cannot bring up lab "${name}": --fake-nodes have IPv4 addresses, and --ip-family is ipv6`,
      { hint: 'Ask for --ip-family dual' },
    );
  }
  return { fakes: planFakes(fakes) };
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
