/**
 * Brings one pod to what its object asks for. Everything that happens (a new object, an exit, a
 * probe, a timer) only notes that there is work; one loop looks at the whole pod each time.
 */
import { isDeepStrictEqual } from 'node:util';
import { resources } from '../../api/resources.ts';
import { isReason } from '../../api/status.ts';
import type { Pod } from '../../api/types.ts';
import { messageOf, UserError } from '../../lib/errors.ts';
import type { ConfigSource } from '../environment/env.ts';
import { VolumeError } from '../volumes/volumes.ts';
import { containerId } from './container-spec.ts';
import type { NodeContext, PodEvent } from './context.ts';
import type { PodHost } from './host.ts';
import { ContainerKeeper } from './keeper.ts';
import { newRecord, type PodRecord } from './record.ts';
import { isRunning, noteExit, slotId, slotsOf, viewOf, type Slot } from './slot.ts';
import { ContainerStarter, isConfigError } from './starter.ts';
import { phaseOf, podStatus, type PodView } from './status.ts';
import { StatusWriter } from './status-writer.ts';
import { PodSurroundings } from './surroundings.ts';
import { WorkLoop } from './work-loop.ts';

/** A pod that is slow to start says after this that it is being made; a fast one saves the write. */
const creatingAfterMs = 100;

export class PodWorker {
  readonly uid: string;
  readonly #context: NodeContext;
  readonly #record: PodRecord;
  readonly #slots: Slot[];
  readonly #writer: StatusWriter;
  readonly #source: ConfigSource;
  readonly #keeper: ContainerKeeper;
  readonly #starter: ContainerStarter;
  readonly #surroundings: PodSurroundings;
  readonly #loop: WorkLoop;
  readonly #onGone: () => void;
  #pod: Pod;
  readonly #settled: boolean;
  #ended: boolean;
  /** The API has no such object any more. */
  #deleted = false;
  #failed: { reason: string; message: string } | undefined;

  constructor(options: { context: NodeContext; pod: Pod; onGone: () => void }) {
    const { context, pod } = options;
    this.#context = context;
    this.#pod = pod;
    this.#onGone = options.onGone;
    this.uid = pod.metadata.uid ?? '';
    const known = context.records.read(this.uid);
    this.#record = known ?? newRecord(pod, context.clock.now());
    // It ended before the machine was started anew: there is nothing left to do or to say.
    this.#settled = known === undefined && hasEnded(pod);
    this.#ended = this.#settled;
    this.#slots = slotsOf(pod, this.#record.containers);
    this.#writer = new StatusWriter({ ...context, pod });
    this.#source = context.objects.sourceFor(pod, () => {
      this.#surroundings.noteVolumes();
      for (const slot of this.#slots) if (isConfigError(slot)) slot.notBefore = 0;
      this.note();
    });
    this.#loop = new WorkLoop({
      clock: context.clock,
      look: () => this.#sync(),
      failed: (error) => this.#explain(error),
      looked: () => this.#publish(),
    });
    const host = this.#makeHost();
    this.#surroundings = new PodSurroundings(host);
    this.#keeper = new ContainerKeeper(host);
    this.#starter = new ContainerStarter(host, this.#keeper);
    for (const slot of this.#slots) this.#keeper.readopt(slot);
    this.#trace('pod taken on');
  }

  get pod(): Pod {
    return this.#pod;
  }

  /** One per family; empty until the pod has any. */
  get podIPs(): readonly string[] {
    return this.#surroundings.podIPs;
  }

  /** The object as the API has it now. */
  update(pod: Pod): void {
    const before = this.#pod.metadata;
    this.#pod = pod;
    this.#writer.observe(pod);
    for (const slot of this.#slots) {
      const all = [...(pod.spec.initContainers ?? []), ...pod.spec.containers];
      slot.container = all.find(({ name }) => name === slot.container.name) ?? slot.container;
    }
    // What of the pod itself can change in its volumes.
    const { labels, annotations } = pod.metadata;
    if (!isDeepStrictEqual([before.labels, before.annotations], [labels, annotations]))
      this.#surroundings.noteVolumes();
    this.note();
  }

  /** The object is gone from the API: nothing of the pod may stay. */
  remove(): void {
    this.#deleted = true;
    this.#writer.stop();
    this.note();
  }

  /** There may be something to do. */
  note(): void {
    this.#loop.note();
  }

  /** Leaves everything as it runs, for the next agent. */
  async stop(): Promise<void> {
    this.#loop.stop();
    this.#writer.stop();
    this.#keeper.abandon(this.#slots);
    await this.#loop.idle();
  }

  /** The runtime's id of the container's run now under way, or of its last or previous one. */
  containerRun(name: string, previous = false): { id: string; running: boolean } | undefined {
    const slot = this.#slots.find(({ container }) => container.name === name);
    const record = slot?.record;
    if (slot === undefined || record === undefined) return undefined;
    const attempt = record.attempt - (previous ? 1 : 0);
    if (attempt < 0) return undefined;
    return { id: containerId(this.uid, name, attempt), running: !previous && isRunning(slot) };
  }

  #makeHost(): PodHost {
    return {
      uid: this.uid,
      context: this.#context,
      source: this.#source,
      pod: () => this.#pod,
      podIPs: () => this.#surroundings.podIPs,
      isEnding: () => this.#loop.isStopped || this.#mustStop(),
      save: () => this.#save(),
      publish: () => this.#publish(),
      note: () => this.note(),
      noteIn: (delayMs) => this.#loop.noteIn(delayMs),
      tell: (event) => this.#tell(event),
      trace: (step) => this.#trace(step),
    };
  }

  async #sync(): Promise<void> {
    this.#observe();
    if (this.#deleted || this.#pod.metadata.deletionTimestamp !== undefined) return this.#end();
    if (this.#ended) return;
    this.#enforceDeadline();
    if (this.#isOver()) return this.#retire();
    const cancel = this.#context.clock.after(creatingAfterMs, () => this.#publish());
    try {
      await this.#surroundings.make({ hasRunning: () => this.#slots.some(isRunning) });
    } finally {
      cancel();
    }
    // The pod may have been deleted meanwhile; the loop looks again at once.
    if (this.#loop.isNoted && this.#mustStop()) return;
    await this.#advance();
  }

  // ---- what has happened

  #observe(): void {
    for (const slot of this.#slots) {
      if (!isRunning(slot)) continue;
      const id = slotId(this.uid, slot);
      const state = this.#context.runtime.state(id);
      if (state?.kind === 'running') continue;
      noteExit(slot, state, { id, nowMs: this.#context.clock.now() });
      this.#context.logs.finish(id);
      this.#save();
    }
  }

  #mustStop(): boolean {
    return this.#deleted || this.#pod.metadata.deletionTimestamp !== undefined;
  }

  #isOver(): boolean {
    if (this.#slots.some(isRunning)) {
      if (this.#failed === undefined) return false;
      for (const slot of this.#slots)
        this.#keeper.stop(slot, this.#keeper.graceMs(), 'Stopping container');
      return false;
    }
    return ['Succeeded', 'Failed'].includes(phaseOf(this.#view()));
  }

  #enforceDeadline(): void {
    const seconds = this.#pod.spec.activeDeadlineSeconds;
    if (seconds === undefined || this.#failed !== undefined) return;
    const leftMs = Date.parse(this.#record.startTime) + seconds * 1000 - this.#context.clock.now();
    if (leftMs > 0) return this.#loop.noteIn(leftMs);
    const message = 'Pod was active on the node longer than the specified deadline';
    this.#failed = { reason: 'DeadlineExceeded', message };
    this.#tell({ type: 'Normal', reason: 'DeadlineExceeded', message });
  }

  // ---- running the containers

  /** Starts whatever is due, in the order a kubelet does. */
  async #advance(): Promise<void> {
    if (!(await this.#advanceInits())) return;
    if (!this.#record.initialized) {
      this.#record.initialized = true;
      this.#save();
    }
    for (const slot of this.#slots) {
      if (slot.role !== 'main') continue;
      if (slot.hookRuns) return;
      if (isRunning(slot)) this.#replaceIfChanged(slot);
      else if (this.#wantsStart(slot)) await this.#starter.start(slot);
      if (this.#loop.isNoted && this.#mustStop()) return;
    }
  }

  /** Whether the main containers may run. */
  async #advanceInits(): Promise<boolean> {
    for (const slot of this.#slots) {
      if (slot.role === 'main') continue;
      if (slot.role === 'init' && this.#record.initialized) continue;
      if (slot.hookRuns) return false;
      if (slot.role === 'init' && slot.record?.terminated?.exitCode === 0) continue;
      if (!isRunning(slot) && this.#wantsStart(slot)) await this.#starter.start(slot);
      if (this.#record.initialized) continue;
      if (slot.role === 'init' || !(isRunning(slot) && slot.record?.started)) return false;
    }
    return true;
  }

  #wantsStart(slot: Slot): boolean {
    const ended = slot.record?.terminated;
    if (this.#failed !== undefined) return false;
    if (ended === undefined || slot.role === 'sidecar') return true;
    const policy = this.#pod.spec.restartPolicy ?? 'Always';
    if (policy === 'Never') return false;
    return slot.role === 'main' && policy === 'Always' ? true : ended.exitCode !== 0;
  }

  /** The image is the one thing of a running container that can change. */
  #replaceIfChanged(slot: Slot): void {
    if (slot.record?.image === slot.container.image) return;
    const text = `Container ${slot.container.name} definition changed, will be restarted`;
    this.#keeper.stop(slot, this.#keeper.graceMs(), text);
  }

  /** A failed preparation of the whole pod becomes an event. */
  #explain(error: unknown): void {
    const message = messageOf(error);
    this.#context.log.warn({ pod: this.#pod.metadata.name, error: message }, 'pod not in order');
    if (error instanceof VolumeError) {
      this.#tell({ type: 'Warning', reason: 'FailedMount', message });
    } else if (error instanceof UserError && error.code === 'SANDBOX') {
      this.#tell({ type: 'Warning', reason: 'FailedCreatePodSandBox', message });
    }
  }

  // ---- ending

  /** Stops everything that runs; when nothing does, removes the pod here and in the API. */
  async #end(): Promise<void> {
    const graceMs = this.#deleted ? 0 : this.#keeper.graceMs();
    const mains = this.#slots.filter((slot) => slot.role !== 'sidecar' && isRunning(slot));
    // Sidecars serve the others to the end.
    const next = mains.length > 0 ? mains : this.#slots.filter(isRunning);
    for (const slot of next) {
      slot.probers.get('liveness')?.stop();
      slot.probers.get('startup')?.stop();
      this.#keeper.stop(slot, graceMs, `Stopping container ${slot.container.name}`);
    }
    if (next.length > 0) return;
    if (!this.#ended) await this.#release();
    if (!this.#deleted) await this.#deleteObject();
    this.#forget();
  }

  /** Everything has ended for good: the sandbox goes, the object and the logs stay. */
  async #retire(): Promise<void> {
    if (!this.#ended) await this.#release();
  }

  async #release(): Promise<void> {
    if (!this.#deleted) this.#publish();
    this.#ended = true;
    await this.#surroundings.remove();
  }

  async #deleteObject(): Promise<void> {
    this.#publish();
    await this.#writer.flushed();
    const { namespace = '', name } = this.#pod.metadata;
    try {
      await this.#context.client.delete(
        resources.pods,
        { namespace, name },
        { gracePeriodSeconds: 0, preconditions: { uid: this.uid } },
      );
    } catch (error) {
      // Gone already, or the name belongs to another pod by now.
      if (!isReason(error, 'NotFound') && !isReason(error, 'Conflict')) throw error;
    }
  }

  #forget(): void {
    this.#loop.stop();
    this.#writer.stop();
    this.#context.records.remove(this.uid);
    this.#context.logs.removePod(this.uid);
    this.#onGone();
  }

  // ---- telling

  #view(): PodView {
    const { initialized, startTime } = this.#record;
    const { runtime, nodeIPs, clock } = this.#context;
    return {
      pod: this.#pod,
      initialized,
      startTime,
      sandboxReady: this.#surroundings.sandboxReady,
      hostIPs: nodeIPs,
      podIPs: this.#surroundings.podIPs,
      nowMs: clock.now(),
      containers: this.#slots.map((slot) => {
        const startedAt = isRunning(slot)
          ? runtime.state(slotId(this.uid, slot))?.startedAt
          : undefined;
        return viewOf(slot, { uid: this.uid, initialized, startedAt });
      }),
      ...(this.#failed === undefined ? {} : { failed: this.#failed }),
    };
  }

  #publish(): void {
    if (!this.#deleted && !this.#settled) this.#writer.write(podStatus(this.#view()));
  }

  #save(): void {
    for (const { container, record } of this.#slots) {
      if (record !== undefined) this.#record.containers[container.name] = record;
    }
    this.#context.records.write(this.#record);
  }

  /** For finding out where the time of a start goes. */
  #trace(step: string): void {
    this.#context.log.debug({ pod: this.#pod.metadata.name }, step);
  }

  #tell(event: PodEvent): void {
    this.#context.record(this.#pod, event);
  }
}

function hasEnded({ status }: Pod): boolean {
  return status?.phase === 'Succeeded' || status?.phase === 'Failed';
}
