/** Taking things down, whatever state they are in; every part may be gone already. */
import { existsSync, readdirSync, readFileSync, rmdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { unmount } from '../kernel/ffi/mount.ts';
import { WorldError } from '../lib/errors.ts';
import type { LabConfig, LabNode } from './config.ts';
import { removeBalancerHost, removeNode, removeSwitch } from './network.ts';
import { nodeNamespaces, nodeRuntimeDir, ownRoot, type LabPaths } from './paths.ts';
import {
  endAll,
  findComponent,
  isAlive,
  namespaceInode,
  processesIn,
  processesOfLab,
  signalAll,
} from './processes.ts';

/** Leaves nothing of the lab on the host. */
export async function removeLab(lab: LabConfig, paths: LabPaths): Promise<void> {
  // Not by their pid files: an "up" that was killed may have started what has not written one yet.
  const stuck = [
    ...(await killAllOf(() => processesOfLab(paths))),
    ...(await killAllOf(() => lab.nodes.flatMap((node) => processesOfNode(node, paths)))),
  ];
  for (const node of lab.nodes) removeNode(node, paths);
  removeBalancerHost(paths);
  removeSwitch(lab, paths);
  removeFiles(paths);
  complainOf(stuck);
}

/** Removes what can be found of a lab whose configuration is not there or cannot be read. */
export async function removeRemains(paths: LabPaths): Promise<void> {
  const stuck = await killAllOf(() => processesOfLab(paths));
  removeFiles(paths);
  complainOf(stuck);
}

function complainOf(stuck: readonly number[]): void {
  if (stuck.length === 0) return;
  throw new WorldError(
    'PROCESS_STUCK',
    `Cannot end processes ${stuck.join(', ')} of the lab: they do not go although they are killed; all else of it is removed`,
  );
}

/** Cuts the power of a node: its processes, its pods, its link and its namespaces go at once. */
export async function powerOff(node: LabNode, paths: LabPaths): Promise<void> {
  const { supervisor, main } = findComponent(paths, node.name);
  const first = [supervisor, main].filter((pid) => pid !== undefined);
  signalAll(first, 'SIGKILL');
  await killAll([...first, ...processesOfNode(node, paths)]);
  removeNode(node, paths);
  const dir = nodeRuntimeDir(paths, node.name);
  unmountBelow(dir);
  rmSync(dir, { recursive: true, force: true });
}

/** Again until none is left: one may have started another between the look and the kill. Returns those that stay. */
async function killAllOf(look: () => number[]): Promise<number[]> {
  const stuck = new Set<number>();
  const fresh = () => look().filter((pid) => !stuck.has(pid));
  for (let pids = fresh(); pids.length > 0; pids = fresh()) {
    for (const pid of await killAll(pids)) stuck.add(pid);
  }
  return [...stuck];
}

async function killAll(pids: readonly number[]): Promise<number[]> {
  signalAll(pids, 'SIGKILL');
  return await endAll(pids, 0);
}

/** Everything that runs in the node's network or in that of one of its pods. */
export function processesOfNode(node: LabNode, paths: LabPaths): number[] {
  const pods = join(nodeRuntimeDir(paths, node.name), 'pods');
  const files = existsSync(pods) ? readdirSync(pods).map((uid) => join(pods, uid, 'net')) : [];
  const inodes = [nodeNamespaces(paths, node.name).net, ...files]
    .map(namespaceInode)
    .filter((inode) => inode !== undefined);
  return processesIn(new Set(inodes)).filter((pid) => pid !== process.pid && isAlive(pid));
}

function removeFiles(paths: LabPaths): void {
  for (const dir of [paths.runtime, paths.state]) {
    unmountBelow(dir);
    rmSync(dir, { recursive: true, force: true });
    removeEmpty(dirname(dir));
  }
  const own = ownRoot();
  if (own !== undefined) removeEmpty(own);
}

/** The innermost first. */
function unmountBelow(dir: string): void {
  const points = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((point) => point === dir || point.startsWith(`${dir}/`));
  for (const point of points.toSorted((a, b) => b.length - a.length)) unmount(point);
}

function removeEmpty(dir: string): void {
  if (!existsSync(dir) || readdirSync(dir).length > 0) return;
  try {
    rmdirSync(dir);
  } catch (error) {
    // Somebody else's mount: a disk given to labs, say.
    if ((error as NodeJS.ErrnoException).code !== 'EBUSY') throw error;
  }
}
