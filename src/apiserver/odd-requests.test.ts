/** Requests no well-behaved client sends, and what must not happen because of them. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';

import { type KubeObject, keyOf } from '../api/meta.ts';
import { resources } from '../api/resources.ts';
import { startTestServer } from './test-server.ts';

const api = await startTestServer();
after(() => api.stop());
const { ask } = api;

const DEFAULT = '/api/v1/namespaces/default';
const TABLE = 'application/json;as=Table;v=v1;g=meta.k8s.io';
const metadata = (name: string) => ({ name, namespace: 'default' });
const create = async (path: string, body: object) => {
  const answer = await ask(`POST ${path}`, { body });
  assert.equal(answer.code, 201, answer.text);
};

test('[A27] an event that cannot be shown ends that watch, not the server', async () => {
  const watch = await api.watch(`${DEFAULT}/pods?watch=1`, { accept: TABLE });
  const other = await api.watch(`${DEFAULT}/pods?watch=1`);
  // No request can store a pod without a spec; a faulty older version could have.
  const broken: KubeObject = { kind: 'Pod', apiVersion: 'v1', metadata: metadata('broken') };
  await api.store.write(resources.pods, keyOf(broken), () => ({ kind: 'put', object: broken }));
  assert.equal((await other.next())?.object.metadata.name, 'broken');
  await assert.rejects(watch.next());
  other.close();
  await api.store.write(resources.pods, keyOf(broken), () => ({ kind: 'delete' }));
  assert.equal((await ask('GET /version')).code, 200);
});

test('[A119] an event about nothing has a row', async () => {
  const event = { apiVersion: 'v1', kind: 'Event', metadata: { name: 'about-nothing' } };
  await create(`${DEFAULT}/events`, event);
  const { code, body } = await ask(`GET ${DEFAULT}/events/about-nothing`, { accept: TABLE });
  assert.equal(code, 200);
  assert.equal(body.rows[0].cells[3], '/');
});
