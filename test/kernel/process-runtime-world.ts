/** A node for the tests of the `process` runtime: an uplink, directories, and a runtime on it. */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  createProcessRuntime,
  type ProcessRuntime,
  type ProcessRuntimeOptions,
} from '../../src/node/process-runtime/runtime.ts';
import type { ContainerSpec, ExecSpec, SandboxSpec } from '../../src/node/runtime.ts';

export const nodeAddresses = ['172.29.0.11', 'fd00:172:29::11'] as const;

/** Runs a shell command; what it prints on both streams. */
export function shell(command: string): string {
  return execFileSync('bash', ['-c', `${command} 2>&1`], { encoding: 'utf8' }).trim();
}

/** As `shell`, for a command that may fail. */
export function attempt(command: string): string {
  try {
    return shell(command);
  } catch (error) {
    return String((error as { stdout?: unknown }).stdout ?? error).trim();
  }
}

/** Gives the test's network namespace what a node has; a veth stands for the wire. */
export function makeNode(): void {
  shell('ip link set lo up; ip link add uplink type veth peer name wire');
  shell('ip link set wire up; ip link set uplink up');
  shell(`ip addr add ${nodeAddresses[0]}/24 dev uplink`);
  shell(`ip -6 addr add ${nodeAddresses[1]}/64 dev uplink nodad`);
}

export type World = {
  readonly directory: string;
  readonly options: ProcessRuntimeOptions;
  readonly runtime: ProcessRuntime;
  /** The same node after its agent died and came back. */
  restarted(): ProcessRuntime;
  clean(): void;
};

/** Sockets have short paths, so the directory has one too. */
export function makeWorld(directory = mkdtempSync(join(tmpdir(), 'fl-'))): World {
  const options = {
    runtimeDir: join(directory, 'run'),
    logsDir: join(directory, 'logs'),
    nodeName: 'node-1',
    version: 'test',
    selfCommand: [process.execPath, '--input-type=module', '-e', selfProgram],
    selfPaths: [],
  };
  return {
    directory,
    options,
    runtime: createProcessRuntime(options),
    restarted: () => createProcessRuntime(options),
    clean: () => rmSync(directory, { recursive: true, force: true }),
  };
}

const echoHost = new URL('../../src/node/images/echo-host.ts', import.meta.url).href;
/** Takes the place of `fairlead echo-host <socket>`. */
const selfProgram = `import { runEchoHost } from '${echoHost}'; runEchoHost(process.argv.at(-1));`;

export function sandbox(podUid: string, last: number): SandboxSpec {
  return {
    podUid,
    namespace: 'default',
    name: `pod-${podUid}`,
    hostname: `pod-${podUid}`,
    hostNetwork: false,
    podIPs: [`10.244.1.${last}`, `fd00:10:244:1::${last}`],
    sysctls: [],
  };
}

/** A container with the safe defaults, running a shell script. */
export function container(
  podUid: string,
  script: string,
  changes: Partial<ContainerSpec> = {},
): ContainerSpec {
  const { name = 'main' } = changes;
  return {
    id: `${podUid}/${name}/0`,
    podUid,
    name,
    image: 'host',
    command: ['sh', '-c', script],
    args: [],
    env: {},
    workingDir: '',
    user: 65534,
    group: 65534,
    supplementalGroups: [],
    privileged: false,
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: false,
    capabilities: { add: [], drop: [] },
    mounts: [],
    ports: [],
    ...changes,
  };
}

/** Waits until the condition holds; throws what it was after ten seconds. */
export async function eventually(what: string, condition: () => unknown): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (Date.now() < deadline) {
    if (condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error(`waited in vain: ${what}`);
}

/** Starts a container, waits for its end; its output and how it ended. */
export async function runToEnd(runtime: ProcessRuntime, spec: ContainerSpec) {
  await runtime.start(spec);
  await eventually(`${spec.id} ends`, () => runtime.state(spec.id)?.kind === 'exited');
  const state = runtime.state(spec.id)!;
  const files = runtime.rawLogs(spec.id);
  const read = (path: string) => readFileSync(path, 'utf8');
  const exitCode = state.kind === 'exited' ? state.exitCode : undefined;
  return { exitCode, state, output: read(files.stdout), errors: read(files.stderr) };
}

/** Runs a command inside a container; its output, all of it, and its exit code. */
export async function runInside(
  runtime: ProcessRuntime,
  containerId: string,
  command: string,
  spec: Partial<ExecSpec> & { input?: string } = {},
) {
  const session = await runtime.exec(containerId, {
    command: ['sh', '-c', command],
    tty: false,
    stdin: spec.input !== undefined,
    ...spec,
  });
  const texts = { stdout: '', stderr: '' };
  session.stdout.on('data', (chunk: Buffer) => (texts.stdout += chunk.toString()));
  session.stderr?.on('data', (chunk: Buffer) => (texts.stderr += chunk.toString()));
  const streams =
    session.stderr === undefined ? [session.stdout] : [session.stdout, session.stderr];
  const closed = streams.map((stream) => once(stream, 'close'));
  session.stdin?.write(spec.input ?? '');
  if (!spec.tty) session.stdin?.end();
  const exitCode = await session.exit;
  await Promise.all(closed);
  return { exitCode, ...texts };
}

/** What `removeSandbox` must leave nothing of: links, routes, mounts and files. */
export function traces(directory: string): string {
  const parts = {
    links: attempt('ip -o link | grep -o "veth[0-9a-f]\\{11\\}"'),
    routes: attempt('ip route | grep 10.244; ip -6 route | grep fd00:10:244'),
    neighbours: attempt('ip neigh show nud permanent | grep 10.244'),
    mounts: attempt(`grep ${directory} /proc/self/mountinfo`),
    files: attempt(`find ${directory}/run/pods ${directory}/logs -mindepth 1`),
  };
  return Object.entries(parts)
    .filter(([, text]) => text !== '')
    .map(([name, text]) => `${name}: ${text}`)
    .join('\n');
}
