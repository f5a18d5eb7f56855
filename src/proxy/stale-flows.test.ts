import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { Flow } from '../kernel/conntrack/index.ts';
import { planService } from '../plan/service.ts';
import { sampleContext, sampleService, sampleSlice } from '../plan/samples.ts';
import { FamilyProgram } from './nftables/program.ts';
import type { FlowCleaning } from './options.ts';
import { isStale, StaleFlows, type FlowTable } from './stale-flows.ts';

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
    name: '[P102, X2] the same port number at a foreign address is not ours',
    flow: flow('203.0.113.1 30053', '203.0.113.1 30053'),
    stale: false,
  },
  {
    name: '[P107, X1] of a Service that is deleted',
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

/** A connection table of these flows, in which some end before they are deleted. */
function tableOf(flows: readonly Flow[], ended: readonly Flow[], deleted: unknown[]): FlowTable {
  return {
    flows: (_family: unknown, wanted?: (one: Flow) => boolean) =>
      flows.filter((one) => wanted === undefined || wanted(one)),
    delete(one) {
      deleted.push(one);
      return !ended.includes(one as Flow);
    },
    [Symbol.dispose]() {},
  };
}

const quiet = { debug() {}, info() {}, warn() {}, error() {} } as never;
/** Calls back when it is told to, so that what was put off happens. */
function manualClock() {
  const due: (() => void)[] = [];
  const clock = {
    now: () => 0,
    monotonicMs: () => 0,
    after: (_: number, callback: () => void) => {
      due.push(callback);
      return () => undefined;
    },
  };
  return { clock, run: () => due.splice(0).forEach((callback) => callback()) };
}

test('[P109] flows are deleted one by one; one that has ended is no error, and not counted', () => {
  const { clock, run } = manualClock();
  const cleanings: FlowCleaning[] = [];
  const deleted: unknown[] = [];
  const stale = ['1', '2', '3'].map((end) => flow('10.96.0.20 53', `10.244.9.${end} 5353`));
  const good = flow('10.96.0.20 53', '10.244.1.1 5353');
  const connect = () => tableOf([...stale, good], [stale[1]!], deleted);
  const onCleaned = (cleaning: FlowCleaning) => void cleanings.push(cleaning);
  using flows = new StaleFlows({ log: quiet, clock, connect, onCleaned });
  flows.note('ipv4', ['10.96.0.20 UDP 53']);
  flows.clean([program]);
  run();
  assert.deepEqual(deleted, stale);
  assert.deepEqual(cleanings, [{ family: 'ipv4', durationMs: 0, deleted: 2 }]);
});

test('[P108] a list that fails is tried again with the next change', () => {
  const { clock, run } = manualClock();
  const deleted: unknown[] = [];
  const stale = flow('10.96.0.20 53', '10.244.9.9 5353');
  let failures = 1;
  const connect = () => {
    failures -= 1;
    if (failures >= 0) throw new Error('no answer');
    return tableOf([stale], [], deleted);
  };
  using flows = new StaleFlows({ log: quiet, clock, connect });
  flows.note('ipv4', ['10.96.0.20 UDP 53']);
  flows.clean([program]);
  assert.doesNotThrow(run);
  assert.deepEqual(deleted, []);
  flows.clean([program]);
  run();
  assert.deepEqual(deleted, [stale]);
});
