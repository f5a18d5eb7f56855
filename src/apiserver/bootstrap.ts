/** The objects every cluster has from the start (A118). */
import type { KubeObject } from '../api/meta.ts';
import { type Resource, resources } from '../api/resources.ts';
import { isReason } from '../api/status.ts';
import type { Endpoints, EndpointSlice, Service } from '../api/types.ts';
import type { Client } from '../client/client.ts';
import { type Cidr, addressAt, familyOf } from '../lib/ip.ts';

/** Where pods reach this server, behind the Service `default/kubernetes`. */
export type Advertise = { readonly addresses: readonly string[]; readonly port: number };

const NAMESPACES = ['default', 'kube-system', 'kube-public', 'kube-node-lease'];
const META = { name: 'kubernetes', namespace: 'default' };

/** Makes what is missing, and points `default/kubernetes` at this server. Safe to call again. */
export async function bootstrap(
  client: Client,
  options: { readonly serviceCidrs: readonly Cidr[]; readonly advertise?: Advertise },
): Promise<void> {
  const namespaces = NAMESPACES.map((name) =>
    createIfMissing(client, resources.namespaces, { metadata: { name } }),
  );
  const [range] = options.serviceCidrs;
  const { advertise } = options;
  if (range === undefined || advertise === undefined) return void (await Promise.all(namespaces));
  const family = range.family;
  const addresses = advertise.addresses.filter((address) => familyOf(address) === family);
  await Promise.all([
    ...namespaces,
    createIfMissing(client, resources.services, kubernetesService(range)),
    createOrReplace(client, resources.endpoints, endpointsOf(addresses, advertise.port)),
    createOrReplace(client, resources.endpointslices, sliceOf(family, addresses, advertise.port)),
  ]);
}

const LABELS = { component: 'apiserver', provider: 'kubernetes' };

function kubernetesService(range: Cidr): Service {
  return {
    metadata: { ...META, labels: LABELS },
    spec: {
      type: 'ClusterIP',
      clusterIP: addressAt(range, 1),
      ipFamilyPolicy: 'SingleStack',
      ipFamilies: [range.family === 'ipv4' ? 'IPv4' : 'IPv6'],
      ports: [{ name: 'https', protocol: 'TCP', port: 443, targetPort: 6443 }],
    },
  };
}

function endpointsOf(addresses: readonly string[], port: number): Endpoints {
  return {
    metadata: { ...META, labels: { 'endpointslice.kubernetes.io/skip-mirror': 'true' } },
    subsets: [
      {
        addresses: addresses.map((ip) => ({ ip })),
        ports: [{ name: 'https', port, protocol: 'TCP' }],
      },
    ],
  };
}

function sliceOf(
  family: 'ipv4' | 'ipv6',
  addresses: readonly string[],
  port: number,
): EndpointSlice {
  return {
    metadata: { ...META, labels: { 'kubernetes.io/service-name': 'kubernetes' } },
    addressType: family === 'ipv4' ? 'IPv4' : 'IPv6',
    endpoints: addresses.map((address) => ({ addresses: [address], conditions: { ready: true } })),
    ports: [{ name: 'https', port, protocol: 'TCP' }],
  };
}

async function createIfMissing(
  client: Client,
  resource: Resource,
  object: KubeObject,
): Promise<void> {
  try {
    await client.create(resource, object);
  } catch (error) {
    if (!isReason(error, 'AlreadyExists')) throw error;
  }
}

async function createOrReplace(
  client: Client,
  resource: Resource,
  object: KubeObject,
): Promise<void> {
  try {
    await client.create(resource, object);
  } catch (error) {
    if (!isReason(error, 'AlreadyExists')) throw error;
    await client.update(resource, object);
  }
}
