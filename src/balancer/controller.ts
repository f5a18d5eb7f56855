/**
 * Gives Services of type LoadBalancer their addresses, and takes them back. Decides from what the API
 * shows and nothing else, so that a restart begins where the last run ended.
 */
import { isDeepStrictEqual } from 'node:util';
import { keyOf, keyText } from '../api/meta.ts';
import { resources } from '../api/resources.ts';
import type { Service } from '../api/types.ts';
import type { Client } from '../client/client.ts';
import { createEventRecorder } from '../client/events.ts';
import type { Informers } from '../client/informer.ts';
import { Reconciler } from '../client/reconciler.ts';
import { isReason } from '../api/status.ts';
import { systemClock, type Clock } from '../lib/clock.ts';
import { messageOf } from '../lib/errors.ts';
import type { Logger } from '../lib/log.ts';
import { allocate, type Holder } from './allocate.ts';
import type { Pool } from './pool.ts';
import type { Assignment, Provider } from './provider.ts';
import {
  cleanupFinalizer,
  portsOf,
  providerOf,
  requestOf,
  statusIps,
  type ProviderName,
  type Refusal,
} from './request.ts';

export type ControllerOptions = {
  readonly client: Client;
  /** Services; others share them. */
  readonly informers: Informers;
  readonly providers: readonly Provider[];
  /** Who serves Services without a class. */
  readonly byDefault: ProviderName;
  readonly pool: Pool;
  readonly log: Logger;
  readonly clock?: Clock;
};

export type BalancerController = {
  /** Settles when nothing is to be done at the moment; for tests. */
  idle(): Promise<void>;
  stop(): void;
};

/** Starts the controller; the informers are started by whoever has them. */
export function startBalancerController(options: ControllerOptions): BalancerController {
  const controller = new Controller(options);
  controller.start();
  return controller;
}

class Controller implements BalancerController {
  readonly #options: ControllerOptions;
  readonly #services;
  readonly #recorder;
  readonly #reconciler: Reconciler;
  /** Services without an address, to be tried again when one comes free. */
  readonly #pending = new Map<string, string>();
  readonly #undo: (() => void)[] = [];

  constructor(options: ControllerOptions) {
    this.#options = options;
    const { client, informers, log, clock = systemClock } = options;
    this.#services = informers.of<Service>(resources.services);
    this.#recorder = createEventRecorder({ client, component: 'fairlead-balancer', clock, log });
    this.#reconciler = new Reconciler({
      name: 'balancer',
      reconcile: (key) => this.#reconcile(key),
      // One at a time: two at once could take the same address.
      concurrency: 1,
      clock,
      log,
    });
    this.#reconciler.pause();
  }

  start(): void {
    this.#undo.push(
      this.#services.onChange((old, current) => {
        if (isOurBusiness(old) || isOurBusiness(current)) {
          this.#reconciler.add(keyText(keyOf((current ?? old)!)));
        }
        // What one gives up another may be waiting for.
        if (statusIps(old ?? current!).length > 0) this.#retryPending();
      }),
    );
    void this.#services.synced.then(async () => {
      this.#reconciler.resume();
      await this.#reconciler.idle();
      for (const provider of this.#options.providers) provider.settle();
    });
  }

  idle(): Promise<void> {
    return this.#reconciler.idle();
  }

  stop(): void {
    for (const undo of this.#undo) undo();
    this.#reconciler.stop();
    this.#recorder.stop();
    for (const provider of this.#options.providers) provider.stop();
  }

  async #reconcile(key: string): Promise<void> {
    const service = this.#services.get(key);
    const kind = service && providerOf(service, this.#options.byDefault);
    if (service === undefined || kind === undefined || isGoing(service)) {
      this.#release(key);
      this.#pending.delete(key);
      if (service !== undefined && kind !== 'other') await this.#letGo(service);
      return;
    }
    if (kind === 'other') {
      this.#tell(service, {
        reason: 'OtherLoadBalancerClass',
        message: `Left to whoever serves class "${service.spec.loadBalancerClass}"`,
      });
      return;
    }
    const assignment = this.#decide(service, kind);
    if ('reason' in assignment) {
      this.#release(key);
      await this.#writeStatus(service, undefined);
      this.#tell(service, assignment);
      return;
    }
    await this.#assign(service, kind, assignment);
  }

  #decide(service: Service, provider: ProviderName): Assignment | Refusal {
    const request = requestOf(service, provider);
    if ('reason' in request) return request;
    const held = statusIps(service);
    const others = this.#holders(keyText(keyOf(service)));
    const ips = allocate(request, { held, others, pool: this.#options.pool });
    return 'reason' in ips ? ips : { ips, ipMode: request.ipMode };
  }

  #holders(except: string): Holder[] {
    return this.#services.list().flatMap((service) => {
      const key = keyText(keyOf(service));
      const ips = key === except ? [] : statusIps(service);
      const provider = providerOf(service, this.#options.byDefault);
      if (ips.length === 0 || provider === undefined || provider === 'other') return [];
      const request = requestOf(service, provider);
      const alone = { sharingKey: undefined, selector: '', isLocal: false };
      const holder =
        'reason' in request ? { ...alone, provider, ports: portsOf(service) } : request;
      return [{ service: key, ips, request: holder }];
    });
  }

  async #assign(service: Service, name: ProviderName, assignment: Assignment): Promise<void> {
    const held = await this.#hold(service);
    const provider = this.#options.providers.find((one) => one.name === name);
    try {
      provider?.serve(held, assignment);
    } catch (error) {
      const message = `Cannot set up ${assignment.ips.join(', ')}: ${messageOf(error)}`;
      this.#record(service, { type: 'Warning', reason: 'SyncLoadBalancerFailed', message });
      throw error;
    }
    this.#pending.delete(keyText(keyOf(service)));
    if (!(await this.#writeStatus(held, assignment))) return;
    const text = assignment.ips.join(', ');
    this.#record(service, {
      type: 'Normal',
      reason: 'IPAllocated',
      message: `Assigned ${text} (${name})`,
    });
  }

  /** The Service stays in the API until its address is given back. */
  async #hold(service: Service): Promise<Service> {
    const finalizers = service.metadata.finalizers ?? [];
    if (finalizers.includes(cleanupFinalizer)) return service;
    return await this.#patchFinalizers(service, [...finalizers, cleanupFinalizer]);
  }

  async #letGo(service: Service): Promise<void> {
    const finalizers = service.metadata.finalizers ?? [];
    if (!finalizers.includes(cleanupFinalizer)) return;
    const rest = finalizers.filter((name) => name !== cleanupFinalizer);
    try {
      await this.#patchFinalizers(service, rest);
    } catch (error) {
      if (!isReason(error, 'NotFound')) throw error;
    }
  }

  async #patchFinalizers(service: Service, finalizers: readonly string[]): Promise<Service> {
    const { uid, resourceVersion } = service.metadata;
    const made = await this.#options.client.patch<Service>(
      resources.services,
      keyOf(service),
      {
        metadata: { uid, resourceVersion, finalizers: finalizers.length === 0 ? null : finalizers },
      },
      { type: 'merge' },
    );
    // The last finalizer of a deleted Service takes it along: the watch tells of that.
    if (made.metadata.deletionTimestamp === undefined) this.#services.observe(made);
    return made;
  }

  /** Whether it had to be written. */
  async #writeStatus(service: Service, assignment: Assignment | undefined): Promise<boolean> {
    const { ips, ipMode } = assignment ?? { ips: [], ipMode: 'VIP' };
    const ingress = ips.map((ip) => ({ ip, ipMode }));
    const present = service.status?.loadBalancer?.ingress ?? [];
    if (isDeepStrictEqual(ingress, present)) return false;
    const loadBalancer = ingress.length === 0 ? {} : { ingress };
    const next = { ...service, status: { ...service.status, loadBalancer } };
    const made = await this.#options.client.update(resources.services, next, {
      subresource: 'status',
    });
    this.#services.observe(made);
    return true;
  }

  #release(key: string): void {
    for (const provider of this.#options.providers) provider.release(key);
  }

  #retryPending(): void {
    for (const key of this.#pending.keys()) this.#reconciler.add(key);
  }

  /** Says why there is no address; again only when that has changed. */
  #tell(service: Service, { reason, message }: Refusal): void {
    const key = keyText(keyOf(service));
    if (this.#pending.get(key) === message) return;
    this.#pending.set(key, message);
    const type = reason === 'AllocationFailed' ? 'Warning' : 'Normal';
    this.#record(service, {
      type,
      reason,
      message: type === 'Warning' ? `No address yet: ${message}` : message,
    });
  }

  #record(
    service: Service,
    event: { type: 'Normal' | 'Warning'; reason: string; message: string },
  ) {
    this.#recorder.record(resources.services, service, event);
  }
}

/** Whether a Service has, wants or had an address. */
export function isOurBusiness(service: Service | undefined): boolean {
  if (service === undefined) return false;
  if (service.spec.type === 'LoadBalancer') return true;
  return service.metadata.finalizers?.includes(cleanupFinalizer) ?? false;
}

function isGoing(service: Service): boolean {
  return service.metadata.deletionTimestamp !== undefined;
}
