/**
 * The commands people use, with every kubectl of this machine, against the API server alone: what
 * controllers and agents would do (statuses, namespaces that go) the test does itself.
 */
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { resources } from '../../src/api/resources.ts';
import type { Deployment, Endpoints, Node, Pod } from '../../src/api/types.ts';
import { kubeconfigText } from '../../src/apiserver/pki/kubeconfig.ts';
import { type TestServer, startTestServer } from '../../src/apiserver/test-server.ts';
import { kubectlBinaries } from './harness.ts';

const folder = mkdtempSync(join(tmpdir(), 'kubectl-api-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const manifest = join(folder, 'shop.yaml');
writeFileSync(
  manifest,
  `
apiVersion: v1
kind: Service
metadata: {name: web, labels: {app: web}}
spec:
  type: NodePort
  selector: {app: web}
  ports:
  - {name: http, port: 80, targetPort: 8080, nodePort: 30007}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: fairlead/echo, ports: [{containerPort: 8080}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {color: blue}
`,
);
const broken = join(folder, 'broken.yaml');
writeFileSync(
  broken,
  'apiVersion: v1\nkind: Service\nmetadata: {name: bad}\nspec: {prts: [], ports: [{port: 80}]}\n',
);
const invalid = join(folder, 'invalid.yaml');
writeFileSync(
  invalid,
  'apiVersion: v1\nkind: Service\nmetadata: {name: bad}\nspec: {ports: [{port: 0}]}\n',
);

type Step = {
  /** What is typed after `kubectl`; single quotes hold words together. */
  readonly run: string;
  readonly code?: number;
  /** What standard output and error, in that order, must show. */
  readonly want?: RegExp;
  readonly env?: Record<string, string>;
  /** The first minor version of kubectl 1 that can do this; an older one leaves the step out, and says so. */
  readonly since?: number;
  /** What the controllers would have done by now. */
  readonly before?: (api: TestServer) => Promise<void>;
};

const steps: Step[] = [
  { run: 'version', want: /Server Version:.*v1\.33\.4\+fairlead/s },
  { run: 'api-resources', want: /deployments +deploy +apps\/v1 +true +Deployment/ },
  { run: 'cluster-info', want: /control plane.* is running at/ },
  { run: 'get namespaces', want: /default +Active.*kube-system +Active/s },
  { run: `apply -f ${manifest}`, want: /service\/web created\ndeployment.apps\/web created/ },
  { run: `apply -f ${manifest}`, want: /service\/web unchanged\ndeployment.apps\/web unchanged/ },
  { run: `diff -f ${manifest}`, code: 0 },
  { run: `create -f ${manifest}`, code: 1, want: /services "web" already exists/ },
  { run: `apply -f ${broken}`, code: 1, want: /unknown field "?(spec\.)?prts"?/ },
  {
    run: `apply -f ${invalid}`,
    code: 1,
    want: /spec.ports\[0\].port: Invalid value: 0: must be between 1 and 65535, inclusive/,
  },
  {
    run: 'get service web -o wide',
    want: /web +NodePort +10\.96\.\d+\.\d+ +<none> +80:30007\/TCP +\d+s +app=web/,
  },
  { run: 'get service web -o yaml', want: /kind: Service[^]*nodePort: 30007/ },
  { run: 'get service web -o json', want: /"targetPort": 8080/ },
  { run: 'get all', want: /service\/kubernetes[^]*deployment.apps\/web/ },
  {
    run: 'get service nothing',
    code: 1,
    want: /Error from server \(NotFound\): services "nothing" not found/,
  },
  { run: 'describe service web', want: /Type: +NodePort[^]*NodePort: +http +30007\/TCP/ },
  { run: 'describe deployment web', want: /Replicas: +2 desired/ },
  {
    run: 'get endpoints web',
    before: addEndpoints,
    want: /web +10\.244\.1\.5:8080,10\.244\.2\.3:8080/,
  },
  { run: 'scale deployment web --replicas=3', want: /deployment.apps\/web scaled/ },
  {
    run: 'rollout status deployment web --timeout=20s',
    before: finishRollout,
    want: /"web" successfully rolled out/,
  },
  { run: 'wait deployment/web --for=condition=Available --timeout=20s', want: /condition met/ },
  { run: 'get deployment web', want: /web +3\/3 +3 +3/ },
  { run: 'set image deployment/web web=fairlead/pause', want: /image updated/ },
  { run: 'rollout restart deployment web', want: /restarted/ },
  { run: 'rollout history deployment web', want: /No rollout history found/ },
  { run: 'expose deployment web --name=exposed --port=81', want: /service\/exposed exposed/ },
  { run: 'run one --image=fairlead/pause --port=80 --labels=app=one', want: /pod\/one created/ },
  { run: 'get pods', want: /one +0\/1 +Pending +0/ },
  { run: 'get pods', before: startPod, want: /one +1\/1 +Running +0/ },
  { run: 'get pods -o wide', want: /one +1\/1 +Running +0 +\d+s +10\.244\.1\.9 +n1/ },
  { run: 'describe pod one', want: /Node: +n1[^]*QoS Class: +BestEffort/ },
  { run: 'wait pod/one --for=condition=Ready --timeout=20s', want: /condition met/ },
  { run: 'label pod one tier=front', want: /pod\/one labeled/ },
  { run: 'get pods -l tier=front -o name', want: /^pod\/one\n$/ },
  { run: 'get pods -l tier!=front -o name', want: /^$/ },
  { run: 'get pods --field-selector=spec.nodeName=n1 -o name', want: /^pod\/one\n$/ },
  { run: 'get pods --sort-by=.metadata.name', want: /one/ },
  { run: 'annotate pod one note=hello', want: /pod\/one annotate/ },
  {
    run: `patch service web -p '{"spec":{"ports":[{"port":80,"targetPort":9090}]}}'`,
    want: /patched/,
  },
  {
    run: `patch service web --type=json -p '[{"op":"replace","path":"/spec/sessionAffinity","value":"ClientIP"}]'`,
    want: /patched/,
  },
  {
    run: `patch service web --type=merge -p '{"spec":{"sessionAffinity":"None"}}'`,
    want: /patched/,
  },
  {
    run: `get service web -o jsonpath='{.spec.ports[0].targetPort} {.spec.ports[0].nodePort} {.spec.sessionAffinity}'`,
    want: /^9090 30007 None$/,
  },
  {
    run: 'edit service web',
    env: { KUBE_EDITOR: 'sed -i s/9090/9191/' },
    want: /service\/web edited/,
  },
  { run: `get service web -o jsonpath='{.spec.ports[0].targetPort}'`, want: /^9191$/ },
  {
    run: `patch service web -p '{"spec":{"clusterIP":"10.96.0.200"}}'`,
    code: 1,
    want: /spec.clusterIPs\[0\]: Invalid value: .*may not change once set/,
  },
  {
    run: 'create service clusterip outside --tcp=80:80 --clusterip=1.2.3.4',
    code: 1,
    want: /failed to allocate IP 1.2.3.4/,
  },
  { run: 'create deployment second --image=fairlead/echo --replicas=2', want: /created/ },
  { run: 'create configmap literal --from-literal=a=b', want: /created/ },
  { run: 'create secret generic hidden --from-literal=a=b', want: /created/ },
  { run: `get secret hidden -o jsonpath='{.data.a}'`, want: /^Yg==$/ },
  { run: 'create namespace side', want: /namespace\/side created/ },
  { run: 'create serviceaccount robot -n side', want: /created/ },
  { run: 'create token robot -n side', since: 24, want: /^eyJ[\w-]+\.[\w-]+\.[\w-]+$/ },
  { run: 'auth can-i create pods', want: /^yes\n/ },
  {
    run: 'auth whoami',
    since: 27,
    want: /Username +admin\nGroups +\[system:masters system:authenticated\]/,
  },
  { run: 'auth can-i create pods --as=jane', want: /^yes\n/ },
  { run: 'explain service.spec.ports', want: /nodePort\s+<integer>/ },
  {
    run: `create -f ${manifest} -n side --dry-run=server`,
    code: 1,
    want: /provided port is already allocated/,
  },
  {
    run: 'create service nodeport dry --tcp=80 --dry-run=server',
    want: /service\/dry created \(server dry run\)/,
  },
  { run: 'get service dry', code: 1, want: /not found/ },
  { run: 'cordon n1', want: /node\/n1 cordoned/ },
  { run: 'get nodes', want: /n1 +Ready,SchedulingDisabled/ },
  { run: 'describe node n1', want: /Unschedulable: +true/ },
  { run: 'uncordon n1', want: /node\/n1 uncordoned/ },
  { run: 'taint node n1 a=b:NoSchedule', want: /tainted/ },
  { run: 'get events -A', code: 0 },
  { run: 'delete pod one --grace-period=0 --force', want: /pod "one" force deleted/ },
  // Before 1.21 what is gone already was an error of the client.
  { run: 'wait pod/one --for=delete --timeout=5s', since: 21, code: 0 },
  { run: `delete -f ${manifest}`, want: /service "web" deleted[^]*configmap "settings" deleted/ },
  { run: 'delete deployment,service --all --wait=false', want: /deployment.apps "second" deleted/ },
  { run: 'get namespace side -o name', want: /namespace\/side/ },
  { run: 'delete namespace side --wait=false', want: /namespace "side" deleted/ },
  { run: 'create configmap late -n side', code: 1, want: /because it is being terminated/ },
];

async function addEndpoints({ server }: TestServer): Promise<void> {
  await server.client.create<Endpoints>(resources.endpoints, {
    metadata: { name: 'web', namespace: 'default' },
    subsets: [{ addresses: [{ ip: '10.244.1.5' }, { ip: '10.244.2.3' }], ports: [{ port: 8080 }] }],
  });
}

async function finishRollout({ server: { client } }: TestServer): Promise<void> {
  const key = { namespace: 'default', name: 'web' };
  const { metadata, spec } = await client.get<Deployment>(resources.deployments, key);
  const replicas = spec.replicas ?? 0;
  const condition = { status: 'True' as const, reason: 'Test', message: '' };
  await client.patch(
    resources.deployments,
    key,
    {
      status: {
        observedGeneration: metadata.generation,
        replicas,
        updatedReplicas: replicas,
        readyReplicas: replicas,
        availableReplicas: replicas,
        conditions: [{ type: 'Available', ...condition }],
      },
    },
    { type: 'merge', subresource: 'status' },
  );
}

async function startPod({ server: { client } }: TestServer): Promise<void> {
  await client.create<Node>(resources.nodes, {
    metadata: { name: 'n1' },
    status: { conditions: [{ type: 'Ready', status: 'True' }] },
  });
  const key = { namespace: 'default', name: 'one' };
  await client.post(resources.pods, key, 'binding', { target: { kind: 'Node', name: 'n1' } });
  const status: Pod['status'] = {
    phase: 'Running',
    podIP: '10.244.1.9',
    podIPs: [{ ip: '10.244.1.9' }],
    conditions: [{ type: 'Ready', status: 'True' }],
    containerStatuses: [
      {
        name: 'one',
        ready: true,
        restartCount: 0,
        image: 'fairlead/pause',
        imageID: '',
        state: { running: { startedAt: new Date().toISOString().replace(/\.\d+/, '') } },
      },
    ],
  };
  await client.patch(resources.pods, key, { status }, { type: 'merge', subresource: 'status' });
}

/** Splits at spaces; single quotes hold words together. */
function words(text: string): string[] {
  return [...text.matchAll(/(?:'[^']*'|[^\s'])+/g)].map(([word]) => word.replaceAll("'", ''));
}

const binaries = kubectlBinaries();
test('there is a kubectl to test with', () => assert.ok(binaries.length > 0));

for (const { version, path } of binaries) {
  test(`[A1-A140] kubectl ${version}`, async (t) => {
    const api = await startTestServer();
    const home = join(folder, version);
    mkdirSync(home);
    const kubeconfig = join(home, 'kubeconfig');
    writeFileSync(
      kubeconfig,
      kubeconfigText({ name: 'test', server: api.url, ca: api.ca.cert, client: api.admin }),
    );
    const env = { PATH: process.env.PATH, HOME: home, KUBECONFIG: kubeconfig };
    try {
      for (const step of steps) {
        const minor = Number(version.split('.')[1]);
        const skip =
          minor < (step.since ?? 0) && `kubectl ${version} lacks it, 1.${step.since} has it`;
        await t.test(`kubectl ${step.run}`, { skip }, async () => {
          await step.before?.(api);
          const { code, output } = await run(path, words(step.run), { ...env, ...step.env });
          assert.equal(code, step.code ?? 0, output);
          if (step.want !== undefined) assert.match(output, step.want);
        });
      }
      await t.test('kubectl get -w', () => followsChanges(api, path, env));
    } finally {
      await api.stop();
    }
  });
}

async function followsChanges(api: TestServer, path: string, env: object): Promise<void> {
  const args = ['get', 'configmaps', '-w', '-n', 'kube-public'];
  const child = spawn(path, args, { env: env as NodeJS.ProcessEnv });
  let text = '';
  const shows = async (pattern: RegExp) => {
    while (!pattern.test(text)) text += String((await once(child.stdout, 'data'))[0]);
  };
  try {
    const metadata = { name: 'seen', namespace: 'kube-public' };
    await api.server.client.create(resources.configmaps, { metadata });
    await shows(/seen +0/);
    const patch = { data: { a: '1', b: '2' } };
    await api.server.client.patch(resources.configmaps, metadata, patch, { type: 'merge' });
    await shows(/seen +2/);
  } finally {
    child.kill();
  }
}

function run(
  path: string,
  args: readonly string[],
  env: object,
): Promise<{ code: number; output: string }> {
  return new Promise((resolve) => {
    execFile(
      path,
      args,
      { env: env as NodeJS.ProcessEnv, timeout: 30_000 },
      (error, stdout, stderr) => {
        const code = error === null ? 0 : typeof error.code === 'number' ? error.code : 128;
        resolve({ code, output: `${stdout}${stderr}` });
      },
    );
  });
}
