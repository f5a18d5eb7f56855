/**
 * Brings one pod to what its object asks for. Everything that happens (a new object, an exit, a
 * probe, a timer) only notes that there is work; one loop looks at the whole pod each time.
 */
import { isDeepStrictEqual } from 'node:util';
import type { Pod, Probe } from '../../api/types.ts';
import { resources } from '../../api/resources.ts';
import { isReason } from '../../api/status.ts';
import { formatTime } from '../../lib/clock.ts';
import { messageOf, UserError } from '../../lib/errors.ts';
import type { ConfigSource } from '../environment/env.ts';
import { check, type CheckTarget } from '../probes/check.ts';
import type { ProbeKind } from '../probes/prober.ts';
import { isLive, VolumeError } from '../volumes/volumes.ts';
import { formatDelay } from './back-off.ts';
import { containerId } from './container-spec.ts';
import type { NodeContext, PodEvent } from './context.ts';
import { runHook } from './hooks.ts';
import { prepareContainer } from './launch.ts';
import type { PodRecord } from './record.ts';
import { assignAddresses, makeSandbox, makeVolumes, removeSandbox } from './sandbox.ts';
import {
  isRunning,
  noteExit,
  slotId,
  slotsOf,
  startProbers,
  stopProbers,
  viewOf,
  type Slot,
} from './slot.ts';
import { phaseOf, podStatus, type PodView } from './status.ts';
import { StatusWriter } from './status-writer.ts';
import { Stop } from './stop.ts';

/** A pod that is slow to start says after this that it is being made; a fast one saves the write. */
const creatingAfterMs = 100;
const retryMs = 50;
const retryMsMax = 10_000;
/** Between two looks at an image or a configuration that cannot run. */
const refusedMs = 10_000;
const refusedMsMax = 300_000;

export class PodWorker {
  readonly uid: string;
  readonly #context: NodeContext;
  readonly #record: PodRecord;
  readonly #slots: Slot[];
  readonly #writer: StatusWriter;
  readonly #source: ConfigSource;
  readonly #onGone: () => void;
  #pod: Pod;
  #podIPs: string[] = [];
  #sandboxReady = false;
  #volumesStale = true;
  #ended = false;
  /** The API has no such object any more. */
  #deleted = false;
  #failed: { reason: string; message: string } | undefined;
  #busy = false;
  #again = false;
  #stopped = false;
  #failures = 0;
  #timer: { dueMs: number; cancel: () => void } | undefined;
  #idleWaiters: (() => void)[] = [];

  constructor(options: { context: NodeContext; pod: Pod; onGone: () => void }) {
    const { context, pod } = options;
    this.#context = context;
    this.#pod = pod;
    this.#onGone = options.onGone;
    this.uid = pod.metadata.uid ?? '';
    this.#record = context.records.read(this.uid) ?? {
      uid: this.uid,
      namespace: pod.metadata.namespace ?? '',
      name: pod.metadata.name,
      initialized: (pod.spec.initContainers ?? []).length === 0,
      startTime: formatTime(context.clock.now()),
      containers: {},
    };
    this.#slots = slotsOf(pod, this.#record.containers);
    this.#writer = new StatusWriter({ ...context, pod });
    this.#source = context.objects.sourceFor(pod, () => {
      this.#volumesStale = true;
      for (const slot of this.#slots) if (isConfigError(slot)) slot.notBefore = 0;
      this.note();
    });
    for (const slot of this.#slots) this.#readopt(slot);
    this.#trace('pod taken on');
  }

  get pod(): Pod {
    return this.#pod;
  }

  /** One per family; empty until the pod has any. */
  get podIPs(): readonly string[] {
    return this.#podIPs;
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
    this.#volumesStale ||= !isDeepStrictEqual(
      [before.labels, before.annotations],
      [labels, annotations],
    );
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
    if (this.#stopped) return;
    this.#again = true;
    if (this.#busy) return;
    this.#busy = true;
    queueMicrotask(() => void this.#loop());
  }

  /** Leaves everything as it runs, for the next agent. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#writer.stop();
    for (const slot of this.#slots) {
      stopProbers(slot);
      slot.stop?.cancel();
    }
    if (!this.#busy) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#idleWaiters.push(resolve);
    await promise;
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

  async #loop(): Promise<void> {
    while (this.#again && !this.#stopped) {
      this.#again = false;
      try {
        await this.#sync();
        this.#failures = 0;
      } catch (error) {
        this.#failures += 1;
        this.#explain(error);
        this.#wakeIn(Math.min(retryMs * 2 ** (this.#failures - 1), retryMsMax));
      }
      if (!this.#stopped) this.#publish();
    }
    this.#busy = false;
    this.#idleWaiters.splice(0).forEach((resolve) => resolve());
  }

  async #sync(): Promise<void> {
    this.#observe();
    if (this.#deleted || this.#pod.metadata.deletionTimestamp !== undefined) return this.#end();
    if (this.#ended) return;
    this.#enforceDeadline();
    if (this.#isOver()) return this.#retire();
    const cancel = this.#context.clock.after(creatingAfterMs, () => this.#publish());
    try {
      await this.#prepare();
    } finally {
      cancel();
    }
    // The pod may have been deleted meanwhile; the loop looks again at once.
    if (this.#again && this.#mustStop()) return;
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
      for (const slot of this.#slots) this.#stopSlot(slot, this.#graceMs(), 'Stopping container');
      return false;
    }
    return ['Succeeded', 'Failed'].includes(phaseOf(this.#view()));
  }

  #enforceDeadline(): void {
    const seconds = this.#pod.spec.activeDeadlineSeconds;
    if (seconds === undefined || this.#failed !== undefined) return;
    const leftMs = Date.parse(this.#record.startTime) + seconds * 1000 - this.#context.clock.now();
    if (leftMs > 0) return this.#wakeIn(leftMs);
    const message = 'Pod was active on the node longer than the specified deadline';
    this.#failed = { reason: 'DeadlineExceeded', message };
    this.#tell({ type: 'Normal', reason: 'DeadlineExceeded', message });
  }

  // ---- making the pod

  async #prepare(): Promise<void> {
    if (this.#podIPs.length === 0) {
      this.#save();
      this.#podIPs = await assignAddresses(this.#context, this.#pod);
    }
    // The API is asked for what goes into the volumes while the kernel makes the network.
    const volumes = this.#refreshVolumes();
    const sandbox = this.#sandboxReady ? Promise.resolve() : this.#makeSandbox();
    const outcomes = await Promise.allSettled([sandbox, volumes]);
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
  }

  async #makeSandbox(): Promise<void> {
    try {
      const warnings = await makeSandbox(this.#context, this.#pod, this.#podIPs);
      for (const message of warnings) {
        this.#tell({ type: 'Warning', reason: 'DNSConfigForming', message });
      }
    } catch (error) {
      const text = `Failed to create pod sandbox: ${messageOf(error)}`;
      throw new UserError('SANDBOX', text, { cause: error });
    }
    this.#sandboxReady = true;
    this.#trace('sandbox made');
  }

  async #refreshVolumes(): Promise<void> {
    const due = this.#context.tokens.nextRenewal(this.uid);
    const now = this.#context.clock.now();
    if (this.#volumesStale || (due !== undefined && due <= now)) {
      this.#volumesStale = false;
      try {
        await makeVolumes(this.#context, {
          pod: this.#pod,
          podIPs: this.#podIPs,
          source: this.#source,
        });
        this.#trace('volumes made');
      } catch (error) {
        this.#volumesStale = true;
        // A running pod keeps the files it has.
        if (!this.#slots.some(isRunning)) throw error;
        this.#context.log.warn({ pod: this.#pod.metadata.name, error: messageOf(error) }, 'volume');
        this.#wakeIn(retryMsMax);
      }
    }
    const next = this.#context.tokens.nextRenewal(this.uid);
    const live = (this.#pod.spec.volumes ?? []).some(isLive);
    if (live && next !== undefined) this.#wakeIn(Math.max(1000, next - now));
  }

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
      else if (this.#wantsStart(slot)) await this.#start(slot);
      if (this.#again && this.#mustStop()) return;
    }
  }

  /** Whether the main containers may run. */
  async #advanceInits(): Promise<boolean> {
    for (const slot of this.#slots) {
      if (slot.role === 'main') continue;
      if (slot.role === 'init' && this.#record.initialized) continue;
      if (slot.hookRuns) return false;
      if (slot.role === 'init' && slot.record?.terminated?.exitCode === 0) continue;
      if (!isRunning(slot) && this.#wantsStart(slot)) await this.#start(slot);
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
    this.#stopSlot(slot, this.#graceMs(), text);
  }

  async #start(slot: Slot): Promise<void> {
    const now = this.#context.clock.now();
    if (slot.notBefore > now) {
      if (!isConfigError(slot) && slot.refusals === 0) this.#crashLoop(slot);
      return this.#wakeIn(slot.notBefore - now);
    }
    const refusal = this.#context.runtime.refuses(slot.container.image ?? '');
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
    const spec = await prepareContainer(this.#context, {
      pod: this.#pod,
      container,
      attempt,
      podIPs: this.#podIPs,
      source: this.#source,
    });
    if (this.#stopped || this.#mustStop()) return;
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
    this.#save();
    this.#trace('container prepared');
    await this.#context.runtime.start(spec);
    this.#trace('container started');
    slot.record.launched = true;
    this.#save();
    this.#context.logs.follow(spec.id, this.#context.runtime.rawLogs(spec.id));
    this.#told(slot, 'Started', `Started container ${container.name}`);
    this.#runPostStart(slot);
    this.#startProbers(slot);
  }

  async #dropOldRuns(slot: Slot, attempt: number): Promise<void> {
    const idOf = (n: number) => containerId(this.uid, slot.container.name, n);
    if (attempt >= 1) await this.#context.runtime.remove(idOf(attempt - 1));
    if (attempt >= 2) this.#context.logs.remove(idOf(attempt - 2));
  }

  #runPostStart(slot: Slot): void {
    const hook = slot.container.lifecycle?.postStart;
    const attempt = slot.record?.attempt;
    if (hook === undefined) return;
    slot.hookRuns = true;
    void runHook(hook, this.#target(slot), this.#context.clock).then((result) => {
      if (slot.record?.attempt !== attempt || !isRunning(slot)) return;
      slot.hookRuns = false;
      if (result.ok) {
        this.#startProbers(slot);
      } else {
        const message = `PostStartHook failed: ${result.output}`;
        this.#warn(slot, 'FailedPostStartHook', message);
        this.#stopSlot(slot, this.#graceMs(), 'FailedPostStartHook');
      }
      this.note();
    });
  }

  // ---- why a container does not run

  #crashLoop(slot: Slot): void {
    const { namespace, name } = this.#pod.metadata;
    const delay = formatDelay(slot.record?.backOff?.delayMs ?? 0);
    const who = `${slot.container.name} in pod ${name}_${namespace}(${this.uid})`;
    if (slot.waiting?.reason !== 'CrashLoopBackOff') {
      this.#warn(slot, 'BackOff', `Back-off restarting failed container ${who}`);
    }
    slot.waiting = {
      reason: 'CrashLoopBackOff',
      message:
        `back-off ${delay} restarting failed container=${slot.container.name} ` +
        `pod=${name}_${namespace}(${this.uid})`,
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
    slot.notBefore = this.#context.clock.now() + delayMs;
    this.#wakeIn(delayMs);
  }

  #startFailed(slot: Slot, error: unknown): void {
    const message = messageOf(error);
    this.#warn(slot, 'Failed', `Error: ${message}`);
    const delayMs = refusedMs;
    if (error instanceof UserError) {
      slot.waiting = { reason: 'CreateContainerConfigError', message };
    } else {
      this.#context.log.warn({ pod: this.#pod.metadata.name, error: message }, 'start failed');
      slot.waiting = { reason: 'RunContainerError', message };
    }
    slot.notBefore = this.#context.clock.now() + delayMs;
    this.#wakeIn(delayMs);
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
    const graceMs = this.#deleted ? 0 : this.#graceMs();
    const mains = this.#slots.filter((slot) => slot.role !== 'sidecar' && isRunning(slot));
    // Sidecars serve the others to the end.
    const next = mains.length > 0 ? mains : this.#slots.filter(isRunning);
    for (const slot of next) {
      slot.probers.get('liveness')?.stop();
      slot.probers.get('startup')?.stop();
      this.#stopSlot(slot, graceMs, `Stopping container ${slot.container.name}`);
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
    await removeSandbox(this.#context, this.uid);
    if (!this.#pod.spec.hostNetwork && (this.#podIPs.length > 0 || this.#sandboxReady)) {
      (await this.#context.addresses()).release(this.uid);
    }
    this.#sandboxReady = false;
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
    this.#stopped = true;
    this.#timer?.cancel();
    this.#writer.stop();
    this.#context.records.remove(this.uid);
    this.#context.logs.removePod(this.uid);
    this.#onGone();
  }

  #stopSlot(slot: Slot, graceMs: number, message: string): void {
    if (!isRunning(slot)) return;
    if (slot.stop !== undefined) return slot.stop.shorten(graceMs);
    const id = slotId(this.uid, slot);
    const hook = slot.container.lifecycle?.preStop;
    this.#told(slot, 'Killing', message);
    slot.stop = new Stop({
      graceMs,
      clock: this.#context.clock,
      preStop: hook === undefined ? undefined : () => this.#runPreStop(slot, hook),
      signal: (signal) => void this.#signal(id, signal),
    });
  }

  async #runPreStop(slot: Slot, hook: NonNullable<Parameters<typeof runHook>[0]>): Promise<void> {
    const result = await runHook(hook, this.#target(slot), this.#context.clock);
    if (!result.ok) {
      this.#warn(slot, 'FailedPreStopHook', `PreStopHook failed: ${result.output}`);
    }
  }

  async #signal(id: string, signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    try {
      await this.#context.runtime.signal(id, signal);
    } catch (error) {
      this.#context.log.warn({ container: id, error: messageOf(error) }, `cannot send ${signal}`);
    }
    this.note();
  }

  #graceMs(): number {
    const { deletionGracePeriodSeconds } = this.#pod.metadata;
    const seconds = deletionGracePeriodSeconds ?? this.#pod.spec.terminationGracePeriodSeconds;
    return (seconds ?? 30) * 1000;
  }

  // ---- probes

  /** A container an earlier agent left running goes on as it was, without a new start. */
  #readopt(slot: Slot): void {
    if (!isRunning(slot)) return;
    const id = slotId(this.uid, slot);
    this.#context.logs.follow(id, this.#context.runtime.rawLogs(id));
    if (this.#context.runtime.state(id)?.kind === 'running') this.#startProbers(slot);
  }

  #startProbers(slot: Slot): void {
    const before = JSON.stringify(slot.record);
    startProbers(slot, {
      clock: this.#context.clock,
      check: (_kind, probe, timeoutMs) => check(probe, this.#target(slot), timeoutMs),
      onVerdict: (kind, ok, probe) => this.#verdict(slot, { kind, ok, probe }),
      onFailure: (kind, output) => {
        const name = kind.charAt(0).toUpperCase() + kind.slice(1);
        this.#warn(slot, 'Unhealthy', `${name} probe failed: ${output}`);
      },
    });
    if (JSON.stringify(slot.record) !== before) this.#save();
  }

  /** On the way of every Service change: the status is written before anything else is done. */
  #verdict(slot: Slot, verdict: { kind: ProbeKind; ok: boolean; probe: Probe }): void {
    const { kind, ok, probe } = verdict;
    if (slot.record === undefined || this.#stopped) return;
    if (kind === 'readiness') {
      slot.record.ready = ok;
      this.#publish();
      this.#trace(ok ? 'container ready' : 'container not ready');
      this.#save();
      return;
    }
    if (!ok) {
      const seconds = probe.terminationGracePeriodSeconds;
      const graceMs = seconds === undefined ? this.#graceMs() : seconds * 1000;
      const name = slot.container.name;
      this.#stopSlot(slot, graceMs, `Container ${name} failed ${kind} probe, will be restarted`);
      stopProbers(slot);
      return;
    }
    if (kind === 'liveness') return;
    slot.record.started = true;
    this.#startProbers(slot);
    this.#save();
    this.#publish();
    this.note();
  }

  #target(slot: Slot): CheckTarget {
    const id = slotId(this.uid, slot);
    return {
      container: slot.container,
      podIP: this.#podIPs[0] ?? this.#pod.status?.podIP ?? '',
      exec: (command) => this.#context.runtime.exec(id, { command, tty: false, stdin: false }),
    };
  }

  // ---- telling

  #view(): PodView {
    const { initialized, startTime } = this.#record;
    const { runtime, nodeIPs, clock } = this.#context;
    return {
      pod: this.#pod,
      initialized,
      startTime,
      sandboxReady: this.#sandboxReady,
      hostIPs: nodeIPs,
      podIPs: this.#podIPs,
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
    if (!this.#deleted) this.#writer.write(podStatus(this.#view()));
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

  #told(slot: Slot, reason: string, message: string): void {
    this.#tell({ type: 'Normal', reason, message, container: slot.container.name });
  }

  #warn(slot: Slot, reason: string, message: string): void {
    this.#tell({ type: 'Warning', reason, message, container: slot.container.name });
  }

  #pulled(slot: Slot, image: string): void {
    this.#told(slot, 'Pulled', `Container image "${image}" already present on machine`);
    this.#told(slot, 'Created', `Created container: ${slot.container.name}`);
  }

  /** The earliest of all wishes counts; whoever still has one says so again at the next look. */
  #wakeIn(delayMs: number): void {
    const { clock } = this.#context;
    // A longer timer would overflow; waking early is harmless.
    const bounded = Math.min(Math.max(0, delayMs), 2 ** 31 - 1);
    const dueMs = clock.monotonicMs() + bounded;
    if (this.#timer !== undefined && this.#timer.dueMs <= dueMs) return;
    this.#timer?.cancel();
    const cancel = clock.after(bounded, () => {
      this.#timer = undefined;
      this.note();
    });
    this.#timer = { dueMs, cancel };
  }
}

function isConfigError(slot: Slot): boolean {
  const reason = slot.waiting?.reason;
  return reason === 'CreateContainerConfigError' || reason === 'RunContainerError';
}

/** How the run before the next one ended. */
function lastOf(record: Slot['record']): { last?: NonNullable<Slot['record']>['last'] & {} } {
  const last = record?.terminated ?? record?.last;
  return last === undefined ? {} : { last };
}
