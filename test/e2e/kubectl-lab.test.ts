/** What people do with kubectl, on a running lab, with every kubectl of this machine. */
import assert from 'node:assert/strict';
import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import {
  Cluster,
  environment,
  eventually,
  home,
  kubectlBinaries,
  must,
  removeHome,
  run,
  start,
  type Result,
} from './harness.ts';

let cluster: Cluster;
const editor = join(home, 'editor.sh');

before(async () => {
  cluster = await Cluster.up('kubectl');
  writeFileSync(editor, '#!/bin/sh\nsed -i "s/color: green/color: red/" "$1"\n');
  chmodSync(editor, 0o755);
  Object.assign(environment, {
    KUBECONFIG: cluster.kubeconfig,
    EDITOR: editor,
    KUBE_EDITOR: editor,
  });
});

after(async () => {
  await cluster?.down();
  removeHome();
});

const manifest = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: echo
        image: fairlead/echo
        ports: [{name: http, containerPort: 8080}]
        readinessProbe: {httpGet: {path: /healthz, port: http}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: http}]
---
apiVersion: v1
kind: Pod
metadata: {name: shell}
spec:
  terminationGracePeriodSeconds: 0
  # With the token's mount beside its own, kubectl itself would say "configured" each time.
  automountServiceAccountToken: false
  containers:
  - name: main
    image: host
    command: [sh, -c, 'echo line one; echo line two; while :; do sleep 0.2; done']
    volumeMounts: [{name: scratch, mountPath: /mnt}]
  volumes: [{name: scratch, emptyDir: {}}]
`;

// The dispatcher of the Google Cloud CLI is one of the others.
const binaries = kubectlBinaries().filter((one) => !one.version.endsWith('-dispatcher'));
test('there is a kubectl to test with', () => assert.ok(binaries.length > 0));

for (const { version, path } of binaries) {
  describe(`kubectl ${version}`, () => {
    const namespace = `v${version.replaceAll(/[^a-z0-9]/g, '-')}`;
    const file = join(home, `${namespace}.yaml`);
    const raw = (args: readonly string[], input = ''): Promise<Result> =>
      run(path, ['-n', namespace, ...args], input);
    const k = async (...args: string[]) => must(await raw(args), `kubectl ${args.join(' ')}`);
    /** A command line split at blanks. */
    const line = (text: string) => k(...text.split(' '));

    before(async () => {
      writeFileSync(file, manifest);
      await k('create', 'namespace', namespace);
    });

    test('apply -f creates; again it leaves all unchanged', async () => {
      assert.equal(
        await k('apply', '-f', file),
        'deployment.apps/web created\nservice/web created\npod/shell created\n',
      );
      assert.equal(
        await k('apply', '-f', file),
        'deployment.apps/web unchanged\nservice/web unchanged\npod/shell unchanged\n',
      );
      assert.match(
        await line('rollout status deployment/web --timeout=30s'),
        /successfully rolled out/,
      );
      assert.match(
        await line('wait pod/shell --for=condition=Ready --timeout=30s'),
        /condition met/,
      );
    });

    test('get in every form', async () => {
      const pods = await line('get pods -o wide');
      assert.match(
        pods,
        /^NAME +READY +STATUS +RESTARTS +AGE +IP +NODE +NOMINATED NODE +READINESS GATES$/m,
      );
      assert.match(pods, /^shell +1\/1 +Running +0 +\d+s +10\.244\.\d+\.\d+ +node-\d/m);
      assert.match(await line('get service web -o yaml'), /^ {2}clusterIP: 10\.96\.\d+\.\d+$/m);
      assert.equal(JSON.parse(await line('get deployment web -o json')).spec.replicas, 2);
      assert.equal(await line('get service/web pod/shell -o name'), 'service/web\npod/shell\n');
      const all = await line('get all');
      for (const name of [
        'pod/shell',
        'service/web',
        'deployment.apps/web',
        'replicaset.apps/web-',
      ])
        assert.ok(all.includes(name), `${name} in\n${all}`);
      assert.match(
        await line('get endpoints web --no-headers'),
        /^web +10\.244\.\d+\.\d+:8080,10\.244\.\d+\.\d+:8080 /,
      );
      assert.match(
        must(await run(path, ['get', 'pods', '-n', 'kube-system']), 'get'),
        /^dns-\S+ +1\/1 +Running/m,
      );
      assert.match(must(await run(path, ['get', 'nodes']), 'get'), /^node-2 +Ready/m);
      assert.match((await raw(['get', 'pod', 'none'])).stderr, /pods "none" not found/);
    });

    test('get -w sees a change', async () => {
      const watch = start(path, [
        '-n',
        namespace,
        'get',
        'deployment',
        'web',
        '-w',
        '--no-headers',
      ]);
      let seen = '';
      watch.stdout?.on('data', (chunk) => (seen += String(chunk)));
      try {
        await eventually('the first line', () => /2\/2/.test(seen));
        assert.equal(
          await line('scale deployment/web --replicas=3'),
          'deployment.apps/web scaled\n',
        );
        await eventually('the change', () => /3\/3/.test(seen));
      } finally {
        watch.kill();
      }
      await line('scale deployment/web --replicas=2');
    });

    test('describe', async () => {
      const pod = await line('describe pod shell');
      assert.match(pod, /^Status: +Running$/m);
      assert.match(pod, /Successfully assigned/);
      assert.match(pod, /Started container main/);
      const service = await line('describe service web');
      assert.match(service, /^Endpoints: +10\.244\.\d+\.\d+:8080,10\.244\.\d+\.\d+:8080/m);
      assert.match(await line('describe deployment web'), /^Replicas: +2 desired/m);
      const node = must(await run(path, ['describe', 'node', 'node-1']), 'describe node');
      assert.match(node, /^ {2}Ready +True/m);
      assert.match(node, /Non-terminated Pods/);
    });

    test('logs and logs -f', async () => {
      assert.equal(await line('logs shell'), 'line one\nline two\n');
      assert.equal(await line('logs shell --tail=1'), 'line two\n');
      await k(
        'run',
        'talker',
        '--image=host',
        '--restart=Never',
        '--',
        'sh',
        '-c',
        'for i in 1 2 3; do echo $i; sleep 0.3; done',
      );
      await eventually('it started', async () => (await raw(['logs', 'talker'])).code === 0);
      assert.equal(await line('logs -f talker'), '1\n2\n3\n');
    });

    test('exec: output, exit code, standard input, a terminal', async () => {
      const both = await raw(['exec', 'shell', '--', 'sh', '-c', 'echo out; echo err >&2; exit 3']);
      assert.equal(both.code, 3);
      assert.equal(both.stdout, 'out\n');
      assert.match(both.stderr, /^err$/m);
      const text = 'x'.repeat(100_000);
      assert.equal(must(await raw(['exec', '-i', 'shell', '--', 'cat'], text), 'cat'), text);
      // The size comes after the command has started, as with a kubelet. A real terminal of 33 x 77 around kubectl, by script(1).
      const command = `stty rows 33 cols 77; ${path} -n ${namespace} exec -it shell -- sh -c 'tty; sleep 0.3; stty size; exit 4'`;
      const terminal = await run('script', ['-qec', command, '/dev/null']);
      assert.match(terminal.stdout, /\/dev\/pts\/\d+/);
      // script(1) may type its end of input before, and the terminal echoes it.
      assert.match(terminal.stdout, /33 77\r?$/m);
      assert.equal(terminal.code, 4);
    });

    test('cp both ways', async () => {
      await k('cp', file, `${namespace}/shell:/mnt/copy.yaml`);
      assert.equal(await line('exec shell -- cat /mnt/copy.yaml'), manifest);
      await k('cp', `${namespace}/shell:/mnt/copy.yaml`, `${file}.back`);
      assert.equal(readFileSync(`${file}.back`, 'utf8'), manifest);
    });

    test('expose, run, label, annotate, patch', async () => {
      await line('expose deployment web --name=again --port=81 --target-port=8080 --type=NodePort');
      const port = Number(await line('get service again -o jsonpath={.spec.ports[0].nodePort}'));
      assert.ok(port >= 30_000 && port <= 32_767);
      await line('run one --image=fairlead/echo --labels=app=one');
      await line('wait pod/one --for=condition=Ready --timeout=20s');
      await line('label pod one tier=front');
      assert.match(await line('get pods -l tier=front -o name'), /^pod\/one$/m);
      await line('annotate pod one note=kept');
      assert.equal(await line('get pod one -o jsonpath={.metadata.annotations.note}'), 'kept');
      await k('create', 'configmap', 'settings', '--from-literal=color=blue');
      const color = () => line('get configmap settings -o jsonpath={.data.color}');
      const patches = [
        ['merge', '{"data":{"color":"cyan"}}', 'cyan'],
        ['strategic', '{"data":{"color":"pink"}}', 'pink'],
        ['json', '[{"op":"replace","path":"/data/color","value":"green"}]', 'green'],
      ] as const;
      for (const [type, patch, want] of patches) {
        await k('patch', 'configmap', 'settings', '--type', type, '-p', patch);
        assert.equal(await color(), want, type);
      }
      assert.equal(await line('edit configmap settings'), 'configmap/settings edited\n');
      assert.equal(await color(), 'red');
    });

    test('create deployment, secret; auth can-i; explain; api-resources', async () => {
      await line('create deployment small --image=fairlead/pause');
      await line('wait deployment/small --for=condition=Available --timeout=20s');
      await line('create secret generic keys --from-literal=password=hidden');
      assert.equal(await line('get secret keys -o jsonpath={.data.password}'), 'aGlkZGVu');
      assert.equal(await line('auth can-i create pods'), 'yes\n');
      assert.match(await line('explain service.spec.clusterIP'), /clusterIP/);
      const kinds = await line('api-resources');
      for (const kind of ['pods', 'services', 'endpointslices', 'deployments', 'statefulsets'])
        assert.match(kinds, new RegExp(`^${kind} `, 'm'));
    });

    test('rollout: restart, history, undo', async () => {
      await line('set env deployment/web STEP=two');
      await line('rollout status deployment/web --timeout=30s');
      await line('rollout restart deployment/web');
      await line('rollout status deployment/web --timeout=30s');
      assert.match(await line('rollout history deployment/web'), /^1 .*\n2 .*\n3 /m);
      await line('rollout undo deployment/web --to-revision=1');
      await line('rollout status deployment/web --timeout=30s');
      const { containers } = JSON.parse(await line('get deployment web -o json')).spec.template
        .spec;
      assert.equal(containers[0].env, undefined);
    });

    test('delete', async () => {
      assert.match(
        await line('delete pod one --grace-period=0 --force'),
        /pod "one" force deleted/,
      );
      assert.match(await k('delete', '-f', file), /service "web" deleted/);
      assert.equal((await raw(['get', 'service', 'web'])).code, 1);
      await k('delete', 'namespace', namespace, '--timeout=30s');
    });
  });
}
