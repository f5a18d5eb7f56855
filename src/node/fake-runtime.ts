/** A runtime whose containers are entries in a map: for tests of what the agent decides. */
import { appendFileSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { PassThrough } from 'node:stream';
import type {
  Attachment,
  ContainerSpec,
  ContainerState,
  ExecSession,
  ExecSpec,
  Runtime,
  SandboxSpec,
} from './runtime.ts';

export type FakeExec = (id: string, spec: ExecSpec) => { output: string; code: number };

/** Commands: `exit N` ends at once, `ignore TERM` ends only by KILL, anything else runs on. */
export class FakeRuntime implements Runtime {
  readonly version = 'fake://1';
  readonly sandboxes = new Map<string, SandboxSpec>();
  readonly containers = new Map<string, { spec: ContainerSpec; state: ContainerState }>();
  /** Every container ever started, and every signal sent, in order. */
  readonly history: string[] = [];
  onExec: FakeExec = () => ({ output: '', code: 0 });
  /** Set: commands really run, as this says. */
  session: ((spec: ExecSpec) => ExecSession) | undefined;
  readonly #dir: string;
  readonly #listeners = new Set<(id: string) => void>();

  constructor(dir: string) {
    this.#dir = dir;
  }

  refuses(image: string): string | undefined {
    return image.startsWith('fairlead/') || image === 'host' ? undefined : `no image "${image}"`;
  }

  async createSandbox(spec: SandboxSpec): Promise<void> {
    this.sandboxes.set(spec.podUid, spec);
  }

  async removeSandbox(podUid: string): Promise<void> {
    this.sandboxes.delete(podUid);
    for (const id of this.containers.keys()) {
      if (id.startsWith(`${podUid}/`)) this.containers.delete(id);
    }
  }

  async start(spec: ContainerSpec): Promise<void> {
    this.history.push(`start ${spec.name} ${spec.id.split('/')[2]}`);
    this.containers.set(spec.id, { spec, state: { kind: 'running', startedAt: Date.now() } });
    mkdirSync(dirname(this.rawLogs(spec.id).stdout), { recursive: true });
    this.write(spec.id, 'stdout', '');
    const [word, code] = spec.command;
    if (word === 'exit') this.exit(spec.id, Number(code));
  }

  async signal(id: string, signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    const container = this.containers.get(id);
    if (container?.state.kind !== 'running') return;
    this.history.push(`${signal} ${container.spec.name}`);
    if (signal === 'SIGTERM' && container.spec.command[0] === 'ignore') return;
    this.exit(id, signal === 'SIGTERM' ? 143 : 137);
  }

  async remove(id: string): Promise<void> {
    this.containers.delete(id);
  }

  state(id: string): ContainerState | undefined {
    return this.containers.get(id)?.state;
  }

  onChange(listener: (id: string) => void): void {
    this.#listeners.add(listener);
  }

  async exec(id: string, spec: ExecSpec): Promise<ExecSession> {
    if (this.session !== undefined) return this.session(spec);
    const stdin = spec.stdin ? new PassThrough() : undefined;
    const stdout = new PassThrough();
    const stderr = spec.tty ? undefined : new PassThrough();
    const { output, code } = this.onExec(id, spec);
    stdout.end(output);
    stderr?.end();
    return {
      stdin,
      stdout,
      stderr,
      resize: () => undefined,
      exit: Promise.resolve(code),
      kill: () => undefined,
    };
  }

  attach(): Attachment {
    return {
      isFirst: true,
      stdin: undefined,
      resize: () => undefined,
      detach: () => undefined,
    };
  }

  rawLogs(id: string): { stdout: string; stderr: string } {
    const base = join(this.#dir, id);
    return { stdout: `${base}.stdout`, stderr: `${base}.stderr` };
  }

  async adopt(): Promise<{ sandboxes: string[]; containers: string[] }> {
    return { sandboxes: [...this.sandboxes.keys()], containers: [...this.containers.keys()] };
  }

  /** The container's main process ends by itself. */
  exit(id: string, exitCode: number): void {
    const container = this.containers.get(id);
    if (container === undefined) return;
    const { startedAt } = container.state;
    container.state = { kind: 'exited', startedAt, finishedAt: Date.now(), exitCode, signal: 0 };
    for (const listener of this.#listeners) listener(id);
  }

  write(id: string, stream: 'stdout' | 'stderr', text: string): void {
    appendFileSync(this.rawLogs(id)[stream], text);
  }
}
