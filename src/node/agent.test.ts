/** The agent against the real API server in process; only the runtime is a stand-in. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { resources } from '../api/resources.ts';
import type { ConfigMap, Event, Lease, Node, Pod } from '../api/types.ts';
import { createCa, issue } from '../apiserver/pki/certificates.ts';
import { startApiServer } from '../apiserver/server.ts';
import { createMemoryStore } from '../store/store.ts';
import { createLogger } from '../lib/log.ts';
import { startNodeAgent } from './agent.ts';
import { FakeRuntime } from './fake-runtime.ts';

const dir = mkdtempSync(join(tmpdir(), 'fairlead-agent-'));
after(() => rmSync(dir, { recursive: true, force: true }));

const ca = createCa();
const tls = {
  ...issue(ca, { cn: 'system:node:n1', ips: ['127.0.0.1'], usages: ['server'] }),
  ca: ca.cert,
};
const api = await startApiServer({
  store: createMemoryStore(),
  serviceCidrs: ['10.96.0.0/16'],
  advertise: { addresses: ['172.29.0.1'], port: 6443 },
});
const { client } = api;
await client.create<ConfigMap>(resources.configmaps, {
  metadata: { name: 'kube-root-ca.crt', namespace: 'default' },
  data: { 'ca.crt': ca.cert },
});
await client.create(resources.serviceaccounts, {
  metadata: { name: 'default', namespace: 'default' },
});

const runtime = new FakeRuntime(join(dir, 'raw'));
function start(name = 'n1', own = runtime, { nodeIPs = ['127.0.0.1'] } = {}) {
  return startNodeAgent({
    client,
    nodeName: name,
    nodeIPs,
    runtime: own,
    dir: join(dir, name, 'run'),
    stateDir: join(dir, name, 'state'),
    clusterDomain: 'cluster.local',
    clusterDns: ['10.96.0.10'],
    log: createLogger('agent', process.env['FAIRLEAD_LOG'] ?? 'silent'),
    tls,
    port: 0,
    podCidrs: ['127.0.5.0/24'],
  });
}
let agent = await start();
after(() => agent.stop());

type PodOptions = {
  spec?: Partial<Pod['spec']>;
  container?: Partial<Pod['spec']['containers'][0]>;
};

async function createPod(
  name: string,
  { spec = {}, container = {} }: PodOptions = {},
): Promise<Pod> {
  return client.create<Pod>(resources.pods, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'default' },
    spec: {
      nodeName: 'n1',
      automountServiceAccountToken: false,
      containers: [{ name: 'main', image: 'fairlead/pause', ...container }],
      ...spec,
    },
  });
}

const get = (name: string) => client.get<Pod>(resources.pods, { namespace: 'default', name });

async function until<T>(what: string, look: () => Promise<T | undefined | false>, ms = 5000) {
  const end = performance.now() + ms;
  let last = '';
  while (performance.now() < end) {
    try {
      const found = await look();
      if (found !== undefined && found !== false) return found;
    } catch (error) {
      last = String(error);
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error(`not within ${ms} ms: ${what} ${last}`);
}

const condition = (pod: Pod, type: string) =>
  pod.status?.conditions?.find((c) => c.type === type)?.status;

async function untilPod(name: string, what: string, holds: (pod: Pod) => boolean, ms?: number) {
  const look = async () => {
    const pod = await get(name);
    return holds(pod) ? pod : undefined;
  };
  try {
    return await until(`pod ${name} ${what}`, look, ms);
  } catch (error) {
    const now = await get(name).catch(String);
    throw new Error(`${String(error)}\n${JSON.stringify(now, null, 1)}`, { cause: error });
  }
}

const isReady = (pod: Pod) => condition(pod, 'Ready') === 'True';

async function untilGone(name: string, ms?: number) {
  await until(`pod ${name} gone`, async () => (await get(name).catch(() => 'gone')) === 'gone', ms);
}

async function eventReasons(name: string): Promise<string[]> {
  const { items } = await client.list<Event>(resources.events, { namespace: 'default' });
  return items.filter((e) => e.involvedObject.name === name).map((e) => e.reason ?? '');
}

test('[K28] the node registers with labels, addresses, capacity and a lease', async () => {
  await agent.registered;
  const node = await client.get<Node>(resources.nodes, { name: 'n1' });
  assert.equal(node.metadata.labels?.['kubernetes.io/hostname'], 'n1');
  assert.equal(node.metadata.labels?.['kubernetes.io/os'], 'linux');
  assert.deepEqual(node.spec?.podCIDRs, ['127.0.5.0/24']);
  assert.deepEqual(node.status?.addresses, [
    { type: 'InternalIP', address: '127.0.0.1' },
    { type: 'Hostname', address: 'n1' },
  ]);
  assert.equal(node.status?.daemonEndpoints?.kubeletEndpoint?.Port, agent.port);
  assert.equal(node.status?.conditions?.find((c) => c.type === 'Ready')?.status, 'True');
  assert.match(node.status?.nodeInfo?.['kubeletVersion'] ?? '', /^v1\.33\.\d+/);
  await until('lease', async () => {
    const lease = await client.get<Lease>(resources.leases, {
      namespace: 'kube-node-lease',
      name: 'n1',
    });
    return lease.spec?.holderIdentity === 'n1';
  });
});

test('[K28] a node that registers again keeps the addresses of both families', async () => {
  const nodeIPs = ['127.0.0.1', '::1'];
  const wanted = [
    { type: 'InternalIP', address: '127.0.0.1' },
    { type: 'InternalIP', address: '::1' },
    { type: 'Hostname', address: 'dual' },
  ];
  for (const round of ['first', 'second']) {
    const dual = await start('dual', new FakeRuntime(join(dir, 'dual-raw')), { nodeIPs });
    await dual.registered;
    const node = await client.get<Node>(resources.nodes, { name: 'dual' });
    assert.deepEqual(node.status?.addresses, wanted, round);
    await dual.stop();
  }
  await client.delete(resources.nodes, { name: 'dual' });
});

test('[K28] a node deleted by someone comes back', async () => {
  await client.delete(resources.nodes, { name: 'n1' });
  await until('node', () => client.get(resources.nodes, { name: 'n1' }));
});

test('[K2] [K16] a pod gets an address, runs, is ready, and its events tell the steps', async () => {
  await createPod('plain');
  const pod = await untilPod('plain', 'ready', isReady);
  assert.equal(pod.status?.phase, 'Running');
  assert.match(pod.status?.podIP ?? '', /^127\.0\.5\.\d+$/);
  assert.deepEqual(pod.status?.podIPs, [{ ip: pod.status?.podIP }]);
  assert.equal(pod.status?.hostIP, '127.0.0.1');
  const status = pod.status?.containerStatuses?.[0];
  assert.ok(status?.state?.running?.startedAt);
  assert.equal(status.ready, true);
  assert.equal(status.started, true);
  assert.equal(status.restartCount, 0);
  for (const type of ['PodScheduled', 'Initialized', 'ContainersReady']) {
    assert.equal(condition(pod, type), 'True', type);
  }
  await until('events', async () => {
    const reasons = await eventReasons('plain');
    return ['Pulled', 'Created', 'Started'].every((reason) => reasons.includes(reason));
  });
});

test('a pod that somebody else called not ready, its node being out of reach, is ready again', async () => {
  await createPod('doubted');
  await untilPod('doubted', 'is ready', isReady);
  const conditions = [{ type: 'Ready', status: 'False', reason: 'NodeNotReady' }];
  const key = { namespace: 'default', name: 'doubted' };
  const written = await client.patch<Pod>(
    resources.pods,
    key,
    { status: { conditions } },
    { type: 'strategic', subresource: 'status' },
  );
  assert.equal(condition(written, 'Ready'), 'False');
  const pod = await untilPod('doubted', 'is ready again', isReady);
  assert.equal(pod.status?.conditions?.find(({ type }) => type === 'Ready')?.reason, undefined);
  await client.delete(resources.pods, key, { gracePeriodSeconds: 0 });
  await untilGone('doubted');
});

test('[K10] [K11] [K12] [K14] what the container is given', async () => {
  await createPod('given', {
    container: {
      image: 'host',
      command: ['sh', '-c', 'echo $(POD_IP)'],
      env: [{ name: 'POD_IP', valueFrom: { fieldRef: { fieldPath: 'status.podIP' } } }],
    },
    spec: { hostname: 'db-0', subdomain: 'db' },
  });
  const pod = await untilPod('given', 'ready', isReady);
  const { spec } = runtime.containers.get(`${pod.metadata.uid}/main/0`)!;
  assert.equal(spec.env['POD_IP'], pod.status?.podIP);
  assert.equal(spec.env['KUBERNETES_SERVICE_HOST'], '10.96.0.1');
  assert.deepEqual(spec.command, ['sh', '-c', `echo ${pod.status?.podIP}`]);
  assert.equal(spec.user, 65_534);
  const file = (target: string) =>
    readFileSync(spec.mounts.find((mount) => mount.target === target)!.source, 'utf8');
  assert.match(file('/etc/resolv.conf'), /^search default\.svc\.cluster\.local svc\.cluster/);
  assert.match(file('/etc/resolv.conf'), /^nameserver 10\.96\.0\.10$/m);
  assert.match(
    file('/etc/hosts'),
    new RegExp(`^${pod.status?.podIP}\tdb-0\\.db\\.default\\.svc\\.cluster\\.local\tdb-0$`, 'm'),
  );
  assert.equal(runtime.sandboxes.get(pod.metadata.uid!)?.hostname, 'db-0');
});

test('[K17] a container that ends starts again at once, then backs off', async () => {
  await createPod('crash', { container: { command: ['exit', '3'], image: 'host' } });
  const pod = await untilPod('crash', 'in CrashLoopBackOff', (p) => {
    const status = p.status?.containerStatuses?.[0];
    return status?.state?.waiting?.reason === 'CrashLoopBackOff';
  });
  const status = pod.status?.containerStatuses?.[0];
  assert.equal(status?.restartCount, 1);
  assert.equal(status?.lastState?.terminated?.exitCode, 3);
  assert.equal(status?.lastState?.terminated?.reason, 'Error');
  assert.match(
    status?.state?.waiting?.message ?? '',
    /^back-off 10s restarting failed container=main/,
  );
  assert.equal(pod.status?.phase, 'Running');
  assert.ok((await eventReasons('crash')).includes('BackOff'));
  await client.delete(resources.pods, { namespace: 'default', name: 'crash' });
  await untilGone('crash');
});

for (const [policy, code, phase] of [
  ['Never', 0, 'Succeeded'],
  ['Never', 1, 'Failed'],
  ['OnFailure', 0, 'Succeeded'],
] as const) {
  test(`[K16] [K17] ${policy} and exit code ${code} give ${phase}`, async () => {
    const name = `once-${policy.toLowerCase()}-${code}`;
    await createPod(name, {
      container: { command: ['exit', String(code)], image: 'host' },
      spec: { restartPolicy: policy },
    });
    const pod = await untilPod(name, phase, (p) => p.status?.phase === phase);
    assert.equal(pod.status?.containerStatuses?.[0]?.state?.terminated?.exitCode, code);
    assert.equal(condition(pod, 'Ready'), 'False');
    await until('sandbox gone', async () => !runtime.sandboxes.has(pod.metadata.uid!));
  });
}

test('[K17] an image that cannot run here says so in status and events', async () => {
  await createPod('foreign', { container: { image: 'nginx' } });
  const pod = await untilPod(
    'foreign',
    'refused',
    (p) => p.status?.containerStatuses?.[0]?.state?.waiting?.reason === 'ErrImagePull',
  );
  assert.equal(pod.status?.phase, 'Pending');
  assert.match(
    pod.status?.containerStatuses?.[0]?.state?.waiting?.message ?? '',
    /no image "nginx"/,
  );
});

test('[K17] a missing ConfigMap holds the container back until it is there', async () => {
  await createPod('waits', {
    container: { envFrom: [{ configMapRef: { name: 'late' } }] },
  });
  const pod = await untilPod(
    'waits',
    'CreateContainerConfigError',
    (p) =>
      p.status?.containerStatuses?.[0]?.state?.waiting?.reason === 'CreateContainerConfigError',
  );
  const waiting = pod.status?.containerStatuses?.[0]?.state?.waiting;
  assert.equal(waiting?.message, 'configmap "late" not found');
  await client.create<ConfigMap>(resources.configmaps, {
    metadata: { name: 'late', namespace: 'default' },
    data: { COLOUR: 'red' },
  });
  const ready = await untilPod('waits', 'ready', isReady);
  assert.equal(runtime.containers.get(`${ready.metadata.uid}/main/0`)?.spec.env['COLOUR'], 'red');
});

test('[K18] init containers run one by one, a sidecar stays, then the rest', async () => {
  const from = runtime.history.length;
  await createPod('ordered', {
    spec: {
      initContainers: [
        { name: 'first', image: 'host', command: ['exit', '0'] },
        { name: 'side', image: 'fairlead/pause', restartPolicy: 'Always' },
        { name: 'second', image: 'host', command: ['exit', '0'] },
      ],
    },
  });
  const pod = await untilPod('ordered', 'ready', isReady);
  assert.deepEqual(runtime.history.slice(from), [
    'start first 0',
    'start side 0',
    'start second 0',
    'start main 0',
  ]);
  assert.equal(pod.status?.initContainerStatuses?.length, 3);
  assert.equal(pod.status?.initContainerStatuses?.[0]?.state?.terminated?.reason, 'Completed');
  await client.delete(resources.pods, { namespace: 'default', name: 'ordered' });
  await untilGone('ordered');
  assert.deepEqual(runtime.history.slice(from + 4), ['SIGTERM main', 'SIGTERM side']);
});

test('[K18] a failed init container with Never fails the pod', async () => {
  await createPod('init-fails', {
    spec: {
      restartPolicy: 'Never',
      initContainers: [{ name: 'first', image: 'host', command: ['exit', '1'] }],
    },
  });
  const pod = await untilPod('init-fails', 'Failed', (p) => p.status?.phase === 'Failed');
  assert.equal(condition(pod, 'Initialized'), 'False');
  const state = pod.status?.containerStatuses?.[0]?.state;
  assert.equal(state?.waiting?.reason, 'PodInitializing');
});

test('[K19] deletion: preStop, TERM, then KILL when the grace period is over', async () => {
  const asked: string[] = [];
  runtime.onExec = (_id, { command }) => {
    asked.push(command.join(' '));
    return { output: '', code: 0 };
  };
  await createPod('stubborn', {
    container: {
      image: 'host',
      command: ['ignore', 'TERM'],
      lifecycle: { preStop: { exec: { command: ['drain'] } } },
    },
  });
  const pod = await untilPod('stubborn', 'ready', isReady);
  const from = runtime.history.length;
  const startedAt = performance.now();
  const key = { namespace: 'default', name: 'stubborn' };
  await client.delete(resources.pods, key, { gracePeriodSeconds: 3 });
  await untilGone('stubborn', 6000);
  const tookMs = performance.now() - startedAt;
  assert.deepEqual(asked, ['drain']);
  assert.deepEqual(runtime.history.slice(from), ['SIGTERM main', 'SIGKILL main']);
  assert.ok(tookMs > 2900 && tookMs < 4000, `took ${tookMs} ms`);
  assert.equal(runtime.sandboxes.has(pod.metadata.uid!), false);
  assert.ok((await eventReasons('stubborn')).includes('Killing'));
});

test('[K19] [K5] gracePeriodSeconds=0 kills at once and leaves nothing', async () => {
  await createPod('forced', { container: { image: 'host', command: ['ignore', 'TERM'] } });
  const pod = await untilPod('forced', 'ready', isReady);
  const from = runtime.history.length;
  const key = { namespace: 'default', name: 'forced' };
  await client.delete(resources.pods, key, { gracePeriodSeconds: 0 });
  await until('sandbox gone', async () => !runtime.sandboxes.has(pod.metadata.uid!));
  assert.deepEqual(runtime.history.slice(from), ['SIGKILL main']);
  await until('files gone', async () => filesOf(pod.metadata.uid!).length === 0);
});

function filesOf(uid: string): string[] {
  const all = readdirSync(join(dir, 'n1'), { recursive: true }) as string[];
  return all.filter((path) => path.includes(uid));
}

test('[K20] a postStart hook that fails ends the container', async () => {
  runtime.onExec = () => ({ output: 'no luck', code: 1 });
  await createPod('hooked', {
    spec: { restartPolicy: 'Never', terminationGracePeriodSeconds: 1 },
    container: { lifecycle: { postStart: { exec: { command: ['setup'] } } } },
  });
  await untilPod('hooked', 'Failed', (p) => p.status?.phase === 'Failed');
  await until('event', async () => (await eventReasons('hooked')).includes('FailedPostStartHook'));
});

test('[K21] readiness by HTTP: the status follows the answer', async () => {
  let healthy = false;
  const server = createServer((_request, response) => {
    response.statusCode = healthy ? 200 : 503;
    response.end();
  });
  await createPod('probed', {
    container: {
      ports: [{ name: 'web', containerPort: 8099 }],
      readinessProbe: {
        httpGet: { port: 'web', path: '/healthz' },
        periodSeconds: 1,
        failureThreshold: 1,
      },
    },
  });
  const pod = await untilPod('probed', 'running', (p) => p.status?.phase === 'Running');
  assert.equal(condition(pod, 'Ready'), 'False');
  server.listen(8099, pod.status?.podIP);
  await once(server, 'listening');
  await until('Unhealthy', async () => (await eventReasons('probed')).includes('Unhealthy'));
  healthy = true;
  const ready = await untilPod('probed', 'ready', isReady);
  assert.equal(ready.status?.containerStatuses?.[0]?.ready, true);
  healthy = false;
  await untilPod('probed', 'not ready', (p) => !isReady(p));
  server.closeAllConnections();
  server.close();
});

test('[K21] a container that is up counts within a fraction of its period', async () => {
  await createPod('eager', {
    container: {
      readinessProbe: { tcpSocket: { port: 8098 }, periodSeconds: 10 },
      startupProbe: { tcpSocket: { port: 8098 }, periodSeconds: 10 },
    },
  });
  const pod = await untilPod('eager', 'running', (p) => p.status?.phase === 'Running');
  const server = createServer();
  server.listen(8098, pod.status?.podIP);
  await once(server, 'listening');
  await untilPod('eager', 'ready', isReady, 1000);
  server.close();
});

test('[K21] liveness: after the threshold the container is replaced', async () => {
  let alive = true;
  runtime.onExec = () => ({ output: 'dead', code: alive ? 0 : 1 });
  await createPod('lively', {
    container: {
      livenessProbe: { exec: { command: ['alive'] }, periodSeconds: 1, failureThreshold: 2 },
    },
  });
  await untilPod('lively', 'ready', isReady);
  alive = false;
  const pod = await untilPod(
    'lively',
    'restarted',
    (p) => p.status?.containerStatuses?.[0]?.restartCount === 1,
  );
  assert.equal(pod.status?.containerStatuses?.[0]?.lastState?.terminated?.exitCode, 143);
  alive = true;
});

test('[K13] a ConfigMap volume follows its object', async () => {
  const key = { namespace: 'default', name: 'settings' };
  await client.create<ConfigMap>(resources.configmaps, { metadata: key, data: { a: '1' } });
  await createPod('volumes', {
    container: { volumeMounts: [{ name: 'cfg', mountPath: '/cfg', readOnly: true }] },
    spec: { volumes: [{ name: 'cfg', configMap: { name: 'settings' } }] },
  });
  const pod = await untilPod('volumes', 'ready', isReady);
  const { spec } = runtime.containers.get(`${pod.metadata.uid}/main/0`)!;
  const source = spec.mounts.find(({ target }) => target === '/cfg')!.source;
  assert.equal(readFileSync(join(source, 'a'), 'utf8'), '1');
  await client.patch(resources.configmaps, key, { data: { a: '2', b: 'x' } }, { type: 'merge' });
  await until('new content', async () => readFileSync(join(source, 'a'), 'utf8') === '2');
  assert.equal(readFileSync(join(source, 'b'), 'utf8'), 'x');
});

test('[K13] an unknown volume type is an event', async () => {
  const far = { name: 'far', nfs: { server: 'x', path: '/' } };
  await createPod('unknown-volume', { spec: { volumes: [far] } });
  await until('FailedMount', async () =>
    (await eventReasons('unknown-volume')).includes('FailedMount'),
  );
});

test('[K3] [K6] a new agent adopts what runs: same address, no restart, and cleans up orphans', async () => {
  const before = await get('plain');
  const orphan = await createPod('orphan');
  await untilPod('orphan', 'ready', isReady);
  const from = runtime.history.length;
  await agent.stop();
  await client.delete(
    resources.pods,
    { namespace: 'default', name: 'orphan' },
    { gracePeriodSeconds: 0 },
  );
  agent = await start();
  await until('orphan gone', async () => !runtime.sandboxes.has(orphan.metadata.uid!));
  const again = await createPod('after-restart');
  const made = await untilPod('after-restart', 'ready', isReady);
  assert.notEqual(made.status?.podIP, before.status?.podIP);
  const now = await get('plain');
  assert.equal(now.status?.podIP, before.status?.podIP);
  assert.equal(now.status?.containerStatuses?.[0]?.restartCount, 0);
  assert.deepEqual(
    runtime.history.slice(from).filter((line) => !line.startsWith('start main 0')),
    [],
  );
  assert.ok(again.metadata.uid);
  // It exits while nobody looks: the next agent sees it.
  await agent.stop();
  runtime.exit(`${before.metadata.uid}/main/0`, 1);
  agent = await start();
  await untilPod('plain', 'restarted', (p) => p.status?.containerStatuses?.[0]?.restartCount === 1);
});

test('[K6] after a loss of the whole runtime directory runs are counted on, and the ended stay ended', async () => {
  const before = await get('given');
  const restarts = before.status?.containerStatuses?.[0]?.restartCount ?? 0;
  const from = runtime.history.length;
  await agent.stop();
  rmSync(join(dir, 'n1', 'run'), { recursive: true });
  runtime.sandboxes.clear();
  runtime.containers.clear();
  agent = await start();
  const pod = await untilPod(
    'given',
    'restarted',
    (p) => isReady(p) && p.status?.containerStatuses?.[0]?.restartCount === restarts + 1,
  );
  const last = pod.status?.containerStatuses?.[0]?.lastState?.terminated;
  assert.equal(last?.reason, 'ContainerStatusUnknown');
  assert.equal((await get('once-never-0')).status?.phase, 'Succeeded');
  assert.ok(runtime.history.length > from);
  assert.ok(!runtime.sandboxes.has((await get('once-never-0')).metadata.uid!));
});
