/** Labs of every address family, side by side, each answering at its own addresses. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import {
  Cluster,
  eventually,
  fairlead,
  hostSnapshot,
  removeHome,
  run,
  sameHost,
} from './harness.ts';

const hostBefore = hostSnapshot();
after(async () => {
  await fairlead('down', '--all');
  removeHome();
});

const families = [
  { family: 'ipv4', policy: 'SingleStack', own: /^10\.96\./, second: undefined },
  { family: 'ipv6', policy: 'SingleStack', own: /^fd00:10:97:/, second: undefined },
  { family: 'dual', policy: 'RequireDualStack', own: /^10\.98\./, second: /^fd00:10:98:/ },
] as const;
const clusters = new Map<string, Cluster>();

const web = (policy: string) => `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: fairlead/echo, ports: [{containerPort: 8080}]}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  ipFamilyPolicy: ${policy}
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080, nodePort: 30080}]
`;

type Service = { spec: { clusterIPs: string[] } };
type Nodes = { items: { status: { addresses: { type: string; address: string }[] } }[] };
type Pods = { items: { status: { podIPs: { ip: string }[] } }[] };

for (const { family, policy, own, second } of families) {
  test(`a lab of ${family} comes up beside the others and answers`, async () => {
    const cluster = await Cluster.up(family, '--nodes', '2', '--ip-family', family);
    clusters.set(family, cluster);
    await cluster.apply(web(policy));
    await cluster.kubectlOk('wait', '--for=condition=Available', 'deployment/web', '--timeout=20s');
    const { spec } = await cluster.json<Service>('service', 'web');
    const wanted = second === undefined ? [own] : [own, second];
    assert.equal(spec.clusterIPs.length, wanted.length);
    for (const [at, range] of wanted.entries()) assert.match(spec.clusterIPs[at]!, range);
    const nodes = await cluster.json<Nodes>('nodes');
    const nodeIPs = nodes.items.flatMap(({ status }) =>
      status.addresses.filter(({ type }) => type === 'InternalIP').map(({ address }) => address),
    );
    const pods = await cluster.json<Pods>('pods', '-l', 'app=web');
    const podIPs = pods.items.flatMap(({ status }) => status.podIPs.map(({ ip }) => ip));
    assert.equal(nodeIPs.length, 2 * wanted.length);
    assert.equal(podIPs.length, 2 * wanted.length);
    for (const url of [
      ...spec.clusterIPs.map((ip) => urlOf(ip, 80)),
      ...nodeIPs.map((ip) => urlOf(ip, 30_080)),
      ...podIPs.map((ip) => urlOf(ip, 8080)),
    ])
      await eventually(url, async () => (await ask(url)).startsWith('pod=web-'), 5);
    for (const ip of spec.clusterIPs) await nameLeadsTo(cluster, ip);
  });
}

test('each lab goes on answering while the others are there, and after one is gone', async () => {
  await clusters.get('ipv4')!.down();
  for (const family of ['ipv6', 'dual']) {
    const { spec } = await clusters.get(family)!.json<Service>('service', 'web');
    for (const ip of spec.clusterIPs) assert.match(await ask(urlOf(ip, 80)), /^pod=web-/);
  }
});

test('a new lab takes the addresses that became free', async () => {
  const cluster = await Cluster.up('again', '--nodes', '1');
  const { spec } = await cluster.json<Service>('service', 'kubernetes');
  assert.deepEqual(spec.clusterIPs, ['10.96.0.1']);
});

test('down --all leaves the host as it was', async () => {
  const { code, stdout } = await fairlead('down', '--all');
  assert.equal(code, 0);
  for (const name of ['again', 'dual', 'ipv6'])
    assert.match(stdout, new RegExp(`"${name}" is gone`));
  await sameHost(hostBefore);
});

function urlOf(ip: string, port: number): string {
  return ip.includes(':') ? `http://[${ip}]:${port}` : `http://${ip}:${port}`;
}

async function ask(url: string): Promise<string> {
  return (await run('curl', ['-sS', '--max-time', '2', url])).stdout;
}

/** The cluster's own DNS knows the Service, asked from outside. */
async function nameLeadsTo(cluster: Cluster, ip: string): Promise<void> {
  const dns = await cluster.json<Service>('service', '-n', 'kube-system', 'kube-dns');
  const type = ip.includes(':') ? 'AAAA' : 'A';
  const question = ['+short', '+tries=3', '+time=1', 'web.default.svc.cluster.local', type];
  for (const server of dns.spec.clusterIPs) {
    const { stdout } = await run('dig', [`@${server}`, ...question]);
    assert.equal(stdout.trim(), ip, `${type} at ${server}`);
  }
}
