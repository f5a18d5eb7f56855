/**
 * Drives the product as a person would: `bin/fairlead` and real `kubectl`, in a network of its own
 * (tools/test.ts starts every end-to-end file inside one without an uplink).
 */
import { deepStrictEqual } from 'node:assert';
import { execFile, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import {
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';

const root = join(import.meta.dirname, '..', '..');
const program = join(root, 'bin', 'fairlead');

export type Result = { readonly code: number; readonly stdout: string; readonly stderr: string };

/** Where this test file keeps labs, apart from any lab of the machine; gone with `removeHome`. */
export const home = mkdtempSync(join(tmpdir(), 'fairlead-test-'));
export const environment = {
  ...process.env,
  FAIRLEAD_ROOT: join(home, 'root'),
  HOME: home,
  TMPDIR: join(home, 'tmp'),
  NODE_TEST_CONTEXT: undefined,
};
mkdirSync(environment.TMPDIR, { mode: 0o777 });

export function removeHome(): void {
  rmSync(home, { recursive: true, force: true });
}

/** Runs `bin/fairlead`; never throws for an exit code. */
export function fairlead(...args: string[]): Promise<Result> {
  return run(program, args);
}

/** Runs `bin/fairlead` and throws with all it printed unless it succeeds. */
export async function fairleadOk(...args: string[]): Promise<string> {
  return must(await fairlead(...args), `fairlead ${args.join(' ')}`);
}

/** Every kubectl of this machine worth testing with, by its version. */
export function kubectlBinaries(): { version: string; path: string }[] {
  const found = [
    '/usr/bin/kubectl',
    '/usr/local/bin/kubectl',
    ...globSync('/usr/lib/google-cloud-sdk/bin/kubectl.1.*'),
  ];
  const fallback = spawnSync('sh', [join(root, 'tools', 'kubectl.sh')], {
    encoding: 'utf8',
  }).stdout.trim();
  const byVersion = new Map<string, string>();
  for (const path of new Set(
    [...found, fallback].filter((entry) => entry !== '' && existsSync(entry)),
  )) {
    const text = spawnSync(path, ['version', '--client', '-o', 'json'], {
      encoding: 'utf8',
      env: environment,
    }).stdout;
    const version = /"gitVersion": "v([^"]+)"/.exec(text)?.[1];
    if (version !== undefined && !byVersion.has(version)) byVersion.set(version, path);
  }
  return [...byVersion]
    .map(([version, path]) => ({ version, path }))
    .toSorted((a, b) => a.version.localeCompare(b.version, 'en', { numeric: true }));
}

/** The newest kubectl of the machine; installs Debian's beside the packages when there is none. */
export function newestKubectl(): string {
  const newest = kubectlBinaries().at(-1);
  if (newest === undefined)
    throw new Error('no kubectl on this machine, and tools/kubectl.sh found none');
  return newest.path;
}

export class Cluster {
  readonly name: string;
  readonly kubeconfig: string;
  readonly kubectlPath: string;

  private constructor(name: string, kubeconfig: string, kubectlPath: string) {
    this.name = name;
    this.kubeconfig = kubeconfig;
    this.kubectlPath = kubectlPath;
  }

  /** `fairlead up`, with its own flags. */
  static async up(name: string, ...flags: string[]): Promise<Cluster> {
    await fairleadOk('up', '--name', name, ...flags);
    const kubeconfig = (await fairleadOk('kubeconfig', '--name', name)).trim();
    return new Cluster(name, kubeconfig, newestKubectl());
  }

  kubectl(...args: string[]): Promise<Result> {
    return run(this.kubectlPath, ['--kubeconfig', this.kubeconfig, ...args]);
  }

  async kubectlOk(...args: string[]): Promise<string> {
    return must(await this.kubectl(...args), `kubectl ${args.join(' ')}`);
  }

  /** `kubectl get … -o json`, parsed. */
  async json<T = Record<string, unknown>>(...args: string[]): Promise<T> {
    return JSON.parse(await this.kubectlOk('get', ...args, '-o', 'json')) as T;
  }

  async apply(yaml: string): Promise<string> {
    // kubectl 1.20 takes text that begins with a brace for JSON.
    const text = `---\n${yaml}`;
    const args = ['--kubeconfig', this.kubeconfig, 'apply', '-f', '-'];
    return must(await run(this.kubectlPath, args, text), 'kubectl apply');
  }

  down(): Promise<string> {
    return fairleadOk('down', '--name', this.name);
  }
}

/** Runs a command to its end; `input` goes to its standard input. */
export function run(command: string, args: readonly string[], input = ''): Promise<Result> {
  return new Promise((resolve) => {
    const child = execFile(
      command,
      args,
      {
        encoding: 'utf8',
        maxBuffer: 64 * 1024 * 1024,
        timeout: 120_000,
        env: environment,
      },
      (error, stdout, stderr) => {
        const code = error === null ? 0 : typeof error.code === 'number' ? error.code : 128;
        resolve({ code, stdout, stderr });
      },
    );
    // A command that ends without reading its input is told by its exit code.
    child.stdin?.on('error', () => {});
    child.stdin?.end(input);
  });
}

/** Starts a command that goes on; the caller ends it. */
export function start(command: string, args: readonly string[]): ChildProcess {
  return spawn(command, args, {
    env: environment,
    stdio: ['pipe', 'pipe', 'pipe'],
  });
}

export function must(result: Result, what: string): string {
  if (result.code !== 0)
    throw new Error(`${what} exited with ${result.code}\n${result.stdout}${result.stderr}`);
  return result.stdout;
}

/** Asks again until `ask` returns something other than undefined or false; throws with `what` when time is up. */
export async function eventually<T>(
  what: string,
  ask: () => Promise<T | undefined | false> | T | undefined | false,
  seconds = 15,
): Promise<T> {
  const deadline = performance.now() + seconds * 1000;
  let last: unknown;
  while (performance.now() < deadline) {
    try {
      const answer = await ask();
      if (answer !== undefined && answer !== false) return answer;
    } catch (error) {
      last = error;
    }
    await sleep(50);
  }
  throw new Error(`not within ${seconds} s: ${what}`, { cause: last });
}

/** Everything a lab could leave behind, as text: two snapshots must be equal. */
export function hostSnapshot(): Record<string, string> {
  const shell = (command: string) => spawnSync('sh', ['-c', command], { encoding: 'utf8' }).stdout;
  return {
    links: shell("ip -o link | sed 's/^[0-9]*: //' | cut -d: -f1 | sort"),
    addresses: shell("ip -o address | awk '{print $2, $3, $4}' | sort"),
    routes: shell('ip -4 route show table all; ip -6 route show table all'),
    rules: shell('ip -4 rule; ip -6 rule'),
    neighbours: shell('ip neigh show nud permanent'),
    nftables: shell('nft list ruleset'),
    namespaces: shell('ls /run/netns 2>/dev/null'),
    mounts: readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .map((line) => line.split(' ').slice(3, 5).join(' '))
      .toSorted()
      .join('\n'),
    cgroups: shell('find /sys/fs/cgroup -type d -name "*fairlead*"'),
    sysctls: shell(
      'sysctl -a 2>/dev/null | grep -E "^net\\.(ipv4|ipv6|bridge|netfilter)\\..*(forward|rp_filter|proxy|localnet|call_)" | grep -v "\\.lo\\."',
    ),
    processes: processes(),
    ipc: shell('ls -d /dev/shm/*fairlead* /dev/mqueue/* 2>/dev/null'),
    bpf: shell('ls /sys/fs/bpf 2>/dev/null'),
    // kubectl keeps a cache at home; our own directory is looked at below.
    home: readdirSync(home)
      .filter((entry) => entry !== '.kube' && entry !== 'root')
      .join('\n'),
    files: [environment.FAIRLEAD_ROOT, environment.TMPDIR]
      .flatMap((dir) => (existsSync(dir) ? [dir, ...readdirSync(dir)] : []))
      .join('\n'),
  };
}

/** Waits until nothing of the host differs from before; a link may take a moment to go. */
export async function sameHost(before: Record<string, string>): Promise<void> {
  let after = hostSnapshot();
  for (let tries = 0; tries < 20 && !isDeepStrictEqual(after, before); tries += 1) {
    await sleep(100);
    after = hostSnapshot();
  }
  deepStrictEqual(after, before);
}

/** Every process in a network of the lab: components, supervisors, containers and what they started. */
export function labProcesses(name: string): number[] {
  const run = join(environment.FAIRLEAD_ROOT, 'run', name);
  const networks = globSync([`${run}/nodes/*/net`, `${run}/nodes/*/pods/*/net`]);
  const inodes = new Set(networks.map((file) => `net:[${statSync(file).ino}]`));
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .filter((pid) => inodes.has(networkOf(pid)) || commandOf(pid).includes(`${run} `))
    .map(Number);
}

/** Those of the processes that still run, as a zombie does not. */
export function alive(pids: readonly number[]): number[] {
  return pids.filter((pid) => commandOf(String(pid)) !== '');
}

function networkOf(pid: string): string {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`);
  } catch (error) {
    return isGone(error);
  }
}

/** The command line of a process, each argument followed by a blank; empty when it has ended. */
export function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
  } catch (error) {
    return isGone(error);
  }
}

/** The empty text for a process that is no more, or that is out of our sight. */
function isGone(error: unknown): string {
  if (['ENOENT', 'ESRCH', 'EACCES'].includes((error as NodeJS.ErrnoException).code ?? ''))
    return '';
  throw error;
}

/** The pid files hold the supervisor and the component. */
export function componentPids(
  lab: string,
  component: string,
): { supervisor: number; main: number } {
  const file = join(environment.FAIRLEAD_ROOT, 'run', lab, `${component}.pid`);
  const [supervisor = 0, main = 0] = readFileSync(file, 'utf8').trim().split(' ').map(Number);
  return { supervisor, main };
}

/** Runs a command in a node's network. */
export function onNode(lab: string, node: string, ...command: string[]): Promise<Result> {
  const net = join(environment.FAIRLEAD_ROOT, 'run', lab, 'nodes', node, 'net');
  return run('nsenter', [`--net=${net}`, ...command]);
}

/** Command lines that mention this test's labs. */
function processes(): string {
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .map(commandOf)
    .filter((line) => line.includes(environment.FAIRLEAD_ROOT))
    .join('\n');
}
