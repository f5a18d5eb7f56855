/**
 * What it costs to keep the kernel in step with Services: cold start, single changes, many at once, a
 * restart; beside us a chain per Service and, where its binary is, kube-proxy.
 *
 *     npm run bench -- proxy-sync [--size 5000x50]… [--ours] [--full] [--cpu-prof] [--json]
 *
 * By default the others get 1,000 Services, since they need minutes for more; `--full` gives them all.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { messageOf } from '../src/lib/errors.ts';
import { measureChains } from './proxy-sync/chains.ts';
import { bundleOurs, kubeProxies, ours } from './proxy-sync/contestants.ts';
import { measure } from './proxy-sync/measure.ts';
import type { Size } from './proxy-sync/objects.ts';
import { report, type Figure } from './report.ts';

const { values: options } = parseArgs({
  options: {
    size: { type: 'string', multiple: true, default: ['1000x2', '10000x2', '44000x2', '5000x50'] },
    ours: { type: 'boolean', default: false },
    full: { type: 'boolean', default: false },
    'cpu-prof': { type: 'boolean', default: false },
    'heap-prof': { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
});
const OTHERS_SERVICES_MAX = 1000;

const home = mkdtempSync(join(tmpdir(), 'fairlead-bench-'));
const figures: Figure[] = [];
await bundleOurs();
try {
  for (const size of options.size.map(parseSize)) await measureSize(size);
} finally {
  rmSync(home, { recursive: true, force: true });
}
report('proxy-sync', figures, options.json);

async function measureSize(size: Size): Promise<void> {
  figures.push(...(await measure(ours, { size, rounds: { changes: 200, services: 50 }, home })));
  if (options.ours || (!options.full && size.services > OTHERS_SERVICES_MAX)) return;
  figures.push(...measureChains(size));
  for (const contestant of kubeProxies()) {
    try {
      const rounds = { changes: 20, services: 5 };
      figures.push(...(await measure(contestant, { size, rounds, home })));
    } catch (error) {
      // On a machine that is busy enough it never gets done; what the others took still counts.
      console.error(`${contestant.name} at ${size.services} Services: ${messageOf(error)}`);
    }
  }
}

function parseSize(text: string): Size {
  const [services, endpoints] = text.split('x').map(Number);
  if (!services || !endpoints) {
    console.error(`Cannot read size "${text}": it is not like 5000x50`);
    process.exit(2);
  }
  return { services, endpoints };
}
