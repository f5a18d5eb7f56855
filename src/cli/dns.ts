import { runComponent } from './component.ts';
import { reportError } from './report-error.ts';
import { runDns } from '../dns/main.ts';
import { podResolvConf } from '../node/environment/resolv-conf.ts';

/** `fairlead dns`: the cluster's DNS server, as its pods run it, or as a person tries it out. */
export async function run(args: string[]): Promise<void> {
  if (!args.includes('--check'))
    return runComponent('dns', () => runDns(args, process.env, { podResolver: podResolvConf }));
  try {
    await runDns(args);
  } catch (error) {
    process.exitCode = reportError(error);
  }
}
