import { ask, type Asker } from '../lab/demo-client.ts';

/** The asking side of the demo, started by it inside a pod's network. */
export async function run(args: string[]): Promise<void> {
  console.log(JSON.stringify(await ask(JSON.parse(args[0] ?? '{}') as Asker)));
}
