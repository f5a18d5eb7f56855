/** A large cluster that exists in the API alone, and one real node that serves it. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import {
  Cluster,
  eventually,
  fairlead,
  fairleadOk,
  labProcesses,
  onNode,
  removeHome,
} from './harness.ts';

const lab = 'lab';
let cluster: Cluster;

before(async () => {
  const flags = [
    '--nodes',
    '1',
    '--fake-nodes',
    '20',
    '--fake-pods',
    '120',
    '--fake-services',
    '4',
  ];
  cluster = await Cluster.up(lab, ...flags);
});
after(async () => {
  await fairlead('down', '--all');
  removeHome();
});

async function readyAddresses(service: string): Promise<string[]> {
  const path = 'jsonpath={.subsets[*].addresses[*].ip}';
  const text = await cluster.kubectlOk('get', 'endpoints', service, '-n', 'fake', '-o', path);
  return text.split(' ').filter((word) => word !== '');
}

/** How many endpoints the real node's map has of these addresses, as nft tells. */
async function inKernel(addresses: readonly string[]): Promise<number> {
  const { stdout } = await onNode(
    lab,
    'node-1',
    'nft',
    'list',
    'map',
    'ip',
    'fairlead',
    'endpoints',
  );
  return addresses.filter((address) => stdout.includes(`: ${address} . 8080 `)).length;
}

test('fake nodes are ready, their pods run, and the Services have them', async () => {
  await eventually(
    'all 20 nodes are ready',
    async () => {
      const { items } = await cluster.json<{ items: object[] }>('nodes');
      const text = await cluster.kubectlOk('get', 'nodes', '--no-headers');
      return (
        items.length === 21 &&
        text
          .trim()
          .split('\n')
          .every((line) => /\sReady\s/.test(line))
      );
    },
    20,
  );
  await eventually(
    'every Service has its 30 pods',
    async () => {
      const all = await Promise.all([0, 1, 2, 3].map((at) => readyAddresses(`svc-${at}`)));
      return all.every((addresses) => addresses.length === 30);
    },
    20,
  );
});

test('the real node forwards to them', async () => {
  const addresses = await readyAddresses('svc-2');
  await eventually('30 endpoints are in its map', async () => (await inKernel(addresses)) === 30);
});

test('a fake pod that is deleted goes, and its endpoint with it', async () => {
  const addresses = await readyAddresses('svc-1');
  await cluster.kubectlOk('delete', 'pod', 'pod-1', '-n', 'fake', '--timeout=10s');
  await eventually('29 are left', async () => (await readyAddresses('svc-1')).length === 29);
  await eventually('also in the kernel', async () => (await inKernel(addresses)) === 29);
});

test('pods of other people stay away from fake nodes', async () => {
  await cluster.kubectlOk('create', 'deployment', 'web', '--image=fairlead/echo', '--replicas=3');
  await cluster.kubectlOk('rollout', 'status', 'deployment/web', '--timeout=20s');
  const path = 'jsonpath={.items[*].spec.nodeName}';
  const nodes = await cluster.kubectlOk('get', 'pods', '-l', 'app=web', '-o', path);
  assert.deepEqual(new Set(nodes.split(' ')), new Set(['node-1']));
});

test('flags that make no sense are refused, and down leaves nothing', async () => {
  const { code, stderr } = await fairlead('up', '--name', 'other', '--fake-pods', '10');
  assert.equal(code, 2);
  assert.match(stderr, /no fake nodes for them[\s\S]*--fake-nodes/);
  await fairleadOk('down', '--name', lab);
  assert.deepEqual(labProcesses(lab), []);
});
