/** For tests: the real API server in memory, the controllers, and nodes whose pods start at once. */
import { keyOf, type Condition } from '../../src/api/meta.ts';
import { resources } from '../../src/api/resources.ts';
import type { Node, Pod, PodStatus } from '../../src/api/types.ts';
import { startApiServer } from '../../src/apiserver/server.ts';
import type { Client } from '../../src/client/client.ts';
import { Informer } from '../../src/client/informer.ts';
import { formatTime } from '../../src/lib/clock.ts';
import { createLogger } from '../../src/lib/log.ts';
import { createMemoryStore } from '../../src/store/store.ts';
import type { ControllerOptions } from '../../src/controllers/options.ts';
import { startControllers, type Controllers } from '../../src/controllers/start.ts';

export type TestCluster = {
  readonly client: Client;
  readonly controllers: Controllers;
  /** Pods for which it says no stay as they are, started but not ready. */
  isReady: (pod: Pod) => boolean;
  /** Whether a pod that shall end does so. */
  ends: (pod: Pod) => boolean;
  /** Settles once `check` returns something; fails with its last error after two seconds. */
  until<T>(check: () => Promise<T | undefined | false>): Promise<T>;
  stop(): Promise<void>;
};

/** A cluster of `nodes` nodes. */
export async function startTestCluster(
  options: { nodes?: number; options?: Partial<ControllerOptions> } = {},
): Promise<TestCluster> {
  const store = createMemoryStore();
  const server = await startApiServer({ store, serviceCidrs: ['10.96.0.0/16'] });
  const { client } = server;
  for (let index = 1; index <= (options.nodes ?? 3); index += 1) await addNode(client, index);
  const log = createLogger('controllers', process.env.FAIRLEAD_LOG ?? 'silent');
  const controllers = startControllers({ client, log, options: options.options ?? {} });
  const pods = new Informer<Pod>({ client, resource: resources.pods });
  const cluster: TestCluster = {
    client,
    controllers,
    isReady: () => true,
    ends: () => true,
    until,
    async stop() {
      controllers.stop();
      pods.stop();
      await server.close();
    },
  };
  pods.onChange((_, pod) => void playKubelet(cluster, pod));
  pods.start();
  await controllers.synced;
  return cluster;
}

async function addNode(client: Client, index: number): Promise<void> {
  const name = `node-${index}`;
  const labels = { 'kubernetes.io/hostname': name, 'topology.kubernetes.io/zone': `zone-${index}` };
  const node = await client.create<Node>(resources.nodes, {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name, labels },
  });
  const status: Node['status'] = {
    allocatable: { cpu: '4', memory: '8Gi', pods: '110' },
    conditions: [{ type: 'Ready', status: 'True', reason: 'KubeletReady' }],
    addresses: [{ type: 'InternalIP', address: `172.29.0.1${index}` }],
  };
  await client.update(resources.nodes, { ...node, status }, { subresource: 'status' });
}

let nextAddress = 1;

/** What a node agent tells the API server about a pod that starts and ends without trouble. */
async function playKubelet(cluster: TestCluster, pod: Pod | undefined): Promise<void> {
  if (pod === undefined || (pod.spec.nodeName ?? '') === '') return;
  const { client } = cluster;
  if (pod.metadata.deletionTimestamp !== undefined) {
    if (!cluster.ends(pod)) return;
    const { uid } = pod.metadata;
    const preconditions = uid === undefined ? {} : { uid };
    const gone = client.delete(resources.pods, keyOf(pod), {
      gracePeriodSeconds: 0,
      preconditions,
    });
    await gone.catch(() => undefined);
    return;
  }
  const status = cluster.isReady(pod) ? 'True' : 'False';
  const held = pod.status?.conditions?.find((condition) => condition.type === 'Ready');
  if (held?.status === status) return;
  const ip = pod.status?.podIP ?? address(pod);
  const others = (pod.status?.conditions ?? []).filter((condition) => condition.type !== 'Ready');
  const ready: Condition = { type: 'Ready', status, lastTransitionTime: formatTime(Date.now()) };
  const conditions = [...others, ready];
  const started: PodStatus = { phase: 'Running', podIP: ip, podIPs: [{ ip }], conditions };
  const next: Pod = { ...pod, status: { ...pod.status, ...started } };
  await client.update(resources.pods, next, { subresource: 'status' }).catch(() => undefined);
}

function address(pod: Pod): string {
  const node = Number(pod.spec.nodeName?.replace('node-', ''));
  nextAddress += 1;
  return `10.244.${node}.${(nextAddress % 250) + 2}`;
}

async function until<T>(check: () => Promise<T | undefined | false>): Promise<T> {
  const deadline = Date.now() + 2000;
  for (;;) {
    let failed: unknown = new Error('the check never came true');
    try {
      const found = await check();
      if (found !== undefined && found !== false) return found;
    } catch (error) {
      failed = error;
    }
    if (Date.now() > deadline) throw failed;
    await new Promise((resolve) => {
      setTimeout(resolve, 2);
    });
  }
}
