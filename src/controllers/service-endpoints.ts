/** Which pods stand behind a Service, and on which ports: shared by slices and Endpoints (K29-K31). */
import { isDeepStrictEqual } from 'node:util';
import { keyOf, keyText } from '../api/meta.ts';
import { resources } from '../api/resources.ts';
import type { Pod, Service, ServicePort } from '../api/types.ts';
import type { Informer, Informers } from '../client/informer.ts';
import { formatTime } from '../lib/clock.ts';
import { familyOf } from '../lib/ip.ts';
import {
  hasLabels,
  isFinished,
  isReady,
  isTerminating,
  labelKeys,
  podInformer,
  podIps,
  readyCondition,
} from './pods.ts';

export type IpFamilyName = 'IPv4' | 'IPv6';

/** When the last change that an endpoints object shows took place. */
export const triggerTimeAnnotation = 'endpoints.kubernetes.io/last-change-trigger-time';
export const headlessLabel = 'service.kubernetes.io/headless';

/** Whether endpoints of the Service are ours to keep: it has a selector, and is not only a name. */
export function isSelecting(service: Service): boolean {
  const { selector, type } = service.spec;
  return selector !== undefined && Object.keys(selector).length > 0 && type !== 'ExternalName';
}

/** The families of a Service, the primary one first. */
export function familiesOf(service: Service, pods: readonly Pod[]): IpFamilyName[] {
  const { ipFamilies, clusterIPs, clusterIP } = service.spec;
  if (ipFamilies !== undefined && ipFamilies.length > 0) return ipFamilies;
  const addresses = clusterIPs ?? (clusterIP === undefined ? [] : [clusterIP]);
  const known = [...addresses, ...pods.flatMap(podIps)].map(familyName);
  return [known.find((family) => family !== undefined) ?? 'IPv4'];
}

export function familyName(address: string): IpFamilyName | undefined {
  const family = familyOf(address);
  if (family === undefined) return undefined;
  return family === 'ipv4' ? 'IPv4' : 'IPv6';
}

/** A pod counts while it has an address and has not ended for good (K31). */
export function isEndpoint(pod: Pod): boolean {
  return podIps(pod).length > 0 && !isFinished(pod);
}

/** The pod's address in the family; a hostNetwork pod has its node's. */
export function addressIn(pod: Pod, family: IpFamilyName): string | undefined {
  return podIps(pod).find((ip) => familyName(ip) === family);
}

/** The number a Service port has on this pod, or undefined when the pod has no port of that name. */
export function targetPortOn(pod: Pod, port: ServicePort): number | undefined {
  const target = port.targetPort ?? port.port;
  if (typeof target === 'number') return target === 0 ? port.port : target;
  const protocol = port.protocol ?? 'TCP';
  const sidecars = (pod.spec.initContainers ?? []).filter((c) => c.restartPolicy === 'Always');
  for (const container of [...sidecars, ...pod.spec.containers]) {
    for (const own of container.ports ?? []) {
      if (own.name === target && (own.protocol ?? 'TCP') === protocol) return own.containerPort;
    }
  }
  return undefined;
}

/** The name DNS gives the pod below the Service, when the pod asks for one. */
export function endpointHostname(service: Service, pod: Pod): string | undefined {
  const { hostname, subdomain } = pod.spec;
  if (hostname === undefined || hostname === '') return undefined;
  return subdomain === service.metadata.name ? hostname : undefined;
}

export function podReference(pod: Pod) {
  const { name, namespace, uid } = pod.metadata;
  return {
    kind: 'Pod',
    ...(namespace === undefined ? {} : { namespace }),
    name,
    ...(uid === undefined ? {} : { uid }),
  };
}

/** The latest moment at which the Service or one of the pods changed in a way that shows here. */
export function triggerTime(service: Service, pods: readonly Pod[]): string {
  const times = [service.metadata.creationTimestamp, ...pods.map(lastChange)];
  const latest = Math.max(0, ...times.map((time) => Date.parse(time ?? '') || 0));
  return formatTime(latest);
}

function lastChange(pod: Pod): string | undefined {
  return readyCondition(pod)?.lastTransitionTime ?? pod.metadata.creationTimestamp;
}

/** Labels of a Service that its endpoints objects take over. */
export function inheritedLabels(service: Service): Record<string, string> {
  const { [headlessLabel]: _, ...labels } = service.metadata.labels ?? {};
  return service.spec.clusterIP === 'None' ? { ...labels, [headlessLabel]: '' } : labels;
}

/** The Services, indexed by one label of their selectors (`selector`). */
export function serviceInformer(informers: Informers): Informer<Service> {
  return informers.of<Service>(resources.services).addIndex('selector', (service) => {
    if (!isSelecting(service)) return [];
    const keys = labelKeys(service.metadata.namespace ?? '', service.spec.selector);
    return [keys.sort()[0] ?? ''];
  });
}

/** Calls `note` with the key of every Service whose endpoints a change of pods may touch. */
export function watchSelectedPods(informers: Informers, note: (key: string) => void): void {
  const services = serviceInformer(informers);
  podInformer(informers).onChange((old, current) => {
    if (old !== undefined && current !== undefined && sameEndpoint(old, current)) return;
    for (const pod of [old, current]) {
      if (pod === undefined) continue;
      for (const service of selectingServices(services, pod)) note(keyText(keyOf(service)));
    }
  });
}

function selectingServices(services: Informer<Service>, pod: Pod): Service[] {
  return labelKeys(pod.metadata.namespace ?? '', pod.metadata.labels)
    .flatMap((key) => services.byIndex('selector', key))
    .filter((service) => hasLabels(pod, service.spec.selector ?? {}));
}

/** Whether nothing changed that an endpoint shows; most pod updates are of this kind. */
function sameEndpoint(old: Pod, current: Pod): boolean {
  return (
    isReady(old) === isReady(current) &&
    isTerminating(old) === isTerminating(current) &&
    isFinished(old) === isFinished(current) &&
    old.spec.nodeName === current.spec.nodeName &&
    isDeepStrictEqual(podIps(old), podIps(current)) &&
    isDeepStrictEqual(old.metadata.labels, current.metadata.labels)
  );
}
