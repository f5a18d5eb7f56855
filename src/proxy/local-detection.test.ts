/** The ways to tell pods from other sources, and what is made of bad settings. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { Node } from '../api/types.ts';
import { planDetection, podCidrsOf } from './local-detection.ts';
import type { DetectLocal } from './options.ts';

const dual = ['172.29.0.11', 'fd00:172:29::11'];
const single = ['172.29.0.11'];

const cases: {
  name: string;
  detect: DetectLocal;
  nodeIPs?: string[];
  nodePodCidrs?: string[];
  podCidrs?: string[];
  podInterface?: string;
  warnings?: RegExp[];
  fatal?: true;
}[] = [
  {
    name: '[P66] ClusterCIDR: one prefix per family',
    detect: { mode: 'ClusterCIDR', cidrs: ['10.244.0.0/16', '10.245.0.0/16', 'fd00::/56'] },
    podCidrs: ['10.244.0.0/16', 'fd00::/56'],
  },
  {
    name: '[P66] ClusterCIDR without a value: no detector',
    detect: { mode: 'ClusterCIDR', cidrs: [] },
    nodeIPs: single,
    warnings: [/no ipv4 prefix/],
  },
  {
    name: '[P66] ClusterCIDR of the wrong family is fatal with one family',
    detect: { mode: 'ClusterCIDR', cidrs: ['fd00::/56'] },
    nodeIPs: single,
    fatal: true,
  },
  {
    name: '[P66] ClusterCIDR of one family is a warning with two',
    detect: { mode: 'ClusterCIDR', cidrs: ['fd00::/56'] },
    podCidrs: ['fd00::/56'],
    warnings: [/no ipv4 prefix/],
  },
  {
    name: "[P66] NodeCIDR: the node's own prefixes",
    detect: { mode: 'NodeCIDR' },
    nodePodCidrs: ['10.244.1.0/24', 'fd00:1::/64'],
    podCidrs: ['10.244.1.0/24', 'fd00:1::/64'],
  },
  {
    name: '[P66] NodeCIDR of the wrong family is fatal',
    detect: { mode: 'NodeCIDR' },
    nodeIPs: single,
    nodePodCidrs: ['fd00:1::/64'],
    fatal: true,
  },
  {
    name: '[P66] BridgeInterface',
    detect: { mode: 'BridgeInterface', bridge: 'cni0' },
    podInterface: 'name cni0',
  },
  {
    name: '[P66] InterfaceNamePrefix',
    detect: { mode: 'InterfaceNamePrefix', prefix: 'veth' },
    podInterface: 'prefix veth',
  },
  {
    name: '[P66] an interface mode without a name: no detector',
    detect: { mode: 'BridgeInterface', bridge: '' },
    warnings: [/names no interface/],
  },
];

for (const { name, detect, nodeIPs = dual, nodePodCidrs = [], ...want } of cases) {
  test(name, () => {
    const plan = () => planDetection(detect, { nodeIPs, nodePodCidrs });
    if (want.fatal) {
      assert.throws(plan, { code: 'DETECT_LOCAL' });
      return;
    }
    const { podCidrs, podInterface, warnings } = plan();
    assert.deepEqual(podCidrs, want.podCidrs ?? []);
    const found = podInterface && `${podInterface.kind} ${podInterface.text}`;
    assert.equal(found, want.podInterface);
    assert.equal(warnings.length, want.warnings?.length ?? 0, warnings.join());
    for (const [index, text] of (want.warnings ?? []).entries()) {
      assert.match(warnings[index]!, text);
    }
  });
}

const specs: { name: string; spec: NonNullable<Node['spec']>; want: readonly string[] }[] = [
  { name: 'none yet', spec: {}, want: [] },
  { name: 'none, as some writers say it', spec: { podCIDR: '', podCIDRs: [] }, want: [] },
  {
    name: 'the list alone',
    spec: { podCIDRs: ['10.1.0.0/24', 'fd00::/64'] },
    want: ['10.1.0.0/24', 'fd00::/64'],
  },
  { name: 'the old field alone', spec: { podCIDR: '10.1.0.0/24' }, want: ['10.1.0.0/24'] },
  {
    name: 'the old field and an empty list',
    spec: { podCIDR: '10.1.0.0/24', podCIDRs: [] },
    want: ['10.1.0.0/24'],
  },
];

for (const { name, spec, want } of specs) {
  test(`the pod ranges of a node: ${name}`, () => {
    assert.deepEqual(podCidrsOf({ metadata: { name: 'node-1' }, spec }), want);
  });
}
