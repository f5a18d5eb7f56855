/** Things die under load; connections, writes and pods do not. */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  alive,
  Cluster,
  componentPids,
  environment,
  eventually,
  fairlead,
  fairleadOk,
  labProcesses,
  onNode,
  removeHome,
} from './harness.ts';
import { nodeNetwork, podNetwork, startTraffic, type Seen, type Traffic } from './traffic.ts';

const lab = 'lab';
let cluster: Cluster;
let vip = '';

type Pod = {
  metadata: { name: string; uid: string; deletionTimestamp?: string };
  spec: { nodeName: string; tolerations: { key: string; tolerationSeconds?: number }[] };
  status: { podIP: string; containerStatuses: { restartCount: number; ready: boolean }[] };
};
type Node = {
  metadata: { name: string };
  status: { conditions: { type: string; status: string }[] };
};

const objects = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 4
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: fairlead/echo, ports: [{containerPort: 8080}]}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080, nodePort: 30080}]
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  nodeName: node-1
  containers: [{name: main, image: host, command: [sleep, "1000"]}]
`;

before(async () => {
  cluster = await Cluster.up(lab);
  await cluster.apply(objects);
  await cluster.kubectlOk('wait', '--for=condition=Available', 'deployment/web', '--timeout=20s');
  await cluster.kubectlOk('wait', '--for=condition=Ready', 'pod/client', '--timeout=20s');
  const service = await cluster.json<{ spec: { clusterIP: string } }>('service', 'web');
  vip = service.spec.clusterIP;
});
after(async () => {
  await fairlead('down', '--all');
  removeHome();
});

async function webPods(): Promise<Pod[]> {
  const { items } = await cluster.json<{ items: Pod[] }>('pods', '-l', 'app=web');
  return items;
}

/** From a pod, from a node and from outside, to the virtual IP and to a node port. */
async function load(connections: boolean): Promise<() => Promise<Seen[]>> {
  const client = await cluster.json<Pod>('pod', 'client');
  const ends: [string, number][] = [
    [vip, 80],
    ['172.29.0.11', 30_080],
  ];
  const traffic: Traffic = {
    urls: ends.map(([host, port]) => `http://${host}:${port}/`),
    everyMs: 25,
    connections: connections ? ends.map(([host, port]) => ({ host, port })) : [],
  };
  const places = [podNetwork(lab, client), nodeNetwork(lab, 'node-1'), undefined];
  const stops = places.map((network) => startTraffic(network, traffic));
  await sleep(500);
  return async () => Promise.all(stops.map((stop) => stop()));
}

function assertUnharmed(seen: readonly Seen[], sentMin: number): void {
  for (const [at, { sent, failed, failures, cut }] of seen.entries()) {
    const place = ['a pod', 'a node', 'outside'][at]!;
    assert.deepEqual({ failed, cut, failures }, { failed: 0, cut: 0, failures: {} }, place);
    assert.ok(sent >= sentMin, `${sent} requests from ${place}`);
  }
}

function kill9(component: string): { supervisor: number; main: number } {
  const pids = componentPids(lab, component);
  process.kill(pids.main, 'SIGKILL');
  return pids;
}

test('server kill -9: traffic goes on, every acknowledged write is there afterwards', async () => {
  const stop = await load(true);
  const acknowledged: string[] = [];
  const stopWriting = new AbortController();
  let refused = 0;
  const writer = async (id: number) => {
    for (let n = 0; !stopWriting.signal.aborted; n += 1) {
      const name = `write-${id}-${n}`;
      const { code } = await cluster.kubectl(
        'create',
        'configmap',
        name,
        `--from-literal=n=${n}`,
        '--request-timeout=5s',
      );
      if (code === 0) acknowledged.push(name);
      else refused += 1;
    }
  };
  const writers = [writer(1), writer(2), writer(3)];
  for (let round = 0; round < 4; round += 1) {
    await sleep(500 + Math.random() * 700);
    const { main, supervisor } = kill9('server');
    await eventually('the supervisor starts it again', async () => {
      const now = componentPids(lab, 'server');
      assert.equal(now.supervisor, supervisor);
      return now.main !== main && (await cluster.kubectl('get', '--raw', '/readyz')).code === 0;
    });
  }
  stopWriting.abort();
  await Promise.all(writers);
  const { items } = await cluster.json<{ items: { metadata: { name: string } }[] }>('configmaps');
  const there = new Set(items.map(({ metadata }) => metadata.name));
  assert.ok(acknowledged.length > 10, `${acknowledged.length} writes`);
  assert.deepEqual(
    acknowledged.filter((name) => !there.has(name)),
    [],
    `of ${acknowledged.length} acknowledged, ${refused} refused`,
  );
  assertUnharmed(await stop(), 100);
});

test('after server kill -9 the agents follow again: a new pod gets traffic', async () => {
  kill9('server');
  await eventually(
    'the API answers',
    async () => (await cluster.kubectl('scale', 'deployment/web', '--replicas=5')).code === 0,
  );
  await cluster.kubectlOk('rollout', 'status', 'deployment/web', '--timeout=10s');
  const names = (await webPods()).map(({ metadata }) => metadata.name);
  assert.equal(names.length, 5);
  const stop = startTraffic(undefined, { urls: [`http://${vip}/`], everyMs: 5, connections: [] });
  await sleep(1500);
  const { byPod, failed } = await stop();
  assert.equal(failed, 0);
  assert.deepEqual(Object.keys(byPod).toSorted(), names.toSorted());
});

test('agent kill -9 under load: no connection is cut, rules and pods stay as they are', async () => {
  const stop = await load(true);
  const rules = async () =>
    (await onNode(lab, 'node-1', 'nft', '-s', 'list', 'ruleset')).stdout.replaceAll(
      / expires \w+/g,
      '',
    );
  const containers = () =>
    labProcesses(lab)
      .filter((pid) => !isComponent(pid))
      .toSorted((a, b) => a - b);
  const before = { rules: await rules(), containers: containers(), pods: await webPods() };
  assert.match(before.rules, /^table ip /m);
  for (let round = 0; round < 2; round += 1) {
    for (const node of ['node-1', 'node-2', 'node-3']) {
      const old = kill9(node);
      await sleep(50);
      assert.equal(await rules(), before.rules);
      await eventually('the agent is back', () => componentPids(lab, node).main !== old.main);
    }
    await sleep(1000);
  }
  await cluster.kubectlOk('wait', '--for=condition=Ready', 'node', '--all', '--timeout=10s');
  assert.equal(await rules(), before.rules);
  assert.deepEqual(alive(before.containers), before.containers);
  const pods = await webPods();
  for (const [at, pod] of before.pods.entries()) {
    assert.equal(pods[at]!.metadata.uid, pod.metadata.uid);
    assert.equal(pods[at]!.status.podIP, pod.status.podIP);
    assert.equal(pods[at]!.status.containerStatuses[0]!.restartCount, 0);
  }
  assertUnharmed(await stop(), 100);
});

function isComponent(pid: number): boolean {
  const files = globSync(join(environment.FAIRLEAD_ROOT, 'run', lab, '*.pid'));
  return files.some((file) => readFileSync(file, 'utf8').trim().split(' ').includes(String(pid)));
}

test('pods deleted one after the other under load: no request fails', async () => {
  const stop = await load(false);
  for (const { metadata } of (await webPods()).slice(0, 3)) {
    await cluster.kubectlOk('delete', 'pod', metadata.name, '--wait=true');
    await cluster.kubectlOk('rollout', 'status', 'deployment/web', '--timeout=20s');
  }
  assertUnharmed(await stop(), 100);
});

test('node stop under load is graceful: no request fails, and start brings it back', async () => {
  const stop = await load(false);
  await fairleadOk('node', 'stop', 'node-3');
  await sleep(1500);
  assertUnharmed(await stop(), 50);
  await fairleadOk('node', 'start', 'node-3');
  await cluster.kubectlOk('wait', '--for=condition=Ready', 'node/node-3', '--timeout=20s');
  await cluster.kubectlOk('rollout', 'status', 'deployment/web', '--timeout=30s');
});

test('new pods tolerate a lost node for 10 s', async () => {
  for (const { spec } of await webPods()) {
    const seconds = spec.tolerations
      .filter(({ key }) => /not-ready|unreachable/.test(key))
      .map(({ tolerationSeconds }) => tolerationSeconds);
    assert.deepEqual(seconds, [10, 10]);
  }
});

test('node kill: it is found, its endpoints leave, its pods move; start brings it back', async () => {
  const lost = (await webPods()).filter(({ spec }) => spec.nodeName === 'node-2');
  assert.ok(lost.length > 0, 'a pod on node-2');
  const started = performance.now();
  const secondsSince = () => ((performance.now() - started) / 1000).toFixed(1);
  await fairleadOk('node', 'kill', 'node-2');
  await eventually('node-2 is not ready', async () => (await readyOf('node-2')) !== 'True', 20);
  const found = secondsSince();
  await eventually(
    'its endpoints are gone',
    async () => {
      const text = await cluster.kubectlOk(
        'get',
        'endpoints',
        'web',
        '-o',
        'jsonpath={.subsets[*].addresses[*].ip}',
      );
      return lost.every(({ status }) => !text.split(' ').includes(status.podIP));
    },
    5,
  );
  const left = secondsSince();
  // From now on nobody notices any more.
  await sleep(300);
  const stop = await load(true);
  await eventually(
    'the pods have moved',
    async () => {
      const pods = (await webPods()).filter(
        ({ metadata }) => metadata.deletionTimestamp === undefined,
      );
      return (
        pods.length === 5 &&
        pods.every(
          ({ spec, status }) => spec.nodeName !== 'node-2' && status.containerStatuses?.[0]?.ready,
        )
      );
    },
    30,
  );
  console.log(
    `node lost after ${found} s, endpoints gone after ${left} s, pods moved after ${secondsSince()} s`,
  );
  assertUnharmed(await stop(), 50);
  await fairleadOk('node', 'start', 'node-2');
  await cluster.kubectlOk('wait', '--for=condition=Ready', 'node/node-2', '--timeout=20s');
  await cluster.kubectlOk('scale', 'deployment/web', '--replicas=9');
  await cluster.kubectlOk('rollout', 'status', 'deployment/web', '--timeout=30s');
  const pods = await webPods();
  assert.ok(
    pods.some(({ spec }) => spec.nodeName === 'node-2'),
    'pods run on node-2 again',
  );
});

async function readyOf(name: string): Promise<string> {
  const { status } = await cluster.json<Node>('node', name);
  return status.conditions.find(({ type }) => type === 'Ready')?.status ?? '';
}
