/** The API server for servers whose metrics are compared, and the files that lead to it. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { startTestServer } from '../../../src/apiserver/test-server.ts';
import { createNamespace, createService } from '../dns-harness.ts';

/** One Service; the files are in `folder`. */
export async function startMetricsApi(folder: string) {
  const api = await startTestServer();
  const { client } = api.server;
  await createNamespace(client, 'ns');
  const ports = [{ name: 'http', port: 80, protocol: 'TCP' }];
  await createService(client, { namespace: 'ns', name: 'web' }, { clusterIP: '10.96.0.4', ports });
  const file = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  const tls = [file('cert', api.admin.cert), file('key', api.admin.key), file('ca', api.ca.cert)];
  const hosts = file('hosts', '192.0.2.3 c.hosts.test\n');
  const resolv = file('resolv.conf', 'search gone.test hosts.test\n');
  return { api, files: { api: api.url, tls, hosts, resolv } };
}
