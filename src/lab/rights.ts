/**
 * Who may bring a lab up: root, or anybody in a private user namespace where the kernel allows it. All
 * of such a lab lives in namespaces that a sleeping shell keeps; killing that shell ends it. The API
 * listens on the host's loopback all the same: its listener is opened out here and handed in.
 */
import { spawn, spawnSync, type ChildProcess, type StdioOptions } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { UserError } from '../lib/errors.ts';
import { labPaths, ownRoot } from './paths.ts';
import { chooseApiPort, requirePort } from './ports.ts';
import { endAll, isAlive, selfCommand, signalAll } from './processes.ts';
import { listLabs, readLab } from './state.ts';

/** Descriptor of the API's listener on the host's loopback, where it was handed to us. */
export const apiListenerFd = 3;

/** The port of that listener; undefined for root, who opens it in place. */
export function handedApiPort(): number | undefined {
  const port = process.env.FAIRLEAD_API_PORT;
  return port === undefined ? undefined : Number(port);
}

/** Where a command runs: here, or it has been run inside the lab's namespaces to its end. */
export type Ran = 'here' | 'inside';

/** Runs a command on a lab that exists where the lab lives; `process.exitCode` is then its exit code. */
export async function runWhereLabLives(name: string, args: readonly string[]): Promise<Ran> {
  const keeper = process.getuid?.() === 0 ? undefined : keeperOf(name);
  if (keeper === undefined) return 'here';
  const kinds = ['--user', '--net', '--mount', '--uts', '--ipc', '--pid'];
  const enter = ['nsenter', '--target', String(keeper), ...kinds, '--preserve-credentials', '--'];
  const child = spawnAgain([...enter, ...selfCommand(), ...args], 'inherit', {});
  const [code] = (await once(child, 'exit')) as [number | null];
  process.exitCode = code ?? 1;
  return 'inside';
}

/** Ends what keeps the namespaces of a lab without root, and with it all that runs in them. */
export async function releaseNamespaces(name: string): Promise<void> {
  const keeper = keeperOf(name);
  if (keeper === undefined) return;
  // Its parent, unshare(1), takes it along and would otherwise complain about its death.
  const parent = Number(
    /^\d+ \(.*\) \S (\d+)/s.exec(readFileSync(`/proc/${keeper}/stat`, 'utf8'))?.[1],
  );
  const pids =
    parent > 1 && commandLine(parent).startsWith('unshare\0') ? [parent, keeper] : [keeper];
  signalAll(pids.slice(0, 1), 'SIGKILL');
  await endAll(pids, 1000);
}

/** The first process of a lab's own namespaces, if it lives; undefined for a lab of root. */
export function keeperOf(name: string): number | undefined {
  try {
    const pid = Number(readFileSync(keeperFile(name), 'utf8'));
    // Its number may have passed to a stranger since.
    return isAlive(pid) && commandLine(pid).includes(keeperScript) ? pid : undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function keeperFile(name: string): string {
  return join(labPaths(name).state, 'keeper.pid');
}

function commandLine(pid: number): string {
  return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
}

/** `up` for somebody who is not root; in a lab that exists it runs where the lab lives. */
export async function upWithoutRoot(
  options: { readonly name: string; readonly apiPort?: number },
  args: readonly string[],
): Promise<Ran> {
  if (process.getuid?.() === 0) return 'here';
  if ((await runWhereLabLives(options.name, args)) === 'inside') return 'inside';
  if (listLabs().includes(options.name)) return 'here';
  requireUserNamespaces();
  process.exitCode = await upInside(options, args);
  return 'inside';
}

const newNamespaces = [
  '--user',
  '--map-root-user',
  '--net',
  '--mount',
  '--propagation',
  'private',
  '--uts',
  '--ipc',
  '--pid',
  '--fork',
  '--mount-proc',
  '--kill-child',
];

function requireUserNamespaces(): void {
  const probe = spawnSync('unshare', [...newNamespaces, 'true'], { encoding: 'utf8' });
  if (probe.status === 0) return;
  throw new UserError(
    'NOT_ROOT',
    `Cannot bring up a lab: not root, and this kernel refuses private user namespaces (${probe.stderr.trim()})`,
    {
      hint: 'Run it with sudo, or allow them: sysctl kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0',
    },
  );
}

/** Runs the command; where that went well, says so and stays. As process 1 it reaps whom nobody waits for. */
const keeperScript =
  '"$@" 4>&- || exit $?; echo up >&4; exec 3>&- 4>&- >/dev/null 2>&1; sleep infinity & wait';

/** Runs the command inside new namespaces; returns its exit code. */
async function upInside(
  options: { readonly name: string; readonly apiPort?: number },
  args: readonly string[],
): Promise<number> {
  if (options.apiPort !== undefined) await requirePort(options.apiPort);
  const taken = listLabs().map((name) => readLab(labPaths(name)).apiPort);
  const port = options.apiPort ?? (await chooseApiPort(taken));
  const listener = createServer().listen(port, '127.0.0.1');
  await once(listener, 'listening');
  const { fd } = (listener as unknown as { _handle: { fd: number } })._handle;
  const command = ['unshare', ...newNamespaces, '--', 'sh', '-c', keeperScript, 'sh'];
  const child = spawnAgain(
    [...command, ...selfCommand(), ...args],
    ['inherit', 'pipe', 'pipe', fd, 'pipe'],
    { FAIRLEAD_API_PORT: String(port) },
  );
  // unshare(1) lives on, and whoever reads our output must see its end.
  child.stdout!.pipe(process.stdout);
  child.stderr!.pipe(process.stderr);
  const pipe = child.stdio[4] as Readable;
  const code = await Promise.race([
    once(pipe, 'data').then(() => 0),
    once(child, 'close').then(([exitCode]) => (exitCode as number | null) ?? 1),
  ]);
  if (code === 0) writeFileSync(keeperFile(options.name), String(onlyChildOf(child.pid!)));
  child.unref();
  for (const stream of [pipe, child.stdout!, child.stderr!]) stream.destroy();
  listener.close();
  return code;
}

/** unshare(1) waits outside for the shell, which is process 1 in there. */
function onlyChildOf(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ')[0]);
}

function spawnAgain(
  [command = '', ...args]: readonly string[],
  stdio: StdioOptions,
  extra: Record<string, string>,
): ChildProcess {
  const env = { ...process.env, ...extra, FAIRLEAD_ROOT: ownRoot() };
  return spawn(command, args, { stdio, env, detached: extra['FAIRLEAD_API_PORT'] !== undefined });
}
