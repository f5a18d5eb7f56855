/**
 * Cluster IPs and node ports of Services (A124-A130). Every step that takes or frees a value
 * registers its undo, so that a refused write, a dry run or a failed commit leaves no trace.
 */
import { randomInt } from 'node:crypto';

import { resources } from '../../api/resources.ts';
import { failure } from '../../api/status.ts';
import type { Service, ServicePort, ServiceSpec } from '../../api/types.ts';
import { type FieldError, invalid } from '../../api/validation/index.ts';
import { type Cidr, familyOf } from '../../lib/ip.ts';
import { IpAllocator } from './ip-allocator.ts';
import { PortAllocator, type PortRange } from './port-allocator.ts';
import {
  type IpFamilyName,
  dropForeignFields,
  initFamilies,
  isHeadless,
  keepAllocated,
  needsClusterIp,
  needsHealthCheckNodePort,
  needsNodePorts,
  syncClusterIps,
} from './service-fields.ts';

type OnAbort = (undo: () => void) => void;

export type AllocatorOptions = {
  /** One per family; the first one's family is the cluster's default. */
  readonly serviceCidrs: readonly Cidr[];
  readonly nodePortRange: PortRange;
  /** A number from 0 to below the argument; tests pass their own. */
  readonly random?: (below: number) => number;
};

export class ServiceAllocator {
  readonly #ranges: readonly IpAllocator[];
  readonly #ports: PortAllocator;
  readonly #families: readonly IpFamilyName[];

  constructor(options: AllocatorOptions) {
    const random = options.random ?? ((below) => randomInt(below));
    this.#ranges = options.serviceCidrs.map((cidr) => new IpAllocator(cidr, random));
    this.#ports = new PortAllocator(options.nodePortRange, random);
    this.#families = options.serviceCidrs.map(({ family }) =>
      family === 'ipv4' ? 'IPv4' : 'IPv6',
    );
  }

  /** Registers what stored Services hold, at start. Values that no longer fit stay with their owner. */
  restore(services: readonly Service[]): void {
    for (const { spec } of services) {
      for (const address of addressesOf(spec)) this.#rangeOf(address)?.take(address);
      for (const port of portsOf(spec)) this.#ports.take(port);
    }
  }

  /** Before validation: settles the fields that are linked or inherited. */
  prepare(next: Service, old: Service | undefined): FieldError[] {
    if (old !== undefined) {
      keepAllocated(next.spec, old.spec);
      syncClusterIps(next.spec, old.spec);
      dropForeignFields(next, old);
    } else {
      syncClusterIps(next.spec, undefined);
    }
    return initFamilies(next.spec, old?.spec, this.#families);
  }

  /** After validation: takes what is new, frees what is no longer held. Throws Invalid when it cannot. */
  allocate(next: Service, old: Service | undefined, onAbort: OnAbort): void {
    this.#allocateIps(next, new Set(addressesOf(old?.spec)), onAbort);
    this.#allocatePorts(next, new Set(portsOf(old?.spec)), onAbort);
    if (old !== undefined) this.#releaseUnused(old, next, onAbort);
  }

  /** Frees everything a deleted Service held. */
  release(service: Service, onAbort: OnAbort): void {
    this.#releaseUnused(service, undefined, onAbort);
  }

  #rangeOf(address: string): IpAllocator | undefined {
    const family = familyOf(address);
    return this.#ranges.find(({ cidr }) => cidr.family === family);
  }

  #allocateIps(service: Service, held: ReadonlySet<string>, onAbort: OnAbort): void {
    const { spec } = service;
    if (!needsClusterIp(spec)) return;
    if (isHeadless(spec)) {
      spec.clusterIP = 'None';
      spec.clusterIPs = ['None'];
      return;
    }
    const addresses = [...(spec.clusterIPs ?? [])];
    for (const [index, family] of (spec.ipFamilies ?? []).entries()) {
      const given = addresses[index];
      if (given === undefined) addresses[index] = this.#takeNextIp(family, onAbort);
      else if (!held.has(given)) this.#takeIp(service, given, onAbort);
    }
    spec.clusterIPs = addresses;
    if (addresses[0] !== undefined) spec.clusterIP = addresses[0];
  }

  #takeIp(service: Service, address: string, onAbort: OnAbort): void {
    const range = this.#rangeOf(address);
    const why = range === undefined ? 'no range of this family' : range.take(address);
    if (why === undefined) return onAbort(() => range!.release(address));
    throw invalid(resources.services, service.metadata.name, [
      {
        type: 'Invalid',
        field: 'spec.clusterIPs',
        value: service.spec.clusterIPs,
        detail: `failed to allocate IP ${address}: ${why}`,
      },
    ]);
  }

  #takeNextIp(family: IpFamilyName, onAbort: OnAbort): string {
    const range = this.#ranges.find(({ cidr }) => cidr.family === family.toLowerCase());
    const address = range?.takeNext();
    if (range === undefined || address === undefined) {
      throw failure(500, 'InternalError', 'failed to allocate a serviceIP: range is full');
    }
    onAbort(() => range.release(address));
    return address;
  }

  #allocatePorts(service: Service, held: ReadonlySet<number>, onAbort: OnAbort): void {
    const { spec } = service;
    // Ports of one Service may share a number across protocols; it is taken once.
    const mine = new Set(held);
    const automatic = spec.type === 'NodePort' || spec.allocateLoadBalancerNodePorts !== false;
    for (const [index, port] of (spec.ports ?? []).entries()) {
      if (port.nodePort && needsNodePorts(spec) && !mine.has(port.nodePort)) {
        this.#takePort(service, `spec.ports[${index}].nodePort`, port.nodePort, onAbort);
        mine.add(port.nodePort);
      }
    }
    for (const port of needsNodePorts(spec) && automatic ? (spec.ports ?? []) : []) {
      if (port.nodePort) continue;
      port.nodePort = sharedNodePort(spec, port) ?? this.#takeNextPort(onAbort);
    }
    if (!needsHealthCheckNodePort(spec)) return;
    if (!spec.healthCheckNodePort) spec.healthCheckNodePort = this.#takeNextPort(onAbort);
    else if (!mine.has(spec.healthCheckNodePort)) {
      this.#takePort(service, 'spec.healthCheckNodePort', spec.healthCheckNodePort, onAbort);
    }
  }

  #takePort(service: Service, field: string, port: number, onAbort: OnAbort): void {
    const detail = this.#ports.take(port);
    if (detail === undefined) return onAbort(() => this.#ports.release(port));
    throw invalid(resources.services, service.metadata.name, [
      { type: 'Invalid', field, value: port, detail },
    ]);
  }

  #takeNextPort(onAbort: OnAbort): number {
    const port = this.#ports.takeNext();
    if (port === undefined) {
      throw failure(500, 'InternalError', 'failed to allocate a nodePort: range is full');
    }
    onAbort(() => this.#ports.release(port));
    return port;
  }

  #releaseUnused(old: Service, next: Service | undefined, onAbort: OnAbort): void {
    const addresses = new Set(addressesOf(next?.spec));
    for (const address of addressesOf(old.spec)) {
      const range = this.#rangeOf(address);
      if (addresses.has(address) || range === undefined) continue;
      range.release(address);
      onAbort(() => void range.take(address));
    }
    const ports = new Set(portsOf(next?.spec));
    for (const port of portsOf(old.spec)) {
      if (ports.has(port)) continue;
      this.#ports.release(port);
      onAbort(() => void this.#ports.take(port));
    }
  }
}

/** TCP and UDP of the same port of one Service share a node port. */
function sharedNodePort(spec: ServiceSpec, wanted: ServicePort): number | undefined {
  const twin = spec.ports?.find(
    (port) => port.port === wanted.port && port.protocol !== wanted.protocol && port.nodePort,
  );
  return twin?.nodePort;
}

function addressesOf(spec: ServiceSpec | undefined): string[] {
  const addresses = spec?.clusterIPs ?? (spec?.clusterIP ? [spec.clusterIP] : []);
  return addresses.filter((address) => address !== 'None' && address !== '');
}

function portsOf(spec: ServiceSpec | undefined): Set<number> {
  const ports = new Set<number>();
  for (const { nodePort } of spec?.ports ?? []) if (nodePort) ports.add(nodePort);
  if (spec?.healthCheckNodePort) ports.add(spec.healthCheckNodePort);
  return ports;
}
