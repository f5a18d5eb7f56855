/** Things that go: namespaces, owners, nodes; and pods that come back by name. On the real API. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { KubeObject } from '../api/meta.ts';
import { resources } from '../api/resources.ts';
import type {
  ConfigMap,
  ControllerRevision,
  EndpointSlice,
  Endpoints,
  Lease,
  Namespace,
  Node,
  Pod,
  Service,
  StatefulSet,
} from '../api/types.ts';
import { formatMicroTime } from '../lib/clock.ts';
import { startTestCluster, type TestCluster } from '../../test/support/test-cluster.ts';

let cluster: TestCluster;
const namespace = 'default';

before(async () => {
  cluster = await startTestCluster({ nodes: 2 });
});
after(async () => cluster.stop());

function statefulSet(name: string, more: Partial<StatefulSet['spec']> = {}): StatefulSet {
  const labels = { app: name };
  return {
    apiVersion: 'apps/v1',
    kind: 'StatefulSet',
    metadata: { name, namespace },
    spec: {
      replicas: 3,
      serviceName: name,
      selector: { matchLabels: labels },
      template: { metadata: { labels }, spec: { containers: [{ name: 'db', image: 'host' }] } },
      ...more,
    },
  };
}

async function podsOf(app: string): Promise<readonly Pod[]> {
  const labelSelector = `app=${app}`;
  return (await cluster.client.list<Pod>(resources.pods, { namespace, labelSelector })).items;
}

async function isGone(resource: typeof resources.pods, key: { namespace: string; name: string }) {
  const { items } = await cluster.client.list(resource, { namespace: key.namespace });
  return !items.some((object) => object.metadata.name === key.name);
}

test('[K36] a StatefulSet brings its pods up one after the other, under lasting names', async () => {
  const { client } = cluster;
  cluster.isReady = (pod) => pod.metadata.name !== 'db-1';
  await client.create(resources.statefulsets, statefulSet('db'));
  await cluster.until(async () => (await podsOf('db')).length === 2);
  await cluster.controllers.idle();
  const early = await podsOf('db');
  assert.deepEqual(
    early.map((pod) => pod.metadata.name),
    ['db-0', 'db-1'],
  );
  cluster.isReady = () => true;
  await client.patch(
    resources.pods,
    { namespace, name: 'db-1' },
    { metadata: { annotations: { again: 'x' } } },
    { type: 'merge' },
  );
  await cluster.until(async () => {
    const set = await client.get<StatefulSet>(resources.statefulsets, { namespace, name: 'db' });
    return set.status?.availableReplicas === 3 && set.status.updatedReplicas === 3;
  });
  const [, , third] = await podsOf('db');
  assert.equal(third?.spec.hostname, 'db-2');
  assert.equal(third?.spec.subdomain, 'db');
  assert.equal(third?.metadata.labels?.['statefulset.kubernetes.io/pod-name'], 'db-2');
  assert.equal(third?.metadata.labels?.['apps.kubernetes.io/pod-index'], '2');
});

test('[K36] a deleted pod of a StatefulSet comes back under its name', async () => {
  const key = { namespace, name: 'db-1' };
  const before = await cluster.client.get<Pod>(resources.pods, key);
  await cluster.client.delete(resources.pods, key);
  await cluster.until(async () => {
    const pod = await cluster.client.get<Pod>(resources.pods, key).catch(() => undefined);
    return pod !== undefined && pod.metadata.uid !== before.metadata.uid;
  });
});

test('[K36] a rolling update goes from the highest pod down to the partition', async () => {
  const { client } = cluster;
  const key = { namespace, name: 'db' };
  const image = (partition: number) => ({
    spec: {
      template: { metadata: { annotations: { version: '2' } } },
      updateStrategy: { rollingUpdate: { partition } },
    },
  });
  const versions = async () =>
    (await podsOf('db')).map((pod) => pod.metadata.annotations?.version ?? '1');
  await client.patch(resources.statefulsets, key, image(2), { type: 'merge' });
  await cluster.until(async () => (await versions()).join('') === '112');
  await cluster.controllers.idle();
  assert.equal((await versions()).join(''), '112');
  await client.patch(resources.statefulsets, key, image(0), { type: 'merge' });
  await cluster.until(async () => (await versions()).join('') === '222');
  await cluster.until(async () => {
    const { status } = await client.get<StatefulSet>(resources.statefulsets, key);
    return status?.currentRevision === status?.updateRevision && status?.currentReplicas === 3;
  });
  const { items } = await client.list<ControllerRevision>(resources.controllerrevisions);
  assert.deepEqual(
    items.map((r) => r.revision).toSorted((a, b) => a - b),
    [1, 2],
  );
});

test('[K36] scaling down takes the highest pod first', async () => {
  const key = { namespace, name: 'db' };
  const change = { spec: { replicas: 1 } };
  await cluster.client.patch(resources.statefulsets, key, change, { type: 'merge' });
  await cluster.until(async () => (await podsOf('db')).length === 1);
  assert.equal((await podsOf('db'))[0]?.metadata.name, 'db-0');
});

test('[K36] a parallel StatefulSet does not wait', async () => {
  cluster.isReady = (pod) => pod.metadata.labels?.app !== 'par';
  const spec = { podManagementPolicy: 'Parallel' as const };
  await cluster.client.create(resources.statefulsets, statefulSet('par', spec));
  await cluster.until(async () => (await podsOf('par')).length === 3);
  cluster.isReady = () => true;
});

test('[K37] deleting an owner removes what it owns', async () => {
  const key = { namespace, name: 'par' };
  await cluster.client.delete(resources.statefulsets, key);
  await cluster.until(async () => (await podsOf('par')).length === 0);
});

test('[K37] an orphaning deletion leaves what was owned, without owner', async () => {
  const { client } = cluster;
  const key = { namespace, name: 'db' };
  await client.delete(resources.statefulsets, key, { propagationPolicy: 'Orphan' });
  await cluster.until(async () => isGone(resources.statefulsets as never, key));
  await cluster.controllers.idle();
  const [pod] = await podsOf('db');
  assert.equal(pod?.metadata.name, 'db-0');
  assert.deepEqual(pod?.metadata.ownerReferences ?? [], []);
});

test('[K37] a foreground deletion waits for what is owned', async () => {
  const { client } = cluster;
  cluster.ends = () => false;
  const set = statefulSet('front', { replicas: 1 });
  await client.create(resources.statefulsets, set);
  await cluster.until(async () => (await podsOf('front'))[0]?.spec.nodeName !== undefined);
  const key = { namespace, name: 'front' };
  await client.delete(resources.statefulsets, key, { propagationPolicy: 'Foreground' });
  await cluster.until(
    async () => (await podsOf('front'))[0]?.metadata.deletionTimestamp !== undefined,
  );
  await cluster.controllers.idle();
  assert.equal(await isGone(resources.statefulsets as never, key), false);
  cluster.ends = () => true;
  const pod = { namespace, name: 'front-0' };
  await client.delete(resources.pods, pod, { gracePeriodSeconds: 0 });
  await cluster.until(async () => isGone(resources.statefulsets as never, key));
});

test('[K37] an object stays while one of its owners does, and goes with the last', async () => {
  const { client } = cluster;
  const config = (name: string, owners: KubeObject[] = []): ConfigMap => ({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: {
      name,
      namespace,
      ownerReferences: owners.map((owner) => ({
        apiVersion: 'v1',
        kind: 'ConfigMap',
        name: owner.metadata.name,
        uid: owner.metadata.uid ?? '',
      })),
    },
  });
  const a = await client.create(resources.configmaps, config('owner-a'));
  const b = await client.create(resources.configmaps, config('owner-b'));
  const key = { namespace, name: 'owned' };
  await client.create(resources.configmaps, config('owned', [a, b]));
  await client.delete(resources.configmaps, { namespace, name: 'owner-a' });
  await cluster.until(async () => {
    const held = await client.get<ConfigMap>(resources.configmaps, key);
    return held.metadata.ownerReferences?.length === 1;
  });
  await client.delete(resources.configmaps, { namespace, name: 'owner-b' });
  await cluster.until(async () => isGone(resources.configmaps as never, key));
});

test('[K37] a namespace empties itself, and says what holds it up', async () => {
  const { client } = cluster;
  await client.create<Namespace>(resources.namespaces, { metadata: { name: 'gone' } });
  const held: ConfigMap = {
    metadata: { name: 'held', namespace: 'gone', finalizers: ['example.com/hold'] },
  };
  await client.create(resources.configmaps, held);
  await client.create(resources.configmaps, { metadata: { name: 'free', namespace: 'gone' } });
  await client.delete(resources.namespaces, { name: 'gone' });
  await cluster.until(async () => {
    const { status } = await client.get<Namespace>(resources.namespaces, { name: 'gone' });
    const texts = status?.conditions?.map((c) => c.message) ?? [];
    assert.ok(texts.includes('Some resources are remaining: configmaps has 1 resource instances'));
    const finalizers =
      'Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances';
    assert.ok(texts.includes(finalizers));
    return true;
  });
  const release = { metadata: { finalizers: null } };
  const key = { namespace: 'gone', name: 'held' };
  await client.patch(resources.configmaps, key, release, { type: 'merge' });
  await cluster.until(async () => {
    const { items } = await client.list(resources.namespaces);
    return !items.some((object) => object.metadata.name === 'gone');
  });
});

test('[K32] Endpoints made by hand are mirrored, changed and removed with their slices', async () => {
  const { client } = cluster;
  const meta = { name: 'outside', namespace };
  await client.create<Service>(resources.services, {
    metadata: meta,
    spec: { ports: [{ port: 80 }] },
  });
  const subsets = (ip: string) => [{ addresses: [{ ip }], ports: [{ port: 8080 }] }];
  await client.create<Endpoints>(resources.endpoints, {
    metadata: meta,
    subsets: subsets('192.0.2.1'),
  });
  const slices = async () => {
    const labelSelector = 'kubernetes.io/service-name=outside';
    const found = await client.list<EndpointSlice>(resources.endpointslices, { labelSelector });
    return found.items.flatMap((slice) => slice.endpoints.flatMap((e) => e.addresses));
  };
  await cluster.until(async () => (await slices()).join() === '192.0.2.1');
  const held = await client.get<Endpoints>(resources.endpoints, meta);
  await client.update(resources.endpoints, { ...held, subsets: subsets('192.0.2.2') });
  await cluster.until(async () => (await slices()).join() === '192.0.2.2');
  await client.delete(resources.endpoints, meta);
  await cluster.until(async () => (await slices()).length === 0);
});

test('[K33] slices made by hand are left alone', async () => {
  const { client } = cluster;
  await client.create<Service>(resources.services, {
    metadata: { name: 'own', namespace },
    spec: { ports: [{ port: 80 }] },
  });
  const slice = await client.create<EndpointSlice>(resources.endpointslices, {
    metadata: { name: 'own-1', namespace, labels: { 'kubernetes.io/service-name': 'own' } },
    addressType: 'IPv4',
    endpoints: [{ addresses: ['192.0.2.9'] }],
    ports: [{ port: 80 }],
  });
  await cluster.controllers.idle();
  const key = { namespace, name: 'own-1' };
  assert.deepEqual(await client.get(resources.endpointslices, key), slice);
});

test('[K22] a node without word loses its endpoints, is tainted, and loses its pods', async () => {
  const lost = await startTestCluster({
    nodes: 2,
    // Long enough for the other node's word to come in time on a busy machine.
    options: { nodeGraceMs: 500, defaultTolerationSeconds: 0 },
  });
  const { client } = lost;
  const beat = async () => {
    const key = { namespace: 'kube-node-lease', name: 'node-1' };
    const spec = { renewTime: formatMicroTime(Date.now()) };
    await client.patch(resources.leases, key, { spec }, { type: 'merge' });
  };
  await client.create<Lease>(resources.leases, {
    metadata: { name: 'node-1', namespace: 'kube-node-lease' },
    spec: {},
  });
  const timer = setInterval(() => void beat(), 10);
  try {
    const tolerations = [
      {
        key: 'node.kubernetes.io/unreachable',
        operator: 'Exists' as const,
        effect: 'NoExecute',
        tolerationSeconds: 0,
      },
    ];
    const pod: Pod = {
      metadata: { name: 'there', namespace },
      spec: { nodeName: 'node-2', tolerations, containers: [{ name: 'c', image: 'host' }] },
    };
    lost.ends = () => false;
    await client.create(resources.pods, pod);
    await lost.until(async () => {
      const node = await client.get<Node>(resources.nodes, { name: 'node-2' });
      const ready = node.status?.conditions?.find((c) => c.type === 'Ready');
      assert.equal(ready?.status, 'Unknown');
      assert.deepEqual(
        node.spec?.taints?.map((t) => `${t.key} ${t.effect}`),
        ['node.kubernetes.io/unreachable NoSchedule', 'node.kubernetes.io/unreachable NoExecute'],
      );
      const found = await client.get<Pod>(resources.pods, { namespace, name: 'there' });
      return found.metadata.deletionTimestamp !== undefined;
    });
    const first = await client.get<Node>(resources.nodes, { name: 'node-1' });
    assert.equal(first.status?.conditions?.[0]?.status, 'True');

    // The agent is back and says so.
    const node = await client.get<Node>(resources.nodes, { name: 'node-2' });
    const conditions = [{ type: 'Ready', status: 'True' as const }];
    const status = { ...node.status, conditions };
    await client.update(resources.nodes, { ...node, status }, { subresource: 'status' });
    await lost.until(async () => {
      const back = await client.get<Node>(resources.nodes, { name: 'node-2' });
      return (back.spec?.taints ?? []).length === 0;
    });
  } finally {
    clearInterval(timer);
    await lost.stop();
  }
});

test('[K37] pods of a deleted node go for good', async () => {
  const { client } = cluster;
  cluster.ends = () => false;
  await client.create<Pod>(resources.pods, {
    metadata: { name: 'left', namespace },
    spec: { nodeName: 'node-2', containers: [{ name: 'c', image: 'host' }] },
  });
  await client.delete(resources.nodes, { name: 'node-2' });
  await cluster.until(async () => isGone(resources.pods, { namespace, name: 'left' }));
  cluster.ends = () => true;
});
