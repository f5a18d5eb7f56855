/** What a pod's containers find around them: its addresses, its sandbox and its volumes. */
import type { Pod } from '../../api/types.ts';
import { messageOf, UserError } from '../../lib/errors.ts';
import { isLive } from '../volumes/volumes.ts';
import type { PodHost } from './host.ts';
import { assignAddresses, makeSandbox, makeVolumes, removeSandbox } from './sandbox.ts';

/** A running pod whose volumes cannot be renewed keeps the files it has for this long. */
const renewAgainMs = 10_000;
const renewSoonestMs = 1000;

export class PodSurroundings {
  readonly #host: PodHost;
  #podIPs: readonly string[] = [];
  #sandboxReady = false;
  #volumesStale = true;

  constructor(host: PodHost) {
    this.#host = host;
  }

  /** One per family; empty until the pod has any. */
  get podIPs(): readonly string[] {
    return this.#podIPs;
  }

  get sandboxReady(): boolean {
    return this.#sandboxReady;
  }

  /** What the volumes show may have changed. */
  noteVolumes(): void {
    this.#volumesStale = true;
  }

  /** Makes what is not there yet. Volumes that fail do not disturb a pod in which something runs. */
  async make({ hasRunning }: { hasRunning: () => boolean }): Promise<void> {
    if (this.#podIPs.length === 0) {
      this.#host.save();
      this.#podIPs = await assignAddresses(this.#host.context, this.#pod);
    }
    // The API is asked for what goes into the volumes while the kernel makes the network.
    const volumes = this.#refreshVolumes(hasRunning);
    const sandbox = this.#sandboxReady ? Promise.resolve() : this.#makeSandbox();
    const outcomes = await Promise.allSettled([sandbox, volumes]);
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
  }

  async remove(): Promise<void> {
    const { uid, context } = this.#host;
    await removeSandbox(context, uid);
    if (!this.#pod.spec.hostNetwork && (this.#podIPs.length > 0 || this.#sandboxReady)) {
      (await context.addresses()).release(uid);
    }
    this.#sandboxReady = false;
  }

  get #pod(): Pod {
    return this.#host.pod();
  }

  async #makeSandbox(): Promise<void> {
    try {
      const warnings = await makeSandbox(this.#host.context, this.#pod, this.#podIPs);
      for (const { reason, message } of warnings)
        this.#host.tell({ type: 'Warning', reason, message });
    } catch (error) {
      const text = `Failed to create pod sandbox: ${messageOf(error)}`;
      throw new UserError('SANDBOX', text, { cause: error });
    }
    this.#sandboxReady = true;
    this.#host.trace('sandbox made');
  }

  async #refreshVolumes(hasRunning: () => boolean): Promise<void> {
    const { uid, context, source } = this.#host;
    const due = context.tokens.nextRenewal(uid);
    const now = context.clock.now();
    if (this.#volumesStale || (due !== undefined && due <= now)) {
      this.#volumesStale = false;
      try {
        await makeVolumes(context, { pod: this.#pod, podIPs: this.#podIPs, source });
        this.#host.trace('volumes made');
      } catch (error) {
        this.#volumesStale = true;
        if (!hasRunning()) throw error;
        context.log.warn({ pod: this.#pod.metadata.name, error: messageOf(error) }, 'volume');
        this.#host.noteIn(renewAgainMs);
      }
    }
    const next = context.tokens.nextRenewal(uid);
    const live = (this.#pod.spec.volumes ?? []).some(isLive);
    if (live && next !== undefined) this.#host.noteIn(Math.max(renewSoonestMs, next - now));
  }
}
