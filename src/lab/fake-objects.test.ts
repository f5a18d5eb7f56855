import assert from 'node:assert/strict';
import { isIPv4 } from 'node:net';
import { test } from 'node:test';
import { UserError } from '../lib/errors.ts';
import { fakeGraceSeconds } from './config.ts';
import { fakeNode, fakeNodeIndex, fakePod, planFakes, runningStatus } from './fake-objects.ts';

test('Services are one for 50 pods unless asked otherwise', () => {
  assert.deepEqual(planFakes({ nodes: 10, pods: 120 }), { nodes: 10, pods: 120, services: 3 });
  assert.deepEqual(planFakes({ nodes: 1 }), { nodes: 1, pods: 0, services: 0 });
});

const refused = [
  { asked: { nodes: -1 }, flag: /--fake-nodes is -1/ },
  { asked: { nodes: 20_000 }, flag: /--fake-nodes is 20000, it must be between 0 and 16384/ },
  { asked: { nodes: 2, pods: 501 }, flag: /--fake-pods is 501, it must be between 0 and 500/ },
  { asked: { nodes: 2, services: 1.5 }, flag: /--fake-services is 1.5/ },
];
for (const { asked, flag } of refused) {
  test(`${JSON.stringify(asked)} is refused`, () => {
    assert.throws(
      () => planFakes(asked),
      (error) =>
        error instanceof UserError && error.code === 'BAD_FLAG' && flag.test(error.message),
    );
  });
}

test('no two nodes and no two pods share an address', () => {
  const fakes = { nodes: 16_384, pods: 1000, services: 20 };
  const addresses = new Set<string>();
  for (let index = 0; index < fakes.nodes; index += 1) {
    const node = fakeNode(index, 0);
    assert.equal(fakeNodeIndex(node.metadata.name), index);
    const pod = fakePod(index, fakes);
    for (const host of [1, 250]) addresses.add(runningStatus(pod, index, host, 0).podIP ?? '');
    addresses.add(node.status?.addresses?.[0]?.address ?? '');
  }
  assert.equal(addresses.size, fakes.nodes * 3);
  for (const address of addresses) assert.ok(isIPv4(address), address);
});

test('Leases are renewed at most 50 times a second, each three times within the grace', () => {
  for (const nodes of [1, 200, 5000]) {
    const seconds = fakeGraceSeconds({ nodes, pods: 0, services: 0 });
    assert.ok(seconds >= 12 && (3 * nodes) / seconds <= 50, `${nodes} nodes: ${seconds} s`);
  }
});
