/**
 * The service proxy of one node: Services, EndpointSlices and its own Node go in, rules in the
 * kernel come out. It reacts to news at once; what arrives together is committed together.
 */
import type { EndpointSlice, Service } from '../api/types.ts';
import { keyOf, keyText } from '../api/meta.ts';
import { resources } from '../api/resources.ts';
import { createEventRecorder, type EventRecorder } from '../client/events.ts';
import { Informer } from '../client/informer.ts';
import { systemClock, type Clock } from '../lib/clock.ts';
import { messageOf } from '../lib/errors.ts';
import type { IpFamily } from '../lib/ip.ts';
import { serviceKeyOf } from '../plan/forwarding.ts';
import { HEADLESS_LABEL, planService, PROXY_NAME_LABEL } from '../plan/service.ts';
import type { Clash } from '../plan/types.ts';
import type { ProxyHealth } from './health/proxy-health.ts';
import { ServiceHealthPorts } from './health/service-ports.ts';
import { KernelWatch } from './kernel-watch.ts';
import { NftablesBackend, type FamilyCommit } from './nftables/backend.ts';
import { DEFAULT_SETTINGS } from './nftables/rule-parts.ts';
import { LocalhostForwarder } from './localhost/forwarder.ts';
import { Moves } from './moves.ts';
import { Notices } from './notices.ts';
import { NodeWatch, type NodeChange } from './node-watch.ts';
import { Pacer } from './pacer.ts';
import { slimService } from './slim-service.ts';
import { slimSlice } from './slim-slice.ts';
import { sctpNotices } from './sctp.ts';
import { StaleFlows } from './stale-flows.ts';
import { SyncAccount } from './sync-account.ts';
import type { Traffic } from '../kernel/nftables/index.ts';
import type { FlowCleaning, Proxy, ProxyOptions, Sync } from './options.ts';

/** More writes than this are split, so that no commit holds the kernel's lock for long (X3). */
const WRITES_PER_COMMIT = 5000;
/** What is for others, or for nobody, does not come over the wire (P1, P2). */
const FOR_PROXIES = `!${PROXY_NAME_LABEL},!${HEADLESS_LABEL}`;
/** Who events say they come from: what people filter by. */
const component = 'kube-proxy';
const RETRY_MS = 50;
const RETRY_MS_MAX = 30_000;
/** News bring a failed sync forward, but not more often than this. */
const FAILED_PAUSE_MS = 1000;

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
  readonly #node: NodeWatch;
  readonly #backend: NftablesBackend;
  readonly #flows: StaleFlows;
  readonly #events: EventRecorder;
  readonly #account: SyncAccount;
  readonly #healthPorts: ServiceHealthPorts;
  readonly #localhost: LocalhostForwarder;
  readonly #notices: Notices;
  readonly #moves: Moves;
  readonly #dirty = new Set<string>();
  readonly #undo: (() => void)[] = [];
  readonly #pacer: Pacer;
  #settleReady: () => void;
  #rangesChanged = false;
  /** When the oldest news in `dirty` came. */
  #dirtySince: number | undefined;
  #listed = false;
  #swept = false;
  #failures = 0;
  /** When families that were refused are tried again; 0: at once. */
  #retryAt = 0;
  #newestVersion = 0;
  #watch: KernelWatch | undefined;

  constructor(options: ProxyOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.ready = promise;
    this.#settleReady = resolve;
    const { client, nodeName, log } = options;
    this.#pacer = new Pacer({ clock: this.#clock, run: () => this.#sync() });
    this.#services = this.#serviceInformer();
    // Nobody else in this process reads slices, and ours are slim.
    this.#slices = new Informer<EndpointSlice>({
      client,
      resource: resources.endpointslices,
      clock: this.#clock,
      log,
      labelSelector: FOR_PROXIES,
      trim: (slice) => slimSlice(slice, nodeName),
    });
    this.#slices.addIndex('service', (slice) => [serviceKeyOf(slice) ?? '']);
    this.#moves = new Moves({
      clock: this.#clock,
      slicesOf: (service) => this.#slices.byIndex('service', service),
    });
    this.#node = new NodeWatch(options, this.#clock, (change) => this.#noteNode(change));
    const { observer, families } = options;
    const onCleaned = observer && ((cleaning: FlowCleaning) => observer.cleaned(cleaning));
    this.#flows = new StaleFlows({ log, clock: this.#clock, onCleaned });
    this.#backend = new NftablesBackend({
      log,
      random: options.random ?? (() => Math.floor(Math.random() * 2 ** 32)),
      settings: this.#ruleSettings(),
      ...(families === undefined ? {} : { families }),
    });
    const host = nodeName;
    this.#events = createEventRecorder({ client, component, host, clock: this.#clock, log });
    const account = { families: this.#families, observer, clock: this.#clock };
    this.#account = new SyncAccount(account);
    this.#notices = new Notices({
      events: this.#events,
      log,
      service: (key) => this.#services.get(key),
    });
    this.#localhost = new LocalhostForwarder({ log, clock: this.#clock, random: Math.random });
    this.#localhost.setAddresses(this.#node.loopback);
    this.#healthPorts = new ServiceHealthPorts({
      addresses: this.#node.context.node.nodePortAddresses,
      isHealthy: () => this.health.healthy,
      onFailure: (service, port, found) => this.#tellHealthPort(service, port, found),
      clock: this.#clock,
    });
  }

  get health(): ProxyHealth {
    return this.#account.health;
  }

  get localhostRejected(): number {
    return this.#backend.localhostRejected();
  }

  get clashes(): readonly Clash[] {
    return this.#backend.tables.flatMap(({ program }) => program.clashes());
  }

  start(): void {
    this.#undo.push(
      this.#services.onChange((old, current) => {
        this.#options.observer?.serviceChanged();
        this.#noteService(current ?? old);
      }),
      this.#slices.onChange((old, current) => {
        this.#options.observer?.sliceChanged(old, current);
        this.#moves.note(old, current, () => {
          this.#noteSlice(old);
          this.#noteSlice(current);
        });
      }),
    );
    this.#node.start();
    const [services, slices, node] = [this.#services, this.#slices, this.#node];
    void Promise.all([services.synced, slices.synced, node.ready]).then(() => {
      this.#listed = true;
      this.#pacer.ask();
    });
    for (const informer of [services, slices]) informer.start();
    this.#watch = this.#watchKernel();
  }

  async stop(): Promise<void> {
    this.#pacer.stop();
    for (const undo of this.#undo) undo();
    this.#watch?.[Symbol.dispose]();
    this.#node[Symbol.dispose]();
    this.#slices.stop();
    if (this.#options.informers === undefined) this.#services.stop();
    this.#moves[Symbol.dispose]();
    this.#flows[Symbol.dispose]();
    this.#healthPorts[Symbol.dispose]();
    this.#localhost[Symbol.dispose]();
    this.#events.stop();
    this.#backend[Symbol.dispose]();
  }

  #ruleSettings() {
    const { masqueradeBit = DEFAULT_SETTINGS.masqueradeBit } = this.#options;
    const { podInterface } = this.#node.context.options;
    return { masqueradeBit, ...(podInterface === undefined ? {} : { podInterface }) };
  }

  #serviceInformer(): Informer<Service> {
    const { informers, client, log } = this.#options;
    const resource = resources.services;
    const labelSelector = FOR_PROXIES;
    const own = { client, resource, log, clock: this.#clock, labelSelector, trim: slimService };
    return informers?.of<Service>(resource) ?? new Informer<Service>(own);
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
    this.#account.queued();
    if (this.#listed) this.#pacer.ask();
  }

  #noteNode(change: NodeChange): void {
    this.#rangesChanged = true;
    this.#healthPorts.setAddresses(this.#node.context.node.nodePortAddresses);
    this.#localhost.setAddresses(this.#node.loopback);
    for (const service of this.#services.list()) {
      const concerned = change === 'all' || (change === 'nodePorts' && hasNodePort(service));
      if (concerned) this.#noteService(service);
    }
    if (this.#listed) this.#pacer.ask();
  }

  // ---- the loop

  #sync(): void {
    const startedAt = this.#clock.monotonicMs();
    this.#account.begin();
    const since = this.#dirtySince ?? startedAt;
    const version = this.#newestVersion;
    try {
      const services = this.#fill();
      const last = this.#dirty.size === 0;
      if (last && !this.#swept) this.#backend.sweep();
      const planningMs = this.#clock.monotonicMs() - startedAt;
      const count = (commit: FamilyCommit) => this.#account.count(commit, { planningMs, last });
      this.#retryFailing(count);
      const writes = this.#backend.commitEach(count);
      if (!last) this.#pacer.ask();
      else if (this.#backend.failing.length < this.#families.length) this.#finish(version);
      const sent = this.#backend.takeTraffic();
      if (writes > 0 && sent !== undefined) {
        this.#tell({ services, writes, sent, version, since, startedAt });
      }
      this.#healthPorts.apply();
      this.#localhost.apply();
      if (last) this.#notices.setClashes(this.clashes);
      this.#flows.clean(this.#backend.tables.map((table) => table.program));
      this.#settleFailing();
    } catch (error) {
      this.#recover(error);
    }
  }

  /** Plans dirty Services until a commit is full; says how many. */
  #fill(): number {
    if (!this.#backend.isOpen) {
      this.#backend.openEach((commit) => this.#countFailure(commit));
      this.#account.reads();
      this.#watch?.compared();
      this.#rangesChanged = true;
      this.#swept = false;
    }
    if (this.#rangesChanged) this.#backend.setRanges(this.#node.context.options);
    this.#rangesChanged = false;
    let services = 0;
    for (const key of this.#dirty) {
      if (this.#backend.pendingCount >= WRITES_PER_COMMIT) break;
      this.#dirty.delete(key);
      this.#take(key);
      services += 1;
    }
    return services;
  }

  /** A Service that cannot be planned keeps what it had, and does not hold up the others. */
  #take(key: string): void {
    try {
      const plan = this.#plan(key);
      this.#backend.setService(key, plan, (family, keys) => this.#flows.note(family, keys));
      this.#healthPorts.set(key, plan?.healthCheck);
      this.#localhost.set(key, plan);
      this.#notices.set(key, [...(plan?.notices ?? []), ...sctpNotices(plan)]);
      this.#options.observer?.planned(key, plan);
    } catch (error) {
      const message = `node ${this.#options.nodeName} cannot plan this Service: ${messageOf(error)}`;
      this.#notices.warn(key, 'FailedToPlanService', message);
    }
  }

  #plan(key: string) {
    const service = this.#services.get(key);
    if (service === undefined) return undefined;
    return planService(service, this.#slices.byIndex('service', key), this.#node.context);
  }

  #finish(version: number): void {
    this.resourceVersion = version;
    this.#dirtySince = undefined;
    this.#swept = true;
    this.#account.end();
    this.#pacer.pause(this.#options.minSyncPeriodMs ?? 0);
    this.#settleReady();
  }

  get #families(): readonly IpFamily[] {
    return this.#backend.tables.map((table) => table.family);
  }

  #countFailure(commit: FamilyCommit): void {
    if (commit.error !== undefined) this.#account.count(commit, { planningMs: 0, last: false });
  }

  #tellHealthPort(key: string, port: number, found: string): void {
    const message = `node ${this.#options.nodeName} failed to start healthcheck "${key}" on port ${port}: ${found}`;
    this.#notices.warn(key, 'FailedToStartServiceHealthcheck', message);
  }

  #tell(facts: {
    services: number;
    writes: number;
    sent: Traffic;
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
      sent: facts.sent,
      resourceVersion: facts.version,
    };
    this.#options.onSync?.(this.lastSync);
  }

  /**
   * A family that was refused is tried again, later each time; the other goes on meanwhile (P136).
   */
  #retryFailing(count: (commit: FamilyCommit) => void): void {
    if (this.#backend.failing.length === 0 || this.#clock.monotonicMs() < this.#retryAt) return;
    // Until it is known how it went.
    this.#retryAt = 0;
    for (const { service, error } of this.#backend.retry(count)) this.#tellRefused(service, error);
  }

  /** When the next try is due: each takes twice as long as the last one. */
  #settleFailing(): void {
    const now = this.#clock.monotonicMs();
    if (this.#backend.failing.length === 0) {
      this.#failures = 0;
      this.#retryAt = 0;
      return;
    }
    if (this.#retryAt === 0) this.#retryAt = now + this.#nextRetryMs();
    this.#pacer.ask(this.#retryAt - now);
  }

  #nextRetryMs(): number {
    this.#failures += 1;
    const longestMs = this.#options.syncPeriodMs ?? RETRY_MS_MAX;
    return Math.min(longestMs, RETRY_MS * 2 ** (this.#failures - 1));
  }

  /** The kernel refuses what this Service needs; all others are served. */
  #tellRefused(key: string, error: unknown): void {
    const message = `node ${this.#options.nodeName} keeps the rules it had: ${messageOf(error)}`;
    this.#notices.warn(key, 'RulesRefused', message);
  }

  /** Reads the kernel again and tries once more, later each time. */
  #recover(error: unknown): void {
    const retryMs = this.#nextRetryMs();
    this.#options.log.error({ error: messageOf(error), retryMs }, 'sync failed');
    this.#account.broke(error);
    this.#backend.close();
    this.#pacer.pause(Math.min(retryMs, FAILED_PAUSE_MS));
    this.#pacer.ask(retryMs);
  }

  /** A family that fails waits for its next try, which need not keep us from mending the other (P136). */
  get #isIdle(): boolean {
    const waits = this.#pacer.waits && this.#backend.failing.length === 0;
    return this.#swept && !waits && this.#dirty.size === 0;
  }

  #watchKernel(): KernelWatch {
    return new KernelWatch({
      isIdle: () => this.#isIdle,
      wasChangedByOthers: () => this.#backend.wasChangedByOthers(),
      isGone: () => this.#backend.isGone(),
      compare: () => this.#compareNow(),
      onError: (error) => this.#recover(error),
      clock: this.#clock,
      log: this.#options.log,
    });
  }

  #compareNow(): void {
    this.#backend.close();
    this.#sync();
  }
}

function hasNodePort({ spec }: Service): boolean {
  return spec.ports?.some((port) => port.nodePort) ?? false;
}
