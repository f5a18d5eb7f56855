/** Starts the containers of a pod, and says why one does not start (K17). */
import { messageOf, UserError } from '../../lib/errors.ts';
import { formatDelay } from './back-off.ts';
import { containerId } from './container-spec.ts';
import type { PodHost } from './host.ts';
import type { ContainerKeeper } from './keeper.ts';
import { prepareContainer } from './launch.ts';
import type { Slot } from './slot.ts';

/** Between two looks at an image or a configuration that cannot run; it doubles for images. */
const refusedMs = 10_000;
const refusedMsMax = 300_000;

export class ContainerStarter {
  readonly #host: PodHost;
  readonly #keeper: ContainerKeeper;

  constructor(host: PodHost, keeper: ContainerKeeper) {
    this.#host = host;
    this.#keeper = keeper;
  }

  /** Starts the container if its time has come; else says why not, and when to look again. */
  async start(slot: Slot): Promise<void> {
    const now = this.#host.context.clock.now();
    if (slot.notBefore > now) {
      if (!isConfigError(slot) && slot.refusals === 0) this.#crashLoop(slot);
      return this.#host.noteIn(slot.notBefore - now);
    }
    const refusal = this.#host.context.runtime.refuses(slot.container.image ?? '');
    if (refusal !== undefined) return this.#imageRefused(slot, refusal);
    slot.refusals = 0;
    try {
      await this.#launch(slot);
      slot.waiting = undefined;
    } catch (error) {
      this.#startFailed(slot, error);
    }
  }

  async #launch(slot: Slot): Promise<void> {
    const { container } = slot;
    const image = container.image ?? '';
    const before = slot.record;
    // A run that was noted but never began is begun under its own number.
    const attempt = before?.terminated === undefined ? (before?.attempt ?? 0) : before.attempt + 1;
    const spec = await prepareContainer(this.#host.context, {
      pod: this.#host.pod(),
      container,
      attempt,
      podIPs: this.#host.podIPs(),
      source: this.#host.source,
    });
    if (this.#host.isEnding()) return;
    await this.#dropOldRuns(slot, attempt);
    this.#pulled(slot, image);
    slot.record = {
      attempt,
      image,
      launched: false,
      restarts: (before?.restarts ?? 0) + (before?.terminated === undefined ? 0 : 1),
      started: false,
      ready: false,
      ...(before?.backOff === undefined ? {} : { backOff: before.backOff }),
      ...lastOf(before),
    };
    this.#host.save();
    this.#host.trace('container prepared');
    await this.#host.context.runtime.start(spec);
    this.#host.trace('container started');
    slot.record.launched = true;
    this.#host.save();
    this.#host.context.logs.follow(spec.id, this.#host.context.runtime.rawLogs(spec.id));
    this.#told(slot, 'Started', `Started container ${container.name}`);
    this.#keeper.begin(slot);
  }

  async #dropOldRuns(slot: Slot, attempt: number): Promise<void> {
    const idOf = (n: number) => containerId(this.#host.uid, slot.container.name, n);
    if (attempt >= 1) await this.#host.context.runtime.remove(idOf(attempt - 1));
    if (attempt >= 2) this.#host.context.logs.remove(idOf(attempt - 2));
  }

  #crashLoop(slot: Slot): void {
    const { namespace, name } = this.#host.pod().metadata;
    const delay = formatDelay(slot.record?.backOff?.delayMs ?? 0);
    const who = `${slot.container.name} in pod ${name}_${namespace}(${this.#host.uid})`;
    if (slot.waiting?.reason !== 'CrashLoopBackOff') {
      this.#warn(slot, 'BackOff', `Back-off restarting failed container ${who}`);
    }
    slot.waiting = {
      reason: 'CrashLoopBackOff',
      message:
        `back-off ${delay} restarting failed container=${slot.container.name} ` +
        `pod=${name}_${namespace}(${this.#host.uid})`,
    };
  }

  #imageRefused(slot: Slot, refusal: string): void {
    const image = slot.container.image ?? '';
    slot.refusals += 1;
    const delayMs = Math.min(refusedMs * 2 ** (slot.refusals - 1), refusedMsMax);
    if (slot.refusals === 1) {
      this.#warn(slot, 'Failed', `Failed to pull image "${image}": ${refusal}`);
      this.#warn(slot, 'Failed', 'Error: ErrImagePull');
      slot.waiting = { reason: 'ErrImagePull', message: refusal };
    } else {
      this.#told(slot, 'BackOff', `Back-off pulling image "${image}"`);
      const message = `Back-off pulling image "${image}": ${refusal}`;
      slot.waiting = { reason: 'ImagePullBackOff', message };
    }
    slot.notBefore = this.#host.context.clock.now() + delayMs;
    this.#host.noteIn(delayMs);
  }

  #startFailed(slot: Slot, error: unknown): void {
    const message = messageOf(error);
    this.#warn(slot, 'Failed', `Error: ${message}`);
    const delayMs = refusedMs;
    if (error instanceof UserError) {
      slot.waiting = { reason: 'CreateContainerConfigError', message };
    } else {
      this.#host.context.log.warn(
        { pod: this.#host.pod().metadata.name, error: message },
        'start failed',
      );
      slot.waiting = { reason: 'RunContainerError', message };
    }
    slot.notBefore = this.#host.context.clock.now() + delayMs;
    this.#host.noteIn(delayMs);
  }

  #pulled(slot: Slot, image: string): void {
    this.#told(slot, 'Pulled', `Container image "${image}" already present on machine`);
    this.#told(slot, 'Created', `Created container: ${slot.container.name}`);
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

/** It could not be started for a reason that someone else may remove. */
export function isConfigError(slot: Slot): boolean {
  const reason = slot.waiting?.reason;
  return reason === 'CreateContainerConfigError' || reason === 'RunContainerError';
}

/** How the run before the next one ended. */
function lastOf(record: Slot['record']): { last?: NonNullable<Slot['record']>['last'] & {} } {
  const last = record?.terminated ?? record?.last;
  return last === undefined ? {} : { last };
}
