/** Keeps the Endpoints object of every Service with a selector (K30). */
import { isDeepStrictEqual } from 'node:util';
import { keyOf, keyText } from '../api/meta.ts';
import { resources } from '../api/resources.ts';
import type {
  EndpointAddress,
  Endpoints,
  EndpointSubset,
  EndpointSubsetPort,
  Pod,
  Service,
} from '../api/types.ts';
import type { Reconciler } from '../client/reconciler.ts';
import { ipBytes } from '../lib/ip.ts';
import { limits } from '../lib/limits.ts';
import { create, createReconciler, remove, update, type Context } from './context.ts';
import { isReady, isTerminating, podInformer, podsWithLabels } from './pods.ts';
import {
  addressIn,
  endpointHostname,
  familiesOf,
  inheritedLabels,
  isEndpoint,
  isSelecting,
  podReference,
  serviceInformer,
  targetPortOn,
  triggerTime,
  triggerTimeAnnotation,
  watchSelectedPods,
} from './service-endpoints.ts';

const managedByLabel = 'endpoints.kubernetes.io/managed-by';
const managedByUs = 'endpoint-controller';
/** Endpoints of up to this many addresses are rewritten at once, larger ones after a moment. */
const smallAddresses = 100;
const bigDelayMs = 50;
const overCapacityAnnotation = 'endpoints.kubernetes.io/over-capacity';

/** Starts the controller; runs are keyed by Service. */
export function endpointsController(context: Context): Reconciler {
  const { informers } = context;
  const services = serviceInformer(informers);
  const pods = podInformer(informers);
  const endpoints = informers.of<Endpoints>(resources.endpoints);

  /** Services seen to go: even Endpoints made by hand go with them, as kube-apiserver has it. */
  const departed = new Set<string>();

  const reconciler = createReconciler(context, 'endpoints', async (key) => {
    const service = services.get(key);
    const held = endpoints.get(key);
    if (service !== undefined) departed.delete(key);
    // A Service that lost its selector keeps what it had: its owner takes the endpoints over.
    if (service !== undefined && !isSelecting(service)) return;
    if (service === undefined) {
      const isSurplus = held !== undefined && (departed.has(key) || isOurs(held));
      if (isSurplus) await remove(context, resources.endpoints, held);
      // Only now: a removal that failed is tried again.
      if (services.get(key) === undefined) departed.delete(key);
      return;
    }
    const selected = podsWithLabels(pods, keyOf(service).namespace ?? '', service.spec.selector!);
    const want = wantEndpoints(service, selected, held);
    if (want === undefined) return;
    if (held === undefined) await create(context, resources.endpoints, want);
    else await update(context, resources.endpoints, want);
  });

  services.onChange((old, current) => {
    const key = keyText(keyOf((current ?? old)!));
    if (current === undefined) departed.add(key);
    reconciler.add(key);
  });
  watchSelectedPods(informers, (key) => {
    // Those who forward read slices: they go first, and a big old-style object is not rewritten
    // for every one of many changes.
    const delayMs = addressCount(endpoints.get(key)) > smallAddresses ? bigDelayMs : 0;
    if (delayMs === 0) reconciler.add(key);
    else reconciler.addAfter(key, delayMs);
  });
  endpoints.onChange((old, current) => {
    const changed = current ?? old;
    if (changed !== undefined) reconciler.add(keyText(keyOf(changed)));
  });
  return reconciler;
}

function addressCount(endpoints: Endpoints | undefined): number {
  return (endpoints?.subsets ?? []).reduce((sum, subset) => sum + sizeOf(subset), 0);
}

function sizeOf({ addresses = [], notReadyAddresses = [] }: EndpointSubset): number {
  return addresses.length + notReadyAddresses.length;
}

function isOurs(endpoints: Endpoints): boolean {
  return endpoints.metadata.labels?.[managedByLabel] === managedByUs;
}

/** The Endpoints the Service must have, or undefined when `held` is right already. */
export function wantEndpoints(
  service: Service,
  pods: readonly Pod[],
  held: Endpoints | undefined,
): Endpoints | undefined {
  const { subsets, truncated } = cut(subsetsOf(service, pods));
  const { name, namespace } = keyOf(service);
  const labels = { ...inheritedLabels(service), [managedByLabel]: managedByUs };
  const { [overCapacityAnnotation]: wasTruncated, ...kept } = held?.metadata.annotations ?? {};
  const same =
    held !== undefined &&
    isDeepStrictEqual(held.subsets ?? [], subsets) &&
    isDeepStrictEqual({ ...held.metadata.labels }, labels) &&
    (wasTruncated === 'truncated') === truncated;
  if (same) return undefined;
  return {
    apiVersion: 'v1',
    kind: 'Endpoints',
    metadata: {
      ...(held?.metadata ?? { name, ...(namespace === undefined ? {} : { namespace }) }),
      labels,
      annotations: {
        ...kept,
        [triggerTimeAnnotation]: triggerTime(service, pods),
        ...(truncated ? { [overCapacityAnnotation]: 'truncated' } : {}),
      },
    },
    subsets,
  };
}

type Placed = { readonly address: EndpointAddress; readonly ready: boolean };

/**
 * The subsets: addresses that have the same ports stand together, ready ones apart from the others.
 * One subset therefore means each of its addresses with each of its ports.
 */
export function subsetsOf(service: Service, pods: readonly Pod[]): EndpointSubset[] {
  const counted = pods.filter(isEndpoint);
  const family = familiesOf(service, counted)[0] ?? 'IPv4';
  const all = service.spec.publishNotReadyAddresses === true;
  const byPorts = new Map<string, { ports: EndpointSubsetPort[]; placed: Placed[] }>();
  for (const pod of counted) {
    const ip = addressIn(pod, family);
    if (ip === undefined || (isTerminating(pod) && !all)) continue;
    const ports = portsOn(service, pod);
    if (ports.length === 0 && (service.spec.ports ?? []).length > 0) continue;
    const id = JSON.stringify(ports);
    const group = byPorts.get(id) ?? { ports, placed: [] };
    byPorts.set(id, group);
    group.placed.push({ address: addressOf(service, pod, ip), ready: all || isReady(pod) });
  }
  return [...byPorts.entries()]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, { ports, placed }]) => subsetOf(ports, placed));
}

function subsetOf(ports: EndpointSubsetPort[], placed: Placed[]): EndpointSubset {
  const sorted = placed
    .map((one) => ({ ...one, bytes: ipBytes(one.address.ip) }))
    .sort((a, b) => Buffer.compare(a.bytes, b.bytes));
  const addresses = sorted.filter(({ ready }) => ready).map(({ address }) => address);
  const notReadyAddresses = sorted.filter(({ ready }) => !ready).map(({ address }) => address);
  return {
    ...(addresses.length === 0 ? {} : { addresses }),
    ...(notReadyAddresses.length === 0 ? {} : { notReadyAddresses }),
    ...(ports.length === 0 ? {} : { ports }),
  };
}

function portsOn(service: Service, pod: Pod): EndpointSubsetPort[] {
  const ports = (service.spec.ports ?? []).flatMap((port) => {
    const number = targetPortOn(pod, port);
    if (number === undefined) return [];
    return [
      {
        ...(port.name === undefined || port.name === '' ? {} : { name: port.name }),
        port: number,
        protocol: port.protocol ?? 'TCP',
        ...(port.appProtocol === undefined ? {} : { appProtocol: port.appProtocol }),
      },
    ];
  });
  return ports.sort((a, b) => comparePorts(a, b));
}

function comparePorts(a: EndpointSubsetPort, b: EndpointSubsetPort): number {
  const names = [a.name ?? '', b.name ?? ''] as const;
  if (names[0] !== names[1]) return names[0] < names[1] ? -1 : 1;
  return a.port - b.port || (a.protocol ?? '').localeCompare(b.protocol ?? '');
}

function addressOf(service: Service, pod: Pod, ip: string): EndpointAddress {
  const hostname = endpointHostname(service, pod);
  const { nodeName } = pod.spec;
  return {
    ip,
    ...(hostname === undefined ? {} : { hostname }),
    ...(nodeName === undefined ? {} : { nodeName }),
    targetRef: podReference(pod),
  };
}

/** At most so many addresses, ready ones first: old readers know no slices (K30). */
function cut(subsets: EndpointSubset[]): { subsets: EndpointSubset[]; truncated: boolean } {
  const count = subsets.reduce((sum, subset) => sum + sizeOf(subset), 0);
  if (count <= limits.endpointsAddressesMax) return { subsets, truncated: false };
  const ready = take(subsets, 'addresses', limits.endpointsAddressesMax);
  const rest = take(subsets, 'notReadyAddresses', limits.endpointsAddressesMax - ready.count);
  const kept = subsets.map((subset, index) => ({
    ...(ready.parts[index]?.length === 0 ? {} : { addresses: ready.parts[index]! }),
    ...(rest.parts[index]?.length === 0 ? {} : { notReadyAddresses: rest.parts[index]! }),
    ...(subset.ports === undefined ? {} : { ports: subset.ports }),
  }));
  const filled = kept.filter((s) => 'addresses' in s || 'notReadyAddresses' in s);
  return { subsets: filled, truncated: true };
}

function take(
  subsets: EndpointSubset[],
  field: 'addresses' | 'notReadyAddresses',
  max: number,
): { parts: EndpointAddress[][]; count: number } {
  let count = 0;
  const parts = subsets.map((subset) => {
    const part = (subset[field] ?? []).slice(0, max - count);
    count += part.length;
    return part;
  });
  return { parts, count };
}
