/**
 * A node's part in `layer2`: it competes for the Leases of addresses, and answers for those it holds.
 * While the API cannot be reached the holder goes on: two nodes that answer are better than none, and
 * both bring packets to the same pods.
 */
import { keyText, type Key } from '../../api/meta.ts';
import { resources } from '../../api/resources.ts';
import { isReason } from '../../api/status.ts';
import type { EndpointSlice, Lease, Node, Service } from '../../api/types.ts';
import type { Client } from '../../client/client.ts';
import { createEventRecorder, type EventRecorder } from '../../client/events.ts';
import { Informer, type Informers } from '../../client/informer.ts';
import { Reconciler, type Again } from '../../client/reconciler.ts';
import { formatMicroTime, systemClock, type Clock } from '../../lib/clock.ts';
import { messageOf } from '../../lib/errors.ts';
import type { Logger } from '../../lib/log.ts';
import { serviceKeyOf } from '../../plan/forwarding.ts';
import { balancedNode, hasEndpoint } from '../nodes.ts';
import { providerOf, statusIps, type ProviderName } from '../request.ts';
import type { Answering } from './answering.ts';
import { decide, leaseName, leaseSeconds, renewMs, turnMs, type Move } from './election.ts';

export type SpeakerOptions = {
  readonly client: Client;
  /** Services and EndpointSlices, shared with the proxy. */
  readonly informers: Informers;
  readonly nodeName: string;
  readonly byDefault: ProviderName;
  readonly answering: Answering;
  readonly log: Logger;
  readonly clock?: Clock;
};

const namespace = 'kube-system';
const label = 'fairlead.dev/address';
/** Some machines miss the first word, or are not up yet. */
const announceAgainMs = [200, 1000, 3000];

export class Speaker {
  readonly #options: SpeakerOptions;
  readonly #clock: Clock;
  readonly #services: Informer<Service>;
  readonly #slices: Informer<EndpointSlice>;
  readonly #leases: Informer<Lease>;
  readonly #node: Informer<Node>;
  readonly #reconciler: Reconciler;
  readonly #recorder: EventRecorder;
  /** When each Lease was seen to change. */
  readonly #seen = new Map<string, number>();
  readonly #renewed = new Map<string, number>();
  /** When this node may try to take an address. */
  readonly #turns = new Map<string, number>();
  readonly #undo: (() => void)[] = [];

  constructor(options: SpeakerOptions) {
    this.#options = options;
    const { client, informers, nodeName, log, clock = systemClock } = options;
    this.#clock = clock;
    this.#services = informers.of<Service>(resources.services);
    this.#services.addIndex('address', statusIps);
    this.#slices = informers
      .of<EndpointSlice>(resources.endpointslices)
      .addIndex('service', (slice) => [serviceKeyOf(slice) ?? '']);
    const mine = { client, log, clock };
    this.#leases = new Informer<Lease>({
      ...mine,
      resource: resources.leases,
      namespace,
      labelSelector: label,
    });
    const fieldSelector = `metadata.name=${nodeName}`;
    this.#node = new Informer<Node>({ ...mine, resource: resources.nodes, fieldSelector });
    this.#recorder = createEventRecorder({ client, component: 'fairlead-speaker', clock, log });
    this.#reconciler = new Reconciler({
      name: 'layer2',
      reconcile: (address) => this.#reconcile(address),
      clock,
      log,
    });
    this.#reconciler.pause();
  }

  start(): void {
    this.#undo.push(
      this.#services.onChange((old, current) => {
        for (const service of [old, current]) this.#noteAddresses(service);
      }),
      this.#slices.onChange((old, current) => {
        for (const slice of [old, current]) {
          this.#noteAddresses(this.#services.get((slice && serviceKeyOf(slice)) ?? ''));
        }
      }),
      this.#leases.onChange((old, lease) => {
        const address = (lease ?? old)?.metadata.annotations?.[label];
        if (address === undefined) return;
        this.#seen.set(address, this.#clock.monotonicMs());
        // A renewed Lease of another only moves the deadline, which the running timer looks up.
        const moved = old?.spec?.holderIdentity !== lease?.spec?.holderIdentity;
        if (moved) this.#reconciler.add(address);
      }),
      this.#node.onChange(() => this.#noteAll()),
    );
    const informers = [this.#services, this.#slices, this.#leases, this.#node];
    void Promise.all(informers.map((informer) => informer.start().synced)).then(() => {
      // What an earlier run answered for, and nobody wants any more.
      for (const address of this.#options.answering.addresses) this.#reconciler.add(address);
      this.#reconciler.resume();
    });
  }

  /** Lets go of every address, so that others need not wait. */
  async stop(): Promise<void> {
    for (const undo of this.#undo) undo();
    this.#reconciler.stop();
    this.#leases.stop();
    this.#node.stop();
    const { answering } = this.#options;
    await Promise.allSettled(
      answering.addresses.map(async (address) => {
        answering.stop(address);
        await this.#giveUp(address);
      }),
    );
    this.#recorder.stop();
    answering[Symbol.dispose]();
  }

  #noteAddresses(service: Service | undefined): void {
    for (const address of service === undefined ? [] : statusIps(service)) {
      this.#reconciler.add(address);
    }
  }

  #noteAll(): void {
    for (const service of this.#services.list()) this.#noteAddresses(service);
  }

  async #reconcile(address: string): Promise<Again | void> {
    const services = this.#servicesAt(address);
    const move = this.#decide(address, services);
    const { answering, nodeName } = this.#options;
    if (move.kind !== 'hold' && move.kind !== 'take') answering.stop(address);
    if (move.kind !== 'take') this.#turns.delete(address);
    switch (move.kind) {
      case 'hold':
        this.#answer(address, services);
        if (move.renew) await this.#write(address);
        return { afterMs: renewMs };
      case 'take':
        // The others get their chance; who was first is seen then.
        if (this.#turnHasCome(address)) await this.#write(address);
        return { afterMs: turnMs(nodeName, address) };
      case 'wait':
        return { afterMs: move.afterMs };
      case 'give up':
        return await this.#giveUp(address);
      case 'rest':
        if (services.length === 0) this.#forget(address);
    }
  }

  #decide(address: string, services: readonly Service[]): Move {
    const now = this.#clock.monotonicMs();
    const renewed = this.#renewed.get(address);
    return decide({
      node: this.#options.nodeName,
      fit: this.#isFit(services),
      lease: this.#leaseOf(address),
      quietMs: now - (this.#seen.get(address) ?? now),
      sinceRenewMs: renewed === undefined ? undefined : now - renewed,
    });
  }

  #isFit(services: readonly Service[]): boolean {
    const { nodeName } = this.#options;
    const node = this.#node.get({ name: nodeName });
    if (services.length === 0 || node === undefined || balancedNode(node) === undefined) {
      return false;
    }
    return services.every((service) => {
      if (service.spec.externalTrafficPolicy !== 'Local') return true;
      const slices = this.#slices.byIndex('service', keyText(service.metadata));
      return hasEndpoint(slices, nodeName, 'ready');
    });
  }

  #servicesAt(address: string): Service[] {
    return this.#services
      .byIndex('address', address)
      .filter((service) => providerOf(service, this.#options.byDefault) === 'layer2');
  }

  #leaseOf(address: string): Lease | undefined {
    return this.#leases.get(leaseKey(address));
  }

  /** True from the second look on, which is this node's turn after the first. */
  #turnHasCome(address: string): boolean {
    // Somebody deleted the Lease of an address that is answered here.
    if (this.#options.answering.has(address)) return true;
    const now = this.#clock.monotonicMs();
    const turn = this.#turns.get(address) ?? now + turnMs(this.#options.nodeName, address);
    this.#turns.set(address, turn);
    return now >= turn;
  }

  /** Creates or takes the Lease, or renews it; a Conflict means that another was faster. */
  async #write(address: string): Promise<void> {
    const { client, nodeName } = this.#options;
    const lease = this.#leaseOf(address);
    const renewTime = formatMicroTime(this.#clock.now());
    const isMine = lease?.spec?.holderIdentity === nodeName;
    const spec = {
      holderIdentity: nodeName,
      leaseDurationSeconds: leaseSeconds,
      renewTime,
      acquireTime: isMine ? (lease?.spec?.acquireTime ?? renewTime) : renewTime,
      leaseTransitions: (lease?.spec?.leaseTransitions ?? 0) + (isMine || !lease ? 0 : 1),
    };
    const made =
      lease === undefined
        ? await client.create<Lease>(resources.leases, newLease(address, spec))
        : await client.update<Lease>(resources.leases, { ...lease, spec });
    this.#turns.delete(address);
    this.#renewed.set(address, this.#clock.monotonicMs());
    this.#leases.observe(made);
    if (!isMine) this.#reconciler.add(address);
  }

  #answer(address: string, services: readonly Service[]): void {
    const { answering, nodeName, log } = this.#options;
    if (answering.has(address)) return;
    answering.start(address);
    answering.announce(address);
    for (const delayMs of announceAgainMs) {
      this.#clock.after(delayMs, () => this.#announceAgain(address));
    }
    log.info({ address }, 'answers for the address');
    for (const service of services) {
      const message = `node "${nodeName}" answers for ${address} (layer2)`;
      const event = { type: 'Normal', reason: 'NodeAssigned', message } as const;
      this.#recorder.record(resources.services, service, event);
    }
  }

  #announceAgain(address: string): void {
    const { answering, log } = this.#options;
    if (!answering.has(address)) return;
    try {
      answering.announce(address);
    } catch (error) {
      log.warn({ address, error: messageOf(error) }, 'cannot announce the address again');
    }
  }

  async #giveUp(address: string): Promise<void> {
    const lease = this.#leaseOf(address);
    if (lease?.spec?.holderIdentity !== this.#options.nodeName) return;
    this.#renewed.delete(address);
    const spec = { ...lease.spec, holderIdentity: '' };
    const { client } = this.#options;
    this.#leases.observe(await client.update<Lease>(resources.leases, { ...lease, spec }));
  }

  /** No Service has the address: whoever held it last takes the Lease away. */
  #forget(address: string): void {
    for (const map of [this.#seen, this.#renewed, this.#turns]) map.delete(address);
    const lease = this.#leaseOf(address);
    if (lease?.spec?.holderIdentity !== '') return;
    // A new Service may have the address by now, and a node its Lease.
    const { resourceVersion = '' } = lease.metadata;
    void this.#options.client
      .delete(resources.leases, leaseKey(address), { preconditions: { resourceVersion } })
      .catch((error: unknown) => {
        if (isReason(error, 'NotFound') || isReason(error, 'Conflict')) return;
        this.#options.log.debug({ address, error: messageOf(error) }, 'cannot delete its Lease');
      });
  }
}

function leaseKey(address: string): Key {
  return { namespace, name: leaseName(address) };
}

function newLease(address: string, spec: Lease['spec']): Lease {
  return {
    apiVersion: 'coordination.k8s.io/v1',
    kind: 'Lease',
    metadata: {
      ...leaseKey(address),
      labels: { [label]: 'true' },
      annotations: { [label]: address },
    },
    ...(spec === undefined ? {} : { spec }),
  };
}
