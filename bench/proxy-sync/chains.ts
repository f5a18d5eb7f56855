/** The usual layout, a chain per Service, loaded through nft(8): what shared maps are measured against. */
import { spawnSync } from 'node:child_process';
import { quantile, type Figure } from '../report.ts';
import { flushRuleset } from './contestants.ts';
import { clusterSlice, serviceAddress, type Size } from './objects.ts';

const ROUNDS = 5;

export function measureChains(size: Size): Figure[] {
  flushRuleset();
  const services = Array.from({ length: size.services }, (_, index) => index);
  const cold = load(`${frame()}${services.map((index) => addService(index, size)).join('')}`);
  const changed: number[] = [];
  const added: number[] = [];
  const removed: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const chain = `ip chains service-${round}`;
    changed.push(load(`flush chain ${chain}\nadd rule ${chain} ${choose(round, size, 1)}\n`));
    const extra = size.services + round;
    added.push(load(addService(extra, size)));
    removed.push(load(removeService(extra)));
  }
  flushRuleset();
  const label = `a chain per Service through nft, ${size.services} x ${size.endpoints}`;
  const median = (samples: number[]) =>
    quantile(
      samples.toSorted((a, b) => a - b),
      0.5,
    );
  return [
    { name: `${label}: cold start`, value: cold / 1000, unit: 's' },
    { name: `${label}: one endpoint changed, median of 5`, value: median(changed), unit: 'ms' },
    { name: `${label}: one Service added, median of 5`, value: median(added), unit: 'ms' },
    { name: `${label}: one Service removed, median of 5`, value: median(removed), unit: 'ms' },
  ];
}

function frame(): string {
  return `
    add table ip chains
    add map ip chains services { type ipv4_addr . inet_proto . inet_service : verdict; }
    add chain ip chains dispatch
    add rule ip chains dispatch ip daddr . meta l4proto . th dport vmap @services
    add chain ip chains prerouting { type nat hook prerouting priority -100; }
    add rule ip chains prerouting jump dispatch
    add chain ip chains output { type nat hook output priority -100; }
    add rule ip chains output jump dispatch
  `;
}

function addService(index: number, size: Size): string {
  const chain = `service-${index}`;
  return `add chain ip chains ${chain}
    add rule ip chains ${chain} ${choose(index, size, 0)}
    add element ip chains services { ${serviceAddress(index)} . tcp . 80 : goto ${chain} }
  `;
}

function removeService(index: number): string {
  const chain = `service-${index}`;
  return `delete element ip chains services { ${serviceAddress(index)} . tcp . 80 }
    flush chain ip chains ${chain}
    delete chain ip chains ${chain}
  `;
}

function choose(index: number, size: Size, generation: number): string {
  const { endpoints } = clusterSlice(index, size, generation);
  const targets = endpoints.map((one, at) => `${at} : ${one.addresses[0]} . 8080`);
  return `meta l4proto tcp dnat ip addr . port to numgen random mod ${endpoints.length} map { ${targets.join(', ')} }`;
}

/** Milliseconds. */
function load(text: string): number {
  const startedAt = performance.now();
  const { status, stderr } = spawnSync('nft', ['-f', '-'], { input: text, encoding: 'utf8' });
  if (status !== 0) throw new Error(`nft failed: ${stderr.slice(0, 500)}`);
  return performance.now() - startedAt;
}
