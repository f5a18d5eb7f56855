/** examples/node-local-dns on a lab: the pod template on a node, as a DaemonSet would place it. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { parseAllDocuments, stringify } from 'yaml';

import type { PodSpec } from '../../src/api/types.ts';
import { Cluster, eventually, removeHome } from './harness.ts';

const file = join(import.meta.dirname, '../../examples/node-local-dns/daemonset.yaml');
const documents = parseAllDocuments(readFileSync(file, 'utf8')).map((one) => one.toJS() as Loose);
type Loose = { kind: string; metadata: object; spec: { template: { spec: PodSpec } } };

const client = `
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  nodeName: node-1
  terminationGracePeriodSeconds: 0
  dnsPolicy: None
  dnsConfig:
    nameservers: [169.254.20.10]
    searches: [default.svc.cluster.local, svc.cluster.local, cluster.local]
    options: [{name: ndots, value: "5"}]
  containers: [{name: main, image: host, command: [sleep, infinity]}]
`;

let cluster: Cluster;

/** The pod that the DaemonSet would make on the node; the lab has the program as an image of its own. */
function cachePod(name: string): string {
  const { template } = documents.find(({ kind }) => kind === 'DaemonSet')!.spec;
  const [container] = template.spec.containers;
  const {
    serviceAccountName: _,
    priorityClassName: __,
    ...spec
  } = template.spec as PodSpec & {
    priorityClassName?: string;
    serviceAccountName?: string;
  };
  return stringify({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'kube-system', labels: { 'k8s-app': 'node-local-dns' } },
    spec: {
      ...spec,
      nodeName: 'node-1',
      containers: [{ ...container, image: 'fairlead/dns', args: container!.args!.slice(1) }],
    },
  });
}

before(async () => {
  cluster = await Cluster.up('nodelocal', '--nodes', '1');
  const others = documents.filter(({ kind }) => kind !== 'DaemonSet');
  await cluster.apply(others.map((one) => stringify(one)).join('---\n'));
  await cluster.apply(cachePod('cache-1'));
  await cluster.apply(client);
  await cluster.kubectlOk('wait', 'pod/client', '--for=condition=Ready', '--timeout=20s');
  await ready('cache-1');
});

after(async () => {
  await cluster.down();
  removeHome();
});

const ready = (name: string) =>
  cluster.kubectlOk(
    'wait',
    `pod/${name}`,
    '-n',
    'kube-system',
    '--for=condition=Ready',
    '--timeout=20s',
  );

/** In the pod, with the pod's own resolv.conf. */
const inClient = (...command: string[]) => cluster.kubectlOk('exec', 'client', '--', ...command);

const addresses = (name: string) => inClient('getent', 'ahostsv4', name);

test('a pod resolves names of the cluster through the cache of its node', async () => {
  assert.match(await addresses('kubernetes'), /^10\.96\.0\.1 /);
  const short = await inClient('dig', '+short', '+search', 'kube-dns.kube-system');
  assert.equal(short.trim(), '10.96.0.10');
  const gone = await inClient('dig', 'gone.default.svc.cluster.local');
  assert.match(gone, /status: NXDOMAIN/);
});

test('another cache takes over on the node, and then the first one goes', async () => {
  await cluster.apply(cachePod('cache-2'));
  await ready('cache-2');
  await cluster.kubectlOk('delete', 'pod/cache-1', '-n', 'kube-system');
  assert.match(await addresses('kubernetes'), /^10\.96\.0\.1 /);
});

test('without the cluster DNS, what was asked before is still known', async () => {
  await cluster.kubectlOk('scale', 'deploy/dns', '-n', 'kube-system', '--replicas=0');
  await eventually(
    'the DNS pods are gone',
    async () => {
      const list = await cluster.kubectlOk(
        'get',
        'pods',
        '-n',
        'kube-system',
        '-l',
        'k8s-app=kube-dns',
        '-o',
        'name',
      );
      return list.trim() === '';
    },
    30,
  );
  await new Promise((resolve) => {
    setTimeout(resolve, 1000);
  });
  assert.match(await addresses('kubernetes'), /^10\.96\.0\.1 /);
});
