/** Figures about the server, loaded at the first scrape. */
import { Gauge, Registry, collectDefaultMetrics } from 'prom-client';

import { qualifiedName, resources } from '../api/resources.ts';
import type { ApiContext } from './context.ts';

const registries = new WeakMap<object, Registry>();

/** The registry of a server, made once. */
export function registryOf({ store }: ApiContext): Registry {
  const existing = registries.get(store);
  if (existing !== undefined) return existing;
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const objects = new Gauge({
    name: 'apiserver_storage_objects',
    help: 'Number of stored objects at the time of the last check, by resource',
    labelNames: ['resource'],
    registers: [registry],
    collect() {
      for (const resource of Object.values(resources)) {
        objects.set({ resource: qualifiedName(resource) }, store.list(resource).length);
      }
    },
  });
  registries.set(store, registry);
  return registry;
}
