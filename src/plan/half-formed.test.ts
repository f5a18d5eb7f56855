/** Objects that other writers left half formed: whatever is missing, the rest is planned. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as fc from 'fast-check';

import type { EndpointSlice, Service } from '../api/types.ts';
import { FamilyProgram } from '../proxy/nftables/program.ts';
import { planForwarding } from './forwarding.ts';
import { sampleContext, sampleService, sampleSlice } from './samples.ts';

const service = sampleService(
  {
    type: 'LoadBalancer',
    ports: [
      { name: 'http', protocol: 'TCP', port: 80, targetPort: 8080, nodePort: 30_007 },
      { name: 'dns', protocol: 'UDP', port: 53 },
    ],
    externalIPs: ['192.0.2.2', '2001:db8::2'],
    sessionAffinity: 'ClientIP',
    sessionAffinityConfig: { clientIP: { timeoutSeconds: 60 } },
    loadBalancerSourceRanges: ['10.0.0.0/8'],
    externalTrafficPolicy: 'Local',
    healthCheckNodePort: 31_000,
  },
  {
    ingress: [{ ip: '192.0.2.1' }, { hostname: 'lb.example' }],
    labels: { app: 'web' },
    annotations: { 'fairlead.dev/balancing': 'roundRobin' },
  },
);
const slice = sampleSlice([
  {
    addresses: ['10.244.1.5', '10.244.1.6'],
    nodeName: 'node-1',
    conditions: { ready: true, serving: true, terminating: false },
    hints: { forZones: [{ name: 'zone-a' }], forNodes: [{ name: 'node-1' }] },
  },
  { addresses: ['10.244.2.5'], nodeName: 'node-2' },
]);

type Path = readonly (string | number)[];

/** Every place in an object, but for its name: what has none does not come from an API. */
function placesIn(value: unknown, path: Path = []): Path[] {
  if (typeof value !== 'object' || value === null) return [path];
  const inside = Object.entries(value).flatMap(([key, child]) => placesIn(child, [...path, key]));
  return path.length === 0 ? inside : [path, ...inside];
}

function replaced<T>(object: T, path: Path, value: unknown): T {
  const copy = structuredClone(object) as Record<string | number, unknown>;
  let at = copy;
  for (const key of path.slice(0, -1)) at = at[key] as Record<string | number, unknown>;
  const last = path.at(-1)!;
  if (value === undefined) delete at[last];
  else at[last] = value;
  return copy as T;
}

const KEPT = new Set(['metadata', 'metadata name', 'metadata namespace', 'spec']);
const placesOf = (object: unknown) => placesIn(object).filter((path) => !KEPT.has(path.join(' ')));

/**
 * What may stand in a place: Go writes empty lists and maps as null, and an API server sees to it
 * that texts stay texts, numbers stay numbers and lists have no holes.
 */
function oddFor(object: unknown, path: Path): fc.Arbitrary<unknown> {
  let at = object;
  for (const key of path) at = (at as Record<string | number, unknown>)[key];
  const inList = /^\d+$/.test(String(path.at(-1)));
  const nothing = inList ? [] : [undefined, null];
  if (typeof at === 'string') return fc.constantFrom('', 'nonsense', ...nothing);
  if (typeof at === 'number') return fc.constantFrom(0, 70_000, -1, ...nothing);
  return fc.constantFrom(...(inList ? [at] : nothing));
}

const another = sampleService(
  { clusterIP: '10.96.0.99', clusterIPs: ['10.96.0.99'] },
  { name: 'other' },
);
const anothersSlice = sampleSlice(['10.244.1.9@node-1'], { name: 'other', service: 'other' });

function spoilt<T>(object: T): fc.Arbitrary<T> {
  return fc
    .constantFrom(...placesOf(object))
    .chain((path) => oddFor(object, path).map((value) => replaced(object, path, value)));
}

test('[P8, P9, P10] whatever an object lacks, planning it throws nothing and harms no other', () => {
  const worlds = fc.tuple(
    fc.oneof(fc.constant(service), spoilt<Service>(service)),
    fc.oneof(fc.constant(slice), spoilt<EndpointSlice>(slice)),
  );
  fc.assert(
    fc.property(worlds, ([one, itsSlice]) => {
      const context = sampleContext();
      const plan = planForwarding({
        services: [one, another],
        slices: [itsSlice, anothersSlice],
        ...context,
      });
      const port = plan.ports.get('shop/other:http/TCP/ipv4');
      assert.deepEqual(
        port?.cluster.map(({ address }) => address),
        ['10.244.1.9'],
      );
      assert.equal(plan.frontends.get('10.96.0.99 TCP 80')?.portId, port?.id);
    }),
    { numRuns: 3000 },
  );
});

test('whatever is planned can be turned into elements of maps', () => {
  fc.assert(
    fc.property(spoilt<Service>(service), (one) => {
      const plan = planForwarding({ services: [one], slices: [slice], ...sampleContext() });
      let number = 0;
      const program = new FamilyProgram('ipv4', () => (number += 1));
      const ports = [...plan.ports.values()];
      program.setService('shop/web', { service: 'shop/web', since: '', ports, clusterIPs: [] });
      for (const mirror of program.take().sets) {
        for (const { key } of mirror.changes()) assert.match(key, /^([0-9a-f]{8})+$/, mirror.name);
      }
    }),
    { numRuns: 1000 },
  );
});
