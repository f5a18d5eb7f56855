/** Services and slices for tests, with every field a test does not name filled in. */
import type { Endpoint, EndpointSlice, Service, ServiceSpec } from '../api/types.ts';
import type { PlanContext } from './service.ts';
import type { NodeFacts, PlanOptions } from './types.ts';

/** A node `node-1` with one address per family. */
export function sampleContext(
  more: { node?: Partial<NodeFacts>; options?: Partial<PlanOptions> } = {},
): PlanContext {
  return {
    node: {
      name: 'node-1',
      zone: 'zone-a',
      nodeIPs: ['172.29.0.11', 'fd00:172:29::11'],
      addresses: ['172.29.0.11', 'fd00:172:29::11'],
      nodePortAddresses: ['172.29.0.11', 'fd00:172:29::11'],
      ...more.node,
    },
    options: {
      podCidrs: ['10.244.0.0/16', 'fd00:10:244::/56'],
      masqueradeAll: false,
      serviceCidrs: ['10.96.0.0/16', 'fd00:10:96::/112'],
      ...more.options,
    },
  };
}

/** Service `shop/web`: dual stack, port 80 named `http`. */
export function sampleService(
  spec: Partial<ServiceSpec> = {},
  more: {
    name?: string;
    created?: string;
    labels?: Record<string, string>;
    annotations?: Record<string, string>;
    ingress?: NonNullable<NonNullable<Service['status']>['loadBalancer']>['ingress'];
  } = {},
): Service {
  return {
    metadata: {
      namespace: 'shop',
      name: more.name ?? 'web',
      creationTimestamp: more.created ?? '2026-01-01T00:00:00Z',
      ...(more.labels === undefined ? {} : { labels: more.labels }),
      ...(more.annotations === undefined ? {} : { annotations: more.annotations }),
    },
    spec: {
      type: 'ClusterIP',
      clusterIP: '10.96.0.20',
      clusterIPs: ['10.96.0.20', 'fd00:10:96::20'],
      ports: [{ name: 'http', protocol: 'TCP', port: 80 }],
      ...spec,
    },
    ...(more.ingress === undefined ? {} : { status: { loadBalancer: { ingress: more.ingress } } }),
  };
}

/** A slice of `shop/web`; an endpoint may be given as `address@node`. */
export function sampleSlice(
  endpoints: readonly (string | Endpoint)[],
  more: Partial<EndpointSlice> & {
    name?: string;
    service?: string;
    labels?: Record<string, string>;
  } = {},
): EndpointSlice {
  const { name = 'web-abc', service = 'web', labels = {}, ...fields } = more;
  const list = endpoints.map((one) => (typeof one === 'string' ? endpointFrom(one) : one));
  return {
    metadata: {
      namespace: 'shop',
      name,
      labels: { 'kubernetes.io/service-name': service, ...labels },
    },
    addressType: list[0]?.addresses[0]?.includes(':') === true ? 'IPv6' : 'IPv4',
    endpoints: list,
    ports: [{ name: 'http', protocol: 'TCP', port: 8080 }],
    ...fields,
  };
}

function endpointFrom(text: string): Endpoint {
  const [address = '', nodeName] = text.split('@');
  return { addresses: [address], ...(nodeName === undefined ? {} : { nodeName }) };
}
