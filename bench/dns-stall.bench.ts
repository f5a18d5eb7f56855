/**
 * The five-second stall: half a million times A and AAAA at once from one socket, from a pod, through
 * the virtual IP of a lab's DNS (kubernetes#56903: both packets race for a conntrack entry, one is
 * lost, and the resolver waits for 5 s). `--pairs N` for another count.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import type { LabConfig } from '../src/lab/config.ts';
import { labPaths, nodeNamespaces } from '../src/lab/paths.ts';
import type { Pairs, PairsSeen } from '../test/e2e/name-pairs.ts';
import { report, type Figure } from './report.ts';

const { values: flags } = parseArgs({
  options: { pairs: { type: 'string', default: '500000' }, json: { type: 'boolean' } },
});
const program = join(import.meta.dirname, '..', 'bin', 'fairlead');
const script = join(import.meta.dirname, '..', 'test', 'e2e', 'name-pairs.ts');
const home = mkdtempSync(join(tmpdir(), 'fairlead-bench-'));
process.env.FAIRLEAD_ROOT = join(home, 'root');
try {
  const { lab } = JSON.parse(run('up', '--nodes', '2', '--json')) as { lab: LabConfig };
  try {
    report('dns-stall', measure(lab), flags.json ?? false);
  } finally {
    run('down');
  }
} finally {
  rmSync(home, { recursive: true, force: true });
}

/** From a node: its packets meet the same rules as a pod's. */
function measure(lab: LabConfig): Figure[] {
  const asked: Pairs = {
    server: lab.clusterDns[0]!,
    name: 'kubernetes.default.svc.cluster.local',
    count: Number(flags.pairs),
    parallel: 64,
  };
  const { net } = nodeNamespaces(labPaths(lab.name), lab.nodes[0]!.name);
  const command = [`--net=${net}`, '--', process.execPath, script, JSON.stringify(asked)];
  const started = performance.now();
  const seen = JSON.parse(execFileSync('nsenter', command, { encoding: 'utf8' })) as PairsSeen;
  const seconds = (performance.now() - started) / 1000;
  return [
    { name: 'pairs of A and AAAA at once from one socket', value: seen.asked, unit: '' },
    {
      name: 'of them without both answers after 2.5 s',
      value: seen.stalled,
      unit: '',
      goal: '= 0',
    },
    { name: 'slowest pair', value: seen.slowestMs, unit: 'ms' },
    { name: 'queries', value: (seen.asked * 2) / seconds, unit: '1/s' },
  ];
}

function run(...args: string[]): string {
  const result = spawnSync(program, args, { encoding: 'utf8' });
  if (result.status !== 0) throw new Error(`fairlead ${args.join(' ')} failed: ${result.stderr}`);
  return result.stdout;
}
