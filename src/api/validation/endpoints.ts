/** Endpoints and EndpointSlices (A132, A133). */
import { canonicalIp, familyOf } from '../../lib/ip.ts';
import type * as k from '../types.ts';
import {
  duplicate,
  invalidFor,
  invalidValue,
  notSupported,
  required,
  tooMany,
  type FieldError,
} from './errors.ts';
import {
  dnsLabel,
  dnsSubdomain,
  endpointIp,
  ipAddress,
  portNumber,
  qualifiedName,
} from './formats.ts';

const protocols = ['SCTP', 'TCP', 'UDP'];

// ---- Endpoints

export function validateEndpoints({ subsets = [] }: k.Endpoints): FieldError[] {
  return subsets.flatMap((subset, index) => validateSubset(subset, `subsets[${index}]`));
}

function validateSubset(subset: k.EndpointSubset, field: string): FieldError[] {
  const { addresses = [], notReadyAddresses = [], ports = [] } = subset;
  const errors: FieldError[] = [];
  if (addresses.length + notReadyAddresses.length === 0) {
    errors.push(required(field, 'must specify `addresses` or `notReadyAddresses`'));
  }
  for (const [name, list] of Object.entries({ addresses, notReadyAddresses })) {
    list.forEach((address, index) =>
      errors.push(...validateAddress(address, `${field}.${name}[${index}]`)),
    );
  }
  ports.forEach((port, index) => {
    const at = `${field}.ports[${index}]`;
    if (port.name) errors.push(...invalidFor(`${at}.name`, port.name, dnsLabel(port.name)));
    else if (ports.length > 1) errors.push(required(`${at}.name`));
    errors.push(...invalidFor(`${at}.port`, port.port ?? 0, portNumber(port.port ?? 0)));
    errors.push(...validateProtocol(port, at));
  });
  return errors;
}

function validateAddress({ ip, hostname, nodeName }: k.EndpointAddress, field: string) {
  const errors = invalidFor(`${field}.ip`, ip ?? '', endpointIp(ip ?? ''));
  if (hostname) errors.push(...invalidFor(`${field}.hostname`, hostname, dnsLabel(hostname)));
  if (nodeName) errors.push(...invalidFor(`${field}.nodeName`, nodeName, dnsSubdomain(nodeName)));
  return errors;
}

function validateProtocol(
  { protocol, appProtocol }: { protocol?: string; appProtocol?: string },
  field: string,
): FieldError[] {
  const errors: FieldError[] = [];
  if (!protocol) errors.push(required(`${field}.protocol`));
  else if (!protocols.includes(protocol)) {
    errors.push(notSupported(`${field}.protocol`, protocol, protocols));
  }
  if (appProtocol) {
    errors.push(...invalidFor(`${field}.appProtocol`, appProtocol, qualifiedName(appProtocol)));
  }
  return errors;
}

// ---- EndpointSlice

const addressTypes = ['IPv4', 'IPv6', 'FQDN'];
const endpointsMax = 1000;
const addressesMax = 100;
const portsMax = 100;

export function validateEndpointSlice(slice: k.EndpointSlice): FieldError[] {
  const errors: FieldError[] = [];
  if (!slice.addressType) errors.push(required('addressType'));
  else if (!addressTypes.includes(slice.addressType)) {
    errors.push(notSupported('addressType', slice.addressType, addressTypes));
  }
  const endpoints = slice.endpoints ?? [];
  if (endpoints.length > endpointsMax) {
    errors.push(tooMany('endpoints', endpoints.length, endpointsMax));
  } else {
    endpoints.forEach((endpoint, index) =>
      errors.push(...validateEndpoint(endpoint, slice.addressType, `endpoints[${index}]`)),
    );
  }
  return [...errors, ...validateSlicePorts(slice.ports ?? [])];
}

export function validateEndpointSliceUpdate(
  slice: k.EndpointSlice,
  old: k.EndpointSlice,
): FieldError[] {
  if (slice.addressType === old.addressType) return [];
  return [invalidValue('addressType', slice.addressType, 'field is immutable')];
}

function validateEndpoint(
  { addresses = [], hostname, nodeName }: Partial<k.Endpoint>,
  type: k.EndpointSlice['addressType'],
  field: string,
): FieldError[] {
  const errors: FieldError[] = [];
  const at = `${field}.addresses`;
  if (addresses.length === 0) errors.push(required(at, 'must contain at least 1 address'));
  else if (addresses.length > addressesMax) {
    errors.push(tooMany(at, addresses.length, addressesMax));
  }
  addresses.forEach((address, index) => {
    errors.push(...invalidFor(`${at}[${index}]`, address, addressFaults(address, type)));
    if (addresses.indexOf(address) < index) errors.push(duplicate(`${at}[${index}]`, address));
  });
  if (hostname) errors.push(...invalidFor(`${field}.hostname`, hostname, dnsLabel(hostname)));
  if (nodeName) errors.push(...invalidFor(`${field}.nodeName`, nodeName, dnsSubdomain(nodeName)));
  return errors;
}

function addressFaults(address: string, type: k.EndpointSlice['addressType']): string[] {
  if (type === 'FQDN') return dnsSubdomain(address);
  if (type !== 'IPv4' && type !== 'IPv6') return [];
  const family = familyOf(address);
  if (family === undefined) return ipAddress(address);
  if (family !== (type === 'IPv4' ? 'ipv4' : 'ipv6')) return [`must be an ${type} address`];
  const canonical = canonicalIp(address);
  if (canonical !== address) return [`must be in canonical form ("${canonical}")`];
  return endpointIp(address);
}

function validateSlicePorts(ports: readonly k.EndpointPort[]): FieldError[] {
  if (ports.length > portsMax) return [tooMany('ports', ports.length, portsMax)];
  const names = new Set<string>();
  return ports.flatMap((port, index) => {
    const field = `ports[${index}]`;
    const name = port.name ?? '';
    const errors = name === '' ? [] : invalidFor(`${field}.name`, name, dnsLabel(name));
    if (names.has(name)) errors.push(duplicate(`${field}.name`, name));
    names.add(name);
    if (port.port !== undefined) {
      errors.push(...invalidFor(`${field}.port`, port.port, portNumber(port.port)));
    }
    return [...errors, ...validateProtocol(port, field)];
  });
}
