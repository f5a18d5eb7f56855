/** Two Services of four pods each, a pod to ask them from, and Services without pods to change all the time. */
import { setTimeout as sleep } from 'node:timers/promises';
import { resources } from '../../src/api/resources.ts';
import type { Deployment, EndpointSlice, Pod, Service } from '../../src/api/types.ts';
import type { Client } from '../../src/client/client.ts';

const namespace = 'default';
const NAMES = ['web', 'other'] as const;
const BUSY_SERVICES = 40;
const BUSY_ENDPOINTS = 50;
const PATIENCE_MS = 60_000;

export type Target = { readonly host: string; readonly port: number; readonly expect: string };

export async function setUp(client: Client): Promise<{ targets: Target[]; source: Pod }> {
  const targets: Target[] = [];
  for (const name of NAMES) {
    await client.create(resources.deployments, deployment(name));
    const { spec } = await client.create<Service>(resources.services, {
      metadata: { name, namespace },
      spec: { selector: { app: name }, ports: [{ port: 80, targetPort: 8080 }] },
    });
    targets.push({ host: spec.clusterIP!, port: 80, expect: `${name}-` });
  }
  await client.create<Pod>(resources.pods, {
    metadata: { name: 'client', namespace },
    spec: {
      nodeName: 'node-1',
      containers: [{ name: 'main', image: 'host', command: ['sleep', '100000'] }],
    },
  });
  await Promise.all(NAMES.map((name) => untilRolledOut(client, name)));
  for (;;) {
    const source = await client.get<Pod>(resources.pods, { namespace, name: 'client' });
    if (source.status?.phase === 'Running') return { targets, source };
    await sleep(50);
  }
}

function deployment(name: string): Deployment {
  const labels = { app: name };
  return {
    metadata: { name, namespace },
    spec: {
      replicas: 4,
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: {
          containers: [{ name: 'main', image: 'fairlead/echo', ports: [{ containerPort: 8080 }] }],
        },
      },
    },
  };
}

/** `kubectl rollout restart`, until it is done. */
export async function rollOut(client: Client, name: string): Promise<void> {
  const annotations = { 'kubectl.kubernetes.io/restartedAt': new Date().toISOString() };
  const patch = { spec: { template: { metadata: { annotations } } } };
  await client.patch(resources.deployments, { namespace, name }, patch, { type: 'strategic' });
  await untilRolledOut(client, name);
}

export async function scale(client: Client, name: string, replicas: number): Promise<void> {
  const patch = { spec: { replicas } };
  await client.patch(resources.deployments, { namespace, name }, patch, { type: 'merge' });
}

/** As `kubectl rollout status`. */
export async function untilRolledOut(client: Client, name: string): Promise<void> {
  const end = performance.now() + PATIENCE_MS;
  while (performance.now() < end) {
    const found = await client.get<Deployment>(resources.deployments, { namespace, name });
    const { spec, status, metadata } = found;
    const want = spec.replicas;
    const done =
      status?.observedGeneration === metadata.generation &&
      status?.updatedReplicas === want &&
      status?.replicas === want &&
      status?.availableReplicas === want;
    if (done) return;
    await sleep(50);
  }
  throw new Error(`Deployment "${name}" was not rolled out within ${PATIENCE_MS} ms`);
}

/** Keeps every proxy at its work: thousands of elements change, again and again, until aborted. */
export async function keepBusy(client: Client, signal: AbortSignal): Promise<void> {
  const at = Array.from({ length: BUSY_SERVICES }, (_, index) => index);
  await Promise.all(at.map((index) => create(client, index)));
  for (let round = 1; !signal.aborted; round += 1) {
    await Promise.all(
      at.map((index) =>
        client.patch(
          resources.endpointslices,
          { namespace, name: `busy-${index}` },
          { endpoints: busyEndpoints(index, round) },
          { type: 'merge' },
        ),
      ),
    );
  }
  for (const index of at) {
    await client.delete(resources.services, { namespace, name: `busy-${index}` });
    await client.delete(resources.endpointslices, { namespace, name: `busy-${index}` });
  }
}

async function create(client: Client, index: number): Promise<void> {
  const name = `busy-${index}`;
  await client.create<Service>(resources.services, {
    metadata: { name, namespace },
    spec: { ports: [{ port: 80, targetPort: 8080 }] },
  });
  await client.create<EndpointSlice>(resources.endpointslices, {
    metadata: { name, namespace, labels: { 'kubernetes.io/service-name': name } },
    addressType: 'IPv4',
    endpoints: busyEndpoints(index, 0),
    ports: [{ name: '', port: 8080 }],
  });
}

/** Addresses nobody has; all of them are others in the next round. */
function busyEndpoints(index: number, round: number) {
  return Array.from({ length: BUSY_ENDPOINTS }, (_, at) => ({
    addresses: [`198.18.${index * 2 + (round % 2)}.${at + 1}`],
    nodeName: 'node-2',
  }));
}
