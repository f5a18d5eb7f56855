/** The command line of `fairlead proxy`: kube-proxy's flags where they mean the same. */
import { Option, type Command } from 'commander';
import { fields, flags } from '../proxy/standalone/fields.ts';
import type { FlagValues } from '../proxy/standalone/config.ts';

/** Gives the command its flags; what it does is loaded when it is asked for. */
export function defineProxy(command: Command): void {
  command
    .description('Keep the Service rules of this machine, in the place of kube-proxy')
    .option('--config <file>', 'a KubeProxyConfiguration; flags override it')
    .addOption(
      new Option(
        '--cleanup [whose]',
        'remove rules and end: all (default) or own, without those of kube-proxy',
      )
        .choices(['all', 'own'])
        .preset('all'),
    )
    .option('--init-only', 'set the kernel up, and end');
  for (const { flag, field, value, help } of flags) {
    const argument = 'isBoolean' in fields[field] ? '[true|false]' : `<${value ?? 'value'}>`;
    command.addOption(new Option(`--${flag} ${argument}`, help));
  }
  command.addHelpText('after', notes).action(async (options: Record<string, string>) => {
    const given: FlagValues = Object.fromEntries(
      flags.map(({ flag }) => [flag, options[camelCase(flag)]]),
    );
    await (await import('./proxy.ts')).proxy(options, given);
  });
}

/** As commander names what it parsed. */
function camelCase(flag: string): string {
  return flag.replaceAll(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

const notes = `
It follows the API server that the kubeconfig names and needs nothing else of Fairlead. Ending it, or
kill -9, leaves rules and connections as they are; a later start takes them over.

Exit codes: 0 ended by a signal, or done; 1 the machine or the network said no; 2 a flag or the
configuration is wrong.

Examples:
  fairlead proxy --kubeconfig /etc/kubernetes/proxy.conf --cluster-cidr 10.244.0.0/16
  fairlead proxy --config /var/lib/kube-proxy/config.conf
  curl localhost:10256/healthz; curl localhost:10249/metrics
  fairlead proxy --cleanup                take every rule away again
  fairlead proxy --cleanup own            the same once kube-proxy is back at work`;
