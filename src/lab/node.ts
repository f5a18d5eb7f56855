/** Nodes as machines: shut down, started, or without power. */
import type { Client } from '../client/client.ts';
import { createHttpClient } from '../client/http-client.ts';
import { loadKubeconfig } from '../client/kubeconfig.ts';
import { messageOf, UserError } from '../lib/errors.ts';
import type { LabConfig, LabNode } from './config.ts';
import { startAgent } from './components.ts';
import { drainNode, releaseNode } from './drain.ts';
import { createNode, routeServices } from './network.ts';
import { kubeconfigFile, nodeNamespaces, type LabPaths } from './paths.ts';
import { endAll, namespaceInode, signalAll, stopComponent } from './processes.ts';
import { powerOff, processesOfNode } from './teardown.ts';

/** How long the pods of a node may take to move elsewhere before it shuts down. */
const drainWithinMs = 40_000;
/** How long those that stayed may take to end. */
const shutdownGraceMs = 5000;

export function findNode(lab: LabConfig, name: string): LabNode {
  const node = lab.nodes.find((entry) => entry.name === name);
  if (node !== undefined) return node;
  throw new UserError(
    'NO_SUCH_NODE',
    `Cannot find node "${name}": lab "${lab.name}" has no such node`,
    {
      hint: `It has: ${lab.nodes.map((entry) => entry.name).join(', ')}`,
    },
  );
}

export function isPoweredOn(node: LabNode, paths: LabPaths): boolean {
  return namespaceInode(nodeNamespaces(paths, node.name).net) !== undefined;
}

export async function killNode(lab: LabConfig, node: LabNode, paths: LabPaths): Promise<void> {
  requirePower(node, paths, true);
  await powerOff(node, paths);
  routeServicesAnew(lab, paths);
}

/** Its pods move first; then the agent ends, so that it does not start again what we end. */
export async function stopNode(lab: LabConfig, node: LabNode, paths: LabPaths): Promise<void> {
  requirePower(node, paths, true);
  await withClient(paths, (client) => drainNode(client, node.name, drainWithinMs));
  routeServicesAnew(lab, paths, node);
  await stopComponent(paths, node.name, 2000);
  const pids = processesOfNode(node, paths);
  signalAll(pids, 'SIGTERM');
  await endAll(pids, shutdownGraceMs);
  await powerOff(node, paths);
}

export async function startNode(lab: LabConfig, node: LabNode, paths: LabPaths): Promise<void> {
  requirePower(node, paths, false);
  createNode(lab, node, paths);
  startAgent(paths, node);
  routeServicesAnew(lab, paths);
  await withClient(paths, (client) => releaseNode(client, node.name));
}

/** A power switch works without the API too, if not as gently. */
async function withClient(paths: LabPaths, work: (client: Client) => Promise<void>): Promise<void> {
  using client = createHttpClient(await loadKubeconfig(kubeconfigFile(paths)));
  try {
    await work(client);
  } catch (error) {
    console.error(`The API does not help, so its pods are not moved: ${messageOf(error)}`);
  }
}

/** The host reaches virtual IPs by way of the first node that has power. */
function routeServicesAnew(lab: LabConfig, paths: LabPaths, leaving?: LabNode): void {
  const first = lab.nodes.find((node) => node !== leaving && isPoweredOn(node, paths));
  if (first !== undefined) routeServices(lab, first);
}

function requirePower(node: LabNode, paths: LabPaths, on: boolean): void {
  if (isPoweredOn(node, paths) === on) return;
  throw new UserError(
    'NODE_POWER',
    `Cannot ${on ? 'stop' : 'start'} node "${node.name}": it is ${on ? 'off' : 'on'} already`,
  );
}
