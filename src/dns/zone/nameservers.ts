/** Who serves the zones: this server, by the name of the Service in front of it (D34, D35). */
import { TYPE, type ResourceRecord } from '../wire/message.ts';
import { foldCase, type Name } from '../wire/name.ts';
import { addressOf, type Address } from './objects.ts';
import { addressRecord, dedupe, nameserverName } from './records.ts';
import { reverseFamily, type Zones } from './zones.ts';

type Nameserver = { readonly name: Name; readonly addresses: readonly Address[] };

/** Whether the type asks for addresses. */
export function isAddressType(type: number): boolean {
  return type === TYPE.A || type === TYPE.AAAA;
}

/** The NS targets of a zone, each once, and the addresses of all. */
export function nameserversOf(
  zones: Zones,
  zone: Name,
): { targets: Name[]; glue: ResourceRecord[] } {
  // Names of Services stand in the cluster domain only, also for the reverse zones.
  const isReverse = !zones.strictCoredns && reverseFamily(foldCase(zone)) !== undefined;
  const servers = nameservers(zones, isReverse ? zones.domain : zone);
  const glue = servers.flatMap(({ name, addresses }) =>
    addresses.map((address) => addressRecord(zones, name, address)),
  );
  return { targets: dedupe(servers, ({ name }) => name).map(({ name }) => name), glue };
}

/** The addresses of `ns.dns.<zone>`: the same as the glue of the NS records (D35). */
export function localAddresses(zones: Zones): Address[] {
  const addresses = nameservers(zones, zones.domain).flatMap(({ addresses }) => addresses);
  return dedupe(addresses, ({ text }) => text);
}

function nameservers(zones: Zones, zone: Name): Nameserver[] {
  const own = zones.localAddresses();
  zones.data.noteOther();
  const servers = own.flatMap((address) => serversAt(zones, address, zone));
  // CoreDNS has none when nothing but slices without a Service know its address.
  const isKnown = () => own.some((address) => zones.data.endpointsAt(address).length > 0);
  if (servers.length > 0 || (zones.strictCoredns && isKnown())) return dedupe(servers, serverKey);
  const addresses = own.map(addressOf).filter((address) => address !== undefined);
  return [{ name: nameserverName(zone), addresses }];
}

function serverKey({ name, addresses }: Nameserver): string {
  return `${name} ${addresses.map(({ text }) => text).join(' ')}`;
}

/** The Services that have this server among their endpoints. */
function serversAt(zones: Zones, own: string, zone: Name): Nameserver[] {
  return zones.data.endpointsAt(own).flatMap(({ slice }): Nameserver[] => {
    const service = zones.data.service(slice.namespace, slice.service);
    if (service === undefined || service.kind === 'alias') return [];
    if (service.kind === 'address') {
      return [{ name: zones.nameOfService(service, zone), addresses: service.addresses }];
    }
    // Its other endpoints serve the same zones.
    return slice.endpoints.flatMap(({ host, address }) =>
      address === undefined
        ? []
        : [{ name: zones.nameOfEndpoint(service, host, zone), addresses: [address] }],
    );
  });
}
