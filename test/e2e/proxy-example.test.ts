/**
 * examples/proxy: what the API server has a kind for is applied, the pod template as a Deployment;
 * the configuration is started, and the rights are held against what the proxy asks for.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createSecureServer, type Http2SecureServer } from 'node:http2';
import { request } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { parse, parseAllDocuments, stringify } from 'yaml';

import { issue } from '../../src/apiserver/pki/certificates.ts';
import { ip } from '../kernel/proxy-topology.ts';
import { eventually } from './harness.ts';
import { ProxyProcess, startWorld, type World } from './proxy-world.ts';

const root = join(import.meta.dirname, '..', '..');
const read = (name: string) => readFileSync(join(root, 'examples', 'proxy', name), 'utf8');

type Loose = Record<string, never> & {
  kind: string;
  metadata: { name: string; namespace?: string };
};
type Rule = { apiGroups: string[]; resources: string[]; verbs: string[] };

const documents = parseAllDocuments(read('daemonset.yaml')).map((one) => one.toJS() as Loose);

// oxlint-disable-next-line typescript/no-explicit-any -- the test looks anywhere into documents
function find(kind: string): any {
  const found = documents.filter((one) => one.kind === kind);
  assert.equal(found.length, 1, kind);
  return found[0];
}

let world: World;
let watcher: Watcher;

before(async () => {
  ip('link set lo up');
  world = await startWorld();
  watcher = await startWatcher(world);
});
after(async () => {
  watcher.server.close();
  await world.stop();
});

/** Stands before the API server, passes everything on and notes what was asked. */
type Watcher = {
  server: Http2SecureServer;
  url: string;
  asked: Set<string>;
  identities: Set<string>;
};

async function startWatcher({ api }: World): Promise<Watcher> {
  const { cert, key } = issue(api.ca, { cn: 'server', ips: ['127.0.0.1'], usages: ['server'] });
  const asked = new Set<string>();
  const identities = new Set<string>();
  const server = createSecureServer({ cert, key });
  server.on('request', (near, answer) => {
    asked.add(questionOf(near.method, near.url));
    identities.add(String(near.headers.authorization).split(' ')[0]!);
    const headers = Object.fromEntries(
      Object.entries(near.headers).filter(([name]) => !name.startsWith(':')),
    );
    const target = new URL(near.url, api.url);
    const far = request(
      target,
      { method: near.method, headers, ca: api.ca.cert, agent: false },
      (response) => {
        answer.writeHead(response.statusCode ?? 500, {
          'content-type': response.headers['content-type'] ?? 'application/json',
        });
        response.pipe(answer);
      },
    );
    far.on('error', () => answer.end());
    near.pipe(far);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  return { server, url: `https://127.0.0.1:${port}`, asked, identities };
}

/** `list services.` or `watch endpointslices.discovery.k8s.io`: what RBAC decides on. */
function questionOf(method: string, path: string): string {
  const url = new URL(path, 'https://api');
  const parts = url.pathname.split('/').filter(Boolean);
  const group = parts[0] === 'api' ? '' : parts[1]!;
  const rest = parts.slice(parts[0] === 'api' ? 2 : 3);
  const [resource, name] = rest[0] === 'namespaces' && rest.length > 2 ? rest.slice(2) : rest;
  const single = name === undefined ? 'list' : 'get';
  const reading = url.searchParams.has('watch') ? 'watch' : single;
  const verbs: Record<string, string> = {
    GET: reading,
    POST: 'create',
    PATCH: 'patch',
    PUT: 'update',
    DELETE: 'delete',
  };
  return `${verbs[method]} ${resource}.${group}`;
}

test('the DaemonSet, its rights and its configuration belong together', () => {
  const kinds = documents.map(({ kind }) => kind);
  assert.deepEqual(kinds, [
    'ServiceAccount',
    'ClusterRole',
    'ClusterRoleBinding',
    'ConfigMap',
    'DaemonSet',
  ]);
  const binding = find('ClusterRoleBinding');
  const account = find('ServiceAccount');
  assert.equal(binding.roleRef.name, find('ClusterRole').metadata.name);
  assert.deepEqual(
    [binding.subjects[0]?.name, binding.subjects[0]?.namespace],
    [account.metadata.name, account.metadata.namespace],
  );
  const { spec } = find('DaemonSet');
  assert.equal(spec.template.spec.serviceAccountName, account.metadata.name);
  assert.equal(spec.template.spec.volumes[0]?.configMap.name, find('ConfigMap').metadata.name);
});

test('the API server takes what it has kinds for, and the pod template in a Deployment', async () => {
  const daemonSet = find('DaemonSet');
  const { updateStrategy: _, ...spec } = daemonSet.spec;
  const deployment = { ...daemonSet, kind: 'Deployment', spec: { ...spec, replicas: 1 } };
  const served = documents.filter(({ kind }) => ['ServiceAccount', 'ConfigMap'].includes(kind));
  const texts = [...served, deployment].map((one) => stringify(one)).join('---\n');
  await world.kubectl('', 'create', 'namespace', 'kube-system').catch(() => undefined);
  const out = await world.kubectl(texts, 'apply', '--validate=strict', '-f', '-').catch(
    // An older kubectl validates as strictly, and calls it otherwise.
    () => world.kubectl(texts, 'apply', '--validate=true', '-f', '-'),
  );
  assert.match(out, /serviceaccount\/fairlead-proxy/);
  assert.match(out, /deployment\.apps\/fairlead-proxy/);
});

test('its configuration starts a proxy with the token of a pod, and its rights are enough', async () => {
  const { data } = find('ConfigMap');
  const path = '/api/v1/namespaces/kube-system/serviceaccounts/fairlead-proxy/token';
  const { body } = await world.api.ask(`POST ${path}`, {
    body: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: {} },
  });
  // As the pod has them, but for the places.
  const identity = '/var/run/secrets/kubernetes.io/serviceaccount';
  const place = (text: string) =>
    text.replaceAll(identity, world.dir).replaceAll('/etc/fairlead', world.dir);
  writeFileSync(join(world.dir, 'ca.crt'), world.api.ca.cert);
  writeFileSync(join(world.dir, 'token'), (body as { status: { token: string } }).status.token);
  const kubeconfig = place(data['kubeconfig.yaml']);
  assert.match(kubeconfig, /server: https:\/\/control-plane\.example:6443\n/);
  writeFileSync(
    join(world.dir, 'kubeconfig.yaml'),
    kubeconfig.replace('https://control-plane.example:6443', watcher.url),
  );
  writeFileSync(join(world.dir, 'config.yaml'), place(data['config.yaml']));
  await world.kubectl('apiVersion: v1\nkind: Node\nmetadata: {name: node-1}\n', 'apply', '-f', '-');
  await world.api.ask('PATCH /api/v1/nodes/node-1/status', {
    type: 'application/merge-patch+json',
    body: { status: { addresses: [{ type: 'InternalIP', address: '127.0.0.1' }] } },
  });
  const { spec } = find('DaemonSet');
  const [name, ...args]: string[] = spec.template.spec.containers[0].args;
  assert.equal(name, 'proxy');
  const proxy = new ProxyProcess(args.map((arg) => place(arg).replace('$(NODE_NAME)', 'node-1')));
  await eventually('rules', () =>
    proxy.log.includes('the rules of all Services are in the kernel'),
  );
  await eventually('an event', () => watcher.asked.has('create events.'));
  await eventually('the watches', () => watcher.asked.has('watch services.'));
  assert.equal(await proxy.end(), 0);

  assert.deepEqual([...watcher.identities], ['Bearer'], 'the token, and nothing else');
  const rules: Rule[] = find('ClusterRole').rules;
  const allowed = new Set(
    rules.flatMap(({ apiGroups, resources, verbs }) =>
      apiGroups.flatMap((group) =>
        resources.flatMap((resource) => verbs.map((verb) => `${verb} ${resource}.${group}`)),
      ),
    ),
  );
  const refused = [...watcher.asked].filter((question) => !allowed.has(question));
  assert.deepEqual(refused, [], 'the ClusterRole allows all that was asked');
  const read = ['services.', 'nodes.', 'endpointslices.discovery.k8s.io'];
  for (const resource of [...read, 'servicecidrs.networking.k8s.io']) {
    assert(watcher.asked.has(`list ${resource}`), `never listed ${resource}`);
  }
});

test('the unit file starts a command that there is, and knows the exit codes', () => {
  const unit = read('fairlead-proxy.service');
  const [, command = ''] =
    /^ExecStart=\/opt\/fairlead\/bin\/fairlead (\S+) --config \S+$/m.exec(unit) ?? [];
  assert.equal(command, 'proxy');
  assert.match(unit, /^RestartPreventExitStatus=2$/m);
});

test('what kube-proxy has in its ConfigMap is a file of ours', async () => {
  const { data } = find('ConfigMap');
  const config = parse(data['config.yaml']) as Record<string, unknown>;
  assert.equal(config.mode, 'nftables');
  assert.equal(config.clusterCIDR, '10.244.0.0/16');
});
