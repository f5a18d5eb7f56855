/** Keeps the EndpointSlices of every Service with a selector (K29, K31, K34). */
import { keyOf, keyText } from '../api/meta.ts';
import { resources } from '../api/resources.ts';
import type { Endpoint, EndpointPort, EndpointSlice, Node, Pod, Service } from '../api/types.ts';
import type { Informer } from '../client/informer.ts';
import type { Reconciler } from '../client/reconciler.ts';
import { limits } from '../lib/limits.ts';
import { create, createReconciler, Removals, update, type Context } from './context.ts';
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
  type IpFamilyName,
} from './service-endpoints.ts';
import {
  planSlices,
  type EndpointGroup,
  type SliceChanges,
  type SliceFrame,
} from './slice-plan.ts';

export const serviceNameLabel = 'kubernetes.io/service-name';
export const managedByLabel = 'endpointslice.kubernetes.io/managed-by';
const managedByUs = 'endpointslice-controller.k8s.io';
const zoneLabel = 'topology.kubernetes.io/zone';

/** Starts the controller; runs are keyed by Service. */
export function endpointSliceController(context: Context): Reconciler {
  const { informers } = context;
  const services = serviceInformer(informers);
  const pods = podInformer(informers);
  const nodes = informers.of<Node>(resources.nodes);
  const slices = ownedSlices(context, managedByUs);
  const writer = sliceWriter(context, slices);

  const reconciler = createReconciler(context, 'endpointslices', async (key) => {
    const service = services.get(key);
    // A Service that lost its selector keeps what it had: its owner takes the endpoints over.
    if (service !== undefined && !isSelecting(service)) return;
    const existing = writer.current(key);
    if (service === undefined || isLeaving(service)) {
      await writer.apply({ create: [], update: [], remove: existing });
      return;
    }
    const namespace = service.metadata.namespace ?? '';
    const selected = podsWithLabels(pods, namespace, service.spec.selector ?? {});
    const zoneOf = (node: string) => nodes.get(node)?.metadata.labels?.[zoneLabel];
    const groups = wantGroups(service, selected, zoneOf);
    await writer.apply(planSlices(frameOf(service, selected), groups, existing));
  });

  services.onChange((old, current) => noteKey(reconciler, current ?? old));
  watchSelectedPods(informers, (key) => reconciler.add(key));
  slices.onChange((old, current) => noteService(reconciler, managedByUs, { old, current }));
  nodes.onChange((old, current) => {
    if (old?.metadata.labels?.[zoneLabel] === current?.metadata.labels?.[zoneLabel]) return;
    for (const service of services.list()) noteKey(reconciler, service);
  });
  return reconciler;
}

function isLeaving(service: Service): boolean {
  return service.metadata.deletionTimestamp !== undefined;
}

function noteKey(reconciler: Reconciler, object: Service | undefined): void {
  if (object !== undefined) reconciler.add(keyText(keyOf(object)));
}

/** The endpoints a Service must have: one group for each family and list of resolved ports. */
export function wantGroups(
  service: Service,
  pods: readonly Pod[],
  zoneOf: (nodeName: string) => string | undefined,
): EndpointGroup[] {
  const counted = pods.filter(isEndpoint);
  return familiesOf(service, counted).flatMap((family) => {
    const groups = new Map<string, { ports: EndpointPort[]; endpoints: Endpoint[] }>();
    for (const pod of counted) {
      const address = addressIn(pod, family);
      if (address === undefined) continue;
      const { ports, id, endpoint } = remembered(service, pod, { address, zoneOf });
      const group = groups.get(id) ?? { ports, endpoints: [] };
      groups.set(id, group);
      group.endpoints.push(endpoint);
    }
    const found = [...groups.values()].map((group) => ({ addressType: family, ...group }));
    return found.length > 0
      ? found.map((group) => withHints(service, group))
      : [noEndpoints(family)];
  });
}

type Made = { zone: string | undefined; ports: EndpointPort[]; id: string; endpoint: Endpoint };

/** Of a thousand pods one has changed: what the others gave is kept as long as they are the same. */
const made = new WeakMap<Service, WeakMap<Pod, Map<string, Made>>>();

function remembered(
  service: Service,
  pod: Pod,
  { address, zoneOf }: { address: string; zoneOf: (nodeName: string) => string | undefined },
): Made {
  const byPod = made.get(service) ?? new WeakMap<Pod, Map<string, Made>>();
  made.set(service, byPod);
  const byAddress = byPod.get(pod) ?? new Map<string, Made>();
  byPod.set(pod, byAddress);
  const { nodeName } = pod.spec;
  const zone = nodeName === undefined ? undefined : zoneOf(nodeName);
  const held = byAddress.get(address);
  if (held !== undefined && held.zone === zone) return held;
  const ports = portsOn(service, pod);
  const endpoint = endpointOf(service, pod, { address, zone });
  const fresh = { zone, ports, id: JSON.stringify(ports), endpoint };
  byAddress.set(address, fresh);
  return fresh;
}

function noEndpoints(addressType: IpFamilyName): EndpointGroup {
  return { addressType, ports: [], endpoints: [] };
}

function portsOn(service: Service, pod: Pod): EndpointPort[] {
  return (service.spec.ports ?? []).flatMap((port) => {
    const number = targetPortOn(pod, port);
    if (number === undefined) return [];
    return [
      {
        name: port.name ?? '',
        port: number,
        protocol: port.protocol ?? 'TCP',
        ...(port.appProtocol === undefined ? {} : { appProtocol: port.appProtocol }),
      },
    ];
  });
}

function endpointOf(
  service: Service,
  pod: Pod,
  { address, zone }: { address: string; zone: string | undefined },
): Endpoint {
  const serving = isReady(pod);
  const terminating = isTerminating(pod);
  const ready = service.spec.publishNotReadyAddresses === true || (serving && !terminating);
  const { nodeName } = pod.spec;
  const hostname = endpointHostname(service, pod);
  return {
    addresses: [address],
    conditions: { ready, serving, terminating },
    targetRef: podReference(pod),
    ...(nodeName === undefined ? {} : { nodeName }),
    ...(zone === undefined ? {} : { zone }),
    ...(hostname === undefined ? {} : { hostname }),
  };
}

/** `trafficDistribution` as hints; all or none, so that no zone is left without endpoints (K34). */
function withHints(service: Service, group: EndpointGroup): EndpointGroup {
  const wish = service.spec.trafficDistribution;
  const byZone = wish === 'PreferClose' || wish === 'PreferSameZone' || wish === 'PreferSameNode';
  if (
    !byZone ||
    group.endpoints.some((e) => e.conditions?.ready === true && e.zone === undefined)
  ) {
    return group;
  }
  const endpoints = group.endpoints.map((endpoint): Endpoint => {
    const { zone, nodeName, conditions } = endpoint;
    if (conditions?.ready !== true || zone === undefined) return endpoint;
    const forNodes =
      wish === 'PreferSameNode' && nodeName !== undefined ? { forNodes: [{ name: nodeName }] } : {};
    return { ...endpoint, hints: { forZones: [{ name: zone }], ...forNodes } };
  });
  return { ...group, endpoints };
}

function frameOf(service: Service, pods: readonly Pod[]): SliceFrame {
  const { name, namespace = '', uid = '' } = service.metadata;
  return {
    namespace,
    generateName: `${name}-`,
    labels: {
      ...inheritedLabels(service),
      [serviceNameLabel]: name,
      [managedByLabel]: managedByUs,
    },
    ownerReferences: [
      { apiVersion: 'v1', kind: 'Service', name, uid, controller: true, blockOwnerDeletion: true },
    ],
    annotations: {},
    changeAnnotations: { [triggerTimeAnnotation]: triggerTime(service, pods) },
    endpointsMax: limits.endpointsPerSlice,
  };
}

/** The slices, indexed by `manager namespace/service`. */
export function ownedSlices(context: Context, manager: string): Informer<EndpointSlice> {
  return context.informers
    .of<EndpointSlice>(resources.endpointslices)
    .addIndex(manager, (slice) => (isManagedBy(slice, manager) ? [serviceKeyOf(slice)] : []));
}

function isManagedBy(slice: EndpointSlice, manager: string): boolean {
  return slice.metadata.labels?.[managedByLabel] === manager;
}

function serviceKeyOf(slice: EndpointSlice): string {
  return `${slice.metadata.namespace ?? ''}/${slice.metadata.labels?.[serviceNameLabel] ?? ''}`;
}

/** A slice of ours that was changed or deleted by others is put right. */
export function noteService(
  reconciler: Reconciler,
  manager: string,
  change: { old: EndpointSlice | undefined; current: EndpointSlice | undefined },
): void {
  for (const slice of [change.old, change.current]) {
    if (slice !== undefined && isManagedBy(slice, manager)) reconciler.add(serviceKeyOf(slice));
  }
}

export type SliceWriter = {
  /** The slices of the Service that this controller keeps, without those on their way out. */
  current(serviceKey: string): EndpointSlice[];
  apply(changes: SliceChanges): Promise<void>;
};

export function sliceWriter(
  context: Context,
  slices: Informer<EndpointSlice>,
  manager = managedByUs,
): SliceWriter {
  const resource = resources.endpointslices;
  const removals = new Removals().follow(slices);
  return {
    current: (key) =>
      slices
        .byIndex(manager, key)
        .filter((slice) => !removals.has(slice) && slice.metadata.deletionTimestamp === undefined),
    async apply(changes) {
      await Promise.all([
        ...changes.create.map((slice) => create(context, resource, slice)),
        ...changes.update.map((slice) => update(context, resource, slice)),
      ]);
      // Last, so that no reader misses an endpoint that moves.
      await Promise.all(changes.remove.map((slice) => removals.remove(context, resource, slice)));
    },
  };
}
