/** The properties of `kubernetes` in a Corefile, each by its answers. */
import assert from 'node:assert/strict';
import { before, test } from 'node:test';

import { resources } from '../../src/api/resources.ts';
import type { KubeObject } from '../../src/api/meta.ts';
import type { Client } from '../../src/client/client.ts';
import {
  ask,
  createService,
  createSlice,
  dig,
  loopbackUp,
  object,
  startApi,
  startCorefile,
  texts,
  type Asked,
} from './dns-harness.ts';

const http = { name: 'http', port: 80, protocol: 'TCP' };

let client: Client;

/** Namespaces `one` (team=x) and `two`, with the same objects in each. */
before(async () => {
  loopbackUp();
  client = await startApi();
  for (const [index, namespace] of ['one', 'two'].entries()) {
    const labels = namespace === 'one' ? { team: 'x' } : {};
    await client.create(resources.namespaces, object({ metadata: { name: namespace, labels } }));
    const service = (name: string, spec: Record<string, unknown>) =>
      createService(client, { namespace, name }, spec);
    const ip = (last: number) => `10.96.${index}.${last}`;
    await service('web', { clusterIP: ip(1), ports: [http] });
    await service('empty', { clusterIP: ip(2), ports: [http] });
    await service('unready', { clusterIP: ip(3), ports: [http] });
    await service('peers', { clusterIP: 'None', ports: [http] });
    await service('nobody', { clusterIP: 'None', ports: [http] });
    await service('out', { type: 'ExternalName', externalName: 'web.one.svc.cluster.local' });
    const slice = (name: string, endpoints: string[]) =>
      createSlice(client, { namespace, name }, { endpoints });
    await slice('web', [`10.244.${index}.1`]);
    await slice('unready', [`!10.244.${index}.9`]);
    await slice('peers', [`10.244.${index}.2=db-0`, `10.244.${index}.3`]);
  }
});

/** A server with these properties of `kubernetes`. */
function start(properties: string, zones = 'cluster.local in-addr.arpa ip6.arpa', from = client) {
  return startCorefile(from, `.:0 {\n kubernetes ${zones} {\n${properties}\n}\n}`);
}

/** What is answered: the rcode if it is none of NOERROR, else the data of the records in order. */
async function said(at: Asked, question: string): Promise<string> {
  const reply = await ask(at, question);
  if (reply.rcode !== 'NOERROR') return reply.rcode;
  const data = texts(reply.answers).map((text) => text.split(' ').slice(4).join(' '));
  return data.toSorted().join(', ');
}

/** Questions below the cluster domain under one set of properties, and what is answered. */
const cases: [ids: string, properties: string, answers: Record<string, string>][] = [
  [
    '[D25]',
    'ignore empty_service',
    {
      'web.one A': '10.96.0.1',
      'empty.one A': 'NXDOMAIN',
      'empty.one SRV': 'NXDOMAIN',
      '_http._tcp.empty.one SRV': 'NXDOMAIN',
      'unready.one A': 'NXDOMAIN',
      'peers.one A': '10.244.0.2, 10.244.0.3',
      'nobody.one A': 'NXDOMAIN',
      'out.one A': '10.96.0.1, web.one.svc.cluster.local.',
    },
  ],
  ['[D25]', '', { 'empty.one A': '10.96.0.2', 'unready.one A': '10.96.0.3' }],
  [
    '[D26]',
    'noendpoints',
    {
      'web.one A': '10.96.0.1',
      '_http._tcp.web.one SRV': '0 100 80 web.one.svc.cluster.local.',
      'peers.one A': 'NXDOMAIN',
      'db-0.peers.one A': 'NXDOMAIN',
      '10-244-0-1.web.one A': 'NXDOMAIN',
    },
  ],
  [
    '[D7]',
    'namespaces two',
    {
      'web.two A': '10.96.1.1',
      'two A': '',
      'web.one A': 'NXDOMAIN',
      'peers.one A': 'NXDOMAIN',
      'one A': 'NXDOMAIN',
    },
  ],
  [
    '[D7]',
    'namespace_labels team=x',
    { 'web.one A': '10.96.0.1', 'one A': '', 'web.two A': 'NXDOMAIN', 'two A': 'NXDOMAIN' },
  ],
  ['[D14 D33]', 'ttl 7', { 'web.one A': '10.96.0.1' }],
];

for (const [ids, properties, answers] of cases) {
  test(`${ids} kubernetes ${properties || 'without properties'}`, async () => {
    await using server = await start(properties);
    for (const [question, want] of Object.entries(answers)) {
      const [name, type] = question.split(' ');
      const asked = `${name}.svc.cluster.local. ${type}`;
      assert.equal(await said(server.at, asked), want, question);
    }
  });
}

test('[D7] reverse names of namespaces that are not shown are missing', async () => {
  await using server = await start('namespaces two');
  assert.equal(await said(server.at, '1.0.96.10.in-addr.arpa. PTR'), 'NXDOMAIN');
  assert.equal(await said(server.at, '2.0.244.10.in-addr.arpa. PTR'), 'NXDOMAIN');
  assert.equal(await said(server.at, '1.1.96.10.in-addr.arpa. PTR'), 'web.two.svc.cluster.local.');
});

test('[D27] labels select Services, slices and pods alike', async () => {
  const key = { namespace: 'one', name: 'labelled' };
  const labels = { app: 'shop', 'kubernetes.io/service-name': 'labelled' };
  const spec = { clusterIP: 'None', ports: [http] };
  await client.create(resources.services, object({ metadata: { ...key, labels }, spec }));
  const slice = (name: string, address: string, more: Record<string, string>) =>
    client.create(
      resources.endpointslices,
      object({
        metadata: { namespace: 'one', name, labels: { ...more } },
        addressType: 'IPv4',
        endpoints: [{ addresses: [address] }],
        ports: [http],
      }),
    );
  await slice('labelled-a', '10.244.0.31', labels);
  await slice('labelled-b', '10.244.0.32', { 'kubernetes.io/service-name': 'labelled' });
  const pod = (name: string, podIP: string, app: string) => createPod(name, podIP, { app });
  await pod('shop', '10.244.0.41', 'shop');
  await pod('other', '10.244.0.42', 'other');
  await using server = await start('labels app in (shop, stall)\npods verified');
  assert.equal(await said(server.at, 'labelled.one.svc.cluster.local. A'), '10.244.0.31');
  assert.equal(await said(server.at, 'web.one.svc.cluster.local. A'), 'NXDOMAIN');
  assert.equal(await said(server.at, '10-244-0-41.one.pod.cluster.local. A'), '10.244.0.41');
  assert.equal(await said(server.at, '10-244-0-42.one.pod.cluster.local. A'), 'NXDOMAIN');
});

async function createPod(name: string, podIP: string, labels: Record<string, string>) {
  const key = { namespace: 'one', name };
  const containers = [{ name: 'c', image: 'host', command: ['true'] }];
  await client.create(
    resources.pods,
    object({ metadata: { ...key, labels }, spec: { nodeName: 'node-1', containers } }),
  );
  const found = await client.get(resources.pods, key);
  const status = { phase: 'Running', podIP, podIPs: [{ ip: podIP }] };
  await client.update(resources.pods, { ...found, status } as KubeObject, {
    subresource: 'status',
  });
}

test('[D20] endpoint_pod_names: the pod name stands in for a missing hostname', async () => {
  const endpoint = (address: string, pod: string, more = {}) => ({
    addresses: [address],
    targetRef: { kind: 'Pod', namespace: 'one', name: pod },
    ...more,
  });
  await createService(
    client,
    { namespace: 'one', name: 'named' },
    { clusterIP: 'None', ports: [http] },
  );
  const long = 'p'.repeat(64);
  await client.create(
    resources.endpointslices,
    object({
      metadata: {
        namespace: 'one',
        name: 'named-1',
        labels: { 'kubernetes.io/service-name': 'named' },
      },
      addressType: 'IPv4',
      endpoints: [
        endpoint('10.244.0.51', 'web-7f'),
        endpoint('10.244.0.52', 'web-8f', { hostname: 'own' }),
        endpoint('10.244.0.53', long),
      ],
      ports: [http],
    }),
  );
  await using server = await start('endpoint_pod_names');
  const name = (host: string) => `${host}.named.one.svc.cluster.local.`;
  assert.equal(await said(server.at, `${name('web-7f')} A`), '10.244.0.51');
  assert.equal(await said(server.at, `${name('10-244-0-51')} A`), 'NXDOMAIN');
  assert.equal(await said(server.at, `${name('own')} A`), '10.244.0.52');
  assert.equal(await said(server.at, `${name('web-8f')} A`), 'NXDOMAIN');
  assert.equal(await said(server.at, `${name('10-244-0-53')} A`), '10.244.0.53');
});

test('[D12] zonal: endpoints of one topology zone, or all where it has none', async () => {
  await createService(
    client,
    { namespace: 'one', name: 'zoned' },
    { clusterIP: 'None', ports: [http] },
  );
  const endpoint = (address: string, zone: string) => ({ addresses: [address], zone });
  await client.create(
    resources.endpointslices,
    object({
      metadata: {
        namespace: 'one',
        name: 'zoned-1',
        labels: { 'kubernetes.io/service-name': 'zoned' },
      },
      addressType: 'IPv4',
      endpoints: [endpoint('10.244.0.61', 'eu-1.a'), endpoint('10.244.0.62', 'eu-1.b')],
      ports: [http],
    }),
  );
  const name = (zone: string) => `${zone}._zone.zoned.one.svc.cluster.local. A`;
  await using server = await start('zonal');
  assert.equal(await said(server.at, name('eu-1.a.pin')), '10.244.0.61');
  assert.equal(await said(server.at, name('EU-1.b.prefer')), '10.244.0.62');
  assert.equal(await said(server.at, name('eu-2.pin')), '');
  assert.equal(await said(server.at, name('eu-2.prefer')), '10.244.0.61, 10.244.0.62');
  assert.equal(await said(server.at, name('eu-1.a.near')), 'NXDOMAIN');
  assert.equal(await said(server.at, 'x.pin._zone.web.one.svc.cluster.local. A'), 'NXDOMAIN');
  assert.equal(await said(server.at, 'x.pin._zone.gone.one.svc.cluster.local. A'), 'NXDOMAIN');
  await using plain = await start('');
  assert.equal(await said(plain.at, name('eu-1.a.pin')), 'NXDOMAIN');
});

test('[D29] addresses of load balancers and external IPs have no name here', async () => {
  const spec = { type: 'LoadBalancer', externalIPs: ['203.0.113.7'], ports: [http] };
  const key = { namespace: 'one', name: 'balanced' };
  await createService(client, key, { ...spec, clusterIP: '10.96.0.70' });
  const found = await client.get(resources.services, key);
  const status = { loadBalancer: { ingress: [{ ip: '203.0.113.8' }] } };
  await client.update(resources.services, { ...found, status } as KubeObject, {
    subresource: 'status',
  });
  await using server = await start('');
  assert.equal(await said(server.at, 'balanced.one.svc.cluster.local. A'), '10.96.0.70');
  for (const last of [7, 8]) {
    assert.equal(await said(server.at, `${last}.113.0.203.in-addr.arpa. PTR`), 'NXDOMAIN');
  }
});

test('[D60 D57] reverse zones of ranges: inside is ours, outside is not', async () => {
  await using server = await start('', 'cluster.local 10.96.0.0/15 fd00:10:96::/47');
  assert.equal(await said(server.at, '1.0.96.10.in-addr.arpa. PTR'), 'web.one.svc.cluster.local.');
  const inside = await dig(server.at, '-x', '10.97.0.1');
  assert.match(inside, /status: NXDOMAIN/);
  assert.match(inside, /97\.10\.in-addr\.arpa\.\s+5\s+IN\s+SOA\s+ns\.dns\.97\.10\.in-addr\.arpa/);
  assert.match(await dig(server.at, '-x', '10.98.0.1'), /status: REFUSED/);
  assert.match(
    await dig(server.at, '-x', 'fd00:10:97::1'),
    /7\.9\.0\.0\.0\.1\.0\.0\.0\.0\.d\.f\.ip6\.arpa\.\s+5\s+IN\s+SOA/,
  );
  assert.match(await dig(server.at, '-x', 'fd00:10:98::1'), /status: REFUSED/);
});

test('[D60] a block can be a range', async () => {
  const text = `10.96.0.0/16:0 {\n kubernetes cluster.local 10.96.0.0/16\n bind 127.0.0.1\n}`;
  await using server = await startCorefile(client, text);
  assert.equal(await said(server.at, '1.0.96.10.in-addr.arpa. PTR'), 'web.one.svc.cluster.local.');
  assert.equal(await said(server.at, 'web.one.svc.cluster.local. A'), 'REFUSED');
});

/** A client that also knows ServiceImports, which the API gets from a custom resource. */
function withImports(inner: Client, imports: readonly KubeObject[]): Client {
  const client: Client = Object.create(inner);
  client.list = async (resource, options) =>
    resource.resource === 'serviceimports'
      ? ({ items: imports, resourceVersion: '1' } as never)
      : inner.list(resource, options);
  client.watch = (resource, options) =>
    resource.resource === 'serviceimports'
      ? (silence(options.signal) as never)
      : inner.watch(resource, options);
  return client;
}

/** A watch on which nothing happens. */
async function* silence(signal: AbortSignal): AsyncGenerator<never> {
  await new Promise((resolve) => signal.addEventListener('abort', resolve));
  yield* [];
}

test('[D13] multicluster zones: Services of other clusters, endpoints below their cluster', async () => {
  const metadata = (name: string) => ({ namespace: 'one', name, uid: name, resourceVersion: '1' });
  const imports = [
    {
      metadata: metadata('far'),
      spec: { type: 'ClusterSetIP', ips: ['10.120.0.1'], ports: [http] },
    },
    { metadata: metadata('many'), spec: { type: 'Headless', ports: [http] } },
  ].map(object);
  const slice = (name: string, cluster: string, address: string, hostname?: string) =>
    client.create(
      resources.endpointslices,
      object({
        metadata: {
          namespace: 'one',
          name,
          labels: {
            'multicluster.kubernetes.io/service-name': 'many',
            ...(cluster && { 'multicluster.kubernetes.io/source-cluster': cluster }),
          },
        },
        addressType: 'IPv4',
        endpoints: [{ addresses: [address], ...(hostname && { hostname }) }],
        ports: [http],
      }),
    );
  await slice('many-a', 'east', '10.200.0.1', 'db-0');
  await slice('many-b', 'west', '10.201.0.1', 'db-0');
  await using server = await start(
    'multicluster clusterset.local',
    'cluster.local clusterset.local in-addr.arpa',
    withImports(client, imports),
  );
  const set = (name: string) => `${name}.one.svc.clusterset.local.`;
  assert.equal(await said(server.at, `${set('far')} A`), '10.120.0.1');
  assert.equal(await said(server.at, `${set('many')} A`), '10.200.0.1, 10.201.0.1');
  assert.equal(await said(server.at, `${set('db-0.east.many')} A`), '10.200.0.1');
  assert.equal(await said(server.at, `${set('db-0.west.many')} A`), '10.201.0.1');
  assert.equal(await said(server.at, `${set('db-0.many')} A`), 'NXDOMAIN');
  assert.equal(
    await said(server.at, `_http._tcp.${set('many')} SRV`),
    '0 50 80 db-0.east.many.one.svc.clusterset.local., 0 50 80 db-0.west.many.one.svc.clusterset.local.',
  );
  assert.equal(
    await said(server.at, `_http._tcp.${set('far')} SRV`),
    '0 100 80 far.one.svc.clusterset.local.',
  );
  // Each zone has its own Services.
  assert.equal(await said(server.at, `${set('web')} A`), 'NXDOMAIN');
  assert.equal(await said(server.at, 'far.one.svc.cluster.local. A'), 'NXDOMAIN');
  assert.equal(await said(server.at, 'web.one.svc.cluster.local. A'), '10.96.0.1');
});

/** The resources a server with these properties lists, with their selectors. */
async function watched(properties: string): Promise<string[]> {
  const lists: string[] = [];
  const noting: Client = Object.create(client);
  noting.list = (resource, options = {}) => {
    const { labelSelector, fieldSelector } = options;
    lists.push([resource.resource, labelSelector, fieldSelector].filter(Boolean).join(' '));
    return client.list(resource, options);
  };
  const zones = 'cluster.local clusterset.local';
  const server = await start(properties, zones, withImports(noting, []));
  await server.stop();
  return lists.toSorted();
}

test('[D94] what is watched: pods only when they are verified, slices unless left out', async () => {
  const always = ['endpointslices', 'namespaces', 'services'];
  assert.deepEqual(await watched(''), always);
  assert.deepEqual(await watched('pods insecure'), always);
  assert.deepEqual(await watched('noendpoints'), ['namespaces', 'services']);
  const living = 'status.phase!=Succeeded,status.phase!=Failed,status.phase!=Unknown';
  const verified = [...always, `pods ${living}`].toSorted();
  assert.deepEqual(await watched('pods verified'), verified);
  assert.deepEqual(await watched('labels a=b'), [
    'endpointslices a=b',
    'namespaces',
    'services a=b',
  ]);
});
