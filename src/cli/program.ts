/** The commands a person types, their help and how a failure is shown. */
import { Argument, Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { defineDns } from './dns-command.ts';
import { defineProxy } from './proxy-command.ts';
import { version } from '../lib/version.ts';
import { reportError } from './report-error.ts';

/** Exit codes: 1 the world said no, 2 the person can fix it. */
export async function runProgram(argv: string[]): Promise<void> {
  const program = createProgram();
  try {
    await program.parseAsync(argv);
  } catch (error) {
    process.exitCode = report(error);
  }
}

export function createProgram(): Command {
  const program = new Command('fairlead')
    .description('Kubernetes Services for any Linux machine')
    .showHelpAfterError('Type fairlead --help for what there is')
    .exitOverride()
    .configureHelp({ sortSubcommands: false, showGlobalOptions: false });

  program
    .command('up')
    .description('Bring a cluster up on this machine')
    .option('--name <name>', 'what the lab is called', 'lab')
    .option('--nodes <count>', 'how many nodes', wholeNumber, 3)
    .addOption(
      new Option('--ip-family <family>', 'of nodes, pods and Services')
        .choices(['ipv4', 'ipv6', 'dual'])
        .default('ipv4'),
    )
    .option(
      '--service-cidr <cidrs>',
      'addresses of Services, one range per family, comma-separated',
      list,
    )
    .option('--pod-cidr <cidrs>', 'addresses of pods, one range per family, comma-separated', list)
    .addOption(
      new Option('--load-balancer <kind>', 'who answers for Services of type LoadBalancer')
        .choices(['edge', 'layer2', 'none'])
        .default('edge'),
    )
    .option(
      '--load-balancer-cidr <cidrs>',
      'addresses for them, one range per family, comma-separated',
      list,
    )
    .option(
      '--api-port <port>',
      'port of the API on loopback (default: the first free from 6443)',
      portNumber,
    )
    .option('--fake-nodes <count>', 'nodes in the API alone, to see a large cluster', wholeNumber)
    .option('--fake-pods <count>', 'pods on them', wholeNumber)
    .option('--fake-services <count>', 'Services of these pods (default: one for 50)', wholeNumber)
    .option('--json', 'print what there is as JSON')
    .action(async (options, command: Command) =>
      (await import('./up.ts')).up(options, (name) => command.getOptionValueSource(name) === 'cli'),
    );

  program
    .command('down')
    .description('Take a cluster down, without a trace')
    .option('--name <name>', 'which lab', 'lab')
    .option('--all', 'every lab of this machine')
    .option('--json', 'print what was removed as JSON')
    .action(async (options) => (await import('./down.ts')).down(options));

  program
    .command('status')
    .description('Show what runs, and what does not')
    .option('--name <name>', 'only this lab')
    .option('--json', 'print as JSON')
    .action(async (options) => (await import('./status.ts')).status(options));

  program
    .command('kubeconfig')
    .description('Print the path of the kubeconfig')
    .option('--name <name>', 'which lab', 'lab')
    .action(async (options) => (await import('./kubeconfig.ts')).kubeconfig(options));

  program
    .command('demo')
    .description('Show every kind of Service at work, with real requests')
    .option('--name <name>', 'which lab', 'lab')
    .option('--clean', 'remove the demo instead')
    .option('--json', 'print what was seen as JSON')
    .action(async (options) => (await import('./demo.ts')).demo(options));

  program
    .command('logs <component>')
    .description('Print the log of the server, or of a node by its name')
    .option('--name <name>', 'which lab', 'lab')
    .option('-f, --follow', 'go on printing')
    .option('--tail <lines>', 'only the last lines', wholeNumber)
    .action(async (name, options) => (await import('./logs.ts')).logs(name, options));

  const node = program
    .command('node')
    .description('Stop, start or kill a node, as a machine would be');
  for (const verb of ['stop', 'start', 'kill'] as const) {
    const what = {
      stop: 'Shut a node down: its pods are asked to end, then it is off',
      start: 'Start a node that was stopped or killed',
      kill: 'Cut the power of a node: everything on it ends at once',
    }[verb];
    node
      .command(`${verb} <node>`)
      .description(what)
      .option('--name <name>', 'which lab', 'lab')
      .action(async (name, options) => (await import('./node.ts')).node(verb, name, options));
  }

  defineProxy(program.command('proxy'));
  defineDns(program.command('dns'));

  program
    .command('dns-explain <name>')
    .description('Say what becomes of a name typed in a pod: questions, answers, and why')
    .option('--pod <pod>', 'the pod it is typed in, NAME or NAMESPACE/NAME')
    .option('-n, --namespace <namespace>', 'of the pod, or of any pod (default: of the kubeconfig)')
    .option('--type <types>', 'types of records, comma-separated (default: A,AAAA)', list)
    .option('--domain <domain>', 'the cluster domain (default: of the Corefile, or cluster.local)')
    .option('--kubeconfig <file>', 'which cluster (default: KUBECONFIG, or the lab)')
    .option('--name <name>', 'which lab', 'lab')
    .option('--json', 'print as JSON')
    .addHelpText(
      'after',
      `
Exit codes: 0 the name has an address; 1 it has none; 2 a flag is wrong.

Examples:
  fairlead dns-explain web.shop                   as typed in any pod of the namespace
  fairlead dns-explain db-0.db --pod shop/client --type A,SRV
  fairlead dns-explain web --kubeconfig ~/.kube/config --json`,
    )
    .action(async (name, options) => (await import('./dns-explain.ts')).dnsExplain(name, options));

  program
    .command('version')
    .description('Print the version')
    .option('--json', 'print as JSON')
    .action((options) => {
      const text = { version, node: process.version, platform: `linux/${process.arch}` };
      console.log(
        options.json ? JSON.stringify(text) : `fairlead ${version} (Node ${process.version})`,
      );
    });

  program
    .command('completion')
    .addArgument(new Argument('<shell>', 'which shell').choices(['bash', 'zsh', 'fish']))
    .description('Print completion for a shell, to be sourced: source <(fairlead completion bash)')
    .action(async (shell) =>
      console.log((await import('./completion.ts')).completionScript(shell)),
    );

  program
    .command('complete', { hidden: true })
    .argument('[words...]', 'what was typed after "fairlead"')
    .action(async (words) => {
      const { candidates } = await import('./completion.ts');
      console.log(candidates(program, words).join('\n'));
    });

  program.addHelpText(
    'after',
    `
Examples:
  fairlead up --nodes 3                 three nodes, ready in about a second
  export KUBECONFIG=$(fairlead kubeconfig)
  kubectl get pods -A
  fairlead demo                         every kind of Service, with real requests
  fairlead down                         leaves nothing behind`,
  );
  return program;
}

function report(error: unknown): number {
  if (error instanceof CommanderError) {
    // Commander has printed it already; its code is 0 for help and version.
    return error.exitCode === 0 ? 0 : 2;
  }
  return reportError(error);
}

function wholeNumber(text: string): number {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError(`"${text}" is no whole number.`);
  return Number(text);
}

function portNumber(text: string): number {
  const port = wholeNumber(text);
  if (port < 1 || port > 65_535)
    throw new InvalidArgumentError(`"${text}" is no port, it must be between 1 and 65535.`);
  return port;
}

function list(text: string): string[] {
  return text.split(',').map((entry) => entry.trim());
}
