/** Starts a container: its namespaces, its root, its first process, and the record of it all. */
import { spawn, type ChildProcess } from 'node:child_process';
import {
  closeSync,
  fchownSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { openPipe } from '../../kernel/ffi/process.ts';
import { fresh, within, type Namespaces } from '../../kernel/namespace/within.ts';
import { type ContainerSpec } from '../runtime.ts';
import { checkCommand, launch, tool, type Launch } from './command.ts';
import { Feed } from './feed.ts';
import { type RuntimePaths } from './paths.ts';
import { identify, type ProcessId } from './process-table.ts';
import { effectiveUser } from './rights.ts';
import { enterRoot, type RootSpec } from './root.ts';

/** What is known of a container after a restart of the agent. */
export type ContainerRecord = {
  readonly spec: ContainerSpec;
  readonly process: ProcessId;
  /** Keeps input and terminal open; only a container with `stdin` or `tty` has one. */
  readonly holder?: ProcessId;
  readonly startedAt: number;
};

export type StartOptions = {
  readonly spec: ContainerSpec;
  /** Image's or pod's command with its arguments; undefined: nothing runs but a placeholder. */
  readonly command: readonly string[] | undefined;
  /** The pod's pinned namespaces. */
  readonly namespaces: Namespaces;
  readonly root: RootSpec;
  readonly paths: RuntimePaths;
};

/**
 * The first process of the container. It outlives the agent, reaps orphans, and leaves the exit
 * code in the file behind descriptor 3. A subshell becomes the command, so that a signal sent to
 * it counts from its first moment; /proc can be mounted only by who is inside the pid namespace.
 */
const WRAPPER = '(eval "$1"; shift; exec "$@") 3>&- 4>&-; echo $? >&3';

/** Ends two seconds after TERM: until then the echo host goes on serving for this container. */
const PLACEHOLDER = "trap 'sleep 2; echo 0 >&3; exit 0' TERM; while :; do read -r _ <&4; done";

/** `mount` of the container's own /proc; its settings are no toy for root without rights. */
export function mountProc(spec: ContainerSpec): string {
  const mode = effectiveUser(spec) === 0 && !spec.privileged ? 'ro' : 'rw';
  return `${tool('mount')} -t proc -o ${mode},nosuid,nodev,noexec proc /proc 2>/dev/null`;
}

/** Starts the container's first process; throws when the command cannot run. */
export function startContainer(options: StartOptions): {
  child: ChildProcess;
  record: ContainerRecord;
} {
  const { spec, paths } = options;
  const startedAt = Date.now();
  const { child, holder } = spawnInside(options);
  child.unref();
  // A process that is dead already left its exit code; any start time will do.
  const process = identify(child.pid!) ?? { pid: child.pid!, startTicks: '' };
  const record = { spec, process, ...(holder && { holder }), startedAt };
  writeRecord(paths.recordFile(spec.id), record);
  return { child, record };
}

function spawnInside(options: StartOptions): {
  readonly child: ChildProcess;
  readonly holder: ProcessId | undefined;
} {
  const { spec, paths, command } = options;
  mkdirSync(paths.containerDir(spec.id), { recursive: true, mode: 0o700 });
  const files = paths.rawLogs(spec.id);
  mkdirSync(dirname(files.stdout), { recursive: true, mode: 0o700 });
  const stdout = openSync(files.stdout, 'a', 0o600);
  const stderr = openSync(files.stderr, 'a', 0o600);
  // A program may open /dev/stdout again, which the owner of the file can.
  for (const fd of [stdout, stderr]) fchownSync(fd, effectiveUser(spec), 0);
  const exit = openSync(paths.exitFile(spec.id), 'w', 0o600);
  const pipe = command === undefined ? openPipe() : undefined;
  using feed = new Feed(spec);
  try {
    const child = within({ ...options.namespaces, mnt: fresh, pid: fresh }, () => {
      enterRoot(options.root);
      const shared = { detached: true } as const;
      if (pipe !== undefined) {
        const stdio = ['ignore', stdout, stderr, exit, pipe.read, pipe.write] as const;
        return spawn(tool('sh'), ['-c', PLACEHOLDER], { ...shared, stdio: [...stdio], env: {} });
      }
      checkCommand(spec, command!);
      const { stdin, terminal, lifeline } = feed.open();
      const { args, env } = commandLine(spec, command!);
      return spawn(tool('sh'), ['-c', WRAPPER, spec.name, mountProc(spec), ...args], {
        ...shared,
        stdio: [stdin, terminal ?? stdout, terminal ?? stderr, exit, lifeline],
        env: { ...env },
        cwd: spec.workingDir === '' ? '/' : spec.workingDir,
      });
    });
    return { child, holder: feed.hold(stdout) };
  } finally {
    for (const fd of [stdout, stderr, exit]) closeSync(fd);
    for (const fd of pipe === undefined ? [] : [pipe.read, pipe.write]) closeSync(fd);
  }
}

/** On a terminal the command leads a session: Ctrl-C and job control work. */
function commandLine(spec: ContainerSpec, command: readonly string[]): Launch {
  if (spec.tty !== true) return launch(spec, command);
  const { args, env } = launch({ ...spec, env: { TERM: 'xterm', ...spec.env } }, command);
  return { args: [tool('setsid'), '--ctty', ...args], env };
}

/** Written beside and renamed, so that a reader sees all of it or nothing. */
function writeRecord(path: string, record: ContainerRecord): void {
  writeFileSync(`${path}.new`, JSON.stringify(record), { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

export function readRecord(path: string): ContainerRecord | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as ContainerRecord;
  } catch {
    return undefined;
  }
}
