import { labPaths } from '../lab/paths.ts';
import { runWhereLabLives } from '../lab/rights.ts';
import { listLabs, readLab } from '../lab/state.ts';
import { labStatus, type BalancerStatus, type LabStatus } from '../lab/status.ts';

/** `fairlead status` */
export async function status(options: { name?: string; json?: boolean }): Promise<void> {
  const names = options.name === undefined ? listLabs() : [options.name];
  const flags = options.json === true ? ['--json'] : [];
  const labs: LabStatus[] = [];
  for (const name of names) {
    if ((await runWhereLabLives(name, ['status', '--name', name, ...flags])) === 'inside') continue;
    labs.push(await labStatus(readLab(labPaths(name)), labPaths(name)));
  }
  if (options.json === true && labs.length === names.length) console.log(JSON.stringify({ labs }));
  else if (names.length === 0)
    console.log('There is no lab on this machine. Bring one up: fairlead up');
  else if (labs.length > 0) console.log(labs.map(statusText).join('\n\n'));
}

function statusText(lab: LabStatus): string {
  const megabytes = (bytes: number) => `${(bytes / 1_048_576).toFixed(0)} MB`;
  const ready = (value: boolean | undefined) =>
    value === undefined ? '' : value ? 'Ready' : 'NotReady';
  const rows = lab.components.map((part) => [
    part.name,
    part.state,
    ready(part.ready),
    String(part.pid ?? '-'),
    megabytes(part.pssBytes),
    part.addresses.join(' '),
  ]);
  const head = ['COMPONENT', 'STATE', 'NODE', 'PID', 'MEMORY', 'ADDRESS'];
  const widths = head.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => row[column]!.length)),
  );
  const table = [head, ...rows].map(
    (row) =>
      `  ${row
        .map((cell, column) => cell.padEnd(widths[column]!))
        .join('  ')
        .trimEnd()}`,
  );
  return [
    `Lab "${lab.name}": ${lab.apiProblem === undefined ? `API at ${lab.api}` : `the API at ${lab.api} does not answer: ${lab.apiProblem}`}`,
    ...table,
    `  pods: ${lab.pods.ready} of ${lab.pods.total} ready; memory of everything: ${megabytes(lab.pssBytes)}`,
    ...(lab.balancer === undefined ? [] : balancerText(lab.balancer)),
    `  export KUBECONFIG=${lab.kubeconfig}`,
  ].join('\n');
}

function balancerText({ kind, ips, cidrs, addresses }: BalancerStatus): string[] {
  const where =
    kind === 'edge' ? `edge at ${ips.join(' ')}` : 'layer2, a node answers for each address';
  const width = Math.max(0, ...addresses.map(({ address }) => address.length));
  return [
    `  load balancer: ${where}, addresses from ${cidrs.join(' ')}${addresses.length === 0 ? ', none given yet' : ''}`,
    ...addresses.map(
      ({ address, services }) => `    ${address.padEnd(width)}  ${services.join(' ')}`,
    ),
  ];
}
