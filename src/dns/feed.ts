/** Fills the zone data from the API: Services, EndpointSlices, Namespaces, and pods if verified (D94). */
import { resources, type Resource } from '../api/resources.ts';
import type { KubeObject } from '../api/meta.ts';
import type { EndpointSlice, Namespace, Pod } from '../api/types.ts';
import type { Client } from '../client/client.ts';
import { Informer } from '../client/informer.ts';
import type { Clock } from '../lib/clock.ts';
import { canonicalIp } from '../lib/ip.ts';
import type { Logger } from '../lib/log.ts';
import type { KubernetesSettings } from './config/types.ts';
import type { DnsCounters } from './counters.ts';
import { importEntry, serviceEntry, sliceEntry } from './zone/objects.ts';
import type { ServiceEntry, SliceEntry } from './zone/objects.ts';
import type { ZoneData } from './zone/zone-data.ts';

export type Feed = {
  readonly synced: Promise<void>;
  hasSynced(): boolean;
  stop(): void;
};

export type FeedOptions = {
  readonly client: Client;
  readonly data: ZoneData;
  /** What ServiceImports fill, where there are multicluster zones. */
  readonly imports?: ZoneData | undefined;
  readonly settings: KubernetesSettings;
  readonly watchPods: boolean;
  readonly counters: DnsCounters;
  readonly clock: Clock;
  readonly log?: Logger | undefined;
};

type Shared = { readonly client: Client; readonly clock: Clock; readonly log?: Logger };

/** Begins to follow the API; what is known answers at once. */
export function startFeed(options: FeedOptions): Feed {
  const { client, clock, log, settings, imports } = options;
  const shared: Shared = { client, clock, ...(log === undefined ? {} : { log }) };
  const informers: Informer<never>[] = [
    serviceInformer(shared, options),
    namespaceInformer(shared, options),
  ] as never;
  if (settings.noEndpoints !== true) informers.push(sliceInformer(shared, options) as never);
  if (options.watchPods) informers.push(podInformer(shared, options) as never);
  if (imports !== undefined) informers.push(importInformer(shared, imports) as never);
  for (const informer of informers) informer.start();
  return {
    synced: Promise.all(informers.map((informer) => informer.synced)).then(() => undefined),
    hasSynced: () => informers.every((informer) => informer.hasSynced),
    stop: () => informers.forEach((informer) => informer.stop()),
  };
}

/** `labels` filters Services, slices and pods alike (D27). */
function labelSelector({ labels }: KubernetesSettings): { labelSelector?: string } {
  return labels === undefined ? {} : { labelSelector: labels };
}

/**
 * All that is held of an object: what an informer needs to tell versions apart, and what the data was
 * given of it, so that nothing is held twice.
 */
type Held<T> = KubeObject & { readonly held: T };

/** Makes the one from the other as the object arrives; what it made stays as it is. */
function holding<T>(make: (object: never) => T): (object: Held<T>) => Held<T> {
  return (object) => {
    if ('held' in object) return object;
    return { ...trimAll<KubeObject>(object), held: make(object) };
  };
}

function serviceInformer(
  shared: Shared,
  { data, settings }: FeedOptions,
): Informer<Held<ServiceEntry>> {
  const services = new Informer<Held<ServiceEntry>>({
    ...shared,
    ...labelSelector(settings),
    resource: resources.services,
    trim: holding(serviceEntry),
  });
  services.onChange((old, current) => {
    const { name, namespace = '' } = (current ?? old)!.metadata;
    data.setService(namespace, name, current?.held);
  });
  return services;
}

/** As `data` and as `imports` see a slice, and when the pods changed that made it so. */
type HeldSlice = {
  readonly own: SliceEntry | undefined;
  readonly imported?: SliceEntry | undefined;
  readonly triggeredAtMs?: number;
};

function sliceInformer(shared: Shared, options: FeedOptions): Informer<Held<HeldSlice>> {
  const { data, imports, settings, counters, clock } = options;
  const kept = {
    podNames: settings.endpointPodNames === true,
    zonal: settings.zonal === true,
  };
  const hold = (slice: EndpointSlice): HeldSlice => {
    const triggeredAtMs = triggerTimeOf(slice);
    return {
      own: sliceEntry(slice, kept),
      ...(imports && { imported: sliceEntry(slice, { ...kept, imported: true }) }),
      ...(triggeredAtMs !== undefined && { triggeredAtMs }),
    };
  };
  const slices = new Informer<Held<HeldSlice>>({
    ...shared,
    ...labelSelector(settings),
    resource: resources.endpointslices,
    trim: holding(hold),
  });
  slices.onChange((old, current) => {
    const { name, namespace = '' } = (current ?? old)!.metadata;
    data.setSlice(namespace, name, current?.held.own);
    imports?.setSlice(namespace, name, current?.held.imported);
    const triggeredAtMs = current?.held.triggeredAtMs;
    if (triggeredAtMs === undefined || !slices.hasSynced) return;
    counters.programmingSeconds.observe(Math.max(0, clock.now() - triggeredAtMs) / 1000);
  });
  return slices;
}

/** Only the namespaces that the settings show are known (D7). */
function namespaceInformer(shared: Shared, options: FeedOptions): Informer<Namespace> {
  const { data, imports, settings } = options;
  const { namespaces: shown, namespaceLabels } = settings;
  const namespaces = new Informer<Namespace>({
    ...shared,
    ...(namespaceLabels === undefined ? {} : { labelSelector: namespaceLabels }),
    resource: resources.namespaces,
    trim: trimAll,
  });
  namespaces.onChange((old, current) => {
    const { name } = (current ?? old)!.metadata;
    if (shown !== undefined && !shown.includes(name)) return;
    data.setNamespace(name, current !== undefined);
    imports?.setNamespace(name, current !== undefined);
  });
  return namespaces;
}

/** Finished pods have no name; only the first address counts (D53). */
function podInformer(shared: Shared, { data, settings }: FeedOptions): Informer<Pod> {
  const pods = new Informer<Pod>({
    ...shared,
    ...labelSelector(settings),
    resource: resources.pods,
    fieldSelector: 'status.phase!=Succeeded,status.phase!=Failed,status.phase!=Unknown',
    trim: trimPod,
  });
  pods.onChange((old, current) => {
    const before = canonicalIp(old?.status?.podIP ?? '');
    const after = canonicalIp(current?.status?.podIP ?? '');
    if (before === after) return;
    const namespace = (current ?? old)!.metadata.namespace ?? '';
    if (before !== undefined) data.setPod(namespace, before, false);
    if (after !== undefined) data.setPod(namespace, after, true);
  });
  return pods;
}

const serviceImports: Resource = {
  group: 'multicluster.x-k8s.io',
  version: 'v1alpha1',
  resource: 'serviceimports',
  kind: 'ServiceImport',
  namespaced: true,
  singular: 'serviceimport',
};

function importInformer(shared: Shared, imports: ZoneData): Informer<Held<ServiceEntry>> {
  const informer = new Informer<Held<ServiceEntry>>({
    ...shared,
    resource: serviceImports,
    trim: holding(importEntry),
  });
  informer.onChange((old, current) => {
    const { name, namespace = '' } = (current ?? old)!.metadata;
    imports.setService(namespace, name, current?.held);
  });
  return informer;
}

const triggerAnnotation = 'endpoints.kubernetes.io/last-change-trigger-time';

/** On slices of headless Services, by whoever makes them from a selector. */
const headlessLabel = 'service.kubernetes.io/headless';

/**
 * When the pods changed, from where the time to here is counted (D104); only where answers show pods, as
 * in CoreDNS: those of other Services stay the same.
 */
function triggerTimeOf({ metadata }: EndpointSlice): number | undefined {
  if (metadata.labels?.[headlessLabel] === undefined) return undefined;
  const at = Date.parse(metadata.annotations?.[triggerAnnotation] ?? '');
  return Number.isNaN(at) ? undefined : at;
}

/** An informer needs only these to tell versions apart. */
function trimAll<T extends KubeObject>({ metadata }: T): T {
  const { name, namespace, uid, resourceVersion } = metadata;
  return { metadata: { name, namespace, uid, resourceVersion } } as unknown as T;
}

function trimPod(pod: Pod): Pod {
  const podIP = pod.status?.podIP;
  return { ...trimAll(pod), status: podIP === undefined ? {} : { podIP } };
}
