/** `fairlead up`: from nothing to a cluster that answers, or nothing again. */
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { mountFilesystem } from '../kernel/ffi/mount.ts';
import { UserError, WorldError } from '../lib/errors.ts';
import { formatHostPort } from '../lib/ip.ts';
import { planLab, type LabConfig, type LabRequest } from './config.ts';
import { writeKeys } from './keys.ts';
import { createNode, createSwitch, hostLinks, hostRoutes } from './network.ts';
import { kubeconfigFile, labPaths, labRoots, nodeNamespaces, type LabPaths } from './paths.ts';
import { chooseApiPort, requireLabPort, requirePort } from './ports.ts';
import { startAgent, startFakes, startServer } from './components.ts';
import { Progress, type Step } from './progress.ts';
import { askDns, waitForApi, waitForNodes } from './readiness.ts';
import { handedApiPort } from './rights.ts';
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
  // From here on nothing may stay behind, also when somebody presses Control-C.
  using stop = listenForStop();
  claim(lab, paths);
  try {
    await build(lab, paths, progress, stop.signal);
  } catch (error) {
    await removeLab(lab, paths);
    throw error;
  }
  return { lab, kubeconfig: kubeconfigFile(paths), steps: progress.steps, existed: false };
}

/** Aborted by SIGINT, SIGTERM and SIGHUP, with what to tell about it. */
function listenForStop(): Disposable & { readonly signal: AbortSignal } {
  const controller = new AbortController();
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  const stop = (signal: string) =>
    controller.abort(
      new WorldError(
        'INTERRUPTED',
        `Cannot finish: ${signal} came; what was built is removed again`,
      ),
    );
  for (const signal of signals) process.on(signal, stop);
  return {
    signal: controller.signal,
    [Symbol.dispose]: () => {
      for (const signal of signals) process.off(signal, stop);
    },
  };
}

async function decide(request: LabRequest): Promise<LabConfig> {
  const labs = listLabs().map((name) => readLab(labPaths(name)));
  if (request.apiPort !== undefined) await requirePort(request.apiPort);
  const port =
    request.apiPort ?? handedApiPort() ?? (await chooseApiPort(labs.map((lab) => lab.apiPort)));
  return planLab(request, { routes: hostRoutes(), links: hostLinks(), labs }, port);
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

async function build(
  lab: LabConfig,
  paths: LabPaths,
  progress: Progress,
  stop: AbortSignal,
): Promise<void> {
  await progress.step('make keys and certificates', () => writeKeys(lab, paths));
  await progress.step('build the network', async () => {
    mkdirSync(paths.runtime, { recursive: true, mode: 0o755 });
    mountFilesystem({ type: 'tmpfs', target: paths.runtime, data: 'mode=755' });
    createSwitch(lab, paths);
    for (const address of lab.hostIPs) await requireLabPort(address);
  });
  stop.throwIfAborted();
  await progress.step('start server and nodes', () => {
    startServer(paths);
    for (const node of lab.nodes) {
      createNode(lab, node, paths);
      startAgent(paths, node);
    }
  });
  const signal = AbortSignal.any([stop, AbortSignal.timeout(answerWithinMs)]);
  await progress.step('API answers', () => waitForApi(lab, paths, signal));
  await progress.step(
    lab.nodes.length === 1 ? 'node is ready' : `${lab.nodes.length} nodes are ready`,
    () => waitForNodes(lab, paths, signal),
  );
  const { fakes } = lab;
  if (fakes !== undefined) {
    // It fills the cluster while one works with it already.
    await progress.step(`start ${fakes.nodes} fake nodes`, () => startFakes(paths));
  }
  await progress.step(`DNS answers at ${formatHostPort(lab.clusterDns[0]!, 53)}`, () =>
    askDns(lab, signal),
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
  if (lab.fakes !== undefined && dead('fakes')) {
    await progress.step('start the fake nodes again', () => startFakes(paths));
  }
  for (const node of lab.nodes) {
    if (existsSync(nodeNamespaces(paths, node.name).net) && dead(node.name))
      await progress.step(`start the agent of ${node.name} again`, () => startAgent(paths, node));
  }
  if (progress.steps.length > 0) await waitForApi(lab, paths, AbortSignal.timeout(answerWithinMs));
  return { lab, kubeconfig: kubeconfigFile(paths), steps: progress.steps, existed: true };
}
