import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  aggregatedDiscovery,
  apiGroup,
  apiGroupList,
  apiResourceList,
  apiVersions,
} from './discovery.ts';

type Entry = {
  name: string;
  singularName: string;
  namespaced: boolean;
  kind: string;
  group?: string;
  version?: string;
  verbs: string[];
  shortNames?: string[];
  categories?: string[];
};

function entry(group: string, version: string, name: string): Entry | undefined {
  const list = apiResourceList(group, version) as { resources: Entry[] } | undefined;
  return list?.resources.find((each) => each.name === name);
}

test('[A1] /api lists v1', () => {
  assert.deepEqual(apiVersions('10.0.0.1:6443'), {
    kind: 'APIVersions',
    versions: ['v1'],
    serverAddressByClientCIDRs: [{ clientCIDR: '0.0.0.0/0', serverAddress: '10.0.0.1:6443' }],
  });
});

test('[A2] [A3] [A9] groups', () => {
  const { groups } = apiGroupList() as { groups: { name: string }[] };
  assert.ok(groups.some(({ name }) => name === 'apps'));
  assert.ok(!groups.some(({ name }) => name === '' || name === 'metrics.k8s.io'));
  const apps = { groupVersion: 'apps/v1', version: 'v1' };
  assert.deepEqual(apiGroup('apps'), {
    kind: 'APIGroup',
    apiVersion: 'v1',
    name: 'apps',
    versions: [apps],
    preferredVersion: apps,
  });
  assert.equal(apiGroup('nope'), undefined);
  assert.equal(apiGroup(''), undefined);
  assert.equal(apiResourceList('apps', 'v9'), undefined);
});

// Subresources whose body is of another kind name it: kubectl drain and scale read this.
const foreign: [group: string, name: string, want: string][] = [
  ['apps', 'deployments/scale', 'autoscaling/v1 Scale'],
  ['apps', 'statefulsets/scale', 'autoscaling/v1 Scale'],
  ['', 'pods/eviction', 'policy/v1 Eviction'],
  ['', 'serviceaccounts/token', 'authentication.k8s.io/v1 TokenRequest'],
  ['', 'pods/binding', 'undefined/undefined Binding'],
  ['apps', 'deployments/status', 'undefined/undefined Deployment'],
];
for (const [group, name, want] of foreign) {
  test(`[A4] ${name} is a ${want}`, () => {
    const found = entry(group, 'v1', name);
    assert.equal(`${found?.group}/${found?.version} ${found?.kind}`, want);
  });
}

const shortNames: Record<string, string[]> = {
  pods: ['po'],
  services: ['svc'],
  endpoints: ['ep'],
  nodes: ['no'],
  namespaces: ['ns'],
  configmaps: ['cm'],
  serviceaccounts: ['sa'],
  events: ['ev'],
};
for (const [name, want] of Object.entries(shortNames)) {
  test(`[A8] ${name} is ${want.join(', ')}`, () => {
    assert.deepEqual(entry('', 'v1', name)?.shortNames, want);
  });
}

test('[A7] the category all', () => {
  const all = ['', 'apps']
    .flatMap((group) => (apiResourceList(group, 'v1') as { resources: Entry[] }).resources)
    .filter(({ categories }) => categories?.includes('all'))
    .map(({ name }) => name);
  assert.deepEqual(all, ['pods', 'services', 'deployments', 'replicasets', 'statefulsets']);
});

test('[A138] reviews are only created', () => {
  const found = entry('authorization.k8s.io', 'v1', 'selfsubjectaccessreviews');
  assert.deepEqual(found?.verbs, ['create']);
});

for (const version of ['v2', 'v2beta1'] as const) {
  test(`[A5] [A6] aggregated discovery ${version} says what plain discovery says`, () => {
    const core = aggregatedDiscovery('api', version) as Aggregated;
    const rest = aggregatedDiscovery('apis', version) as Aggregated;
    assert.equal(core.apiVersion, `apidiscovery.k8s.io/${version}`);
    for (const { metadata, versions } of [...core.items, ...rest.items]) {
      for (const { version, freshness, resources } of versions) {
        assert.equal(freshness, 'Current');
        for (const each of resources) {
          const plain = entry(metadata.name ?? '', version, each.resource);
          assert.equal(plain?.kind, each.responseKind.kind);
          assert.equal(plain?.namespaced, each.scope === 'Namespaced');
          assert.deepEqual(plain?.verbs, each.verbs);
          for (const { subresource } of each.subresources ?? []) {
            assert.ok(entry(metadata.name ?? '', version, `${each.resource}/${subresource}`));
          }
        }
      }
    }
  });
}

type Aggregated = {
  apiVersion: string;
  items: {
    metadata: { name?: string };
    versions: {
      version: string;
      freshness: string;
      resources: {
        resource: string;
        responseKind: { kind: string };
        scope: string;
        verbs: string[];
        subresources?: { subresource: string }[];
      }[];
    }[];
  }[];
};
