/**
 * A process of its own: an API server in memory with the benchmark's objects. Arguments: how many
 * Services, the directory for keys and kubeconfig, the port. Started again it has the same keys.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { resources } from '../../src/api/resources.ts';
import {
  createCa,
  createSigningKey,
  issue,
  type KeyPair,
} from '../../src/apiserver/pki/certificates.ts';
import { kubeconfigText } from '../../src/apiserver/pki/kubeconfig.ts';
import { startApiServer } from '../../src/apiserver/server.ts';
import { createMemoryStore } from '../../src/store/store.ts';
import { objects } from './objects.ts';

const [count = '100', directory = '.', port = '0'] = process.argv.slice(2);
const caFile = join(directory, 'ca.json');
const ca: KeyPair = existsSync(caFile)
  ? JSON.parse(readFileSync(caFile, 'utf8'))
  : createCa('bench');
writeFileSync(caFile, JSON.stringify(ca));
const tls = {
  ...issue(ca, { cn: 'server', ips: ['127.0.0.1'], usages: ['server'] }),
  ca: ca.cert,
};
const { client, addresses } = await startApiServer({
  store: createMemoryStore(),
  serviceCidrs: ['10.96.0.0/14'],
  listeners: [{ host: '127.0.0.1', port: Number(port) }],
  tls,
  serviceAccountKey: createSigningKey(),
});
const batch: Promise<unknown>[] = [];
for (const { resource, object } of objects(Number(count))) {
  const known = resource === 'namespaces' ? [] : batch;
  const created = client.create(resources[resource], object);
  if (known.push(created) < 200 && resource !== 'namespaces') continue;
  await Promise.all([created, ...batch.splice(0)]);
}
await Promise.all(batch);
const admin = issue(ca, { cn: 'admin', orgs: ['system:masters'], usages: ['client'] });
const server = `https://127.0.0.1:${addresses[0]!.port}`;
writeFileSync(
  join(directory, 'kubeconfig'),
  kubeconfigText({ name: 'bench', server, ca: ca.cert, client: admin }),
);
console.log('ready');
