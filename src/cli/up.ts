import { upWithoutRoot } from '../lab/rights.ts';
import { UserError } from '../lib/errors.ts';
import { up as bringUp, type UpResult } from '../lab/up.ts';
import type { IpFamilyChoice, LabConfig, LabRequest, LoadBalancerChoice } from '../lab/config.ts';
import type { Step } from '../lab/progress.ts';

export type UpOptions = {
  name: string;
  nodes: number;
  ipFamily: IpFamilyChoice;
  serviceCidr?: string[];
  podCidr?: string[];
  loadBalancer: LoadBalancerChoice;
  loadBalancerCidr?: string[];
  apiPort?: number;
  fakeNodes?: number;
  fakePods?: number;
  fakeServices?: number;
  json?: boolean;
};

/** `fairlead up`; `isGiven` tells what was typed from what is only a default. */
export async function up(
  options: UpOptions,
  isGiven: (name: keyof UpOptions) => boolean,
): Promise<void> {
  if ((await upWithoutRoot(options, process.argv.slice(2))) === 'inside') return;
  const say = (text: string) => options.json !== true && console.log(text);
  const result = await bringUp(
    {
      name: options.name,
      nodes: options.nodes,
      ipFamily: options.ipFamily,
      ...(options.serviceCidr === undefined ? {} : { serviceCidrs: options.serviceCidr }),
      ...(options.podCidr === undefined ? {} : { podCidrs: options.podCidr }),
      loadBalancer: options.loadBalancer,
      ...(options.loadBalancerCidr === undefined
        ? {}
        : { loadBalancerCidrs: options.loadBalancerCidr }),
      ...(options.apiPort === undefined ? {} : { apiPort: options.apiPort }),
      ...fakesOf(options),
    },
    (step) => say(stepText(step)),
  );
  if (options.json === true) console.log(JSON.stringify(resultJson(result)));
  else console.log(resultText(result));
  const passedOver = result.existed ? flagsPassedOver(options, result.lab, isGiven) : [];
  if (passedOver.length > 0) {
    console.error(
      `\nIt stays as it was brought up: ${passedOver.join(', ')} changes nothing. To change it, take it down first.`,
    );
  }
}

/** Flags that ask for something else than the lab that runs has. */
function flagsPassedOver(
  options: UpOptions,
  lab: LabConfig,
  isGiven: (name: keyof UpOptions) => boolean,
): string[] {
  const has: Partial<Record<keyof UpOptions, unknown>> = {
    nodes: lab.nodes.length,
    ipFamily: lab.families.length > 1 ? 'dual' : lab.families[0],
    serviceCidr: lab.serviceCidrs,
    podCidr: lab.podCidrs,
    loadBalancer: lab.balancer?.kind ?? 'none',
    loadBalancerCidr: lab.balancer?.cidrs,
    apiPort: lab.apiPort,
    fakeNodes: lab.fakes?.nodes ?? 0,
    fakePods: lab.fakes?.pods ?? 0,
    fakeServices: lab.fakes?.services ?? 0,
  };
  return (Object.keys(has) as (keyof UpOptions)[])
    .filter((name) => isGiven(name) && String(options[name]) !== String(has[name]))
    .map(
      (name) =>
        `--${name.replaceAll(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)} ${String(options[name])}`,
    );
}

function fakesOf({ fakeNodes, fakePods, fakeServices }: UpOptions): Pick<LabRequest, 'fakes'> {
  if (fakeNodes === undefined) {
    if (fakePods === undefined && fakeServices === undefined) return {};
    throw new UserError('BAD_FLAG', 'Cannot make fake pods: there are no fake nodes for them', {
      hint: 'Add --fake-nodes <count>',
    });
  }
  return {
    fakes: {
      nodes: fakeNodes,
      ...(fakePods === undefined ? {} : { pods: fakePods }),
      ...(fakeServices === undefined ? {} : { services: fakeServices }),
    },
  };
}

function stepText(step: Step): string {
  return `  ${step.name.padEnd(34)} ${step.ms.toFixed(0).padStart(5)} ms`;
}

function resultJson({ lab, kubeconfig, steps, existed }: UpResult): unknown {
  return { lab, kubeconfig, existed, steps, server: `https://127.0.0.1:${lab.apiPort}` };
}

function resultText({ lab, kubeconfig, steps, existed }: UpResult): string {
  const total = (steps.at(-1)?.sinceStartMs ?? 0) / 1000;
  const flag = lab.name === 'lab' ? '' : ` --name ${lab.name}`;
  const nodes = `${lab.nodes.length} ${lab.nodes.length === 1 ? 'node' : 'nodes'}`;
  const head = existed
    ? `Lab "${lab.name}" is up already, with ${nodes}${steps.length > 0 ? '; what had died runs again' : ''}.`
    : `Lab "${lab.name}" is up with ${nodes}, in ${total.toFixed(2)} s.`;
  return [
    head,
    '',
    `  export KUBECONFIG=${kubeconfig}`,
    '  kubectl get pods -A -o wide',
    `  bin/fairlead demo${flag}`,
    `  bin/fairlead down${flag}`,
  ].join('\n');
}
