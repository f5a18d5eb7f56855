/**
 * Objects and health in, a ServicePlan for the balancer host out: its frontends are the addresses of
 * a Service, its endpoints the Service's node ports on the nodes that are fit, or the pods themselves
 * where there are no node ports. Pure.
 */
import type { EndpointSlice, Service, ServicePort } from '../../api/types.ts';
import {
  bitsOf,
  cidrsOverlap,
  familyOf,
  formatCidr,
  parseCidr,
  subnetAt,
  type Cidr,
  type IpFamily,
} from '../../lib/ip.ts';
import { normalCidr } from '../../plan/address.ts';
import { selectEndpoints } from '../../plan/endpoints.ts';
import type { Frontend, PortPlan, ServicePlan, Target } from '../../plan/types.ts';
import { hasEndpoint, type BalancedNode } from '../nodes.ts';
import type { Check } from './probe.ts';

/** What is known at the moment. */
export type View = {
  readonly nodes: readonly BalancedNode[];
  /** Of the Service. */
  readonly slices: readonly EndpointSlice[];
  isAlive(node: string): boolean;
  answerOf(node: string, check: Check): boolean | undefined;
};

const affinitySeconds = 10_800;

/** What tells whether a node is to be used for the Service; undefined where only its life counts. */
export function checkOf({ spec }: Service): Check | undefined {
  if (spec.externalTrafficPolicy === 'Local') {
    return spec.healthCheckNodePort ? { kind: 'http', port: spec.healthCheckNodePort } : undefined;
  }
  const tcp = spec.ports?.find(({ protocol = 'TCP', nodePort }) => protocol === 'TCP' && nodePort);
  return tcp?.nodePort ? { kind: 'tcp', port: tcp.nodePort } : undefined;
}

/**
 * Where clients have addresses that are kept: everywhere but in the cluster. A pod or a node that
 * comes by way of the balancer could be sent back to its own machine, which would answer it directly,
 * or take its packet for a forgery.
 */
export function outsideRanges(nodes: readonly BalancedNode[]): string[] {
  const holes = nodes.flatMap(({ ips, podCidrs }) => [
    ...ips.map((ip) => `${ip}/${bitsOf(familyOf(ip)!)}`),
    ...podCidrs,
  ]);
  const inside = holes.flatMap((text) => parseCidr(text) ?? []);
  return ['0.0.0.0/0', '::/0'].flatMap((all) => without(parseCidr(all)!, inside)).map(formatCidr);
}

/** The parts of a prefix that none of the others touches. */
function without(cidr: Cidr, holes: readonly Cidr[]): Cidr[] {
  const touching = holes.filter((hole) => cidrsOverlap(cidr, hole));
  if (touching.length === 0) return [cidr];
  if (touching.some(({ prefixLength }) => prefixLength <= cidr.prefixLength)) return [];
  return [0, 1].flatMap((half) => without(subnetAt(cidr, cidr.prefixLength + 1, half), touching));
}

/** The whole of one Service with these addresses. */
export function planEdge(service: Service, ips: readonly string[], view: View): ServicePlan {
  const { namespace = '', name, creationTimestamp = '' } = service.metadata;
  const nodes = fitNodes(service, view);
  const ports = ips.flatMap((ip) =>
    (service.spec.ports ?? []).map((port) => planPort({ service, port, ip, nodes }, view)),
  );
  return { service: `${namespace}/${name}`, since: creationTimestamp, ports, clusterIPs: [] };
}

type PortInput = {
  readonly service: Service;
  readonly port: ServicePort;
  readonly ip: string;
  readonly nodes: readonly BalancedNode[];
};

function planPort(input: PortInput, view: View): PortPlan {
  const { service, port, ip } = input;
  const { spec } = service;
  const { namespace = '', name } = service.metadata;
  const { protocol = 'TCP', name: portName = '' } = port;
  const family = familyOf(ip)!;
  const cluster = port.nodePort ? nodeTargets(input, family) : podTargets(input, family, view);
  const sources = allowedSources(service, family);
  const keepsSource = spec.externalTrafficPolicy === 'Local' || spec.sessionAffinity === 'ClientIP';
  const frontend: Frontend = {
    kind: 'loadBalancerIP',
    address: ip,
    protocol,
    port: port.port,
    pool: 'cluster',
    // Nodes tie clients by their addresses, and policy Local promises them to the pods; not those of the
    // cluster itself (`outsideRanges`). All others the node would rewrite anyway, and an answer to us
    // needs no help to find its way back.
    masquerade: keepsSource ? 'outsiders' : 'always',
    ...(sources === undefined ? {} : { sources }),
  };
  return {
    id: `${namespace}/${name}:${portName}/${protocol}/${family}`,
    service: `${namespace}/${name}`,
    portName,
    protocol,
    family,
    frontends: [frontend],
    cluster,
    local: [],
    serving: cluster,
    affinitySeconds: spec.sessionAffinity === 'ClientIP' ? affinityOf(service) : 0,
  };
}

/**
 * The nodes that get connections. Better some that may fail than none at all: where no node says yes,
 * those with pods that still answer (policy Local), all that live, or all.
 */
export function fitNodes(service: Service, view: View): readonly BalancedNode[] {
  const alive = view.nodes.filter(({ name }) => view.isAlive(name));
  const check = checkOf(service);
  const answer = (name: string) => check && view.answerOf(name, check);
  if (service.spec.externalTrafficPolicy === 'Local') {
    const has = (name: string, state: 'ready' | 'serving') => hasEndpoint(view.slices, name, state);
    const willing = alive.filter(({ name }) => answer(name) ?? has(name, 'ready'));
    return willing.length > 0 ? willing : alive.filter(({ name }) => has(name, 'serving'));
  }
  const willing = alive.filter(({ name }) => answer(name) !== false);
  // Any node will do here, so the next connections need not go to one that is being drained.
  const staying = willing.filter(({ leaving }) => !leaving);
  if (willing.length > 0) return staying.length > 0 ? staying : willing;
  return alive.length > 0 ? alive : view.nodes;
}

function nodeTargets({ port, nodes }: PortInput, family: IpFamily): Target[] {
  return nodes.flatMap(({ ips }) => {
    const address = ips.find((ip) => familyOf(ip) === family);
    return address === undefined ? [] : [{ address, port: port.nodePort!, local: false }];
  });
}

/** Without node ports (allocateLoadBalancerNodePorts) connections go to the pods at once. */
function podTargets({ port }: PortInput, family: IpFamily, view: View): readonly Target[] {
  const { protocol = 'TCP', name: portName = '' } = port;
  const nowhere = { name: '', nodeIPs: [], addresses: [], nodePortAddresses: [] };
  const select = (slices: readonly EndpointSlice[]) =>
    selectEndpoints(slices, { portName, protocol, family, node: nowhere }).cluster;
  const reachable = view.slices.map((slice) => ({
    ...slice,
    endpoints: slice.endpoints.filter(({ nodeName = '' }) => view.isAlive(nodeName)),
  }));
  const targets = select(reachable);
  return targets.length > 0 ? targets : select(view.slices);
}

/** As the proxy reads them (P51, P53), without what only concerns nodes. */
function allowedSources({ spec }: Service, family: IpFamily): string[] | undefined {
  const asked = spec.loadBalancerSourceRanges ?? [];
  const ranges = asked.flatMap((range) => parseCidr(normalCidr(range) ?? '') ?? []);
  const mine = ranges.filter((range) => range.family === family);
  if (mine.length === 0) return asked.length > 0 && ranges.length === 0 ? [] : undefined;
  return mine.map(formatCidr);
}

function affinityOf({ spec }: Service): number {
  return spec.sessionAffinityConfig?.clientIP?.timeoutSeconds ?? affinitySeconds;
}
