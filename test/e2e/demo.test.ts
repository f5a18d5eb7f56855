/** `fairlead demo` end to end, and the commands of the READMEs as they are written. */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { ChurnScene, Scene } from '../../src/lab/demo.ts';
import {
  Cluster,
  environment,
  eventually,
  fairlead,
  fairleadOk,
  home,
  must,
  newestKubectl,
  removeHome,
  run,
} from './harness.ts';

const root = join(import.meta.dirname, '..', '..');
let cluster: Cluster;

before(async () => {
  const bin = join(home, 'bin');
  mkdirSync(bin);
  symlinkSync(newestKubectl(), join(bin, 'kubectl'));
  process.env['PATH'] = `${bin}:${process.env['PATH']}`;
  Object.assign(environment, { PATH: process.env['PATH'] });
  cluster = await Cluster.up('lab');
});

after(async () => {
  await fairleadOk('down', '--all');
  removeHome();
});

/** Runs lines of a shell from the repository, as a person would. */
async function shell(script: string): Promise<string> {
  const text = `set -euo pipefail; cd ${root}; export KUBECONFIG=${cluster.kubeconfig}\n${script}`;
  return must(await run('bash', ['-c', text]), script);
}

type Expected = {
  readonly service: string;
  readonly kind: string;
  /** What each answer looks like, how many different ones there are at least, and how many in all. */
  readonly answer: RegExp;
  readonly different: number;
  readonly times: number;
};

const pods = (name: string) => new RegExp(`^${name}-[a-z0-9]+-[a-z0-9]+$`);
const expected: Expected[] = [
  { service: 'backend', kind: 'ClusterIP', answer: pods('backend'), different: 3, times: 30 },
  { service: 'frontend', kind: 'NodePort', answer: pods('frontend'), different: 2, times: 20 },
  { service: 'window', kind: 'LoadBalancer', answer: pods('frontend'), different: 2, times: 20 },
  {
    service: 'window-local',
    kind: 'LoadBalancer, policy Local',
    answer: /^172\.29\.0\.1:\d+$/,
    different: 1,
    times: 3,
  },
  {
    service: 'cache',
    kind: 'ClusterIP, TCP and UDP',
    answer: /^(cache-[a-z0-9]+-[a-z0-9]+$|pod=cache-.* protocol=tcp)/,
    different: 1,
    times: 2,
  },
  {
    service: 'backend-sticky',
    kind: 'session affinity ClientIP',
    answer: pods('backend'),
    different: 1,
    times: 20,
  },
  {
    service: 'db',
    kind: 'headless',
    answer: /^(10\.244\.\d+\.\d+|db-[012]\.db\.shop\.svc\.cluster\.local:5432)$/,
    different: 6,
    times: 7,
  },
  {
    service: 'payments',
    kind: 'ExternalName',
    answer: /^payments\.example\.com$/,
    different: 1,
    times: 1,
  },
  {
    service: 'legacy',
    kind: 'no selector, endpoints by hand',
    answer: /^legacy server outside the cluster$/,
    different: 1,
    times: 5,
  },
];

for (const round of ['the first time', 'and again']) {
  test(`demo --json, ${round}: every scene has its answers, no request of the churn fails`, async () => {
    const { scenes, churn } = JSON.parse(await fairleadOk('demo', '--json')) as {
      scenes: Scene[];
      churn: ChurnScene;
    };
    assert.deepEqual(
      scenes.map(({ kind, service }) => ({ kind, service })),
      [...expected, { kind: 'wrong selector', service: 'typo' }].map(({ kind, service }) => ({
        kind,
        service,
      })),
    );
    for (const want of expected) {
      const scene = scenes.find((one) => one.service === want.service);
      const { counts, failures } = scene?.answered ?? { counts: {}, failures: {} };
      assert.deepEqual(failures, {}, `${want.service} fails`);
      const answers = Object.keys(counts);
      for (const answer of answers) assert.match(answer, want.answer, want.service);
      // Sticky clients have one pod; the others have them all.
      if (want.service === 'backend-sticky') assert.equal(answers.length, 1);
      assert.ok(answers.length >= want.different, `${want.service}: ${answers.join(', ')}`);
      const times = Object.values(counts).reduce((sum, count) => sum + count, 0);
      assert.equal(times, want.times, want.service);
    }
    const typo = scenes.find((one) => one.service === 'typo');
    assert.deepEqual(typo?.answered, { counts: {}, failures: { ECONNREFUSED: 3 } });

    assert.equal(churn.failed, 0, JSON.stringify(churn.failures));
    assert.ok(churn.sent >= 1000, `${churn.sent} requests`);
    assert.equal(churn.before.length, 3);
    assert.equal(churn.after.length, 3);
    for (const address of churn.after) assert.ok(!churn.before.includes(address), address);

    for (const { look } of scenes) await shell(look);
    assert.match(await shell('kubectl -n shop get endpoints typo'), /^typo\s+<none>/m);
    const backend = await shell('kubectl -n shop get endpoints backend --no-headers');
    const column = backend.split(/\s+/)[1] ?? '';
    assert.deepEqual(
      column.split(','),
      churn.after.map((ip) => `${ip}:8080`),
    );
  });
}

test('demo says all of it to a person, and the lines it prints work', async () => {
  const text = await fairleadOk('demo');
  for (const { kind, service } of expected)
    assert.match(text, new RegExp(`^${kind}: Service ${service}, `, 'm'));
  assert.match(text, /requests {2}1200 sent, 0 failed/);
  const next = text.slice(text.indexOf('Next:'));
  const lines = next.split('\n').filter((line) => /^ {2}(export|kubectl)/.test(line));
  assert.ok(lines.length >= 3, next);
  await shell(lines.join('\n'));
});

test('demo --clean takes the shop away; a second time does no harm', async () => {
  assert.match(await fairleadOk('demo', '--clean'), /being removed/);
  await eventually('the namespace is gone', async () => {
    const { code, stderr } = await cluster.kubectl('get', 'namespace', 'shop');
    return code !== 0 && stderr.includes('NotFound');
  });
  assert.equal((await fairlead('demo', '--clean')).code, 0);
});

test('the commands of examples/shop/README.md work as written', async () => {
  const lines = commands('examples/shop/README.md', '');
  assert.ok(lines.length >= 6);
  await shell(lines.join('\n'));
});

test('the commands of README.md work as written', async () => {
  await fairleadOk('down');
  const lines = commands('README.md', '## Use it');
  assert.ok(lines.some((line) => line.startsWith('kubectl expose')));
  // Nobody types the next line before the pods are there.
  const waits: [RegExp, string][] = [
    [
      /^kubectl create deployment/,
      'kubectl wait deployment/web --for=condition=Available --timeout=20s',
    ],
    [
      /^kubectl expose .*LoadBalancer/,
      'until kubectl get svc shop --no-headers | grep -qv pending; do sleep 0.1; done',
    ],
  ];
  const script = lines.flatMap((line) => [
    line,
    ...waits.filter(([after]) => after.test(line)).map(([, wait]) => wait),
  ]);
  const output = await shell(script.join('\n'));
  assert.match(
    output,
    /^web\s+10\.244\.\d+\.\d+:8080,10\.244\.\d+\.\d+:8080,10\.244\.\d+\.\d+:8080/m,
  );
  assert.equal(output.match(/^pod=web-/gm)?.length, 3, 'every curl line was answered');
  assert.equal((await fairlead('status')).stdout.includes('node-1'), false, 'down ended the lab');
});

/** The lines of the first block of shell commands after a heading. */
function commands(file: string, heading: string): string[] {
  const text = readFileSync(join(root, file), 'utf8');
  const from = text.indexOf('```sh\n', text.indexOf(heading)) + '```sh\n'.length;
  const block = text.slice(from, text.indexOf('```', from));
  return block.split('\n').filter((line) => line.trim() !== '');
}
