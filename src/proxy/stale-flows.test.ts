import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { Flow } from '../kernel/conntrack/index.ts';
import { planService } from '../plan/service.ts';
import { sampleContext, sampleService, sampleSlice } from '../plan/samples.ts';
import { FamilyProgram } from './nftables/program.ts';
import { isStale } from './stale-flows.ts';

const UDP = 17;
const TCP = 6;

function flow(destination: string, answering: string, protocol = UDP): Flow {
  const [address = '', port] = destination.split(' ');
  const [from = '', fromPort] = answering.split(' ');
  const client = { source: '198.51.100.1', sourcePort: 40_000 };
  return {
    original: { ...client, destination: address, destinationPort: Number(port), protocol },
    reply: {
      source: from,
      sourcePort: Number(fromPort),
      destination: client.source,
      destinationPort: client.sourcePort,
      protocol,
    },
    id: 1,
    status: 0,
    mark: 0,
    zone: 0,
    timeoutSeconds: 30,
  };
}

const program = new FamilyProgram('ipv4', () => 1);
const service = sampleService({
  type: 'NodePort',
  internalTrafficPolicy: 'Local',
  ports: [{ name: 'dns', protocol: 'UDP', port: 53, nodePort: 30_053 }],
});
const draining = { ready: false, serving: true, terminating: true };
const slice = sampleSlice(
  [
    { addresses: ['10.244.1.1'], nodeName: 'node-1' },
    { addresses: ['10.244.2.2'], nodeName: 'node-2', conditions: draining },
    { addresses: ['10.244.2.3'], nodeName: 'node-2', conditions: { ready: false, serving: false } },
  ],
  { ports: [{ name: 'dns', protocol: 'UDP', port: 5353 }] },
);
const touched = program.setService('shop/web', planService(service, [slice], sampleContext()));
const keys = new Set([...touched, '10.96.0.99 UDP 53']);

const cases: { name: string; flow: Flow; stale: boolean }[] = [
  {
    name: 'a flow to a ready endpoint stays',
    flow: flow('10.96.0.20 53', '10.244.1.1 5353'),
    stale: false,
  },
  {
    name: '[P103] a flow to one that drains stays, whatever the policy',
    flow: flow('10.96.0.20 53', '10.244.2.2 5353'),
    stale: false,
  },
  {
    name: '[P101] to one that is gone',
    flow: flow('10.96.0.20 53', '10.244.9.9 5353'),
    stale: true,
  },
  {
    name: '[P101] to one that serves no more',
    flow: flow('10.96.0.20 53', '10.244.2.3 5353'),
    stale: true,
  },
  {
    name: '[P105] to an old target port',
    flow: flow('10.96.0.20 53', '10.244.1.1 53'),
    stale: true,
  },
  { name: '[P104] never rewritten', flow: flow('10.96.0.20 53', '10.96.0.20 53'), stale: true },
  {
    name: '[P102] by the node port',
    flow: flow('172.29.0.11 30053', '10.244.9.9 5353'),
    stale: true,
  },
  {
    name: '[P102] the same port number at a foreign address is not ours',
    flow: flow('203.0.113.1 30053', '203.0.113.1 30053'),
    stale: false,
  },
  {
    name: '[P107] of a Service that is deleted',
    flow: flow('10.96.0.99 53', '10.244.1.1 5353'),
    stale: true,
  },
  {
    name: '[P99] TCP is left alone',
    flow: flow('10.96.0.20 53', '10.244.9.9 5353', TCP),
    stale: false,
  },
];

for (const { name, flow: one, stale } of cases) {
  test(name, () => assert.equal(isStale(one, keys, program), stale));
}

test('[P100] only changes of endpoints that answer touch UDP flows', () => {
  const again = planService(service, [slice], sampleContext());
  assert.deepEqual(program.setService('shop/web', again), []);
  const fewer = { ...slice, endpoints: slice.endpoints.slice(0, 1) };
  const keysNow = program.setService('shop/web', planService(service, [fewer], sampleContext()));
  assert.deepEqual(keysNow.toSorted(), ['10.96.0.20 UDP 53', '172.29.0.11 UDP 30053']);
});
