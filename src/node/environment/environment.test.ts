/** What a container sees, case by case; expected values are those of a kubelet. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Container, Pod, Service } from '../../api/types.ts';
import { containerCommand, containerEnv, type ConfigSource } from './env.ts';
import { expand } from './expand.ts';
import { kernelHostname, podHostsFile, podNames } from './hosts-file.ts';
import { divideQuantity, parseQuantity } from './quantity.ts';
import { formatResolvConf, parseResolvConf, podResolvConf } from './resolv-conf.ts';
import { serviceEnv, servicesFor } from './service-env.ts';

const service = (name: string, spec: Service['spec'], namespace = 'shop'): Service => ({
  metadata: { name, namespace },
  spec,
});

test('[K9] the docker-link set of redis-primary, as the Kubernetes documentation prints it', () => {
  const redis = service('redis-primary', {
    clusterIP: '10.0.0.11',
    ports: [{ port: 6379, protocol: 'TCP' }],
  });
  assert.deepEqual(serviceEnv([redis]), {
    REDIS_PRIMARY_SERVICE_HOST: '10.0.0.11',
    REDIS_PRIMARY_SERVICE_PORT: '6379',
    REDIS_PRIMARY_PORT: 'tcp://10.0.0.11:6379',
    REDIS_PRIMARY_PORT_6379_TCP: 'tcp://10.0.0.11:6379',
    REDIS_PRIMARY_PORT_6379_TCP_PROTO: 'tcp',
    REDIS_PRIMARY_PORT_6379_TCP_PORT: '6379',
    REDIS_PRIMARY_PORT_6379_TCP_ADDR: '10.0.0.11',
  });
});

test('[K9] named ports, UDP and IPv6', () => {
  const dns = service('kube-dns', {
    clusterIP: 'fd00::a',
    ports: [
      { name: 'dns', port: 53, protocol: 'UDP' },
      { name: 'dns-tcp', port: 53, protocol: 'TCP' },
    ],
  });
  const env = serviceEnv([dns]);
  assert.equal(env['KUBE_DNS_SERVICE_PORT'], '53');
  assert.equal(env['KUBE_DNS_SERVICE_PORT_DNS_TCP'], '53');
  assert.equal(env['KUBE_DNS_PORT'], 'udp://[fd00::a]:53');
  assert.equal(env['KUBE_DNS_PORT_53_TCP'], 'tcp://[fd00::a]:53');
  assert.equal(env['KUBE_DNS_PORT_53_UDP_ADDR'], 'fd00::a');
});

test('[K9] headless and ExternalName Services give none', () => {
  const ports = [{ port: 80 }];
  const env = serviceEnv([
    service('headless', { clusterIP: 'None', ports }),
    service('outside', { type: 'ExternalName', externalName: 'example.com' }),
    service('unassigned', { ports }),
  ]);
  assert.deepEqual(env, {});
});

const kubernetes = service(
  'kubernetes',
  { clusterIP: '10.96.0.1', ports: [{ port: 443 }] },
  'default',
);
const own = service('own', { clusterIP: '10.96.1.1', ports: [{ port: 80 }] });
const foreign = service('foreign', { clusterIP: '10.96.1.2', ports: [{ port: 80 }] }, 'other');

for (const [title, enableServiceLinks, names] of [
  ['own namespace and default/kubernetes', true, ['kubernetes', 'own']],
  ['enableServiceLinks false leaves kubernetes', false, ['kubernetes']],
] as const) {
  test(`[K9] which Services: ${title}`, () => {
    const services = servicesFor({
      namespace: 'shop',
      enableServiceLinks,
      services: [own, foreign, kubernetes],
    });
    assert.deepEqual(
      services.map((s) => s.metadata.name),
      names,
    );
  });
}

for (const [text, expected] of [
  ['$(A)', 'one'],
  ['x$(A)y$(B)', 'xoneytwo'],
  ['$(NONE)', '$(NONE)'],
  ['$$(A)', '$(A)'],
  ['$$$(A)', '$one'],
  ['$A ${A}', '$A ${A}'],
  ['$(A', '$(A'],
  ['$', '$'],
] as const) {
  test(`[K10] ${text} becomes ${expected}`, () => {
    const values: Record<string, string> = { A: 'one', B: 'two' };
    assert.equal(
      expand(text, (name) => values[name]),
      expected,
    );
  });
}

const pod: Pod = {
  metadata: {
    name: 'web-0',
    namespace: 'shop',
    uid: 'u1',
    labels: { app: 'web' },
    annotations: { note: 'x' },
  },
  spec: { containers: [], serviceAccountName: 'robot' },
};
const facts = {
  nodeName: 'n1',
  hostIPs: ['172.29.0.11', 'fd00::11'],
  podIPs: ['10.244.0.5', 'fd00:1::5'],
  allocatable: { cpu: '4', memory: '1024Ki' },
};
const source: ConfigSource = {
  configMap: async (name) =>
    name === 'cfg' ? { metadata: { name }, data: { COLOUR: 'red', X: '1' } } : undefined,
  secret: async (name) =>
    name === 'sec' ? { metadata: { name }, data: { KEY: btoa('s3cret') } } : undefined,
};
const envOf = (container: Partial<Container>, services: Record<string, string> = {}) =>
  containerEnv({ pod, container: { name: 'c', ...container }, facts, services, source });

for (const [fieldPath, expected] of [
  ['metadata.name', 'web-0'],
  ['metadata.namespace', 'shop'],
  ['metadata.uid', 'u1'],
  ["metadata.labels['app']", 'web'],
  ["metadata.annotations['note']", 'x'],
  ['spec.nodeName', 'n1'],
  ['spec.serviceAccountName', 'robot'],
  ['status.hostIP', '172.29.0.11'],
  ['status.hostIPs', '172.29.0.11,fd00::11'],
  ['status.podIP', '10.244.0.5'],
  ['status.podIPs', '10.244.0.5,fd00:1::5'],
] as const) {
  test(`[K10] fieldRef ${fieldPath}`, async () => {
    const env = await envOf({ env: [{ name: 'V', valueFrom: { fieldRef: { fieldPath } } }] });
    assert.deepEqual(env, { V: expected });
  });
}

test('[K10] order: envFrom, then env over it, both over Services; later ones see earlier ones', async () => {
  const env = await envOf(
    {
      envFrom: [
        { configMapRef: { name: 'cfg' } },
        { prefix: 'S_', secretRef: { name: 'sec' } },
        { configMapRef: { name: 'none', optional: true } },
      ],
      env: [
        { name: 'X', value: '2' },
        { name: 'Y', value: '$(X)-$(COLOUR)-$(OWN_SERVICE_HOST)' },
        { name: 'OWN_SERVICE_PORT', value: '1' },
        { name: 'Z', valueFrom: { secretKeyRef: { name: 'sec', key: 'KEY' } } },
        { name: 'NO', valueFrom: { configMapKeyRef: { name: 'cfg', key: 'q', optional: true } } },
      ],
    },
    { OWN_SERVICE_HOST: '10.96.1.1', OWN_SERVICE_PORT: '80' },
  );
  assert.deepEqual(env, {
    OWN_SERVICE_HOST: '10.96.1.1',
    OWN_SERVICE_PORT: '1',
    COLOUR: 'red',
    S_KEY: 's3cret',
    X: '2',
    Y: '2-red-10.96.1.1',
    Z: 's3cret',
  });
});

for (const [title, container, message] of [
  ['a ConfigMap', { envFrom: [{ configMapRef: { name: 'no' } }] }, 'configmap "no" not found'],
  ['a Secret', { envFrom: [{ secretRef: { name: 'no' } }] }, 'secret "no" not found'],
  [
    'a key',
    { env: [{ name: 'A', valueFrom: { configMapKeyRef: { name: 'cfg', key: 'k' } } }] },
    "couldn't find key k in ConfigMap shop/cfg",
  ],
] as const) {
  test(`[K10] ${title} that is missing is named`, async () => {
    await assert.rejects(envOf(container as unknown as Container), { message });
  });
}

test('[K10] resourceFieldRef: limits, requests, divisors, and the node for what is unset', async () => {
  const ref = (resource: string, divisor?: string) => ({
    name: resource + (divisor ?? ''),
    valueFrom: { resourceFieldRef: { resource, ...(divisor === undefined ? {} : { divisor }) } },
  });
  const env = await envOf({
    resources: { limits: { memory: '64Mi' }, requests: { cpu: '250m' } },
    env: [
      ref('limits.memory'),
      ref('limits.memory', '1Mi'),
      ref('requests.cpu'),
      ref('requests.cpu', '1m'),
      ref('limits.cpu'),
    ],
  });
  assert.deepEqual(env, {
    'limits.memory': '67108864',
    'limits.memory1Mi': '64',
    'requests.cpu': '1',
    'requests.cpu1m': '250',
    'limits.cpu': '4',
  });
});

test('[K10] variables in command and arguments', () => {
  const container = { name: 'c', command: ['sh', '$(A)'], args: ['$$(A)', '$(NO)'] };
  assert.deepEqual(containerCommand(container, { A: 'one' }), {
    command: ['sh', 'one'],
    args: ['$(A)', '$(NO)'],
  });
});

for (const [text, value] of [
  ['1', 1],
  ['250m', 0.25],
  ['1Gi', 1024 ** 3],
  ['1.5Ki', 1536],
  ['2e3', 2000],
  ['1M', 1e6],
] as const) {
  test(`quantity ${text}`, () => assert.equal(parseQuantity(text), value));
}
test('a quantity that is none is refused, and division rounds up', () => {
  assert.throws(() => parseQuantity('1 apple'), { name: 'UserError' });
  assert.equal(divideQuantity('1100m', '1'), 2);
});

const host = parseResolvConf(
  '# host\nnameserver 192.0.2.1\nnameserver 2001:db8::1\nsearch corp.example\noptions timeout:2 rotate\n',
);
const node = { host, clusterDns: ['10.96.0.10'], clusterDomain: 'cluster.local' };
const clusterFile =
  'search shop.svc.cluster.local svc.cluster.local cluster.local corp.example\n' +
  'nameserver 10.96.0.10\noptions ndots:5\n';
const hostFile =
  'search corp.example\nnameserver 192.0.2.1\nnameserver 2001:db8::1\noptions timeout:2 rotate\n';

for (const [title, spec, expected] of [
  ['ClusterFirst is the default', {}, clusterFile],
  ['ClusterFirst', { dnsPolicy: 'ClusterFirst' }, clusterFile],
  ['ClusterFirst on hostNetwork means Default', { hostNetwork: true }, hostFile],
  [
    'ClusterFirstWithHostNet',
    { dnsPolicy: 'ClusterFirstWithHostNet', hostNetwork: true },
    clusterFile,
  ],
  ['Default', { dnsPolicy: 'Default' }, hostFile],
  [
    'None with dnsConfig',
    {
      dnsPolicy: 'None',
      dnsConfig: {
        nameservers: ['192.0.2.9'],
        searches: ['a.example'],
        options: [{ name: 'ndots', value: '2' }, { name: 'edns0' }],
      },
    },
    'search a.example\nnameserver 192.0.2.9\noptions ndots:2 edns0\n',
  ],
  [
    'dnsConfig is merged: duplicates once, an option replaces its namesake',
    {
      dnsConfig: {
        nameservers: ['10.96.0.10', '192.0.2.9'],
        searches: ['cluster.local', 'b.example'],
        options: [{ name: 'ndots', value: '1' }],
      },
    },
    'search shop.svc.cluster.local svc.cluster.local cluster.local corp.example b.example\n' +
      'nameserver 10.96.0.10\nnameserver 192.0.2.9\noptions ndots:1\n',
  ],
] as const) {
  test(`[K11] [D106] [D107] resolv.conf: ${title}`, () => {
    const asked = { ...pod, spec: { ...pod.spec, ...spec } } as Pod;
    const { conf, warnings } = podResolvConf(asked, node);
    assert.equal(formatResolvConf(conf), expected);
    assert.deepEqual(warnings, []);
  });
}

for (const [title, dnsConfig, pattern] of [
  [
    'a fourth name server',
    { nameservers: ['192.0.2.1', '192.0.2.2', '192.0.2.3', '192.0.2.4'] },
    /^Nameserver limits were exceeded.*192\.0\.2\.1 192\.0\.2\.2 192\.0\.2\.3$/,
  ],
  [
    '33 search paths',
    { searches: Array.from({ length: 33 }, (_, i) => `s${i}.example`) },
    /^Search Line limits were exceeded.*s31\.example$/,
  ],
  [
    '2048 characters',
    { searches: Array.from({ length: 20 }, (_, i) => `${'x'.repeat(120)}${i}.example`) },
    /^Search Line limits were exceeded/,
  ],
] as const) {
  test(`[K11] [D108] past the limit: ${title} gives a warning`, () => {
    const spec = { ...pod.spec, dnsPolicy: 'None', dnsConfig } as unknown as Pod['spec'];
    const { conf, warnings } = podResolvConf({ ...pod, spec }, node);
    assert.deepEqual(
      warnings.map(({ reason }) => reason),
      ['DNSConfigForming'],
    );
    assert.match(warnings.map(({ message }) => message).join('\n'), pattern);
    assert.ok(conf.searches.join(' ').length <= 2048 && conf.searches.length <= 32);
    assert.ok(conf.nameservers.length <= 3);
  });
}

test('[D108] a search path longer than any name is left out, the others stay', () => {
  const searches = ['a.example', `${'x.'.repeat(127)}y`, 'b.example'];
  const spec = { ...pod.spec, dnsConfig: { searches } } as Pod['spec'];
  const { conf } = podResolvConf({ ...pod, spec }, node);
  assert.deepEqual(conf.searches.slice(-2), ['a.example', 'b.example']);
  const fits = `${'x.'.repeat(126)}y`;
  const longest = { ...pod.spec, dnsConfig: { searches: [fits] } } as Pod['spec'];
  assert.equal(podResolvConf({ ...pod, spec: longest }, node).conf.searches.at(-1), fits);
});

for (const [title, spec, warned] of [
  ['ClusterFirst', {}, true],
  ['ClusterFirstWithHostNet', { dnsPolicy: 'ClusterFirstWithHostNet', hostNetwork: true }, true],
  ['ClusterFirst on hostNetwork', { hostNetwork: true }, false],
  ['Default', { dnsPolicy: 'Default' }, false],
] as const) {
  test(`[D106] a node that knows no cluster DNS: ${title} gets the node's`, () => {
    const asked = { ...pod, spec: { ...pod.spec, ...spec } } as Pod;
    const { conf, warnings } = podResolvConf(asked, { ...node, clusterDns: [] });
    assert.equal(formatResolvConf(conf), hostFile);
    assert.deepEqual(
      warnings.map(({ reason }) => reason),
      warned ? ['MissingClusterDNS'] : [],
    );
    if (warned) assert.match(warnings[0]!.message, /Falling back to "Default" policy/);
  });
}

test('[D107] a node without resolvers: loopback and the root', () => {
  const empty = { ...node, host: parseResolvConf('') };
  const asked = { ...pod, spec: { ...pod.spec, dnsPolicy: 'Default' } } as Pod;
  const { conf } = podResolvConf(asked, empty);
  assert.equal(formatResolvConf(conf), 'search .\nnameserver 127.0.0.1\n');
  const cluster = podResolvConf(pod, empty).conf;
  assert.deepEqual(cluster.nameservers, ['10.96.0.10']);
  assert.ok(!cluster.searches.includes('.'));
});

const withSpec = (spec: Partial<Pod['spec']>, name = 'web-0'): Pod => ({
  metadata: { ...pod.metadata, name },
  spec: { ...pod.spec, ...spec },
});
const managed =
  '# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n' +
  'fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n';

for (const [title, spec, ips, expected] of [
  ['plain', {}, ['10.244.0.5'], `${managed}10.244.0.5\tweb-0\n`],
  ['both families', {}, ['10.244.0.5', 'fd00::5'], `${managed}10.244.0.5\tweb-0\nfd00::5\tweb-0\n`],
  [
    'hostname and subdomain',
    { hostname: 'db', subdomain: 'nodes' },
    ['10.244.0.5'],
    `${managed}10.244.0.5\tdb.nodes.shop.svc.cluster.local\tdb\n`,
  ],
  [
    'aliases',
    { hostAliases: [{ ip: '192.0.2.1', hostnames: ['foo.local', 'bar.local'] }] },
    ['10.244.0.5'],
    `${managed}10.244.0.5\tweb-0\n\n# Entries added by HostAliases.\n192.0.2.1\tfoo.local\tbar.local\n`,
  ],
] as const) {
  test(`[K12] [D110] hosts: ${title}`, () => {
    const asked = withSpec(spec as Partial<Pod['spec']>);
    assert.equal(podHostsFile(asked, ips, podNames(asked, 'cluster.local')), expected);
  });
}

for (const [title, asked, expected] of [
  ['the pod name', withSpec({}), 'web-0'],
  ['spec.hostname', withSpec({ hostname: 'db' }), 'db'],
  ['63 characters, no dash at the end', withSpec({}, `${'a'.repeat(62)}-b`), 'a'.repeat(62)],
  [
    'the FQDN',
    withSpec({ subdomain: 's', setHostnameAsFQDN: true }),
    'web-0.s.shop.svc.cluster.local',
  ],
  ['no subdomain, no FQDN', withSpec({ setHostnameAsFQDN: true }), 'web-0'],
] as const) {
  test(`[K12] [D110] host name: ${title}`, () => {
    assert.equal(kernelHostname(asked, podNames(asked, 'cluster.local')), expected);
  });
}

test('[K12] [D110] an FQDN that the kernel cannot hold is refused', () => {
  const asked = withSpec({ subdomain: 's'.repeat(40), setHostnameAsFQDN: true });
  assert.throws(() => kernelHostname(asked, podNames(asked, 'cluster.local')), /64/);
});
