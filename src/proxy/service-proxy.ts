/**
 * The service proxy of one node: Services, EndpointSlices and its own Node go in, rules in the
 * kernel come out. It reacts to news at once; what arrives together is committed together.
 */
import type { EndpointSlice, Node, Service } from '../api/types.ts';
import { keyOf, keyText } from '../api/meta.ts';
import { resources } from '../api/resources.ts';
import { createEventRecorder, type EventRecorder } from '../client/events.ts';
import { Informer } from '../client/informer.ts';
import { systemClock, type Clock } from '../lib/clock.ts';
import { messageOf } from '../lib/errors.ts';
import { serviceKeyOf } from '../plan/forwarding.ts';
import { planService, type PlanContext } from '../plan/service.ts';
import { ProxyHealth } from './health/proxy-health.ts';
import { ServiceHealthPorts } from './health/service-ports.ts';
import { NftablesBackend } from './nftables/backend.ts';
import { StaleFlows } from './stale-flows.ts';
import type { Proxy, ProxyOptions, Sync } from './options.ts';

/** More writes than this are split, so that no commit holds the kernel's lock for long (X3). */
const WRITES_PER_COMMIT = 10_000;
/** How often the kernel's generation is compared with ours; repairs a foreign flush (< 1 s). */
const WATCH_MS = 800;
/** Comparing takes at most a tenth of the time. */
const COMPARE_PAUSE = 9;
/** Who events say they come from: what people filter by. */
const component = 'kube-proxy';
const FAMILIES = ['ipv4', 'ipv6'] as const;
const RETRY_MS = 50;
const RETRY_MS_MAX = 30_000;

/** Starts the proxy; nothing is written before Services and slices are both listed (P125). */
export async function startProxy(options: ProxyOptions): Promise<Proxy> {
  const proxy = new ServiceProxy(options);
  proxy.start();
  return proxy;
}

class ServiceProxy implements Proxy {
  readonly ready: Promise<void>;
  resourceVersion = 0;
  lastSync: Sync | undefined;
  readonly #options: ProxyOptions;
  readonly #clock: Clock;
  readonly #services: Informer<Service>;
  readonly #slices: Informer<EndpointSlice>;
  readonly #nodes: Informer<Node>;
  readonly #backend: NftablesBackend;
  readonly #flows: StaleFlows;
  readonly #events: EventRecorder;
  readonly #health: ProxyHealth;
  readonly #healthPorts: ServiceHealthPorts;
  readonly #dirty = new Set<string>();
  readonly #undo: (() => void)[] = [];
  #settleReady: () => void;
  #context: PlanContext;
  /** When the oldest news in `dirty` came. */
  #dirtySince: number | undefined;
  #listed = false;
  #swept = false;
  #scheduled = false;
  #stopped = false;
  #failures = 0;
  #newestVersion = 0;
  #compareAfter = 0;

  constructor(options: ProxyOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.ready = promise;
    this.#settleReady = resolve;
    const { client, nodeName } = options;
    const fieldSelector = `metadata.name=${nodeName}`;
    const nodes = { client, resource: resources.nodes, fieldSelector, clock: this.#clock };
    this.#services = this.#informer<Service>(resources.services);
    this.#slices = this.#informer<EndpointSlice>(resources.endpointslices);
    this.#slices.addIndex('service', (slice) => [serviceKeyOf(slice) ?? '']);
    this.#nodes = new Informer<Node>(nodes);
    this.#context = this.#contextFor(undefined);
    this.#flows = new StaleFlows({ log: options.log, clock: this.#clock });
    this.#backend = new NftablesBackend({
      log: options.log,
      random: options.random ?? (() => Math.floor(Math.random() * 2 ** 32)),
    });
    const { log } = options;
    const host = nodeName;
    this.#events = createEventRecorder({ client, component, host, clock: this.#clock, log });
    this.#health = new ProxyHealth(this.#clock);
    this.#healthPorts = new ServiceHealthPorts({
      addresses: this.#context.node.nodePortAddresses,
      isHealthy: () => this.#health.healthy,
      onFailure: (service, port, found) => this.#tellHealthPort(service, port, found),
      log,
      clock: this.#clock,
    });
  }

  start(): void {
    this.#undo.push(
      this.#services.onChange((old, current) => this.#noteService(current ?? old)),
      this.#slices.onChange((old, current) => {
        this.#noteSlice(old);
        this.#noteSlice(current);
      }),
      this.#nodes.onChange((_, node) => this.#noteNode(node)),
    );
    const { services, slices, nodes } = this.#informers();
    void Promise.all([services.synced, slices.synced]).then(() => {
      this.#listed = true;
      this.#schedule();
    });
    for (const informer of [services, slices, nodes]) informer.start();
    this.#watchKernel();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    for (const undo of this.#undo) undo();
    this.#nodes.stop();
    if (this.#options.informers === undefined) {
      this.#services.stop();
      this.#slices.stop();
    }
    this.#flows[Symbol.dispose]();
    this.#healthPorts[Symbol.dispose]();
    this.#events.stop();
    this.#backend[Symbol.dispose]();
  }

  #informers() {
    return { services: this.#services, slices: this.#slices, nodes: this.#nodes };
  }

  #informer<T extends Service | EndpointSlice>(
    resource: typeof resources.services | typeof resources.endpointslices,
  ): Informer<T> {
    const { informers, client, log } = this.#options;
    return (
      informers?.of<T>(resource) ?? new Informer<T>({ client, resource, log, clock: this.#clock })
    );
  }

  // ---- news

  #noteService(service: Service | undefined): void {
    if (service !== undefined) this.#note(keyText(keyOf(service)), service);
  }

  #noteSlice(slice: EndpointSlice | undefined): void {
    const key = slice && serviceKeyOf(slice);
    if (slice !== undefined && key !== undefined) this.#note(key, slice);
  }

  #note(key: string, object: Service | EndpointSlice): void {
    this.#newestVersion = Math.max(
      this.#newestVersion,
      Number(object.metadata.resourceVersion ?? 0),
    );
    this.#dirty.add(key);
    this.#dirtySince ??= this.#clock.monotonicMs();
    this.#health.queued(FAMILIES);
    this.#schedule();
  }

  /** Only the zone concerns us, and only then is everything planned anew (P83). */
  #noteNode(node: Node | undefined): void {
    const context = this.#contextFor(node);
    this.#healthPorts.setAddresses(context.node.nodePortAddresses);
    if (context.node.zone === this.#context.node.zone) return;
    this.#context = context;
    for (const service of this.#services.list()) this.#noteService(service);
  }

  #contextFor(node: Node | undefined): PlanContext {
    const { nodeName, nodeIPs, clusterCidrs, serviceCidrs = [], masqueradeAll } = this.#options;
    const zone = node?.metadata.labels?.['topology.kubernetes.io/zone'];
    return {
      node: {
        name: nodeName,
        addresses: nodeIPs,
        nodePortAddresses: nodeIPs,
        ...(zone === undefined ? {} : { zone }),
      },
      options: { podCidrs: clusterCidrs, serviceCidrs, masqueradeAll: masqueradeAll ?? false },
    };
  }

  // ---- the loop

  /** Once the event loop has handed out all that came with this piece of news. */
  #schedule(delayMs = 0): void {
    if (this.#scheduled || this.#stopped || !this.#listed) return;
    this.#scheduled = true;
    const run = () => {
      this.#scheduled = false;
      if (!this.#stopped) this.#sync();
    };
    if (delayMs === 0) setImmediate(run);
    else this.#clock.after(delayMs, run);
  }

  #sync(): void {
    const startedAt = this.#clock.monotonicMs();
    const since = this.#dirtySince ?? startedAt;
    const version = this.#newestVersion;
    try {
      const services = this.#fill();
      const last = this.#dirty.size === 0;
      if (last && !this.#swept) this.#backend.sweep();
      const writes = this.#backend.commit();
      if (last) this.#finish(version);
      else this.#schedule();
      if (writes > 0) this.#tell({ services, writes, version, since, startedAt });
      this.#healthPorts.apply();
      this.#flows.clean(this.#backend.tables.map((table) => table.program));
      this.#failures = 0;
    } catch (error) {
      this.#recover(error);
    }
  }

  /** Plans dirty Services until a commit is full; says how many. */
  #fill(): number {
    if (!this.#backend.isOpen) {
      this.#backend.open();
      this.#backend.setRanges(this.#context.options);
      this.#swept = false;
    }
    let services = 0;
    for (const key of this.#dirty) {
      if (this.#backend.pendingCount >= WRITES_PER_COMMIT) break;
      this.#dirty.delete(key);
      const plan = this.#plan(key);
      this.#backend.setService(key, plan, (family, keys) => this.#flows.note(family, keys));
      this.#healthPorts.set(key, plan?.healthCheck);
      services += 1;
    }
    return services;
  }

  #plan(key: string) {
    const service = this.#services.get(key);
    if (service === undefined) return undefined;
    return planService(service, this.#slices.byIndex('service', key), this.#context);
  }

  #finish(version: number): void {
    this.resourceVersion = version;
    this.#dirtySince = undefined;
    this.#swept = true;
    for (const family of FAMILIES) this.#health.updated(family);
    this.#settleReady();
  }

  #tellHealthPort(key: string, port: number, found: string): void {
    const service = this.#services.get(key);
    if (service === undefined) return;
    const message = `node ${this.#options.nodeName} failed to start healthcheck "${key}" on port ${port}: ${found}`;
    const reason = 'FailedToStartServiceHealthcheck';
    this.#events.record(resources.services, service, { type: 'Warning', reason, message });
  }

  #tell(facts: {
    services: number;
    writes: number;
    version: number;
    since: number;
    startedAt: number;
  }): void {
    const now = this.#clock.monotonicMs();
    this.lastSync = {
      at: this.#clock.now(),
      latencyMs: now - facts.since,
      durationMs: now - facts.startedAt,
      services: facts.services,
      writes: facts.writes,
      resourceVersion: facts.version,
    };
    this.#options.onSync?.(this.lastSync);
  }

  /** Reads the kernel again and tries once more, later each time. */
  #recover(error: unknown): void {
    this.#failures += 1;
    const delayMs = Math.min(RETRY_MS_MAX, RETRY_MS * 2 ** (this.#failures - 1));
    this.#options.log.error({ error: messageOf(error), retryMs: delayMs }, 'sync failed');
    this.#backend.close();
    this.#schedule(delayMs);
  }

  /** Others may change our table; a flush of everything is the usual case. */
  #watchKernel(): void {
    const timer = setInterval(() => {
      if (!this.#swept || this.#scheduled || this.#dirty.size > 0) return;
      try {
        if (this.#backend.wasChangedByOthers()) this.#compare();
      } catch (error) {
        this.#recover(error);
      }
    }, WATCH_MS);
    timer.unref();
    this.#undo.push(() => clearInterval(timer));
  }

  /** Reads everything again; seldom, if that takes long and it is others' tables that change. */
  #compare(): void {
    const start = this.#clock.monotonicMs();
    if (start < this.#compareAfter && !this.#backend.isGone()) return;
    this.#options.log.info('the ruleset was changed by somebody else: comparing ours');
    this.#backend.close();
    this.#sync();
    const end = this.#clock.monotonicMs();
    this.#compareAfter = end + (end - start) * COMPARE_PAUSE;
  }
}
