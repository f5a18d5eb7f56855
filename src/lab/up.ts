/** `fairlead up`: from nothing to a cluster that answers, or nothing again. */
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { mountFilesystem } from '../kernel/ffi/mount.ts';
import { UserError, WorldError } from '../lib/errors.ts';
import { formatHostPort } from '../lib/ip.ts';
import { planLab, type LabConfig, type LabRequest } from './config.ts';
import { writeKeys } from './keys.ts';
import { createBridge, createNode, hostRoutes } from './network.ts';
import { kubeconfigFile, labPaths, labRoots, nodeNamespaces, type LabPaths } from './paths.ts';
import { chooseApiPort, requirePort } from './ports.ts';
import { startAgent, startServer } from './components.ts';
import { Progress, type Step } from './progress.ts';
import { askDns, waitForApi, waitForNodes } from './readiness.ts';
import { listLabs, readLab, writeLab } from './state.ts';
import { findComponent } from './processes.ts';
import { removeLab } from './teardown.ts';

export type UpResult = {
  readonly lab: LabConfig;
  readonly kubeconfig: string;
  readonly steps: readonly Step[];
  /** The lab existed; components that had died were started again. */
  readonly existed: boolean;
};

/** Everything must answer within this time, or `up` gives up and cleans up. */
const answerWithinMs = 30_000;

export async function up(request: LabRequest, show: (step: Step) => void): Promise<UpResult> {
  const paths = labPaths(request.name);
  const progress = new Progress(show);
  if (existsSync(join(paths.state, 'lab.json'))) return await repair(paths, progress);

  const lab = await progress.step('check the host', () => decide(request));
  claim(lab, paths);
  try {
    await build(lab, paths, progress);
  } catch (error) {
    await removeLab(lab, paths);
    throw error;
  }
  return { lab, kubeconfig: kubeconfigFile(paths), steps: progress.steps, existed: false };
}

async function decide(request: LabRequest): Promise<LabConfig> {
  const labs = listLabs().map((name) => readLab(labPaths(name)));
  if (request.apiPort !== undefined) await requirePort(request.apiPort);
  const port = request.apiPort ?? (await chooseApiPort(labs.map((lab) => lab.apiPort)));
  return planLab(request, { routes: hostRoutes(), labs }, port);
}

/** Two `up` at once: the second finds the directory. */
function claim(lab: LabConfig, paths: LabPaths): void {
  mkdirSync(labRoots().state, { recursive: true, mode: 0o755 });
  try {
    mkdirSync(paths.state, { mode: 0o700 });
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cause;
    throw new UserError(
      'LAB_EXISTS',
      `Cannot bring up lab "${lab.name}": ${paths.state} exists without a lab in it, or another "up" is at work`,
      {
        cause,
        hint: `If nothing is at work there: fairlead down --name ${lab.name}`,
      },
    );
  }
  writeLab(paths, lab);
}

async function build(lab: LabConfig, paths: LabPaths, progress: Progress): Promise<void> {
  await progress.step('make keys and certificates', () => writeKeys(lab, paths));
  await progress.step('build the network', () => {
    mkdirSync(paths.runtime, { recursive: true, mode: 0o755 });
    mountFilesystem({ type: 'tmpfs', target: paths.runtime, data: 'mode=755' });
    createBridge(lab);
  });
  await progress.step('start server and nodes', () => {
    startServer(paths);
    for (const node of lab.nodes) {
      createNode(lab, node, paths);
      startAgent(paths, node);
    }
  });
  await waitUntilReady(lab, paths, progress);
}

async function waitUntilReady(lab: LabConfig, paths: LabPaths, progress: Progress): Promise<void> {
  const deadline = performance.now() + answerWithinMs;
  await progress.step('API answers', () => waitForApi(lab, paths, deadline));
  await progress.step(
    lab.nodes.length === 1 ? 'node is ready' : `${lab.nodes.length} nodes are ready`,
    () => waitForNodes(lab, paths, deadline),
  );
  await progress.step(`DNS answers at ${formatHostPort(lab.clusterDns[0]!, 53)}`, () =>
    askDns(lab, deadline),
  );
}

/** `up` on a lab that exists: starts what has died, touches nothing that lives. */
async function repair(paths: LabPaths, progress: Progress): Promise<UpResult> {
  const lab = readLab(paths);
  if (!existsSync(paths.runtime)) {
    throw new WorldError(
      'LAB_GONE',
      `Cannot use lab "${lab.name}": its namespaces are gone, as after a restart of the machine; run: fairlead down --name ${lab.name}`,
    );
  }
  const dead = (component: string) => findComponent(paths, component).supervisor === undefined;
  if (dead('server')) await progress.step('start the server again', () => startServer(paths));
  for (const node of lab.nodes) {
    if (existsSync(nodeNamespaces(paths, node.name).net) && dead(node.name))
      await progress.step(`start the agent of ${node.name} again`, () => startAgent(paths, node));
  }
  if (progress.steps.length > 0) await waitForApi(lab, paths, performance.now() + answerWithinMs);
  return { lab, kubeconfig: kubeconfigFile(paths), steps: progress.steps, existed: true };
}

/** Removes what a broken `up` left when not even its configuration is there. */
export function removeRemains(paths: LabPaths): void {
  rmSync(paths.state, { recursive: true, force: true });
}
