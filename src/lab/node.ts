/** Nodes as machines: shut down, started, or without power. */
import { UserError } from '../lib/errors.ts';
import type { LabConfig, LabNode } from './config.ts';
import { startAgent } from './components.ts';
import { createNode } from './network.ts';
import { nodeNamespaces, type LabPaths } from './paths.ts';
import { endAll, namespaceInode, signalAll, stopComponent } from './processes.ts';
import { powerOff, processesOfNode } from './teardown.ts';

/** How long the pods of a node that shuts down may take to end. */
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
  await powerOff(lab, node, paths);
}

/** The agent goes first, so that it does not start again what we end. */
export async function stopNode(lab: LabConfig, node: LabNode, paths: LabPaths): Promise<void> {
  requirePower(node, paths, true);
  await stopComponent(paths, node.name, 2000);
  const pids = processesOfNode(node, paths);
  signalAll(pids, 'SIGTERM');
  await endAll(pids, shutdownGraceMs);
  await powerOff(lab, node, paths);
}

export function startNode(lab: LabConfig, node: LabNode, paths: LabPaths): void {
  requirePower(node, paths, false);
  createNode(lab, node, paths);
  startAgent(paths, node);
}

function requirePower(node: LabNode, paths: LabPaths, on: boolean): void {
  if (isPoweredOn(node, paths) === on) return;
  throw new UserError(
    'NODE_POWER',
    `Cannot ${on ? 'stop' : 'start'} node "${node.name}": it is ${on ? 'off' : 'on'} already`,
  );
}
