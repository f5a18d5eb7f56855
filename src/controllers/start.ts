/** All controllers of a cluster in one process, on shared informers. */
import type { Client } from '../client/client.ts';
import { createEventRecorder, type EventRecorder } from '../client/events.ts';
import { Informers } from '../client/informer.ts';
import type { Reconciler } from '../client/reconciler.ts';
import { systemClock, type Clock } from '../lib/clock.ts';
import type { Logger } from '../lib/log.ts';
import type { Context } from './context.ts';
import { deploymentController } from './deployments.ts';
import { endpointsController } from './endpoints.ts';
import { evictionController } from './eviction.ts';
import { garbageController } from './garbage.ts';
import { namespaceController } from './namespaces.ts';
import { nodeLifecycleController } from './node-lifecycle.ts';
import { endpointSliceController } from './endpointslices.ts';
import { mirroringController } from './mirroring.ts';
import { nodeIpamController } from './node-ipam.ts';
import { defaultControllerOptions, type ControllerOptions } from './options.ts';
import { replicaSetController } from './replicasets.ts';
import { schedulerController } from './scheduler/scheduler.ts';
import { serviceAccountController } from './service-accounts.ts';
import { statefulSetController } from './statefulsets.ts';

export type Controllers = {
  /** Settles when every informer has its first list and the controllers work. */
  readonly synced: Promise<void>;
  /** Settles when no controller has anything to do at the moment; for tests. */
  idle(): Promise<void>;
  stop(): void;
  [Symbol.dispose](): void;
};

/** In the order in which a new cluster needs them. */
const makers: ((context: Context) => Reconciler)[] = [
  nodeIpamController,
  serviceAccountController,
  schedulerController,
  deploymentController,
  replicaSetController,
  statefulSetController,
  endpointSliceController,
  endpointsController,
  mirroringController,
  nodeLifecycleController,
  evictionController,
  namespaceController,
  garbageController,
];

/** Starts every controller of the cluster that `client` speaks to. */
export function startControllers(options: {
  client: Client;
  log: Logger;
  clock?: Clock;
  options?: Partial<ControllerOptions>;
}): Controllers {
  const { client, log, clock = systemClock } = options;
  const informers = new Informers({ client, clock, log });
  const recorders = new Map<string, EventRecorder>();
  const context: Context = {
    client,
    informers,
    clock,
    log,
    options: { ...defaultControllerOptions, ...options.options },
    recorder(component) {
      const made =
        recorders.get(component) ?? createEventRecorder({ client, component, clock, log });
      recorders.set(component, made);
      return made;
    },
  };
  const reconcilers = makers.map((make) => make(context));
  const stop = () => {
    for (const reconciler of reconcilers) reconciler.stop();
    for (const recorder of recorders.values()) recorder.stop();
    informers.stop();
  };
  return {
    synced: informers.start().then(() => {
      for (const reconciler of reconcilers) reconciler.resume();
    }),
    async idle() {
      const busy = () => reconcilers.some((reconciler) => reconciler.depth > 0);
      do {
        await Promise.all(reconcilers.map((reconciler) => reconciler.idle()));
        // What was written comes back as changes before the next turn.
        await nextTurn();
      } while (busy());
    },
    stop,
    [Symbol.dispose]: stop,
  };
}

async function nextTurn(): Promise<void> {
  await new Promise((resolve) => {
    setImmediate(resolve);
  });
}
