/** Where a lab keeps its things. Both trees vanish with `down`. */
import { join } from 'node:path';

export type LabPaths = {
  /** Lives as long as the lab: database, keys, logs, configuration. */
  readonly state: string;
  /** Lives as long as the machine runs: pinned namespaces, process ids, sockets; a mount of its own. */
  readonly runtime: string;
};

export type LabRoots = { readonly state: string; readonly runtime: string };

/** The system's own places for root, the user's for anybody else. */
export function labRoots(env: NodeJS.ProcessEnv = process.env): LabRoots {
  const own = env.FAIRLEAD_ROOT;
  if (own !== undefined && own !== '')
    return { state: join(own, 'state'), runtime: join(own, 'run') };
  return { state: '/var/lib/fairlead', runtime: '/run/fairlead' };
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

/** The pinned namespaces of a node. */
export function nodeNamespaces(paths: LabPaths, node: string): { net: string; uts: string } {
  const dir = nodeRuntimeDir(paths, node);
  return { net: join(dir, 'net'), uts: join(dir, 'uts') };
}
