/** The controllers together, on the real API server in memory. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { resources } from '../api/resources.ts';
import { isReason } from '../api/status.ts';
import type {
  ConfigMap,
  Deployment,
  Endpoints,
  EndpointSlice,
  Node,
  Pod,
  ReplicaSet,
  Service,
  ServiceAccount,
} from '../api/types.ts';
import { startTestCluster, type TestCluster } from '../../test/support/test-cluster.ts';

let cluster: TestCluster;
const namespace = 'default';

before(async () => {
  cluster = await startTestCluster({
    nodes: 3,
    options: {
      caPem: 'PEM',
      podCidrs: [
        { cidr: '10.244.0.0/16', nodePrefixLength: 24 },
        { cidr: 'fd00:10:244::/56', nodePrefixLength: 64 },
      ],
    },
  });
});
after(async () => cluster.stop());

function deployment(name: string, more: Partial<Deployment['spec']> = {}): Deployment {
  const labels = { app: name };
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name, namespace },
    spec: {
      replicas: 3,
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: { containers: [{ name: 'web', image: 'fairlead/echo' }] },
      },
      ...more,
    },
  };
}

async function podsOf(app: string): Promise<readonly Pod[]> {
  const labelSelector = `app=${app}`;
  return (await cluster.client.list<Pod>(resources.pods, { namespace, labelSelector })).items;
}

async function rolledOut(name: string): Promise<Deployment> {
  return await cluster.until(async () => {
    const held = await cluster.client.get<Deployment>(resources.deployments, { namespace, name });
    const { status, spec, metadata } = held;
    const done =
      status?.observedGeneration === metadata.generation &&
      status?.updatedReplicas === spec.replicas &&
      status?.replicas === spec.replicas &&
      status?.availableReplicas === spec.replicas;
    return done ? held : undefined;
  });
}

test('[K28] every node gets its part of each pod range', async () => {
  await cluster.until(async () => {
    const { items } = await cluster.client.list<Node>(resources.nodes);
    const parts = items.map((node) => node.spec?.podCIDRs);
    assert.deepEqual(parts, [
      ['10.244.0.0/24', 'fd00:10:244::/64'],
      ['10.244.1.0/24', 'fd00:10:244:1::/64'],
      ['10.244.2.0/24', 'fd00:10:244:2::/64'],
    ]);
    return true;
  });
});

test('[K38] every namespace has a default account and the CA', async () => {
  await cluster.until(async () => {
    const key = { namespace: 'kube-system', name: 'default' };
    await cluster.client.get<ServiceAccount>(resources.serviceaccounts, key);
    const name = 'kube-root-ca.crt';
    const ca = await cluster.client.get<ConfigMap>(resources.configmaps, { ...key, name });
    return ca.data?.['ca.crt'] === 'PEM';
  });
});

test('[K36] a Deployment makes pods, on as many nodes as there are', async () => {
  const startedAt = performance.now();
  await cluster.client.create(resources.deployments, deployment('spread'));
  const held = await rolledOut('spread');
  assert.ok(performance.now() - startedAt < 1000);
  assert.equal(held.metadata.annotations?.['deployment.kubernetes.io/revision'], '1');
  const nodes = (await podsOf('spread')).map((pod) => pod.spec.nodeName);
  assert.deepEqual(nodes.toSorted(byText), ['node-1', 'node-2', 'node-3']);
  assert.equal(held.status?.conditions?.find((c) => c.type === 'Available')?.status, 'True');
  const progressing = held.status?.conditions?.find((c) => c.type === 'Progressing');
  assert.equal(progressing?.reason, 'NewReplicaSetAvailable');
});

test('[K29] [K30] endpoints and slices follow the pods', async () => {
  const { client } = cluster;
  await client.create<Service>(resources.services, {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'my-svc', namespace },
    spec: { selector: { app: 'ends' }, ports: [{ port: 80 }] },
  });
  const slices = async () => {
    const labelSelector = 'kubernetes.io/service-name=my-svc';
    return (await client.list<EndpointSlice>(resources.endpointslices, { labelSelector })).items;
  };
  await cluster.until(async () => {
    const found = await slices();
    assert.deepEqual(
      found.map((s) => [s.endpoints.length, s.ports]),
      [[0, []]],
    );
    return true;
  });
  await client.create(resources.deployments, deployment('ends', { replicas: 2 }));
  await rolledOut('ends');
  const ips = (await podsOf('ends')).map((pod) => pod.status?.podIP ?? '').sort(byText);
  await cluster.until(async () => {
    const [slice, ...rest] = await slices();
    assert.equal(rest.length, 0);
    assert.deepEqual(slice?.endpoints.flatMap((e) => e.addresses).sort(byText), ips);
    assert.ok(slice?.endpoints.every((e) => e.conditions?.ready === true));
    assert.ok(slice?.endpoints.every((e) => e.zone === e.nodeName?.replace('node', 'zone')));
    const held = await client.get<Endpoints>(resources.endpoints, { namespace, name: 'my-svc' });
    assert.deepEqual(
      held.subsets?.map((s) => s.addresses?.map((a) => a.ip).sort(byText)),
      [ips],
    );
    assert.deepEqual(held.subsets?.[0]?.ports, [{ port: 80, protocol: 'TCP' }]);
    return true;
  });
  await client.delete(resources.services, { namespace, name: 'my-svc' });
  await cluster.until(async () => (await slices()).length === 0);
});

test('[K36] a new template rolls over without ever having too few pods', async () => {
  const { client } = cluster;
  const strategy = { rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } };
  await client.create(resources.deployments, deployment('roll', { strategy }));
  await rolledOut('roll');
  let least = 99;
  let most = 0;
  const abort = new AbortController();
  const watched = (async () => {
    const events = client.watch<Pod>(resources.pods, { namespace, signal: abort.signal });
    for await (const _ of events) {
      const all = await podsOf('roll');
      const living = all.filter((pod) => pod.metadata.deletionTimestamp === undefined);
      const ready = living.filter((p) => p.status?.conditions?.some((c) => c.type === 'Ready'));
      least = Math.min(least, ready.length);
      most = Math.max(most, living.length);
    }
  })();
  const key = { namespace, name: 'roll' };
  const image = { spec: { template: { metadata: { annotations: { version: '2' } } } } };
  await client.patch(resources.deployments, key, image, { type: 'merge' });
  const held = await rolledOut('roll');
  abort.abort();
  await watched;
  assert.equal(held.metadata.annotations?.['deployment.kubernetes.io/revision'], '2');
  assert.equal(least, 3);
  assert.equal(most, 4);

  // Back to the first template, as `kubectl rollout undo` patches it: the old set gets revision 3.
  const undo = { spec: { template: { metadata: { annotations: null } } } };
  await client.patch(resources.deployments, key, undo, { type: 'merge' });
  await rolledOut('roll');
  const sets = (await client.list<ReplicaSet>(resources.replicasets, { labelSelector: 'app=roll' }))
    .items;
  const revisions = sets.map((set) => [
    set.metadata.annotations?.['deployment.kubernetes.io/revision'],
    set.spec.replicas,
  ]);
  assert.deepEqual(revisions.sort(byText), [
    ['2', 0],
    ['3', 3],
  ]);
});

test('[K36] a rollout goes on after it was scaled in the middle', async () => {
  const { client } = cluster;
  const key = { namespace, name: 'middle' };
  await client.create(resources.deployments, deployment('middle', { replicas: 10 }));
  await rolledOut('middle');
  // The new pods do not get ready: the rollout stands still with pods of both kinds.
  cluster.isReady = (pod) => pod.metadata.annotations?.version !== '2';
  const image = { spec: { template: { metadata: { annotations: { version: '2' } } } } };
  await client.patch(resources.deployments, key, image, { type: 'merge' });
  await cluster.until(async () => (await podsOf('middle')).length === 13);
  await cluster.controllers.idle();
  await client.patch(resources.deployments, key, { spec: { replicas: 11 } }, { type: 'merge' });
  await cluster.until(async () => (await podsOf('middle')).length === 14);
  cluster.isReady = () => true;
  for (const pod of await podsOf('middle')) {
    const podKey = { namespace, name: pod.metadata.name };
    const again = { metadata: { annotations: { again: 'x' } } };
    // The rollout goes on meanwhile, and takes old pods away.
    await client.patch(resources.pods, podKey, again, { type: 'merge' }).catch((error) => {
      if (!isReason(error, 'NotFound')) throw error;
    });
  }
  await rolledOut('middle');
});

test('[K36] a set takes over minReadySeconds, and no pod is replaced for it', async () => {
  const { client } = cluster;
  await client.create(resources.deployments, deployment('patient'));
  await rolledOut('patient');
  const before = (await podsOf('patient')).map((pod) => pod.metadata.name).toSorted(byText);
  const change = { spec: { minReadySeconds: 1 } };
  await client.patch(resources.deployments, { namespace, name: 'patient' }, change, {
    type: 'merge',
  });
  await cluster.until(async () => {
    const labelSelector = 'app=patient';
    const { items } = await client.list<ReplicaSet>(resources.replicasets, { labelSelector });
    return items.length === 1 && items[0]?.spec.minReadySeconds === 1;
  });
  const after = (await podsOf('patient')).map((pod) => pod.metadata.name).toSorted(byText);
  assert.deepEqual(after, before);
});

test('[K36] deleted pods are replaced, and none too many', async () => {
  await cluster.client.create(resources.deployments, deployment('churn', { replicas: 20 }));
  await rolledOut('churn');
  const before = await podsOf('churn');
  await Promise.all(
    before
      .slice(0, 10)
      .map((pod) => cluster.client.delete(resources.pods, { namespace, name: pod.metadata.name })),
  );
  await cluster.until(async () => {
    const uids = new Set(before.slice(0, 10).map((pod) => pod.metadata.uid));
    const now = await podsOf('churn');
    return now.length === 20 && now.every((pod) => !uids.has(pod.metadata.uid));
  });
  await rolledOut('churn');
  await cluster.controllers.idle();
  assert.equal((await podsOf('churn')).length, 20);
});

test('[K36] Recreate stops all old pods before it starts a new one', async () => {
  const strategy = { type: 'Recreate' as const };
  await cluster.client.create(resources.deployments, deployment('again', { strategy }));
  await rolledOut('again');
  cluster.ends = (pod) => pod.metadata.labels?.app !== 'again';
  const key = { namespace, name: 'again' };
  const change = { spec: { template: { metadata: { annotations: { version: '2' } } } } };
  await cluster.client.patch(resources.deployments, key, change, { type: 'merge' });
  await cluster.until(async () =>
    (await podsOf('again')).every((pod) => pod.metadata.deletionTimestamp !== undefined),
  );
  await cluster.controllers.idle();
  assert.equal((await podsOf('again')).length, 3);
  cluster.ends = () => true;
  for (const pod of await podsOf('again')) {
    const podKey = { namespace, name: pod.metadata.name };
    await cluster.client.delete(resources.pods, podKey, { gracePeriodSeconds: 0 });
  }
  await rolledOut('again');
});

test('[K27] a pod that fits nowhere says why, and goes on when there is room', async () => {
  const { client } = cluster;
  await client.create<Pod>(resources.pods, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'picky', namespace },
    spec: { nodeSelector: { disk: 'ssd' }, containers: [{ name: 'c', image: 'fairlead/pause' }] },
  });
  const key = { namespace, name: 'picky' };
  await cluster.until(async () => {
    const pod = await client.get<Pod>(resources.pods, key);
    const held = pod.status?.conditions?.find((c) => c.type === 'PodScheduled');
    assert.equal(held?.reason, 'Unschedulable');
    assert.equal(
      held?.message,
      "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector.",
    );
    return true;
  });
  const labels = { metadata: { labels: { disk: 'ssd' } } };
  await client.patch(resources.nodes, { name: 'node-2' }, labels, { type: 'merge' });
  await cluster.until(async () => {
    return (await client.get<Pod>(resources.pods, key)).spec.nodeName === 'node-2';
  });
});

test('a settled cluster is left alone', async () => {
  const version = async () => (await cluster.client.list(resources.pods)).resourceVersion;
  // What the tests before began may still be ending; then half a second goes by without a write.
  let seen = await version();
  let quietMs = 0;
  await cluster.until(async () => {
    await sleep(50);
    const now = await version();
    quietMs = now === seen ? quietMs + 50 : 0;
    seen = now;
    return quietMs >= 500;
  });
  await cluster.controllers.idle();
  assert.equal(await version(), seen);
});

function byText(a: unknown, b: unknown): number {
  return String(a).localeCompare(String(b));
}
