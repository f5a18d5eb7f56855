/**
 * The `fairlead` command. Each command is a file beside this one, loaded when it is asked for;
 * the components that a lab starts (server, agent, fakes, dns, echo-host) skip the argument parser.
 */
const [name = '', ...args] = process.argv.slice(2);

/** Processes of a lab; a person never types these. */
const components: Record<string, () => Promise<{ run: (args: string[]) => Promise<void> }>> = {
  server: () => import('./server.ts'),
  agent: () => import('./agent.ts'),
  fakes: () => import('./fakes.ts'),
  dns: () => import('./dns.ts'),
  'echo-host': () => import('./echo-host.ts'),
  'demo-client': () => import('./demo-client.ts'),
};

void main();

async function main(): Promise<void> {
  const component = components[name];
  if (component !== undefined && !args.some((arg) => arg === '--help' || arg === '-h')) {
    const { run } = await component();
    await run(args);
  } else {
    const { runProgram } = await import('./program.ts');
    await runProgram(process.argv);
  }
}
