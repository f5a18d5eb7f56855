/** The Corefiles that clusters come with, as their projects ship them. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { parseAllDocuments } from 'yaml';

import { formatName } from '../wire/name.ts';
import { parseCorefile } from './corefile.ts';
import { formatConfiguration } from './print.ts';
import type { Configuration } from './types.ts';

const dir = mkdtempSync('/tmp/corefiles-');
after(() => rmSync(dir, { recursive: true }));

/** The text with the files it names in a folder of this test. */
function parse(text: string): Configuration {
  writeFileSync(join(dir, 'resolv.conf'), 'nameserver 192.0.2.53\n');
  mkdirSync(join(dir, 'custom'), { recursive: true });
  const here = text
    .replaceAll('/etc/resolv.conf', join(dir, 'resolv.conf'))
    .replaceAll('/etc/coredns/', `${dir}/`);
  return parseCorefile(here, join(dir, 'Corefile'), { env: {}, warn: () => undefined });
}

const kubernetes = `kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa`;

/** kubeadm ≥ 1.33, before that, k3s, the EKS add-on, OpenShift's operator. */
const single: [name: string, text: string, want: Record<string, unknown>][] = [
  [
    'kubeadm',
    `.:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    ${kubernetes}
       ttl 30
    }
    prometheus :9153
    forward . /etc/resolv.conf {
       max_concurrent 1000
    }
    cache 30 {
       disable success cluster.local
       disable denial cluster.local
    }
    loop
    reload
    loadbalance
}`,
    { port: 53, ttl: 30, lameDuck: 5000, concurrent: 1000, cacheMax: [30, 30], reload: 30_000 },
  ],
  [
    'an older kubeadm',
    `.:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    ${kubernetes}
       ttl 30
    }
    prometheus :9153
    forward . /etc/resolv.conf {
       max_concurrent 1000
    }
    cache 30
    loop
    reload
    loadbalance
}`,
    { port: 53, ttl: 30, lameDuck: 5000, concurrent: 1000, cacheMax: [30, 30], reload: 30_000 },
  ],
  [
    'k3s',
    `.:53 {
        errors
        health
        ready
        ${kubernetes}
        }
        hosts /etc/coredns/NodeHosts {
          ttl 60
          reload 15s
          fallthrough
        }
        prometheus :9153
        cache 30
        loop
        reload
        loadbalance
        import /etc/coredns/custom/*.override
        forward . /etc/resolv.conf
    }
    import /etc/coredns/custom/*.server
`,
    { port: 53, ttl: 5, lameDuck: 0, concurrent: 1000, cacheMax: [30, 30], reload: 30_000 },
  ],
  [
    'EKS',
    `.:53 {
    errors
    health {
        lameduck 5s
      }
    ready
    ${kubernetes}
    }
    prometheus :9153
    forward . /etc/resolv.conf
    cache 30
    loop
    reload
    loadbalance
}`,
    { port: 53, ttl: 5, lameDuck: 5000, concurrent: 1000, cacheMax: [30, 30], reload: 30_000 },
  ],
  [
    'OpenShift',
    `.:5353 {
    bufsize 1232
    errors
    log . {
        class error
    }
    health {
        lameduck 20s
    }
    ready
    ${kubernetes}
    }
    prometheus 127.0.0.1:9153
    forward . /etc/resolv.conf {
        policy sequential
    }
    cache 900 {
        denial 9984 30
    }
    reload
}
hostname.bind:5353 {
    chaos
}`,
    { port: 5353, ttl: 5, lameDuck: 20_000, concurrent: 1000, cacheMax: [900, 30], reload: 30_000 },
  ],
];

for (const [name, text, want] of single) {
  test(`the Corefile of ${name}`, () => {
    const { sites, plugins } = parse(text).blocks[0]!;
    const { kubernetes: cluster, health, forward, cache, reload } = plugins;
    assert.deepEqual(cluster!.zones.map(formatName), [
      'cluster.local.',
      'in-addr.arpa.',
      'ip6.arpa.',
    ]);
    assert.deepEqual(cluster!.fallthrough.map(formatName), ['in-addr.arpa.', 'ip6.arpa.']);
    assert.equal(cluster!.podRecords, 'insecure');
    assert.equal(forward![0]!.servers[0]!.host, '192.0.2.53');
    assert.deepEqual(
      {
        port: sites[0]!.port,
        ttl: cluster!.ttlSeconds,
        lameDuck: health!.lameDuckMs,
        concurrent: forward![0]!.maxConcurrent,
        cacheMax: [cache!.success.ttlSecondsMax, cache!.denial.ttlSecondsMax],
        reload: reload!.intervalMs,
      },
      want,
    );
  });
}

test('k3s: what a person adds in the ConfigMap coredns-custom', () => {
  mkdirSync(join(dir, 'custom'), { recursive: true });
  writeFileSync(join(dir, 'custom', 'log.override'), 'log\n');
  writeFileSync(join(dir, 'custom', 'lan.server'), 'lan:53 {\n  forward . 10.0.0.1\n}\n');
  const k3s = single.find(([name]) => name === 'k3s')![1];
  const { blocks } = parse(k3s);
  assert.deepEqual(
    blocks.map(({ sites, plugins }) => [formatName(sites[0]!.zone), plugins.log !== undefined]),
    [
      ['.', true],
      ['lan.', false],
    ],
  );
});

test('NodeLocal DNSCache: four blocks on two addresses', () => {
  const cluster = (zone: string) => `${zone}:53 {
        errors
        cache {
                success 9984 30
                denial 9984 5
        }
        reload
        loop
        bind 169.254.20.10 10.96.0.10
        forward . 10.96.31.7 {
                force_tcp
        }
        prometheus :9253
        ${zone === 'cluster.local' ? 'health 169.254.20.10:8080' : ''}
        }`;
  const text = `${cluster('cluster.local')}
    ${cluster('in-addr.arpa')}
    ${cluster('ip6.arpa')}
    .:53 {
        errors
        cache 30
        reload
        loop
        bind 169.254.20.10 10.96.0.10
        forward . /etc/resolv.conf
        prometheus :9253
        }`;
  const { blocks } = parse(text);
  assert.equal(blocks.length, 4);
  for (const { sites } of blocks) {
    assert.deepEqual(
      sites.map(({ host }) => host),
      ['169.254.20.10', '10.96.0.10'],
    );
  }
  const { cache, forward, health } = blocks[0]!.plugins;
  assert.deepEqual([cache!.success.ttlSecondsMax, cache!.denial.ttlSecondsMax], [30, 5]);
  assert.equal(forward![0]!.forceTcp, true);
  assert.deepEqual(health!.at, { host: '169.254.20.10', port: 8080 });
  assert.equal(blocks[3]!.plugins.forward![0]!.forceTcp, false);
});

/** What people add most, taken from the documentation of the plugins. */
const edits = `.:53 {
    kubernetes cluster.local {
      pods verified
    }
    autopath @kubernetes
    rewrite name foo.example.com foo.default.svc.cluster.local
    rewrite stop {
      name regex (.*)\\.my\\.domain\\. {1}.svc.cluster.local
      answer name (.*)\\.svc\\.cluster\\.local\\. {1}.my.domain
    }
    hosts {
      192.0.2.1 one.example
      fallthrough
    }
    template IN AAAA {
      rcode NOERROR
    }
    log example.org "{combined}" {
      class denial error
    }
    forward acme.local 10.0.0.1 10.0.0.2:5353 {
      policy sequential
      prefer_udp
      expire 20s
      max_fails 3
      health_check 1s domain example.org
      except www.acme.local
    }
    forward . tls://9.9.9.9 tls://149.112.112.112 {
      tls_servername dns.quad9.net
      health_check 5s
    }
    cache {
      success 5000 3600
      denial 2500 60
      prefetch 10 1m 15%
      serve_stale 1h immediate
      servfail 1s
    }
    acl {
      allow net 10.0.0.0/8 192.168.0.0/16
      block
    }
    bufsize 1232
    multisocket 2
}`;

test('what people add most is understood', () => {
  const { plugins } = parse(edits).blocks[0]!;
  const names =
    'acl autopath bufsize cache forward hosts kubernetes log multisocket rewrite template';
  assert.deepEqual(Object.keys(plugins).toSorted(), names.split(' '));
  assert.deepEqual(
    plugins.forward!.map(({ servers }) => servers.map(({ scheme, port }) => `${scheme} ${port}`)),
    [
      ['dns 53', 'dns 5353'],
      ['tls 853', 'tls 853'],
    ],
  );
});

test('the effective configuration names every setting in words', () => {
  const text = formatConfiguration(parse(edits));
  for (const line of [
    '. on dns://',
    'servers: 10.0.0.1:53 10.0.0.2:5353',
    'servers: tls://9.9.9.9:853 tls://149.112.112.112:853',
    'sources: 10.0.0.0/8 192.168.0.0/16',
    'classes: denial error',
    'pattern: /(.*)\\.my\\.domain\\./',
    'zones: cluster.local.',
  ]) {
    assert.ok(text.includes(line), `${line} in\n${text}`);
  }
  assert.doesNotMatch(text, /\[object|\0|undefined/);
});

test('the example for a real cluster is the Corefile beside it, under the names people look for', () => {
  const corefile = readFileSync('examples/dns/Corefile', 'utf8');
  const objects = parseAllDocuments(readFileSync('examples/dns/deployment.yaml', 'utf8')).map(
    (document) => document.toJS() as { kind: string; metadata: { name: string } },
  );
  assert.deepEqual(
    objects.map(({ kind, metadata }) => `${kind} ${metadata.name}`),
    [
      'ServiceAccount coredns',
      'ClusterRole system:coredns',
      'ClusterRoleBinding system:coredns',
      'ConfigMap coredns',
      'Deployment coredns',
      'Service kube-dns',
    ],
  );
  const map = objects[3] as unknown as { data: { Corefile: string } };
  assert.equal(map.data.Corefile, corefile);
  assert.equal(parse(corefile).blocks[0]!.plugins.kubernetes!.ttlSeconds, 30);
});
