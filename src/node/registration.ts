/** Keeps the Node object and its Lease true for as long as the agent runs (K22, K28). */
import { resources } from '../api/resources.ts';
import { isReason } from '../api/status.ts';
import type { Lease, Node } from '../api/types.ts';
import type { Client } from '../client/client.ts';
import { Informer } from '../client/informer.ts';
import { formatMicroTime, type Clock } from '../lib/clock.ts';
import { messageOf } from '../lib/errors.ts';
import type { Logger } from '../lib/log.ts';
import { nodeLabels, nodeObject, nodeStatus, type NodeFacts } from './node-object.ts';

export type RegistrationOptions = {
  readonly client: Client;
  readonly clock: Clock;
  readonly log: Logger;
  readonly facts: NodeFacts;
  /** How long others believe in the node after its last sign of life. */
  readonly leaseSeconds: number;
};

const leaseNamespace = 'kube-node-lease';
const retryMs = 20;
const retryMsMax = 2000;
/** A full status now and then, as a kubelet posts it. */
const statusEveryMs = 300_000;
/** How many renewals fit into the life of a lease. */
const renewalsPerLease = 3;

export class Registration {
  /** Settles when the node is registered and Ready in the API. */
  readonly registered: Promise<void>;
  /** Settles with the pod CIDRs as soon as the node has some. */
  readonly podCidrs: Promise<readonly string[]>;
  readonly #options: RegistrationOptions;
  readonly #informer: Informer<Node>;
  readonly #cancels = new Map<string, () => void>();
  #settle: { registered: () => void; podCidrs: (cidrs: readonly string[]) => void };
  #posting = false;
  #stopped = false;

  constructor(options: RegistrationOptions) {
    this.#options = options;
    const registered = Promise.withResolvers<void>();
    const podCidrs = Promise.withResolvers<readonly string[]>();
    this.registered = registered.promise;
    this.podCidrs = podCidrs.promise;
    this.#settle = { registered: registered.resolve, podCidrs: podCidrs.resolve };
    if (options.facts.podCidrs !== undefined) podCidrs.resolve(options.facts.podCidrs);
    this.#informer = new Informer<Node>({
      client: options.client,
      resource: resources.nodes,
      fieldSelector: `metadata.name=${options.facts.nodeName}`,
      clock: options.clock,
    });
    this.#informer.onChange((_old, node) => this.#observe(node));
    this.#repeat('status', () => this.#register(), statusEveryMs);
    this.#repeat('lease', () => this.#renew(), (options.leaseSeconds * 1000) / renewalsPerLease);
    this.#informer.start();
  }

  stop(): void {
    this.#stopped = true;
    this.#informer.stop();
    for (const cancel of this.#cancels.values()) cancel();
  }

  [Symbol.dispose](): void {
    this.stop();
  }

  /** Someone deleted the node, or took it for dead while it lives: put that right at once. */
  #observe(node: Node | undefined): void {
    if (this.#stopped) return;
    const cidrs = node?.spec?.podCIDRs ?? (node?.spec?.podCIDR ? [node.spec.podCIDR] : []);
    if (cidrs.length > 0) this.#settle.podCidrs(cidrs);
    const ready = node?.status?.conditions?.find(({ type }) => type === 'Ready');
    if (ready?.status !== 'True') this.#repeat('status', () => this.#register(), statusEveryMs);
  }

  async #register(): Promise<void> {
    if (this.#posting) return;
    this.#posting = true;
    try {
      await this.#post();
      this.#settle.registered();
    } finally {
      this.#posting = false;
    }
  }

  async #post(): Promise<void> {
    const { client, clock, facts } = this.#options;
    const key = { name: facts.nodeName };
    let node: Node;
    try {
      node = await client.create<Node>(resources.nodes, nodeObject(facts, clock.now()));
    } catch (error) {
      if (!isReason(error, 'AlreadyExists')) throw error;
      const labels = { metadata: { labels: nodeLabels(facts) } };
      node = await client.patch<Node>(resources.nodes, key, labels, { type: 'merge' });
      await this.#postStatus(node);
      return;
    }
    // Some API servers drop the status of a new object.
    if (node.status?.conditions === undefined) await this.#postStatus(node);
  }

  async #postStatus(node: Node): Promise<void> {
    const { client, clock, facts } = this.#options;
    const status = nodeStatus(facts, clock.now(), node.status?.conditions ?? []);
    const key = { name: facts.nodeName };
    const options = { type: 'strategic', subresource: 'status' } as const;
    // Merged by type, as the schema has it, of two InternalIPs only one would be left (so does kubelet).
    const addresses = [...(status.addresses ?? []), { $patch: 'replace' }];
    await client.patch(resources.nodes, key, { status: { ...status, addresses } }, options);
  }

  async #renew(): Promise<void> {
    const { client, clock, facts, leaseSeconds } = this.#options;
    const renewTime = formatMicroTime(clock.now());
    const key = { namespace: leaseNamespace, name: facts.nodeName };
    const spec = {
      holderIdentity: facts.nodeName,
      leaseDurationSeconds: leaseSeconds,
      renewTime,
    };
    try {
      await client.patch(resources.leases, key, { spec }, { type: 'merge' });
    } catch (error) {
      if (!isReason(error, 'NotFound')) throw error;
      const lease: Lease = {
        apiVersion: 'coordination.k8s.io/v1',
        kind: 'Lease',
        metadata: key,
        spec: { ...spec, acquireTime: renewTime },
      };
      await client.create(resources.leases, lease);
    }
  }

  /** Runs now and then every `everyMs`; after a failure soon again. */
  #repeat(name: string, run: () => Promise<void>, everyMs: number): void {
    this.#cancels.get(name)?.();
    let pauseMs = retryMs;
    const once = async () => {
      let nextMs = everyMs;
      try {
        await run();
        pauseMs = retryMs;
      } catch (error) {
        this.#options.log.debug({ error: messageOf(error) }, `cannot write node ${name}`);
        nextMs = pauseMs;
        pauseMs = Math.min(pauseMs * 2, retryMsMax, everyMs);
      }
      if (this.#stopped || current.cancelled) return;
      current.cancel = this.#options.clock.after(nextMs, () => void once());
    };
    const current = { cancelled: false, cancel: () => {} };
    this.#cancels.set(name, () => {
      current.cancelled = true;
      current.cancel();
    });
    void once();
  }
}
