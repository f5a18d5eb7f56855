import { parseComponentArgs, runComponent } from './component.ts';
import { runServer } from '../lab/server.ts';

/** The server process of a lab. */
export async function run(args: string[]): Promise<void> {
  const { paths } = parseComponentArgs(args);
  await runComponent('server', () => runServer(paths));
}
