/**
 * Runs every test: the checks, the unit tests in one process, then each file of test/kernel and
 * test/e2e in a process of its own, two at a time, each inside a network without an uplink so that no
 * packet can leave the machine. Ends with `N passed, N failed`. Arguments, where given, choose test files by a part of their name.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { globSync } from 'node:fs';
import { text } from 'node:stream/consumers';

type Tally = { passed: number; failed: number; skipped: number };

const node = process.execPath;
const wanted = process.argv.slice(2);
const total: Tally = { passed: 0, failed: 0, skipped: 0 };
const failedFiles: string[] = [];

/** One file may not hold up the rest for longer than this. */
const fileSecondsMax = 300;

function chosen(pattern: string): string[] {
  const files = globSync(pattern).toSorted();
  return wanted.length === 0
    ? files
    : files.filter((file) => wanted.some((part) => file.includes(part)));
}

function count(name: string, output: string, status: number | null): void {
  const read = (label: string) =>
    Number(new RegExp(`^ℹ ${label} (\\d+)$`, 'm').exec(output)?.[1] ?? 0);
  const tally = {
    passed: read('pass'),
    failed: read('fail') + read('cancelled'),
    skipped: read('skipped'),
  };
  // A file that died before it reported, or that ran nothing, has failed whatever it printed.
  if (tally.failed === 0 && (status !== 0 || tally.passed + tally.skipped === 0)) tally.failed = 1;
  if (tally.failed > 0) failedFiles.push(name);
  total.passed += tally.passed;
  total.failed += tally.failed;
  total.skipped += tally.skipped;
}

async function runNode(name: string, args: string[], wrapper: string[] = []): Promise<void> {
  const started = performance.now();
  const [command = node, ...rest] = [...wrapper, node, '--test', '--test-reporter=spec', ...args];
  const child = spawn(command, rest, {
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: fileSecondsMax * 1000,
    killSignal: 'SIGKILL',
    env: { ...process.env, FORCE_COLOR: '0', NODE_TEST_CONTEXT: undefined },
  });
  const [stdout, stderr, [status]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'close') as Promise<[number | null]>,
  ]);
  const output = `${stdout}${stderr}`;
  const failedBefore = failedFiles.length;
  count(name, output, status);
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  if (failedFiles.length > failedBefore) {
    console.log(output);
    console.log(`FAILED ${name} (${seconds} s)`);
  } else {
    for (const line of output.split('\n').filter((part) => part.startsWith('﹣')))
      console.log(line);
    console.log(`ok ${name} (${seconds} s)`);
  }
}

if (wanted.length === 0) {
  const check = spawnSync('sh', ['tools/check.sh'], { stdio: 'inherit' });
  if (check.status === 0) total.passed += 1;
  else {
    total.failed += 1;
    failedFiles.push('npm run check');
  }
}

const units = chosen('{src,tools,bench}/**/*.test.ts');
if (units.length > 0)
  await runNode(`${units.length} unit test files`, ['--test-concurrency=2', ...units]);

// A network of its own without an uplink; its own mounts and processes, so that all it leaves vanishes with it.
const isolated = [
  'unshare',
  '--net',
  '--mount',
  '--propagation',
  'private',
  '--pid',
  '--fork',
  '--kill-child',
  '--mount-proc',
  '--',
  'sh',
  '-c',
  // What names namespaces for all processes of the machine is not shared with the file that runs beside.
  // Not `exec`: as the first process of its namespace the shell collects what others leave behind.
  'mkdir -p /run/netns && mount -t tmpfs tmpfs /run/netns && ip link set lo up && "$@"; exit $?',
  'sh',
];

/** Two files at a time: they mostly wait, and a machine that is busy is one of the things they must bear. */
const filesAtOnce = 2;
const waiting = [...chosen('test/e2e/**/*.test.ts'), ...chosen('test/kernel/**/*.test.ts')];
// Together they would each make the bundle that all of them start.
if (waiting.length > 0) spawnSync('sh', ['bin/fairlead', 'version']);
await Promise.all(
  Array.from({ length: filesAtOnce }, async () => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift())
      await runNode(file, [file], isolated);
  }),
);

for (const name of failedFiles) console.log(`failed: ${name}`);
const skipped = total.skipped > 0 ? `, ${total.skipped} skipped` : '';
console.log(`${total.passed} passed, ${total.failed} failed${skipped}`);
process.exit(total.failed === 0 ? 0 : 1);
