/** Taking pods over, when somebody else changes them at the same time. On the real API. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { OwnerReference } from '../api/meta.ts';
import { resources } from '../api/resources.ts';
import { isReason } from '../api/status.ts';
import type { Pod, ReplicaSet } from '../api/types.ts';
import { startApiServer } from '../apiserver/server.ts';
import { Informers } from '../client/informer.ts';
import { createMemoryStore } from '../store/store.ts';
import type { Context } from './context.ts';
import { claim } from './pod-control.ts';

const namespace = 'default';

test('[K36] adopting a pod does not undo what others made of its owners meanwhile', async () => {
  const server = await startApiServer({
    store: createMemoryStore(),
    serviceCidrs: ['10.96.0.0/16'],
  });
  const { client } = server;
  const context = { client, informers: new Informers({ client }) } as unknown as Context;
  const pod = await client.create<Pod>(resources.pods, {
    metadata: { name: 'orphan', namespace, labels: { app: 'a' } },
    spec: { containers: [{ name: 'c', image: 'host' }] },
  });
  const note: OwnerReference = { apiVersion: 'v1', kind: 'ConfigMap', name: 'note', uid: 'u-1' };
  await client.update(resources.pods, {
    ...pod,
    metadata: { ...pod.metadata, ownerReferences: [note] },
  });
  const set = { metadata: { name: 'set', namespace, uid: 'u-2' } } as ReplicaSet;
  const stale = claim(
    context,
    { resource: resources.replicasets, object: set },
    {
      resource: resources.pods,
      candidates: [pod],
      matches: () => true,
    },
  );
  await assert.rejects(stale, (error) => isReason(error, 'Conflict'));
  const held = await client.get<Pod>(resources.pods, { namespace, name: 'orphan' });
  assert.deepEqual(
    held.metadata.ownerReferences?.map(({ uid }) => uid),
    ['u-1'],
  );
  await server.close();
});
