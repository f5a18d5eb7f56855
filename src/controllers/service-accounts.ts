/** Gives every namespace the ServiceAccount `default` and the cluster's CA (K38). */
import { resources } from '../api/resources.ts';
import { isReason } from '../api/status.ts';
import type { ConfigMap, Namespace, ServiceAccount } from '../api/types.ts';
import type { Reconciler } from '../client/reconciler.ts';
import { create, createReconciler, update, type Context } from './context.ts';

const rootCaName = 'kube-root-ca.crt';
const rootCaText =
  'Contains a CA bundle that can be used to verify the kube-apiserver when using internal ' +
  'endpoints such as the internal service IP or kubernetes.default.svc. No other usage is ' +
  'guaranteed across distributions of Kubernetes clusters.';

/** Starts the controller; runs are keyed by namespace. */
export function serviceAccountController(context: Context): Reconciler {
  const { informers, options } = context;
  const namespaces = informers.of<Namespace>(resources.namespaces);
  const accounts = informers.of<ServiceAccount>(resources.serviceaccounts);
  const configMaps = informers.of<ConfigMap>(resources.configmaps);

  const reconciler = createReconciler(context, 'service-accounts', async (name) => {
    const namespace = namespaces.get(name);
    if (namespace === undefined || namespace.metadata.deletionTimestamp !== undefined) return;
    await unlessGone(() => keepAccount(name));
    await unlessGone(() => keepRootCa(name));
  });

  async function keepAccount(namespace: string): Promise<void> {
    if (accounts.get({ namespace, name: 'default' }) !== undefined) return;
    await create<ServiceAccount>(context, resources.serviceaccounts, {
      apiVersion: 'v1',
      kind: 'ServiceAccount',
      metadata: { name: 'default', namespace },
    });
  }

  async function keepRootCa(namespace: string): Promise<void> {
    const { caPem } = options;
    if (caPem === undefined) return;
    const held = configMaps.get({ namespace, name: rootCaName });
    const data = { 'ca.crt': caPem };
    if (held === undefined) {
      const annotations = { 'kubernetes.io/description': rootCaText };
      await create<ConfigMap>(context, resources.configmaps, {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { name: rootCaName, namespace, annotations },
        data,
      });
    } else if (held.data?.['ca.crt'] !== caPem || Object.keys(held.data).length > 1) {
      await update<ConfigMap>(context, resources.configmaps, { ...held, data });
    }
  }

  namespaces.onChange((_, current) => {
    if (current !== undefined) reconciler.add(current.metadata.name);
  });
  accounts.onChange((old, current) => {
    const { name, namespace = '' } = (current ?? old)!.metadata;
    if (name === 'default' && current === undefined) reconciler.add(namespace);
  });
  configMaps.onChange((old, current) => {
    const { name, namespace = '' } = (current ?? old)!.metadata;
    if (name === rootCaName) reconciler.add(namespace);
  });
  return reconciler;
}

/** Somebody else was faster, or the namespace began to go: both are fine. */
async function unlessGone(work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (isReason(error, 'AlreadyExists') || isReason(error, 'Forbidden')) return;
    if (isReason(error, 'NotFound')) return;
    throw error;
  }
}
