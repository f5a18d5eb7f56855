/** Three hundred pods on three nodes: they come up, one virtual IP reaches them, and nothing stays when they go. */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { Endpoints, EndpointSlice, Pod, Service } from '../../src/api/types.ts';
import { Cluster, environment, eventually, fairleadOk, removeHome } from './harness.ts';
import { at, httpAnswers, onNode, outside } from './places.ts';

type List<T> = { readonly items: readonly T[] };
const nodes = ['node-1', 'node-2', 'node-3'];
const count = 300;

let cluster: Cluster;
let empty: Record<string, string>;

before(async () => {
  cluster = await Cluster.up('scale');
  // One pod per node that stays: its directories are there before and after.
  await cluster.apply(
    nodes
      .map(
        (
          node,
        ) => `{apiVersion: v1, kind: Pod, metadata: {name: still-${node}, labels: {app: still}},
  spec: {nodeName: ${node}, containers: [{name: echo, image: fairlead/echo}]}}`,
      )
      .join('\n---\n'),
  );
  await cluster.kubectlOk('wait', 'pod', '-l', 'app=still', '--for=condition=Ready');
  empty = await traces();
});

after(async () => {
  await cluster?.down();
  removeHome();
});

/** What pods could leave on the nodes, as text. */
async function traces(): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const node of nodes) {
    const dir = join(environment.FAIRLEAD_ROOT, 'run', cluster.name, 'nodes', node);
    const show = async (...args: string[]) =>
      (await at(onNode(cluster, node), args[0] ?? '', ...args.slice(1))).stdout;
    found[`${node} links`] = (await show('ip', '-o', 'link'))
      .split('\n')
      .map((line) => line.split(':')[1]?.split('@')[0] ?? '')
      .toSorted()
      .join(' ');
    found[`${node} routes`] = (await show('ip', 'route')).split('\n').toSorted().join('\n');
    for (const part of ['pods', 'agent/pods', 'agent/records'])
      found[`${node} ${part}`] = readdirSync(join(dir, part)).toSorted().join(' ');
    const state = join(environment.FAIRLEAD_ROOT, 'state', cluster.name, 'nodes', node);
    for (const part of ['logs', 'raw-logs', 'volumes'])
      found[`${node} ${part}`] = readdirSync(join(state, part)).toSorted().join(' ');
  }
  return found;
}

async function pssMegabytes(): Promise<number> {
  const { labs } = JSON.parse(await fairleadOk('status', '--json')) as {
    labs: { name: string; pssBytes: number }[];
  };
  return Math.round((labs.find((lab) => lab.name === cluster.name)?.pssBytes ?? 0) / 2 ** 20);
}

test(`${count} echo pods become ready, spread over the nodes`, async (t) => {
  const idle = await pssMegabytes();
  await cluster.apply(`{apiVersion: v1, kind: Service, metadata: {name: many},
  spec: {selector: {app: many}, ports: [{port: 80, targetPort: 8080}]}}`);
  const started = performance.now();
  await cluster.kubectlOk(
    'create',
    'deployment',
    'many',
    '--image=fairlead/echo',
    '--port=8080',
    `--replicas=${count}`,
  );
  await cluster.kubectlOk('rollout', 'status', 'deployment/many', '--timeout=120s');
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  const { items } = await cluster.json<List<Pod>>('pods', '-l', 'app=many');
  const pss = await pssMegabytes();
  t.diagnostic(`${count} pods ready in ${seconds} s; PSS ${idle} MB idle, ${pss} MB with them`);
  assert.equal(items.length, count);
  assert.equal(new Set(items.map((pod) => pod.status?.podIP)).size, count, 'each has an address');
  for (const node of nodes) {
    const here = items.filter((pod) => pod.spec.nodeName === node).length;
    assert.ok(here >= 80 && here <= 120, `${here} on ${node}`);
  }
  assert.ok(pss < 600, `${pss} MB`);
});

test('[K29] [K30] slices of at most 100 endpoints, all of them in Endpoints', async () => {
  const label = ['-l', 'kubernetes.io/service-name=many'];
  const { items } = await cluster.json<List<EndpointSlice>>('endpointslices', ...label);
  assert.ok(items.every((slice) => slice.endpoints.length <= 100));
  assert.equal(
    items.reduce((sum, slice) => sum + slice.endpoints.length, 0),
    count,
  );
  const endpoints = await cluster.json<Endpoints>('endpoints', 'many');
  assert.equal(endpoints.subsets?.flatMap((subset) => subset.addresses ?? []).length, count);
  assert.match(
    await cluster.kubectlOk('get', 'endpoints', 'many'),
    /:8080,.*:8080,.*:8080 \+ 297 more\.\.\./,
  );
});

test('[P23] the virtual IP reaches them at random', async () => {
  const { spec } = await cluster.json<Service>('service', 'many');
  const target = { address: spec.clusterIP ?? '', port: 80 };
  const answers = [
    ...(await httpAnswers(outside, target, '/hostname', 600)),
    ...(await httpAnswers(onNode(cluster, 'node-2'), target, '/hostname', 600)),
  ];
  assert.ok(!answers.includes(''), 'every request is answered');
  // 1200 picks of 300 miss a given one once in 55 times: 5 or so are missed, 20 never.
  const met = new Set(answers).size;
  assert.ok(met >= 280, `${met} pods answered`);
});

test('[K5] deleted, they leave nothing on the nodes', async (t) => {
  const started = performance.now();
  await cluster.kubectlOk('delete', 'service,deployment', 'many');
  await eventually(
    'no pod is left',
    async () => (await cluster.kubectlOk('get', 'pods', '-l', 'app=many', '-o', 'name')) === '',
    90,
  );
  t.diagnostic(`${count} pods deleted in ${((performance.now() - started) / 1000).toFixed(1)} s`);
  let left: Record<string, string> = {};
  await eventually(
    'the nodes are as before',
    async () => {
      left = await traces();
      return JSON.stringify(left) === JSON.stringify(empty);
    },
    20,
  ).catch(() => assert.deepEqual(left, empty));
});
