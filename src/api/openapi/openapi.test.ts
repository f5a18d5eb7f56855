/** The documents hold together; what kubectl makes of them is tested in test/e2e. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { apiVersionOf, resources } from '../resources.ts';
import { openApiV2Json, openApiV2Protobuf, openApiV3, openApiV3Index } from './index.ts';

type Node = { [name: string]: Node } & { $ref?: string };
type Operation = {
  operationId: string;
  parameters: { name: string; in: string }[];
  requestBody?: { content: Record<string, unknown> };
  'x-kubernetes-action': string;
  'x-kubernetes-group-version-kind': { group: string; version: string; kind: string };
};
type Paths = Record<string, Record<string, Operation>>;

function parse(document: { bytes: Uint8Array } | undefined): unknown {
  assert.ok(document);
  return JSON.parse(new TextDecoder().decode(document.bytes));
}

function refsOf(node: unknown, found: Set<string> = new Set()): Set<string> {
  if (typeof node !== 'object' || node === null) return found;
  for (const [name, value] of Object.entries(node)) {
    if (name === '$ref' && typeof value === 'string') found.add(value.split('/').at(-1) ?? '');
    else refsOf(value, found);
  }
  return found;
}

const { paths: index } = parse(openApiV3Index()) as {
  paths: Record<string, { serverRelativeURL: string }>;
};
const versions = [...new Set(Object.values(resources).map(apiVersionOf))];

for (const version of versions) {
  const path = version.includes('/') ? `apis/${version}` : `api/${version}`;

  test(`[A17] the index lists ${path} under a hash of its content`, () => {
    const hash = openApiV3(path)?.etag.replaceAll('"', '');
    assert.equal(index[path]?.serverRelativeURL, `/openapi/v3/${path}?hash=${hash}`);
  });

  test(`[A18] every reference of ${path} resolves`, () => {
    const document = parse(openApiV3(path)) as { components: { schemas: Node } };
    for (const name of refsOf(document)) assert.ok(name in document.components.schemas, name);
  });

  test(`[A18] every PATCH of ${path} takes fieldValidation, dryRun and three kinds of patch`, () => {
    const { paths } = parse(openApiV3(path)) as { paths: Paths };
    const patches = Object.values(paths).flatMap(({ patch }) =>
      patch === undefined ? [] : [patch],
    );
    assert.ok(patches.length > 0);
    for (const { parameters, requestBody } of patches) {
      const names = parameters.map(({ name }) => name);
      assert.ok(names.includes('fieldValidation') && names.includes('dryRun'));
      assert.equal(Object.keys(requestBody?.content ?? {}).length, 3);
    }
  });
}

test('[A17] an unknown group version has no document', () => {
  assert.equal(openApiV3('apis/nope/v1'), undefined);
});

test('[A14] the Swagger document', () => {
  const document = parse(openApiV2Json()) as { paths: Paths; definitions: Node };
  for (const name of refsOf(document)) assert.ok(name in document.definitions, name);
  const ids = Object.values(document.paths).flatMap((item) =>
    Object.values(item).map(({ operationId }) => operationId),
  );
  assert.equal(new Set(ids).size, ids.length, 'operation ids are unique');
  const containers = document.definitions['io.k8s.api.core.v1.PodSpec']?.properties?.containers;
  assert.deepEqual(
    { ...containers, description: '' },
    {
      type: 'array',
      description: '',
      items: { $ref: '#/definitions/io.k8s.api.core.v1.Container' },
      'x-kubernetes-patch-strategy': 'merge',
      'x-kubernetes-patch-merge-key': 'name',
      'x-kubernetes-list-type': 'map',
      'x-kubernetes-list-map-keys': ['name'],
    },
  );
  const patch = document.paths['/apis/apps/v1/namespaces/{namespace}/deployments/{name}']?.patch;
  assert.equal(patch?.['x-kubernetes-action'], 'patch');
  assert.deepEqual(patch?.['x-kubernetes-group-version-kind'], {
    group: 'apps',
    version: 'v1',
    kind: 'Deployment',
  });
});

test('[A16] documents are made once and their tags differ', () => {
  assert.equal(openApiV2Protobuf(), openApiV2Protobuf());
  assert.match(openApiV2Protobuf().etag, /^"[0-9A-F]{64}"$/);
  assert.notEqual(openApiV2Protobuf().etag, openApiV2Json().etag);
});
