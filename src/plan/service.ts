/** One Service and its slices to a ServicePlan. Pure; the order of slices does not matter. */
import type { EndpointSlice, Protocol, Service } from '../api/types.ts';
import { bitsOf, cidrContains, familyOf, formatCidr, parseCidr, type IpFamily } from '../lib/ip.ts';
import { isPortNumber, normalCidr, normalIpOf } from './address.ts';
import { selectEndpoints, type EndpointSets } from './endpoints.ts';
import {
  BALANCINGS,
  type Balancing,
  type Frontend,
  type FrontendKind,
  type Masquerade,
  type NodeFacts,
  type Notice,
  type PlanOptions,
  type PoolChoice,
  type PortPlan,
  type ServicePlan,
} from './types.ts';

/** What every Service of a node is planned against. */
export type PlanContext = { readonly node: NodeFacts; readonly options: PlanOptions };

const PROTOCOLS: readonly Protocol[] = ['TCP', 'UDP', 'SCTP'];
/** Another proxy serves what carries this label (P1). */
export const PROXY_NAME_LABEL = 'service.kubernetes.io/service-proxy-name';
/** Slices of headless Services carry this label (P2). */
export const HEADLESS_LABEL = 'service.kubernetes.io/headless';
/** Ties a slice to its Service. */
export const SERVICE_NAME_LABEL = 'kubernetes.io/service-name';

/** How connections choose among endpoints, for one Service: a `Balancing`. */
export const BALANCING_ANNOTATION = 'fairlead.dev/balancing';

/** Default of `sessionAffinityConfig.clientIP.timeoutSeconds` (P84). */
const AFFINITY_SECONDS = 10_800;

/** Plans one Service; undefined when it is not for a proxy at all (P1, P3, P4). */
export function planService(
  service: Service,
  slices: readonly EndpointSlice[],
  context: PlanContext,
): ServicePlan | undefined {
  if (!isForProxy(service)) return undefined;
  const { namespace = '', name, creationTimestamp = '' } = service.metadata;
  const usable = slices.filter((slice) => !hasLabel(slice, PROXY_NAME_LABEL));
  const ports: PortPlan[] = [];
  const clusterIPs: string[] = [];
  let localEndpoints = 0;
  for (const family of ['ipv4', 'ipv6'] as const) {
    const clusterIP = clusterIPOf(service, family);
    if (clusterIP === undefined) continue;
    clusterIPs.push(clusterIP);
    const localReady = new Set<string>();
    for (const port of readablePorts(service)) {
      const { protocol, name: portName } = port;
      const sets = selectEndpoints(usable, { portName, protocol, family, node: context.node });
      for (const address of sets.localReady) localReady.add(address);
      ports.push(planPort({ service, port, family, clusterIP, sets }, context));
    }
    // A pod with an address of each family is one endpoint (P119).
    localEndpoints = Math.max(localEndpoints, localReady.size);
  }
  if (ports.length === 0) return undefined;
  const healthPort = healthCheckPort(service);
  const notices = noticesOf(service);
  return {
    service: `${namespace}/${name}`,
    since: creationTimestamp,
    ports,
    clusterIPs,
    ...(healthPort === undefined ? {} : { healthCheck: { port: healthPort, localEndpoints } }),
    ...(notices.length > 0 ? { notices } : {}),
  };
}

/** A port with everything filled in. */
type ReadablePort = {
  readonly name: string;
  readonly protocol: Protocol;
  readonly port: number;
  /** 0: none. */
  readonly nodePort: number;
};

/** What no packet can be addressed to is left out; the other ports go on (P9). */
function readablePorts({ spec }: Service): ReadablePort[] {
  return (spec.ports ?? []).flatMap((given) => {
    const protocol = PROTOCOLS.find((one) => one === (given.protocol || 'TCP'));
    if (protocol === undefined || !isPortNumber(given.port)) return [];
    const nodePort = isPortNumber(given.nodePort) ? given.nodePort : 0;
    return [{ name: given.name ?? '', protocol, port: given.port, nodePort }];
  });
}

type PortInput = {
  service: Service;
  port: ReadablePort;
  family: IpFamily;
  clusterIP: string;
  sets: EndpointSets;
};

function planPort(input: PortInput, context: PlanContext): PortPlan {
  const { service, port, family, sets } = input;
  const { namespace = '', name } = service.metadata;
  const { protocol, name: portName } = port;
  return {
    id: `${namespace}/${name}:${portName}/${protocol}/${family}`,
    service: `${namespace}/${name}`,
    portName,
    protocol,
    family,
    frontends: frontendsOf(input, context),
    cluster: sets.cluster,
    local: sets.local,
    serving: sets.serving,
    affinitySeconds: affinitySeconds(service),
    balancing: balancingOf(service, context.options),
    ...(port.nodePort ? { nodePort: port.nodePort } : {}),
  };
}

function frontendsOf(input: PortInput, context: PlanContext): Frontend[] {
  const { service, port, family, clusterIP } = input;
  const { spec } = service;
  const { protocol } = port;
  const externalPool = spec.externalTrafficPolicy === 'Local' ? 'bySource' : 'cluster';
  const make = (kind: FrontendKind, address: string, more: Partial<Frontend> = {}): Frontend => ({
    kind,
    address,
    protocol,
    port: kind === 'nodePort' ? port.nodePort : port.port,
    pool: externalPool,
    masquerade: externalPool === 'bySource' ? 'node' : 'always',
    ...more,
  });
  const pool: PoolChoice = spec.internalTrafficPolicy === 'Local' ? 'local' : 'cluster';
  const masquerade = clusterMasquerade(family, context.options);
  const frontends = [make('clusterIP', clusterIP, { pool, masquerade })];
  for (const address of balancerIPs(service, family)) {
    const sources = allowedSources(service, family, context.node);
    frontends.push(make('loadBalancerIP', address, sources === undefined ? {} : { sources }));
  }
  for (const text of spec.externalIPs ?? []) {
    const address = normalIpOf(family, text);
    if (address !== undefined) frontends.push(make('externalIP', address));
  }
  if (port.nodePort) {
    for (const address of context.node.nodePortAddresses) {
      if (familyOf(address) === family) frontends.push(make('nodePort', address));
    }
  }
  return frontends;
}

/** P57, P59, P61 and, without a detector, P63; P64 and P65 for masqueradeAll. */
function clusterMasquerade(family: IpFamily, options: PlanOptions): Masquerade {
  if (options.masqueradeAll) return 'always';
  const { podInterface, podCidrs } = options;
  if (podInterface !== undefined) return 'outsiders';
  return podCidrs.some((cidr) => parseCidr(cidr)?.family === family) ? 'outsiders' : 'never';
}

function isForProxy(service: Service): boolean {
  if (hasLabel(service, PROXY_NAME_LABEL) || hasLabel(service, HEADLESS_LABEL)) return false;
  const { type, clusterIP } = service.spec;
  return type !== 'ExternalName' && clusterIP !== 'None' && Boolean(clusterIP);
}

function hasLabel(object: Service | EndpointSlice, label: string): boolean {
  return object.metadata.labels?.[label] !== undefined;
}

function clusterIPOf(service: Service, family: IpFamily): string | undefined {
  const { clusterIP, clusterIPs } = service.spec;
  for (const text of clusterIPs && clusterIPs.length > 0 ? clusterIPs : [clusterIP]) {
    const address = normalIpOf(family, text);
    if (address !== undefined) return address;
  }
  return undefined;
}

function affinitySeconds(service: Service): number {
  const { sessionAffinity, sessionAffinityConfig } = service.spec;
  if (sessionAffinity !== 'ClientIP') return 0;
  const seconds = sessionAffinityConfig?.clientIP?.timeoutSeconds;
  return Number.isInteger(seconds) && seconds! > 0 ? seconds! : AFFINITY_SECONDS;
}

/** A word that nobody knows counts as none. */
function balancingOf(service: Service, options: PlanOptions): Balancing {
  const asked = service.metadata.annotations?.[BALANCING_ANNOTATION];
  return BALANCINGS.find((one) => one === asked) ?? options.balancing ?? 'random';
}

/** Addresses that packets arrive for: of the family, and not kept by the balancer (P47, P48). */
function balancerIPs(service: Service, family: IpFamily): string[] {
  if (service.spec.type !== 'LoadBalancer') return [];
  return (service.status?.loadBalancer?.ingress ?? [])
    .filter((ingress) => ingress.ipMode !== 'Proxy')
    .map((ingress) => normalIpOf(family, ingress.ip))
    .filter((address) => address !== undefined);
}

/** Undefined when everybody may connect: no ranges, or all of the other family (P53). */
function allowedSources(service: Service, family: IpFamily, node: NodeFacts): string[] | undefined {
  const asked = service.spec.loadBalancerSourceRanges ?? [];
  const ranges = asked.flatMap((range) => parseCidr(normalCidr(range) ?? '') ?? []);
  const mine = ranges.filter((range) => range.family === family);
  // Ranges that nobody can read let nobody in: the safe reading of a half-formed object.
  if (mine.length === 0) return asked.length > 0 && ranges.length === 0 ? [] : undefined;
  // A node that holds a VIP of the Service talks to it with the VIP as source (P52).
  const nodeMay = mine.some((range) => node.nodeIPs.some((own) => cidrContains(range, own)));
  const vips = nodeMay ? balancerIPs(service, family) : [];
  return [...mine.map(formatCidr), ...vips.map((vip) => `${vip}/${bitsOf(family)}`)];
}

/** Where source ranges do not filter what one may think they do (P39, P53). */
function noticesOf(service: Service): Notice[] {
  const ranges = service.spec.loadBalancerSourceRanges ?? [];
  if (service.spec.type !== 'LoadBalancer' || ranges.length === 0) return [];
  const families = ranges.flatMap((range) => parseCidr(normalCidr(range) ?? '')?.family ?? []);
  const notices: Notice[] = [];
  for (const family of families.length === 0 ? [] : (['ipv4', 'ipv6'] as const)) {
    const open = balancerIPs(service, family);
    if (families.includes(family) || open.length === 0) continue;
    notices.push({
      type: 'Warning',
      reason: 'SourceRangesOfOneFamily',
      message: `loadBalancerSourceRanges has no ${family} range: ${open.join(', ')} is open to every source`,
    });
  }
  const nodePorts = readablePorts(service).flatMap((port) => port.nodePort || []);
  if (nodePorts.length > 0) {
    const message = `loadBalancerSourceRanges does not apply to node ports: ${nodePorts.join(', ')}`;
    notices.push({ type: 'Normal', reason: 'NodePortsUnfiltered', message });
  }
  return notices;
}

function healthCheckPort(service: Service): number | undefined {
  const { type, externalTrafficPolicy, healthCheckNodePort } = service.spec;
  if (type !== 'LoadBalancer' || externalTrafficPolicy !== 'Local') return undefined;
  return isPortNumber(healthCheckNodePort) ? healthCheckNodePort : undefined;
}
