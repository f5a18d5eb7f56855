/** What of a pod's own settings becomes a name: pods, their Services and slices by the real controllers. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { resources } from '../../src/api/resources.ts';
import { startTestCluster, type TestCluster } from '../support/test-cluster.ts';
import { ask, createService, dig, loopbackUp, object, startServer, texts } from './dns-harness.ts';

let cluster: TestCluster;
let server: Awaited<ReturnType<typeof startServer>>;
const namespace = 'default';

before(async () => {
  loopbackUp();
  cluster = await startTestCluster({ nodes: 1 });
  cluster.isReady = (pod) => pod.metadata.labels?.ready !== 'no';
  server = await startServer({ client: cluster.client });
});

after(async () => {
  await server.stop();
  await cluster.stop();
});

type Loose = Record<string, unknown>;

async function createPod(name: string, spec: Loose, labels: Record<string, string> = {}) {
  const containers = [{ name: 'c', image: 'fairlead/pause' }];
  const metadata = { namespace, name, labels: { app: 'db', ...labels } };
  await cluster.client.create(resources.pods, object({ metadata, spec: { containers, ...spec } }));
}

/** Addresses of a name below `svc.cluster.local`, or the rcode. */
async function said(name: string): Promise<string> {
  const reply = await ask(server.at, `${name}.${namespace}.svc.cluster.local. A`);
  if (reply.rcode !== 'NOERROR') return reply.rcode;
  return texts(reply.answers)
    .map((text) => text.split(' ')[4])
    .join();
}

/** Asks until the name has an address. */
async function untilNamed(name: string): Promise<string> {
  return cluster.until(async () => {
    const found = await said(name);
    return /^\d/.test(found) ? found : undefined;
  });
}

const headless = (more: Loose = {}) => ({
  clusterIP: 'None',
  selector: { app: 'db' },
  ports: [{ name: 'sql', port: 5432 }],
  ...more,
});

test('[D109] hostname and subdomain name a pod where a headless Service is called like the subdomain', async () => {
  await createService(cluster.client, { namespace, name: 'nodes' }, headless());
  await createService(cluster.client, { namespace, name: 'others' }, headless());
  await createPod('named', { hostname: 'db-a', subdomain: 'nodes' });
  await createPod('plain', {});
  const address = await untilNamed('db-a.nodes');
  const text = await dig(server.at, `db-a.nodes.${namespace}.svc.cluster.local`, 'A');
  assert.match(text, new RegExp(`IN\\s+A\\s+${address.replaceAll('.', '\\.')}`));
  // Another Service that selects the same pod does not know it by that name.
  assert.equal(await said('db-a.others'), 'NXDOMAIN');
  assert.equal(await untilNamed(`${address.replaceAll('.', '-')}.others`), address);
  // A pod's own name is no name, nor is a hostname without a subdomain.
  assert.equal(await said('named.nodes'), 'NXDOMAIN');
  assert.equal(await said('plain.nodes'), 'NXDOMAIN');
  await createPod('lonely', { hostname: 'db-b' });
  await untilNamed('nodes');
  assert.equal(await said('db-b.nodes'), 'NXDOMAIN');
});

test('[D109] the pod must be ready, unless the Service publishes those that are not', async () => {
  const unready = headless({ selector: { app: 'slow' } });
  await createService(cluster.client, { namespace, name: 'slow' }, unready);
  await createService(
    cluster.client,
    { namespace, name: 'eager' },
    { ...unready, publishNotReadyAddresses: true },
  );
  await createPod('slow', { hostname: 'x', subdomain: 'eager' }, { app: 'slow', ready: 'no' });
  const address = await untilNamed('x.eager');
  assert.equal(await said('eager'), address);
  assert.equal(await said('slow'), 'NXDOMAIN');
  assert.equal(await said(`${address.replaceAll('.', '-')}.slow`), 'NXDOMAIN');
});

test('[D110] an FQDN as host name and host aliases make no DNS records', async () => {
  await createService(
    cluster.client,
    { namespace, name: 'fq' },
    headless({ selector: { app: 'fq' } }),
  );
  const spec = {
    hostname: 'web',
    subdomain: 'fq',
    setHostnameAsFQDN: true,
    hostAliases: [
      { ip: '192.0.2.7', hostnames: ['alias.test', `alias.fq.${namespace}.svc.cluster.local`] },
    ],
  };
  await createPod('fq', spec, { app: 'fq' });
  const address = await untilNamed('web.fq');
  assert.equal(await said('fq'), address);
  assert.equal(await said('alias.fq'), 'NXDOMAIN');
  assert.equal((await ask(server.at, 'alias.test. A')).rcode, 'REFUSED');
  assert.equal((await ask(server.at, '7.2.0.192.in-addr.arpa. PTR')).rcode, 'NXDOMAIN');
});
