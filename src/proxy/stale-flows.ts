/**
 * UDP flows that conntrack would keep sending to endpoints that are gone, or past the rules
 * altogether, are forgotten after a change (P99-P110). TCP and SCTP flows are left alone: they end
 * by themselves, with an answer from the other side.
 */
import { ConntrackConnection, PROTOCOL, type Flow } from '../kernel/conntrack/index.ts';
import { systemClock, type Clock } from '../lib/clock.ts';
import { messageOf } from '../lib/errors.ts';
import type { IpFamily } from '../lib/ip.ts';
import type { Logger } from '../lib/log.ts';
import { frontendKey, targetKey, type PlannedFrontend, type PortPlan } from '../plan/types.ts';
import type { FlowCleaning } from './options.ts';

/** What the cleaner asks of the plan in force. */
export type FlowPlan = {
  readonly family: IpFamily;
  winner(key: string): PlannedFrontend | undefined;
  port(id: string): PortPlan | undefined;
};

/** The kernel walks its whole table, some 10 ms: that may take this share of the time at most. */
const BUSY_SHARE = 0.2;

/** Whether the flow went to one of the frontends and ends where nobody of theirs answers. */
export function isStale(flow: Flow, keys: ReadonlySet<string>, plan: FlowPlan): boolean {
  const { original, reply } = flow;
  if (original.protocol !== PROTOCOL.udp) return false;
  const { destination: address, destinationPort: port = 0 } = original;
  const key = frontendKey({ address, protocol: 'UDP', port });
  if (!keys.has(key)) return false;
  const frontend = plan.winner(key);
  const serving = (frontend && plan.port(frontend.portId)?.serving) ?? [];
  const answering = targetKey({ address: reply.source, port: reply.sourcePort ?? 0 });
  return !serving.some((target) => targetKey(target) === answering);
}

/** What is asked of the connection table. */
export type FlowTable = Pick<ConntrackConnection, 'flows' | 'delete'> & Disposable;

export class StaleFlows {
  readonly #log: Logger;
  readonly #clock: Clock;
  /** Frontends whose flows must be looked at, by family. */
  readonly #keys: Record<IpFamily, Set<string>> = { ipv4: new Set(), ipv6: new Set() };
  readonly #onCleaned: ((cleaning: FlowCleaning) => void) | undefined;
  readonly #connect: () => FlowTable;
  #notBefore = 0;
  #cancel: (() => void) | undefined;

  constructor(options: {
    log: Logger;
    clock?: Clock;
    onCleaned?: ((cleaning: FlowCleaning) => void) | undefined;
    connect?: () => FlowTable;
  }) {
    this.#log = options.log;
    this.#onCleaned = options.onCleaned;
    this.#connect = options.connect ?? (() => new ConntrackConnection());
    this.#clock = options.clock ?? systemClock;
  }

  /** Notes frontends whose endpoints changed. */
  note(family: IpFamily, keys: Iterable<string>): void {
    for (const key of keys) this.#keys[family].add(key);
  }

  /** Forgets what has become stale, soon; call it once the rules are committed. */
  clean(plans: readonly FlowPlan[]): void {
    if (this.#cancel !== undefined) return;
    if (plans.every(({ family }) => this.#keys[family].size === 0)) return;
    const delayMs = Math.max(0, this.#notBefore - this.#clock.monotonicMs());
    this.#cancel = this.#clock.after(delayMs, () => {
      this.#cancel = undefined;
      const start = this.#clock.monotonicMs();
      for (const plan of plans) this.#cleanFamily(plan);
      const end = this.#clock.monotonicMs();
      this.#notBefore = end + (end - start) / BUSY_SHARE;
    });
  }

  [Symbol.dispose](): void {
    this.#cancel?.();
  }

  /** A failure is no failure of the sync: the next change tries again (P108). */
  #cleanFamily(plan: FlowPlan): void {
    const keys = this.#keys[plan.family];
    if (keys.size === 0) return;
    const start = this.#clock.monotonicMs();
    try {
      using connection = this.#connect();
      const stale = connection.flows(plan.family, (flow) => isStale(flow, keys, plan));
      // One that has ended meanwhile is fine, and not counted (P109).
      const deleted = stale.filter((flow) => connection.delete(flow)).length;
      keys.clear();
      const durationMs = this.#clock.monotonicMs() - start;
      this.#onCleaned?.({ family: plan.family, durationMs, deleted });
      if (deleted > 0) {
        this.#log.debug({ family: plan.family, flows: deleted }, 'forgot stale UDP flows');
      }
    } catch (error) {
      this.#log.warn({ family: plan.family, error: messageOf(error) }, 'cannot clean UDP flows');
    }
  }
}
