/** A node that loses the API server serves on, and catches up; foreign hands in its rules are undone. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Cluster, eventually, fairlead, onNode, removeHome } from './harness.ts';
import { nodeNetwork, startTraffic } from './traffic.ts';

const lab = 'lab';
/** Longer than the lease of a node: the cluster counts it as lost meanwhile. */
const lostMs = 14_000;
let cluster: Cluster;
let vip = '';

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
      tolerations:
        - {key: node.kubernetes.io/unreachable, operator: Exists}
        - {key: node.kubernetes.io/not-ready, operator: Exists}
      containers: [{name: web, image: fairlead/echo, ports: [{containerPort: 8080}]}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
`;

before(async () => {
  cluster = await Cluster.up(lab, '--nodes', '2');
  await cluster.apply(objects);
  await cluster.kubectlOk('wait', '--for=condition=Available', 'deployment/web', '--timeout=30s');
  const service = await cluster.json<{ spec: { clusterIP: string } }>('service', 'web');
  vip = service.spec.clusterIP;
});
after(async () => {
  await fairlead('down', '--all');
  removeHome();
});

function traffic() {
  return startTraffic(nodeNetwork(lab, 'node-1'), {
    urls: [`http://${vip}/`],
    everyMs: 10,
    connections: [{ host: vip, port: 80 }],
  });
}

/** Both ways: what the server still sends would arrive otherwise. */
async function separate(how: 'add' | 'del'): Promise<void> {
  const route = ['route', how, 'blackhole'];
  const { code, stderr } = await onNode(lab, 'node-1', 'ip', ...route, '172.29.0.1/32');
  assert.equal(code, 0, stderr);
  const host = spawnSync('ip', [...route, '172.29.0.11/32'], { encoding: 'utf8' });
  assert.equal(host.status, 0, host.stderr);
}

async function readyPods(): Promise<number> {
  const path = 'jsonpath={.status.readyReplicas}';
  return Number(await cluster.kubectlOk('get', 'deployment', 'web', '-o', path));
}

test('a node without the API server: nobody notices, and its pods are ready again afterwards', async () => {
  const stop = traffic();
  await separate('add');
  await sleep(lostMs);
  assert.ok((await readyPods()) < 4, 'the node counts as lost');
  await separate('del');
  await eventually('all pods are ready', async () => (await readyPods()) === 4, 20);
  const { sent, failed, failures, cut } = await stop();
  assert.deepEqual({ failed, cut, failures }, { failed: 0, cut: 0, failures: {} });
  assert.ok(sent > 200, `${sent} requests`);
});

test('afterwards it follows: a pod that goes gets no request', async () => {
  await cluster.kubectlOk('scale', 'deployment/web', '--replicas=2');
  await eventually('two endpoints are left', async () => {
    const { stdout } = await onNode(
      lab,
      'node-1',
      'nft',
      'list',
      'map',
      'ip',
      'fairlead',
      'endpoints',
    );
    const text = await cluster.kubectlOk(
      'get',
      'endpoints',
      'web',
      '-o',
      'jsonpath={.subsets[*].addresses[*].ip}',
    );
    const addresses = text.split(' ').filter((address) => stdout.includes(`: ${address} . 8080 `));
    return addresses.length === 2 && text.split(' ').length === 2;
  });
  const stop = traffic();
  await sleep(500);
  assert.equal((await stop()).failed, 0);
});

test('a foreign flush of everything is undone, and all is well afterwards', async () => {
  await onNode(lab, 'node-1', 'nft', 'flush', 'ruleset');
  await eventually('the rules are back', async () => {
    const { stdout } = await onNode(lab, 'node-1', 'nft', 'list', 'tables');
    return stdout.includes('table ip fairlead');
  });
  const stop = traffic();
  await sleep(500);
  const { failed, cut } = await stop();
  assert.deepEqual({ failed, cut }, { failed: 0, cut: 0 });
});
