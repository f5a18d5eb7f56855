/**
 * Every kubectl of the machine against our discovery, OpenAPI and body decoding, over a server made
 * for this test alone: what kubectl accepts is what it accepts of the product's documents.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { decodeBody } from '../../src/api/decode.ts';
import { applyDefaults } from '../../src/api/defaults.ts';
import {
  aggregatedDiscovery,
  apiGroupList,
  apiResourceList,
  apiVersions,
} from '../../src/api/discovery.ts';
import { conform, parseFieldValidation } from '../../src/api/fields.ts';
import type { KubeObject } from '../../src/api/meta.ts';
import {
  openApiV2Protobuf,
  openApiV3,
  openApiV3Index,
  type Document,
} from '../../src/api/openapi/index.ts';
import { applyPatch, patchKindOf } from '../../src/api/patch/index.ts';
import { resources } from '../../src/api/resources.ts';
import { ApiError, failure } from '../../src/api/status.ts';
import { invalid, validateCreate } from '../../src/api/validation/index.ts';
import { messageOf } from '../../src/lib/errors.ts';
import { kubectlBinaries } from './harness.ts';

const objects = new Map<string, KubeObject>();
const bodies: { method: string; type: string }[] = [];
const home = mkdtempSync(join(tmpdir(), 'fairlead-openapi-'));
let url = '';

const server = createServer((request, response) => void answer(request, response));

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  try {
    const found = route(request, Buffer.concat(chunks));
    if (found instanceof Uint8Array) response.end(found);
    else {
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify(found));
    }
  } catch (error) {
    const { status } =
      error instanceof ApiError ? error : failure(500, 'InternalError', messageOf(error));
    response.writeHead(status.code ?? 500, { 'content-type': 'application/json' });
    response.end(JSON.stringify(status));
  }
}

function route(request: IncomingMessage, body: Buffer): unknown {
  const { pathname, searchParams } = new URL(request.url ?? '/', url);
  const document = documentAt(pathname);
  if (document !== undefined) return document;
  const parts = pathname.split('/').filter((part) => part !== '');
  const [group, version] = parts[0] === 'api' ? ['', parts[1]] : [parts[1], parts[2]];
  const rest = parts.slice(parts[0] === 'api' ? 2 : 3);
  if (rest.length === 0) return apiResourceList(group ?? '', version ?? '');
  const [plural, name] = rest[0] === 'namespaces' && rest.length > 2 ? rest.slice(2) : rest;
  const resource = Object.values(resources).find((each) => each.resource === plural);
  if (resource === undefined) throw failure(404, 'NotFound', `no ${pathname}`);
  return serveObject(request, { resource, name, body, pathname, query: searchParams });
}

function documentAt(path: string): object | undefined {
  if (path === '/api') return apiVersions('127.0.0.1');
  if (path === '/apis') return apiGroupList();
  if (path === '/openapi/v2') return bytesOf(openApiV2Protobuf());
  if (path === '/openapi/v3') return bytesOf(openApiV3Index());
  if (path.startsWith('/openapi/v3/')) return bytesOf(openApiV3(path.slice('/openapi/v3/'.length)));
  return undefined;
}

function bytesOf(document: Document | undefined): Uint8Array {
  if (document === undefined) throw failure(404, 'NotFound', 'no such document');
  return document.bytes;
}

type Target = {
  resource: (typeof resources)[keyof typeof resources];
  name: string | undefined;
  body: Buffer;
  pathname: string;
  query: URLSearchParams;
};

function serveObject(request: IncomingMessage, target: Target): unknown {
  const { resource, name, body, pathname, query } = target;
  const mode = parseFieldValidation(query.get('fieldValidation') ?? undefined);
  if (request.method === 'GET') {
    const found = objects.get(pathname);
    if (found !== undefined) return found;
    throw failure(404, 'NotFound', `${resource.resource} "${name}" not found`);
  }
  bodies.push({ method: request.method ?? '', type: request.headers['content-type'] ?? '' });
  if (request.method === 'PATCH') {
    const kind = patchKindOf(request.headers['content-type']);
    assert.ok(kind);
    const old = objects.get(pathname);
    assert.ok(old);
    const patched = applyPatch(resource, kind, old, JSON.parse(body.toString()));
    if (query.get('dryRun') === null) objects.set(pathname, patched);
    return patched;
  }
  const { object } = conform(decodeBody(request.headers['content-type'], body), mode);
  object.metadata.namespace = 'default';
  applyDefaults(resource, object);
  const errors = validateCreate(resource, object);
  if (errors.length > 0) throw invalid(resource, object.metadata.name, errors);
  object.metadata.uid = 'a1b2';
  if (query.get('dryRun') === null) objects.set(`${pathname}/${object.metadata.name}`, object);
  return object;
}

type Ran = { code: number; out: string };

function kubectl(path: string, ...args: string[]): Promise<Ran> {
  const env = { ...process.env, HOME: home, KUBECONFIG: join(home, 'config') };
  return new Promise((resolve) => {
    execFile(path, ['--server', url, ...args], { env }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code ?? 1), out: stdout + stderr }),
    );
  });
}

function manifest(name: string, text: string): string {
  const file = join(home, name);
  writeFileSync(file, text);
  return file;
}

const web = (port: number, extra = '') => `apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec:
  selector: {app: web}
${extra}  ports:
  - {name: http, port: ${port}, targetPort: 8080}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: default}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: fairlead/echo:${port}
        readinessProbe: {httpGet: {path: /, port: 8080}}
        resources: {requests: {cpu: 0.1, memory: 1Gi}}
`;

before(async () => {
  manifest('config', 'apiVersion: v1\nkind: Config\n');
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});

after(() => {
  server.closeAllConnections();
  server.close();
  rmSync(home, { recursive: true, force: true });
});

for (const { version, path } of kubectlBinaries()) {
  test(`[A15] [A18] kubectl ${version} validates and applies without --validate=false`, async () => {
    objects.clear();
    const created = await kubectl(path, 'apply', '-f', manifest('a.yaml', web(80)));
    assert.deepEqual(
      [created.code, created.out],
      [0, 'service/web created\ndeployment.apps/web created\n'],
    );
    const changed = await kubectl(path, 'apply', '-f', manifest('b.yaml', web(81)));
    assert.equal(changed.out, 'service/web configured\ndeployment.apps/web configured\n');
    const service = objects.get('/api/v1/namespaces/default/services/web') as unknown as {
      spec: { ports: { port: number }[] };
    };
    assert.deepEqual(
      service.spec.ports.map(({ port }) => port),
      [81],
    );
    assert.match(bodies.at(-1)?.type ?? '', /strategic-merge-patch/);
    const diff = await kubectl(path, 'diff', '-f', manifest('c.yaml', web(82)));
    assert.match(diff.out, /\+ +port: 82/, 'diff shows what the server answers to a dry run');
  });

  test(`[A46] kubectl ${version} refuses an unknown field`, async () => {
    objects.clear();
    const refused = await kubectl(
      path,
      'create',
      '-f',
      manifest('d.yaml', web(80, '  colour: 1\n')),
    );
    assert.notEqual(refused.code, 0);
    assert.match(
      refused.out,
      /unknown field "(io\.k8s\.api\.core\.v1\.ServiceSpec\.|spec\.)?colour"/,
    );
  });

  test(`[A20] kubectl ${version} explains a field`, async () => {
    const { code, out } = await kubectl(path, 'explain', 'service.spec.ports.targetPort');
    assert.equal(code, 0, out);
    assert.match(out, /KIND: +Service/);
    assert.match(out, /the name of a container port/);
    const recursive = await kubectl(path, 'explain', '--recursive', 'deploy.spec.template.spec');
    assert.match(recursive.out, /readinessProbe/);
  });

  test(`[A21] [A22] kubectl ${version} creates through its typed client`, async () => {
    objects.clear();
    const made = await kubectl(
      path,
      'create',
      'deployment',
      'api',
      '--image=fairlead/echo',
      '--port=80',
    );
    assert.equal(made.out, 'deployment.apps/api created\n');
    const stored = objects.get('/apis/apps/v1/namespaces/default/deployments/api');
    assert.deepEqual(stored, typedDeployment);
  });
}

/** As kubectl 1.31, which still sends JSON, has it stored: protobuf must make the same object. */
const typedDeployment = {
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'api', namespace: 'default', labels: { app: 'api' }, uid: 'a1b2' },
  spec: {
    replicas: 1,
    selector: { matchLabels: { app: 'api' } },
    strategy: { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: '25%', maxSurge: '25%' } },
    revisionHistoryLimit: 10,
    progressDeadlineSeconds: 600,
    template: {
      metadata: { labels: { app: 'api' } },
      spec: {
        containers: [
          {
            name: 'echo',
            image: 'fairlead/echo',
            imagePullPolicy: 'Always',
            ports: [{ containerPort: 80, protocol: 'TCP' }],
            resources: {},
            terminationMessagePath: '/dev/termination-log',
            terminationMessagePolicy: 'File',
          },
        ],
        dnsPolicy: 'ClusterFirst',
        restartPolicy: 'Always',
        schedulerName: 'default-scheduler',
        securityContext: {},
        terminationGracePeriodSeconds: 30,
      },
    },
  },
  status: {},
};

test('[A5] aggregated discovery lists what plain discovery lists', () => {
  const { items } = aggregatedDiscovery('apis', 'v2') as {
    items: { metadata: { name: string }; versions: { version: string; resources: object[] }[] }[];
  };
  for (const { metadata, versions } of items) {
    for (const { version, resources } of versions) {
      const plain = apiResourceList(metadata.name, version) as { resources: { name: string }[] };
      const top = plain.resources.filter(({ name }) => !name.includes('/'));
      assert.equal(resources.length, top.length);
    }
  }
});
