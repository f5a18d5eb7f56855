/** `kubectl get services`, `endpoints` and `endpointslices`. */
import { ageOf } from '../duration.ts';
import type { Printer } from '../tables.ts';
import type { Endpoints, EndpointSlice, Service, ServicePort } from '../types.ts';
import { bracketed, firstThree, labelsText, orNone } from './text.ts';

export const serviceTable: Printer = {
  columns: 'Name,Type,Cluster-IP,External-IP,Port(s),Age,Selector*',
  cells: (service: Service, now) => [
    service.metadata.name,
    service.spec.type ?? '',
    orNone(service.spec.clusterIPs?.[0] ?? service.spec.clusterIP),
    externalText(service),
    orNone((service.spec.ports ?? []).map(portText).join(',')),
    ageOf(service.metadata.creationTimestamp, now),
    labelsText(service.spec.selector),
  ],
};

function portText({ port, nodePort, protocol = 'TCP' }: ServicePort): string {
  return nodePort ? `${port}:${nodePort}/${protocol}` : `${port}/${protocol}`;
}

function externalText({ spec, status }: Service): string {
  const externalIps = spec.externalIPs ?? [];
  switch (spec.type) {
    case 'ExternalName':
      return spec.externalName ?? '';
    case 'LoadBalancer': {
      const ingress = (status?.loadBalancer?.ingress ?? []).map(
        ({ ip, hostname }) => ip || hostname || '',
      );
      const unique = [...new Set(ingress)].filter((text) => text !== '').sort();
      const all = [...unique, ...externalIps];
      return all.length === 0 ? '<pending>' : all.join(',');
    }
    default:
      return orNone(externalIps.join(','));
  }
}

export const endpointsTable: Printer = {
  columns: 'Name,Endpoints,Age',
  cells: (endpoints: Endpoints, now) => [
    endpoints.metadata.name,
    endpointsText(endpoints),
    ageOf(endpoints.metadata.creationTimestamp, now),
  ],
};

/** Port by port, each address. Subsets without a ready address print as nothing, not `<none>`. */
function endpointsText({ subsets = [] }: Endpoints): string {
  if (subsets.length === 0) return '<none>';
  const pairs = subsets.flatMap(({ addresses = [], ports = [] }) => {
    if (ports.length === 0) return addresses.map(({ ip }) => ip);
    return ports.flatMap(({ port }) => addresses.map(({ ip }) => `${bracketed(ip)}:${port}`));
  });
  return firstThree(pairs);
}

export const endpointSliceTable: Printer = {
  columns: 'Name,AddressType,Ports,Endpoints,Age',
  cells: (slice: EndpointSlice, now) => [
    slice.metadata.name,
    slice.addressType,
    slicePortsText(slice),
    orUnset(firstThree((slice.endpoints ?? []).flatMap(({ addresses }) => addresses ?? []))),
    ageOf(slice.metadata.creationTimestamp, now),
  ],
};

function slicePortsText({ ports = [] }: EndpointSlice): string {
  return orUnset(
    firstThree(
      ports.map(({ port, name }) => {
        if (port !== undefined) return String(port);
        return name ? name : '*';
      }),
    ),
  );
}

function orUnset(text: string): string {
  return text === '' ? '<unset>' : text;
}
