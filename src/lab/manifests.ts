/** Reading YAML files of objects and bringing them into the API, as `kubectl apply` would at first. */
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { keyOf, type KubeObject } from '../api/meta.ts';
import { apiVersionOf, resources, type Resource } from '../api/resources.ts';
import { isReason } from '../api/status.ts';
import type { Client } from '../client/client.ts';
import { UserError } from '../lib/errors.ts';

/** All objects of the `*.yaml` files of a directory, in the order of the file names. */
export async function readManifests(directory: string): Promise<KubeObject[]> {
  const { parseAllDocuments } = await import('yaml');
  return globSync(join(directory, '*.yaml'))
    .toSorted()
    .flatMap((file) =>
      [...parseAllDocuments(readFileSync(file, 'utf8'))].map(
        (document) => document.toJS() as KubeObject | null,
      ),
    )
    .filter((object) => object !== null);
}

/** Creates what is missing and leaves alone what is there. */
export async function ensureObject(client: Client, object: KubeObject): Promise<void> {
  try {
    await client.create(resourceOf(object), object);
  } catch (error) {
    if (!isReason(error, 'AlreadyExists')) throw error;
  }
}

/**
 * Creates what is missing and merges the rest into what is there; lists are replaced whole, and so
 * a pod is left as it is: the API adds a mount to its containers, which nobody may take away.
 */
export async function applyObject(client: Client, object: KubeObject): Promise<void> {
  const resource = resourceOf(object);
  try {
    await client.create(resource, object);
  } catch (error) {
    if (!isReason(error, 'AlreadyExists')) throw error;
    if (object.kind === 'Pod') return;
    await client.patch(resource, keyOf(object), object, { type: 'merge' });
  }
}

/** Where objects of this kind live. */
export function resourceOf(object: KubeObject): Resource {
  const found = Object.values(resources).find(
    (resource) => resource.kind === object.kind && apiVersionOf(resource) === object.apiVersion,
  );
  if (found === undefined) {
    throw new UserError(
      'UNKNOWN_KIND',
      `Cannot apply ${object.kind ?? 'an object'} "${object.metadata.name}": no resource serves ${object.apiVersion ?? ''} ${object.kind ?? ''}`,
    );
  }
  return found;
}
