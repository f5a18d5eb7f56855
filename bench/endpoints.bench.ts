/** How soon a change of one pod among a thousand is written to its EndpointSlice (K31). */
import { resources } from '../src/api/resources.ts';
import type { EndpointSlice, Pod, Service } from '../src/api/types.ts';
import { startTestCluster } from '../test/support/test-cluster.ts';
import { quantile, report } from './report.ts';

const namespace = 'default';
const pods = 1000;
const changes = 100;

const cluster = await startTestCluster({ nodes: 3 });
const { client } = cluster;
await client.create<Service>(resources.services, {
  metadata: { name: 'big', namespace },
  spec: { selector: { app: 'big' }, ports: [{ port: 80 }] },
});
const names = Array.from({ length: pods }, (_, index) => `big-${index}`);
await Promise.all(names.map((name, index) => client.create(resources.pods, pod(name, index))));
await cluster.until(async () => (await readyCount()) === pods);

const took: number[] = [];
for (const name of names.slice(0, changes)) took.push(await timeChange(name));
await cluster.stop();
const sorted = took.toSorted((a, b) => a - b);
const what = `readiness change to slice, ${pods} pods`;
report(
  'endpoints',
  [
    { name: `${what}, median of ${changes}`, value: quantile(sorted, 0.5), unit: 'ms' },
    { name: `${what}, p99 of ${changes}`, value: quantile(sorted, 0.99), unit: 'ms', goal: '< 50' },
  ],
  process.argv.includes('--json'),
);

async function readyCount(): Promise<number> {
  const { items } = await client.list<EndpointSlice>(resources.endpointslices);
  return items.flatMap((slice) => slice.endpoints.filter((end) => end.conditions?.ready)).length;
}

async function timeChange(name: string): Promise<number> {
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
  abort.abort();
  return performance.now() - startedAt;
}

function pod(name: string, index: number): Pod {
  return {
    metadata: { name, namespace, labels: { app: 'big' } },
    spec: {
      nodeName: `node-${(index % 3) + 1}`,
      containers: [{ name: 'web', image: 'fairlead/echo' }],
    },
  };
}
