/** Mirrors Endpoints made by hand, for Services without a selector, into slices (K32). */
import { keyOf, keyText } from '../api/meta.ts';
import { resources } from '../api/resources.ts';
import type {
  Endpoint,
  EndpointAddress,
  EndpointPort,
  Endpoints,
  EndpointSubset,
  Service,
} from '../api/types.ts';
import type { Reconciler } from '../client/reconciler.ts';
import { limits } from '../lib/limits.ts';
import { createReconciler, type Context } from './context.ts';
import {
  managedByLabel,
  noteService,
  ownedSlices,
  serviceNameLabel,
  sliceWriter,
} from './endpointslices.ts';
import {
  familyName,
  headlessLabel,
  isSelecting,
  triggerTimeAnnotation,
} from './service-endpoints.ts';
import { planSlices, type EndpointGroup, type SliceFrame } from './slice-plan.ts';

const managedByUs = 'endpointslicemirroring-controller.k8s.io';
const skipMirrorLabel = 'endpointslice.kubernetes.io/skip-mirror';
const leaderAnnotation = 'control-plane.alpha.kubernetes.io/leader';
const notMirrored = new Set([
  'kubectl.kubernetes.io/last-applied-configuration',
  triggerTimeAnnotation,
]);

/** Starts the controller; runs are keyed by the common name of Service and Endpoints. */
export function mirroringController(context: Context): Reconciler {
  const { informers } = context;
  const services = informers.of<Service>(resources.services);
  const endpoints = informers.of<Endpoints>(resources.endpoints);
  const slices = ownedSlices(context, managedByUs);
  const writer = sliceWriter(context, slices, managedByUs);

  const reconciler = createReconciler(context, 'endpointslice-mirroring', async (key) => {
    const held = endpoints.get(key);
    const existing = writer.current(key);
    if (held === undefined || !isMirrored(services.get(key), held)) {
      await writer.apply({ create: [], update: [], remove: existing });
      return;
    }
    await writer.apply(planSlices(frameOf(held), mirrorGroups(held), existing));
  });

  services.onChange((old, current) => reconciler.add(keyText(keyOf((current ?? old)!))));
  endpoints.onChange((old, current) => reconciler.add(keyText(keyOf((current ?? old)!))));
  slices.onChange((old, current) => noteService(reconciler, managedByUs, { old, current }));
  return reconciler;
}

/** Whether these Endpoints are somebody's own, and meant for a Service. */
export function isMirrored(service: Service | undefined, endpoints: Endpoints): boolean {
  const { labels = {}, annotations = {}, deletionTimestamp } = endpoints.metadata;
  if (service === undefined || service.metadata.deletionTimestamp !== undefined) return false;
  if (deletionTimestamp !== undefined || isSelecting(service)) return false;
  return labels[skipMirrorLabel] !== 'true' && annotations[leaderAnnotation] === undefined;
}

/** One group for each subset and family; subsets with the same ports are joined. */
export function mirrorGroups(endpoints: Endpoints): EndpointGroup[] {
  const groups = new Map<string, { group: EndpointGroup; endpoints: Map<string, Endpoint> }>();
  for (const subset of endpoints.subsets ?? []) {
    const ports = portsOf(subset);
    for (const { address, ready } of cutAddresses(subset)) {
      const addressType = familyName(address.ip);
      if (addressType === undefined) continue;
      const id = `${addressType} ${JSON.stringify(ports)}`;
      const found = groups.get(id) ?? {
        group: { addressType, ports, endpoints: [] },
        endpoints: new Map<string, Endpoint>(),
      };
      groups.set(id, found);
      if (!found.endpoints.has(address.ip)) {
        found.endpoints.set(address.ip, endpointOf(address, ready));
      }
    }
  }
  const filled = [...groups.values()].map(({ group, endpoints: all }) => ({
    ...group,
    endpoints: [...all.values()],
  }));
  return filled.length > 0 ? filled : [{ addressType: 'IPv4', ports: [], endpoints: [] }];
}

function cutAddresses(subset: EndpointSubset): { address: EndpointAddress; ready: boolean }[] {
  return [
    ...(subset.addresses ?? []).map((address) => ({ address, ready: true })),
    ...(subset.notReadyAddresses ?? []).map((address) => ({ address, ready: false })),
  ].slice(0, limits.endpointsAddressesMax);
}

function portsOf(subset: EndpointSubset): EndpointPort[] {
  return (subset.ports ?? []).map((port) => ({
    name: port.name ?? '',
    port: port.port,
    protocol: port.protocol ?? 'TCP',
    ...(port.appProtocol === undefined ? {} : { appProtocol: port.appProtocol }),
  }));
}

function endpointOf(address: EndpointAddress, ready: boolean): Endpoint {
  const { ip, hostname, nodeName, targetRef } = address;
  return {
    addresses: [ip],
    conditions: { ready },
    ...(hostname === undefined || hostname === '' ? {} : { hostname }),
    ...(nodeName === undefined ? {} : { nodeName }),
    ...(targetRef === undefined ? {} : { targetRef }),
  };
}

function frameOf(endpoints: Endpoints): SliceFrame {
  const { name, namespace = '', uid = '', labels = {}, annotations = {} } = endpoints.metadata;
  const { [headlessLabel]: _, ...kept } = labels;
  const trigger = annotations[triggerTimeAnnotation];
  return {
    namespace,
    generateName: `${name}-`,
    labels: { ...kept, [serviceNameLabel]: name, [managedByLabel]: managedByUs },
    ownerReferences: [
      {
        apiVersion: 'v1',
        kind: 'Endpoints',
        name,
        uid,
        controller: true,
        blockOwnerDeletion: true,
      },
    ],
    annotations: Object.fromEntries(
      Object.entries(annotations).filter(([key]) => !notMirrored.has(key)),
    ),
    changeAnnotations: trigger === undefined ? {} : { [triggerTimeAnnotation]: trigger },
    endpointsMax: limits.endpointsAddressesMax,
  };
}
