/**
 * The HTTP ports that tell balancers whether this node has endpoints of a Service with
 * externalTrafficPolicy Local (P118-P121). One server answers for both IP families.
 */
import type { RequestListener } from 'node:http';
import { systemClock, type Clock } from '../../lib/clock.ts';
import { messageOf } from '../../lib/errors.ts';
import type { HealthCheckPlan } from '../../plan/types.ts';
import { send } from './health-pages.ts';
import { openHttpPort, type HttpPort } from './http-port.ts';

/** A port that could not be opened is tried again after this, or with a later sync. */
const RETRY_MS = 5000;
/** Syncs may follow each other within milliseconds. */
const RETRY_MS_MIN = 1000;

export type ServicePortsOptions = {
  /** Where to listen; none: on all addresses. */
  readonly addresses: readonly string[];
  /** Whether the proxy itself keeps up. */
  readonly isHealthy: () => boolean;
  /** Told each time that a port of the Service `namespace/name` cannot be opened. */
  readonly onFailure: (service: string, port: number, found: string) => void;
  readonly clock?: Clock;
};

type Entry = {
  readonly port: number;
  readonly close: () => void;
  /** As of the last `apply`. */
  localEndpoints: number;
  /** When it could not be opened; undefined while all is well. */
  failedAt?: number;
};

export class ServiceHealthPorts {
  readonly #options: ServicePortsOptions;
  readonly #clock: Clock;
  readonly #wanted = new Map<string, HealthCheckPlan>();
  /** Services to look at in the next `apply`. */
  readonly #changed = new Set<string>();
  readonly #open = new Map<string, Entry>();
  #addresses: readonly string[];
  #cancelRetry: (() => void) | undefined;

  constructor(options: ServicePortsOptions) {
    this.#options = options;
    this.#addresses = options.addresses;
    this.#clock = options.clock ?? systemClock;
  }

  /** Notes what a Service shall have; `apply` makes it so. */
  set(service: string, wanted: HealthCheckPlan | undefined): void {
    if (wanted !== undefined) this.#wanted.set(service, wanted);
    else if (!this.#wanted.delete(service)) return;
    this.#changed.add(service);
  }

  /** Listens elsewhere from the next `apply` on. */
  setAddresses(addresses: readonly string[]): void {
    if (addresses.join() === this.#addresses.join()) return;
    this.#addresses = addresses;
    for (const service of this.#open.keys()) {
      this.#close(service);
      this.#changed.add(service);
    }
  }

  /** Closes what nobody wants, then opens what is missing: a port may move between Services. */
  apply(): void {
    const now = this.#clock.monotonicMs();
    for (const service of this.#changed) {
      const entry = this.#open.get(service);
      if (entry === undefined) continue;
      const wanted = this.#wanted.get(service);
      const failed = entry.failedAt !== undefined && now - entry.failedAt >= RETRY_MS_MIN;
      if (failed || wanted?.port !== entry.port) this.#close(service);
      else entry.localEndpoints = wanted.localEndpoints;
    }
    for (const service of this.#changed) {
      const wanted = this.#wanted.get(service);
      const entry = this.#open.get(service);
      if (wanted !== undefined && entry === undefined) this.#listen(service, wanted);
      // One that failed a moment ago is looked at again.
      if (entry?.failedAt === undefined) this.#changed.delete(service);
    }
  }

  [Symbol.dispose](): void {
    this.#cancelRetry?.();
    for (const service of this.#open.keys()) this.#close(service);
    this.#wanted.clear();
    this.#changed.clear();
  }

  #close(service: string): void {
    this.#open.get(service)?.close();
    this.#open.delete(service);
  }

  #listen(service: string, { port, localEndpoints }: HealthCheckPlan): void {
    let opened: HttpPort | undefined;
    let closed = false;
    const entry: Entry = {
      port,
      localEndpoints,
      close() {
        closed = true;
        opened?.close();
      },
    };
    this.#open.set(service, entry);
    openHttpPort({ addresses: this.#addresses, port, handler: this.#handler(service, entry) }).then(
      (http) => {
        opened = http;
        if (closed) http.close();
      },
      (error: unknown) => {
        if (closed) return;
        entry.failedAt = this.#clock.monotonicMs();
        this.#changed.add(service);
        this.#options.onFailure(service, port, messageOf(error));
        this.#retryLater();
      },
    );
  }

  #retryLater(): void {
    this.#cancelRetry ??= this.#clock.after(RETRY_MS, () => {
      this.#cancelRetry = undefined;
      this.apply();
    });
  }

  /** Any path and any method are the same question. */
  #handler(service: string, entry: Entry): RequestListener {
    return (_, response) => {
      const count = entry.localEndpoints;
      const healthy = this.#options.isHealthy();
      send(response, count > 0 && healthy ? 200 : 503, {
        type: 'application/json',
        body: bodyOf(service, count, healthy),
        headers: { 'X-Load-Balancing-Endpoint-Weight': String(count) },
      });
    };
  }
}

/** As kube-proxy lays it out, tabs and all. */
function bodyOf(service: string, localEndpoints: number, serviceProxyHealthy: boolean): string {
  const [namespace, name] = service.split('/');
  const facts = { service: { namespace, name }, localEndpoints, serviceProxyHealthy };
  return JSON.stringify(facts, undefined, '\t');
}
