import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as fc from 'fast-check';

import type { EndpointSlice, Service } from '../../api/types.ts';
import { planForwarding } from '../../plan/forwarding.ts';
import { sampleContext, sampleService, sampleSlice } from '../../plan/samples.ts';
import { planService } from '../../plan/service.ts';
import { frontendKey } from '../../plan/types.ts';
import { chainName } from './classes.ts';
import { FamilyProgram, newTable, SET_NAMES, type KernelState, type SetName } from './program.ts';
import { numberAt, numberWord } from './words.ts';

/** A kernel that does what it is told: the sets as maps. */
class Kernel {
  readonly sets = new Map<SetName, Map<string, string>>(SET_NAMES.map((n) => [n, new Map()]));
  readonly chains = new Set<string>();

  apply(program: FamilyProgram): number {
    const changes = program.take();
    for (const one of changes.addChains) this.chains.add(chainName(one));
    for (const mirror of changes.sets) {
      const set = this.sets.get(mirror.name as SetName)!;
      for (const { key, before, after } of mirror.changes()) {
        assert.equal(set.get(key), before, `${mirror.name} ${key}`);
        if (after === undefined) set.delete(key);
        else set.set(key, after);
      }
    }
    for (const name of changes.deleteChains) this.chains.delete(name);
    program.confirm(changes);
    for (const chain of this.sets.get('classes')!.values()) {
      assert(this.chains.has(chain), `no chain ${chain}`);
    }
    return changes.elementCount + changes.addChains.length + changes.deleteChains.length;
  }

  state(): KernelState {
    const elements = new Map([...this.sets].map(([name, set]) => [name, tableOf(name, set)]));
    return { elements, chains: new Set(this.chains) };
  }

  size(name: SetName): number {
    return this.sets.get(name)!.size;
  }
}

function tableOf(name: SetName, set: ReadonlyMap<string, string>) {
  const table = newTable(name);
  for (const [key, data] of set) table.set(key, data);
  return table;
}

let seed = 1;
/** Numbers that differ, without being random. */
const counting = () => (seed += 1);

function programWith(services: Service[], slices: EndpointSlice[]): FamilyProgram {
  const program = new FamilyProgram('ipv4', counting);
  setAll(program, services, slices);
  return program;
}

function setAll(program: FamilyProgram, services: Service[], slices: EndpointSlice[]): void {
  program.setRanges(sampleContext().options);
  for (const service of services) {
    const { name } = service.metadata;
    const mine = slices.filter((s) => s.metadata.labels?.['kubernetes.io/service-name'] === name);
    program.setService(`shop/${name}`, planService(service, mine, sampleContext()));
  }
}

const two = sampleSlice(['10.244.1.1@node-1', '10.244.2.1@node-2']);
const three = sampleSlice(['10.244.1.1@node-1', '10.244.1.2@node-1', '10.244.2.1@node-2']);

test('one more endpoint: a slot, the class of the frontend, a chain the first time', () => {
  const kernel = new Kernel();
  const program = programWith([sampleService()], [two]);
  kernel.apply(program);
  setAll(program, [sampleService()], [three]);
  // endpoints +1, hairpin +1, classes +1, frontends 1 replaced, one chain.
  assert.equal(kernel.apply(program), 5);
  setAll(program, [sampleService()], [two]);
  // endpoints: the last slot goes, a moved one is replaced at most; the chain stays for next time.
  assert(kernel.apply(program) <= 4);
  assert.equal(kernel.size('endpoints'), 2);
});

test('a Service without endpoints is rejected, and not dispatched [P98]', () => {
  const kernel = new Kernel();
  const program = programWith([sampleService()], []);
  kernel.apply(program);
  assert.equal(kernel.size('rejected'), 1);
  assert.equal(kernel.size('frontends'), 0);
  setAll(program, [sampleService()], [two]);
  kernel.apply(program);
  assert.equal(kernel.size('rejected'), 0);
  assert.equal(kernel.size('frontends'), 1);
});

test('[P88] an endpoint that leaves and returns is a new one to tied clients', () => {
  const kernel = new Kernel();
  const sticky = sampleService({ sessionAffinity: 'ClientIP' });
  const program = programWith([sticky], [two]);
  kernel.apply(program);
  const before = new Map(kernel.sets.get('sticky'));
  assert.equal(before.size, 2);
  setAll(program, [sticky], [sampleSlice(['10.244.2.1@node-2'])]);
  kernel.apply(program);
  setAll(program, [sticky], [two]);
  kernel.apply(program);
  const after = kernel.sets.get('sticky')!;
  assert.equal([...after.keys()].filter((key) => before.has(key)).length, 1);
});

test('[P90] another timeout keeps the ids of endpoints, and so the clients', () => {
  const kernel = new Kernel();
  const withTimeout = (timeoutSeconds: number) =>
    sampleService({
      sessionAffinity: 'ClientIP',
      sessionAffinityConfig: { clientIP: { timeoutSeconds } },
    });
  const program = programWith([withTimeout(10)], [two]);
  kernel.apply(program);
  const before = new Map(kernel.sets.get('sticky'));
  setAll(program, [withTimeout(20)], [two]);
  kernel.apply(program);
  assert.deepEqual(kernel.sets.get('sticky'), before);
  assert(kernel.chains.has('outsiders-all-2-sticky-20'));
});

test('an address handed from one Service to another is never without an owner', () => {
  const kernel = new Kernel();
  const older = sampleService(
    { externalIPs: ['192.0.2.1'], clusterIP: '10.96.0.9', clusterIPs: ['10.96.0.9'] },
    { name: 'older', created: '2025-01-01T00:00:00Z' },
  );
  const younger = sampleService({ externalIPs: ['192.0.2.1'] });
  const program = programWith([younger, older], [two]);
  kernel.apply(program);
  assert.equal(program.winner('192.0.2.1 TCP 80')?.portId, 'shop/older:http/TCP/ipv4');
  program.setService('shop/older', undefined);
  kernel.apply(program);
  const port = program.winner('192.0.2.1 TCP 80')?.portId ?? '';
  assert.equal(port, 'shop/web:http/TCP/ipv4');
  // Both the cluster IP and the external IP of the younger one.
  assert.equal(kernel.size('frontends'), 2);
});

test('chains of classes nobody uses are let go when there are many', () => {
  const kernel = new Kernel();
  const program = programWith([sampleService()], []);
  for (let count = 1; count <= 200; count += 1) {
    const ends = Array.from({ length: count }, (_, i) => `10.244.2.${i + 1}@node-2`);
    setAll(program, [sampleService()], [sampleSlice(ends)]);
    kernel.apply(program);
  }
  assert(kernel.chains.size <= 66, `${kernel.chains.size} chains`);
});

test('numbers stand in the order of the machine', () => {
  assert.equal(numberWord(0x01020304), '04030201');
  assert.equal(numberWord(2 ** 31 + 5), '05000080');
  assert.equal(numberAt('0403020105000080', 4), 2 ** 31 + 5);
});

const specArbitrary = fc.record({
  sessionAffinity: fc.constantFrom('None' as const, 'ClientIP' as const),
  externalTrafficPolicy: fc.constantFrom('Cluster' as const, 'Local' as const),
  internalTrafficPolicy: fc.constantFrom('Cluster' as const, 'Local' as const),
  externalIPs: fc.subarray(['192.0.2.1', '192.0.2.2']),
  nodePort: fc.constantFrom(0, 30007),
});
const worldArbitrary = fc.array(
  fc.record({
    name: fc.constantFrom('a', 'b', 'c'),
    spec: specArbitrary,
    ends: fc.uniqueArray(fc.integer({ min: 1, max: 6 }), { maxLength: 5 }),
    gone: fc.boolean(),
    balancing: fc.constantFrom('random', 'roundRobin', 'sourceHash'),
  }),
  { minLength: 1, maxLength: 12 },
);

test('any history ends in the state of a fresh start; a restart writes nothing [P129]', () => {
  fc.assert(
    fc.property(worldArbitrary, (history) => {
      const kernel = new Kernel();
      const program = new FamilyProgram('ipv4', counting);
      program.setRanges(sampleContext().options);
      const last = new Map<string, { service: Service; slice: EndpointSlice }>();
      for (const { name, spec, ends, gone, balancing } of history) {
        const { nodePort, ...rest } = spec;
        const clusterIP = `10.96.0.${name.charCodeAt(0)}`;
        const ports = [{ name: 'http', protocol: 'TCP' as const, port: 80, nodePort }];
        const service = sampleService(
          { ...rest, type: 'NodePort', clusterIP, clusterIPs: [clusterIP], ports },
          { name, annotations: { 'fairlead.dev/balancing': balancing } },
        );
        const addresses = ends.map((end) => `10.244.${end % 2}.${end}@node-${end % 2}`);
        const slice = sampleSlice(addresses, { service: name });
        const plan = gone ? undefined : planService(service, [slice], sampleContext());
        program.setService(`shop/${name}`, plan);
        if (gone) last.delete(name);
        else last.set(name, { service, slice });
        if (ends.length % 2 === 0) kernel.apply(program);
      }
      kernel.apply(program);
      checkAgainstPlan(kernel, [...last.values()]);
      const restarted = new FamilyProgram('ipv4', counting);
      restarted.adopt(kernel.state());
      setAll(
        restarted,
        [...last.values()].map((one) => one.service),
        [...last.values()].map((one) => one.slice),
      );
      restarted.sweep();
      assert.equal(kernel.apply(restarted), 0);
      program.adopt({ elements: new Map(), chains: new Set() });
      program.sweep();
      const fresh = new Kernel();
      fresh.apply(program);
      for (const name of SET_NAMES) {
        if (name !== 'classes' && name !== 'sticky' && name !== 'endpoints') {
          assert.deepEqual(fresh.sets.get(name), kernel.sets.get(name), name);
        }
      }
    }),
    { numRuns: 300 },
  );
});

function checkAgainstPlan(
  kernel: Kernel,
  world: { service: Service; slice: EndpointSlice }[],
): void {
  const plan = planForwarding({
    services: world.map((one) => one.service),
    slices: world.map((one) => one.slice),
    ...sampleContext(),
  });
  const v4 = [...plan.frontends.values()].filter((one) => !one.address.includes(':'));
  const served = v4.filter((one) => {
    const port = plan.ports.get(one.portId);
    return (one.pool === 'local' ? port?.local : port?.cluster)?.length !== 0;
  });
  assert.equal(kernel.size('frontends'), served.length);
  assert.equal(new Set(v4.map(frontendKey)).size, v4.length);
  const slots = [...kernel.sets.get('endpoints')!.keys()].map((key) => numberAt(key, 4) % 2 ** 31);
  assert(slots.every((slot) => slot < 1021));
}
