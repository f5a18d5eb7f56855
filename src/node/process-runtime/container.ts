/** Starts a container: its namespaces, its root, its first process, and the record of it all. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
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
import { messageOf, WorldError } from '../../lib/errors.ts';
import { type ContainerSpec } from '../runtime.ts';
import { checkCommand } from './command.ts';
import { Feed, noFeed } from './feed.ts';
import { placeholder, wrapper } from './first-process.ts';
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

/** Starts the container's first process; throws when the command cannot run. */
export async function startContainer(options: StartOptions): Promise<{
  child: ChildProcess;
  record: ContainerRecord;
}> {
  const { spec, paths } = options;
  const startedAt = Date.now();
  const { child, holder } = spawnInside(options);
  const { pid } = child;
  if (pid === undefined) throw await spawnFailure(spec, child);
  child.unref();
  // A process that is dead already left its exit code; any start time will do.
  const process = identify(pid) ?? { pid, startTicks: '' };
  const record = { spec, process, ...(holder && { holder }), startedAt };
  writeRecord(paths.recordFile(spec.id), record);
  return { child, record };
}

/** Why there is no process: the node has too many, or too many open files. */
async function spawnFailure(spec: ContainerSpec, child: ChildProcess): Promise<WorldError> {
  const cause = await once(child, 'spawn').catch((error: unknown) => error);
  const text = `Cannot start container "${spec.name}": ${messageOf(cause)}`;
  return new WorldError('CANNOT_START', text, { cause });
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
  // The node's: in the container's /dev a volume may have put something that waits for a reader.
  const nothing = openSync('/dev/null', 'r');
  const pipe = command === undefined ? openPipe() : undefined;
  using feed = new Feed(spec);
  try {
    const child = within({ ...options.namespaces, mnt: fresh, pid: fresh }, () => {
      enterRoot(options.root);
      if (command !== undefined) checkCommand(spec, command);
      const { file, args, env } =
        command === undefined ? placeholder(spec) : wrapper(spec, command);
      const ends = command === undefined ? noFeed : feed.open();
      const input = ends.stdin === 'ignore' ? nothing : ends.stdin;
      const [output, errors] = [ends.terminal ?? stdout, ends.terminal ?? stderr];
      const lifeline = pipe === undefined ? [ends.lifeline] : [pipe.read, pipe.write];
      return spawn(file, args, {
        stdio: [input, output, errors, exit, ...lifeline],
        env: { ...env },
        cwd: command === undefined || spec.workingDir === '' ? '/' : spec.workingDir,
        detached: true,
      });
    });
    return { child, holder: feed.hold(stdout) };
  } finally {
    for (const fd of [stdout, stderr, exit, nothing]) closeSync(fd);
    for (const fd of pipe === undefined ? [] : [pipe.read, pipe.write]) closeSync(fd);
  }
}

/** Written beside and renamed, so that a reader sees all of it or nothing. */
function writeRecord(path: string, record: ContainerRecord): void {
  writeFileSync(`${path}.new`, JSON.stringify(record), { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

/** What `startContainer` noted; undefined when it did not get that far. */
export function readRecord(path: string): ContainerRecord | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as ContainerRecord;
  } catch (error) {
    // None was written, or not all of it; whatever else it is, the container is not to die of it.
    const isNone = (error as NodeJS.ErrnoException).code === 'ENOENT';
    if (isNone || error instanceof SyntaxError) return undefined;
    throw error;
  }
}
