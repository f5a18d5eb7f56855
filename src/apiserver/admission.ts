/** What the server adds to or refuses in new objects because of other objects (A117, A139). */
import { resources, type Resource } from '../api/resources.ts';
import { failure } from '../api/status.ts';
import type { Container, Namespace, Pod, ServiceAccount, Toleration } from '../api/types.ts';
import type { Transaction } from '../store/store.ts';
import { randomSuffix } from './metadata.ts';
import { detailsOf, forbidden, notFound } from './refusals.ts';

/** NamespaceLifecycle: an object needs a namespace that exists and is not going away. */
export function admitNamespace(
  resource: Resource,
  name: string,
  namespace: string | undefined,
  transaction: Transaction,
): void {
  if (!resource.namespaced || namespace === undefined) return;
  const stored = transaction.get(resources.namespaces, { name: namespace });
  if (stored === undefined) throw notFound(resources.namespaces, namespace);
  const { metadata, status } = stored.object as Namespace;
  if (metadata.deletionTimestamp === undefined && status?.phase !== 'Terminating') return;
  const why = `unable to create new content in namespace ${namespace} because it is being terminated`;
  const refusal = forbidden(resource, name, why);
  throw failure(403, 'Forbidden', refusal.message, {
    ...detailsOf(resource, name),
    causes: [
      {
        reason: 'NamespaceTerminating',
        message: `namespace ${namespace} is being terminated`,
        field: 'metadata.namespace',
      },
    ],
  });
}

const TOKEN_PATH = '/var/run/secrets/kubernetes.io/serviceaccount';
/** An hour and a bit: agents renew at 80 % of it. */
const TOKEN_SECONDS = 3607;

/** ServiceAccount, DefaultTolerationSeconds and Priority, as kube-apiserver has them on by default. */
export function admitPod(pod: Pod, transaction: Transaction, tolerationSeconds: number): void {
  const { spec } = pod;
  admitServiceAccount(pod, transaction);
  spec.tolerations = withDefaultTolerations(spec.tolerations ?? [], tolerationSeconds);
  Object.assign(spec, { priority: 0, preemptionPolicy: 'PreemptLowerPriority' });
}

function admitServiceAccount(pod: Pod, transaction: Transaction): void {
  const { spec, metadata } = pod;
  const name = spec.serviceAccountName || 'default';
  spec.serviceAccountName = name;
  Object.assign(spec, { serviceAccount: name });
  const key = { namespace: metadata.namespace!, name };
  const account: ServiceAccount | undefined = transaction.get(
    resources.serviceaccounts,
    key,
  )?.object;
  // Every namespace gets its "default" a moment after it was made; nobody should have to wait.
  if (account === undefined && name !== 'default') {
    const why = `error looking up service account ${key.namespace}/${name}: serviceaccount "${name}" not found`;
    throw forbidden(resources.pods, metadata.name, why);
  }
  const wanted = spec.automountServiceAccountToken ?? account?.automountServiceAccountToken ?? true;
  if (wanted) mountToken(pod);
}

function mountToken({ spec }: Pod): void {
  const containers = [...(spec.initContainers ?? []), ...spec.containers];
  const needing = containers.filter((container) => !mountsToken(container));
  if (needing.length === 0) return;
  const existing = spec.volumes?.find((volume) => volume.name.startsWith('kube-api-access-'));
  const name = existing?.name ?? `kube-api-access-${randomSuffix()}`;
  if (existing === undefined) (spec.volumes ??= []).push(tokenVolume(name));
  for (const container of needing) {
    (container.volumeMounts ??= []).push({ name, readOnly: true, mountPath: TOKEN_PATH });
  }
}

function mountsToken(container: Container): boolean {
  return (container.volumeMounts ?? []).some((mount) => mount.mountPath === TOKEN_PATH);
}

function tokenVolume(name: string) {
  return {
    name,
    projected: {
      defaultMode: 0o644,
      sources: [
        { serviceAccountToken: { expirationSeconds: TOKEN_SECONDS, path: 'token' } },
        {
          configMap: { name: 'kube-root-ca.crt', items: [{ key: 'ca.crt', path: 'ca.crt' }] },
        },
        {
          downwardAPI: {
            items: [
              {
                path: 'namespace',
                fieldRef: { apiVersion: 'v1', fieldPath: 'metadata.namespace' },
              },
            ],
          },
        },
      ],
    },
  };
}

function withDefaultTolerations(
  given: readonly Toleration[],
  tolerationSeconds: number,
): Toleration[] {
  const tolerations = [...given];
  for (const key of ['node.kubernetes.io/not-ready', 'node.kubernetes.io/unreachable']) {
    const covered = given.some(
      (toleration) =>
        (toleration.key === key || !toleration.key) &&
        (toleration.effect === 'NoExecute' || !toleration.effect),
    );
    if (covered) continue;
    tolerations.push({ key, operator: 'Exists', effect: 'NoExecute', tolerationSeconds });
  }
  return tolerations;
}
