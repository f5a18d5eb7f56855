/** Fills the zone data from the API: Services, EndpointSlices, Namespaces, and pods if verified (D94). */
import { resources } from '../api/resources.ts';
import type { KubeObject } from '../api/meta.ts';
import type { EndpointSlice, Namespace, Pod, Service } from '../api/types.ts';
import type { Client } from '../client/client.ts';
import { Informer } from '../client/informer.ts';
import type { Clock } from '../lib/clock.ts';
import { canonicalIp } from '../lib/ip.ts';
import type { Logger } from '../lib/log.ts';
import type { DnsCounters } from './counters.ts';
import { serviceEntry, sliceEntry } from './zone/objects.ts';
import type { ZoneData } from './zone/zone-data.ts';

export type Feed = {
  readonly synced: Promise<void>;
  hasSynced(): boolean;
  stop(): void;
};

export type FeedOptions = {
  readonly client: Client;
  readonly data: ZoneData;
  readonly watchPods: boolean;
  readonly counters: DnsCounters;
  readonly clock: Clock;
  readonly log?: Logger | undefined;
};

/** Begins to follow the API; what is known answers at once. */
export function startFeed(options: FeedOptions): Feed {
  const { data, clock, counters } = options;
  const { client, log } = options;
  const shared = { client, clock, ...(log === undefined ? {} : { log }) };

  const services = new Informer<Service>({
    ...shared,
    resource: resources.services,
    trim: trimService,
  });
  services.onChange((old, current) => {
    const { name, namespace = '' } = (current ?? old)!.metadata;
    data.setService(namespace, name, current === undefined ? undefined : serviceEntry(current));
  });

  const slices = new Informer<EndpointSlice>({
    ...shared,
    resource: resources.endpointslices,
    trim: trimSlice,
  });
  slices.onChange((old, current) => {
    const { name, namespace = '' } = (current ?? old)!.metadata;
    data.setSlice(namespace, name, current === undefined ? undefined : sliceEntry(current));
    if (current !== undefined && slices.hasSynced) noteLatency(current, counters, clock);
  });

  const namespaces = new Informer<Namespace>({
    ...shared,
    resource: resources.namespaces,
    trim: trimAll,
  });
  namespaces.onChange((old, current) => {
    data.setNamespace((current ?? old)!.metadata.name, current !== undefined);
  });

  const informers: Informer<never>[] = [services, slices, namespaces] as never;
  if (options.watchPods) informers.push(podInformer(shared, data) as never);
  for (const informer of informers) informer.start();
  return {
    synced: Promise.all(informers.map((informer) => informer.synced)).then(() => undefined),
    hasSynced: () => informers.every((informer) => informer.hasSynced),
    stop: () => informers.forEach((informer) => informer.stop()),
  };
}

/** Finished pods have no name; only the first address counts (D53). */
function podInformer(shared: { client: Client; clock: Clock }, data: ZoneData): Informer<Pod> {
  const pods = new Informer<Pod>({
    ...shared,
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

const triggerAnnotation = 'endpoints.kubernetes.io/last-change-trigger-time';

/** From the change of the pods to here (D104). */
function noteLatency(slice: EndpointSlice, counters: DnsCounters, clock: Clock): void {
  const at = Date.parse(slice.metadata.annotations?.[triggerAnnotation] ?? '');
  if (!Number.isNaN(at)) counters.programmingSeconds.observe(Math.max(0, clock.now() - at) / 1000);
}

/** An informer needs only these to tell versions apart. */
function trimAll<T extends KubeObject>({ metadata }: T): T {
  const { name, namespace, uid, resourceVersion } = metadata;
  return { metadata: { name, namespace, uid, resourceVersion } } as unknown as T;
}

function trimService(service: Service): Service {
  const { type, clusterIP, clusterIPs, externalName, ports } = service.spec;
  const spec = { type, clusterIP, clusterIPs, externalName, ports } as Service['spec'];
  return { ...trimAll(service), spec };
}

/** The data has its own, smaller copy: the label and trigger time are read only on the way in. */
function trimSlice(slice: EndpointSlice): EndpointSlice {
  const kept = trimAll(slice);
  const { labels, annotations } = slice.metadata;
  const metadata = {
    ...kept.metadata,
    ...(labels && { labels }),
    ...(annotations && { annotations }),
  };
  return { ...slice, metadata };
}

function trimPod(pod: Pod): Pod {
  const podIP = pod.status?.podIP;
  return { ...trimAll(pod), status: podIP === undefined ? {} : { podIP } };
}
