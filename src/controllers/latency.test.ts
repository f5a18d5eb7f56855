/** How soon a change of one pod among many is written. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { resources } from '../api/resources.ts';
import type { EndpointSlice, Pod, Service } from '../api/types.ts';
import { startTestCluster } from '../../test/support/test-cluster.ts';

const namespace = 'default';

test("[K31] a pod's readiness reaches its slice in under 50 ms at 1,000 pods", async () => {
  const cluster = await startTestCluster({ nodes: 3 });
  const { client } = cluster;
  try {
    await client.create<Service>(resources.services, {
      metadata: { name: 'big', namespace },
      spec: { selector: { app: 'big' }, ports: [{ port: 80 }] },
    });
    const names = Array.from({ length: 1000 }, (_, index) => `big-${index}`);
    await Promise.all(names.map((name, index) => client.create(resources.pods, pod(name, index))));
    const slices = async () => (await client.list<EndpointSlice>(resources.endpointslices)).items;
    const readyCount = async () =>
      (await slices()).flatMap((s) => s.endpoints.filter((e) => e.conditions?.ready)).length;
    await cluster.until(async () => (await readyCount()) === 1000);
    const sizes = (await slices()).filter((s) => s.endpoints.length > 0);
    assert.ok(sizes.every((slice) => slice.endpoints.length <= 100));

    const took: number[] = [];
    for (const name of names.slice(0, 20)) {
      const held = await client.get<Pod>(resources.pods, { namespace, name });
      const abort = new AbortController();
      const { resourceVersion } = await client.list(resources.endpointslices);
      const startedAt = performance.now();
      const events = client.watch<EndpointSlice>(resources.endpointslices, {
        resourceVersion,
        signal: abort.signal,
      });
      const status = { ...held.status, conditions: [{ type: 'Ready', status: 'False' as const }] };
      cluster.isReady = (other) => other.metadata.name !== name;
      await client.update(resources.pods, { ...held, status }, { subresource: 'status' });
      for await (const _ of events) break;
      took.push(performance.now() - startedAt);
      abort.abort();
    }
    const [median = 0] = took.toSorted((a, b) => a - b).slice(took.length / 2);
    assert.ok(median < 50, `took ${median.toFixed(1)} ms`);
    console.log(`# slice written after ${median.toFixed(1)} ms (median)`);
  } finally {
    await cluster.stop();
  }
});

function pod(name: string, index: number): Pod {
  return {
    metadata: { name, namespace, labels: { app: 'big' } },
    spec: {
      nodeName: `node-${(index % 3) + 1}`,
      containers: [{ name: 'web', image: 'fairlead/echo' }],
    },
  };
}
