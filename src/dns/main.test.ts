import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { resources } from '../api/resources.ts';
import { startApiServer } from '../apiserver/server.ts';
import { createMemoryStore } from '../store/store.ts';
import { parseFlags } from './flags.ts';
import { dnsManifests } from './manifests.ts';

/** What the flags say in place of a Corefile. */
function optionsOf(args: readonly string[]) {
  const flags = parseFlags(args);
  assert.ok('options' in flags);
  return flags.options;
}

test('flags left out', () => {
  const { host, ...flags } = optionsOf([]);
  assert.ok(host === '::' || host === '0.0.0.0');
  assert.deepEqual(flags, {
    domain: 'cluster.local',
    port: 53,
    upstreams: undefined,
    stubDomains: [],
    ttlSeconds: 30,
    podRecords: 'insecure',
    lameDuckMs: 5000,
    kubeconfig: undefined,
    strictCoredns: false,
    pages: [8080, 8181, 9153],
  });
});

const bad: [args: string[], text: RegExp][] = [
  [['--nonsense'], /Unknown option '--nonsense'/],
  [['--port', 'x'], /--port is "x"/],
  [['--port', '65536'], /--port is "65536"/],
  [['--ttl', '-1'], /--ttl/],
  [['--ttl=3601'], /--ttl is "3601"/],
  [['--pods', 'maybe'], /--pods is "maybe", it must be disabled, insecure or verified/],
  [['extra'], /extra/],
  [['--workers', '65'], /--workers is "65"/],
  [['--config', 'x', '--ttl', '5'], /--ttl and --config exclude each other/],
];

for (const [args, text] of bad) {
  test(`flags ${args.join(' ')} are refused`, () => assert.throws(() => parseFlags(args), text));
}

for (const [name, clusterIPs] of [
  ['IPv4', ['10.96.0.10']],
  ['IPv6', ['fd00:10:96::a']],
  ['dual stack', ['10.96.0.10', 'fd00:10:96::a']],
] as const) {
  test(`[D111] the API takes the ${name} manifests as they are`, async () => {
    const store = createMemoryStore();
    const serviceCidrs = clusterIPs.map((ip) =>
      ip.includes(':') ? 'fd00:10:96::/112' : '10.96.0.0/16',
    );
    const { client } = await startApiServer({ store, serviceCidrs });
    const objects = dnsManifests({ domain: 'cluster.local', clusterIPs });
    assert.deepEqual(
      objects.map(({ kind }) => kind),
      ['ServiceAccount', 'Service', 'Deployment'],
    );
    const kinds = [resources.serviceaccounts, resources.services, resources.deployments];
    for (const [index, object] of objects.entries()) await client.create(kinds[index]!, object);
    const key = { namespace: 'kube-system', name: 'kube-dns' };
    const service = await client.get(resources.services, key);
    assert.equal(service.metadata.labels?.['k8s-app'], 'kube-dns');
    const { spec } = service as unknown as {
      spec: { clusterIPs: string[]; ports: { name: string; port: number }[] };
    };
    assert.deepEqual(spec.clusterIPs, [...clusterIPs]);
    assert.deepEqual(
      spec.ports.map((port) => `${port.name} ${port.port}`),
      ['dns 53', 'dns-tcp 53', 'metrics 9153'],
    );
  });
}

test('the arguments of the manifests are flags that the program knows', () => {
  const options = { domain: 'c.test', clusterIPs: ['10.96.0.10'] };
  const argsOf = (upstreams?: string[]) => {
    const [, , deployment] = dnsManifests({ ...options, ...(upstreams && { upstreams }) });
    const { spec } = deployment as unknown as {
      spec: { template: { spec: { containers: { args: string[] }[] } } };
    };
    return optionsOf(spec.template.spec.containers[0]!.args);
  };
  assert.equal(argsOf().domain, 'c.test');
  assert.equal(argsOf().upstreams, undefined);
  assert.deepEqual(argsOf(['192.0.2.1']).upstreams, ['192.0.2.1']);
  assert.deepEqual(argsOf([]).upstreams, []);
});

test('stub domains, and the two keys of the ConfigMap kube-dns', () => {
  const dir = mkdtempSync('/tmp/kube-dns-');
  writeFileSync(join(dir, 'stubDomains'), '{"acme.local": ["1.2.3.4", "1.2.3.5:5353"]}');
  writeFileSync(join(dir, 'upstreamNameservers'), '["8.8.8.8", "8.8.4.4"]');
  const flags = optionsOf(['--config-dir', dir, '--stub-domain', 'lan=10.0.0.1']);
  assert.deepEqual(flags.upstreams, ['8.8.8.8', '8.8.4.4']);
  assert.deepEqual(flags.stubDomains, [
    { domain: 'acme.local', servers: ['1.2.3.4', '1.2.3.5:5353'] },
    { domain: 'lan', servers: ['10.0.0.1'] },
  ]);
  assert.deepEqual(optionsOf(['--config-dir', dir, '--upstream', '192.0.2.1']).upstreams, [
    '192.0.2.1',
  ]);
  for (const text of ['{"acme.local": "1.2.3.4"}', 'nonsense', '3']) {
    writeFileSync(join(dir, 'stubDomains'), text);
    assert.throws(() => parseFlags(['--config-dir', dir]), /--config-dir is/);
  }
  assert.throws(() => parseFlags(['--stub-domain', 'lan']), /--stub-domain is "lan"/);
  rmSync(dir, { recursive: true });
});
