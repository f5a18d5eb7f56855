import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Endpoint, EndpointSlice } from '../api/types.ts';
import { planService } from '../plan/service.ts';
import { sampleContext, sampleService, sampleSlice } from '../plan/samples.ts';
import { slimService } from './slim-service.ts';
import { slimSlice } from './slim-slice.ts';

const flag = fc.constantFrom(true, false, undefined);
const endpoint = fc.record(
  {
    addresses: fc.array(fc.constantFrom('10.244.1.1', '10.244.1.2', '10.244.2.3', '10.244.2.4'), {
      maxLength: 2,
    }),
    conditions: fc.record({ ready: flag, serving: flag, terminating: flag }, { requiredKeys: [] }),
    nodeName: fc.constantFrom('node-1', 'node-2'),
    zone: fc.constantFrom('zone-a', 'zone-b'),
    hints: fc.record({
      forZones: fc.array(fc.record({ name: fc.constantFrom('zone-a', 'zone-b') })),
    }),
    targetRef: fc.constant({ kind: 'Pod', name: 'web-1' }),
  },
  { requiredKeys: ['addresses'] },
) as fc.Arbitrary<Endpoint>;

test('a slim slice is planned as the whole one', () => {
  const node = { ...sampleContext().node, zone: 'zone-a' };
  const context = { ...sampleContext(), node };
  const service = sampleService({ internalTrafficPolicy: 'Local', nodePort: 30_080 } as never);
  fc.assert(
    fc.property(fc.array(fc.array(endpoint, { maxLength: 6 }), { maxLength: 3 }), (all) => {
      const slices = all.map((endpoints, at) => {
        const slice = sampleSlice([], { name: `web-${at}` });
        return { ...slice, endpoints };
      });
      const slim = slices.map((slice) => slimSlice(slice, context.node.name));
      assert.deepEqual(planService(service, slim, context), planService(service, slices, context));
      // A second time, as when a list has trimmed what an informer trims again.
      const again = slim.map((slice) => slimSlice(slice, context.node.name));
      assert.deepEqual(planService(service, again, context), planService(service, slices, context));
    }),
  );
});

test('what only people read is dropped, what others look up by is kept', () => {
  const whole = {
    addressType: 'IPv4',
    metadata: {
      name: 'web-1',
      namespace: 'shop',
      uid: 'u',
      resourceVersion: '7',
      labels: { 'kubernetes.io/service-name': 'web', team: 'blue' },
      annotations: {
        'endpoints.kubernetes.io/last-change-trigger-time': '2026-01-01T00:00:00Z',
        note: 'n',
      },
      managedFields: [{}],
    },
    endpoints: [],
  } as unknown as EndpointSlice;
  const { metadata } = slimSlice(whole, 'node-1');
  assert.deepEqual(metadata, {
    name: 'web-1',
    namespace: 'shop',
    uid: 'u',
    resourceVersion: '7',
    labels: { 'kubernetes.io/service-name': 'web' },
    annotations: { 'endpoints.kubernetes.io/last-change-trigger-time': '2026-01-01T00:00:00Z' },
  });
});

const odd: { name: string; endpoints: unknown }[] = [
  { name: 'no endpoints', endpoints: undefined },
  { name: 'null for endpoints', endpoints: null },
  { name: 'an endpoint without an address', endpoints: [{ addresses: [] }, {}] },
];
for (const { name, endpoints } of odd) {
  test(`a half-formed slice stays as it is: ${name}`, () => {
    const slice = { ...sampleSlice([]), endpoints } as unknown as EndpointSlice;
    assert.deepEqual(slimSlice(slice, 'node-1').endpoints, endpoints);
  });
}

test('a slim Service is planned as the whole one', () => {
  const applied = { 'kubectl.kubernetes.io/last-applied-configuration': '{}', kept: 'yes' };
  const service = sampleService({ selector: { app: 'web' } }, { annotations: applied });
  const slim = slimService(service);
  assert.deepEqual(slim.metadata.annotations, { kept: 'yes' });
  assert.equal(slim.spec.selector, undefined);
  const slices = [sampleSlice(['10.244.1.1@node-1'])];
  const context = sampleContext();
  assert.deepEqual(planService(slim, slices, context), planService(service, slices, context));
});
