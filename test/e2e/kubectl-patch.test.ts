/** Our patches against `kubectl patch --local`, which uses the code of the real API server. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import type { KubeObject } from '../../src/api/meta.ts';
import { applyPatch, type PatchKind } from '../../src/api/patch/index.ts';
import { resources } from '../../src/api/resources.ts';
import { newestKubectl } from './harness.ts';

const home = mkdtempSync(join(tmpdir(), 'fairlead-patch-'));
after(() => rmSync(home, { recursive: true, force: true }));

const pod = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: {
    name: 'p',
    labels: { a: '1', b: '2' },
    finalizers: ['x.io/a', 'x.io/b'],
  },
  spec: {
    nodeSelector: { disk: 'ssd', zone: 'a' },
    tolerations: [{ key: 'a', operator: 'Exists' }],
    containers: [
      {
        name: 'one',
        image: 'i:1',
        args: ['-a', '-b'],
        env: [
          { name: 'A', value: '1' },
          { name: 'B', value: '2' },
        ],
        ports: [{ containerPort: 80, protocol: 'TCP' }, { containerPort: 81 }],
        resources: {},
      },
      { name: 'two', image: 'i:2', resources: {} },
      { name: 'three', image: 'i:3', resources: {} },
    ],
    volumes: [
      { name: 'v', emptyDir: {} },
      { name: 'c', configMap: { name: 'm' } },
    ],
  },
};

const deployment = {
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'd', annotations: { note: 'x' } },
  spec: {
    replicas: 1,
    selector: { matchLabels: { app: 'd' } },
    strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } },
    template: {
      metadata: { labels: { app: 'd' } },
      spec: { containers: [pod.spec.containers[0]] },
    },
  },
};

const service = {
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name: 's' },
  spec: {
    selector: { app: 's' },
    ports: [
      { name: 'http', port: 80, targetPort: 8080 },
      { name: 'https', port: 443, targetPort: 8443 },
    ],
  },
};

const containers = (...items: object[]) => ({ spec: { containers: items } });

type Row = {
  name: string;
  object: typeof pod | typeof deployment | typeof service;
  patch: unknown;
};

const strategic: Row[] = [
  {
    name: 'adds and removes labels',
    object: pod,
    patch: { metadata: { labels: { c: '3', a: null } } },
  },
  {
    name: 'merges a container by name',
    object: pod,
    patch: containers({ name: 'two', image: 'n' }),
  },
  { name: 'adds a container', object: pod, patch: containers({ name: 'four', image: 'n' }) },
  {
    name: 'deletes a container',
    object: pod,
    patch: containers({ name: 'one', $patch: 'delete' }),
  },
  {
    name: 'replaces all containers',
    object: pod,
    patch: containers({ $patch: 'replace' }, { name: 'only', image: 'n' }),
  },
  {
    name: 'replaces an atomic list',
    object: pod,
    patch: { spec: { tolerations: [{ key: 'b', operator: 'Exists' }] } },
  },
  {
    name: 'replaces a list of scalars',
    object: pod,
    patch: containers({ name: 'one', args: ['-c'] }),
  },
  {
    name: 'merges a list of scalars',
    object: pod,
    patch: { metadata: { finalizers: ['x.io/c'] } },
  },
  {
    name: 'deletes from a list of scalars',
    object: pod,
    patch: { metadata: { '$deleteFromPrimitiveList/finalizers': ['x.io/a'] } },
  },
  {
    name: 'orders containers',
    object: pod,
    patch: {
      spec: {
        '$setElementOrder/containers': [{ name: 'three' }, { name: 'one' }, { name: 'two' }],
      },
    },
  },
  {
    name: 'orders some containers and keeps the rest in place',
    object: pod,
    patch: { spec: { '$setElementOrder/containers': [{ name: 'three' }, { name: 'one' }] } },
  },
  {
    name: 'sets an image as kubectl set image does',
    object: pod,
    patch: {
      spec: {
        '$setElementOrder/containers': [{ name: 'one' }, { name: 'two' }, { name: 'three' }],
        containers: [{ name: 'three', image: 'new' }],
      },
    },
  },
  {
    name: 'merges variables and deletes one',
    object: pod,
    patch: containers({
      name: 'one',
      env: [
        { name: 'A', $patch: 'delete' },
        { name: 'B', value: '3' },
        { name: 'C', value: '4' },
      ],
    }),
  },
  {
    name: 'changes a volume source with retainKeys',
    object: pod,
    patch: {
      spec: {
        volumes: [{ name: 'v', $retainKeys: ['name', 'hostPath'], hostPath: { path: '/x' } }],
      },
    },
  },
  {
    name: 'changes the strategy with retainKeys',
    object: deployment,
    patch: { spec: { strategy: { $retainKeys: ['type'], type: 'Recreate' } } },
  },
  {
    name: 'removes with null',
    object: deployment,
    patch: { spec: { strategy: { type: 'Recreate', rollingUpdate: null } } },
  },
  {
    name: 'replaces a map',
    object: pod,
    patch: { spec: { nodeSelector: { $patch: 'replace', arch: 'x' } } },
  },
  { name: 'merges a map', object: pod, patch: { spec: { nodeSelector: { arch: 'x' } } } },
  {
    name: 'merges a port by its number',
    object: service,
    patch: { spec: { ports: [{ port: 80, targetPort: 9090 }] } },
  },
  {
    name: 'moves a port to another number',
    object: service,
    patch: {
      spec: {
        '$setElementOrder/ports': [{ port: 81 }, { port: 443 }],
        ports: [
          { name: 'http', port: 81, targetPort: 8080 },
          { port: 80, $patch: 'delete' },
        ],
      },
    },
  },
  {
    name: 'restarts a rollout',
    object: deployment,
    patch: {
      spec: {
        template: { metadata: { annotations: { 'kubectl.kubernetes.io/restartedAt': 'now' } } },
      },
    },
  },
];

const merge: Row[] = [
  {
    name: 'merges maps and replaces lists',
    object: pod,
    patch: {
      metadata: { labels: { a: null, d: '4' } },
      spec: { containers: [{ name: 'x', image: 'y' }] },
    },
  },
  { name: 'scales', object: deployment, patch: { spec: { replicas: 3 } } },
];

const json: Row[] = [
  {
    name: 'adds, replaces, moves and tests',
    object: deployment,
    patch: [
      { op: 'test', path: '/spec/replicas', value: 1 },
      { op: 'replace', path: '/spec/replicas', value: 4 },
      { op: 'add', path: '/metadata/labels', value: { 'a.io/b': 'c' } },
      { op: 'replace', path: '/metadata/labels/a.io~1b', value: 'd' },
      { op: 'copy', from: '/metadata/labels', path: '/metadata/annotations' },
      { op: 'remove', path: '/spec/template/spec/containers/0/env/0' },
      { op: 'add', path: '/spec/template/spec/containers/0/args/-', value: '-z' },
    ],
  },
];

const kubectl = newestKubectl();

function oracle(kind: PatchKind, { object, patch }: Row): object {
  const file = join(home, 'object.json');
  writeFileSync(file, JSON.stringify(object));
  const args = ['patch', '--local', '-f', file, '--type', kind, '-p', JSON.stringify(patch)];
  const text = execFileSync(kubectl, [...args, '-o', 'json'], {
    encoding: 'utf8',
    env: { ...process.env, HOME: home },
  });
  return essential(JSON.parse(text) as KubeObject & { spec: object });
}

/** What both sides print alike: kubectl adds empty fields of Go structs. */
function essential(object: KubeObject & { spec?: object }): object {
  const copy = structuredClone(object) as unknown as { metadata: object; spec: object };
  const drop = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(drop);
    if (typeof value !== 'object' || value === null) return value;
    const entries = Object.entries(value)
      .filter(([name, inner]) => inner !== null && !(name === 'resources' || name === 'status'))
      .map(([name, inner]): [string, unknown] => [name, drop(inner)]);
    return Object.fromEntries(entries);
  };
  return drop({ metadata: copy.metadata, spec: copy.spec }) as object;
}

for (const [kind, rows] of Object.entries({ strategic, merge, json })) {
  for (const row of rows) {
    test(`[A58] [A59] [A60] [A61] ${kind} patch ${row.name}`, () => {
      const resource = Object.values(resources).find((each) => each.kind === row.object.kind);
      assert.ok(resource);
      const before = structuredClone(row.object);
      const ours = applyPatch(resource, kind as PatchKind, row.object as KubeObject, row.patch);
      assert.deepEqual(
        essential(ours as KubeObject & { spec: object }),
        oracle(kind as PatchKind, row),
      );
      assert.deepEqual(row.object, before, 'the object given is left as it was');
    });
  }
}
