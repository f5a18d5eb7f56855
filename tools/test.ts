/**
 * Runs every test: the checks, the unit tests in one process, then each file of test/kernel and
 * test/e2e in a process of its own, inside a network without an uplink so that no packet can leave
 * the machine. Ends with `N passed, N failed`. Arguments, where given, choose test files by a part of their name.
 */
import { spawnSync } from 'node:child_process';
import { globSync } from 'node:fs';

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

function runNode(name: string, args: string[], wrapper: string[] = []): void {
  const started = performance.now();
  const [command = node, ...rest] = [...wrapper, node, '--test', '--test-reporter=spec', ...args];
  const result = spawnSync(command, rest, {
    encoding: 'utf8',
    maxBuffer: 256 * 1024 * 1024,
    timeout: fileSecondsMax * 1000,
    killSignal: 'SIGKILL',
    env: { ...process.env, FORCE_COLOR: '0', NODE_TEST_CONTEXT: undefined },
  });
  const output = `${result.stdout}${result.stderr}`;
  const failedBefore = failedFiles.length;
  count(name, output, result.status);
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  if (failedFiles.length > failedBefore) {
    console.log(output);
    console.log(`FAILED ${name} (${seconds} s)`);
  } else {
    for (const line of output.split('\n').filter((text) => text.startsWith('﹣')))
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
  runNode(`${units.length} unit test files`, ['--test-concurrency=2', ...units]);

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
  // Not `exec`: as the first process of its namespace the shell collects what others leave behind.
  'ip link set lo up && "$@"; exit $?',
  'sh',
];
for (const file of [...chosen('test/kernel/**/*.test.ts'), ...chosen('test/e2e/**/*.test.ts')])
  runNode(file, [file], isolated);

for (const name of failedFiles) console.log(`failed: ${name}`);
const skipped = total.skipped > 0 ? `, ${total.skipped} skipped` : '';
console.log(`${total.passed} passed, ${total.failed} failed${skipped}`);
process.exit(total.failed === 0 ? 0 : 1);
