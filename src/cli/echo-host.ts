import { runEchoHost } from '../node/images/echo-host.ts';

/** Serves every `fairlead/echo` container of a node; started by the runtime with the path of its socket. */
export async function run(args: string[]): Promise<void> {
  await Promise.resolve(runEchoHost(args[0] ?? ''));
}
