/**
 * What clients notice while things happen to the proxy: connections refused, cut, misrouted or late,
 * of 1,000 a second through virtual IPs, from a pod.
 *
 *     npm run bench -- disruption [--per-second 1000] [--lost-seconds 8] [--only NAME] [--json]
 *
 * `--lost-seconds 600` is a node without its API server for ten minutes.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { createHttpClient } from '../src/client/http-client.ts';
import { loadKubeconfig } from '../src/client/kubeconfig.ts';
import type { LabConfig } from '../src/lab/config.ts';
import { runEvents, type World } from './disruption/events.ts';
import { setUp } from './disruption/objects.ts';
import { report } from './report.ts';

const { values: options } = parseArgs({
  options: {
    'per-second': { type: 'string', default: '1000' },
    'lost-seconds': { type: 'string', default: '8' },
    only: { type: 'string' },
    json: { type: 'boolean', default: false },
  },
});
const program = join(import.meta.dirname, '..', 'bin', 'fairlead');
const home = mkdtempSync(join(tmpdir(), 'fairlead-bench-'));
process.env.FAIRLEAD_ROOT = join(home, 'root');

try {
  const up = run('up', '--nodes', '2', '--json');
  const { lab, kubeconfig } = JSON.parse(up) as { lab: LabConfig; kubeconfig: string };
  try {
    using client = createHttpClient(await loadKubeconfig(kubeconfig));
    const world: World = {
      lab,
      client,
      perSecond: Number(options['per-second']),
      lostSeconds: Number(options['lost-seconds']),
      ...(await setUp(client)),
    };
    report('disruption', await runEvents(world, options.only), options.json);
  } finally {
    run('down');
  }
} finally {
  rmSync(home, { recursive: true, force: true });
}

function run(...args: string[]): string {
  const result = spawnSync(program, args, { encoding: 'utf8' });
  if (result.status !== 0) throw new Error(`fairlead ${args.join(' ')} failed: ${result.stderr}`);
  return result.stdout;
}
