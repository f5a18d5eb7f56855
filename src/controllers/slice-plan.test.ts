import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import type { Endpoint, EndpointSlice } from '../api/types.ts';
import { planSlices, type EndpointGroup, type SliceFrame } from './slice-plan.ts';

const frame = (endpointsMax = 100): SliceFrame => ({
  namespace: 'default',
  generateName: 'web-',
  labels: { 'kubernetes.io/service-name': 'web' },
  ownerReferences: [],
  annotations: {},
  changeAnnotations: {},
  endpointsMax,
});

const endpoint = (index: number, ready = true): Endpoint => ({
  addresses: [`10.244.${index >> 8}.${index & 255}`],
  conditions: { ready },
  targetRef: { kind: 'Pod', uid: `uid-${index}` },
});

const group = (
  indexes: readonly number[],
  more: { addressType?: 'IPv4' | 'IPv6'; port?: number } = {},
): EndpointGroup => ({
  addressType: more.addressType ?? 'IPv4',
  ports: [{ name: '', port: more.port ?? 80, protocol: 'TCP' }],
  endpoints: indexes.map((index) => endpoint(index)),
});

const empty = (addressType: 'IPv4' | 'IPv6' = 'IPv4'): EndpointGroup => ({
  addressType,
  ports: [],
  endpoints: [],
});

let names = 0;

/** What an API server would have after the plan was written. */
function applied(
  wanted: SliceFrame,
  groups: readonly EndpointGroup[],
  existing: readonly EndpointSlice[],
): { slices: EndpointSlice[]; writes: number } {
  const plan = planSlices(wanted, groups, existing);
  const gone = new Set(plan.remove.map((slice) => slice.metadata.name));
  const updated = new Map(plan.update.map((slice) => [slice.metadata.name, slice]));
  const created = plan.create.map((slice) => {
    names += 1;
    return { ...slice, metadata: { ...slice.metadata, name: `web-${names}` } };
  });
  const kept = existing.filter((slice) => !gone.has(slice.metadata.name));
  return {
    slices: [...kept.map((slice) => updated.get(slice.metadata.name) ?? slice), ...created],
    writes: plan.create.length + plan.update.length + plan.remove.length,
  };
}

const sizes = (slices: readonly EndpointSlice[]) => slices.map((slice) => slice.endpoints.length);
const range = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, index) => from + index);

const cases: {
  name: string;
  before: EndpointGroup[];
  wanted: EndpointGroup[];
  sizes: number[];
  writes: number;
}[] = [
  {
    name: 'nothing selected makes one bare slice',
    before: [],
    wanted: [empty()],
    sizes: [0],
    writes: 1,
  },
  { name: 'a bare slice stays', before: [empty()], wanted: [empty()], sizes: [0], writes: 0 },
  {
    name: 'the first endpoint fills the bare slice',
    before: [empty()],
    wanted: [group([1])],
    sizes: [1],
    writes: 1,
  },
  {
    name: 'the last endpoint leaves a bare slice',
    before: [group([1])],
    wanted: [empty()],
    sizes: [0],
    writes: 1,
  },
  {
    name: 'equal endpoints in another order write nothing',
    before: [group([1, 2])],
    wanted: [group([2, 1])],
    sizes: [2],
    writes: 0,
  },
  {
    name: 'one more goes into the same slice',
    before: [group([1, 2])],
    wanted: [group([1, 2, 3])],
    sizes: [3],
    writes: 1,
  },
  {
    name: '101 endpoints need two slices',
    before: [],
    wanted: [group(range(0, 101))],
    sizes: [100, 1],
    writes: 2,
  },
  {
    name: 'one added to a full slice opens another',
    before: [group(range(0, 100))],
    wanted: [group(range(0, 101))],
    sizes: [100, 1],
    writes: 1,
  },
  {
    name: 'one replaced in a full slice is one write',
    before: [group(range(0, 100))],
    wanted: [group(range(1, 101))],
    sizes: [100],
    writes: 1,
  },
  {
    name: 'a changed port is written into the same slice',
    before: [group([1])],
    wanted: [group([1], { port: 81 })],
    sizes: [1],
    writes: 1,
  },
  {
    name: 'each family has its own slice',
    before: [],
    wanted: [group([1]), group([1], { addressType: 'IPv6' })],
    sizes: [1, 1],
    writes: 2,
  },
  {
    name: 'a family that is no longer wanted goes',
    before: [empty(), empty('IPv6')],
    wanted: [empty()],
    sizes: [0],
    writes: 1,
  },
  {
    name: 'different ports make different slices',
    before: [],
    wanted: [group([1]), group([2], { port: 81 })],
    sizes: [1, 1],
    writes: 2,
  },
];

for (const { name, before, wanted, sizes: want, writes } of cases) {
  test(`[K29] ${name}`, () => {
    const existing = applied(frame(), before, []).slices;
    const result = applied(frame(), wanted, existing);
    assert.deepEqual(sizes(result.slices), want);
    assert.equal(result.writes, writes);
  });
}

test('[K29] a slice that lost its labels gets them back', () => {
  const [slice] = applied(frame(), [group([1])], []).slices;
  const stripped = { ...slice!, metadata: { ...slice!.metadata, labels: {} } };
  const { update } = planSlices(frame(), [group([1])], [stripped]);
  assert.deepEqual(update[0]?.metadata.labels, frame().labels);
});

const groupsOf = fc
  .uniqueArray(fc.integer({ min: 0, max: 40 }), { maxLength: 30 })
  .chain((indexes) =>
    fc
      .constantFrom(80, 81)
      .map((port) => (indexes.length === 0 ? empty() : group(indexes, { port }))),
  );

test('[K29] whatever was there, the slices say exactly what is wanted, and a second run writes nothing', () => {
  fc.assert(
    fc.property(fc.array(groupsOf, { minLength: 1, maxLength: 6 }), (steps) => {
      let slices: EndpointSlice[] = [];
      for (const step of steps) {
        const all = frame(7);
        slices = applied(all, [step], slices).slices;
        const addresses = slices.flatMap((slice) => slice.endpoints.flatMap((e) => e.addresses));
        const want = step.endpoints.flatMap((e) => e.addresses);
        assert.deepEqual(addresses.toSorted(), want.toSorted());
        assert.ok(slices.every((slice) => slice.endpoints.length <= 7));
        assert.equal(applied(all, [step], slices).writes, 0);
        const shuffled = { ...step, endpoints: step.endpoints.toReversed() };
        assert.equal(applied(all, [shuffled], slices.toReversed()).writes, 0);
      }
    }),
    { numRuns: 200 },
  );
});
