import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Lease } from '../../api/types.ts';
import {
  decide,
  leaseName,
  leaseSeconds,
  renewMs,
  spreadMs,
  turnMs,
  type Move,
  type Situation,
} from './election.ts';

const held = (holderIdentity: string): Lease => ({
  apiVersion: 'coordination.k8s.io/v1',
  kind: 'Lease',
  metadata: { name: 'x' },
  spec: { holderIdentity, leaseDurationSeconds: leaseSeconds },
});
const calm = { node: 'n1', fit: true, lease: undefined, quietMs: 0, sinceRenewMs: undefined };

const cases: { name: string; situation: Partial<Situation>; want: Move }[] = [
  { name: 'nobody has it', situation: {}, want: { kind: 'take' } },
  { name: 'it was given up', situation: { lease: held('') }, want: { kind: 'take' } },
  {
    name: 'another has it',
    situation: { lease: held('n2'), quietMs: 1000 },
    want: { kind: 'wait', afterMs: 2000 },
  },
  {
    name: 'another is silent',
    situation: { lease: held('n2'), quietMs: 3000 },
    want: { kind: 'take' },
  },
  {
    name: 'it is ours, just renewed',
    situation: { lease: held('n1'), sinceRenewMs: renewMs - 1 },
    want: { kind: 'hold', renew: false },
  },
  {
    name: 'it is ours, due',
    situation: { lease: held('n1'), sinceRenewMs: renewMs },
    want: { kind: 'hold', renew: true },
  },
  {
    name: 'it is ours from before a restart',
    situation: { lease: held('n1'), quietMs: 60_000 },
    want: { kind: 'hold', renew: true },
  },
  {
    name: 'it is ours, but not for us',
    situation: { fit: false, lease: held('n1') },
    want: { kind: 'give up' },
  },
  {
    name: 'it is not for us',
    situation: { fit: false, lease: held('n2'), quietMs: 9000 },
    want: { kind: 'rest' },
  },
  { name: 'it is not for us, nor anybody', situation: { fit: false }, want: { kind: 'rest' } },
];
for (const { name, situation, want } of cases) {
  test(`layer2, an address and its Lease: ${name}`, () => {
    assert.deepEqual(decide({ ...calm, ...situation }), want);
  });
}

test('layer2: of many nodes few try at the same moment', () => {
  const turns = Array.from({ length: 20 }, (_, at) => turnMs(`node-${at}`, '172.29.0.192'));
  assert.ok(turns.every((turn) => turn >= 0 && turn < spreadMs));
  assert.ok(new Set(turns).size >= 15, turns.join());
});

const names: [string, string][] = [
  ['172.29.0.192', 'fairlead-address-172-29-0-192'],
  ['fd00::1:0', 'fairlead-address-fd00--1-0'],
  ['fd00::', 'fairlead-address-fd00--0'],
];
for (const [address, name] of names) {
  test(`layer2: the Lease of ${address} is ${name}`, () => assert.equal(leaseName(address), name));
}
