import assert from 'node:assert/strict';
import { after, test } from 'node:test';

import { createCa, issue } from './pki/certificates.ts';
import { type Ask, startTestServer } from './test-server.ts';

const api = await startTestServer();
after(() => api.stop());
const ask = (line: string, how?: Ask) => api.ask(line, how);
const watch = (path: string, how?: Ask) => api.watch(path, how);

const PODS = '/api/v1/namespaces/default/pods';
const MAPS = '/api/v1/namespaces/default/configmaps';
const SERVICES = '/api/v1/namespaces/default/services';
const DEPLOYMENTS = '/apis/apps/v1/namespaces/default/deployments';

const configMap = (name: string, more: object = {}) => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name, ...more },
  data: { a: '1' },
});
const pod = (name: string, more: object = {}) => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, ...more },
  spec: { containers: [{ name: 'c', image: 'fairlead/pause' }] },
});
const deployment = (name: string) => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name },
  spec: {
    replicas: 2,
    selector: { matchLabels: { app: name } },
    template: {
      metadata: { labels: { app: name } },
      spec: { containers: [{ name: 'c', image: 'fairlead/pause' }] },
    },
  },
});
const create = async (path: string, body: object) => {
  const { code, body: object } = await ask(`POST ${path}`, { body });
  assert.equal(code, 201, JSON.stringify(object));
  return object;
};

const TABLE = 'application/json;as=Table;v=v1;g=meta.k8s.io,application/json';

// ---- refusals: the request, and the Status it gets

const refusals: {
  name: string;
  line: string;
  ask?: Ask;
  code: number;
  reason: string;
  text: RegExp;
}[] = [
  {
    name: '[A13] an unknown path',
    line: 'GET /nowhere',
    code: 404,
    reason: 'NotFound',
    text: /could not find the requested resource/,
  },
  {
    name: '[A13] an unknown resource',
    line: 'GET /api/v1/widgets',
    code: 404,
    reason: 'NotFound',
    text: /could not find/,
  },
  {
    name: '[A13] a wrong method',
    line: 'PUT /api/v1/namespaces/default/pods',
    ask: { body: {} },
    code: 405,
    reason: 'MethodNotAllowed',
    text: /does not allow this method/,
  },
  {
    name: '[A21] a body in an unknown format',
    line: `POST ${MAPS}`,
    ask: { body: 'x', type: 'text/html' },
    code: 415,
    reason: 'UnsupportedMediaType',
    text: /unknown format/,
  },
  {
    name: '[A24] an answer nobody can make',
    line: `GET ${MAPS}`,
    ask: { accept: 'text/html' },
    code: 406,
    reason: 'NotAcceptable',
    text: /only the following media types/,
  },
  {
    name: '[A24] protobuf only',
    line: `GET ${MAPS}`,
    ask: { accept: 'application/vnd.kubernetes.protobuf' },
    code: 406,
    reason: 'NotAcceptable',
    text: /only the following/,
  },
  {
    name: '[A26] an unknown includeObject',
    line: `GET ${MAPS}?includeObject=All`,
    ask: { accept: TABLE },
    code: 400,
    reason: 'BadRequest',
    text: /includeObject/,
  },
  {
    name: '[A33] another namespace',
    line: `POST ${MAPS}`,
    ask: { body: configMap('a', { namespace: 'kube-system' }) },
    code: 400,
    reason: 'BadRequest',
    text: /does not match the namespace sent on the request/,
  },
  {
    name: '[A33] another kind',
    line: `POST ${PODS}`,
    ask: { body: configMap('a') },
    code: 400,
    reason: 'BadRequest',
    text: /does not match the expected API version/,
  },
  {
    name: '[A33] no name',
    line: `POST ${MAPS}`,
    ask: { body: { apiVersion: 'v1', kind: 'ConfigMap', metadata: {} } },
    code: 422,
    reason: 'Invalid',
    text: /metadata.name: Required value: name or generateName is required/,
  },
  {
    name: '[A39] another name',
    line: `PUT ${MAPS}/b`,
    ask: { body: configMap('a') },
    code: 400,
    reason: 'BadRequest',
    text: /does not match the name on the URL/,
  },
  {
    name: '[A39] a name that is not there',
    line: `PUT ${MAPS}/none`,
    ask: { body: configMap('none') },
    code: 404,
    reason: 'NotFound',
    text: /configmaps "none" not found/,
  },
  {
    name: '[A44] a body of 4 MiB',
    line: `POST ${MAPS}`,
    ask: { body: 'x'.repeat(4 * 1024 * 1024) },
    code: 413,
    reason: 'RequestEntityTooLarge',
    text: /limit is 3145728/,
  },
  {
    name: '[A45] a dry run of some',
    line: `POST ${MAPS}?dryRun=Some`,
    ask: { body: configMap('a') },
    code: 422,
    reason: 'Invalid',
    text: /dryRun/,
  },
  {
    name: '[A46] an unknown field',
    line: `POST ${MAPS}?fieldValidation=Strict`,
    ask: { body: { ...configMap('a'), dta: {} } },
    code: 400,
    reason: 'BadRequest',
    text: /strict decoding error: unknown field "dta"/,
  },
  {
    name: '[A63] a patch of nothing',
    line: `PATCH ${MAPS}/none`,
    ask: { body: {}, type: 'application/merge-patch+json' },
    code: 404,
    reason: 'NotFound',
    text: /configmaps "none" not found/,
  },
  {
    name: '[A66] a name that is not there',
    line: `GET ${DEPLOYMENTS}/none`,
    code: 404,
    reason: 'NotFound',
    text: /^deployments.apps "none" not found$/,
  },
  {
    name: '[A71] a bad label selector',
    line: `GET ${PODS}?labelSelector=a%20in%20b`,
    code: 400,
    reason: 'BadRequest',
    text: /unable to parse|selector/,
  },
  {
    name: '[A72] a field nobody selects by',
    line: `GET ${PODS}?fieldSelector=spec.color%3Dred`,
    code: 400,
    reason: 'BadRequest',
    text: /field label not supported/,
  },
  {
    name: '[A74] a watch of a name and another',
    line: `GET ${PODS}/a?watch=1&fieldSelector=metadata.name%3Db`,
    code: 400,
    reason: 'BadRequest',
    text: /metadata.name/,
  },
  {
    name: '[A75] a token nobody made',
    line: `GET ${PODS}?continue=abc`,
    code: 400,
    reason: 'BadRequest',
    text: /continue key is not valid/,
  },
  {
    name: '[A76] a match without a version',
    line: `GET ${PODS}?resourceVersionMatch=Exact`,
    code: 422,
    reason: 'Invalid',
    text: /forbidden unless resourceVersion is provided/i,
  },
  {
    name: '[A76] initial events of a list',
    line: `GET ${PODS}?sendInitialEvents=true`,
    code: 422,
    reason: 'Invalid',
    text: /forbidden for list/i,
  },
  {
    name: '[A87] initial events without a match',
    line: `GET ${PODS}?watch=1&sendInitialEvents=true`,
    code: 422,
    reason: 'Invalid',
    text: /requires setting resourceVersionMatch to NotOlderThan/i,
  },
  {
    name: '[A98] logs of a pod that is not there',
    line: `GET ${PODS}/none/log`,
    code: 404,
    reason: 'NotFound',
    text: /pods "none" not found/,
  },
  {
    name: '[A100] a token of nobody',
    line: 'POST /api/v1/namespaces/default/serviceaccounts/none/token',
    ask: { body: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: {} } },
    code: 404,
    reason: 'NotFound',
    text: /serviceaccounts "none" not found/,
  },
  {
    name: '[A117] a missing namespace',
    line: 'POST /api/v1/namespaces/none/configmaps',
    ask: { body: configMap('a') },
    code: 404,
    reason: 'NotFound',
    text: /namespaces "none" not found/,
  },
  {
    name: '[A139] a missing service account',
    line: `POST ${PODS}`,
    ask: { body: { ...pod('a'), spec: { ...pod('a').spec, serviceAccountName: 'none' } } },
    code: 403,
    reason: 'Forbidden',
    text: /error looking up service account default\/none/,
  },
  {
    name: '[A11] nobody, but health and version',
    line: `GET ${PODS}`,
    ask: { as: 'none' },
    code: 403,
    reason: 'Forbidden',
    text: /User "system:anonymous" cannot list resource "pods"/,
  },
  {
    name: '[A70] a bad token',
    line: `GET ${PODS}`,
    ask: { as: 'none', headers: { authorization: 'Bearer x.y.z' } },
    code: 401,
    reason: 'Unauthorized',
    text: /^Unauthorized$/,
  },
  {
    name: '[A135] a certificate of another authority',
    line: `GET ${PODS}`,
    ask: { as: issue(createCa(), { cn: 'admin', orgs: ['system:masters'], usages: ['client'] }) },
    code: 403,
    reason: 'Forbidden',
    text: /system:anonymous/,
  },
];

for (const { name, line, ask: how, code, reason, text } of refusals) {
  test(`refuses ${name}`, async () => {
    const answer = await ask(line, how);
    assert.equal(answer.code, code, answer.text);
    const { kind, apiVersion, status } = answer.body;
    assert.deepEqual(
      { kind, apiVersion, status },
      { kind: 'Status', apiVersion: 'v1', status: 'Failure' },
    );
    assert.equal(answer.body.code, code);
    assert.equal(answer.body.reason, reason);
    assert.match(answer.body.message, text);
  });
}

// ---- documents

const documents: { path: string; accept?: string; kind?: string; type?: RegExp }[] = [
  { path: '/api', kind: 'APIVersions' },
  { path: '/apis', kind: 'APIGroupList' },
  { path: '/apis/apps', kind: 'APIGroup' },
  { path: '/api/v1', kind: 'APIResourceList' },
  { path: '/apis/apps/v1', kind: 'APIResourceList' },
  {
    path: '/apis',
    accept: 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json',
    kind: 'APIGroupDiscoveryList',
    type: /g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList/,
  },
  {
    path: '/api',
    accept: 'application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList',
    kind: 'APIGroupDiscoveryList',
    type: /v=v2beta1/,
  },
  { path: '/openapi/v2', accept: 'application/json' },
  {
    path: '/openapi/v2',
    accept: 'application/com.github.proto-openapi.spec.v2@v1.0+protobuf',
    type: /protobuf/,
  },
  { path: '/openapi/v3' },
  { path: '/openapi/v3/apis/apps/v1' },
  { path: '/version' },
  { path: '/' },
  { path: '/openid/v1/jwks', type: /jwk-set/ },
];
for (const { path, accept, kind, type } of documents) {
  test(`[A1] [A14] serves ${path} as ${type ?? kind ?? 'JSON'}`, async () => {
    const { code, body, headers } = await ask(
      `GET ${path}`,
      accept === undefined ? {} : { accept },
    );
    assert.equal(code, 200);
    if (kind !== undefined) assert.equal(body.kind, kind);
    assert.match(headers['content-type'] ?? '', type ?? /json/);
  });
}

test('[A16] an unchanged document is not sent again', async () => {
  const first = await ask('GET /openapi/v2', { accept: 'application/json' });
  const headers = { 'if-none-match': first.headers.etag! };
  const again = await ask('GET /openapi/v2', { accept: 'application/json', headers });
  assert.equal(again.code, 304);
  assert.equal(again.text, '');
});

test('[A11] health and version answer anybody', async () => {
  for (const path of ['/healthz', '/livez', '/readyz', '/livez/ping']) {
    assert.equal((await ask(`GET ${path}`, { as: 'none' })).text, 'ok');
  }
  const verbose = await ask('GET /readyz?verbose', { as: 'none' });
  assert.match(verbose.text, /\[\+\]ping ok\n[^]*readyz check passed/);
  assert.match((await ask('GET /version', { as: 'none' })).body.gitVersion, /^v1\.33\.\d+/);
});

test('[A12] metrics are Prometheus text', async () => {
  const { text } = await ask('GET /metrics');
  assert.match(text, /apiserver_storage_objects\{resource="namespaces"\} \d/);
});

// ---- objects

test('[A35] the server fills what it owns, whatever the client says', async () => {
  const sent = pod('owned', {
    uid: 'mine',
    resourceVersion: '9999',
    creationTimestamp: '2001-01-01T00:00:00Z',
  });
  const { metadata, status } = await create(PODS, sent);
  assert.match(metadata.uid, /^[\da-f]{8}-[\da-f]{4}-4/);
  assert.equal(metadata.resourceVersion, String(api.store.revision));
  assert.equal(metadata.generation, 1);
  assert.notEqual(metadata.creationTimestamp, '2001-01-01T00:00:00Z');
  assert.equal(metadata.namespace, 'default');
  assert.equal(status.phase, 'Pending');
});

test('[A34] a generated name begins as asked and is never the same', async () => {
  const body = { ...configMap(''), metadata: { generateName: 'x'.repeat(70) } };
  const [a, b] = await Promise.all([create(MAPS, body), create(MAPS, body)]);
  assert.match(a.metadata.name, /^x{58}[bcdfghjklmnpqrstvwxz2456789]{5}$/);
  assert.notEqual(a.metadata.name, b.metadata.name);
});

test('[A66] [A67] a second object of the name is refused', async () => {
  await create(MAPS, configMap('twice'));
  const { code, body } = await ask(`POST ${MAPS}`, { body: configMap('twice') });
  assert.equal(code, 409);
  assert.equal(body.message, 'configmaps "twice" already exists');
  assert.deepEqual(body.details, { name: 'twice', kind: 'configmaps' });
});

test('[A38] a stale version is a conflict, none is unconditional', async () => {
  const first = await create(MAPS, configMap('stale'));
  const put = (object: object) => ask(`PUT ${MAPS}/stale`, { body: object });
  assert.equal((await put({ ...first, data: { a: '2' } })).code, 200);
  const { code, body } = await put({ ...first, data: { a: '3' } });
  assert.equal(code, 409);
  assert.equal(
    body.message,
    'Operation cannot be fulfilled on configmaps "stale": the object has been modified; please apply your changes to the latest version and try again',
  );
  assert.equal((await put(configMap('stale'))).body.data.a, '1');
});

test('[A39] a PUT creates a Service', async () => {
  const body = {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'made' },
    spec: { ports: [{ port: 80 }] },
  };
  const { code, body: service } = await ask(`PUT ${SERVICES}/made`, { body });
  assert.equal(code, 201);
  assert.match(service.spec.clusterIP, /^10\.96\./);
});

test('[A36] the generation counts changes of the spec only', async () => {
  const made = await create(DEPLOYMENTS, deployment('gen'));
  const patch = (path: string, body: object) =>
    ask(`PATCH ${DEPLOYMENTS}/gen${path}`, { body, type: 'application/merge-patch+json' });
  assert.equal(made.metadata.generation, 1);
  const labelled = await patch('', { metadata: { labels: { a: 'b' } } });
  assert.equal(labelled.body.metadata.generation, 1);
  const status = await patch('/status', { status: { replicas: 1 } });
  assert.equal(status.body.metadata.generation, 1);
  const scaled = await patch('', { spec: { replicas: 3 } });
  assert.equal(scaled.body.metadata.generation, 2);
});

test('[A94] the status and the rest are written apart', async () => {
  await create(DEPLOYMENTS, deployment('parts'));
  const type = 'application/merge-patch+json';
  const both = { spec: { replicas: 7 }, status: { replicas: 5 } };
  const main = await ask(`PATCH ${DEPLOYMENTS}/parts`, { body: both, type });
  assert.deepEqual([main.body.spec.replicas, main.body.status?.replicas], [7, undefined]);
  const other = { spec: { replicas: 8 }, status: { replicas: 5 } };
  const status = await ask(`PATCH ${DEPLOYMENTS}/parts/status`, { body: other, type });
  assert.deepEqual([status.body.spec.replicas, status.body.status.replicas], [7, 5]);
});

test('[A95] a scale reads and writes the replicas', async () => {
  await create(DEPLOYMENTS, deployment('scaled'));
  const path = `${DEPLOYMENTS}/scaled/scale`;
  const { body: scale } = await ask(`GET ${path}`);
  assert.equal(scale.kind, 'Scale');
  assert.equal(scale.spec.replicas, 2);
  assert.equal(scale.status.selector, 'app=scaled');
  const put = await ask(`PUT ${path}`, { body: { ...scale, spec: { replicas: 4 } } });
  assert.equal(put.body.spec.replicas, 4);
  const stale = await ask(`PUT ${path}`, { body: { ...scale, spec: { replicas: 5 } } });
  assert.equal(stale.code, 409);
  const body = { spec: { replicas: 6 } };
  await ask(`PATCH ${path}`, { body, type: 'application/merge-patch+json' });
  assert.equal((await ask(`GET ${DEPLOYMENTS}/scaled`)).body.spec.replicas, 6);
});

test('[A46] unknown fields are warned of, dropped, or dropped silently', async () => {
  const body = { ...configMap('warned'), dta: {} };
  const warned = await ask(`POST ${MAPS}`, { body });
  assert.equal(warned.code, 201);
  assert.match(warned.headers.warning ?? '', /^299 - "unknown field \\"dta\\""$/);
  assert.equal('dta' in warned.body, false);
  const quiet = await ask(`PUT ${MAPS}/warned?fieldValidation=Ignore`, { body });
  assert.equal(quiet.headers.warning, undefined);
});

test('[A45] a dry run stores nothing and gives its addresses back', async () => {
  const body = {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'dry' },
    spec: { type: 'NodePort', clusterIP: '10.96.0.77', ports: [{ port: 80, nodePort: 30_077 }] },
  };
  for (let round = 0; round < 2; round += 1) {
    const { code, body: service } = await ask(`POST ${SERVICES}?dryRun=All`, { body });
    assert.equal(code, 201);
    assert.equal(service.spec.ports[0].nodePort, 30_077);
  }
  assert.equal((await ask(`GET ${SERVICES}/dry`)).code, 404);
});

test('[A25] [A26] a table has rows with what was asked', async () => {
  await create(PODS, pod('row'));
  const table = await ask(`GET ${PODS}/row`, { accept: TABLE });
  assert.equal(table.body.kind, 'Table');
  assert.equal(table.body.columnDefinitions[0].name, 'Name');
  assert.equal(table.body.rows[0].cells[0], 'row');
  assert.equal(table.body.rows[0].object.kind, 'PartialObjectMetadata');
  const whole = await ask(`GET ${PODS}?includeObject=Object`, { accept: TABLE });
  assert.equal(whole.body.rows[0].object.kind, 'Pod');
  const none = await ask(`GET ${PODS}?includeObject=None`, { accept: TABLE });
  assert.equal('object' in none.body.rows[0], false);
});

test('[A28] metadata only, for one and for many', async () => {
  await create(MAPS, configMap('meta'));
  const one = await ask(`GET ${MAPS}/meta`, {
    accept: 'application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io',
  });
  assert.deepEqual([one.body.kind, 'data' in one.body], ['PartialObjectMetadata', false]);
  const many = await ask(`GET ${MAPS}`, {
    accept: 'application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io',
  });
  assert.equal(many.body.kind, 'PartialObjectMetadataList');
});

test('[A29] an empty list has items', async () => {
  const { body } = await ask('GET /api/v1/namespaces/kube-public/secrets');
  assert.deepEqual([body.kind, body.apiVersion, body.items], ['SecretList', 'v1', []]);
});

test('[A30] large answers are compressed for who takes that', async () => {
  const path = '/api/v1/namespaces/kube-public/configmaps';
  const data = { a: 'x'.repeat(200_000) };
  await create(path, { ...configMap('large'), data });
  const packed = await ask(`GET ${path}`, { headers: { 'accept-encoding': 'gzip' }, raw: true });
  assert.equal(packed.headers['content-encoding'], 'gzip');
  assert.ok(Number(packed.headers['content-length']) < 10_000);
  assert.equal((await ask(`GET ${path}`)).body.items[0].data.a.length, 200_000);
});

test('[A24] YAML for who wants it', async () => {
  await create(MAPS, configMap('yaml'));
  const { text } = await ask(`GET ${MAPS}/yaml`, { accept: 'application/yaml' });
  assert.match(text, /^apiVersion: v1\nkind: ConfigMap\n/);
});

test('[A75] pages show one state, whatever happens between them', async () => {
  const path = '/api/v1/namespaces/kube-public/serviceaccounts';
  const account = (name: string) => ({
    apiVersion: 'v1',
    kind: 'ServiceAccount',
    metadata: { name },
  });
  for (const name of ['p1', 'p2', 'p3', 'p4', 'p5']) await create(path, account(name));
  const first = await ask(`GET ${path}?limit=2`);
  assert.equal(first.body.metadata.remainingItemCount, 3);
  await create(path, account('p25'));
  await ask(`DELETE ${path}/p4`);
  const rest = await ask(`GET ${path}?limit=9&continue=${first.body.metadata.continue}`);
  assert.deepEqual(
    [first, rest].flatMap(({ body }) =>
      body.items.map((item: { metadata: { name: string } }) => item.metadata.name),
    ),
    ['p1', 'p2', 'p3', 'p4', 'p5'],
  );
  assert.equal(rest.body.metadata.resourceVersion, first.body.metadata.resourceVersion);
  const old = Buffer.from(JSON.stringify({ rv: 1, start: 'kube-public/p1' })).toString('base64url');
  assert.equal((await ask(`GET ${path}?continue=${old}`)).code, 200);
});

test('[A77] a version from the future is waited for, then refused', async () => {
  const future = api.store.revision + 1000;
  const { code, body } = await ask(`GET ${MAPS}?resourceVersion=${future}`);
  assert.equal(code, 504);
  assert.equal(body.details.causes[0].reason, 'ResourceVersionTooLarge');
  assert.equal(body.details.retryAfterSeconds, 1);
});

// ---- deletion

test('[A41] a deletion says what is gone', async () => {
  const { metadata } = await create(MAPS, configMap('gone'));
  const { code, body } = await ask(`DELETE ${MAPS}/gone`);
  assert.equal(code, 200);
  assert.deepEqual(
    [body.kind, body.status, body.details],
    ['Status', 'Success', { name: 'gone', kind: 'configmaps', uid: metadata.uid }],
  );
});

test('[A40] preconditions protect from deleting another object', async () => {
  await create(MAPS, configMap('guarded'));
  const body = { kind: 'DeleteOptions', apiVersion: 'v1', preconditions: { uid: 'other' } };
  const refused = await ask(`DELETE ${MAPS}/guarded`, { body });
  assert.equal(refused.code, 409);
  assert.match(refused.body.message, /Precondition failed: UID in precondition: other/);
});

test('[A112] finalizers hold an object until the last is gone', async () => {
  const path = `${MAPS}/held`;
  await create(MAPS, configMap('held', { finalizers: ['example.com/a', 'example.com/b'] }));
  const marked = await ask(`DELETE ${path}`);
  assert.ok(marked.body.metadata.deletionTimestamp);
  const type = 'application/merge-patch+json';
  const added = await ask(`PATCH ${path}`, {
    body: { metadata: { finalizers: ['example.com/a', 'example.com/c'] } },
    type,
  });
  assert.equal(added.code, 422);
  assert.match(added.body.message, /no new finalizers can be added if the object is being deleted/);
  await ask(`PATCH ${path}`, { body: { metadata: { finalizers: ['example.com/b'] } }, type });
  assert.equal((await ask(`GET ${path}`)).code, 200);
  await ask(`PATCH ${path}`, { body: { metadata: { finalizers: null } }, type });
  assert.equal((await ask(`GET ${path}`)).code, 404);
});

test('[A114] the propagation policy stands in the finalizers', async () => {
  for (const [policy, want] of [
    ['Foreground', ['foregroundDeletion']],
    ['Orphan', ['orphan']],
  ] as const) {
    await create(MAPS, configMap(policy.toLowerCase()));
    const { body } = await ask(
      `DELETE ${MAPS}/${policy.toLowerCase()}?propagationPolicy=${policy}`,
    );
    assert.deepEqual(body.metadata.finalizers, want);
  }
});

test('[A113] a pod that runs is marked first, one that does not goes at once', async () => {
  await create(PODS, pod('unscheduled'));
  assert.equal((await ask(`DELETE ${PODS}/unscheduled`)).body.kind, 'Status');
  await create(PODS, pod('running'));
  const binding = {
    apiVersion: 'v1',
    kind: 'Binding',
    metadata: { name: 'running' },
    target: { kind: 'Node', name: 'n1' },
  };
  assert.equal((await ask(`POST ${PODS}/running/binding`, { body: binding })).code, 201);
  const { body } = await ask(`DELETE ${PODS}/running`);
  assert.equal(body.metadata.deletionGracePeriodSeconds, 30);
  const shorter = await ask(`DELETE ${PODS}/running?gracePeriodSeconds=5`);
  assert.equal(shorter.body.metadata.deletionGracePeriodSeconds, 5);
  const longer = await ask(`DELETE ${PODS}/running?gracePeriodSeconds=50`);
  assert.equal(longer.body.metadata.deletionGracePeriodSeconds, 5);
  assert.equal((await ask(`DELETE ${PODS}/running?gracePeriodSeconds=0`)).body.kind, 'Status');
  assert.equal((await ask(`GET ${PODS}/running`)).code, 404);
});

test('[A42] a collection is emptied by its selector', async () => {
  const path = '/api/v1/namespaces/kube-node-lease/configmaps';
  await create(path, configMap('keep'));
  await create(path, configMap('go1', { labels: { go: 'yes' } }));
  await create(path, configMap('go2', { labels: { go: 'yes' } }));
  const { body } = await ask(`DELETE ${path}?labelSelector=go%3Dyes`);
  assert.deepEqual(body.items.length, 2);
  assert.equal((await ask(`GET ${path}`)).body.items.length, 1);
});

test('[A97] a pod is bound once', async () => {
  await create(PODS, pod('bound'));
  const bind = (name: string) =>
    ask(`POST ${PODS}/bound/binding`, {
      body: {
        apiVersion: 'v1',
        kind: 'Binding',
        metadata: { name: 'bound' },
        target: { kind: 'Node', name },
      },
    });
  assert.equal((await bind('n1')).code, 201);
  const { body } = await ask(`GET ${PODS}/bound`);
  assert.equal(body.spec.nodeName, 'n1');
  assert.equal(body.status.conditions[0].type, 'PodScheduled');
  const again = await bind('n2');
  assert.equal(again.code, 409);
  assert.match(again.body.message, /pod bound is already assigned to node "n1"/);
});

for (const version of ['v1', 'v1beta1']) {
  test(`[A96] an eviction of policy/${version} deletes`, async () => {
    const name = `evicted-${version}`;
    await create(PODS, pod(name));
    const body = { apiVersion: `policy/${version}`, kind: 'Eviction', metadata: { name } };
    const { code } = await ask(`POST ${PODS}/${name}/eviction`, { body });
    assert.equal(code, 201);
    assert.equal((await ask(`GET ${PODS}/${name}`)).code, 404);
  });
}

test('[A116] [A101] [A117] a namespace goes when it is finalized, and takes nothing new before', async () => {
  const path = '/api/v1/namespaces/passing';
  const made = await create('/api/v1/namespaces', {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name: 'passing' },
  });
  assert.deepEqual(made.spec.finalizers, ['kubernetes']);
  assert.equal(made.metadata.labels['kubernetes.io/metadata.name'], 'passing');
  assert.equal(made.status.phase, 'Active');
  const marked = await ask(`DELETE ${path}`);
  assert.equal(marked.body.status.phase, 'Terminating');
  const refused = await ask(`POST ${path}/configmaps`, { body: configMap('late') });
  assert.equal(refused.code, 403);
  assert.equal(refused.body.details.causes[0].reason, 'NamespaceTerminating');
  const body = { ...marked.body, spec: { finalizers: [] } };
  assert.equal((await ask(`PUT ${path}/finalize`, { body })).code, 200);
  assert.equal((await ask(`GET ${path}`)).code, 404);
});

test('[A118] every cluster has its first objects', async () => {
  const { body } = await ask('GET /api/v1/namespaces');
  const names = body.items.map((item: { metadata: { name: string } }) => item.metadata.name);
  for (const name of ['default', 'kube-node-lease', 'kube-public', 'kube-system'])
    assert.ok(names.includes(name));
  const service = await ask(`GET ${SERVICES}/kubernetes`);
  assert.equal(service.body.spec.clusterIP, '10.96.0.1');
  const slice = await ask(
    'GET /apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes',
  );
  assert.deepEqual(slice.body.endpoints[0].addresses, ['192.0.2.1']);
});

// ---- watches

test('[A80] [A82] [A83] [A84] a watch with a selector sees objects come, change and go', async () => {
  const path = '/api/v1/namespaces/kube-public/pods';
  const events = await watch(`${path}?watch=true&labelSelector=app%3Dw`);
  const type = 'application/merge-patch+json';
  const label = (value: string | null) =>
    ask(`PATCH ${path}/w`, { body: { metadata: { labels: { app: value } } }, type });
  await create(path, pod('w'));
  await label('w');
  await ask(`PATCH ${path}/w`, { body: { metadata: { annotations: { a: 'b' } } }, type });
  const left = await label('other');
  await label('w');
  await ask(`DELETE ${path}/w`);
  const seen = [];
  for (let count = 0; count < 5; count += 1) seen.push(await events.next());
  events.close();
  assert.deepEqual(
    seen.map((event) => event?.type),
    ['ADDED', 'MODIFIED', 'DELETED', 'ADDED', 'DELETED'],
  );
  // The last matching state, with the version of the change.
  assert.equal(seen[2]?.object.metadata.labels.app, 'w');
  assert.equal(seen[2]?.object.metadata.resourceVersion, left.body.metadata.resourceVersion);
  const versions = seen.map((event) => Number(event?.object.metadata.resourceVersion));
  assert.deepEqual(
    versions,
    versions.toSorted((a, b) => a - b),
  );
});

test('[A82] [A85] a watch resumes from a version, or is told it is too old', async () => {
  const made = await create(MAPS, configMap('since'));
  const events = await watch(`${MAPS}?watch=1&resourceVersion=${made.metadata.resourceVersion}`);
  await create(MAPS, configMap('since2'));
  assert.equal((await events.next())?.object.metadata.name, 'since2');
  events.close();
});

test('[A87] initial events end with a bookmark that says so', async () => {
  const path =
    '/api/v1/namespaces?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true';
  const events = await watch(path);
  for (;;) {
    const event = await events.next();
    if (event?.type === 'ADDED') continue;
    assert.equal(event?.type, 'BOOKMARK');
    assert.equal(event.object.metadata.annotations['k8s.io/initial-events-end'], 'true');
    assert.equal(event.object.kind, 'Namespace');
    break;
  }
  events.close();
});

test('[A86] [A89] a watch ends when its time is up, with a bookmark for who asked', async () => {
  const version = api.store.revision;
  const query = `?watch=true&timeoutSeconds=1&resourceVersion=${version}`;
  const [plain, marked] = await Promise.all([
    watch(`/api/v1/nodes${query}`),
    watch(`/api/v1/nodes${query}&allowWatchBookmarks=true`),
  ]);
  assert.equal(await plain.next(), undefined);
  assert.equal((await marked.next())?.type, 'BOOKMARK');
  assert.equal(await marked.next(), undefined);
});

test('[A27] a table watch sends its columns once', async () => {
  const path = '/api/v1/namespaces/kube-public/configmaps';
  const events = await watch(`${path}?watch=true&resourceVersion=${api.store.revision}`, {
    accept: TABLE,
  });
  await create(path, configMap('t1'));
  await create(path, configMap('t2'));
  const [first, second] = [await events.next(), await events.next()];
  events.close();
  assert.equal(first?.object.kind, 'Table');
  assert.ok(first?.object.columnDefinitions.length > 0);
  assert.equal(second?.object.columnDefinitions, null);
  assert.equal(second?.object.rows[0].cells[0], 't2');
});

// ---- identities

test('[A100] [A136] [A135] a token stands for its service account, until the account is gone', async () => {
  const accounts = '/api/v1/namespaces/default/serviceaccounts';
  await create(accounts, { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'robot' } });
  const request = {
    apiVersion: 'authentication.k8s.io/v1',
    kind: 'TokenRequest',
    spec: { expirationSeconds: 700 },
  };
  const { code, body } = await ask(`POST ${accounts}/robot/token`, { body: request });
  assert.equal(code, 201);
  const { token } = body.status;
  const as: Ask = { as: 'none', headers: { authorization: `Bearer ${token}` } };
  const review = { apiVersion: 'authentication.k8s.io/v1', kind: 'SelfSubjectReview' };
  const path = '/apis/authentication.k8s.io/v1/selfsubjectreviews';
  const who = await ask(`POST ${path}`, { body: review, ...as });
  assert.equal(who.body.status.userInfo.username, 'system:serviceaccount:default:robot');
  assert.ok(who.body.status.userInfo.groups.includes('system:serviceaccounts:default'));
  const [header] = token.split('.');
  assert.equal(JSON.parse(Buffer.from(header, 'base64url').toString()).alg, 'ES256');
  const forged = `${token.slice(0, -4)}AAAA`;
  const headers = { authorization: `Bearer ${forged}` };
  assert.equal((await ask(`GET ${PODS}`, { as: 'none', headers })).code, 401);
  await ask(`DELETE ${accounts}/robot`);
  assert.equal((await ask(`GET ${PODS}`, as)).code, 401);
  const short = { ...request, spec: { expirationSeconds: 10 } };
  await create(accounts, { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'robot' } });
  assert.equal((await ask(`POST ${accounts}/robot/token`, { body: short })).code, 422);
});

test('[A138] whoever has a name may do everything', async () => {
  const body = {
    apiVersion: 'authorization.k8s.io/v1',
    kind: 'SelfSubjectAccessReview',
    spec: { resourceAttributes: { verb: 'create', resource: 'pods' } },
  };
  const path = '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews';
  const answer = await ask(`POST ${path}`, { body });
  assert.equal(answer.code, 201);
  assert.equal(answer.body.status.allowed, true);
});

test('[A139] a pod gets its token, its account and its tolerations', async () => {
  const { spec } = await create(PODS, pod('admitted'));
  assert.equal(spec.serviceAccountName, 'default');
  const volume = spec.volumes.find((v: { name: string }) => v.name.startsWith('kube-api-access-'));
  assert.equal(volume.projected.sources.length, 3);
  const mount = spec.containers[0].volumeMounts[0];
  assert.equal(mount.mountPath, '/var/run/secrets/kubernetes.io/serviceaccount');
  assert.equal(spec.tolerations.length, 2);
  const body = {
    ...pod('bare'),
    spec: { ...pod('bare').spec, automountServiceAccountToken: false },
  };
  assert.equal((await create(PODS, body)).spec.volumes, undefined);
});
