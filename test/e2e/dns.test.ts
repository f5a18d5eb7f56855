/**
 * Names as pods see them: dig asks 10.96.0.10 from inside pods, the C library resolves as programs
 * do. The host's own resolver is a server of this test, on the loopback of its network.
 */
import assert from 'node:assert/strict';
import { createSocket, type Socket } from 'node:dgram';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import * as packet from 'dns-packet';
import type { Pod, Service } from '../../src/api/types.ts';
import { Cluster, eventually, fairlead, home, must, removeHome, run, start } from './harness.ts';
import type { Pairs, PairsSeen } from './name-pairs.ts';
import { at, httpAnswers, inPod, type Place } from './places.ts';

type List<T> = { readonly items: readonly T[] };
/** RFC 1035 §4.1.1: RA. */
const RECURSION_AVAILABLE = 0x80;
const server = '10.96.0.10';
const zone = 'default.svc.cluster.local';

const manifest = `
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: main, image: host, command: [sleep, infinity]}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: pod}
spec:
  serviceName: my-headless
  replicas: 3
  podManagementPolicy: Parallel
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      containers:
      - name: db
        image: fairlead/echo
        ports: [{name: sql, containerPort: 5432}]
        readinessProbe: {httpGet: {path: /healthz, port: sql}, periodSeconds: 1, failureThreshold: 1}
---
apiVersion: v1
kind: Service
metadata: {name: my-headless}
spec: {clusterIP: None, selector: {app: db}, ports: [{name: sql, port: 5432}]}
---
apiVersion: v1
kind: Service
metadata: {name: my-svc}
spec: {selector: {app: db}, ports: [{name: http, port: 80, targetPort: sql}, {name: u, port: 90, protocol: UDP}]}
---
apiVersion: v1
kind: Service
metadata: {name: away}
spec: {type: ExternalName, externalName: example.test}
---
apiVersion: v1
kind: Service
metadata: {name: nobody}
spec: {clusterIP: None, selector: {app: nobody}, ports: [{port: 80}]}
`;

let cluster: Cluster;
let client: Place;
let upstream: Socket;

before(async () => {
  upstream = await startUpstream();
  const file = join(home, 'resolv.conf');
  writeFileSync(file, 'nameserver 127.0.0.1\n');
  // In the mount namespace of this test file only (tools/test.ts).
  must(await run('mount', ['--bind', file, '/etc/resolv.conf']), 'mount');
  cluster = await Cluster.up('dns');
  await cluster.apply(manifest);
  await cluster.kubectlOk('rollout', 'status', 'statefulset/pod', '--timeout=30s');
  await cluster.kubectlOk('wait', 'pod/client', '--for=condition=Ready', '--timeout=20s');
  client = inPod(cluster, await cluster.json<Pod>('pod', 'client'));
});

after(async () => {
  await cluster?.down();
  upstream?.close();
  await run('umount', ['/etc/resolv.conf']);
  removeHome();
});

/** Knows `example.test` and nothing else. */
async function startUpstream(): Promise<Socket> {
  const socket = createSocket('udp4');
  socket.on('message', (bytes, from) => {
    const query = packet.decode(bytes);
    const [question] = query.questions ?? [];
    const known = question?.name.toLowerCase() === 'example.test';
    const reply: packet.Packet = {
      type: 'response',
      id: query.id ?? 0,
      flags: packet.RECURSION_DESIRED | RECURSION_AVAILABLE | (known ? 0 : 3),
      questions: query.questions ?? [],
      answers:
        known && question.type === 'A'
          ? [{ type: 'A', name: 'example.test', ttl: 60, data: '192.0.2.53' }]
          : [],
    };
    socket.send(packet.encode(reply), from.port, from.address);
  });
  await new Promise<void>((resolve) => socket.bind(53, '127.0.0.1', resolve));
  return socket;
}

/** What dig prints with +short, sorted. */
async function short(name: string, type: string): Promise<string[]> {
  const { stdout } = await at(client, 'dig', `@${server}`, '+short', '+tries=2', name, type);
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .toSorted();
}

/** The status and the authority section of a whole answer. */
async function whole(name: string, type: string): Promise<{ status: string; text: string }> {
  const { stdout } = await at(client, 'dig', `@${server}`, '+tries=2', name, type);
  return { status: /status: (\w+)/.exec(stdout)?.[1] ?? 'none', text: stdout };
}

async function databasePods(): Promise<readonly Pod[]> {
  return (await cluster.json<List<Pod>>('pods', '-l', 'app=db')).items;
}

const addressOf = (pod: Pod) => pod.status?.podIP ?? '';

test('[D14] [D15] a ClusterIP has its address, and no other family', async () => {
  const { spec } = await cluster.json<Service>('service', 'my-svc');
  assert.deepEqual(await short(`my-svc.${zone}`, 'A'), [spec.clusterIP]);
  assert.deepEqual(await short(`my-svc.${zone}`, 'AAAA'), []);
  assert.equal((await whole(`my-svc.${zone}`, 'AAAA')).status, 'NOERROR');
  assert.deepEqual(await short('kubernetes.default.svc.cluster.local', 'A'), ['10.96.0.1']);
});

test('[D17] a headless Service has one address per ready pod', async () => {
  const want = (await databasePods()).map(addressOf).toSorted();
  assert.equal(want.length, 3);
  assert.deepEqual(await short(`my-headless.${zone}`, 'A'), want);
});

test('[D17] [D19] [D21] a pod that is not ready leaves the names, and comes back', async () => {
  const pods = await databasePods();
  const moody = pods.find((pod) => pod.metadata.name === 'pod-1');
  assert.ok(moody);
  const address = addressOf(moody);
  await httpAnswers(client, { address, port: 5432 }, '/fail');
  await eventually(
    'it leaves',
    async () => !(await short(`my-headless.${zone}`, 'A')).includes(address),
  );
  assert.equal((await short(`my-headless.${zone}`, 'A')).length, 2);
  assert.equal((await whole(`pod-1.my-headless.${zone}`, 'A')).status, 'NXDOMAIN');
  await httpAnswers(client, { address, port: 5432 }, '/fail');
  await eventually('it is back', async () =>
    (await short(`my-headless.${zone}`, 'A')).includes(address),
  );
});

test('[D21] [D23] each pod of a StatefulSet has a name of its own', async () => {
  for (const pod of await databasePods())
    assert.deepEqual(await short(`${pod.metadata.name}.my-headless.${zone}`, 'A'), [
      addressOf(pod),
    ]);
  assert.equal((await whole(`pod-9.my-headless.${zone}`, 'A')).status, 'NXDOMAIN');
});

test('[D30] [D31] [D32] SRV names ports and targets', async () => {
  assert.deepEqual(await short(`_http._tcp.my-svc.${zone}`, 'SRV'), [`0 100 80 my-svc.${zone}.`]);
  assert.deepEqual(await short(`_u._udp.my-svc.${zone}`, 'SRV'), [`0 100 90 my-svc.${zone}.`]);
  const targets = await short(`_sql._tcp.my-headless.${zone}`, 'SRV');
  assert.deepEqual(
    targets.map((line) => line.replace(/^0 \d+ /, '')),
    [0, 1, 2].map((n) => `5432 pod-${n}.my-headless.${zone}.`),
  );
});

test('[D54] [D55] PTR: Services and named endpoints, backwards', async () => {
  const { spec } = await cluster.json<Service>('service', 'my-svc');
  const back = async (address = '') => {
    const { stdout } = await at(client, 'dig', `@${server}`, '+short', '-x', address);
    return stdout.trim().split('\n').toSorted();
  };
  assert.deepEqual(await back(spec.clusterIP), [`my-svc.${zone}.`]);
  for (const pod of await databasePods())
    assert.ok((await back(addressOf(pod))).includes(`${pod.metadata.name}.my-headless.${zone}.`));
});

test('[D41] an ExternalName is a CNAME, followed to the outside', async () => {
  assert.deepEqual(await short(`away.${zone}`, 'CNAME'), ['example.test.']);
  assert.deepEqual(await short(`away.${zone}`, 'A'), ['192.0.2.53', 'example.test.']);
});

test('[D5] [D15] [D18] [D63] NXDOMAIN and NODATA carry the SOA', async () => {
  const rows = [
    { name: `missing.${zone}`, type: 'A', status: 'NXDOMAIN' },
    { name: 'my-svc.missing.svc.cluster.local', type: 'A', status: 'NXDOMAIN' },
    { name: `nobody.${zone}`, type: 'A', status: 'NXDOMAIN' },
    { name: `my-svc.${zone}`, type: 'AAAA', status: 'NOERROR' },
    { name: zone, type: 'A', status: 'NOERROR' },
    { name: 'cluster.local', type: 'A', status: 'NOERROR' },
  ];
  for (const { name, type, status } of rows) {
    const answer = await whole(name, type);
    assert.equal(answer.status, status, `${name} ${type}`);
    assert.match(
      answer.text,
      /AUTHORITY SECTION:\ncluster\.local\.\s+\d+\s+IN\s+SOA\s+ns\.dns\.cluster\.local\. hostmaster\.cluster\.local\. /,
      `${name} ${type}`,
    );
    assert.match(answer.text, /flags: qr aa /, `${name} ${type} is ours to say`);
  }
});

test('[K11] the search list: programs of a pod find short names', async () => {
  const { spec } = await cluster.json<Service>('service', 'my-svc');
  const resolve = async (name: string) => {
    const answer = await cluster.kubectlOk('exec', 'client', '--', 'getent', 'ahostsv4', name);
    return answer.split(/\s+/)[0];
  };
  for (const name of ['my-svc', 'my-svc.default', 'my-svc.default.svc', `my-svc.${zone}`])
    assert.equal(await resolve(name), spec.clusterIP, name);
  assert.equal(await resolve('kube-dns.kube-system'), server);
  assert.equal(await resolve('away'), '192.0.2.53');
  assert.equal(await resolve('example.test'), '192.0.2.53');
});

test('[D90a] names of the outside are asked of the host’s resolver', async () => {
  assert.deepEqual(await short('example.test', 'A'), ['192.0.2.53']);
  assert.equal((await whole('missing.test', 'A')).status, 'NXDOMAIN');
});

test('[D111] over TCP it is the same', async () => {
  const { stdout } = await at(client, 'dig', `@${server}`, '+tcp', '+short', `my-headless.${zone}`);
  assert.equal(stdout.trim().split('\n').length, 3);
});

test('a server on its own, from a kubeconfig and a Corefile, answers as the cluster’s own', async () => {
  const corefile = join(home, 'Corefile');
  const text = (ttl: number) => `.:5300 {
    bind 127.0.0.1
    errors
    log
    health 127.0.0.1:5301 {\n lameduck 1s\n }
    ready 127.0.0.1:5302
    prometheus 127.0.0.1:5303
    kubernetes cluster.local in-addr.arpa ip6.arpa {
      pods verified
      ttl ${ttl}
      fallthrough in-addr.arpa ip6.arpa
    }
    forward . /etc/resolv.conf
    cache 30
    reload 2s 0s
    loadbalance
  }\n`;
  writeFileSync(corefile, text(30));
  const args = ['dns', '--kubeconfig', cluster.kubeconfig, '-conf', corefile];
  const child = start(join(import.meta.dirname, '../../bin/fairlead'), args);
  let printed = '';
  child.stdout?.on('data', (chunk: Buffer) => (printed += chunk.toString()));
  const ended = new Promise((resolve) => child.once('exit', (code) => resolve(code)));
  const page = (port: number, path: string) => run('curl', ['-s', `127.0.0.1:${port}/${path}`]);
  const here = async (...query: string[]) =>
    (await run('dig', ['@127.0.0.1', '-p', '5300', ...query])).stdout;
  await eventually('ready', async () => (await page(5302, 'ready')).stdout === 'OK');
  const names = ['my-svc', 'my-headless', 'pod-0.my-headless', 'nobody', 'gone'];
  for (const name of names.map((one) => `${one}.${zone}`)) {
    const own = (await here('+short', name, 'A')).split('\n').filter(Boolean).toSorted();
    assert.deepEqual(own, await short(name, 'A'), name);
  }
  assert.match(await here('example.test', 'A'), /192\.0\.2\.53/);
  assert.match(await here(`my-svc.${zone}`, 'A'), new RegExp(`${zone}\\.\\s+30\\s`));
  await eventually('a line of the log', () =>
    /"A IN example\.test\. udp \d+ false \d+" NOERROR/.test(printed),
  );
  assert.match(
    (await page(5303, 'metrics')).stdout,
    /coredns_plugin_enabled\{.*name="kubernetes"\} 1/,
  );
  // A changed file counts without a restart, a broken one does not.
  writeFileSync(corefile, 'nonsense {');
  await eventually('the refusal', async () =>
    /coredns_reload_failed_total [1-9]/.test((await page(5303, 'metrics')).stdout),
  );
  writeFileSync(corefile, text(31));
  await eventually('the new TTL', async () =>
    new RegExp(`${zone}\\.\\s+31\\s`).test(await here(`my-svc.${zone}`, 'A')),
  );
  child.kill('SIGTERM');
  assert.match(await here(`my-svc.${zone}`, 'A'), /NOERROR/);
  assert.equal(await ended, 0);
});

test('a Corefile that is wrong is said with its line', async () => {
  const corefile = join(home, 'broken');
  writeFileSync(corefile, '.:53 {\n  forwrd . 192.0.2.1\n}\n');
  const { code, stderr } = await fairlead('dns', '--check', '--config', corefile);
  assert.equal(code, 2);
  assert.match(stderr, /line 2: unknown directive "forwrd"\n\s+Did you mean "forward"\?/);
});

test('[K39] the DNS pods are deleted under load: no question is lost beyond a retry', async () => {
  const stop = new AbortController();
  const lost: string[] = [];
  let asked = 0;
  const load = async () => {
    while (!stop.signal.aborted) {
      // Two tries of two seconds: what a resolver does by default is longer.
      const { stdout } = await at(
        client,
        'dig',
        `@${server}`,
        '+short',
        '+tries=2',
        '+timeout=2',
        `my-svc.${zone}`,
      );
      asked += 1;
      if (!stdout.startsWith('10.96.')) lost.push(stdout);
    }
  };
  const loads = Promise.all([load(), load()]);
  const label = ['-n', 'kube-system', '-l', 'k8s-app=kube-dns'];
  const pods = (await cluster.json<List<Pod>>('pods', ...label)).items;
  assert.equal(pods.length, 2);
  for (const pod of pods)
    await cluster.kubectlOk('delete', 'pod', '-n', 'kube-system', pod.metadata.name ?? '');
  await eventually(
    'two new ones are ready',
    async () => {
      const { items } = await cluster.json<List<Pod>>('pods', ...label);
      const names = new Set(pods.map((pod) => pod.metadata.name));
      const fresh = items.filter(
        (pod) =>
          !names.has(pod.metadata.name) &&
          pod.status?.conditions?.some((one) => one.type === 'Ready' && one.status === 'True'),
      );
      return fresh.length === 2;
    },
    40,
  );
  stop.abort();
  await loads;
  assert.ok(asked > 50, `${asked} questions`);
  assert.deepEqual(lost, [], `${lost.length} of ${asked} were lost`);
});

const pairs = 10_000;

test(`${pairs} times A and AAAA at once from one socket: no pair waits for a lost packet`, async () => {
  const asked: Pairs = { server, name: `my-svc.${zone}`, count: pairs, parallel: 32 };
  const script = join(import.meta.dirname, 'name-pairs.ts');
  const { stdout } = await at(client, process.execPath, script, JSON.stringify(asked));
  const seen = JSON.parse(stdout) as PairsSeen;
  assert.equal(seen.asked, pairs);
  assert.equal(seen.stalled, 0, `${seen.stalled} of ${pairs} pairs had no answer`);
});
