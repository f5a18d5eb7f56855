/** All records of a zone, in the order in which CoreDNS transfers them (D40f). */
import { TYPE, type ResourceRecord } from '../wire/message.ts';
import { under, type Name } from '../wire/name.ts';
import { nameserversOf } from './nameservers.ts';
import type { Address, EndpointEntry, Port, ServiceEntry, SliceEntry } from './objects.ts';
import { addressRecord, aliasRecord, record, soaRecord } from './records.ts';
import { srvNumbers } from './service-records.ts';
import type { Zones } from './zones.ts';

/** SOA, nameservers, Services by name, SOA again; pods and reverse names are no part of it. */
export function zoneRecords(zones: Zones, zone: Name): ResourceRecord[] {
  const soa = soaRecord(zones, zone);
  const { targets, glue } = nameserversOf(zones, zone);
  const nameservers = targets.map((name) => record(zones, zone, TYPE.NS, [name]));
  const services = [...zones.data.services()]
    .filter(({ namespace }) => zones.data.hasNamespace(namespace))
    .toSorted((a, b) => compare(a.name, b.name) || compare(a.namespace, b.namespace));
  const records = services.flatMap((service) => serviceRecordsOf(zones, service, zone));
  return [soa, ...nameservers, ...glue, ...records, soa];
}

function compare(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}

function serviceRecordsOf(zones: Zones, service: ServiceEntry, zone: Name): ResourceRecord[] {
  const base = zones.nameOfService(service, zone);
  if (service.kind === 'alias') {
    return service.target === undefined ? [] : [aliasRecord(zones, base, service.target)];
  }
  if (service.kind === 'address') {
    const ports = service.ports.flatMap((port) => {
      const srv = (owner: Name) => srvRecord(zones, owner, { weight: 100, port, target: base });
      return [srv(base), ...(port.name === '' ? [] : [srv(portName(port, base))])];
    });
    return [...service.addresses.map((address) => addressRecord(zones, base, address)), ...ports];
  }
  return [...zones.data.slicesOf(service)].flatMap((slice) => sliceRecords(zones, slice, base));
}

function sliceRecords(zones: Zones, slice: SliceEntry, base: Name): ResourceRecord[] {
  const endpoints = slice.endpoints.filter(({ address }) => address !== undefined);
  const weight = Math.max(1, Math.floor(100 / endpoints.length));
  const named = slice.ports.filter(({ name }) => name !== '');
  return endpoints.flatMap((endpoint) => {
    const { address } = endpoint as EndpointEntry & { readonly address: Address };
    const target = under(endpoint.host, base);
    return [
      addressRecord(zones, base, address),
      addressRecord(zones, target, address),
      ...named.map((port) => srvRecord(zones, portName(port, base), { weight, port, target })),
    ];
  });
}

function portName({ name, protocol }: Port, base: Name): Name {
  return under(`_${name}`, under(`_${protocol}`, base));
}

function srvRecord(
  zones: Zones,
  owner: Name,
  { weight, port, target }: { weight: number; port: Port; target: Name },
): ResourceRecord {
  return record(zones, owner, TYPE.SRV, [srvNumbers(weight, port.port ?? 0), target]);
}
