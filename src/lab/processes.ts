/** Starting, finding and ending the processes of a lab. */
import { spawn } from 'node:child_process';
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { packageFile } from '../lib/package-root.ts';
import { logFile, pidFile, type LabPaths } from './paths.ts';

/** The command that starts this program again with other arguments. */
export function selfCommand(): string[] {
  // The bundle or the source, whichever we are; a test or a benchmark is neither.
  const own = process.argv[1] ?? '';
  const main = /\/main\.(ts|cjs)$/.test(own) ? own : packageFile('src', 'cli', 'main.ts');
  return [process.execPath, '--disable-warning=ExperimentalWarning', ...memoryFlags, main];
}

/** What a process of ours must be able to read: the packages with Node in them, and the sources. */
export function selfPaths(): string[] {
  return [packageFile()];
}

/**
 * A small young generation: these processes are idle most of the time. With 1 MiB all of them together
 * take 30 MB less and the collections at start 20 % more CPU.
 */
const memoryFlags = ['--max-semi-space-size=4'];

/** Starts a component under its supervisor, detached from us; its output goes to its log. */
export function startComponent(
  paths: LabPaths,
  component: string,
  args: readonly string[],
  inherit: readonly number[] = [],
): void {
  const log = logFile(paths, component);
  mkdirSync(dirname(log), { recursive: true, mode: 0o700 });
  const output = openSync(log, 'a', 0o600);
  try {
    const child = spawn(
      '/bin/sh',
      [
        packageFile('src', 'lab', 'supervise.sh'),
        pidFile(paths, component),
        ...selfCommand(),
        ...args,
        '--state',
        paths.state,
        '--runtime',
        paths.runtime,
      ],
      {
        detached: true,
        stdio: ['ignore', output, output, ...inherit],
        cwd: '/',
        env: componentEnvironment(),
      },
    );
    child.unref();
  } finally {
    closeSync(output);
  }
}

/** What a component may see of our environment: nothing that only the person's shell needs. */
function componentEnvironment(): NodeJS.ProcessEnv {
  const keep = [
    'PATH',
    'HOME',
    'LANG',
    'TZ',
    'NODE_OPTIONS',
    'FAIRLEAD_LOG',
    'FAIRLEAD_ROOT',
    'FAIRLEAD_API_PORT',
  ];
  return Object.fromEntries(
    keep.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]])),
  );
}

export type ComponentProcess = {
  readonly supervisor: number | undefined;
  readonly main: number | undefined;
};

/** The live processes of a component; ids that have passed to strangers do not count. */
export function findComponent(paths: LabPaths, component: string): ComponentProcess {
  let text: string;
  try {
    text = readFileSync(pidFile(paths, component), 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT')
      return { supervisor: undefined, main: undefined };
    throw error;
  }
  const [supervisor = 0, main = 0] = text.trim().split(' ').map(Number);
  const ours = (pid: number) => commandLineOf(pid).split('\0').includes(paths.runtime);
  return {
    supervisor: ours(supervisor) ? supervisor : undefined,
    main: ours(main) ? main : undefined,
  };
}

/** Ends a component: TERM to its supervisor, KILL to both after `graceMs`. */
export async function stopComponent(
  paths: LabPaths,
  component: string,
  graceMs: number,
): Promise<void> {
  const { supervisor, main } = findComponent(paths, component);
  const pids = [supervisor, main].filter((pid) => pid !== undefined);
  signalAll(pids.slice(0, 1), 'SIGTERM');
  await endAll(pids, graceMs);
}

/** A process that is killed may still have to leave a call into the kernel. */
const killedWithinMs = 5000;

/**
 * Waits until none of the processes is left; sends KILL once `graceMs` is over. Returns those that do
 * not go even so: the first of a PID namespace waits for the last, whose parent may never look.
 */
export async function endAll(pids: readonly number[], graceMs: number): Promise<number[]> {
  const deadline = performance.now() + graceMs;
  let killed = false;
  for (let left = pids.filter(isAlive); left.length > 0; left = left.filter(isAlive)) {
    if (!killed && performance.now() >= deadline) {
      signalAll(left, 'SIGKILL');
      killed = true;
    }
    if (performance.now() >= deadline + killedWithinMs) return left;
    await sleep(5);
  }
  return [];
}

export function signalAll(pids: readonly number[], signal: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      process.kill(pid, signal);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }
}

/** Alive and no zombie. */
export function isAlive(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) [ZX] /s.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch (error) {
    if (isGone(error)) return false;
    throw error;
  }
}

/** The supervisors and components of a lab, by the directory that their command line names. */
export function processesOfLab(paths: LabPaths): number[] {
  return readdirSync('/proc').flatMap((entry) => {
    const pid = Number(entry);
    const args = Number.isInteger(pid) ? commandLineOf(pid).split('\0') : [];
    const at = args.indexOf('--runtime');
    return at > 0 && args[at + 1] === paths.runtime && isAlive(pid) ? [pid] : [];
  });
}

/** Every process whose network namespace is one of `inodes`. */
export function processesIn(inodes: ReadonlySet<number>): number[] {
  return readdirSync('/proc').flatMap((entry) => {
    const pid = Number(entry);
    if (!Number.isInteger(pid)) return [];
    try {
      const inode = Number(/\[(\d+)\]/.exec(readlinkSync(`/proc/${pid}/ns/net`))?.[1]);
      return inodes.has(inode) ? [pid] : [];
    } catch (error) {
      // A process may end between the listing and the look; kernel threads refuse it.
      if (isGone(error) || (error as NodeJS.ErrnoException).code === 'EACCES') return [];
      throw error;
    }
  });
}

/** The inode of a pinned namespace, or undefined when nothing is pinned there. */
export function namespaceInode(file: string): number | undefined {
  try {
    return statSync(file).ino;
  } catch (error) {
    if (isGone(error)) return undefined;
    throw error;
  }
}

function commandLineOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch (error) {
    if (isGone(error)) return '';
    throw error;
  }
}

function isGone(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code;
  return code === 'ENOENT' || code === 'ESRCH' || code === 'ENOTDIR';
}
