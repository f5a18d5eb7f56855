/** The history of a pod template as ControllerRevisions: what `kubectl rollout undo` goes back to. */
import { isDeepStrictEqual } from 'node:util';
import { keyOf } from '../api/meta.ts';
import { resources } from '../api/resources.ts';
import { isReason } from '../api/status.ts';
import type { ControllerRevision, PodTemplateSpec, StatefulSet } from '../api/types.ts';
import { create, mergePatch, remove, type Context } from './context.ts';
import { controllerReference } from './pod-control.ts';
import { templateHash } from './template-hash.ts';

export const revisionLabel = 'controller-revision-hash';
const hashLabel = 'controller.kubernetes.io/hash';

/** Stored as the patch that brings the template back whole. */
type RevisionData = { spec: { template: PodTemplateSpec & { $patch: 'replace' } } };

export function templateOf(revision: ControllerRevision): PodTemplateSpec {
  const { $patch: _, ...template } = (revision.data as RevisionData).spec.template;
  return template;
}

/** The revision of the set's present template: the one there is, brought to the top, or a new one. */
export async function keepRevision(
  context: Context,
  set: StatefulSet,
  revisions: readonly ControllerRevision[],
): Promise<ControllerRevision> {
  const { template } = set.spec;
  const highest = Math.max(0, ...revisions.map(({ revision }) => revision));
  const equal = revisions
    .filter((revision) => isDeepStrictEqual(templateOf(revision), { ...template }))
    .sort((a, b) => b.revision - a.revision)[0];
  const resource = resources.controllerrevisions;
  if (equal === undefined) return await createRevision(context, set, highest + 1);
  if (equal.revision === highest) return equal;
  return await mergePatch(context, resource, equal, { revision: highest + 1 });
}

async function createRevision(
  context: Context,
  set: StatefulSet,
  revision: number,
): Promise<ControllerRevision> {
  const resource = resources.controllerrevisions;
  for (let collisions = set.status?.collisionCount ?? 0; ; collisions += 1) {
    const want = wantRevision(set, { revision, collisions });
    try {
      return await create(context, resource, want);
    } catch (error) {
      if (!isReason(error, 'AlreadyExists')) throw error;
      const held = await context.client.get<ControllerRevision>(resource, keyOf(want));
      if (isDeepStrictEqual(held.data, want.data)) return held;
    }
  }
}

function wantRevision(
  set: StatefulSet,
  { revision, collisions }: { revision: number; collisions: number },
): ControllerRevision {
  const { name, namespace } = set.metadata;
  const hash = templateHash(set.spec.template, collisions);
  const data: RevisionData = { spec: { template: { ...set.spec.template, $patch: 'replace' } } };
  return {
    apiVersion: 'apps/v1',
    kind: 'ControllerRevision',
    metadata: {
      name: `${name}-${hash}`,
      ...(namespace === undefined ? {} : { namespace }),
      labels: { ...set.spec.template.metadata?.labels, [hashLabel]: hash },
      ownerReferences: [controllerReference(resources.statefulsets, set)],
    },
    data,
    revision,
  };
}

/** Deletes the oldest revisions that no pod has, past the limit. */
export async function forgetRevisions(
  context: Context,
  set: StatefulSet,
  { revisions, live }: { revisions: readonly ControllerRevision[]; live: ReadonlySet<string> },
): Promise<void> {
  const { revisionHistoryLimit = 10 } = set.spec;
  const idle = revisions
    .filter((revision) => !live.has(revision.metadata.name))
    .sort((a, b) => a.revision - b.revision);
  const surplus = idle.slice(0, Math.max(0, idle.length - revisionHistoryLimit));
  await Promise.all(
    surplus.map((revision) => remove(context, resources.controllerrevisions, revision)),
  );
}
