/** The node's proxy, for as many Services as asked for, among them those that are measured. */
import type { KubeObject } from '../../src/api/meta.ts';
import type { Resource } from '../../src/api/resources.ts';
import type { EndpointSlice, Service } from '../../src/api/types.ts';
import type { Client, List, WatchEvent } from '../../src/client/client.ts';
import { startProxy } from '../../src/proxy/service-proxy.ts';
import { clusterService, clusterSlice } from '../proxy-sync/objects.ts';

export const SERVICE_PORT = 80;
export const TARGET_PORT = 8080;
export const NODE_IP = '172.29.0.11';
export const PODS = { client: '10.244.1.2', local: '10.244.1.3', remote: '10.244.2.2' } as const;
export const VIPS = { local: '10.255.0.1', remote: '10.255.0.2', sticky: '10.255.0.3' } as const;

const PROTOCOLS = ['TCP', 'UDP'] as const;
const FILLERS = { services: 0, endpoints: 2 };

function measured(name: keyof typeof VIPS): [Service, EndpointSlice] {
  const ports = PROTOCOLS.map((protocol) => ({
    name: protocol.toLowerCase(),
    protocol,
    port: SERVICE_PORT,
  }));
  const clusterIP = VIPS[name];
  const metadata = { namespace: 'load', name, resourceVersion: '1' };
  const pod = name === 'remote' ? PODS.remote : PODS.local;
  const nodeName = name === 'remote' ? 'node-2' : 'node-1';
  const service: Service = {
    metadata,
    spec: {
      type: 'ClusterIP',
      clusterIP,
      clusterIPs: [clusterIP],
      ports,
      ...(name === 'sticky' ? { sessionAffinity: 'ClientIP' as const } : {}),
    },
  };
  const slice: EndpointSlice = {
    metadata: { ...metadata, labels: { 'kubernetes.io/service-name': name } },
    addressType: 'IPv4',
    endpoints: [{ addresses: [pod], nodeName }],
    ports: ports.map((port) => ({ ...port, port: TARGET_PORT })),
  };
  return [service, slice];
}

/** Lists that never change. */
function clientOf(services: readonly Service[], slices: readonly EndpointSlice[]): Client {
  const kinds: Record<string, readonly KubeObject[]> = { services, endpointslices: slices };
  const list = async ({ resource }: Resource): Promise<List<KubeObject>> => ({
    items: kinds[resource] ?? [],
    resourceVersion: '10',
  });
  async function* watch(
    _: Resource,
    { signal }: { signal: AbortSignal },
  ): AsyncGenerator<WatchEvent<KubeObject>> {
    yield { type: 'BOOKMARK', object: { metadata: { name: '', resourceVersion: '10' } } };
    await new Promise((resolve) => {
      signal.addEventListener('abort', resolve);
    });
  }
  return { list, watch } as unknown as Client;
}

async function main(count: number): Promise<void> {
  const fillers = Array.from({ length: count }, (_, index) => index);
  const own = (['local', 'remote', 'sticky'] as const).map(measured);
  const services = [...fillers.map(clusterService), ...own.map(([service]) => service)];
  const slices = [
    ...fillers.map((index) => clusterSlice(index, FILLERS)),
    ...own.map(([, slice]) => slice),
  ];
  const log = { error: console.error, warn() {}, info() {}, debug() {} };
  const proxy = await startProxy({
    client: clientOf(services, slices),
    nodeName: 'node-1',
    nodeIPs: [NODE_IP],
    detectLocal: { mode: 'ClusterCIDR', cidrs: ['10.244.0.0/16'] },
    serviceCidrs: [],
    log: log as never,
  });
  await proxy.ready;
  console.log('serving');
}

if (import.meta.main) await main(Number(process.argv[2]));
