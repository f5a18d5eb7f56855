/** The demo: applies examples/shop, sends real requests to every kind of Service, then kills pods under load. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { KubeObject } from '../api/meta.ts';
import { resources } from '../api/resources.ts';
import { isReason } from '../api/status.ts';
import type { Endpoints, EndpointSlice, Pod, Service } from '../api/types.ts';
import type { Client } from '../client/client.ts';
import { UserError, WorldError } from '../lib/errors.ts';
import { formatHostPort } from '../lib/ip.ts';
import { packageFile } from '../lib/package-root.ts';
import type { LabConfig } from './config.ts';
import type { Answer, Asker, Question } from './demo-client.ts';
import { applyObject, readManifests } from './manifests.ts';
import { nodeRuntimeDir, type LabPaths } from './paths.ts';
import { isOpen } from './ports.ts';
import { selfCommand } from './processes.ts';

const namespace = 'shop';
const directory = packageFile('examples', 'shop');
/** The address in 50-outside.yaml, which stands for the machine as the lab's nodes see it. */
const addressInManifest = '172.29.0.1';
/** Pods of the shop: 2 frontend, 3 backend, 1 cache, 3 database, 1 client. */
const shopPods = 10;
const legacyPort = 18_080;
const readyWithinMs = 30_000;

/** One kind of Service: what was asked, who answered, and how to look at it oneself. */
export type Scene = {
  readonly kind: string;
  readonly service: string;
  readonly address: string;
  readonly asked: string;
  readonly answered: Answer;
  readonly look: string;
};

export type ChurnScene = {
  readonly sent: number;
  readonly failed: number;
  readonly failures: Record<string, number>;
  readonly before: readonly string[];
  readonly after: readonly string[];
};

export type Demo = { readonly lab: LabConfig; readonly paths: LabPaths; readonly client: Client };

/** Brings the shop's objects into the cluster and waits until every pod is ready. */
export async function applyShop(demo: Demo): Promise<number> {
  const host = demo.lab.hostIPs[0]!;
  const objects = (await readManifests(directory)).map(
    (object) =>
      JSON.parse(JSON.stringify(object).replaceAll(addressInManifest, host)) as KubeObject,
  );
  for (const object of objects) await applyObject(demo.client, object);
  await waitForPods(demo, shopPods);
  return objects.length;
}

export async function removeShop({ client }: Demo): Promise<void> {
  try {
    await client.delete(resources.namespaces, { name: namespace });
  } catch (error) {
    if (!isReason(error, 'NotFound')) throw error;
  }
}

/** Scene after scene; `show` is called as each ends. */
export async function playScenes(demo: Demo, show: (scene: Scene) => void): Promise<void> {
  const legacy = await serveLegacy(demo.lab.hostIPs[0]!);
  try {
    for (const scene of await scenes(demo)) {
      const answers =
        scene.from === 'outside'
          ? await askFrom(undefined, demo, scene.questions)
          : await askFrom(await clientPod(demo), demo, scene.questions);
      show({ ...scene, answered: mergeAnswers(answers) });
    }
  } finally {
    legacy.close();
    legacy.closeAllConnections();
  }
}

type Script = Omit<Scene, 'answered'> & {
  readonly from: 'pod' | 'outside';
  readonly questions: readonly Question[];
};

async function scenes(demo: Demo): Promise<Script[]> {
  const node = demo.lab.nodes.at(-1)!;
  const nodeAddress = formatHostPort(node.ips[0]!, 30_007);
  const get = async (name: string) =>
    await demo.client.get<Service>(resources.services, { namespace, name });
  const [backend, sticky, cache, legacy, typo] = await Promise.all(
    ['backend', 'backend-sticky', 'cache', 'legacy', 'typo'].map(get),
  );
  const at = (service: Service | undefined) =>
    formatHostPort(service?.spec.clusterIP ?? '', service?.spec.ports?.[0]?.port ?? 0);
  const domain = `${namespace}.svc.${demo.lab.clusterDomain}`;
  const type = demo.lab.families[0] === 'ipv4' ? 'A' : 'AAAA';
  const look = (what: string) => `kubectl -n ${namespace} get ${what}`;
  return [
    {
      kind: 'ClusterIP',
      service: 'backend',
      address: at(backend),
      from: 'pod',
      asked: '30 x http://backend/hostname from pod client',
      questions: [{ kind: 'http', url: 'http://backend/hostname', count: 30 }],
      look: look('service,endpoints backend'),
    },
    {
      kind: 'NodePort',
      service: 'frontend',
      address: nodeAddress,
      from: 'outside',
      asked: `20 x http://${nodeAddress}/hostname from outside`,
      questions: [{ kind: 'http', url: `http://${nodeAddress}/hostname`, count: 20 }],
      look: look('service,endpoints frontend'),
    },
    ...(await balancedScenes(demo)),
    {
      kind: 'ClusterIP, TCP and UDP',
      service: 'cache',
      address: at(cache),
      from: 'pod',
      asked: 'one line over TCP and one over UDP, same port',
      questions: (['tcp', 'udp'] as const).map((kind) => ({
        kind,
        host: 'cache',
        port: 6379,
        text: 'hostname',
      })),
      look: look('service cache -o yaml'),
    },
    {
      kind: 'session affinity ClientIP',
      service: 'backend-sticky',
      address: at(sticky),
      from: 'pod',
      asked: '20 x http://backend-sticky/hostname from pod client',
      questions: [{ kind: 'http', url: 'http://backend-sticky/hostname', count: 20 }],
      look: look("service backend-sticky -o jsonpath='{.spec.sessionAffinityConfig}'"),
    },
    {
      kind: 'headless',
      service: 'db',
      address: 'None',
      from: 'pod',
      asked: `DNS: ${type} db, ${type} db-0.db, SRV _sql._tcp.db`,
      questions: [
        { kind: 'dns', name: `db.${domain}.`, type },
        { kind: 'dns', name: `db-0.db.${domain}.`, type },
        { kind: 'dns', name: `_sql._tcp.db.${domain}.`, type: 'SRV' },
      ],
      look: look('statefulset,endpoints db'),
    },
    {
      kind: 'ExternalName',
      service: 'payments',
      address: 'payments.example.com',
      from: 'pod',
      asked: 'DNS: CNAME payments',
      questions: [{ kind: 'dns', name: `payments.${domain}.`, type: 'CNAME' }],
      look: look('service payments'),
    },
    {
      kind: 'no selector, endpoints by hand',
      service: 'legacy',
      address: at(legacy),
      from: 'pod',
      asked: '5 x http://legacy/, served outside the cluster',
      questions: [{ kind: 'http', url: 'http://legacy/', count: 5 }],
      look: look('endpoints,endpointslices -l kubernetes.io/service-name=legacy'),
    },
    {
      kind: 'wrong selector',
      service: 'typo',
      address: at(typo),
      from: 'pod',
      asked: '3 x http://typo/: no pod matches, refused at once',
      questions: [{ kind: 'http', url: 'http://typo/', count: 3 }],
      look: `${look('endpoints typo')}; kubectl -n ${namespace} get pods --show-labels`,
    },
  ];
}

/** Through the load balancer; none where the lab has no such thing. */
async function balancedScenes(demo: Demo): Promise<Script[]> {
  if (demo.lab.balancer === undefined) return [];
  const [window, local] = await Promise.all(
    ['window', 'window-local'].map((name) => externalAddress(demo, name)),
  );
  const scene = {
    from: 'outside',
    look: `kubectl -n ${namespace} describe service window`,
  } as const;
  return [
    {
      ...scene,
      kind: 'LoadBalancer',
      service: 'window',
      address: window!,
      asked: `20 x http://${window}/hostname from outside`,
      questions: [{ kind: 'http', url: `http://${window}/hostname`, count: 20 }],
    },
    {
      ...scene,
      kind: 'LoadBalancer, policy Local',
      service: 'window-local',
      address: local!,
      asked: `3 x http://${local}/clientip from outside: the pods see who asks`,
      questions: [{ kind: 'http', url: `http://${local}/clientip`, count: 3 }],
    },
  ];
}

/** `address:port` of a LoadBalancer Service, once it has an address that answers. */
async function externalAddress({ client, lab }: Demo, name: string): Promise<string> {
  const deadline = performance.now() + readyWithinMs;
  for (;;) {
    const key = { namespace, name };
    const { spec, status } = await client.get<Service>(resources.services, key);
    const ip = status?.loadBalancer?.ingress?.[0]?.ip;
    if (ip !== undefined && (await isOpen(ip, spec.ports?.[0]?.port ?? 0))) {
      return formatHostPort(ip, spec.ports?.[0]?.port ?? 0);
    }
    if (performance.now() > deadline) {
      throw new WorldError(
        'DEMO_NOT_READY',
        `Cannot show the demo: Service "${name}" of lab "${lab.name}" has no address that answers after ${readyWithinMs / 1000} s; see: kubectl -n ${namespace} describe service ${name}`,
      );
    }
    await sleep(50);
  }
}

/** Kills every backend pod, one after the other, while requests run through the virtual IP. */
export async function playChurn(
  demo: Demo,
  perSecond: number,
  seconds: number,
): Promise<ChurnScene> {
  const before = await backendAddresses(demo);
  const load = askFrom(await clientPod(demo), demo, [
    { kind: 'load', url: 'http://backend/hostname', perSecond, seconds },
  ]);
  const pods = await podsOf(demo, 'app=backend');
  for (const pod of pods) {
    await sleep((seconds * 700) / (pods.length + 1));
    await demo.client.delete(resources.pods, { namespace, name: pod.metadata.name });
  }
  const [answer] = await load;
  await waitForPods(demo, shopPods);
  const sum = (counts: Record<string, number>) =>
    Object.values(counts).reduce((total, count) => total + count, 0);
  const failures = answer?.failures ?? {};
  return {
    sent: sum(answer?.counts ?? {}) + sum(failures),
    failed: sum(failures),
    failures,
    before,
    after: await backendAddresses(demo),
  };
}

async function backendAddresses({ client }: Demo): Promise<string[]> {
  const endpoints = await client.get<Endpoints>(resources.endpoints, {
    namespace,
    name: 'backend',
  });
  return (endpoints.subsets ?? [])
    .flatMap((subset) => (subset.addresses ?? []).map((address) => address.ip))
    .toSorted();
}

async function podsOf({ client }: Demo, labelSelector?: string): Promise<readonly Pod[]> {
  const { items } = await client.list<Pod>(resources.pods, {
    namespace,
    ...(labelSelector === undefined ? {} : { labelSelector }),
  });
  return items.filter((pod) => pod.metadata.deletionTimestamp === undefined);
}

async function clientPod(demo: Demo): Promise<Pod> {
  return await demo.client.get<Pod>(resources.pods, { namespace, name: 'client' });
}

async function waitForPods(demo: Demo, count: number): Promise<void> {
  const deadline = performance.now() + readyWithinMs;
  const isReady = (pod: Pod) =>
    pod.status?.conditions?.some(
      (condition) => condition.type === 'Ready' && condition.status === 'True',
    ) === true;
  for (;;) {
    const pods = await podsOf(demo);
    const ready = pods.filter(isReady);
    // The rules follow the slices; a pod counts once its address is in them.
    if (ready.length >= count && (await inSlices(demo, ready))) return;
    if (performance.now() > deadline) {
      const waiting = pods.filter((pod) => !isReady(pod)).map((pod) => pod.metadata.name);
      throw new WorldError(
        'DEMO_NOT_READY',
        `Cannot show the demo: ${ready.length} of ${count} pods are ready after ${readyWithinMs / 1000} s, not ready: ${waiting.join(', ')}`,
      );
    }
    await sleep(50);
  }
}

async function inSlices({ client }: Demo, pods: readonly Pod[]): Promise<boolean> {
  const { items } = await client.list<EndpointSlice>(resources.endpointslices, { namespace });
  const addresses = new Set(
    items.flatMap((slice) =>
      slice.endpoints
        .filter((endpoint) => endpoint.conditions?.ready !== false)
        .flatMap((endpoint) => endpoint.addresses),
    ),
  );
  return pods.every(
    (pod) => pod.metadata.labels?.app === 'client' || addresses.has(pod.status?.podIP ?? ''),
  );
}

/** Runs the asking side in the pod's network, or outside the cluster when no pod is given. */
async function askFrom(
  pod: Pod | undefined,
  demo: Demo,
  questions: readonly Question[],
): Promise<Answer[]> {
  const { clusterDomain, clusterDns } = demo.lab;
  const asker: Asker = {
    dns: clusterDns,
    search: [`${namespace}.svc.${clusterDomain}`, `svc.${clusterDomain}`, clusterDomain],
    questions,
  };
  const [command, ...args] = [
    ...enterPod(pod, demo),
    ...selfCommand(),
    'demo-client',
    JSON.stringify(asker),
  ];
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const [code] = (await once(child, 'close')) as [number];
  if (code !== 0)
    throw new WorldError(
      'DEMO_CLIENT_FAILED',
      `Cannot ask from pod "client": it exited with ${code}: ${stderr.trim()}`,
    );
  return JSON.parse(stdout) as Answer[];
}

function enterPod(pod: Pod | undefined, demo: Demo): string[] {
  if (pod === undefined) return [];
  const node = pod.spec.nodeName ?? '';
  if (!demo.lab.nodes.some((entry) => entry.name === node)) {
    throw new UserError(
      'DEMO_NOT_READY',
      `Cannot ask from pod "client": it is on node "${node}", which this lab does not have`,
    );
  }
  return [
    'nsenter',
    `--net=${join(nodeRuntimeDir(demo.paths, node), 'pods', pod.metadata.uid ?? '', 'net')}`,
    '--',
  ];
}

function mergeAnswers(answers: readonly Answer[]): Answer {
  const counts: Record<string, number> = {};
  const failures: Record<string, number> = {};
  for (const answer of answers) {
    for (const [text, count] of Object.entries(answer.counts))
      counts[text] = (counts[text] ?? 0) + count;
    for (const [text, count] of Object.entries(answer.failures))
      failures[text] = (failures[text] ?? 0) + count;
  }
  return { counts, failures };
}

/** The old system outside the cluster that the Service without a selector points to. */
async function serveLegacy(address: string): Promise<Server> {
  const server = createServer((_, response) => response.end('legacy server outside the cluster'));
  server.listen(legacyPort, address);
  try {
    await once(server, 'listening');
  } catch (cause) {
    throw new UserError(
      'PORT_TAKEN',
      `Cannot show the demo: port ${legacyPort} of ${address} is taken`,
      { cause },
    );
  }
  return server;
}
