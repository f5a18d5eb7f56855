/** Where a lab keeps its things. Both trees vanish with `down`. */
import { homedir } from 'node:os';
import { isAbsolute, join, resolve } from 'node:path';

export type LabPaths = {
  /** Lives as long as the lab: database, keys, logs, configuration. */
  readonly state: string;
  /** Lives as long as the machine runs: pinned namespaces, process ids, sockets; a mount of its own. */
  readonly runtime: string;
};

export type LabRoots = { readonly state: string; readonly runtime: string };

/** The system's own places for root, one directory of the user's for anybody else. */
export function labRoots(): LabRoots {
  const own = ownRoot();
  return own === undefined
    ? { state: '/var/lib/fairlead', runtime: '/run/fairlead' }
    : { state: join(own, 'state'), runtime: join(own, 'run') };
}

/** The directory that holds all labs of an unprivileged user, or of whoever names one. */
export function ownRoot(): string | undefined {
  const { FAIRLEAD_ROOT: named, XDG_STATE_HOME: states } = process.env;
  if (named !== undefined && named !== '') return resolve(named);
  if (process.getuid?.() === 0) return undefined;
  // XDG Base Directory Specification 0.8.
  const base =
    states !== undefined && isAbsolute(states) ? states : join(homedir(), '.local/state');
  return join(base, 'fairlead');
}

export function labPaths(name: string, roots: LabRoots = labRoots()): LabPaths {
  return { state: join(roots.state, name), runtime: join(roots.runtime, name) };
}

export function configFile(paths: LabPaths): string {
  return join(paths.state, 'lab.json');
}

export function kubeconfigFile(paths: LabPaths): string {
  return join(paths.state, 'kubeconfig');
}

export function logFile(paths: LabPaths, component: string): string {
  return join(paths.state, 'logs', `${component}.log`);
}

/** The supervisor's and the process's ids of a component, as `tools` of the lab read them. */
export function pidFile(paths: LabPaths, component: string): string {
  return join(paths.runtime, `${component}.pid`);
}

export function nodeRuntimeDir(paths: LabPaths, node: string): string {
  return join(paths.runtime, 'nodes', node);
}

/** The pinned network namespace with the bridge that joins nodes and host. */
export function switchNamespace(paths: LabPaths): string {
  return join(paths.runtime, 'switch');
}

/** The pinned network namespace of the balancer host; made when a Service needs it. */
export function balancerNamespace(paths: LabPaths): string {
  return join(paths.runtime, 'balancer');
}

/** The pinned namespaces of a node. */
export function nodeNamespaces(paths: LabPaths, node: string): { net: string; uts: string } {
  const dir = nodeRuntimeDir(paths, node);
  return { net: join(dir, 'net'), uts: join(dir, 'uts') };
}
