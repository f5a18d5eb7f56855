/** Requests no well-behaved client sends, and what must not happen because of them. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';

import { type KubeObject, keyOf } from '../api/meta.ts';
import { resources } from '../api/resources.ts';
import { type Ask, startTestServer } from './test-server.ts';

const api = await startTestServer();
after(() => api.stop());
const ask = (line: string, how?: Ask) => api.ask(line, how);

const DEFAULT = '/api/v1/namespaces/default';
const TABLE = 'application/json;as=Table;v=v1;g=meta.k8s.io';
const metadata = (name: string) => ({ name, namespace: 'default' });
const create = async (path: string, body: object) => {
  const answer = await ask(`POST ${path}`, { body });
  assert.equal(answer.code, 201, answer.text);
};

test('[A27] an event that cannot be shown ends that watch, not the server', async () => {
  const watch = await api.watch(`${DEFAULT}/pods?watch=1`, { accept: TABLE });
  const other = await api.watch(`${DEFAULT}/pods?watch=1`);
  // No request can store a pod without a spec; a faulty older version could have.
  const broken: KubeObject = { kind: 'Pod', apiVersion: 'v1', metadata: metadata('broken') };
  await api.store.write(resources.pods, keyOf(broken), () => ({ kind: 'put', object: broken }));
  assert.equal((await other.next())?.object.metadata.name, 'broken');
  await assert.rejects(watch.next());
  other.close();
  await api.store.write(resources.pods, keyOf(broken), () => ({ kind: 'delete' }));
  assert.equal((await ask('GET /version')).code, 200);
});

test('[A119] an event about nothing has a row', async () => {
  const event = { apiVersion: 'v1', kind: 'Event', metadata: { name: 'about-nothing' } };
  await create(`${DEFAULT}/events`, event);
  const { code, body } = await ask(`GET ${DEFAULT}/events/about-nothing`, { accept: TABLE });
  assert.equal(code, 200);
  assert.equal(body.rows[0].cells[3], '/');
});

const podOf = (name: string, spec: object = {}) => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name },
  spec: { containers: [{ name: 'c', image: 'fairlead/pause' }], ...spec },
});

test('[A96] [A45] kubectl drain --dry-run=server evicts nobody', async () => {
  await create(`${DEFAULT}/pods`, podOf('stays', { nodeName: 'n1' }));
  const eviction = {
    apiVersion: 'policy/v1',
    kind: 'Eviction',
    metadata: { name: 'stays' },
    deleteOptions: { dryRun: ['All'] },
  };
  const { code } = await ask(`POST ${DEFAULT}/pods/stays/eviction`, { body: eviction });
  assert.equal(code, 201);
  const { body } = await ask(`GET ${DEFAULT}/pods/stays`);
  assert.equal(body.metadata.deletionTimestamp, undefined);
});

test('[A101] [A45] a dry run finalizes no namespace', async () => {
  const body = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'unfinished' } };
  await create('/api/v1/namespaces', body);
  const path = '/api/v1/namespaces/unfinished';
  const emptied = { ...body, spec: { finalizers: [] } };
  assert.equal((await ask(`PUT ${path}/finalize?dryRun=All`, { body: emptied })).code, 200);
  assert.deepEqual((await ask(`GET ${path}`)).body.spec.finalizers, ['kubernetes']);
});

/** Subresources that only take what discovery says; the way around validation would lead here. */
const wrongVerbs = [
  'PATCH pods/p/binding',
  'PATCH pods/p/eviction',
  'PUT pods/p/binding',
  'PUT pods/p/eviction',
  'DELETE pods/p/log',
  'POST pods/p/log',
  'POST pods/p/status',
  'DELETE pods/p/status',
  'PUT serviceaccounts/p/token',
  'PATCH serviceaccounts/p/token',
];
for (const line of wrongVerbs) {
  test(`[A13] ${line} is not allowed`, async () => {
    const [method = '', path = ''] = line.split(' ');
    const type = method === 'PATCH' ? 'application/merge-patch+json' : 'application/json';
    const { code, text } = await ask(`${method} ${DEFAULT}/${path}`, { body: {}, type });
    assert.equal(code, 405, text);
  });
}

const BINDING = { apiVersion: 'v1', kind: 'Binding', metadata: { name: 'odd' } };
const wrongTypes: { name: string; line: string; body: object }[] = [
  {
    name: 'a binding to a number',
    line: `POST ${DEFAULT}/pods/odd/binding`,
    body: { ...BINDING, target: { name: 5 } },
  },
  {
    name: 'a binding that is a pod',
    line: `POST ${DEFAULT}/pods/odd/binding`,
    body: podOf('odd'),
  },
  {
    name: 'a grace period in words',
    line: `DELETE ${DEFAULT}/pods/odd`,
    body: { gracePeriodSeconds: '7' },
  },
  {
    name: 'a deletion with a pod for options',
    line: `DELETE ${DEFAULT}/pods/odd`,
    body: podOf('odd'),
  },
  {
    name: 'a scale in words',
    line: 'PUT /apis/apps/v1/namespaces/default/deployments/odd/scale',
    body: { kind: 'Scale', apiVersion: 'autoscaling/v1', spec: 'three' },
  },
  {
    name: 'a token that is a number',
    line: 'POST /apis/authentication.k8s.io/v1/tokenreviews',
    body: { kind: 'TokenReview', apiVersion: 'authentication.k8s.io/v1', spec: { token: 5 } },
  },
  {
    name: 'audiences that are no list',
    line: `POST ${DEFAULT}/serviceaccounts/odd/token`,
    body: { kind: 'TokenRequest', spec: { audiences: 'me' } },
  },
];
for (const { name, line, body } of wrongTypes) {
  test(`[A65] ${name} is a bad request`, async () => {
    const { code, text } = await ask(line, { body });
    assert.equal(code, 400, text);
  });
}

test('[A113] a grace period beyond all dates is as long as can be', async () => {
  const spec = { nodeName: 'n1', terminationGracePeriodSeconds: Number.MAX_SAFE_INTEGER };
  await create(`${DEFAULT}/pods`, podOf('patient', spec));
  const { code, body, text } = await ask(`DELETE ${DEFAULT}/pods/patient`);
  assert.equal(code, 200, text);
  assert.equal(body.metadata.deletionGracePeriodSeconds, 2 ** 31 - 1);
});

for (const name of ['default', 'kube-system', 'kube-public']) {
  test(`[A116] namespace ${name} may not be deleted`, async () => {
    const { code, body } = await ask(`DELETE /api/v1/namespaces/${name}?dryRun=All`);
    assert.equal(code, 403);
    assert.equal(
      body.message,
      `namespaces "${name}" is forbidden: this namespace may not be deleted`,
    );
  });
}

test('a ConfigMap may have keys that every JavaScript object knows', async () => {
  const data = JSON.parse('{"constructor":"a","toString":"b","__proto__":"c"}') as object;
  const object = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'keys' }, data };
  await create(`${DEFAULT}/configmaps`, object);
  const { text } = await ask(`GET ${DEFAULT}/configmaps/keys`);
  assert.match(text, /"data":{"constructor":"a","toString":"b","__proto__":"c"}/);
});

const noSpec = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'bare' } };
for (const [what, body] of [
  ['no spec', noSpec],
  ['an empty spec', { ...noSpec, spec: {} }],
  ['a volume without a name', podOf('bare', { volumes: [{ emptyDir: {} }] })],
] as const) {
  test(`a pod with ${what} is invalid`, async () => {
    const { code, text } = await ask(`POST ${DEFAULT}/pods`, { body });
    assert.equal(code, 422, text);
  });
}

test('a pod does not lose its spec', async () => {
  await create(`${DEFAULT}/pods`, podOf('bare'));
  const { code, text } = await ask(`PUT ${DEFAULT}/pods/bare`, { body: noSpec });
  assert.equal(code, 422, text);
});

test('a namespace whose status lost its phase takes a label', async () => {
  const body = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'phaseless' } };
  await create('/api/v1/namespaces', body);
  const path = '/api/v1/namespaces/phaseless';
  const condition = { type: 'Odd', status: 'True' };
  const status = { conditions: [condition] };
  await ask(`PUT ${path}/status`, { body: { ...body, status } });
  const type = 'application/merge-patch+json';
  const patch = { metadata: { labels: { a: 'b' } } };
  const { code, text } = await ask(`PATCH ${path}`, { body: patch, type });
  assert.equal(code, 200, text);
});

test('[A39] [A40] a PUT with the uid of an object that is gone does not bring it back', async () => {
  const stale = { name: 'ghost', uid: 'b9b1', resourceVersion: '1' };
  const body = { apiVersion: 'v1', kind: 'Endpoints', metadata: stale };
  const answer = await ask(`PUT ${DEFAULT}/endpoints/ghost`, { body });
  assert.equal(answer.code, 409, answer.text);
  assert.equal((await ask(`GET ${DEFAULT}/endpoints/ghost`)).code, 404);
});

test('[A31] thousands of warnings do not break the answer', async () => {
  const unknown = Object.fromEntries(Array.from({ length: 5000 }, (_, n) => [`unknown${n}`, 1]));
  const body = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'warned' }, ...unknown };
  const { code, headers } = await ask(`POST ${DEFAULT}/configmaps`, { body });
  assert.equal(code, 201);
  assert.match(String(headers.warning), /\bunknown0\b/);
  assert.ok(String(headers.warning).length < 8192);
});

test('[A63] a patch does not move an object to another namespace', async () => {
  const object = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'rooted' } };
  await create(`${DEFAULT}/configmaps`, object);
  const body = { metadata: { namespace: 'kube-system' } };
  const type = 'application/merge-patch+json';
  const { code, text } = await ask(`PATCH ${DEFAULT}/configmaps/rooted`, { body, type });
  assert.equal(code, 400, text);
});

test('[A128] ports that share a node port keep it when the YAML comes again', async () => {
  const service = (nodePort: object) => ({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'shared' },
    spec: {
      type: 'NodePort',
      ports: [
        { name: 'tcp', port: 53, protocol: 'TCP', ...nodePort },
        { name: 'udp', port: 5353, protocol: 'UDP', ...nodePort },
      ],
    },
  });
  await create(`${DEFAULT}/services`, service({ nodePort: 30_053 }));
  const { body } = await ask(`PUT ${DEFAULT}/services/shared`, { body: service({}) });
  const ports = body.spec.ports.map(({ nodePort }: { nodePort: number }) => nodePort);
  assert.deepEqual(ports, [30_053, 30_053]);
});

test('[A97] a binding for an earlier pod of the name does not bind its successor', async () => {
  await create(`${DEFAULT}/pods`, podOf('successor'));
  const metadata = { name: 'successor', uid: 'of-the-first' };
  const body = { ...BINDING, metadata, target: { kind: 'Node', name: 'n1' } };
  const { code, text } = await ask(`POST ${DEFAULT}/pods/successor/binding`, { body });
  assert.equal(code, 409, text);
});
