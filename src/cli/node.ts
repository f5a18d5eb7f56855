import { findNode, killNode, startNode, stopNode } from '../lab/node.ts';
import { labPaths } from '../lab/paths.ts';
import { runWhereLabLives } from '../lab/rights.ts';
import { readLab } from '../lab/state.ts';

const did = { stop: 'is shut down', start: 'is starting', kill: 'lost its power' } as const;

/** `fairlead node stop|start|kill NODE` */
export async function node(
  verb: 'stop' | 'start' | 'kill',
  name: string,
  options: { name: string },
): Promise<void> {
  if ((await runWhereLabLives(options.name, process.argv.slice(2))) === 'inside') return;
  const paths = labPaths(options.name);
  const lab = readLab(paths);
  const found = findNode(lab, name);
  if (verb === 'stop') await stopNode(lab, found, paths);
  else if (verb === 'kill') await killNode(lab, found, paths);
  else await startNode(lab, found, paths);
  console.log(`Node "${name}" of lab "${options.name}" ${did[verb]}. See: kubectl get nodes -w`);
}
