/**
 * The `process` runtime: a container is a process of this node in namespaces of its own, with the
 * node's files, read-only, as its root. Whatever it starts goes on without it; `adopt` finds all
 * of it again from the files in the runtime directory.
 */
import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { type Socket } from 'node:net';
import { join } from 'node:path';
import { RouteConnection } from '../../kernel/route/index.ts';
import { WorldError } from '../../lib/errors.ts';
import { refusalOf } from '../images/images.ts';
import { type EchoContainer } from '../images/echo-protocol.ts';
import {
  type Attachment,
  type ContainerSpec,
  type ContainerState,
  type ExecSession,
  type ExecSpec,
  type Runtime,
  type SandboxSpec,
} from '../runtime.ts';
import { attachTo, endOrphanedInput } from './attach.ts';
import { readRecord, startContainer, type ContainerRecord } from './container.ts';
import { dialInside } from './dial.ts';
import { EchoClient } from './echo-client.ts';
import { execInside } from './exec.ts';
import { terminateCommand, terminatePlaceholder } from './first-process.ts';
import { commandOf, echoContainerOf, isPlaceholder } from './image-command.ts';
import { prepareNode } from './network.ts';
import { runtimePaths, type RuntimePaths } from './paths.ts';
import {
  allEnded,
  holdersOf,
  identify,
  isAlive,
  onEndOfEach,
  sendSignal,
} from './process-table.ts';
import {
  deleteSandbox,
  listPods,
  makeSandbox,
  namespacesOf,
  readSandbox,
  type SandboxTools,
} from './sandbox.ts';
import { showSelf } from './self.ts';
import { lastProcesses, observe } from './states.ts';

export type ProcessRuntimeOptions = {
  /** Such as `/run/fairlead/<lab>/nodes/<node>`: sockets, pins, records; on a tmpfs. */
  readonly runtimeDir: string;
  /** Raw output of the containers. */
  readonly logsDir: string;
  readonly nodeName: string;
  readonly version: string;
  /** What starts this program: the path of Node and of its entry point. */
  readonly selfCommand: readonly string[];
  /** Directories that `selfCommand` needs, for containers that run this program. */
  readonly selfPaths: readonly string[];
  /** More directories of the host that a container sees empty: wherever the product's keys are. */
  readonly hidden?: readonly string[];
  readonly mtu?: number;
};

type Container = {
  readonly record: ContainerRecord;
  state: ContainerState;
  stopWatching: () => void;
  /** `exec` gave a placeholder its /proc. */
  procMounted: boolean;
};

/** Runs containers as processes of this node. */
export function createProcessRuntime(options: ProcessRuntimeOptions): ProcessRuntime {
  return new ProcessRuntime(options);
}

export class ProcessRuntime implements Runtime {
  readonly version: string;
  readonly #options: ProcessRuntimeOptions;
  readonly #paths: RuntimePaths;
  readonly #tools: SandboxTools;
  readonly #echo: EchoClient;
  readonly #containers = new Map<string, Container>();
  readonly #listeners: ((containerId: string) => void)[] = [];
  #node: RouteConnection | undefined;

  constructor(options: ProcessRuntimeOptions) {
    this.version = `fairlead://${options.version}`;
    this.#options = options;
    this.#paths = runtimePaths(options.runtimeDir, options.logsDir);
    this.#tools = { paths: this.#paths, node: () => this.#route(), mtu: options.mtu ?? 1500 };
    this.#echo = new EchoClient({
      socketPath: this.#paths.echoSocket,
      command: [...options.selfCommand, 'echo-host'],
    });
    mkdirSync(this.#paths.podsDir, { recursive: true, mode: 0o700 });
    mkdirSync(this.#paths.stagingDir, { recursive: true });
    mkdirSync(options.logsDir, { recursive: true, mode: 0o700 });
  }

  refuses(image: string): string | undefined {
    return refusalOf(image);
  }

  async createSandbox(spec: SandboxSpec): Promise<void> {
    makeSandbox(this.#tools, spec);
  }

  async removeSandbox(podUid: string): Promise<void> {
    const ids = this.#containersOf(podUid);
    await Promise.all(ids.map((id) => this.#end(id)));
    await deleteSandbox(this.#tools, podUid);
    for (const id of ids) this.#containers.delete(id);
  }

  async start(asked: ContainerSpec): Promise<void> {
    const { selfPaths, selfCommand } = this.#options;
    const spec = showSelf(asked, { selfPaths, hidden: this.#hidden() });
    if (this.#containers.get(spec.id)?.state.kind === 'running') return;
    const sandbox = readSandbox(this.#paths, spec.podUid);
    if (sandbox === undefined) {
      throw new WorldError('NO_SANDBOX', `Cannot start container "${spec.name}": no sandbox`);
    }
    const command = commandOf(spec, selfCommand);
    const { child, record } = await startContainer({
      spec,
      command,
      namespaces: namespacesOf(this.#paths, sandbox),
      root: {
        stagingDir: this.#paths.stagingDir,
        hidden: this.#hidden(),
        mounts: spec.mounts,
        readOnly: spec.readOnlyRootFilesystem,
        privileged: spec.privileged,
      },
      paths: this.#paths,
    });
    const container: Container = {
      record,
      state: { kind: 'running', startedAt: record.startedAt },
      stopWatching: () => undefined,
      procMounted: command !== undefined,
    };
    this.#containers.set(spec.id, container);
    child.once('exit', () => this.#ended(spec.id));
    const [, ...others] = lastProcesses(record);
    container.stopWatching = onEndOfEach(others, () => this.#ended(spec.id));
    if (command !== undefined) return;
    try {
      await this.#echo.add(this.#echoContainer(spec, sandbox));
    } catch (error) {
      await this.#end(spec.id);
      await this.remove(spec.id);
      throw error;
    }
  }

  async signal(containerId: string, signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    const container = this.#containers.get(containerId);
    if (container === undefined || container.state.kind !== 'running') return;
    const { record } = container;
    if (signal === 'SIGKILL') {
      sendSignal(record.process, 'SIGKILL');
    } else if (isPlaceholder(record.spec)) {
      await terminatePlaceholder(record.process);
      // An echo host that is gone serves nobody any more; the placeholder has its signal.
      await this.#echo.drain(containerId).catch(() => undefined);
    } else {
      await terminateCommand(record.process);
    }
  }

  async remove(containerId: string): Promise<void> {
    const container = this.#containers.get(containerId);
    if (container?.state.kind === 'running') {
      throw new WorldError('RUNNING', `Cannot remove container "${containerId}": it runs`);
    }
    this.#containers.delete(containerId);
    rmSync(this.#paths.containerDir(containerId), { recursive: true, force: true });
  }

  state(containerId: string): ContainerState | undefined {
    return this.#containers.get(containerId)?.state;
  }

  onChange(listener: (containerId: string) => void): void {
    this.#listeners.push(listener);
  }

  async exec(containerId: string, spec: ExecSpec): Promise<ExecSession> {
    const container = this.#containers.get(containerId);
    if (container === undefined || container.state.kind !== 'running') {
      throw new WorldError('NOT_RUNNING', `Cannot execute in "${containerId}": it does not run`);
    }
    const { record, procMounted } = container;
    // Its number may be somebody else's by now, and so would be the namespaces that are entered.
    if (!isAlive(record.process)) {
      throw new WorldError('NOT_RUNNING', `Cannot execute in "${containerId}": it has ended`);
    }
    const session = execInside({ record, procMounted }, spec);
    container.procMounted = true;
    return session;
  }

  attach(containerId: string, wishes: { stdin: boolean }): Attachment {
    const container = this.#containers.get(containerId);
    if (container === undefined || container.state.kind !== 'running') {
      throw new WorldError('NOT_RUNNING', `Cannot attach to "${containerId}": it does not run`);
    }
    return attachTo(container.record, this.#paths.attachedFile(containerId), wishes);
  }

  async dial(podUid: string, port: number): Promise<Socket> {
    const sandbox = readSandbox(this.#paths, podUid);
    if (sandbox === undefined) {
      throw new WorldError('NO_SANDBOX', `Cannot connect to port ${port}: no sandbox "${podUid}"`);
    }
    return dialInside(sandbox.hostNetwork ? undefined : this.#paths.pin(podUid, 'net'), port);
  }

  rawLogs(containerId: string): { stdout: string; stderr: string } {
    return this.#paths.rawLogs(containerId);
  }

  async adopt(): Promise<{ sandboxes: string[]; containers: string[] }> {
    const sandboxes: string[] = [];
    for (const podUid of listPods(this.#paths)) {
      if (readSandbox(this.#paths, podUid) === undefined) {
        await this.removeSandbox(podUid);
      } else {
        sandboxes.push(podUid);
        for (const id of this.#containersOf(podUid)) await this.#adoptContainer(id);
      }
    }
    this.#dropForeignLogs(sandboxes);
    const running = [...this.#containers.values()].filter(({ state }) => state.kind === 'running');
    await this.#echo.adopt(
      running
        .map(({ record }) => record.spec)
        .filter(isPlaceholder)
        .map((spec) => this.#echoContainer(spec, readSandbox(this.#paths, spec.podUid)!)),
    );
    return { sandboxes, containers: [...this.#containers.keys()] };
  }

  /** Stops watching; everything goes on running. */
  [Symbol.dispose](): void {
    for (const { stopWatching } of this.#containers.values()) stopWatching();
    this.#echo[Symbol.dispose]();
    this.#node?.[Symbol.dispose]();
  }

  /** Kills a container and waits until nothing of it runs. */
  async #end(id: string): Promise<void> {
    const record = this.#containers.get(id)?.record ?? readRecord(this.#paths.recordFile(id));
    // The agent died between the start and its record: the open exit file tells who it is.
    const found = record?.process ?? holdersOf(this.#paths.exitFile(id)).map(identify)[0];
    if (found !== undefined && sendSignal(found, 'SIGKILL')) {
      await allEnded(record === undefined ? [found] : lastProcesses(record), id);
    }
    if (record !== undefined && isPlaceholder(record.spec)) {
      // An echo host that is gone has forgotten it.
      await this.#echo.remove(id).catch(() => undefined);
    }
    if (this.#containers.has(id)) this.#ended(id);
  }

  /** Notes that a container is over; called more than once. */
  #ended(id: string): void {
    const container = this.#containers.get(id);
    if (container === undefined || container.state.kind === 'exited') return;
    const state = observe(container.record, this.#paths.exitFile(id));
    if (state.kind === 'running') return;
    container.state = state;
    container.stopWatching();
    if (isPlaceholder(container.record.spec)) void this.#echo.remove(id).catch(() => undefined);
    for (const listener of this.#listeners) listener(id);
  }

  async #adoptContainer(id: string): Promise<void> {
    if (this.#containers.has(id)) return;
    const record = readRecord(this.#paths.recordFile(id));
    if (record === undefined) {
      await this.#end(id);
      rmSync(this.#paths.containerDir(id), { recursive: true, force: true });
      return;
    }
    const state = observe(record, this.#paths.exitFile(id));
    const running = state.kind === 'running';
    const last = running ? lastProcesses(record) : [];
    const stopWatching = onEndOfEach(last, () => this.#ended(id));
    if (running) endOrphanedInput(record, this.#paths.attachedFile(id));
    const procMounted = !isPlaceholder(record.spec);
    this.#containers.set(id, { record, state, stopWatching, procMounted });
  }

  /** Ids of all containers of a pod that left files. */
  #containersOf(podUid: string): string[] {
    const base = this.#paths.containersDir(podUid);
    return list(base).flatMap((name) =>
      list(join(base, name)).map((attempt) => `${podUid}/${name}/${attempt}`),
    );
  }

  #dropForeignLogs(sandboxes: readonly string[]): void {
    for (const podUid of list(this.#options.logsDir)) {
      if (sandboxes.includes(podUid)) continue;
      rmSync(this.#paths.logDir(podUid), { recursive: true, force: true });
    }
  }

  #echoContainer(spec: ContainerSpec, sandbox: SandboxSpec): EchoContainer {
    return echoContainerOf(spec, sandbox, {
      node: this.#options.nodeName,
      log: this.#paths.rawLogs(spec.id).stdout,
      netns: this.#paths.pin(spec.podUid, 'net'),
    });
  }

  #hidden(): readonly string[] {
    const { hidden = [], runtimeDir, logsDir } = this.#options;
    return ['/var/lib/fairlead', runtimeDir, logsDir, ...hidden];
  }

  #route(): RouteConnection {
    if (this.#node === undefined) {
      prepareNode();
      this.#node = new RouteConnection();
    }
    return this.#node;
  }
}

function list(directory: string): string[] {
  return existsSync(directory) ? readdirSync(directory) : [];
}
