/**
 * The process that stands for thousands of nodes: it makes them and their pods in the API, renews their
 * Leases, and answers for the pods as their agents would. No namespace, no container.
 */
import { readFileSync } from 'node:fs';
import { keyOf, type KubeObject } from '../api/meta.ts';
import { resources, type Resource } from '../api/resources.ts';
import { isReason } from '../api/status.ts';
import type { Lease, Pod } from '../api/types.ts';
import type { Client } from '../client/client.ts';
import { createHttpClient } from '../client/http-client.ts';
import { Informer } from '../client/informer.ts';
import { Reconciler } from '../client/reconciler.ts';
import { messageOf } from '../lib/errors.ts';
import { keepHeapSmall } from '../lib/heap.ts';
import { createLogger, type Logger } from '../lib/log.ts';
import { fakeGraceSeconds } from './config.ts';
import {
  fakeNamespace,
  fakeNode,
  fakeNodeIndex,
  fakeNodeName,
  fakePod,
  fakeService,
  podsPerNodeMax,
  runningStatus,
  type Fakes,
} from './fake-objects.ts';
import { keyFiles } from './keys.ts';
import type { LabPaths } from './paths.ts';
import { readLab } from './state.ts';

const leaseNamespace = 'kube-node-lease';
/** Requests under way; more would only wait in the server. */
const CONCURRENCY = 64;
/** Pods whose status is being written. */
const STATUS_CONCURRENCY = 32;

/** Runs until a signal ends the process; its objects stay, and its nodes are lost after a while. */
export async function runFakes(paths: LabPaths): Promise<void> {
  keepHeapSmall();
  const lab = readLab(paths);
  const files = keyFiles(paths);
  const log = createLogger('fakes');
  const { fakes } = lab;
  if (fakes === undefined) return;
  const client = createHttpClient({
    server: `https://127.0.0.1:${lab.apiPort}`,
    ca: readFileSync(files.ca, 'utf8'),
    cert: readFileSync(files.admin.cert, 'utf8'),
    key: readFileSync(files.admin.key, 'utf8'),
    userAgent: 'fairlead-fakes',
  });
  const agents = startAgents(client, log);
  const stopLeases = keepLeases(client, fakes, log);
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.once(signal, () => {
      stopLeases();
      agents.stop();
      process.exit(0);
    });
  }
  await makeObjects(client, fakes, log);
}

async function makeObjects(client: Client, fakes: Fakes, log: Logger): Promise<void> {
  const startedAt = performance.now();
  const now = Date.now();
  await ensure(client, resources.namespaces, { metadata: { name: fakeNamespace } });
  await inParallel(fakes.nodes, (index) => ensure(client, resources.nodes, fakeNode(index, now)));
  await inParallel(fakes.services, (index) =>
    ensure(client, resources.services, fakeService(index)),
  );
  await inParallel(fakes.pods, (index) => ensure(client, resources.pods, fakePod(index, fakes)));
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
  log.info({ ...fakes, seconds }, 'all fake objects are in the API');
}

/** Makes it unless it is there; tries until the server has answered. */
async function ensure(client: Client, resource: Resource, object: KubeObject): Promise<void> {
  for (let tries = 0; ; tries += 1) {
    try {
      await client.create(resource, object);
      return;
    } catch (error) {
      if (isReason(error, 'AlreadyExists')) return;
      // The server starts beside us, and may start again.
      if (tries >= 100) throw error;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }
}

async function inParallel(count: number, work: (index: number) => Promise<void>): Promise<void> {
  let next = 0;
  const runner = async () => {
    while (next < count) {
      next += 1;
      await work(next - 1);
    }
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, runner));
}

/** Says of every pod on a fake node that it runs, and that it is gone when it shall go. */
function startAgents(client: Client, log: Logger): { stop: () => void } {
  const pods = new Informer<Pod>({ client, resource: resources.pods, log, trim: slimPod });
  const hosts = new Map<number, Set<number>>();
  const reconciler = new Reconciler({
    name: 'fakes',
    log,
    concurrency: STATUS_CONCURRENCY,
    async reconcile(key) {
      const pod = pods.get(key);
      const node = fakeNodeIndex(pod?.spec.nodeName);
      if (pod === undefined || node === undefined) return;
      if (pod.metadata.deletionTimestamp !== undefined) await forget(client, pod);
      else if (pod.status?.podIP === undefined) await run(pod, node);
    },
  });

  async function run(pod: Pod, node: number): Promise<void> {
    const host = takeHost(hosts, node);
    if (host === undefined) return;
    const status = runningStatus(pod, node, host, Date.now());
    try {
      await client.patch(
        resources.pods,
        keyOf(pod),
        { metadata: { uid: pod.metadata.uid }, status },
        { type: 'merge', subresource: 'status' },
      );
    } catch (error) {
      hosts.get(node)?.delete(host);
      if (!isReason(error, 'NotFound')) throw error;
    }
  }

  pods.onChange((old, current) => {
    const pod = current ?? old!;
    const node = fakeNodeIndex(pod.spec.nodeName);
    if (node === undefined) return;
    const host = Number(pod.status?.podIP?.split('.')[3] ?? 0);
    const taken = hosts.get(node) ?? new Set();
    hosts.set(node, taken);
    if (current === undefined) taken.delete(host);
    else if (host > 0) taken.add(host);
    if (current !== undefined) reconciler.add(`${pod.metadata.namespace}/${pod.metadata.name}`);
  });
  pods.start();
  return {
    stop() {
      pods.stop();
      reconciler.stop();
    },
  };
}

async function forget(client: Client, pod: Pod): Promise<void> {
  const preconditions = pod.metadata.uid === undefined ? {} : { uid: pod.metadata.uid };
  try {
    await client.delete(resources.pods, keyOf(pod), { gracePeriodSeconds: 0, preconditions });
  } catch (error) {
    if (!isReason(error, 'NotFound') && !isReason(error, 'Conflict')) throw error;
  }
}

function takeHost(hosts: Map<number, Set<number>>, node: number): number | undefined {
  const taken = hosts.get(node) ?? new Set();
  hosts.set(node, taken);
  for (let host = 1; host <= podsPerNodeMax; host += 1) {
    if (taken.has(host)) continue;
    taken.add(host);
    return host;
  }
  return undefined;
}

/** Thousands of pods are remembered. */
function slimPod(pod: Pod): Pod {
  const { name, namespace, uid, resourceVersion, deletionTimestamp } = pod.metadata;
  const { nodeName, containers } = pod.spec;
  return {
    metadata: { name, namespace, uid, resourceVersion, deletionTimestamp },
    spec: { nodeName, containers: containers.map(({ name, image }) => ({ name, image })) },
    status: { podIP: pod.status?.podIP },
  } as Pod;
}

/** A third of the time in which each must be heard of; one after the other, evenly. */
function keepLeases(client: Client, fakes: Fakes, log: Logger): () => void {
  const graceSeconds = fakeGraceSeconds(fakes);
  const everyMs = (graceSeconds * 1000) / 3 / Math.max(1, fakes.nodes);
  let index = 0;
  let due = performance.now();
  const timer = setInterval(
    () => {
      // Those that have come due since last time.
      for (; due <= performance.now(); due += everyMs) {
        const name = fakeNodeName(index);
        index = (index + 1) % fakes.nodes;
        renew(client, name, graceSeconds).catch((error: unknown) =>
          log.debug({ node: name, error: messageOf(error) }, 'lease not renewed'),
        );
      }
    },
    Math.max(20, everyMs),
  );
  return () => clearInterval(timer);
}

async function renew(client: Client, name: string, leaseDurationSeconds: number): Promise<void> {
  const spec = {
    holderIdentity: name,
    leaseDurationSeconds,
    renewTime: new Date().toISOString().replace('Z', '000Z'),
  };
  const key = { namespace: leaseNamespace, name };
  try {
    await client.patch(resources.leases, key, { spec }, { type: 'merge' });
  } catch (error) {
    if (!isReason(error, 'NotFound')) throw error;
    await client.create<Lease>(resources.leases, { metadata: key, spec });
  }
}
