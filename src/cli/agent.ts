import { parseComponentArgs, runComponent } from './component.ts';
import { runAgent } from '../lab/agent.ts';
import { version } from '../lib/version.ts';

/** The process of a node. */
export async function run(args: string[]): Promise<void> {
  const { paths, node } = parseComponentArgs(args);
  await runComponent(node, () => runAgent(paths, node, version));
}
