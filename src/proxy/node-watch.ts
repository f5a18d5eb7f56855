/**
 * What a proxy must know beside Services and slices: the labels and pod ranges of its Node, the
 * addresses of the machine's interfaces, and the Service ranges. All are followed live, so that a
 * new address answers on node ports at once (P34).
 */
import type { Node } from '../api/types.ts';
import { resources } from '../api/resources.ts';
import { Informer } from '../client/informer.ts';
import { monitorRoutes, RouteConnection } from '../kernel/route/index.ts';
import type { Clock } from '../lib/clock.ts';
import { messageOf } from '../lib/errors.ts';
import type { PlanContext } from '../plan/service.ts';
import { planDetection, podCidrsOf } from './local-detection.ts';
import { chooseNodePortAddresses } from './node-port-addresses.ts';
import type { ProxyOptions } from './options.ts';
import { ServiceCidrWatch } from './service-cidr-watch.ts';

/** What must be planned again: every Service, or those with node ports; or only ranges changed. */
export type NodeChange = 'all' | 'nodePorts' | 'ranges';

/** Addresses often come in pairs and bursts; they are taken together. */
const ADDRESSES_SETTLE_MS = 20;

export class NodeWatch {
  readonly #options: ProxyOptions;
  readonly #clock: Clock;
  readonly #onChange: (change: NodeChange) => void;
  readonly #nodes: Informer<Node>;
  readonly #undo: (() => void)[] = [];
  readonly #told = new Set<string>();
  /** Absent where the ranges are configured. */
  readonly #serviceCidrs: ServiceCidrWatch | undefined;
  #node: Node | undefined;
  #interfaceAddresses: readonly string[] = [];
  #context: PlanContext;
  #ready: () => void;
  /** Settles once the Node has all that planning waits for: in mode NodeCIDR its pod ranges. */
  readonly ready: Promise<void>;

  constructor(options: ProxyOptions, clock: Clock, onChange: (change: NodeChange) => void) {
    this.#options = options;
    this.#clock = clock;
    this.#onChange = onChange;
    this.#nodes = options.nodes ?? nodeInformer(options, clock);
    const { promise, resolve } = Promise.withResolvers<void>();
    this.ready = promise;
    this.#ready = resolve;
    if (options.serviceCidrs === undefined) {
      const { client, log } = options;
      this.#serviceCidrs = new ServiceCidrWatch({
        client,
        clock,
        log,
        onChange: () => this.#refresh(),
      });
    }
    this.#interfaceAddresses = readAddresses();
    this.#context = this.#plan();
  }

  get context(): PlanContext {
    return this.#context;
  }

  /** Loopback addresses whose node ports a forwarder in user space is to serve (P36). */
  get loopback(): readonly string[] {
    return this.#context.node.loopback ?? [];
  }

  start(): void {
    this.#undo.push(
      this.#nodes.onChange((_, node) => {
        this.#node = node;
        this.#refresh();
      }),
      this.#followAddresses(),
    );
    this.#refresh();
    this.#nodes.start();
    this.#serviceCidrs?.start();
  }

  [Symbol.dispose](): void {
    for (const undo of this.#undo) undo();
    this.#serviceCidrs?.[Symbol.dispose]();
    if (this.#options.nodes === undefined) this.#nodes.stop();
  }

  #followAddresses(): () => void {
    let cancel: (() => void) | undefined;
    const monitor = monitorRoutes(['address'], () => {
      cancel ??= this.#clock.after(ADDRESSES_SETTLE_MS, () => {
        cancel = undefined;
        this.#readAddresses();
      });
    });
    return () => {
      monitor[Symbol.dispose]();
      cancel?.();
    };
  }

  #readAddresses(): void {
    try {
      this.#interfaceAddresses = readAddresses();
    } catch (error) {
      // The next change of an address tries again; until then the last known ones serve.
      this.#options.log.warn({ error: messageOf(error) }, 'cannot read interface addresses');
      return;
    }
    this.#refresh();
  }

  #refresh(): void {
    const old = this.#context;
    this.#context = this.#plan();
    if (this.#options.detectLocal.mode !== 'NodeCIDR' || podCidrsOf(this.#node).length > 0) {
      this.#ready();
    }
    const change = changeBetween(old, this.#context);
    if (change !== undefined) this.#onChange(change);
  }

  #plan(): PlanContext {
    const { nodeName, nodeIPs, nodePortAddresses = [], detectLocal } = this.#options;
    const { masqueradeAll = false, balancing = 'random' } = this.#options;
    const serviceCidrs = this.#options.serviceCidrs ?? this.#serviceCidrs?.cidrs ?? [];
    const interfaceAddresses = this.#interfaceAddresses;
    const choice = chooseNodePortAddresses(nodePortAddresses, { nodeIPs, interfaceAddresses });
    const nodePodCidrs = podCidrsOf(this.#node);
    const detection = planDetection(detectLocal, { nodeIPs, nodePodCidrs });
    if (detectLocal.mode !== 'NodeCIDR' || nodePodCidrs.length > 0) {
      this.#warn([...choice.warnings, ...detection.warnings]);
    }
    const zone = this.#node?.metadata.labels?.['topology.kubernetes.io/zone'];
    const { podCidrs, podInterface } = detection;
    return {
      node: {
        name: nodeName,
        nodeIPs,
        addresses: interfaceAddresses,
        nodePortAddresses: choice.addresses,
        loopback: choice.loopback,
        ...(zone === undefined ? {} : { zone }),
      },
      options: {
        podCidrs,
        ...(podInterface === undefined ? {} : { podInterface }),
        serviceCidrs,
        masqueradeAll,
        balancing,
      },
    };
  }

  /** Each text once. */
  #warn(texts: readonly string[]): void {
    for (const text of texts) {
      if (this.#told.has(text)) continue;
      this.#told.add(text);
      this.#options.log.warn({ node: this.#options.nodeName }, text);
    }
  }
}

/** Of the node's own object alone. */
function nodeInformer({ client, nodeName }: ProxyOptions, clock: Clock): Informer<Node> {
  const fieldSelector = `metadata.name=${nodeName}`;
  return new Informer<Node>({ client, resource: resources.nodes, fieldSelector, clock });
}

/** Only what the rules depend on counts: other labels and addresses cause no work (P83). */
function changeBetween(old: PlanContext, now: PlanContext): NodeChange | undefined {
  if (old.node.zone !== now.node.zone) return 'all';
  if (!same(old.options.podCidrs, now.options.podCidrs)) return 'all';
  if (!same(old.node.nodePortAddresses, now.node.nodePortAddresses)) return 'nodePorts';
  if (!same(old.node.loopback ?? [], now.node.loopback ?? [])) return 'nodePorts';
  return same(old.options.serviceCidrs, now.options.serviceCidrs) ? undefined : 'ranges';
}

function same(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((text, index) => text === b[index]);
}

/** One whose duplicate detection failed is not the machine's. */
function readAddresses(): string[] {
  using connection = new RouteConnection();
  const addresses = connection.addresses().filter(({ dadFailed }) => !dadFailed);
  return [...new Set(addresses.map(({ address }) => address))].sort();
}
