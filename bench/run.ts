/**
 * `npm run bench -- NAME [--json]`: runs bench/NAME.bench.ts in a network without an uplink, so that
 * no packet can leave the machine.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, globSync } from 'node:fs';
import { basename, join } from 'node:path';

const [name = '', ...rest] = process.argv.slice(2);
const file = join(import.meta.dirname, `${name}.bench.ts`);
if (name === '' || !existsSync(file)) {
  const names = globSync(join(import.meta.dirname, '*.bench.ts')).map((entry) =>
    basename(entry, '.bench.ts'),
  );
  console.error(`Cannot run bench "${name}": there are ${names.toSorted().join(', ')}`);
  console.error('  npm run bench -- NAME [--json]');
  process.exit(2);
}
const isolated = [
  '--net',
  '--mount',
  '--propagation',
  'private',
  // Whatever it started ends with it, if somebody ends it before its time.
  '--pid',
  '--fork',
  '--kill-child',
  '--mount-proc',
  '--',
  'sh',
  '-c',
  'ip link set lo up && exec "$@"',
  'sh',
];
const result = spawnSync('unshare', [...isolated, process.execPath, file, ...rest], {
  stdio: 'inherit',
});
process.exit(result.status ?? 1);
