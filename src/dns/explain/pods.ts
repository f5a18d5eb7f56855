/** Why the pods behind a Service are not among its endpoints. */
import { resources } from '../../api/resources.ts';
import type { Event, Pod, Service } from '../../api/types.ts';
import type { Client } from '../../client/client.ts';

/** More pods than this say nothing new. */
const podsShown = 5;

/** One line for each pod that its selector finds and that is not ready; or why it finds none. */
export async function podReasons(client: Client, service: Service): Promise<string[]> {
  const selector = Object.entries(service.spec.selector ?? {});
  if (selector.length === 0) {
    return ['It has no selector: whoever made it has to make its EndpointSlices'];
  }
  const { namespace = '' } = service.metadata;
  const labelSelector = selector.map(([key, value]) => `${key}=${value}`).join(',');
  const { items } = await client.list<Pod>(resources.pods, { namespace, labelSelector });
  if (items.length === 0) return [`No pod matches its selector ${labelSelector}`];
  const unready = items.filter((pod) => !isReady(pod));
  const lines = await Promise.all(unready.slice(0, podsShown).map((pod) => lineFor(client, pod)));
  const more = unready.length - podsShown;
  return more > 0 ? [...lines, `and ${more} more pods`] : lines;
}

function isReady(pod: Pod): boolean {
  return pod.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True') ?? false;
}

async function lineFor(client: Client, pod: Pod): Promise<string> {
  const { name } = pod.metadata;
  const condition = pod.status?.conditions?.find(({ type }) => type === 'Ready');
  const parts = [
    pod.metadata.deletionTimestamp === undefined ? undefined : 'is being deleted',
    `is ${pod.status?.phase ?? 'Pending'}`,
    condition?.message,
    ...waiting(pod),
    await lastComplaint(client, pod),
  ];
  return `Pod "${name}" ${parts.filter((part) => part !== undefined && part !== '').join('; ')}`;
}

function waiting(pod: Pod): string[] {
  return (pod.status?.containerStatuses ?? []).flatMap(({ name, state }) => {
    const reason = state?.waiting?.reason;
    return reason === undefined ? [] : [`container ${name} waits: ${reason}`];
  });
}

/** What the last warning about it said, such as how its probe failed. */
async function lastComplaint(client: Client, pod: Pod): Promise<string | undefined> {
  const { namespace = '', name } = pod.metadata;
  const fieldSelector = `involvedObject.name=${name}`;
  const { items } = await client.list<Event>(resources.events, { namespace, fieldSelector });
  const warnings = items.filter(({ type }) => type === 'Warning');
  const timeOf = (event: Event) => event.lastTimestamp ?? event.eventTime ?? '';
  return warnings.toSorted((a, b) => timeOf(a).localeCompare(timeOf(b))).at(-1)?.message;
}
