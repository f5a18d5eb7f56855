/**
 * Root, or the next best thing. A person without root gets a private user namespace where the kernel
 * allows it: the lab's whole network lives in there, the API listens on the host's loopback.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { UserError } from '../lib/errors.ts';
import { chooseApiPort, requirePort } from './ports.ts';
import { labPaths, labRoots } from './paths.ts';
import { isAlive, selfCommand } from './processes.ts';
import { listLabs } from './state.ts';

/** Descriptor of the API's listener on the host's loopback, handed into the private namespace. */
export const apiListenerFd = 3;

type Options = { readonly name?: string; readonly apiPort?: number };

/**
 * Returns false when this process may go on. Otherwise the command has been run to its end where it
 * may run, with our arguments; its exit code is ours. Throws `UserError` where nothing helps.
 */
export async function requireRights(command: string, options: Options): Promise<boolean> {
  if (process.getuid?.() === 0) return false;
  const name = options.name ?? 'lab';
  const holder = holderOf(name);
  if (holder !== undefined)
    return await runInside([
      'nsenter',
      '--target',
      String(holder),
      '--user',
      '--preserve-credentials',
      '--net',
      '--mount',
      '--',
    ]);
  if (command !== 'up') return false;
  requireUserNamespaces();
  return await bringUpInside(options);
}

/** The process that keeps the private namespaces of a lab, if it lives. */
function holderOf(name: string): number | undefined {
  if (!listLabs().includes(name)) return undefined;
  try {
    const pid = Number(readFileSync(holderFile(name), 'utf8'));
    return isAlive(pid) ? pid : undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function holderFile(name: string): string {
  return join(labPaths(name).state, 'holder.pid');
}

function requireUserNamespaces(): void {
  const probe = spawnSync('unshare', ['--user', '--map-root-user', '--net', '--mount', 'true'], {
    encoding: 'utf8',
  });
  if (probe.status === 0) return;
  throw new UserError(
    'NOT_ROOT',
    `Cannot bring up a lab: not root, and this kernel refuses private user namespaces (${probe.stderr.trim()})`,
    {
      hint: 'Run it with sudo, or allow them: sysctl kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0',
    },
  );
}

/** Runs this very command inside new namespaces that a sleeping shell keeps alive. */
async function bringUpInside(options: Options): Promise<boolean> {
  if (options.apiPort !== undefined) await requirePort(options.apiPort);
  const port = options.apiPort ?? (await chooseApiPort([]));
  const listener = createServer().listen(port, '127.0.0.1');
  await once(listener, 'listening');
  const { fd } = (listener as unknown as { _handle: { fd: number } })._handle;
  const name = options.name ?? 'lab';
  const keeper = '"$@" || exit $?; exec sleep infinity';
  const child = spawn(
    'unshare',
    [
      '--user',
      '--map-root-user',
      '--net',
      '--mount',
      '--propagation',
      'private',
      '--',
      'sh',
      '-c',
      keeper,
      'sh',
      ...selfCommand(),
      ...process.argv.slice(2),
    ],
    {
      detached: true,
      stdio: ['inherit', 'inherit', 'inherit', fd],
      env: {
        ...process.env,
        FAIRLEAD_ROOT: labRoots().state.replace(/\/state$/, ''),
        FAIRLEAD_API_PORT: String(port),
      },
    },
  );
  const done = await waitForLab(child.pid ?? 0, name, () => child.exitCode);
  if (done === 0) writeFileSync(holderFile(name), String(child.pid));
  child.unref();
  listener.close();
  process.exitCode = done;
  return true;
}

/** The command has ended well once only the sleeping shell is left. */
async function waitForLab(
  pid: number,
  name: string,
  exitCode: () => number | null,
): Promise<number> {
  for (;;) {
    const code = exitCode();
    if (code !== null) return code;
    if (commandOf(pid) === 'sleep' && listLabs().includes(name)) return 0;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  } catch (error) {
    if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return '';
    throw error;
  }
}

async function runInside(enter: string[]): Promise<boolean> {
  const [command = '', ...args] = [...enter, ...selfCommand(), ...process.argv.slice(2)];
  const child = spawn(command, args, {
    stdio: 'inherit',
    env: { ...process.env, FAIRLEAD_ROOT: labRoots().state.replace(/\/state$/, '') },
  });
  const [code] = (await once(child, 'exit')) as [number | null];
  process.exitCode = code ?? 1;
  return true;
}
