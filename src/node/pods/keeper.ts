/** Looks after running containers: hooks, probes, and their end (K19-K21). */
import type { Probe } from '../../api/types.ts';
import { messageOf } from '../../lib/errors.ts';
import { check, type CheckTarget } from '../probes/check.ts';
import type { ProbeKind } from '../probes/prober.ts';
import { runHook } from './hooks.ts';
import type { PodHost } from './host.ts';
import { isRunning, slotId, startProbers, stopProbers, type Slot } from './slot.ts';
import { Stop } from './stop.ts';

export class ContainerKeeper {
  readonly #host: PodHost;
  #stopped = false;

  constructor(host: PodHost) {
    this.#host = host;
  }

  /** A run has just begun. */
  begin(slot: Slot): void {
    this.#runPostStart(slot);
    this.#startProbers(slot);
  }

  /** Leaves the containers to the next agent. */
  abandon(slots: readonly Slot[]): void {
    this.#stopped = true;
    for (const slot of slots) {
      stopProbers(slot);
      slot.stop?.cancel();
    }
  }

  #runPostStart(slot: Slot): void {
    const hook = slot.container.lifecycle?.postStart;
    const attempt = slot.record?.attempt;
    if (hook === undefined) return;
    slot.hookRuns = true;
    void runHook(hook, this.#target(slot), this.#host.context.clock).then((result) => {
      if (slot.record?.attempt !== attempt || !isRunning(slot)) return;
      slot.hookRuns = false;
      if (result.ok) {
        this.#startProbers(slot);
      } else {
        const message = `PostStartHook failed: ${result.output}`;
        this.#warn(slot, 'FailedPostStartHook', message);
        this.stop(slot, this.graceMs(), 'FailedPostStartHook');
      }
      this.#host.note();
    });
  }

  /** Ends the container within its grace period; a second request can only shorten it. */
  stop(slot: Slot, graceMs: number, message: string): void {
    if (!isRunning(slot)) return;
    if (slot.stop !== undefined) return slot.stop.shorten(graceMs);
    const id = slotId(this.#host.uid, slot);
    const hook = slot.container.lifecycle?.preStop;
    this.#told(slot, 'Killing', message);
    slot.stop = new Stop({
      graceMs,
      clock: this.#host.context.clock,
      preStop: hook === undefined ? undefined : () => this.#runPreStop(slot, hook),
      signal: (signal) => void this.#signal(id, signal),
    });
  }

  async #runPreStop(slot: Slot, hook: NonNullable<Parameters<typeof runHook>[0]>): Promise<void> {
    const result = await runHook(hook, this.#target(slot), this.#host.context.clock);
    if (!result.ok) {
      this.#warn(slot, 'FailedPreStopHook', `PreStopHook failed: ${result.output}`);
    }
  }

  async #signal(id: string, signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    try {
      await this.#host.context.runtime.signal(id, signal);
    } catch (error) {
      this.#host.context.log.warn(
        { container: id, error: messageOf(error) },
        `cannot send ${signal}`,
      );
    }
    this.#host.note();
  }

  graceMs(): number {
    const { deletionGracePeriodSeconds } = this.#host.pod().metadata;
    const seconds =
      deletionGracePeriodSeconds ?? this.#host.pod().spec.terminationGracePeriodSeconds;
    return (seconds ?? 30) * 1000;
  }

  /** A container an earlier agent left running goes on as it was, without a new start. */
  readopt(slot: Slot): void {
    if (!isRunning(slot)) return;
    const id = slotId(this.#host.uid, slot);
    this.#host.context.logs.follow(id, this.#host.context.runtime.rawLogs(id));
    if (this.#host.context.runtime.state(id)?.kind === 'running') this.#startProbers(slot);
  }

  #startProbers(slot: Slot): void {
    const before = JSON.stringify(slot.record);
    startProbers(slot, {
      clock: this.#host.context.clock,
      check: (_kind, probe, timeoutMs) => check(probe, this.#target(slot), timeoutMs),
      onVerdict: (kind, ok, probe) => this.#verdict(slot, { kind, ok, probe }),
      onFailure: (kind, output) => {
        const name = kind.charAt(0).toUpperCase() + kind.slice(1);
        this.#warn(slot, 'Unhealthy', `${name} probe failed: ${output}`);
      },
    });
    if (JSON.stringify(slot.record) !== before) this.#host.save();
  }

  /** On the way of every Service change: the status is written before anything else is done. */
  #verdict(slot: Slot, verdict: { kind: ProbeKind; ok: boolean; probe: Probe }): void {
    const { kind, ok, probe } = verdict;
    if (slot.record === undefined || this.#stopped) return;
    if (kind === 'readiness') {
      slot.record.ready = ok;
      this.#host.publish();
      this.#host.trace(ok ? 'container ready' : 'container not ready');
      this.#host.save();
      return;
    }
    if (!ok) {
      const seconds = probe.terminationGracePeriodSeconds;
      const graceMs = seconds === undefined ? this.graceMs() : seconds * 1000;
      const name = slot.container.name;
      this.stop(slot, graceMs, `Container ${name} failed ${kind} probe, will be restarted`);
      stopProbers(slot);
      return;
    }
    if (kind === 'liveness') return;
    slot.record.started = true;
    this.#startProbers(slot);
    this.#host.save();
    this.#host.publish();
    this.#host.note();
  }

  #target(slot: Slot): CheckTarget {
    const id = slotId(this.#host.uid, slot);
    return {
      container: slot.container,
      podIP: this.#host.podIPs()[0] ?? this.#host.pod().status?.podIP ?? '',
      exec: (command) => this.#host.context.runtime.exec(id, { command, tty: false, stdin: false }),
    };
  }

  #told(slot: Slot, reason: string, message: string): void {
    const container = slot.container.name;
    this.#host.tell({ type: 'Normal', reason, message, container });
  }

  #warn(slot: Slot, reason: string, message: string): void {
    const container = slot.container.name;
    this.#host.tell({ type: 'Warning', reason, message, container });
  }
}
