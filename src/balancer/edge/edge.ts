/**
 * The balancer of a lab: a machine of its own that has the addresses of Services, knows which nodes
 * are fit, and lets the kernel send each connection to one of them. To the kernel it is a service
 * proxy like those of the nodes, with node ports in the place of pods; so its rules are made by the
 * same code, survive our end, and are taken over by the next start.
 */
import { isDeepStrictEqual } from 'node:util';
import { keyOf, keyText } from '../../api/meta.ts';
import { resources } from '../../api/resources.ts';
import type { EndpointSlice, Node, Service } from '../../api/types.ts';
import type { Informer, Informers } from '../../client/informer.ts';
import { ConntrackConnection } from '../../kernel/conntrack/index.ts';
import { openTcpSocket } from '../../kernel/ffi/socket.ts';
import { systemClock, type Clock } from '../../lib/clock.ts';
import { messageOf } from '../../lib/errors.ts';
import type { Logger } from '../../lib/log.ts';
import { serviceKeyOf } from '../../plan/forwarding.ts';
import { NftablesBackend } from '../../proxy/nftables/backend.ts';
import { StaleFlows } from '../../proxy/stale-flows.ts';
import type { Assignment, Provider } from '../provider.ts';
import { HostAddresses } from './addresses.ts';
import { Health } from './health.ts';
import { balancedNode, type BalancedNode } from '../nodes.ts';
import { checkOf, outsideRanges, planEdge } from './plan.ts';
import { probe, type Check } from './probe.ts';

/** The machine that balances. */
export type EdgeHost = {
  /** Makes it, unless it is there. */
  create(): void;
  /** Runs synchronous work on the machine's network. */
  enter<T>(work: () => T): T;
  /** Where the addresses of Services are asked for. */
  readonly link: string;
  /** The machine's own addresses on that link. */
  readonly ips: readonly string[];
};

export type EdgeOptions = {
  readonly host: EdgeHost;
  /** Nodes and EndpointSlices; they must have synced before the first Service comes. */
  readonly informers: Informers;
  readonly log: Logger;
  readonly clock?: Clock;
};

/** Agents listen here when their Node does not say where; a refusal tells of life as well. */
const agentPort = 10_250;

const announceAgainMs = 1000;

export function createEdge(options: EdgeOptions): Provider {
  return new Edge(options);
}

class Edge implements Provider {
  readonly name = 'edge';
  readonly #options: EdgeOptions;
  readonly #clock: Clock;
  readonly #nodes: Informer<Node>;
  readonly #slices: Informer<EndpointSlice>;
  readonly #served = new Map<string, { service: Service; assignment: Assignment }>();
  readonly #health: Health;
  readonly #backend: NftablesBackend;
  readonly #flows: StaleFlows;
  readonly #dirty = new Set<string>();
  readonly #undo: (() => void)[] = [];
  #machines: readonly BalancedNode[] = [];
  #addresses: HostAddresses | undefined;
  #settled = false;
  /** Health is asked for as Services and nodes are now. */
  #watched = false;
  #scheduled = false;
  #stopped = false;

  constructor(options: EdgeOptions) {
    this.#options = options;
    const { informers, log, host, clock = systemClock } = options;
    this.#clock = clock;
    this.#nodes = informers.of<Node>(resources.nodes);
    this.#slices = informers
      .of<EndpointSlice>(resources.endpointslices)
      .addIndex('service', (slice) => [serviceKeyOf(slice) ?? '']);
    this.#health = new Health({
      clock,
      ask: (address, check, timeoutMs) =>
        probe({
          address,
          check,
          timeoutMs,
          clock,
          openSocket: (family) => host.enter(() => openTcpSocket(family)),
        }),
      onChange: (node, change) => this.#noteHealth(node, change),
      onRound: () => this.#repair(),
    });
    this.#backend = new NftablesBackend({ log, random: () => Math.floor(Math.random() * 2 ** 32) });
    const inside = { ...clock, after: afterInside(clock, host) };
    this.#flows = new StaleFlows({ log, clock: inside });
    this.#undo.push(
      this.#nodes.onChange(() => this.#noteNodes()),
      this.#slices.onChange((old, current) => {
        for (const slice of [old, current]) this.#note(slice && serviceKeyOf(slice));
      }),
    );
  }

  serve(service: Service, assignment: Assignment): void {
    this.#served.set(keyText(keyOf(service)), { service, assignment });
    this.#watched = false;
    this.#dirty.add(keyText(keyOf(service)));
    this.#apply();
  }

  release(key: string): void {
    // One that failed is asked for again.
    if (!this.#served.delete(key) && !this.#dirty.has(key)) return;
    this.#watched = false;
    this.#dirty.add(key);
    this.#apply();
  }

  settle(): void {
    this.#settled = true;
    if (this.#backend.isOpen) this.#apply();
  }

  stop(): void {
    this.#stopped = true;
    for (const undo of this.#undo) undo();
    this.#health.stop();
    this.#flows[Symbol.dispose]();
    this.#close();
  }

  // ---- news

  #note(key: string | undefined): void {
    if (key === undefined || !this.#served.has(key)) return;
    this.#dirty.add(key);
    this.#schedule();
  }

  /** Most news of nodes is that they live; that is asked for here otherwise. */
  #noteNodes(): void {
    const machines = this.#nodes
      .list()
      .flatMap((node) => balancedNode(node) ?? [])
      .toSorted((a, b) => (a.name < b.name ? -1 : 1));
    if (isDeepStrictEqual(machines, this.#machines)) return;
    this.#machines = machines;
    this.#watched = false;
    this.#noteAll();
  }

  #noteAll(): void {
    for (const key of this.#served.keys()) this.#note(key);
  }

  #noteHealth(node: string, change: 'died' | 'lives' | 'check'): void {
    if (change !== 'check') this.#options.log.info({ node, change }, 'a node changed');
    this.#noteAll();
    if (change === 'died') this.#sync(() => this.#forgetFlows(node));
  }

  /** What arrives together is committed together. */
  #schedule(): void {
    if (this.#scheduled || this.#stopped) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#sync();
    });
  }

  /** As `apply`, for what nobody waits for: a failure is tried again with the next round. */
  #sync(then?: () => void): void {
    if (this.#stopped) return;
    try {
      this.#apply();
      then?.();
    } catch (error) {
      this.#options.log.error({ error: messageOf(error) }, 'cannot program the balancer');
    }
  }

  // ---- the machine

  #apply(): void {
    const isIdle = this.#served.size === 0 && this.#dirty.size === 0;
    if (isIdle && !this.#backend.isOpen) return;
    try {
      this.#open();
      if (!this.#watched) this.#watchNodes();
      for (const key of this.#dirty) {
        this.#backend.setService(key, this.#plan(key), (family, keys) =>
          this.#flows.note(family, keys),
        );
      }
      if (this.#settled) this.#backend.sweep();
      this.#backend.commit();
      this.#options.host.enter(() => this.#setAddresses());
      this.#dirty.clear();
    } catch (error) {
      // What the kernel holds is read anew before the next change.
      this.#close();
      throw error;
    }
    this.#flows.clean(this.#backend.tables.map((table) => table.program));
  }

  #open(): void {
    if (this.#backend.isOpen) return;
    const { host } = this.#options;
    host.create();
    host.enter(() => {
      this.#addresses = new HostAddresses(host.link, host.ips);
      this.#backend.open();
    });
    this.#watched = false;
  }

  #close(): void {
    this.#backend.close();
    this.#addresses?.[Symbol.dispose]();
    this.#addresses = undefined;
  }

  #plan(key: string) {
    const one = this.#served.get(key);
    if (one === undefined) return undefined;
    return planEdge(one.service, one.assignment.ips, {
      nodes: this.#machines,
      slices: this.#slices.byIndex('service', key),
      isAlive: (node) => this.#health.isAlive(node),
      answerOf: (node, check) => this.#health.answerOf(node, check),
    });
  }

  /** Rules first, then the addresses that lead clients to them; the other way round when they go. */
  #setAddresses(): void {
    const wanted = new Set([...this.#served.values()].flatMap(({ assignment }) => assignment.ips));
    const { missing = [], surplus = [] } = this.#addresses?.differences(wanted) ?? {};
    for (const address of missing) {
      this.#addresses?.add(address);
      // Whoever answered for it a moment ago may have been asked last.
      this.#clock.after(announceAgainMs, () => this.#announce(address));
    }
    if (!this.#settled) return;
    for (const address of surplus) this.#addresses?.remove(address);
  }

  #announce(address: string): void {
    try {
      this.#options.host.enter(() => this.#addresses?.announce(address));
    } catch (error) {
      this.#options.log.warn({ address, error: messageOf(error) }, 'cannot announce it again');
    }
  }

  /** What depends on who the nodes are, and on what Services want to know of them. */
  #watchNodes(): void {
    this.#watched = true;
    this.#backend.setRanges({ podCidrs: outsideRanges(this.#machines), serviceCidrs: [] });
    const services = [...this.#served.values()].flatMap(({ service }) => checkOf(service) ?? []);
    const machines = this.#served.size === 0 ? [] : this.#machines;
    this.#health.watch(
      machines.map(({ name, ips }) => ({
        node: name,
        address: ips[0]!,
        check: { kind: 'tcp', port: this.#agentPortOf(name) } satisfies Check,
        services,
      })),
    );
  }

  #agentPortOf(name: string): number {
    return this.#nodes.get(name)?.status?.daemonEndpoints?.kubeletEndpoint?.Port || agentPort;
  }

  /** Somebody else may have flushed the rules of the machine, or a change may have failed. */
  #repair(): void {
    if (this.#stopped) return;
    const failed = this.#served.size > 0 && !this.#backend.isOpen;
    if (failed || this.#dirty.size > 0) this.#sync();
    if (!this.#backend.isOpen || !this.#backend.wasChangedByOthers()) return;
    this.#options.log.info('the ruleset of the balancer was changed by somebody else');
    this.#close();
    this.#sync();
  }

  /**
   * Connections to a machine that is dead: without its flow the client's next packet goes to a living
   * one, which refuses it at once instead of leaving the client to wait.
   */
  #forgetFlows(node: string): void {
    const machine = this.#machines.find(({ name }) => name === node);
    const dead = new Set([...(machine?.ips ?? []), ...this.#podsOf(node)]);
    this.#options.host.enter(() => {
      using connection = new ConntrackConnection();
      for (const family of ['ipv4', 'ipv6'] as const) {
        const flows = connection.flows(family, (flow) => dead.has(flow.reply.source));
        for (const flow of flows) connection.delete(flow);
      }
    });
  }

  #podsOf(node: string): string[] {
    return [...this.#served.keys()].flatMap((key) =>
      this.#slices
        .byIndex('service', key)
        .flatMap(({ endpoints }) => endpoints)
        .filter(({ nodeName }) => nodeName === node)
        .flatMap(({ addresses }) => addresses),
    );
  }
}

/** Flows are read where the calling thread is. */
function afterInside(clock: Clock, host: EdgeHost): Clock['after'] {
  return (delayMs, callback) => clock.after(delayMs, () => host.enter(callback));
}
