import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Service } from '../api/types.ts';
import { allocate, type Holder } from './allocate.ts';
import { addressesIn, createPool } from './pool.ts';
import { providerOf, requestOf, type Request } from './request.ts';

type Ask = {
  readonly spec?: Partial<Service['spec']>;
  readonly annotations?: Record<string, string>;
  readonly provider?: 'edge' | 'layer2';
};

function service({ spec = {}, annotations = {} }: Ask, name = 'web'): Service {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace: 'default', annotations },
    spec: {
      type: 'LoadBalancer',
      ipFamilies: ['IPv4'],
      selector: { app: name },
      ports: [{ port: 80 }],
      externalTrafficPolicy: 'Cluster',
      ...spec,
    },
  };
}

function request(ask: Ask, name?: string): Request {
  const read = requestOf(service(ask, name), ask.provider ?? 'edge');
  assert.ok(!('reason' in read), 'reason' in read ? read.message : '');
  return read;
}

const holder = (name: string, ips: string[], ask: Ask = {}): Holder => ({
  service: `default/${name}`,
  ips,
  request: request(ask, name),
});

const pool = createPool(['10.0.0.0/30', 'fd00::/126'], ['10.0.0.0', 'fd00::']);
const dual = { ipFamilies: ['IPv4', 'IPv6'] as ('IPv4' | 'IPv6')[] };
const v6 = { ipFamilies: ['IPv6'] as ('IPv4' | 'IPv6')[] };
const share = { 'fairlead.dev/allow-shared-ip': 'key' };
const port443 = { ports: [{ port: 443 }] };

const grants: { name: string; ask: Ask; held?: string[]; others?: Holder[]; want: string[] }[] = [
  { name: 'the first free address', ask: {}, want: ['10.0.0.1'] },
  { name: 'the first free address, v6', ask: { spec: v6 }, want: ['fd00::1'] },
  { name: 'one of each family', ask: { spec: dual }, want: ['10.0.0.1', 'fd00::1'] },
  {
    name: 'the next when the first is taken',
    ask: {},
    others: [holder('a', ['10.0.0.1'])],
    want: ['10.0.0.2'],
  },
  { name: 'what it has already', ask: {}, held: ['10.0.0.3'], want: ['10.0.0.3'] },
  {
    name: 'the second family beside what it has',
    ask: { spec: dual },
    held: ['10.0.0.3'],
    want: ['10.0.0.3', 'fd00::1'],
  },
  { name: 'another one when it left the pool', ask: {}, held: ['192.0.2.1'], want: ['10.0.0.1'] },
  {
    name: 'another one when somebody has it too',
    ask: {},
    held: ['10.0.0.1'],
    others: [holder('a', ['10.0.0.1'])],
    want: ['10.0.0.2'],
  },
  { name: 'loadBalancerIP', ask: { spec: { loadBalancerIP: '10.0.0.2' } }, want: ['10.0.0.2'] },
  {
    name: 'loadBalancerIP in another spelling',
    ask: { spec: { ...v6, loadBalancerIP: 'FD00:0::0003' } },
    want: ['fd00::3'],
  },
  {
    name: 'the address of the annotation, not what it has',
    ask: { annotations: { 'fairlead.dev/load-balancer-ips': '10.0.0.2' } },
    held: ['10.0.0.1'],
    want: ['10.0.0.2'],
  },
  {
    name: "MetalLB's annotation, both families",
    ask: { spec: dual, annotations: { 'metallb.io/loadBalancerIPs': 'fd00::2, 10.0.0.3' } },
    want: ['10.0.0.3', 'fd00::2'],
  },
  {
    name: 'the requested family, and any of the other',
    ask: { spec: { ...dual, loadBalancerIP: 'fd00::3' } },
    want: ['10.0.0.1', 'fd00::3'],
  },
  {
    name: 'a shared address, since the keys are the same',
    ask: { annotations: share, spec: port443 },
    others: [holder('a', ['10.0.0.2'], { annotations: share })],
    want: ['10.0.0.2'],
  },
  {
    name: "a shared address with MetalLB's name for it",
    ask: { annotations: { 'metallb.universe.tf/allow-shared-ip': 'key' }, spec: port443 },
    others: [holder('a', ['10.0.0.2'], { annotations: share })],
    want: ['10.0.0.2'],
  },
  {
    name: 'a shared address of each family',
    ask: { annotations: share, spec: { ...dual, ...port443 } },
    others: [holder('a', ['10.0.0.2', 'fd00::2'], { annotations: share, spec: dual })],
    want: ['10.0.0.2', 'fd00::2'],
  },
  {
    name: 'the same port number over UDP on a shared address',
    ask: { annotations: share, spec: { ports: [{ port: 80, protocol: 'UDP' }] } },
    others: [holder('a', ['10.0.0.2'], { annotations: share })],
    want: ['10.0.0.2'],
  },
  {
    name: 'its own address when the shared one has its port',
    ask: { annotations: share },
    others: [holder('a', ['10.0.0.1'], { annotations: share })],
    want: ['10.0.0.2'],
  },
  {
    name: 'its own address when the key is another one',
    ask: { annotations: { 'fairlead.dev/allow-shared-ip': 'other' }, spec: port443 },
    others: [holder('a', ['10.0.0.1'], { annotations: share })],
    want: ['10.0.0.2'],
  },
  {
    name: 'edge: policy Local shares with other pods',
    ask: { annotations: share, spec: { ...port443, externalTrafficPolicy: 'Local' } },
    others: [holder('a', ['10.0.0.2'], { annotations: share })],
    want: ['10.0.0.2'],
  },
  {
    name: 'layer2: policy Local does not share with other pods',
    ask: {
      annotations: share,
      spec: { ...port443, externalTrafficPolicy: 'Local' },
      provider: 'layer2',
    },
    others: [holder('a', ['10.0.0.1'], { annotations: share, provider: 'layer2' })],
    want: ['10.0.0.2'],
  },
  {
    name: 'layer2: policy Local shares with the same pods',
    ask: {
      annotations: share,
      spec: { ...port443, selector: { app: 'a' }, externalTrafficPolicy: 'Local' },
      provider: 'layer2',
    },
    others: [holder('a', ['10.0.0.2'], { annotations: share, provider: 'layer2' })],
    want: ['10.0.0.2'],
  },
  {
    name: 'another address than one served by another provider',
    ask: { annotations: share, spec: port443, provider: 'layer2' },
    others: [holder('a', ['10.0.0.1'], { annotations: share })],
    want: ['10.0.0.2'],
  },
];

for (const { name, ask, held = [], others = [], want } of grants) {
  test(`a LoadBalancer Service gets ${name}`, () => {
    assert.deepEqual(allocate(request(ask), { held, others, pool }), want);
  });
}

const all = ['10.0.0.1', '10.0.0.2', '10.0.0.3'];
const waits: { name: string; ask: Ask; others?: Holder[]; message: RegExp }[] = [
  {
    name: 'the pool is exhausted',
    ask: {},
    others: all.map((ip) => holder(ip, [ip])),
    message: /^no ipv4 address is left: all of 10\.0\.0\.0\/30 are taken$/,
  },
  {
    name: 'one family of two is exhausted',
    ask: { spec: dual },
    others: all.map((ip) => holder(ip, [ip])),
    message: /^no ipv4 address is left/,
  },
  {
    name: 'the requested address is not in the pool',
    ask: { spec: { loadBalancerIP: '192.0.2.1' } },
    message:
      /^address 192\.0\.2\.1 is asked for, which is not in the pool 10\.0\.0\.0\/30, fd00::\/126$/,
  },
  {
    name: 'the requested address is reserved',
    ask: { spec: { loadBalancerIP: '10.0.0.0' } },
    message: /not in the pool/,
  },
  {
    name: 'the requested address is taken',
    ask: { spec: { loadBalancerIP: '10.0.0.1' } },
    others: [holder('a', ['10.0.0.1'])],
    message: /^address 10\.0\.0\.1 is asked for, but Service default\/a has it$/,
  },
  {
    name: 'the requested address is taken, v6',
    ask: { spec: { ...v6, loadBalancerIP: 'fd00::1' } },
    others: [holder('a', ['fd00::1'], { spec: v6 })],
    message: /^address fd00::1 is asked for, but Service default\/a has it$/,
  },
  {
    name: 'the requested address is shared with another key',
    ask: {
      spec: { ...port443, loadBalancerIP: '10.0.0.1' },
      annotations: { 'fairlead.dev/allow-shared-ip': 'b' },
    },
    others: [holder('a', ['10.0.0.1'], { annotations: share })],
    message: /with another key for sharing, or none$/,
  },
  {
    name: 'the requested, shared address has its port',
    ask: { spec: { loadBalancerIP: '10.0.0.1' }, annotations: share },
    others: [holder('a', ['10.0.0.1'], { annotations: share })],
    message: /but Service default\/a has its port TCP\/80 already$/,
  },
];

for (const { name, ask, others = [], message } of waits) {
  test(`a LoadBalancer Service waits when ${name}`, () => {
    const answer = allocate(request(ask), { held: [], others, pool });
    assert.ok('reason' in answer, JSON.stringify(answer));
    assert.match(answer.message, message);
  });
}

const refusals: { name: string; ask: Ask; message: RegExp }[] = [
  {
    name: 'field and annotation differ',
    ask: {
      spec: { loadBalancerIP: '10.0.0.1' },
      annotations: { 'metallb.io/loadBalancerIPs': '10.0.0.2' },
    },
    message: /spec\.loadBalancerIP is 10\.0\.0\.1, but its annotation asks for 10\.0\.0\.2/,
  },
  {
    name: 'the address is none',
    ask: { spec: { loadBalancerIP: 'example.com' } },
    message: /"example\.com", which is no IP address/,
  },
  {
    name: 'two addresses of one family',
    ask: { annotations: { 'fairlead.dev/load-balancer-ips': '10.0.0.1,10.0.0.2' } },
    message: /10\.0\.0\.1 and 10\.0\.0\.2; it may have one address of each family/,
  },
  {
    name: 'an address of a family it does not have',
    ask: { spec: { loadBalancerIP: 'fd00::1' } },
    message: /asks for address fd00::1, but its families are IPv4/,
  },
  {
    name: 'a mode that does not exist',
    ask: { annotations: { 'fairlead.dev/load-balancer-ip-mode': 'proxy' } },
    message: /is "proxy", it must be VIP or Proxy/,
  },
  {
    name: 'ipMode Proxy where nodes answer themselves',
    ask: { annotations: { 'fairlead.dev/load-balancer-ip-mode': 'Proxy' }, provider: 'layer2' },
    message: /needs ipMode VIP/,
  },
];

for (const { name, ask, message } of refusals) {
  test(`a LoadBalancer Service is refused for ${name}`, () => {
    const answer = requestOf(service(ask), ask.provider ?? 'edge');
    assert.ok('reason' in answer);
    assert.match(answer.message, message);
  });
}

const providers: [string, Partial<Service['spec']>, string | undefined][] = [
  ['no class', {}, 'layer2'],
  ['the class of edge', { loadBalancerClass: 'fairlead.dev/edge' }, 'edge'],
  ['the class of layer2', { loadBalancerClass: 'fairlead.dev/layer2' }, 'layer2'],
  ['the class of somebody else', { loadBalancerClass: 'example.com/lb' }, 'other'],
  ['another type', { type: 'NodePort' }, undefined],
];
for (const [name, spec, want] of providers) {
  test(`a Service with ${name} is served by ${want ?? 'nobody'}`, () => {
    assert.equal(providerOf(service({ spec }), 'layer2'), want);
  });
}

test('whatever Services come in whatever order, no port of an address has two of them', () => {
  const asks = fc.record({
    ports: fc.subarray([80, 443, 53], { minLength: 1 }),
    key: fc.constantFrom(undefined, 'a', 'b'),
    wanted: fc.constantFrom(undefined, ...all),
    families: fc.constantFrom<('IPv4' | 'IPv6')[]>(['IPv4'], ['IPv6'], ['IPv4', 'IPv6']),
  });
  fc.assert(
    fc.property(fc.array(asks, { maxLength: 12 }), (list) => {
      const others: Holder[] = [];
      for (const [at, { ports, key, wanted, families }] of list.entries()) {
        const ask = request({
          spec: {
            ipFamilies: families,
            ports: ports.map((port) => ({ port })),
            ...(wanted === undefined || families[0] === 'IPv6' ? {} : { loadBalancerIP: wanted }),
          },
          annotations: key === undefined ? {} : { 'fairlead.dev/allow-shared-ip': key },
        });
        const ips = allocate(ask, { held: [], others, pool });
        if ('reason' in ips) continue;
        assert.equal(ips.length, families.length);
        for (const ip of ips) {
          for (const other of others.filter((one) => one.ips.includes(ip))) {
            assert.notEqual(ask.sharingKey, undefined);
            assert.equal(other.request.sharingKey, ask.sharingKey);
            assert.ok(!other.request.ports.some((port) => ask.ports.includes(port)));
          }
        }
        others.push({ service: `default/s${at}`, ips, request: ask });
      }
    }),
  );
});

test('a pool gives every address of its ranges in order but the reserved ones', () => {
  const made = createPool(['10.0.0.252/30', '10.1.0.7/32', 'fd00::/127'], ['10.0.0.255']);
  assert.deepEqual(
    [...addressesIn(made, 'ipv4')],
    ['10.0.0.252', '10.0.0.253', '10.0.0.254', '10.1.0.7'],
  );
  assert.deepEqual([...addressesIn(made, 'ipv6')], ['fd00::', 'fd00::1']);
});
