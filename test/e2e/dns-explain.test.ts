/** `fairlead dns-explain` on a lab: names that are found, and every reason why others are not. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import type { Pod } from '../../src/api/types.ts';
import { Cluster, eventually, fairlead, removeHome, type Result } from './harness.ts';

const manifest = `
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  terminationGracePeriodSeconds: 0
  dnsConfig: {searches: [corp.example], options: [{name: ndots, value: "2"}]}
  containers: [{name: main, image: host, command: [sleep, infinity]}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: fairlead/echo}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: shop}
spec:
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      containers:
      - name: db
        image: fairlead/echo
        readinessProbe: {tcpSocket: {port: 9}, periodSeconds: 1, failureThreshold: 1}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {clusterIP: None, selector: {app: db}, ports: [{name: sql, port: 5432}]}
---
apiVersion: v1
kind: Service
metadata: {name: nobody, namespace: shop}
spec: {selector: {app: nobody}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: byhand, namespace: shop}
spec: {clusterIP: None, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: away, namespace: shop}
spec: {type: ExternalName, externalName: web.shop.svc.cluster.local}
---
apiVersion: v1
kind: Service
metadata: {name: number, namespace: shop}
spec: {type: ExternalName, externalName: 192.0.2.7}
`;

let cluster: Cluster;

before(async () => {
  cluster = await Cluster.up('names', '--nodes', '2');
  await cluster.apply(manifest);
  await cluster.kubectlOk('wait', 'pod/client', '--for=condition=Ready', '--timeout=20s');
  await cluster.kubectlOk('rollout', 'status', 'deploy/web', '-n', 'shop', '--timeout=20s');
  await eventually('the probe of db-0 fails', async () => {
    const events = await cluster.kubectlOk('get', 'events', '-n', 'shop');
    return events.includes('Readiness probe failed');
  });
});

after(async () => {
  await cluster.down();
  removeHome();
});

const explain = (line: string): Promise<Result> =>
  fairlead('dns-explain', '--name', cluster.name, ...line.split(' '));

/** Arguments, exit code, and what has to stand in the output. */
const cases: [line: string, code: number, ...said: RegExp[]][] = [
  [
    'web.shop',
    0,
    /"web\.shop", typed in a pod of Namespace "default", is found/,
    /search +default\.svc\.cluster\.local svc\.cluster\.local cluster\.local\n/,
    /web\.shop\.default\.svc\.cluster\.local\. A and AAAA\n +NXDOMAIN/,
    /web\.shop\.svc\.cluster\.local\. 30 IN A 10\.96\.\d+\.\d+\n +from Service shop\/web \(resourceVersion \d+\): ClusterIP 10\.96/,
    /It has addresses of IPv4 only, and AAAA asks for the other family/,
    /glibc +web\.shop\.svc\.cluster\.local\. answers, after 2 names/,
  ],
  [
    'web',
    1,
    /is not found/,
    /Service "web" does not exist in Namespace "default"\n +There is Service "web" in Namespace "shop": ask for web\.shop/,
  ],
  ['web.shp', 1, /Namespace "shp" does not exist\n +Did you mean "shop"\?/],
  ['wbe -n shop', 1, /Service "wbe" does not exist in Namespace "shop"\n +Did you mean "web"\?/],
  [
    'db -n shop',
    1,
    /from Service shop\/db \(resourceVersion \d+\): headless/,
    /from EndpointSlice shop\/db-\w+ \(resourceVersion \d+\): 0 of 1 endpoints ready/,
    /None of its 1 endpoints is ready/,
    /Pod "db-0" is Running; containers with unready status: \[db\]; Readiness probe failed: dial tcp/,
  ],
  ['db-0.db -n shop', 1, /None of its 1 endpoints is ready/, /Pod "db-0"/],
  [
    'nobody -n shop',
    0,
    /It has no endpoint: the name answers, and connections fail/,
    /No pod matches its selector app=nobody/,
  ],
  ['byhand -n shop', 1, /It has no endpoint\n +It has no selector/],
  ['_sql._tcp.web -n shop --type SRV', 1, /It has no port _sql\._tcp: it has _http\._tcp/],
  ['_http._tcp.web.shop --type SRV', 0, /No name has so many labels before the Service/],
  [
    '_http._tcp.web -n shop --type srv',
    0,
    /IN SRV 0 100 80 web\.shop\.svc\.cluster\.local\.\n +from Service shop\/web/,
  ],
  ['nope.web -n shop', 1, /No ready endpoint of it is called "nope": there are 10-244-\d+-\d+/],
  [
    'away -n shop',
    0,
    /IN CNAME web\.shop\.svc\.cluster\.local\.\n.*IN A 10\.96/,
    /alias of web\.shop/,
  ],
  ['number -n shop', 1, /Its externalName is the address 192\.0\.2\.7, which is no host name/],
  [
    'web.shop --pod client',
    0,
    /typed in pod "default\/client", is found/,
    /search +default\.svc\.cluster\.local svc\.cluster\.local cluster\.local corp\.example\n/,
    /ndots +2\n/,
  ],
  [
    'web.shop.svc --pod client',
    0,
    /glibc +web\.shop\.svc\.cluster\.local\. answers/,
    // Two dots are enough for ndots:2, and then musl does not search at all.
    /musl +web\.shop\.svc\. (fails|is empty)|musl +none of the first name exists/,
  ],
  ['10-244-9-9.shop.pod', 0, /IN A 10\.244\.9\.9\n +Made from the name itself/],
  [
    '10.0.96.10.in-addr.arpa. --type PTR',
    0,
    /IN PTR kube-dns\.kube-system.*\n +from Service kube-system\/kube-dns/,
  ],
  [
    '9.9.244.10.in-addr.arpa. --type PTR',
    1,
    /10\.244\.9\.9 is neither a cluster IP nor a ready endpoint/,
  ],
  ['shop', 1, /It is Namespace "shop", which has no addresses/],
  ['a..b', 2, /Cannot explain "a\.\.b\.default.*": it is no domain name\n.*BAD_DNS_NAME/],
  ['web --type FOO', 2, /"FOO" is no type of records/],
  [
    'web --pod nobody',
    2,
    /Cannot explain for pod "default\/nobody": there is none\n +There are client +\[NO_SUCH_POD\]/,
  ],
  ['web --kubeconfig /nowhere', 2, /Cannot (read|use).*\/nowhere/],
];

for (const [line, code, ...said] of cases) {
  test(`fairlead dns-explain ${line}`, async () => {
    const result = await explain(line);
    const output = result.stdout + result.stderr;
    for (const pattern of said) assert.match(output, pattern);
    assert.equal(result.code, code, output);
    if (code < 2) assert.match(output, /answers +of the DNS server at http/);
  });
}

test('--json says the same in parts', async () => {
  const report = JSON.parse((await explain('web.shop --json')).stdout) as {
    walks: { libc: string; status: string }[];
    steps: { name: string; records: string[]; sources: { stage: string }[] }[];
    evidence: { objects: { kind: string; name: string }[] }[];
  };
  const at = report.steps.findIndex(({ records }) => records.length > 0);
  assert.equal(report.steps[at]!.name, 'web.shop.svc.cluster.local.');
  assert.equal(report.steps[at]!.sources[0]!.stage, 'kubernetes');
  assert.deepEqual(
    report.evidence[at]!.objects.map(({ kind, name }) => `${kind} ${name}`),
    ['Service web'],
  );
  assert.deepEqual(
    report.walks.map(({ libc, status }) => `${libc} ${status}`),
    ['glibc answered', 'musl answered'],
  );
});

test('the page /explain of the server itself, as a pod sees it', async () => {
  const selector = ['pods', '-n', 'kube-system', '-l', 'k8s-app=kube-dns'];
  const { items } = await cluster.json<{ items: Pod[] }>(...selector);
  const at = `http://${items[0]!.status!.podIP}:9153/explain`;
  const page = await (await fetch(`${at}?name=web.shop&pod=default/client&type=A`)).json();
  const { resolver, walks } = page as { resolver: object; walks: { asked: string[] }[] };
  const searches = [
    'default.svc.cluster.local',
    'svc.cluster.local',
    'cluster.local',
    'corp.example',
  ];
  assert.deepEqual(resolver, { nameservers: [], searches, ndots: 2 });
  assert.deepEqual(walks[0]!.asked, [
    'web.shop.default.svc.cluster.local.',
    'web.shop.svc.cluster.local.',
  ]);
  for (const [query, text] of [
    ['name=a..b.', 'Cannot explain "a..b."'],
    ['name=web.&type=FOO', '"FOO" is no type'],
    ['name=web&pod=default/gone', 'Cannot explain for pod "default/gone"'],
  ]) {
    const reply = await fetch(`${at}?${query}`);
    assert.equal(reply.status, 400);
    assert.ok((await reply.text()).includes(text!));
  }
});

test('without a server that explains itself, it is worked out from the API', async () => {
  await cluster.kubectlOk('scale', 'deploy/dns', '-n', 'kube-system', '--replicas=0');
  await cluster.kubectlOk(
    'wait',
    'pod',
    '-n',
    'kube-system',
    '-l',
    'k8s-app=kube-dns',
    '--for=delete',
    '--timeout=30s',
  );
  const { stdout, code } = await fairlead(
    'dns-explain',
    'web.shop',
    '--kubeconfig',
    cluster.kubeconfig,
  );
  assert.match(stdout, /answers +worked out from the API/);
  assert.match(stdout, /IN A 10\.96\.\d+\.\d+\n +from Service shop\/web/);
  assert.equal(code, 0);
  const outside = await fairlead(
    'dns-explain',
    'www.example.com.',
    '--kubeconfig',
    cluster.kubeconfig,
  );
  assert.match(outside.stdout, /not asked: the DNS server would ask its own upstream/);
});
