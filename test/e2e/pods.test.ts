/** What a pod is and how it lives, on a running lab: `kubectl exec`, /proc and the API say what became of it. */
import assert from 'node:assert/strict';
import { readlinkSync } from 'node:fs';
import { after, before, test } from 'node:test';
import type { Endpoints, Event, Node, Pod, Service } from '../../src/api/types.ts';
import { Cluster, eventually, must, removeHome, type Result } from './harness.ts';
import { at, httpAnswers, inPod, onNode } from './places.ts';

type List<T> = { readonly items: readonly T[] };
let cluster: Cluster;

before(async () => {
  cluster = await Cluster.up('pods');
});

after(async () => {
  await cluster?.down();
  removeHome();
});

const podOf = (name: string) => cluster.json<Pod>('pod', name);
const exec = (pod: string, command: string): Promise<Result> =>
  cluster.kubectl('exec', pod, '--', 'sh', '-c', command);
const execOk = async (pod: string, command: string): Promise<string> =>
  must(await exec(pod, command), `${command} in ${pod}`);

/** A pod of image `host` that runs a script for ever, or to its end. */
async function run(
  name: string,
  script: string,
  more: { pod?: object; container?: object } = {},
): Promise<void> {
  const { metadata, ...spec } = (more.pod ?? {}) as { metadata?: object };
  await cluster.apply(
    JSON.stringify({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name, ...metadata },
      spec: {
        terminationGracePeriodSeconds: 1,
        ...spec,
        containers: [
          { name: 'main', image: 'host', command: ['sh', '-c', script], ...more.container },
        ],
      },
    }),
  );
}

const forever = 'while :; do sleep 0.1; done';

async function ready(...names: string[]): Promise<void> {
  await cluster.kubectlOk(
    'wait',
    ...names.map((name) => `pod/${name}`),
    '--for=condition=Ready',
    '--timeout=20s',
  );
}

async function reasons(name: string): Promise<Map<string, string>> {
  const { items } = await cluster.json<List<Event>>(
    'events',
    '--field-selector',
    `involvedObject.name=${name}`,
  );
  return new Map(items.map((event) => [event.reason ?? '', event.message ?? '']));
}

test('[K1] [K2] [K28] its own namespaces, an address of its node', async () => {
  await run('own', forever);
  await ready('own');
  const kinds = ['net', 'uts', 'ipc', 'mnt', 'pid'];
  const node = (await podOf('own')).spec.nodeName ?? '';
  for (const kind of kinds) {
    const inside = (await execOk('own', `readlink /proc/self/ns/${kind}`)).trim();
    const place = onNode(cluster, node);
    const outside = must(await at(place, 'readlink', `/proc/self/ns/${kind}`), kind).trim();
    assert.match(inside, new RegExp(`^${kind}:\\[\\d+\\]$`));
    assert.notEqual(inside, outside, `${kind} is not the node's`);
    assert.notEqual(inside, readlinkSync(`/proc/self/ns/${kind}`), `${kind} is not the host's`);
  }
  const { spec } = await cluster.json<Node>('node', node);
  const { status } = await podOf('own');
  const [base = ''] = (spec?.podCIDR ?? '').split('.0/24');
  assert.match(base, /^10\.244\.\d+$/);
  assert.ok(status?.podIP?.startsWith(`${base}.`), `${status?.podIP} is of ${spec?.podCIDR}`);
  assert.deepEqual(status?.podIPs, [{ ip: status?.podIP }]);
  assert.match(
    await execOk('own', 'ip -4 -o address show eth0'),
    new RegExp(`${status?.podIP}/32`),
  );
  assert.equal((await execOk('own', 'hostname')).trim(), 'own');
});

test('[K11] [K12] [D105] resolv.conf and hosts', async () => {
  await run('names', forever, {
    pod: {
      hostname: 'one',
      subdomain: 'group',
      hostAliases: [{ ip: '192.0.2.9', hostnames: ['alias.test'] }],
    },
  });
  await ready('names');
  const { status } = await podOf('names');
  const lines = (await execOk('names', 'cat /etc/resolv.conf')).split('\n');
  assert.ok(lines.includes('nameserver 10.96.0.10'));
  assert.ok(lines.includes('options ndots:5'));
  assert.match(
    lines.find((line) => line.startsWith('search')) ?? '',
    /^search default\.svc\.cluster\.local svc\.cluster\.local cluster\.local/,
  );
  const hosts = await execOk('names', 'cat /etc/hosts');
  assert.match(hosts, /^127\.0\.0\.1\tlocalhost$/m);
  assert.match(
    hosts,
    new RegExp(`^${status?.podIP}\tone.group.default.svc.cluster.local\tone$`, 'm'),
  );
  assert.match(hosts, /^192\.0\.2\.9\talias\.test$/m);
  // The resolver of the C library takes them.
  assert.match(await execOk('names', 'getent hosts alias.test'), /^192\.0\.2\.9/);
});

test('[K9] the variables of Services: those that were there, all of them, and no others', async () => {
  await cluster.apply(`{apiVersion: v1, kind: Service, metadata: {name: my-svc},
  spec: {selector: {app: x}, ports: [{name: web, port: 80}, {name: dns-u, port: 53, protocol: UDP}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: no-ip}, spec: {clusterIP: None, ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: away}, spec: {type: ExternalName, externalName: a.test}}`);
  await run('env', forever);
  await run('bare', forever, { pod: { enableServiceLinks: false } });
  await ready('env', 'bare');
  await cluster.kubectlOk('create', 'service', 'clusterip', 'later', '--tcp=80');
  const ip = (await cluster.json<Service>('service', 'my-svc')).spec.clusterIP;
  const variables = async (pod: string) =>
    (await execOk(pod, 'env'))
      .split('\n')
      .filter((line) => /_(PORT|SERVICE)(_|=)/.test(line))
      .toSorted();
  const kubernetes = [
    'KUBERNETES_PORT=tcp://10.96.0.1:443',
    'KUBERNETES_PORT_443_TCP=tcp://10.96.0.1:443',
    'KUBERNETES_PORT_443_TCP_ADDR=10.96.0.1',
    'KUBERNETES_PORT_443_TCP_PORT=443',
    'KUBERNETES_PORT_443_TCP_PROTO=tcp',
    'KUBERNETES_SERVICE_HOST=10.96.0.1',
    'KUBERNETES_SERVICE_PORT=443',
    'KUBERNETES_SERVICE_PORT_HTTPS=443',
  ];
  // kubernetes.io/docs/tutorials/services/connect-applications-service, and the docker-link set.
  const mine = [
    `MY_SVC_SERVICE_HOST=${ip}`,
    'MY_SVC_SERVICE_PORT=80',
    'MY_SVC_SERVICE_PORT_WEB=80',
    'MY_SVC_SERVICE_PORT_DNS_U=53',
    `MY_SVC_PORT=tcp://${ip}:80`,
    `MY_SVC_PORT_80_TCP=tcp://${ip}:80`,
    'MY_SVC_PORT_80_TCP_PROTO=tcp',
    'MY_SVC_PORT_80_TCP_PORT=80',
    `MY_SVC_PORT_80_TCP_ADDR=${ip}`,
    `MY_SVC_PORT_53_UDP=udp://${ip}:53`,
    'MY_SVC_PORT_53_UDP_PROTO=udp',
    'MY_SVC_PORT_53_UDP_PORT=53',
    `MY_SVC_PORT_53_UDP_ADDR=${ip}`,
  ];
  assert.deepEqual(await variables('env'), [...kubernetes, ...mine].toSorted());
  assert.deepEqual(await variables('bare'), kubernetes.toSorted());
});

test('[K10] [K13] configMap, secret, emptyDir, downward values, and what changes arrives', async () => {
  await cluster.apply(`{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}, data: {color: blue}}
---
{apiVersion: v1, kind: Secret, metadata: {name: keys}, stringData: {password: hidden}}`);
  await run('volumes', forever, {
    pod: {
      metadata: { labels: { tier: 'front' } },
      volumes: [
        { name: 'settings', configMap: { name: 'settings' } },
        { name: 'keys', secret: { secretName: 'keys', defaultMode: 0o400 } },
        { name: 'scratch', emptyDir: {} },
        {
          name: 'about',
          downwardAPI: {
            items: [{ path: 'labels', fieldRef: { fieldPath: 'metadata.labels' } }],
          },
        },
      ],
      securityContext: { fsGroup: 4242 },
    },
    container: {
      env: [
        { name: 'COLOR', valueFrom: { configMapKeyRef: { name: 'settings', key: 'color' } } },
        { name: 'PASSWORD', valueFrom: { secretKeyRef: { name: 'keys', key: 'password' } } },
        { name: 'MY_IP', valueFrom: { fieldRef: { fieldPath: 'status.podIP' } } },
        { name: 'BOTH', value: '$(COLOR)-$(PASSWORD)-$$(COLOR)' },
      ],
      volumeMounts: [
        { name: 'settings', mountPath: '/mnt/settings' },
        { name: 'keys', mountPath: '/mnt/keys' },
        { name: 'scratch', mountPath: '/mnt/scratch' },
        { name: 'about', mountPath: '/mnt/about' },
      ],
    },
  });
  await ready('volumes');
  const { status } = await podOf('volumes');
  const read = (file: string) => execOk('volumes', `cat /mnt/${file}`);
  assert.equal(
    await execOk('volumes', 'echo $COLOR $PASSWORD $MY_IP $BOTH'),
    `blue hidden ${status?.podIP} blue-hidden-$(COLOR)\n`,
  );
  assert.equal(await read('settings/color'), 'blue');
  assert.equal(await read('keys/password'), 'hidden');
  assert.equal((await read('about/labels')).trim(), 'tier="front"');
  assert.equal(
    await execOk('volumes', 'echo kept > /mnt/scratch/file; cat /mnt/scratch/file'),
    'kept\n',
  );
  assert.notEqual((await exec('volumes', 'echo x > /mnt/settings/color')).code, 0, 'read-only');
  await cluster.kubectlOk('patch', 'configmap', 'settings', '-p', '{"data":{"color":"green"}}');
  await cluster.kubectlOk('label', 'pod', 'volumes', 'tier=back', '--overwrite');
  await eventually('the file follows', async () => (await read('settings/color')) === 'green', 70);
  await eventually(
    'the labels too',
    async () => (await read('about/labels')).includes('"back"'),
    70,
  );
});

test('[K13] [K38] the token of the service account opens the API from inside', async () => {
  const script = `d=/var/run/secrets/kubernetes.io/serviceaccount
    curl -sf --cacert $d/ca.crt -H "Authorization: Bearer $(cat $d/token)" \
      https://kubernetes.default.svc/api/v1/namespaces/$(cat $d/namespace)/services/my-svc`;
  const service = JSON.parse(await execOk('own', script)) as Service;
  assert.equal(service.metadata.name, 'my-svc');
  const without = await execOk(
    'own',
    'curl -sko /dev/null -w "%{http_code}" https://kubernetes.default.svc/api/v1/pods',
  );
  assert.ok(['401', '403'].includes(without), `without a token: ${without}`);
});

test('[K14] users and rights: none by default, those that are asked for', async () => {
  assert.match(await execOk('own', 'id'), /^uid=65534\(nobody\) gid=65534\(nogroup\)/);
  assert.match(await execOk('own', 'cat /proc/self/status'), /^CapEff:\t0+$/m);
  assert.notEqual((await exec('own', 'echo x > /etc/fairlead-was-here')).code, 0);
  await run('root', forever, {
    container: {
      securityContext: {
        runAsUser: 1234,
        runAsGroup: 2345,
        capabilities: { add: ['NET_ADMIN'] },
      },
    },
  });
  await run('refused', forever, {
    container: { securityContext: { runAsNonRoot: true, runAsUser: 0 } },
  });
  await ready('root');
  assert.match(await execOk('root', 'id'), /^uid=1234 gid=2345/);
  // CAP_NET_ADMIN is number 12 (linux/capability.h).
  const bounds = /^CapBnd:\t([0-9a-f]+)$/m.exec(await execOk('root', 'cat /proc/1/status'))?.[1];
  assert.ok((BigInt(`0x${bounds}`) >> 12n) & 1n, 'NET_ADMIN is there');
  const waiting = await eventually('it is refused', async () => {
    const { status } = await podOf('refused');
    return status?.containerStatuses?.[0]?.state?.waiting?.reason;
  });
  assert.equal(waiting, 'CreateContainerConfigError');
});

test('[K21] readiness: an unready pod leaves the endpoints at once and comes back', async () => {
  await cluster.apply(`{apiVersion: v1, kind: Pod, metadata: {name: moody, labels: {app: moody}},
  spec: {containers: [{name: e, image: fairlead/echo, ports: [{name: http, containerPort: 8080}],
    readinessProbe: {httpGet: {path: /healthz, port: http}, periodSeconds: 1, failureThreshold: 1}}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: moody}, spec: {selector: {app: moody}, ports: [{port: 80, targetPort: http}]}}`);
  await ready('moody');
  const pod = await podOf('moody');
  const target = { address: pod.status?.podIP ?? '', port: 8080 };
  const place = inPod(cluster, pod);
  const endpoints = async () =>
    (await cluster.json<Endpoints>('endpoints', 'moody')).subsets?.flatMap(({ addresses = [] }) =>
      addresses.map(({ ip }) => ip),
    ) ?? [];
  await eventually('in', async () => (await endpoints())[0] === target.address);
  await httpAnswers(place, target, '/fail');
  const started = performance.now();
  await eventually('out', async () => (await endpoints()).length === 0, 5);
  assert.ok(performance.now() - started < 2500, 'within the probe period and a moment');
  assert.equal((await podOf('moody')).status?.containerStatuses?.[0]?.restartCount, 0);
  await httpAnswers(place, target, '/fail');
  await eventually('in again', async () => (await endpoints())[0] === target.address, 5);
  assert.ok((await reasons('moody')).get('Unhealthy')?.includes('503'));
});

test('[K21] [K3] [K16] liveness: a failing one restarts the container in the same pod', async () => {
  await run('dying', `touch /tmp/alive; sleep 2; rm /tmp/alive; ${forever}`, {
    container: {
      livenessProbe: {
        exec: { command: ['cat', '/tmp/alive'] },
        periodSeconds: 1,
        failureThreshold: 1,
        initialDelaySeconds: 1,
      },
    },
  });
  await ready('dying');
  const { podIP } = (await podOf('dying')).status ?? {};
  const pod = await eventually('it restarts', async () => {
    const found = await podOf('dying');
    return (found.status?.containerStatuses?.[0]?.restartCount ?? 0) > 0 && found;
  });
  assert.equal(pod.status?.podIP, podIP);
  const last = pod.status?.containerStatuses?.[0]?.lastState?.terminated;
  // TERM, then KILL after the grace period: 128 + the number of the signal.
  assert.ok([143, 137].includes(last?.exitCode ?? 0), `exit code ${last?.exitCode}`);
  const events = await reasons('dying');
  assert.ok(events.has('Unhealthy') && events.has('Killing'), [...events.keys()].join());
});

test('[K21] startup: the other probes wait for it', async () => {
  await run('slow', `sleep 3; touch /tmp/started; ${forever}`, {
    container: {
      startupProbe: {
        exec: { command: ['cat', '/tmp/started'] },
        periodSeconds: 1,
        failureThreshold: 20,
      },
      livenessProbe: {
        exec: { command: ['cat', '/tmp/started'] },
        periodSeconds: 1,
        failureThreshold: 1,
      },
    },
  });
  await eventually('it runs', async () => (await podOf('slow')).status?.phase === 'Running');
  assert.equal((await podOf('slow')).status?.containerStatuses?.[0]?.started, false);
  await ready('slow');
  const status = (await podOf('slow')).status?.containerStatuses?.[0];
  assert.equal(status?.started, true);
  assert.equal(status?.restartCount, 0);
});

test('[K17] CrashLoopBackOff, and its logs', async () => {
  await run('crash', 'echo reason of the crash; exit 3');
  const status = await eventually('it backs off', async () => {
    const found = (await podOf('crash')).status?.containerStatuses?.[0];
    return found?.state?.waiting?.reason === 'CrashLoopBackOff' && found;
  });
  assert.equal(status.lastState?.terminated?.exitCode, 3);
  assert.match(await cluster.kubectlOk('get', 'pod', 'crash'), /CrashLoopBackOff/);
  assert.match(await cluster.kubectlOk('logs', 'crash', '--previous'), /reason of the crash/);
  assert.ok((await reasons('crash')).has('BackOff'));
});

test('[K16] [K17] restartPolicy: a command that ends leaves a pod that succeeded or failed', async () => {
  await run('well', 'exit 0', { pod: { restartPolicy: 'Never' } });
  await run('badly', 'exit 7', { pod: { restartPolicy: 'Never' } });
  await eventually('Succeeded', async () => (await podOf('well')).status?.phase === 'Succeeded');
  const failed = await eventually('Failed', async () => {
    const found = await podOf('badly');
    return found.status?.phase === 'Failed' && found;
  });
  assert.equal(failed.status?.containerStatuses?.[0]?.state?.terminated?.exitCode, 7);
  assert.match(await cluster.kubectlOk('get', 'pod', 'well'), /Completed/);
});

test('[K18] init containers run one by one before the rest', async () => {
  const container = (name: string, script: string) => ({
    name,
    image: 'host',
    command: ['sh', '-c', script],
    volumeMounts: [{ name: 'shared', mountPath: '/mnt' }],
  });
  await run('init', `cat /mnt/order; ${forever}`, {
    pod: {
      volumes: [{ name: 'shared', emptyDir: {} }],
      initContainers: [
        container('first', 'sleep 0.5; echo first >> /mnt/order'),
        container('second', 'echo second >> /mnt/order'),
      ],
    },
    container: { volumeMounts: [{ name: 'shared', mountPath: '/mnt' }] },
  });
  await ready('init');
  assert.equal(await cluster.kubectlOk('logs', 'init', '-c', 'main'), 'first\nsecond\n');
  const states = (await podOf('init')).status?.initContainerStatuses ?? [];
  assert.deepEqual(
    states.map((one) => [one.name, one.state?.terminated?.reason]),
    [
      ['first', 'Completed'],
      ['second', 'Completed'],
    ],
  );
});

test('[K19] [K20] a pod that goes: preStop, then TERM, then KILL when its time is up', async () => {
  const volume = [{ name: 'host', mountPath: '/mnt' }];
  const directory = must(await at({ name: 'host' }, 'mktemp', '-d'), 'mktemp').trim();
  must(await at({ name: 'host' }, 'chmod', '777', directory), 'chmod');
  const lifecycle = {
    preStop: { exec: { command: ['sh', '-c', 'echo preStop >> /mnt/$HOSTNAME; sleep 0.5'] } },
  };
  const volumes = [{ name: 'host', hostPath: { path: directory } }];
  const script = (onTerm: string) =>
    `trap 'echo TERM >> /mnt/$HOSTNAME; ${onTerm}' TERM; ${forever}`;
  const pod = (seconds: number) => ({ volumes, terminationGracePeriodSeconds: seconds });
  await run('graceful', script('exit 0'), {
    pod: pod(20),
    container: { volumeMounts: volume, lifecycle },
  });
  await run('stubborn', script(''), { pod: pod(2), container: { volumeMounts: volume } });
  await ready('graceful', 'stubborn');
  const timed = async (name: string) => {
    const started = performance.now();
    await cluster.kubectlOk('delete', 'pod', name);
    return (performance.now() - started) / 1000;
  };
  const [quick, slow] = [await timed('graceful'), await timed('stubborn')];
  const said = async (name: string) =>
    must(await at({ name: 'host' }, 'cat', `${directory}/${name}`), name);
  assert.equal(await said('graceful'), 'preStop\nTERM\n');
  assert.equal(await said('stubborn'), 'TERM\n');
  assert.ok(quick >= 0.5 && quick < 3, `graceful took ${quick} s`);
  assert.ok(slow >= 2 && slow < 5, `stubborn took ${slow} s`);
  must(await at({ name: 'host' }, 'rm', '-r', directory), 'rm');
});

test('[K17] [K40] an image that cannot run says so in status and event', async () => {
  await cluster.kubectlOk('run', 'foreign', '--image=nginx:1.27');
  const waiting = await eventually('it waits', async () => {
    const found = (await podOf('foreign')).status?.containerStatuses?.[0]?.state?.waiting;
    return found?.reason !== 'ContainerCreating' && found;
  });
  assert.match(waiting.reason ?? '', /^(ErrImagePull|ImagePullBackOff)$/);
  assert.match(waiting.message ?? '', /nginx:1\.27/);
  assert.match((await reasons('foreign')).get('Failed') ?? '', /nginx:1\.27|ErrImagePull/);
  const described = await cluster.kubectlOk('describe', 'pod', 'foreign');
  assert.match(described, /fairlead\/echo/, 'it says what can run');
});

test('[K4] [K5] pods reach each other, and a deleted one leaves nothing on its node', async () => {
  await cluster.apply(
    ['node-1', 'node-2']
      .map(
        (node) => `{apiVersion: v1, kind: Pod, metadata: {name: on-${node}},
  spec: {nodeName: ${node}, containers: [{name: e, image: fairlead/echo, ports: [{containerPort: 8080}]}]}}`,
      )
      .join('\n---\n'),
  );
  await ready('on-node-1', 'on-node-2');
  const [one, two] = [await podOf('on-node-1'), await podOf('on-node-2')];
  const ask = async (from: Pod, to: Pod) =>
    (
      await httpAnswers(
        inPod(cluster, from),
        { address: to.status?.podIP ?? '', port: 8080 },
        '/clientip',
      )
    )[0]?.split(':')[0];
  assert.equal(await ask(one, two), one.status?.podIP, 'no address is rewritten');
  assert.equal(await ask(two, one), two.status?.podIP);
  assert.equal(await ask(one, one), one.status?.podIP, 'it reaches itself');
  const node = onNode(cluster, 'node-1');
  const routes = async () => (await at(node, 'ip', 'route')).stdout;
  assert.ok((await routes()).includes(`${one.status?.podIP} `));
  await cluster.kubectlOk('delete', 'pod', 'on-node-1');
  await eventually(
    'its route is gone',
    async () => !(await routes()).includes(`${one.status?.podIP} `),
  );
  const pins = must(
    await at(node, 'ls', inPod(cluster, one).namespace?.replace(/\/[^/]+\/net$/, '') ?? ''),
    'ls',
  );
  assert.ok(!pins.includes(one.metadata.uid ?? ''), 'no namespace stays pinned');
});
