/** Which objects an answer comes from, and why there is none: read from the API as it is now. */
import type { KubeObject } from '../../api/meta.ts';
import { resources, type Resource } from '../../api/resources.ts';
import type { EndpointSlice, Service } from '../../api/types.ts';
import type { Client, ListOptions } from '../../client/client.ts';
import { canonicalIp } from '../../lib/ip.ts';
import { didYouMean } from '../config/did-you-mean.ts';
import type { ServicePlace } from '../zone/grammar.ts';
import { podReasons } from './pods.ts';
import type { Step } from './trace.ts';
import { countOf, oddities, readyIn, whyEmpty, type Facts } from './verdicts.ts';

export type ObjectRef = {
  readonly kind: string;
  readonly namespace?: string;
  readonly name: string;
  readonly resourceVersion: string;
  /** What of it counts here. */
  readonly what: string;
};

/** Reasons say why, or what is odd about an answer; hints say what to do. */
export type Evidence = {
  readonly objects: readonly ObjectRef[];
  readonly reasons: readonly string[];
  readonly hints: readonly string[];
};

const nothing: Evidence = { objects: [], reasons: [], hints: [] };

/** Reads what the step's name stands for. */
export async function evidenceFor(client: Client, step: Step, domain: string): Promise<Evidence> {
  const { place } = step;
  switch (place?.kind) {
    case 'service':
      return serviceEvidence(client, step, place, domain);
    case 'namespace':
      return namespaceEvidence(client, place.namespace);
    case 'reverse':
      return reverseEvidence(client, place.address);
    case 'pod':
      return podEvidence(client, step, place);
    case 'nothing':
      return because(whyNothing(step.name, domain));
    case 'apex':
    case 'branch':
      return step.status === 'answered'
        ? nothing
        : because('Names stand below it, and it has no addresses of its own');
    default:
      return nothing;
  }
}

function whyNothing(name: string, domain: string): string {
  const isDeep = /\.(svc|pod)\.$/i.test(name.slice(0, -domain.length - 1));
  return isDeep
    ? 'No name has so many labels before the Service'
    : `Below ${domain} there are only svc and pod: this is no name of a Service`;
}

function because(reason: string, ...hints: readonly (string | undefined)[]): Evidence {
  return {
    objects: [],
    reasons: [reason],
    hints: hints.filter((hint) => hint !== undefined),
  };
}

async function listOf<T extends KubeObject>(
  client: Client,
  resource: Resource,
  options: ListOptions = {},
): Promise<readonly T[]> {
  return (await client.list<T>(resource, options)).items;
}

async function missingNamespace(client: Client, name: string): Promise<Evidence | undefined> {
  const all = await listOf(client, resources.namespaces);
  const names = all.map(({ metadata }) => metadata.name);
  if (names.includes(name)) return undefined;
  return because(`Namespace "${name}" does not exist`, didYouMean(name, names));
}

async function namespaceEvidence(client: Client, name: string): Promise<Evidence> {
  const missing = await missingNamespace(client, name);
  if (missing === undefined) {
    return because(`It is Namespace "${name}", which has no addresses`);
  }
  // A short name typed where its search list does not lead to it.
  const services = await servicesNamed(client, name);
  const others = services.map(({ metadata }) => metadata.namespace);
  const hint = others.length === 0 ? undefined : `There is ${elsewhere(name, others)}`;
  return { ...missing, hints: [...missing.hints, ...(hint === undefined ? [] : [hint])].slice(-1) };
}

async function servicesNamed(client: Client, name: string): Promise<readonly Service[]> {
  return listOf<Service>(client, resources.services, { fieldSelector: `metadata.name=${name}` });
}

function elsewhere(name: string, namespaces: readonly (string | undefined)[]): string {
  const shown = namespaces.slice(0, 3).map((namespace) => `"${namespace}"`);
  return `Service "${name}" in Namespace ${shown.join(', ')}: ask for ${name}.${namespaces[0]}`;
}

async function serviceEvidence(
  client: Client,
  step: Step,
  place: ServicePlace,
  domain: string,
): Promise<Evidence> {
  const { namespace, service: name } = place;
  const noNamespace = await missingNamespace(client, namespace);
  if (noNamespace !== undefined) return noNamespace;
  const services = await listOf<Service>(client, resources.services, { namespace });
  const service = services.find(({ metadata }) => metadata.name === name);
  if (service === undefined) return missingService(client, place, services);
  const slices = await listOf<EndpointSlice>(client, resources.endpointslices, {
    namespace,
    labelSelector: `kubernetes.io/service-name=${name}`,
  });
  const facts = { service, slices, place, step };
  const objects = [serviceRef(service), ...slicesBehind(facts).map(sliceRef)];
  const { reasons, needsPods } =
    step.status === 'answered' ? oddities(facts) : whyEmpty(facts, domain);
  const pods = needsPods ? await podReasons(client, service) : [];
  return { objects, reasons: [...reasons, ...pods], hints: [] };
}

async function missingService(
  client: Client,
  { namespace, service: name }: ServicePlace,
  services: readonly Service[],
): Promise<Evidence> {
  const reason = `Service "${name}" does not exist in Namespace "${namespace}"`;
  const others = (await servicesNamed(client, name)).map(({ metadata }) => metadata.namespace);
  if (others.length > 0) return because(reason, `There is ${elsewhere(name, others)}`);
  const names = services.map(({ metadata }) => metadata.name);
  return because(reason, didYouMean(name, names));
}

/** The slices that an answer with endpoints is made of. */
function slicesBehind({ service, slices, place }: Facts): readonly EndpointSlice[] {
  return service.spec.clusterIP === 'None' || place.endpoint !== undefined ? slices : [];
}

function refOf({ metadata }: KubeObject, kind: string, what: string): ObjectRef {
  const { namespace, name, resourceVersion = '' } = metadata;
  return { kind, ...(namespace === undefined ? {} : { namespace }), name, resourceVersion, what };
}

function serviceRef(service: Service): ObjectRef {
  const { type, clusterIP, clusterIPs, externalName } = service.spec;
  if (type === 'ExternalName') return refOf(service, 'Service', `alias of ${externalName}`);
  if (clusterIP === 'None') return refOf(service, 'Service', 'headless');
  return refOf(service, 'Service', `${type} ${(clusterIPs ?? [clusterIP]).join(' ')}`);
}

function sliceRef(slice: EndpointSlice): ObjectRef {
  const { ready, all } = countOf([slice]);
  return refOf(slice, 'EndpointSlice', `${ready} of ${all} endpoints ready`);
}

async function podEvidence(
  client: Client,
  step: Step,
  { namespace, pod }: { readonly namespace: string; readonly pod: string },
): Promise<Evidence> {
  const missing = await missingNamespace(client, namespace);
  if (missing !== undefined) return missing;
  if (step.status === 'answered') {
    return because('Made from the name itself: whether such a pod exists is not looked at');
  }
  if (step.status === 'empty')
    return because(`It is no address of the family that ${step.type} asks for`);
  return because(`"${pod}" is no address with dashes of a pod that may be asked for`);
}

async function reverseEvidence(client: Client, address: string): Promise<Evidence> {
  const services = await listOf<Service>(client, resources.services);
  const owner = services.find(({ spec }) => ipsOf(spec).includes(address));
  if (owner !== undefined) return { ...nothing, objects: [serviceRef(owner)] };
  const slices = await listOf<EndpointSlice>(client, resources.endpointslices);
  const found = slices.filter((slice) =>
    readyIn([slice]).some(({ addresses }) =>
      addresses.some((text) => canonicalIp(text) === address),
    ),
  );
  if (found.length > 0) return { ...nothing, objects: found.map(sliceRef) };
  return because(`${address} is neither a cluster IP nor a ready endpoint of a Service`);
}

function ipsOf({ clusterIP, clusterIPs }: Service['spec']): (string | undefined)[] {
  return (clusterIPs ?? [clusterIP ?? '']).map(canonicalIp);
}
