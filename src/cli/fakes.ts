import { parseComponentArgs, runComponent } from './component.ts';
import { runFakes } from '../lab/fakes.ts';

/** The process that stands for a lab's fake nodes. */
export async function run(args: string[]): Promise<void> {
  const { paths } = parseComponentArgs(args);
  await runComponent('fakes', () => runFakes(paths));
}
