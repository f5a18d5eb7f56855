/** Emptying a node before it is shut down, as `kubectl drain` does, and taking it into service again. */
import { setTimeout as sleep } from 'node:timers/promises';
import { keyOf } from '../api/meta.ts';
import { resources } from '../api/resources.ts';
import { isReason } from '../api/status.ts';
import type { Node, Pod } from '../api/types.ts';
import type { Client } from '../client/client.ts';

/** Tells our own mark from a node that a person has cordoned. */
const mark = 'fairlead.dev/shut-down';
/** Between two looks at the pods that are ending. */
const pauseMs = 50;

/**
 * Keeps new pods away, and asks those that a controller replaces elsewhere to end; the others end with
 * the node and come back with it. Returns once they are gone, or when time is up.
 */
export async function drainNode(client: Client, name: string, withinMs: number): Promise<void> {
  const node = await client.get<Node>(resources.nodes, { name });
  if (node.spec?.unschedulable !== true) await setMark(client, name, true);
  const pods = await movablePods(client, name);
  await Promise.all(pods.map((pod) => deletePod(client, pod)));
  const deadline = performance.now() + withinMs;
  while (performance.now() < deadline && (await movablePods(client, name)).length > 0)
    await sleep(pauseMs);
}

/** Takes our mark off a node that starts again. */
export async function releaseNode(client: Client, name: string): Promise<void> {
  const node = await client.get<Node>(resources.nodes, { name });
  if (node.metadata.annotations?.[mark] !== undefined) await setMark(client, name, false);
}

async function setMark(client: Client, name: string, on: boolean): Promise<void> {
  const value = on ? 'true' : null;
  const patch = {
    metadata: { annotations: { [mark]: value } },
    spec: { unschedulable: on ? true : null },
  };
  await client.patch(resources.nodes, { name }, patch, { type: 'merge' });
}

async function movablePods(client: Client, node: string): Promise<Pod[]> {
  const fieldSelector = `spec.nodeName=${node}`;
  const { items } = await client.list<Pod>(resources.pods, { fieldSelector });
  return items.filter(({ metadata }) =>
    metadata.ownerReferences?.some((owner) => owner.controller === true),
  );
}

async function deletePod(client: Client, pod: Pod): Promise<void> {
  try {
    await client.delete(resources.pods, keyOf(pod));
  } catch (error) {
    if (!isReason(error, 'NotFound')) throw error;
  }
}
