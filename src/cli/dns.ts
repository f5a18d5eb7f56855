import { runComponent } from './component.ts';
import { runDns } from '../dns/main.ts';

/** `fairlead dns`: the cluster's DNS server, as its pods run it. */
export async function run(args: string[]): Promise<void> {
  await runComponent('dns', () => runDns(args));
}
