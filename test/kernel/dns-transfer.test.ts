/** Whole zones, as dig(1) fetches them. */
import assert from 'node:assert/strict';
import { before, test } from 'node:test';

import { resources } from '../../src/api/resources.ts';
import type { Client } from '../../src/client/client.ts';
import {
  ask,
  createNamespace,
  createService,
  createSlice,
  dig,
  loopbackUp,
  startApi,
  startCorefile,
  type Asked,
} from './dns-harness.ts';

const http = { name: 'http', port: 80, protocol: 'TCP' };
const unnamed = { port: 9, protocol: 'UDP' };

let client: Client;

before(async () => {
  loopbackUp();
  client = await startApi();
  await createNamespace(client, 'ns');
  const service = (name: string, spec: Record<string, unknown>) =>
    createService(client, { namespace: 'ns', name }, spec);
  await service('web', { clusterIP: '10.96.0.4', ports: [http] });
  const dual = { clusterIP: '10.96.0.5', clusterIPs: ['10.96.0.5', 'fd00:10:96::5'] };
  const families = { ipFamilyPolicy: 'RequireDualStack', ipFamilies: ['IPv4', 'IPv6'] };
  await service('dual', { ...dual, ...families, ports: [http] });
  await service('bare', { clusterIP: '10.96.0.6', ports: [unnamed] });
  await service('peers', { clusterIP: 'None', ports: [http] });
  await service('out', { type: 'ExternalName', externalName: 'www.example.com' });
  const slice = { endpoints: ['10.244.1.1=db-0', '10.244.1.2'], ports: [http] };
  await createSlice(client, { namespace: 'ns', name: 'peers' }, slice);
});

function start(transfer: string, more = 'pods insecure') {
  return startCorefile(
    client,
    `.:0 {\n bind 127.0.0.1\n ${transfer}\n kubernetes cluster.local in-addr.arpa {\n ttl 30\n ${more}\n }\n}`,
  );
}

/** Records as dig prints them, one space between words. */
async function transferred(at: Asked, ...args: string[]): Promise<string[]> {
  const text = await dig(at, '+noall', '+answer', '+onesoa', ...args);
  return text
    .split('\n')
    .filter(Boolean)
    .map((line) => line.replaceAll(/\s+/g, ' '));
}

const all = 'transfer {\n to *\n}';

test('[D40f] a zone in the order of its Services, without pods and reverse names', async () => {
  await using server = await start(all);
  const records = await transferred(server.at, 'cluster.local', 'AXFR');
  const zone = 'ns.svc.cluster.local.';
  assert.match(records[0]!, /^cluster\.local\. 30 IN SOA ns\.dns\.cluster\.local\. hostmaster/);
  assert.deepEqual(records.slice(1), [
    'cluster.local. 30 IN NS ns.dns.cluster.local.',
    `bare.${zone} 30 IN A 10.96.0.6`,
    `bare.${zone} 30 IN SRV 0 100 9 bare.${zone}`,
    `dual.${zone} 30 IN A 10.96.0.5`,
    `dual.${zone} 30 IN AAAA fd00:10:96::5`,
    `dual.${zone} 30 IN SRV 0 100 80 dual.${zone}`,
    `_http._tcp.dual.${zone} 30 IN SRV 0 100 80 dual.${zone}`,
    `out.${zone} 30 IN CNAME www.example.com.`,
    `peers.${zone} 30 IN A 10.244.1.1`,
    `db-0.peers.${zone} 30 IN A 10.244.1.1`,
    `_http._tcp.peers.${zone} 30 IN SRV 0 50 80 db-0.peers.${zone}`,
    `peers.${zone} 30 IN A 10.244.1.2`,
    `10-244-1-2.peers.${zone} 30 IN A 10.244.1.2`,
    `_http._tcp.peers.${zone} 30 IN SRV 0 50 80 10-244-1-2.peers.${zone}`,
    `web.${zone} 30 IN A 10.96.0.4`,
    `web.${zone} 30 IN SRV 0 100 80 web.${zone}`,
    `_http._tcp.web.${zone} 30 IN SRV 0 100 80 web.${zone}`,
  ]);
});

test('[D40f] IXFR: one SOA for whoever is up to date, the zone for all others', async () => {
  await using server = await start(all);
  const soa = await dig(server.at, '+short', 'cluster.local', 'SOA');
  const serial = Number(soa.split(' ')[2]);
  assert.ok(serial > 1_600_000_000);
  assert.equal((await transferred(server.at, 'cluster.local', `IXFR=${serial}`)).length, 1);
  assert.ok((await transferred(server.at, 'cluster.local', `IXFR=${serial - 1}`)).length > 10);
  assert.ok((await transferred(server.at, 'cluster.local', 'IXFR=0')).length > 10);
});

test('[D40e D40f] refused: over UDP, to strangers, without the directive; another zone is not there', async () => {
  await using server = await start(all);
  const refused = /Transfer failed|status: REFUSED/;
  assert.equal((await ask(server.at, 'cluster.local. AXFR')).rcode, 'REFUSED');
  assert.match(await dig(server.at, 'svc.cluster.local', 'AXFR'), refused);
  await using other = await start('transfer {\n to 192.0.2.1 [2001:db8::1]:53\n}');
  assert.match(await dig(other.at, 'cluster.local', 'AXFR'), refused);
  await using own = await start('transfer {\n to 192.0.2.1 127.0.0.1\n}');
  assert.ok((await transferred(own.at, 'cluster.local', 'AXFR')).length > 10);
  await using none = await start('');
  assert.match(await dig(none.at, 'cluster.local', 'AXFR'), refused);
});

test('[D40f] a zone larger than a message goes in several', async () => {
  await createNamespace(client, 'big');
  const count = 900;
  for (let index = 0; index < count; index += 1) {
    const clusterIP = `10.96.${16 + (index >> 8)}.${index & 255}`;
    const name = `service-with-a-name-of-some-length-${index}`;
    const spec = { clusterIP, ports: [http] };
    await client.create(resources.services, {
      metadata: { namespace: 'big', name },
      spec,
    } as never);
  }
  await using server = await start(all, 'namespaces big');
  const text = await dig(server.at, 'cluster.local', 'AXFR');
  const [, records, messages] = /XFR size: (\d+) records \(messages (\d+)/.exec(text)!;
  assert.equal(Number(records), 2 + 1 + 3 * count);
  assert.ok(Number(messages) > 1, text.slice(-200));
});
