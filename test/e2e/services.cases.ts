/**
 * Every kind of Service on a lab of one family or two, asked from a pod, from a process of a node
 * and from outside, over TCP and UDP.
 */
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { EndpointSlice, Node, Pod, Service } from '../../src/api/types.ts';
import { Cluster, eventually, removeHome } from './harness.ts';
import {
  at,
  httpAnswers,
  inPod,
  knock,
  onNode,
  outside,
  udpAnswers,
  type Place,
  type Target,
} from './places.ts';

type Family = 'ipv4' | 'ipv6';
type List<T> = { readonly items: readonly T[] };

/** The host's end of the lab's network: a client and a server outside the cluster. */
const hostAddress = { ipv4: '172.29.0.1', ipv6: 'fd00:172:29::1' } as const;

/** Exit codes of curl. */
const REFUSED = 7;
const TIMED_OUT = 28;
/**
 * Linux takes the ICMPv6 error to a SYN that is still being sent as a soft one (6.18, and with rules
 * made by `nft` too); the error to the SYN repeated after a second ends the attempt.
 */
const atOnceSeconds = { ipv4: 0.5, ipv6: 1.5 } as const;

const echo = (more = '') => `
spec:
  containers:
  - name: echo
    image: fairlead/echo
    ports: [{name: http, containerPort: 8080}, {name: udp, containerPort: 8080, protocol: UDP}]
    readinessProbe: {httpGet: {path: /healthz, port: http}, periodSeconds: 1}
  ${more}
`;

const deployment = (name: string, replicas: number) => `
apiVersion: apps/v1
kind: Deployment
metadata: {name: ${name}}
spec:
  replicas: ${replicas}
  selector: {matchLabels: {app: ${name}}}
  template:
    metadata: {labels: {app: ${name}}}
${echo().replaceAll('\n', '\n    ')}
---`;

const pod = (name: string, node: string) => `
apiVersion: v1
kind: Pod
metadata: {name: ${name}, labels: {app: ${name}}}
${echo(`nodeName: ${node}`)}
---`;

/** It takes three seconds to go, and answers until then. */
const slowPod = (name: string) => `
apiVersion: v1
kind: Pod
metadata: {name: ${name}, labels: {app: slow}}
spec:
  containers:
  - name: echo
    image: fairlead/echo
    ports: [{name: http, containerPort: 8080}, {name: udp, containerPort: 8080, protocol: UDP}]
    lifecycle: {preStop: {sleep: {seconds: 3}}}
    readinessProbe: {httpGet: {path: /healthz, port: http}, periodSeconds: 1}
---`;

const service = (name: string, app: string, more: string) => `
apiVersion: v1
kind: Service
metadata: {name: ${name}}
spec:
  ipFamilyPolicy: PreferDualStack
  selector: {app: ${app}}
  ports:
  - {name: http, port: 80, targetPort: http}
  - {name: udp, port: 80, targetPort: udp, protocol: UDP}
  ${more}
---`;

const manifest = [
  deployment('web', 3),
  pod('client', 'node-1'),
  pod('lonely', 'node-2'),
  service('web', 'web', 'type: NodePort'),
  service('sticky', 'web', 'sessionAffinity: ClientIP'),
  service(
    'brief',
    'web',
    'sessionAffinity: ClientIP\n  sessionAffinityConfig: {clientIP: {timeoutSeconds: 2}}',
  ),
  service('lonely', 'lonely', 'type: NodePort'),
  service('local', 'lonely', 'type: NodePort\n  externalTrafficPolicy: Local'),
  service('inner', 'lonely', 'internalTrafficPolicy: Local'),
  service('empty', 'nobody', 'type: NodePort'),
].join('\n');

/** Registers the tests, for a lab with these families. */
export function testServices(families: readonly Family[]): void {
  let cluster: Cluster;
  let nodes: Map<string, Node>;
  let webPods: string[];
  let client: Place;
  let clientPod: Pod;
  let clients: Place[];

  before(async () => {
    cluster = await Cluster.up('services', '--ip-family', families.length > 1 ? 'dual' : 'ipv4');
    await cluster.apply(manifest);
    await cluster.kubectlOk('rollout', 'status', 'deployment/web', '--timeout=30s');
    await cluster.kubectlOk('wait', 'pod', '--all', '--for=condition=Ready', '--timeout=30s');
    const list = await cluster.json<List<Node>>('nodes');
    nodes = new Map(list.items.map((node) => [node.metadata.name ?? '', node]));
    webPods = (await podsOf('app=web')).map(nameOf).toSorted();
    clientPod = await cluster.json<Pod>('pod', 'client');
    client = inPod(cluster, clientPod);
    clients = [client, onNode(cluster, 'node-3'), outside];
  });

  after(async () => {
    await cluster?.down();
    removeHome();
  });

  const nameOf = (object: { metadata: { name?: string } }) => object.metadata.name ?? '';
  const isFamily = (address: string, family: Family) =>
    address.includes(':') === (family === 'ipv6');

  async function podsOf(selector: string): Promise<readonly Pod[]> {
    return (await cluster.json<List<Pod>>('pods', '-l', selector)).items;
  }

  /** The addresses of a node, of a Service or of a pod in one family. */
  function nodeIP(name: string, family: Family): string {
    const addresses = nodes.get(name)?.status?.addresses ?? [];
    const found = addresses.find(
      (one) => one.type === 'InternalIP' && isFamily(one.address, family),
    );
    assert.ok(found, `${name} has an ${family} address`);
    return found.address;
  }

  /** Where a Service answers: its ClusterIP and its node ports. */
  async function portsOf(name: string): Promise<Addresses> {
    const { spec } = await cluster.json<Service>('service', name);
    return {
      vip: (family) => ({
        address: spec.clusterIPs?.find((one) => isFamily(one, family)) ?? 'none',
        port: 80,
      }),
      node: (node, family, protocol = 'TCP') => ({
        address: nodeIP(node, family),
        port: spec.ports?.find((one) => one.protocol === protocol)?.nodePort ?? 0,
      }),
    };
  }

  type Addresses = {
    readonly vip: (family: Family) => Target;
    readonly node: (node: string, family: Family, protocol?: string) => Target;
  };

  /** The client address that the pod behind a target sees. */
  async function seenBy(place: Place, target: Target): Promise<string> {
    const [answer = ''] = await httpAnswers(place, target, '/clientip');
    return answer.replace(/:\d+$/, '').replaceAll(/[[\]]/g, '');
  }

  function counts(answers: string[]): Map<string, number> {
    const found = new Map<string, number>();
    for (const answer of answers) found.set(answer, (found.get(answer) ?? 0) + 1);
    return found;
  }

  /** Three pods share 90 picks: 30 each, give or take 4.5; fewer than 8 is one in millions. */
  function assertSpread(answers: string[]): void {
    const found = counts(answers);
    assert.deepEqual([...found.keys()].toSorted(), webPods);
    for (const [name, count] of found) assert.ok(count >= 8, `${name} answered ${count} of 90`);
  }

  for (const family of families) {
    test(`[P23] [P29] ${family}: ClusterIP and NodePort, TCP, from everywhere, at random`, async () => {
      const web = await portsOf('web');
      for (const place of clients) {
        assertSpread(await httpAnswers(place, web.vip(family), '/hostname', 90));
        for (const node of ['node-1', 'node-3'])
          assertSpread(await httpAnswers(place, web.node(node, family), '/hostname', 90));
      }
    });

    test(`[P23] [P29] ${family}: ClusterIP and NodePort, UDP, from everywhere, at random`, async () => {
      const web = await portsOf('web');
      for (const place of clients) {
        assertSpread(await udpAnswers(place, web.vip(family), 'hostname', 90));
        assertSpread(await udpAnswers(place, web.node('node-2', family, 'UDP'), 'hostname', 90));
      }
    });

    test(`[P57] [P58] [P59] [P60] [P61] [P62] [P71] ${family}: whom the pod sees`, async () => {
      const [lonely, local] = [await portsOf('lonely'), await portsOf('local')];
      const podIP = clientPod.status?.podIPs?.find((one) => isFamily(one.ip, family))?.ip;
      const own = (name: string) => nodeIP(name, family);
      const node = onNode(cluster, 'node-3');
      const rows: { from: Place; to: Target; sees: string | undefined; why: string }[] = [
        { from: client, to: lonely.vip(family), sees: podIP, why: 'a pod keeps its address' },
        { from: node, to: lonely.vip(family), sees: own('node-3'), why: 'a node has its own' },
        { from: outside, to: lonely.vip(family), sees: own('node-1'), why: 'routed by node-1' },
        ...[...nodes.keys()].map((name) => ({
          from: outside,
          to: lonely.node(name, family),
          sees: own(name),
          why: `Cluster rewrites at ${name}`,
        })),
        {
          from: client,
          to: lonely.node('node-1', family),
          sees: own('node-1'),
          why: 'pod, NodePort',
        },
        {
          from: node,
          to: lonely.node('node-3', family),
          sees: own('node-3'),
          why: 'node, NodePort',
        },
        {
          from: outside,
          to: local.node('node-2', family),
          sees: hostAddress[family],
          why: 'Local keeps the client',
        },
        { from: client, to: local.node('node-1', family), sees: podIP, why: 'the short circuit' },
        {
          from: node,
          to: local.node('node-3', family),
          sees: own('node-3'),
          why: 'the same, node',
        },
      ];
      for (const { from, to, sees, why } of rows)
        assert.equal(
          await seenBy(from, to),
          sees,
          `${why}: ${from.name} to ${to.address}:${to.port}`,
        );
    });

    test(`[P69] [P94] ${family}: Local policies drop where no pod is, never refuse`, async () => {
      const [local, inner] = [await portsOf('local'), await portsOf('inner')];
      assert.equal((await knock(outside, local.node('node-1', family))).code, TIMED_OUT);
      assert.equal((await knock(outside, local.node('node-3', family))).code, TIMED_OUT);
      // P70: the same for the internal policy; on the pod's own node it answers.
      assert.equal((await knock(onNode(cluster, 'node-3'), inner.vip(family))).code, TIMED_OUT);
      assert.equal((await knock(onNode(cluster, 'node-2'), inner.vip(family))).code, 0);
    });

    test(`[P93] [P95] ${family}: refused at once when there are no endpoints`, async () => {
      const empty = await portsOf('empty');
      for (const place of clients) {
        for (const target of [empty.vip(family), empty.node('node-2', family)]) {
          // Again and again: a kernel left as it is limits its refusals to one a second.
          for (let times = 0; times < (family === 'ipv4' ? 10 : 1); times += 1) {
            const { code, seconds } = await knock(place, target, 5);
            assert.equal(code, REFUSED, `${place.name} to ${target.address}:${target.port}`);
            assert.ok(seconds < atOnceSeconds[family], `${place.name} waited ${seconds} s`);
          }
        }
      }
    });

    test(`[P91] ${family}: a port that no Service has is refused`, async () => {
      const { address } = (await portsOf('web')).vip(family);
      for (const place of clients)
        assert.equal((await knock(place, { address, port: 81 }, 5)).code, REFUSED, place.name);
    });

    test(`[P84] [P86] ${family}: ClientIP affinity sticks, per client and Service port`, async () => {
      const sticky = await portsOf('sticky');
      for (const place of clients) {
        const met = counts(await httpAnswers(place, sticky.vip(family), '/hostname', 30));
        assert.equal(met.size, 1, `${place.name} met ${[...met.keys()].join()}`);
        assert.ok(webPods.includes([...met.keys()][0] ?? ''));
        const udp = counts(await udpAnswers(place, sticky.vip(family), 'hostname', 10));
        assert.equal(udp.size, 1, `${place.name} met ${[...udp.keys()].join()} over UDP`);
      }
    });

    test(`[P84] ${family}: affinity ends after its timeout`, async () => {
      const brief = await portsOf('brief');
      const met = new Set<string>();
      // Ten fresh picks among three pods are all the same once in 20,000 times.
      for (let round = 0; round < 10 && met.size < 2; round += 1) {
        const answers = await httpAnswers(client, brief.vip(family), '/hostname', 5);
        assert.equal(new Set(answers).size, 1, `within the timeout: ${answers.join()}`);
        met.add(answers[0] ?? '');
        await sleep(2600);
      }
      assert.ok(met.size > 1, 'a client whose time is up is balanced afresh');
    });

    test(`[P26] ${family}: a pod reaches itself through its Service`, async () => {
      const [lonely] = await podsOf('app=lonely');
      assert.ok(lonely);
      const self = inPod(cluster, lonely);
      const service = await portsOf('lonely');
      for (const target of [service.vip(family), service.node('node-2', family)]) {
        assert.deepEqual(await httpAnswers(self, target, '/hostname', 3), Array(3).fill('lonely'));
        assert.deepEqual(
          await udpAnswers(
            self,
            target === service.vip(family) ? target : service.node('node-2', family, 'UDP'),
            'hostname',
            2,
          ),
          Array(2).fill('lonely'),
        );
      }
    });
  }

  test('[P2] [P3] a headless Service has no rule and names its pods in its endpoints', async () => {
    await cluster.apply(`{apiVersion: v1, kind: Service, metadata: {name: headless},
    spec: {clusterIP: None, selector: {app: web}, ports: [{port: 8080}]}}`);
    const want = (await podsOf('app=web')).map((one) => `${one.status?.podIP}:8080`).toSorted();
    const shown = await eventually('endpoints of headless', async () => {
      const text = await cluster.kubectlOk('get', 'endpoints', 'headless', '--no-headers');
      const column = text.split(/\s+/)[1] ?? '';
      return column !== '<none>' && column;
    });
    assert.deepEqual(shown.split(',').toSorted(), want);
  });

  test('[P4] [K29] an ExternalName Service has neither address nor slices', async () => {
    await cluster.kubectlOk('create', 'service', 'externalname', 'away', '--external-name=db.test');
    const { spec } = await cluster.json<Service>('service', 'away');
    assert.equal(spec.clusterIP, undefined);
    const slices = await slicesOf('away');
    assert.deepEqual(slices, []);
  });

  test('[K32] hand-made Endpoints outside the cluster are mirrored and served', async () => {
    const server = createServer((_, response) => response.end('outside one'));
    await new Promise<void>((resolve) => server.listen(19_001, hostAddress.ipv4, resolve));
    using _ = { [Symbol.dispose]: () => server.close() };
    await cluster.apply(`{apiVersion: v1, kind: Service, metadata: {name: legacy},
    spec: {type: NodePort, ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Endpoints, metadata: {name: legacy},
  subsets: [{addresses: [{ip: ${hostAddress.ipv4}}], ports: [{port: 19001}]}]}`);
    const legacy = await portsOf('legacy');
    for (const place of clients) {
      for (const target of [legacy.vip('ipv4'), legacy.node('node-2', 'ipv4')])
        await eventually(
          `${place.name} is served`,
          async () => (await httpAnswers(place, target, '/'))[0] === 'outside one',
        );
    }
    const mirrored = await slicesOf('legacy');
    assert.deepEqual(
      mirrored.map((slice) => [
        slice.metadata.labels?.['endpointslice.kubernetes.io/managed-by'],
        slice.endpoints?.flatMap((endpoint) => endpoint.addresses),
        slice.ports?.map((port) => port.port),
      ]),
      [['endpointslicemirroring-controller.k8s.io', [hostAddress.ipv4], [19_001]]],
    );
    await cluster.kubectlOk('delete', 'endpoints', 'legacy');
    await eventually(
      'refused without endpoints',
      async () => (await knock(client, legacy.vip('ipv4'))).code === REFUSED,
    );
  });

  for (const family of families) {
    test(`[K33] ${family}: a hand-made EndpointSlice outside the cluster is served as it is`, async () => {
      const name = `byhand-${family}`;
      const server = createServer((_, response) => response.end('outside two'));
      await new Promise<void>((resolve) => server.listen(19_002, hostAddress[family], resolve));
      using _ = { [Symbol.dispose]: () => server.close() };
      await cluster.apply(`{apiVersion: v1, kind: Service, metadata: {name: ${name}},
      spec: {ipFamilies: [${family === 'ipv4' ? 'IPv4' : 'IPv6'}], ports: [{name: http, port: 80}]}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice,
  metadata: {name: ${name}-1, labels: {kubernetes.io/service-name: ${name}}},
  addressType: ${family === 'ipv4' ? 'IPv4' : 'IPv6'},
  ports: [{name: http, port: 19002}], endpoints: [{addresses: ["${hostAddress[family]}"]}]}`);
      const { vip } = await portsOf(name);
      for (const place of clients)
        await eventually(
          `${place.name} is served`,
          async () => (await httpAnswers(place, vip(family), '/'))[0] === 'outside two',
        );
    });
  }

  test('[P21] [P23] pods are replaced under load and no request fails', async () => {
    const { vip } = await portsOf('web');
    const before = await podsOf('app=web');
    let failed = 0;
    let sent = 0;
    const stop = new AbortController();
    const load = async (place: Place, family: Family) => {
      while (!stop.signal.aborted) {
        const answers = await httpAnswers(place, vip(family), '/hostname', 20);
        sent += answers.length;
        failed += answers.filter((answer) => answer === '').length;
        await sleep(20);
      }
    };
    const loads = Promise.all([load(client, 'ipv4'), load(outside, families.at(-1) ?? 'ipv4')]);
    await cluster.kubectlOk('rollout', 'restart', 'deployment/web');
    await cluster.kubectlOk('rollout', 'status', 'deployment/web', '--timeout=60s');
    stop.abort();
    await loads;
    const after = await eventually(
      'three new pods',
      async () => {
        const pods = await podsOf('app=web');
        return pods.length === 3 && pods;
      },
      40,
    );
    const old = new Set(before.map((one) => one.status?.podIP));
    assert.ok(
      after.every((one) => !old.has(one.status?.podIP)),
      'every address is new',
    );
    assert.ok(sent > 50, `${sent} requests were sent`);
    assert.equal(failed, 0, `${failed} of ${sent} requests failed`);
    webPods = after.map(nameOf).toSorted();
  });

  test('[P98] scaled to none it refuses at once, scaled back it answers', async () => {
    const { vip } = await portsOf('web');
    await cluster.kubectlOk('scale', 'deployment/web', '--replicas=0');
    for (const family of families)
      await eventually(
        `${family} is refused`,
        async () => (await knock(client, vip(family), 3)).code === REFUSED,
        40,
      );
    await cluster.kubectlOk('scale', 'deployment/web', '--replicas=2');
    for (const family of families)
      await eventually(
        `${family} answers`,
        async () => (await knock(client, vip(family))).code === 0,
      );
  });

  test('[P99] [P101] a UDP client that keeps its port is led to the new pod', async () => {
    await cluster.apply(`${deployment('single', 1)}\n${service('single', 'single', '')}`);
    await cluster.kubectlOk('rollout', 'status', 'deployment/single', '--timeout=30s');
    const { address } = (await portsOf('single')).vip('ipv4');
    const [old] = await podsOf('app=single');
    assert.ok(old);
    // One socket all along: its flow in conntrack would lead to the old pod for as long as it sends.
    const answers = at(
      client,
      'bash',
      '-c',
      `exec 3<>/dev/udp/${address}/80
     for i in $(seq 100); do
       printf hostname >&3 2>/dev/null; timeout 0.2 dd bs=4096 count=1 <&3 2>/dev/null; echo; sleep 0.05
     done`,
    );
    await sleep(500);
    await cluster.kubectlOk('delete', 'pod', nameOf(old));
    await cluster.kubectlOk('rollout', 'status', 'deployment/single', '--timeout=30s');
    const fresh = (await podsOf('app=single')).find((one) => nameOf(one) !== nameOf(old));
    const lines = (await answers).stdout.split('\n').slice(0, -1);
    assert.equal(lines[0], nameOf(old));
    assert.equal(lines.at(-1), fresh && nameOf(fresh), lines.join(' '));
  });

  test('[K19] [P21] a pod that goes is terminating and serving in its slice, and is not asked', async () => {
    await cluster.apply(
      `${slowPod('slow-1')}\n${slowPod('slow-2')}\n${service('slow', 'slow', '')}`,
    );
    await cluster.kubectlOk('wait', 'pod', '-l', 'app=slow', '--for=condition=Ready');
    await cluster.kubectlOk('delete', 'pod', 'slow-1', '--wait=false');
    const conditions = await eventually('it is terminating', async () => {
      const slices = await slicesOf('slow');
      const found = slices
        .flatMap((slice) => slice.endpoints)
        .find((one) => one.targetRef?.name === 'slow-1' && one.conditions?.terminating === true);
      return found?.conditions;
    });
    assert.deepEqual(conditions, { ready: false, serving: true, terminating: true });
    const { vip } = await portsOf('slow');
    const met = new Set(await httpAnswers(client, vip('ipv4'), '/hostname', 20));
    assert.deepEqual([...met], ['slow-2'], 'new connections go to the other one');
  });

  test('[P134] [P135] the tool of the kernel can list what we wrote, and it is ours alone', async () => {
    for (const family of ['ip', 'ip6']) {
      const { code, stdout, stderr } = await at(
        onNode(cluster, 'node-1'),
        'nft',
        'list',
        'table',
        family,
        'fairlead',
      );
      assert.equal(code, 0, stderr);
      assert.match(stdout, /map frontends \{/);
      assert.match(stdout, /type nat hook prerouting priority dstnat/);
    }
    const tables = await at(onNode(cluster, 'node-1'), 'nft', 'list', 'tables');
    assert.deepEqual(tables.stdout.trim().split('\n'), ['table ip fairlead', 'table ip6 fairlead']);
    const host = await at(outside, 'nft', 'list', 'tables');
    assert.equal(host.stdout, '', 'the host has no table of ours');
  });

  async function slicesOf(name: string): Promise<readonly EndpointSlice[]> {
    const label = `kubernetes.io/service-name=${name}`;
    return (await cluster.json<List<EndpointSlice>>('endpointslices', '-l', label)).items;
  }
}
